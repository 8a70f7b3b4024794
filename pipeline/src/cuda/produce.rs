//! Who fills the slots: what a batch is made of, and the thread that does it.

use std::sync::Arc;

use super::CudaElement;
use super::exchange::{Exchange, Seek, Work};
use super::slot::Slot;
use crate::batch::guarded;
use crate::error::{Error, Result};

/// A row of batches without an end, from anywhere.
pub(super) trait Produce<T: CudaElement>: Send {
    /// Makes the batch that `seek` names the next one.
    fn seek(&mut self, seek: Seek) -> Result<()>;

    /// Fills `slot` with the next batch. The device may still be busy with it when this returns.
    fn fill(&mut self, slot: &mut Slot<T>) -> Result<()>;
}

/// What the thread does.
pub(super) fn run<T: CudaElement>(
    exchange: &Arc<Exchange<Slot<T>>>,
    mut producer: Box<dyn Produce<T>>,
) {
    // Whatever happens, whoever waits for the end learns of it.
    let ended = Ended(exchange);
    let mut running = None;
    loop {
        match (exchange.work(running.is_some()), running) {
            (Work::Stop, _) => break,
            (Work::Seek(row, seek), _) => {
                let result = ours(guarded(|| producer.seek(seek)));
                running = result.is_ok().then_some(row);
                if let Err(error) = result {
                    exchange.fail(row, None, error);
                }
            }
            (Work::Fill(mut slot), Some(row)) => match ours(guarded(|| producer.fill(&mut slot))) {
                Ok(()) => exchange.deliver(row, slot),
                Err(error) => {
                    running = None;
                    exchange.fail(row, Some(slot), error);
                }
            },
            // Slots are handed out only while it is running.
            (Work::Fill(_), None) => {}
        }
    }
    // The source, a user's code, is gone before the thread counts as ended.
    drop(producer);
    drop(ended);
}

struct Ended<'a, T: CudaElement>(&'a Arc<Exchange<Slot<T>>>);

impl<T: CudaElement> Drop for Ended<'_, T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A panic here is one of an error or a source that is dropped.
fn ours(result: Result<Result<()>, String>) -> Result<()> {
    result.unwrap_or_else(|message| {
        let call = "an error that it returned";
        Err(Error::SourcePanic { call, message })
    })
}
