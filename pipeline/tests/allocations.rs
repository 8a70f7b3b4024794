//! Nothing is allocated while batches flow.

#[path = "common/allocator.rs"]
mod allocator;
mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use allocator::{ALLOCATIONS, Counting};
use common::{RECORDS, SHAPE, augmentation, pictures, written};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::{Access, Concat, RecordFile};
use feedline_pipeline::{Element, Loader, Source, Tail, Transform};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations on all threads in each of 30 epochs. The consumer gives every batch back before it takes the next.
fn allocations<T: Element>(builder: LoaderBuilder) -> Vec<usize> {
    let builder = builder.element::<T>().workers(2).prefetch(3);
    let mut loader = builder.build().unwrap();
    let mut epoch = |epoch| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        loader.epoch(epoch).for_each(|batch| drop(batch.unwrap()));
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    let counts: Vec<usize> = (0..30).map(&mut epoch).collect();
    counts
}

// One test, as others in this program would be counted, too.
#[test]
fn an_epoch_allocates_nothing() {
    let source = pictures(1000);
    let files = [0..300, 300..301, 301..1000].map(|range| written(&source, range));
    let concat = |access| {
        let open = |file: &tempfile::NamedTempFile| -> Arc<dyn Source> {
            Arc::new(RecordFile::open_with(file.path(), RECORDS, access).unwrap())
        };
        Loader::builder(Concat::new(files.iter().map(open).collect()).unwrap())
    };
    let window = Transform::new().random_crop(6, 6, 1).random_flip();
    let mapped = || concat(Access::Mapped).batch_size(32).shuffle(true);
    let counts = [
        (
            "f32",
            allocations::<f32>(mapped().transform(window.clone().scale())),
        ),
        (
            "f32, every operation",
            allocations::<f32>(mapped().transform(augmentation())),
        ),
        (
            "bf16, every operation",
            allocations::<half::bf16>(mapped().transform(augmentation())),
        ),
        ("u8", allocations::<u8>(mapped().transform(window))),
        (
            "read",
            allocations::<f32>(concat(Access::Read).batch_size(32).tail(Tail::Pad)),
        ),
        (
            "blocks",
            allocations::<f32>(mapped().shuffle_blocks(64 * SHAPE.elements())),
        ),
        ("balanced", allocations::<f32>(mapped().class_balanced())),
        (
            "weighted",
            allocations::<f32>(mapped().weighted(vec![1.0; 1000])),
        ),
        (
            "in memory, large batches",
            allocations::<f32>(Loader::builder(pictures(9000)).batch_size(3000)),
        ),
    ];
    for (what, counts) in counts {
        println!("{what}: {counts:?}");
        // Once in its life a channel makes room for the threads that wait for it: when first a thread does. Until all
        // have, there are at most two for each of four slots, and two for the queue.
        let warm = counts.iter().skip(2);
        assert!(warm.clone().sum::<usize>() <= 10, "{what}: {counts:?}");
        assert!(
            warm.filter(|&&count| count == 0).count() >= 15,
            "{what}: {counts:?}"
        );
    }
}
