//! Memory is what the plan says, and stays that.

#[path = "common/allocator.rs"]
mod allocator;
mod common;

use std::sync::Mutex;
use std::sync::atomic::Ordering;

use allocator::{Counting, LIVE};
use common::{augmentation, pictures};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::sink::Sink;
use feedline_pipeline::{Loader, Transform};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time, as they measure the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn builder() -> LoaderBuilder {
    // Slots of 768 KB.
    Loader::builder(pictures(4000))
        .batch_size(1000)
        .shuffle(true)
        .workers(2)
        .transform(Transform::new().random_flip().scale())
}

/// Bytes in use before the loader is built, and after each of 50 epochs.
fn live<K: Sink>(builder: LoaderBuilder<K>) -> (usize, Vec<usize>, Loader<K>) {
    let before = LIVE.load(Ordering::Relaxed);
    let mut loader = builder.build().unwrap();
    let live = (0..50).map(|epoch| {
        let mut most = 0;
        for batch in loader.epoch(epoch) {
            let _batch = batch.unwrap();
            most = most.max(LIVE.load(Ordering::Relaxed) - before);
        }
        most
    });
    let live = live.collect();
    (before, live, loader)
}

/// What a loader needs besides its plan: channels, names, thread handles.
const SLACK: usize = 32 << 10;

#[test]
fn bytes_in_use_are_those_of_the_plan() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let builder = || builder().prefetch(4);
    for builder in [builder(), builder().transform(augmentation())] {
        let (before, live, loader) = live(builder);
        let plan = loader.plan().bytes();
        println!(
            "plan {plan}, beyond it: {:?}",
            live.iter().map(|live| live - plan).collect::<Vec<_>>()
        );
        assert!(
            live.iter()
                .all(|&live| live >= plan && live <= plan + SLACK),
            "{plan}: {live:?}"
        );
        // Channels make room for those who wait for them when first somebody does.
        assert!(live[49] <= live[5] + 2048, "{live:?}");
        drop(loader);
        assert!(LIVE.load(Ordering::Relaxed) < before + 4096);
    }
}

#[test]
fn what_is_tuned_takes_no_more_than_the_plan_says() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Samples that are waited for, so that there will be many workers and slots.
    let slow = Transform::new().map(|sample| {
        if sample.index % 100 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    });
    let builder = Loader::builder(pictures(4000))
        .batch_size(500)
        .memory_budget(8 << 20)
        .transform(slow);
    let (_, live, loader) = live(builder);
    let plan = loader.plan();
    assert!(plan.bytes() <= 8 << 20 && plan.slots > plan.initial_slots);
    // Channels and handles, for each slot and worker.
    let most = plan.bytes() + (2 << 10) * (plan.slots + plan.workers);
    assert!(live.iter().all(|&live| live <= most), "{most}: {live:?}");
}

#[cfg(feature = "candle")]
#[test]
fn bytes_in_use_are_those_of_the_plan_with_tensors() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (_, live, loader) = live(builder().device(&candle_core::Device::Cpu));
    // Labels are copied into a tensor: 4 bytes a row, of the one batch that the consumer has.
    let most = loader.plan().bytes() + SLACK + 4 * loader.plan().rows;
    assert!(live.iter().all(|&live| live <= most), "{most}: {live:?}");
    let later = live[5..].iter();
    let (least, most) = (later.clone().min().unwrap(), later.max().unwrap());
    assert!(most - least <= loader.plan().slot_bytes, "{live:?}");
}

/// Bytes of a line of the kernel's report on this process; `None` on other systems.
fn resident(line: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|text| text.strip_prefix(line))?;
    let kib: usize = line
        .trim_start_matches(':')
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some(kib << 10)
}

#[test]
fn resident_memory_stays_within_the_budget_over_50_epochs() {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(before) = resident("RssAnon") else {
        println!("skipped: this system does not say how much memory is resident");
        return;
    };
    let budget = 16 << 20;
    let builder = builder().memory_budget(budget).prefetch(15);
    let mut loader = builder.build().unwrap();
    let mut epochs = vec![];
    for epoch in 0..50 {
        loader.epoch(epoch).for_each(|batch| drop(batch.unwrap()));
        epochs.push(resident("RssAnon").unwrap().saturating_sub(before));
    }
    println!("budget {budget}, {}; resident: {epochs:?}", loader.plan());
    assert!(
        epochs.iter().all(|&bytes| bytes <= budget + (16 << 20)),
        "{epochs:?}"
    );
    let flat = epochs[5..]
        .iter()
        .all(|&bytes| bytes <= epochs[5] + (1 << 20));
    assert!(flat, "{epochs:?}");
}
