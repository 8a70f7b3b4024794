//! A training run, from the options on the command line to the report.
//!
//! A program flattens [`Training`] into its arguments and calls [`Training::run`]: that is all that most examples do. Who
//! wants to say itself what comes of it calls [`Training::job`] and [`Job::fit`], as the command `feedline train` does.

mod job;
mod options;
mod record;

pub use job::{Job, Outcome};
pub use options::{OptimizerName, PrecisionName, ScheduleName, Training};

use candle_core::Device;
use feedline_pipeline::dataset::Dataset;
use feedline_trainer::Replicas;
use feedline_trainer::nn::Model;

use crate::{Recipe, Result, print_once};

impl Training {
    /// Trains the recipe's network, and prints what it is and what came of it.
    ///
    /// # Errors
    ///
    /// As [`Job::fit`].
    pub fn run(&self, dataset: &Dataset, recipe: &Recipe) -> Result<()> {
        let replicas = self.replicas()?;
        let model = recipe.model(dataset, self.seed);
        print_once(format_args!("{}\n", model(&Device::Cpu)?.summary()))?;
        self.run_on(replicas, dataset, recipe, model)
    }

    /// Trains what `model` builds, a network of the program's own, and prints what came of it.
    ///
    /// # Errors
    ///
    /// As [`Job::fit`].
    pub fn run_model<M: Model>(
        &self,
        dataset: &Dataset,
        recipe: &Recipe,
        model: impl Fn(&Device) -> feedline_trainer::Result<M> + Send + Sync + 'static,
    ) -> Result<()> {
        self.run_on(self.replicas()?, dataset, recipe, model)
    }

    fn run_on<M: Model>(
        &self,
        replicas: Replicas,
        dataset: &Dataset,
        recipe: &Recipe,
        model: impl Fn(&Device) -> feedline_trainer::Result<M> + Send + Sync + 'static,
    ) -> Result<()> {
        let job = self.job(dataset, recipe, model, replicas)?;
        print_once(&job)?;
        let outcome = job.fit()?;
        print_once(format_args!("\n{}", outcome.history))?;
        if let Some(loading) = &outcome.loading {
            print_once(format_args!("\n{loading}"))?;
        }
        match outcome.report {
            Some(report) => print_once(format_args!("\n{}", report.display())),
            None => Ok(()),
        }
    }
}
