//! Your own data set: a `Source` in thirty lines, and the loader does the rest.
//!
//!     cargo run --release --example own_dataset
//!     cargo run --release --example own_dataset -- --damaged 5000
//!
//! The data here are pictures of handwriting-like strokes that are drawn on demand; yours may lie in a data base, in
//! files of another format, or in memory. Shuffling, augmentation, batches, prefetching and shards for several
//! replicas come from the loader.

use std::process::ExitCode;

use clap::Parser;
use feedline_pipeline::{BoxError, Error, Loader, Result, Sample, Shape, Source, Transform};

/// Stream a data set of one's own through the loader
///
/// A source says how many samples there are and hands out any of them, from any thread. Order, augmentation, batches
/// and prefetching are the loader's. Prints the loader's plan, then what two epochs brought.
#[derive(Parser)]
struct Arguments {
    /// Samples in the data set
    #[arg(long, default_value_t = 10_000)]
    samples: usize,
    /// Rows of a batch
    #[arg(long, default_value_t = 128)]
    batch_size: usize,
    /// Worker threads [default: one per processor]
    #[arg(long)]
    workers: Option<usize>,
    /// Let the sample with this index fail, to see how an error of a source arrives
    #[arg(long, value_name = "INDEX")]
    damaged: Option<usize>,
}

/// Pictures of a line from the top to the bottom: does it lean to the left (0) or to the right (1)?
struct Strokes {
    samples: usize,
    /// A sample that can't be read, as happens with data from elsewhere.
    damaged: Option<usize>,
}

impl Source for Strokes {
    fn len(&self) -> usize {
        self.samples
    }

    fn shape(&self) -> Shape {
        Shape::new(1, 28, 28)
    }

    fn classes(&self) -> usize {
        2
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        if self.damaged == Some(index) {
            // How a source of yours reports what went wrong: any error, with the sample's index. It ends the epoch.
            let source = BoxError::from("damaged, as --damaged asked for");
            return Err(Error::Sample {
                index,
                stage: "source",
                source,
            });
        }
        let label = (index % 2) as u32;
        let start = 4 + index / 2 % 20;
        scratch.clear();
        scratch.resize(28 * 28, 0);
        for row in 0..28 {
            let column = if label == 0 {
                start.saturating_sub(row / 4)
            } else {
                (start + row / 4).min(27)
            };
            scratch[row * 28 + column] = 255;
        }
        Ok(Sample {
            pixels: scratch,
            label,
        })
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut builder = Loader::builder(Strokes {
        samples: arguments.samples,
        damaged: arguments.damaged,
    })
    .batch_size(arguments.batch_size)
    .shuffle(true)
    .seed(1)
    .transform(Transform::new().random_crop(28, 28, 2).scale());
    if let Some(workers) = arguments.workers {
        builder = builder.workers(workers);
    }
    let mut loader = builder.build()?;
    println!("{}", loader.plan());

    for epoch in 0..2 {
        let mut samples = 0;
        let mut leaning_right = 0;
        let start = std::time::Instant::now();
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            samples += batch.info().samples;
            leaning_right += batch.labels().iter().filter(|&&label| label == 1).count();
        }
        let rate = samples as f64 / start.elapsed().as_secs_f64();
        println!(
            "epoch {}: {samples} samples, {leaning_right} of them lean to the right, {rate:.0} samples/s",
            epoch + 1
        );
    }
    Ok(())
}
