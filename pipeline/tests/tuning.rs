//! Workers and prefetch depth that are found out, and what the loader says of its time.

mod common;

use std::time::Duration;

use common::{augmentation, epoch_bits, pictures};
use feedline_pipeline::loader::{LoaderBuilder, Stage};
use feedline_pipeline::transform::MapSample;
use feedline_pipeline::{BoxError, Error, Loader, Transform};

/// A transform in which every sample is waited for, as for an answer from a network.
fn slow(length: Duration) -> Transform {
    Transform::new().map(move |_: MapSample<'_>| -> Result<(), BoxError> {
        std::thread::sleep(length);
        Ok(())
    })
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn builder() -> LoaderBuilder {
    Loader::builder(pictures(400)).batch_size(4).shuffle(true)
}

/// Reads epochs until `enough`, or for a long time.
fn read(loader: &mut Loader, consume: Duration, enough: impl Fn(&Loader) -> bool) {
    for epoch in 0..200 {
        for batch in loader.epoch(epoch) {
            batch.unwrap();
            std::thread::sleep(consume);
        }
        if enough(loader) {
            return;
        }
    }
}

#[test]
fn workers_that_wait_become_more_than_there_are_processors() {
    let mut loader = builder().transform(slow(MILLISECOND)).build().unwrap();
    let plan = loader.plan().clone();
    assert!(plan.workers >= 16 && plan.workers > plan.initial_workers);
    let enough = |loader: &Loader| loader.stats().workers > plan.initial_workers;
    read(&mut loader, Duration::ZERO, enough);
    let stats = loader.stats();
    assert!(
        stats.workers > plan.initial_workers && stats.workers <= plan.workers,
        "{stats}"
    );
    assert!(stats.slots <= plan.slots, "{stats}");
}

#[test]
fn what_was_asked_for_is_what_there_is() {
    let slow = builder().transform(slow(MILLISECOND));
    let mut loader = slow.clone().workers(3).prefetch(2).build().unwrap();
    let plan = loader.plan();
    assert_eq!((plan.workers, plan.initial_workers), (3, 3));
    assert_eq!((plan.slots, plan.initial_slots), (3, 3));
    read(&mut loader, Duration::ZERO, |loader| {
        loader.stats().batches > 300
    });
    assert_eq!((loader.stats().workers, loader.stats().slots), (3, 3));
}

#[test]
fn batches_are_the_same_while_workers_come_and_go() {
    let transform = augmentation().map(|sample| {
        std::thread::sleep(MILLISECOND / 4);
        sample.pixels[0] += 1.0;
        Ok(())
    });
    let builder = builder().transform(transform);
    let mut one = builder.clone().workers(1).prefetch(1).build().unwrap();
    let mut tuned = builder.build().unwrap();
    let begun = tuned.stats();
    let mut changed = false;
    for epoch in 0..200 {
        assert_eq!(epoch_bits(&mut tuned, epoch), epoch_bits(&mut one, epoch));
        // One more epoch after the change.
        if changed {
            return;
        }
        let now = tuned.stats();
        changed = (now.workers, now.slots) != (begun.workers, begun.slots);
    }
    panic!("nothing was tuned: {}", tuned.stats());
}

#[test]
fn a_consumer_that_holds_many_batches_gets_more_before_it_has_to_give_one_back() {
    let builder = builder().stall_timeout(10 * MILLISECOND);
    let mut loader = builder.clone().build().unwrap();
    let plan = loader.plan().clone();
    assert!(plan.slots > plan.initial_slots);
    let mut batches = loader.epoch(0);
    let kept: Vec<_> = batches
        .by_ref()
        .take(plan.slots)
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        (kept.len(), batches.stats().slots),
        (plan.slots, plan.slots)
    );
    let error = batches.next().unwrap().unwrap_err();
    assert!(matches!(error, Error::SlotsHeld { .. }), "{error}");
    // What was asked for stays.
    let mut loader = builder.prefetch(1).build().unwrap();
    let kept: Vec<_> = loader.epoch(0).collect();
    assert_eq!(kept.iter().filter(|batch| batch.is_ok()).count(), 2);
}

#[test]
fn a_share_that_is_none_is_refused() {
    for share in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
        let error = builder().cpu_share(share).build().unwrap_err();
        let named = matches!(error, Error::InvalidArgument { name, .. } if name.contains("share"));
        assert!(named, "{error}");
    }
    let plan = builder().cpu_share(1e-9).plan().unwrap();
    assert_eq!(plan.initial_workers, 1);
}

#[test]
fn workers_that_need_much_memory_are_fewer() {
    let of = |budget| builder().memory_budget(budget).plan().unwrap();
    let (one, many) = (of(1 << 14), of(1 << 20));
    assert!(one.workers < many.workers);
    for plan in [one, many] {
        assert!(plan.workers >= 1 && plan.slots >= 1);
        assert!(plan.initial_workers <= plan.workers && plan.initial_slots <= plan.slots);
    }
}

#[test]
fn a_slow_transform_is_what_the_consumer_waits_for() {
    let builder = builder().workers(1).prefetch(2);
    let mut loader = builder.transform(slow(MILLISECOND)).build().unwrap();
    loader.epoch(0).for_each(|batch| drop(batch.unwrap()));
    let stats = loader.stats();
    assert_eq!((stats.batches, stats.samples), (100, 400));
    assert_eq!(stats.slowest(), Stage::Transform);
    assert!(
        stats.waiting_share() > 0.5 && stats.headroom() > 2.0,
        "{stats}"
    );
    assert!(stats.transforming >= 400 * MILLISECOND, "{stats:?}");
    // To sleep takes no processor, where the system tells.
    #[cfg(unix)]
    assert!(stats.cpu < stats.transforming, "{stats:?}");
    assert!(stats.to_string().starts_with("input-bound"), "{stats}");
}

#[test]
fn a_slow_consumer_is_what_the_workers_wait_for() {
    let mut loader = builder().workers(1).prefetch(2).build().unwrap();
    for batch in loader.epoch(0) {
        batch.unwrap();
        std::thread::sleep(2 * MILLISECOND);
    }
    let stats = loader.stats();
    assert!(stats.consuming >= 200 * MILLISECOND, "{stats:?}");
    assert!(
        stats.waiting < stats.consuming && stats.idle > stats.reading,
        "{stats:?}"
    );
}

#[test]
fn epochs_are_told_apart() {
    let mut loader = builder().build().unwrap();
    for epoch in 0..3 {
        let before = loader.stats();
        loader.epoch(epoch).for_each(|batch| drop(batch.unwrap()));
        assert_eq!(loader.stats().since(&before).samples, 400);
    }
    let stats = loader.stats();
    assert_eq!(
        stats.elapsed(),
        stats.waiting + stats.delivering + stats.consuming
    );
}
