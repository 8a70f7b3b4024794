//! Memory is what the plan says, and the plan is what the budget allows.

use feedline_pipeline::cuda::CudaLoaderBuilder;
use feedline_pipeline::{Error, Loader, Result, Sample, Shape, Source, Transform, bf16};

use crate::common::{SHAPE, pictures};
use crate::{epochs, gpus, host_epochs};

#[test]
fn the_memory_budget_holds_the_host_s_slots_and_the_staging() {
    for gpu in gpus() {
        for (resident, map) in [(false, false), (false, true), (true, false)] {
            let transform = if map {
                Transform::new().map(|_| Ok(()))
            } else {
                Transform::new()
            };
            let inner = |budget| {
                let builder = Loader::builder(pictures(64)).batch_size(16).workers(2);
                builder.transform(transform.clone()).memory_budget(budget)
            };
            let builder =
                |budget| -> CudaLoaderBuilder { inner(budget).cuda(&gpu).resident(resident) };
            let mut needed = 1;
            // The error says what is needed at least: raised to that, and again if that was not all.
            let plan = loop {
                match builder(needed).plan() {
                    Ok(plan) => break plan,
                    Err(Error::BudgetTooSmall {
                        budget,
                        needed: more,
                        ..
                    }) => {
                        assert_eq!(budget, needed);
                        assert!(more > needed, "{more}");
                        needed = more;
                    }
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(plan.host_bytes <= needed, "{plan} in {needed} bytes");
            let error = builder(needed - 1).build().unwrap_err();
            assert!(matches!(error, Error::BudgetTooSmall { .. }), "{error}");
            let mut loader = builder(needed).build().unwrap();
            assert_eq!(*loader.plan(), plan);
            assert_eq!(
                epochs(&mut loader, 0..2),
                host_epochs::<f32>(&inner(1 << 20), 0..2)
            );
        }
    }
}

#[test]
fn the_plan_counts_the_gpu_s_memory() {
    for gpu in gpus() {
        let builder = Loader::builder(pictures(64)).batch_size(16).cuda(&gpu);
        let builder = builder.element::<bf16>().slots(3);
        let elements = SHAPE.elements();
        // Of each row a place of four words, a label and the stored bytes; then its values and label.
        let row = 4 * 4 + 4 + elements + 2 * elements + 4;
        assert_eq!(builder.plan().unwrap().gpu_bytes, 3 * 16 * row);
        let resident = builder.resident(true).plan().unwrap();
        let row = 4 * 4 + 2 * elements + 4;
        assert_eq!(resident.gpu_bytes, 3 * 16 * row + 64 * (elements + 4));
    }
}

#[test]
fn the_plan_counts_the_hosts_memory_of_each_slot() {
    for gpu in gpus() {
        for (resident, row) in [(false, 4 * 4 + 4 + SHAPE.elements() + 8), (true, 4 * 4 + 8)] {
            let plan = |slots| {
                let builder = Loader::builder(pictures(64)).batch_size(16).cuda(&gpu);
                builder.slots(slots).resident(resident).plan().unwrap()
            };
            assert_eq!(plan(3).host_bytes - plan(2).host_bytes, 16 * row);
        }
    }
}

/// More pictures than any GPU holds.
struct Endless;

impl Source for Endless {
    fn len(&self) -> usize {
        1 << 30
    }
    fn shape(&self) -> Shape {
        Shape::new(3, 64, 64)
    }
    fn classes(&self) -> usize {
        1
    }
    fn sample<'a>(&'a self, _: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        scratch.clear();
        scratch.resize(self.shape().elements(), 0);
        Ok(Sample {
            pixels: scratch,
            label: 0,
        })
    }
}

#[test]
fn a_source_that_does_not_fit_onto_the_gpu_is_an_error_that_says_how_much_it_needs() {
    for gpu in gpus() {
        let builder = Loader::builder(Endless).batch_size(4).cuda(&gpu);
        let error = builder.clone().resident(true).build().unwrap_err();
        let Error::GpuMemory { needed, free, .. } = error else {
            panic!("{error}");
        };
        assert!(needed > (1 << 30) * 3 * 64 * 64 && free < needed);
        let mut streamed = builder.build().unwrap();
        assert!(streamed.epoch(0).next().unwrap().is_ok());
    }
}

#[test]
fn copying_a_resident_source_says_how_far_it_is() {
    for gpu in gpus() {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Pieces of an eighth of what the budget leaves.
        let builder = Loader::builder(pictures(100)).batch_size(4).workers(1);
        let builder = builder.memory_budget(40_000).cuda(&gpu).resident(true);
        let loader = builder
            .on_progress(move |done, all| sender.send((done, all)).unwrap())
            .build();
        drop(loader.unwrap());
        let steps: Vec<_> = receiver.into_iter().collect();
        assert!(steps.len() > 2 && steps.is_sorted(), "{steps:?}");
        assert_eq!(steps.last(), Some(&(100, 100)));
    }
}

#[test]
fn fewer_than_two_slots_are_an_error() {
    for gpu in gpus() {
        let error = Loader::builder(pictures(9))
            .batch_size(3)
            .cuda(&gpu)
            .slots(1)
            .build()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("number of slots on the GPU is 1, expected at least 2"),
            "{error}"
        );
    }
}
