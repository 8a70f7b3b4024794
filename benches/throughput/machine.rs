//! What the operating system and the allocator say. Zero where they say nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Arguments;

/// The system's allocator, counting.
pub(crate) struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// How often memory was allocated so far.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Seconds of processor time of this process, over all its threads, in steps of 10 ms (Linux).
pub(crate) fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold spaces: state, ten numbers, user time, system time.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// Bytes of resident memory that are no pages of files (Linux). Allocates nothing, so as not to be counted itself.
pub(crate) fn anonymous_memory() -> usize {
    let mut text = [0; 4096];
    let length = File::open("/proc/self/status")
        .and_then(|mut file| file.read(&mut text))
        .unwrap_or_default();
    let text = str::from_utf8(&text[..length]).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1024
}

/// The machine and what was run on it, in a few lines.
pub(crate) fn describe(arguments: &Arguments, real_data: bool) -> String {
    let mut text = String::new();
    let model = field("/proc/cpuinfo", "model name").unwrap_or("unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let _ = writeln!(
        text,
        "processor: {model}, {cores} cores, {}",
        std::env::consts::ARCH
    );
    let _ = writeln!(text, "memory: {memory}");
    let _ = writeln!(text, "system: {}", std::env::consts::OS);
    let _ = writeln!(text, "workers: {}", arguments.workers);
    let data = if real_data {
        "CIFAR-10 and MNIST"
    } else {
        "noise"
    };
    let _ = writeln!(text, "data: {data}");
    let (rounds, epochs) = (arguments.rounds, arguments.epochs);
    let _ = writeln!(text, "rounds: {rounds}, of {epochs} epochs each");
    text
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
