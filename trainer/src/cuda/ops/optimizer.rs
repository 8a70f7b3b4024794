//! The optimizers' steps.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, PushKernelArg};

use super::{check, count, push_mut, run, threads};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Error, Result, invalid};
use crate::optim::{Adam, Rule};

/// What a rule keeps for each parameter.
#[derive(Debug)]
pub(crate) struct State {
    /// How many steps were made.
    steps: i32,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Adam {
        means: CudaSlice<f32>,
        squares: CudaSlice<f32>,
    },
    Sgd {
        velocities: CudaSlice<f32>,
    },
}

impl State {
    /// For a rule that has made no step.
    pub(crate) fn new(context: &Context, rule: &Rule, parameters: usize) -> Result<Self> {
        count("number of parameters", &[parameters])?;
        let zeros = || {
            // A kernel may be given no number, but no memory that is none.
            let zeros = context.gpu.stream().alloc_zeros(parameters.max(1));
            zeros.map_err(Error::cuda("allocate an optimizer's memory"))
        };
        let kept = match rule {
            Rule::Adam { .. } => Kept::Adam {
                means: zeros()?,
                squares: zeros()?,
            },
            Rule::Sgd { .. } => Kept::Sgd {
                velocities: zeros()?,
            },
        };
        Ok(Self { steps: 0, kept })
    }

    /// Makes one step of the rule that this is the state of, with its bits on the CPU. `factor` is the schedule's. `copy`
    /// gets the new values as `T`.
    pub(crate) fn step<T: Real>(
        &mut self,
        context: &Context,
        rule: &Rule,
        factor: f32,
        values: &mut CudaViewMut<'_, f32>,
        gradients: &CudaView<'_, f32>,
        copy: Option<&mut CudaViewMut<'_, T>>,
    ) -> Result<()> {
        check("gradients", gradients.len(), values.len())?;
        check("values, and those before", values.len().max(1), self.len())?;
        if let Some(copy) = &copy {
            check("copy of the values", copy.len(), values.len())?;
        }
        let count = count("number of parameters", &[values.len()])?;
        self.steps = self.steps.saturating_add(1);
        let stream = context.gpu.stream();
        match (&mut self.kept, rule) {
            (
                Kept::Adam { means, squares },
                &Rule::Adam {
                    learning_rate,
                    beta1,
                    beta2,
                    epsilon,
                },
            ) => {
                let rate = Adam::rate(learning_rate, factor, [beta1, beta2], self.steps);
                let mut launch = stream.launch_builder(context.kernel("adam", T::SUFFIX)?);
                launch.arg(&count).arg(&rate);
                launch.arg(&beta1).arg(&beta2).arg(&epsilon);
                launch.arg(values).arg(gradients).arg(means).arg(squares);
                push_mut(&mut launch, copy);
                // SAFETY: as the kernel has them; the lengths were compared.
                unsafe { run(&mut launch, threads(count)) }
            }
            (
                Kept::Sgd { velocities },
                &Rule::Sgd {
                    learning_rate,
                    momentum,
                    nesterov,
                },
            ) => {
                let rate = learning_rate * factor;
                let mut launch = stream.launch_builder(context.kernel("sgd", T::SUFFIX)?);
                launch.arg(&count).arg(&rate).arg(&momentum).arg(&nesterov);
                launch.arg(values).arg(gradients).arg(velocities);
                push_mut(&mut launch, copy);
                // SAFETY: as the kernel has them; the lengths were compared.
                unsafe { run(&mut launch, threads(count)) }
            }
            (_, rule) => {
                let expected = "the rule that the steps before were made with";
                Err(invalid("rule", format!("{rule:?}"), expected))
            }
        }
    }

    /// How many numbers of each kind are kept.
    fn len(&self) -> usize {
        match &self.kept {
            Kept::Adam { means, .. } => means.len(),
            Kept::Sgd { velocities } => velocities.len(),
        }
    }
}
