//! What is worked out before a loader sets anything aside.

use std::sync::Arc;

use super::resident::{Samples, Upload};
use super::slot::SlotSize;
use super::streaming::{bytes_sections, values_sections};
use super::{CudaElement, CudaLoaderBuilder, CudaPlan};
use crate::error::{Error, Result, invalid};
use crate::loader::{LoaderBuilder, Plan};
use crate::order::Draw;
use crate::sink::Host;
use crate::source::Shape;
use crate::transform::lowered::Lowered;
use crate::transform::{Program, Transform};

/// Of a loader's batches.
#[derive(Debug)]
pub(super) struct Sizes<T: CudaElement> {
    pub(super) program: Program<T>,
    /// What the GPU does, if it does.
    pub(super) lowered: Option<Lowered>,
    pub(super) slot: SlotSize,
    slots: usize,
    /// Bytes of the draws of a batch, which a resident source's loader keeps.
    draw_bytes: usize,
}

impl<T: CudaElement> Sizes<T> {
    /// Of the host's memory: all slots, and the draws of a batch.
    pub(super) fn host_bytes(&self) -> usize {
        let slots = self.slots.saturating_mul(self.slot.host_bytes());
        slots.saturating_add(self.draw_bytes)
    }

    /// Of a stored sample and of a row.
    pub(super) fn shapes(&self) -> (Shape, Shape) {
        (self.program.input_shape(), self.program.output_shape())
    }
}

impl<T: CudaElement> CudaLoaderBuilder<T> {
    pub(super) fn sizes(&self) -> Result<Sizes<T>> {
        if self.slots < 2 {
            return Err(invalid(
                "number of slots on the GPU",
                self.slots,
                "at least 2",
            ));
        }
        let inner = &self.inner;
        let program = Program::<T>::new(&inner.transform, inner.source.shape())?;
        let lowered = program.lower();
        if self.resident {
            if lowered.is_none() {
                return Err(not_resident());
            }
            if inner.source.len() >= u32::MAX as usize {
                let expected = format!("below {} for a resident source", u32::MAX);
                return Err(invalid("number of samples", inner.source.len(), expected));
            }
        }
        let (input, output) = (program.input_shape(), program.output_shape());
        let rows = inner.shard.rows(inner.batch_size).len();
        // More than any of the sums below.
        let row = [
            input.elements(),
            output.elements().saturating_mul(size_of::<T>()),
        ];
        let row = row.iter().fold(8 * program.plan_words(), |sum, &bytes| {
            sum.saturating_add(bytes)
        });
        if rows.saturating_add(1).saturating_mul(row) > isize::MAX as usize {
            return Err(self.too_small(usize::MAX));
        }
        let plan_words = program.plan_words();
        let input_bytes = match &lowered {
            Some(_) if self.resident => rows * plan_words * size_of::<u32>(),
            Some(_) => bytes_sections(rows, plan_words, input)[2].end,
            None => values_sections::<T>(rows, output)[1].end,
        };
        let own_lines = lowered.as_ref().is_some_and(|all| all.constant.is_none());
        let slot = SlotSize {
            rows,
            input_bytes,
            lines: if own_lines {
                2 * rows * input.channels
            } else {
                0
            },
            elements: output.elements(),
        };
        let slots = self.slots;
        let draw_bytes = if self.resident {
            rows * size_of::<Draw>()
        } else {
            0
        };
        Ok(Sizes {
            program,
            lowered,
            slot,
            slots,
            draw_bytes,
        })
    }

    /// A loader of samples as they are stored, in the memory that the slots leave.
    pub(super) fn bytes(&self, sizes: &Sizes<T>) -> Result<LoaderBuilder<Host<u8>>> {
        let builder = self.inner.clone().transform(Transform::new());
        let budget = self.without(sizes.host_bytes())?;
        Ok(builder.sink(Host::default()).memory_budget(budget))
    }

    /// A loader of transformed samples, in the memory that the slots leave.
    pub(super) fn values(&self, sizes: &Sizes<T>) -> Result<LoaderBuilder<Host<T>>> {
        let budget = self.without(sizes.host_bytes())?;
        Ok(self.inner.clone().memory_budget(budget))
    }

    /// Of which only the positions are wanted: no memory.
    pub(super) fn positions(&self) -> LoaderBuilder<Host<u8>> {
        let builder = self.inner.clone().transform(Transform::new());
        let mut builder = builder.sink(Host::default()).memory_budget(usize::MAX);
        (builder.workers, builder.prefetch) = (Some(1), None);
        builder
    }

    /// How a resident source is copied, in the memory that the slots and the order's tables leave.
    pub(super) fn upload(&self, sizes: &Sizes<T>, positions: &Plan) -> Result<Upload> {
        let beside = sizes.host_bytes().saturating_add(positions.order_bytes);
        let (budget, patience) = (self.without(beside)?, self.inner.stall_timeout);
        let mut upload = Upload::new(&*self.inner.source, budget, patience);
        upload.workers = self.inner.workers;
        upload.progress = self.progress.clone();
        Ok(upload)
    }

    /// The budget without so many bytes.
    fn without(&self, bytes: usize) -> Result<usize> {
        let rest = self.inner.memory_budget.checked_sub(bytes);
        rest.ok_or_else(|| self.too_small(bytes))
    }

    fn too_small(&self, needed: usize) -> Error {
        Error::BudgetTooSmall {
            budget: self.inner.memory_budget,
            needed,
            slots: self.slots,
            workers: 0,
        }
    }

    pub(super) fn streaming_plan(&self, sizes: &Sizes<T>, inner: &Plan) -> CudaPlan {
        CudaPlan {
            host_bytes: inner.bytes() + sizes.host_bytes(),
            ..self.plan_of(sizes, inner)
        }
    }

    pub(super) fn resident_plan(
        &self,
        sizes: &Sizes<T>,
        positions: &Plan,
        upload: &Upload,
    ) -> Result<CudaPlan> {
        let own = sizes.host_bytes() + positions.order_bytes;
        let source: Arc<_> = Arc::clone(&self.inner.source);
        let copying = upload.host_bytes(&source);
        let copying =
            copying.map_err(|error| beside(error, self.inner.memory_budget - upload.budget))?;
        let plan = self.plan_of(sizes, positions);
        Ok(CudaPlan {
            host_bytes: own + copying,
            gpu_bytes: plan.gpu_bytes.saturating_add(Samples::gpu_bytes(&*source)),
            ..plan
        })
    }

    /// With the slots alone as the GPU's memory, and none of the host's.
    fn plan_of(&self, sizes: &Sizes<T>, positions: &Plan) -> CudaPlan {
        CudaPlan {
            samples: positions.samples,
            steps: positions.steps,
            rows: positions.rows,
            shape: sizes.program.output_shape(),
            element: T::NAME,
            layout: self.layout,
            resident: self.resident,
            transformed_on_gpu: sizes.lowered.is_some(),
            slots: self.slots,
            host_bytes: 0,
            gpu_bytes: self.slots.saturating_mul(sizes.slot.gpu_bytes::<T>()),
        }
    }
}

/// The error of a loader whose budget was reduced by what lies `beside` it, in terms of the whole.
pub(super) fn beside(error: Error, bytes: usize) -> Error {
    match error {
        Error::BudgetTooSmall {
            budget,
            needed,
            slots,
            workers,
        } => Error::BudgetTooSmall {
            budget: budget.saturating_add(bytes),
            needed: needed.saturating_add(bytes),
            slots,
            workers,
        },
        error => error,
    }
}

/// The error of a transform that only the host can do.
pub(super) fn not_resident() -> Error {
    invalid(
        "transform",
        "one that the host must do",
        "one without map, for up to 64 channels and pictures of up to 16 million pixels, as the source is resident: or stream it",
    )
}
