//! What pictures say that they need is what decoding them takes.

#[path = "common/allocator.rs"]
mod allocator;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use allocator::{Counting, LIVE};
use feedline_pipeline::Source;
use feedline_pipeline::source::{Decode, ImageFolder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Keeps the most bytes that were in use.
struct Peak;

static MOST: AtomicUsize = AtomicUsize::new(0);
static WATCHING: AtomicBool = AtomicBool::new(false);

// SAFETY: the other allocator does all the work.
unsafe impl std::alloc::GlobalAlloc for Peak {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s promises.
        let pointer = unsafe { Counting.alloc(layout) };
        watch();
        pointer
    }
    unsafe fn alloc_zeroed(&self, layout: std::alloc::Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        let pointer = unsafe { Counting.alloc_zeroed(layout) };
        watch();
        pointer
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: std::alloc::Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `alloc`.
        let pointer = unsafe { Counting.realloc(pointer, layout, size) };
        watch();
        pointer
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: std::alloc::Layout) {
        // SAFETY: as for `alloc`.
        unsafe { Counting.dealloc(pointer, layout) };
    }
}

fn watch() {
    if WATCHING.load(Ordering::Relaxed) {
        MOST.fetch_max(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Peak = Peak;

/// What is said not to be counted: tables and metadata.
const SLACK: usize = 300 << 10;

// The only test here, as it measures the whole process.
#[test]
fn decoding_takes_no_more_memory_than_was_said() {
    let (width, height) = (1500_u16, 1100_u16);
    let pixels: Vec<u8> = (0..usize::from(width) * usize::from(height) * 4)
        .map(|i| (i / 4 % 251) as u8)
        .collect();
    let jpeg = |color: ColorType, channels: usize, change: &dyn Fn(&mut Encoder<&mut Vec<u8>>)| {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 80);
        change(&mut encoder);
        let length = usize::from(width) * usize::from(height) * channels;
        encoder
            .encode(&pixels[..length], width, height, color)
            .unwrap();
        file
    };
    let png = |color: png::ColorType, depth: png::BitDepth, bytes: usize| {
        let (width, height) = (u32::from(width) / bytes as u32 * 4, u32::from(height));
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        let mut writer = encoder.write_header().unwrap();
        let length = (width * height) as usize * bytes;
        writer.write_image_data(&pixels[..length]).unwrap();
        drop(writer);
        file
    };
    let files = [
        jpeg(ColorType::Rgb, 3, &|_| {}),
        jpeg(ColorType::Rgb, 3, &|encoder| encoder.set_progressive(true)),
        jpeg(ColorType::Rgb, 3, &|encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        }),
        jpeg(ColorType::Rgb, 3, &|encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
            encoder.set_progressive(true);
        }),
        jpeg(ColorType::Luma, 1, &|_| {}),
        jpeg(ColorType::Cmyk, 4, &|_| {}),
        png(png::ColorType::Rgba, png::BitDepth::Eight, 4),
        png(png::ColorType::Rgba, png::BitDepth::Sixteen, 8),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (number, file) in files.iter().enumerate() {
        let root = folder.path().join(number.to_string());
        std::fs::create_dir_all(root.join("class")).unwrap();
        std::fs::write(root.join("class/picture.jpg"), file).unwrap();
        for decode in [Decode::rgb(300, 300), Decode::grey(100, 500)] {
            let source = ImageFolder::open(&root, decode).unwrap();
            let said = source.scratch_bytes();
            // On a thread of its own, whose resizer has no memory yet.
            let took = std::thread::scope(|scope| {
                let source = &source;
                let measured = scope.spawn(move || {
                    let before = LIVE.load(Ordering::Relaxed);
                    MOST.store(before, Ordering::Relaxed);
                    WATCHING.store(true, Ordering::Relaxed);
                    let mut scratch = Vec::new();
                    source.sample(0, &mut scratch).unwrap();
                    WATCHING.store(false, Ordering::Relaxed);
                    MOST.load(Ordering::Relaxed) - before
                });
                measured.join().unwrap()
            });
            println!("{number}: said {said}, took {took}");
            assert!(took <= said + SLACK, "{number}: said {said}, took {took}");
        }
    }
}
