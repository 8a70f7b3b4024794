//! Whole training runs on CIFAR-10, up to a given share of right answers on the test set.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use feedline_pipeline::Source;
use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::dataset::Cifar10;
use feedline_pipeline::source::Subset;
use feedline_trainer::optim::{Adam, Schedule};
use feedline_trainer::{Input, Replicas, Trainer, models};

use crate::figures::Figure;
use crate::loaders::Kind;
use crate::machine::peak_memory;
use crate::report::RATE;
use crate::workload::{Pictures, Precision};

const BATCH: usize = 128;
const LEARNING_RATE: f32 = 0.004;
const DROPOUT: f32 = 0.1;

/// A run of `cifar_cnn`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Run {
    pub(crate) precision: Precision,
    pub(crate) kind: Kind,
    /// Percent of right answers to reach
    #[arg(long)]
    pub(crate) target: f64,
    #[arg(long)]
    pub(crate) epochs: u64,
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Only the first so many pictures of each set
    #[arg(long)]
    pub(crate) samples: Option<usize>,
}

impl Run {
    /// In tables.
    pub(crate) fn work(precision: Precision) -> String {
        format!("cifar_cnn {precision} {BATCH}")
    }

    /// Trains with pictures augmented by the GPU, and the whole loop around it, on one GPU.
    pub(crate) fn measure(&self, gpu: &Gpu) -> Result<Vec<Figure>, Box<dyn Error>> {
        let cifar = Cifar10::open(&self.data)?;
        let some = |source: Arc<dyn Source>| -> Result<Arc<dyn Source>, Box<dyn Error>> {
            Ok(match self.samples {
                Some(most) => Arc::new(Subset::new(source, (0..most).collect::<Vec<_>>())?),
                None => source,
            })
        };
        let fitted = Trainer::new(|device| models::cifar_cnn(DROPOUT, 1, device))
            .optimizer(Adam::new(LEARNING_RATE))
            .schedule(Schedule::one_cycle())
            .replicas(Replicas::gpu_count(1)?)
            .precision(self.precision.into())
            .resident(self.kind == Kind::Resident)
            .batch_size(BATCH)
            .epochs(self.epochs)
            .seed(1)
            .progress(false)
            .fit(
                Input::new(some(cifar.train)?, Pictures::Color.transform()),
                Some(Input::new(some(cifar.test)?, Pictures::plain())),
            )?;

        let (work, system) = (
            Self::work(self.precision),
            format!("trainer, {}", self.kind),
        );
        let figure = |name: &str, value| Figure::new(&work, &system, name, value);
        let epochs = &fitted.history.epochs;
        let percent =
            |place: usize| -> Option<f64> { Some(100.0 * epochs.get(place)?.test?.accuracy) };
        let best = (0..epochs.len()).filter_map(percent).fold(0.0, f64::max);
        let mut figures = vec![figure("best %", best)];
        // Without these two it was not reached.
        if let Some(last) = (0..epochs.len()).find(|place| percent(*place) >= Some(self.target)) {
            let seconds = epochs[..=last]
                .iter()
                .map(|epoch| epoch.duration.as_secs_f64());
            let name = format!("epochs to {} %", self.target);
            figures.push(figure(&name, (last + 1) as f64));
            figures.push(figure("seconds to it", seconds.sum()));
        }
        // In the first epoch algorithms are chosen and memory is made.
        let later = epochs.get(1..).unwrap_or_default();
        let samples: f64 = later.iter().map(|epoch| epoch.train.samples as f64).sum();
        let seconds = |of: fn(&feedline_trainer::fit::EpochRecord) -> std::time::Duration| -> f64 {
            later.iter().map(|epoch| of(epoch).as_secs_f64()).sum()
        };
        let all = seconds(|epoch| epoch.duration);
        if all > 0.0 {
            let waited = seconds(|epoch| epoch.data_wait);
            figures.push(figure(RATE, samples / all));
            figures.push(figure("waiting for data %", 100.0 * waited / all));
        }
        if let Some(bytes) = peak_memory(gpu) {
            figures.push(figure("peak MiB", bytes as f64 / f64::from(1 << 20)));
        }
        Ok(figures)
    }

    /// As the child takes it.
    pub(crate) fn words(&self) -> Vec<String> {
        let Self {
            precision,
            kind,
            target,
            epochs,
            data,
            samples,
        } = self;
        let mut words = vec!["accuracy".into(), precision.to_string(), kind.to_string()];
        words.extend(["--target".into(), target.to_string()]);
        words.extend(["--epochs".into(), epochs.to_string()]);
        words.extend(["--data".into(), data.display().to_string()]);
        if let Some(samples) = samples {
            words.extend(["--samples".into(), samples.to_string()]);
        }
        words
    }
}

impl From<Precision> for feedline_trainer::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Tf32 => Self::Tf32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}
