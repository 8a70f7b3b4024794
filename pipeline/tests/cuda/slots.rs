//! Slots are overwritten when nobody reads them any more, and not before; and whoever holds them all is told so.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::driver::{CudaStream, DriverError, result, sys};
use feedline_pipeline::{Error, Loader, Random, Result, Transform};

use crate::common::{SHAPE, pictures};
use crate::{Bits, both, content, gpus, host_epochs};

fn builder(len: usize) -> feedline_pipeline::loader::LoaderBuilder {
    let transform = Transform::new()
        .random_flip()
        .scale()
        .random_contrast(0.5, 1.5);
    let builder = Loader::builder(pictures(len)).batch_size(8).shuffle(true);
    builder.transform(transform).workers(1)
}

/// Whether streams may go on.
static OPEN: AtomicBool = AtomicBool::new(true);

/// Held by the test that closes it.
static CLOSING: Mutex<()> = Mutex::new(());

/// Holds the stream up until that is so, as if it computed.
fn hold_up(stream: &CudaStream) {
    unsafe extern "C" fn wait(_: *mut c_void) {
        while !OPEN.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    // SAFETY: the stream lives, and the function is given nothing.
    let launched =
        unsafe { result::stream::launch_host_function(stream.cu_stream(), wait, null_mut()) };
    launched.unwrap();
}

#[test]
fn what_the_consumers_stream_still_reads_is_not_overwritten() {
    let _closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    for gpu in gpus() {
        let expected = host_epochs::<f32>(&builder(80), 0..4);
        for mut loader in both(builder(80).cuda(&gpu)) {
            // Nothing waits for the device: batches are dropped as soon as reading them is launched.
            let stream = gpu.stream();
            let rows = 8 * SHAPE.elements();
            let mut values = stream.alloc_zeros::<f32>(expected.len() * rows).unwrap();
            let mut labels = stream.alloc_zeros::<u32>(expected.len() * 8).unwrap();
            for (batch, i) in loader.epochs(0..4).zip(0..) {
                let batch = batch.unwrap();
                match batch.info().step {
                    0 => {
                        OPEN.store(false, Ordering::Release);
                        hold_up(stream);
                    }
                    3 => {
                        // Both slots have other batches by now, unless the copy stream waits as it should.
                        std::thread::sleep(Duration::from_millis(200));
                        OPEN.store(true, Ordering::Release);
                    }
                    _ => {}
                }
                let mut to = values.slice_mut(i * rows..(i + 1) * rows);
                stream.memcpy_dtod(&batch.images(), &mut to).unwrap();
                let mut to = labels.slice_mut(i * 8..(i + 1) * 8);
                stream.memcpy_dtod(&batch.labels(), &mut to).unwrap();
            }
            let values = stream.clone_dtoh(&values).unwrap();
            let labels = stream.clone_dtoh(&labels).unwrap();
            for (i, (_, bits, classes, _)) in expected.iter().enumerate() {
                let found = &values[i * rows..(i + 1) * rows];
                assert!(
                    found
                        .iter()
                        .map(|value| value.bits())
                        .eq(bits.iter().copied())
                );
                assert_eq!(&labels[i * 8..(i + 1) * 8], classes);
            }
        }
    }
}

#[test]
fn an_earlier_error_does_not_have_a_slot_overwritten_while_it_is_read() {
    let _closing = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
    // On one GPU, and not for long: what is held up there also holds up other tests on it.
    let short = Duration::from_secs(1);
    for gpu in gpus().into_iter().take(1) {
        let expected = host_epochs::<f32>(&builder(80), 0..1);
        for mut loader in both(builder(80).stall_timeout(short).cuda(&gpu)) {
            let stream = gpu.stream();
            let mut values = stream.alloc_zeros::<f32>(8 * SHAPE.elements()).unwrap();
            let batch = loader.epoch(0).next().unwrap().unwrap();
            OPEN.store(false, Ordering::Release);
            hold_up(stream);
            stream.memcpy_dtod(&batch.images(), &mut values).unwrap();
            // As if dropping something had failed.
            let failed = DriverError(sys::CUresult::CUDA_ERROR_INVALID_VALUE);
            stream.context().record_err(Err::<(), _>(failed));
            drop(batch);
            // One of these may report the error; both slots get other batches.
            for epoch in 1..4 {
                drop(loader.epoch(epoch).next());
            }
            std::thread::sleep(Duration::from_millis(200));
            OPEN.store(true, Ordering::Release);
            let _ = stream.context().check_err();
            let values = stream.clone_dtoh(&values).unwrap();
            let bits = values.iter().map(|value| value.bits());
            assert!(bits.eq(expected[0].1.iter().copied()));
        }
    }
}

/// Reads some batches, keeps some of them, and drops the loader at any moment.
fn drop_at_any_moment(gpu: &Gpu, seed: u64) {
    let mut random = Random::new([seed]);
    let expected = host_epochs::<f32>(&builder(60), 0..2);
    for mut loader in both(builder(60).cuda(gpu).slots(3)) {
        let mut kept = Vec::new();
        let read = random.below(12) as usize;
        for (batch, number) in loader.epochs(0..2).take(read).zip(0..) {
            let batch = batch.unwrap();
            if random.below(4) == 0 && kept.len() < 2 {
                kept.push((number, batch));
            }
        }
        if random.below(2) == 0 {
            drop(loader.epoch(5));
        }
        if random.below(2) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(2000)));
        }
        drop(loader);
        // What is kept stays what it is.
        for (number, batch) in kept {
            assert_eq!(content(&batch), expected[number]);
        }
    }
}

#[test]
fn a_loader_can_be_dropped_at_any_moment() {
    for gpu in gpus() {
        for seed in 0..20 {
            drop_at_any_moment(&gpu, seed);
        }
    }
}

/// On a busy machine a short timeout may pass without a reason: then once more.
fn unless_stalled<R>(mut attempt: impl FnMut() -> Result<R>) -> R {
    for _ in 0..30 {
        match attempt() {
            Err(Error::Stalled { .. } | Error::GpuStalled { .. }) => {}
            result => return result.unwrap(),
        }
    }
    panic!("nothing comes");
}

#[test]
fn holding_every_slot_is_an_error_and_not_a_deadlock() {
    for gpu in gpus() {
        let short = Duration::from_secs(1);
        let expected = host_epochs::<f32>(&builder(80), 0..1);
        for mut loader in both(builder(80).stall_timeout(short).cuda(&gpu).slots(3)) {
            let (held, error) = unless_stalled(|| {
                let mut epoch = loader.epoch(0);
                let held: Vec<_> = epoch.by_ref().take(3).collect::<Result<_>>()?;
                let error = epoch.next().unwrap().unwrap_err();
                assert!(epoch.next().is_none());
                Ok((held, error))
            });
            assert!(
                matches!(error, Error::SlotsHeld { slots: 3, .. }),
                "{error}"
            );
            drop(held);
            let found = unless_stalled(|| {
                let batches = loader.epoch(0);
                let found = batches.map(|batch| Ok(content(&batch?)));
                found.collect::<Result<Vec<_>>>()
            });
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn batches_may_go_back_from_another_thread() {
    for gpu in gpus() {
        for mut loader in both(builder(80).cuda(&gpu)) {
            let (sender, receiver) = std::sync::mpsc::sync_channel(0);
            std::thread::scope(|scope| {
                scope.spawn(move || receiver.into_iter().for_each(drop));
                for batch in loader.epochs(0..3) {
                    sender.send(batch.unwrap()).unwrap();
                }
                drop(sender);
            });
        }
    }
}
