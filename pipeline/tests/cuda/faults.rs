//! Samples that fail, and sources that never return.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use feedline_pipeline::batch::Failure;
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Error, Loader, OnError, Result, Sample, Shape, Source, Tail, Transform};
use proptest::prelude::*;

use crate::common::{SHAPE, pictures};
use crate::{Content, content, gpus, host_content};

/// [`pictures`], some of which can't be read, and one that waits until it may.
struct Damaged {
    pictures: InMemory,
    bad: BTreeSet<usize>,
    wait_at: Option<usize>,
    open: Arc<AtomicBool>,
}

impl Damaged {
    fn new(len: usize, bad: BTreeSet<usize>) -> Self {
        Self {
            pictures: pictures(len),
            bad,
            wait_at: None,
            open: Arc::default(),
        }
    }
}

impl Source for Damaged {
    fn len(&self) -> usize {
        self.pictures.len()
    }
    fn shape(&self) -> Shape {
        SHAPE
    }
    fn classes(&self) -> usize {
        10
    }
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        while self.wait_at == Some(index) && !self.open.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.bad.contains(&index) {
            let source = "damaged".into();
            return Err(Error::Sample {
                index,
                stage: "source",
                source,
            });
        }
        self.pictures.sample(index, scratch)
    }
}

fn builder(source: Damaged) -> LoaderBuilder {
    let transform = Transform::new().random_crop(7, 7, 1).scale().standardize();
    let builder = Loader::builder(source).batch_size(7).shuffle(true).seed(3);
    builder.tail(Tail::Pad).transform(transform).workers(2)
}

/// A batch with the rows that failed in it, or the error in its place.
type Outcome = std::result::Result<(Content, Vec<(usize, usize)>), String>;

fn outcome(batch: Result<Content>, failures: Vec<(usize, usize)>) -> Outcome {
    batch
        .map(|content| (content, failures))
        .map_err(|error| error.to_string())
}

fn rows(failures: &[Failure]) -> Vec<(usize, usize)> {
    failures
        .iter()
        .map(|failure| (failure.row, failure.index))
        .collect()
}

fn policies() -> impl Strategy<Value = OnError> {
    (0usize..3, 0usize..12).prop_map(|(kind, at_most)| match kind {
        0 => OnError::Stop,
        1 => OnError::Skip { at_most },
        _ => OnError::Replace { at_most },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn samples_that_fail_are_let_pass_or_reported_as_by_the_host(
        len in 8usize..40, bad in prop::collection::btree_set(0usize..40, 0..8), policy in policies(),
    ) {
        let gpus = gpus();
        let Some(gpu) = gpus.first() else {
            return Ok(());
        };
        let source = || builder(Damaged::new(len, bad.clone())).on_error(policy);
        let mut host = source().build().unwrap();
        let mut loader = source().cuda(gpu).build().unwrap();
        for epochs in [0..2, 1..2] {
            let expected: Vec<Outcome> = host.epochs(epochs.clone()).map(|batch| match batch {
                Ok(batch) => outcome(Ok(host_content(&batch)), rows(batch.failures())),
                Err(error) => outcome(Err(error), Vec::new()),
            }).collect();
            let found: Vec<Outcome> = loader.epochs(epochs).map(|batch| match batch {
                Ok(batch) => outcome(Ok(content(&batch)), rows(batch.failures())),
                Err(error) => outcome(Err(error), Vec::new()),
            }).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(loader.failed_samples(), host.failed_samples());
            prop_assert_eq!(loader.state().unwrap(), host.state().unwrap());
        }
    }
}

#[test]
fn a_resident_source_that_cannot_be_read_is_an_error_that_names_the_sample() {
    for gpu in gpus() {
        let source = Damaged::new(40, BTreeSet::from([23]));
        let builder = builder(source).on_error(OnError::Skip { at_most: 5 });
        let error = builder.cuda(&gpu).resident(true).build().unwrap_err();
        assert!(matches!(error, Error::Sample { index: 23, .. }), "{error}");
    }
}

#[test]
fn a_source_that_never_returns_is_an_error_and_dropping_the_loader_does_not_wait_for_it() {
    for gpu in gpus() {
        let mut source = Damaged::new(40, BTreeSet::new());
        source.wait_at = Some(30);
        let open = Arc::clone(&source.open);
        let short = Duration::from_secs(1);
        let builder = builder(source).shuffle(false).stall_timeout(short);
        let mut loader = builder.cuda(&gpu).build().unwrap();
        let mut epoch = loader.epoch(0);
        for _ in 0..4 {
            epoch.next().unwrap().unwrap();
        }
        let error = epoch.next().unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                Error::Stalled {
                    epoch: 0,
                    step: 4,
                    ..
                }
            ),
            "{error}"
        );
        assert!(epoch.next().is_none());
        drop(loader);
        // Only for the threads that were left behind.
        open.store(true, Ordering::Release);
    }
}
