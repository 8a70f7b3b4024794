//! What the training examples share.

use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::Args;
use feedline_pipeline::dataset::Dataset;
use feedline_trainer::Result;
use feedline_trainer::fit::{Fitted, Input, Trainer};
use feedline_trainer::nn::Model;
use feedline_trainer::optim::Adam;
use feedline_trainer::parallel::Replicas;

/// Options of every training example.
#[derive(Args, Debug)]
pub(crate) struct Training {
    /// Folder with the data set, extracted or as its authors' archives [default: data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Fetch the data set into the folder if it isn't there
    #[arg(long)]
    pub(crate) download: bool,
    /// Epochs to train
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// Rows of a batch, of all replicas together
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<usize>,
    /// CPU replicas, each with its shard of every batch [default: one per processor core]
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<usize>,
    /// Learning rate of Adam
    #[arg(long, value_name = "RATE", default_value_t = 0.001)]
    pub(crate) learning_rate: f32,
    /// What weights, order, augmentation and dropout follow from
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
}

impl Training {
    /// Where the data set is looked for.
    pub(crate) fn folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("data"))
    }

    /// Trains what `model` builds, and prints what came of it.
    pub(crate) fn run<M: Model>(
        &self,
        dataset: &Dataset,
        [train, test]: [Input; 2],
        [epochs, batch_size]: [usize; 2],
        model: impl Fn(&Device) -> Result<M> + Sync,
    ) -> Result<Fitted<M>> {
        let replicas = match self.replicas {
            Some(count) => Replicas::cpu(count)?,
            None => Replicas::auto(),
        };
        let epochs = self.epochs.unwrap_or(epochs as u64);
        let batch_size = self.batch_size.unwrap_or(batch_size);
        println!(
            "{}: {} pictures to train on, {} to test on; {epochs} epochs, batches of {batch_size}, on {replicas}",
            dataset.name,
            dataset.train.len(),
            dataset.test.len()
        );
        let fitted = Trainer::new(model)
            .optimizer(Adam::new(self.learning_rate))
            .epochs(epochs)
            .batch_size(batch_size)
            .replicas(replicas)
            .seed(self.seed)
            .fit(train, Some(test))?;
        println!("\n{}", fitted.history);
        Ok(fitted)
    }
}

/// Ends the program with what went wrong, in words.
pub(crate) fn report(result: Result<()>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
