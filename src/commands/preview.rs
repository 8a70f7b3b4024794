//! `feedline data preview`

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};
use feedline::Result;
use feedline::data::DataName;
use feedline::numbers::seed;
use feedline::recipe::{CifarCnn, Resnet9};
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::{Loader, Transform};
use feedline_trainer::replace_file;
use feedline_trainer::run::{Sample, sheet};
use serde_json::json;

use super::data::Place;
use super::{ModelName, Output, count, text};

const EXAMPLES: &str = "\
Examples:
  feedline data preview cifar10
  feedline data preview mnist --split test --count 100 -o digits.png
  feedline data preview cifar10 --augment resnet9 -o augmented.png";

/// Draw pictures of a data set with their classes, as a PNG file
///
/// They are chosen at random, by the seed.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Preview {
    #[command(flatten)]
    place: Place,
    /// The file to write [default: NAME.png]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How many pictures, at most 100
    #[arg(long, value_name = "N", default_value_t = 40, allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(1..=100))]
    count: u8,
    /// From which part of the set
    #[arg(long, value_enum, default_value_t)]
    split: Split,
    /// Show pictures as this network sees them in training. Numbers from the smallest to the largest become black to white
    #[arg(long, value_name = "MODEL", value_enum)]
    augment: Option<ModelName>,
    /// What the choice, and random changes, follow from
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed, allow_negative_numbers = true)]
    seed: u64,
}

/// The parts of a data set.
#[derive(ValueEnum, Debug, Clone, Copy, Default)]
enum Split {
    /// What is trained on
    #[default]
    Train,
    /// What is tested on
    Test,
}

/// The networks' options as they are by default.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    cifar_cnn: CifarCnn,
    #[command(flatten)]
    resnet9: Resnet9,
}

impl Preview {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let usual = self
            .augment
            .map_or(DataName::Cifar10, ModelName::usual_data);
        let dataset = self.place.open(usual)?;
        let pictures = self.pictures(&dataset)?;
        let part = match self.split {
            Split::Train => "train",
            Split::Test => "test",
        };
        let seen = match self.augment {
            Some(_) => ", as training sees them",
            None => "",
        };
        let count = count(pictures.len(), "picture");
        let note = format!("{count} of the {part} set{seen}");
        let png = sheet(&dataset.name, &note, &dataset.class_names, &pictures)?;
        let path = self
            .output
            .clone()
            .unwrap_or_else(|| format!("{}.png", self.place.title(&dataset)).into());
        replace_file(&path, &png)?;
        output.result(
            path.display(),
            &json!({ "file": text(&path), "pictures": pictures.len() }),
        )
    }

    fn pictures(&self, dataset: &Dataset) -> Result<Vec<Sample>> {
        let source = match self.split {
            Split::Train => &dataset.train,
            Split::Test => &dataset.test,
        };
        let transform = match self.augment {
            Some(model) => {
                model.check(dataset)?;
                let usual = Usual::parse_from::<[&str; 0], &str>([]);
                model.recipe(&usual.cifar_cnn, &usual.resnet9).train
            }
            None => Transform::new(),
        };
        let count = usize::from(self.count).min(source.len());
        let mut loader = Loader::builder(source.clone())
            .batch_size(count)
            .shuffle(true)
            .seed(self.seed)
            .transform(transform)
            .take(count)
            .workers(1)
            .build()?;
        let mut pictures = Vec::new();
        for batch in loader.epoch(0) {
            let batch = batch?;
            let shape = batch.shape();
            let values = batch.pixels();
            let (low, high) = match self.augment {
                Some(_) => values
                    .iter()
                    .fold((f32::MAX, f32::MIN), |(low, high), &own| {
                        (low.min(own), high.max(own))
                    }),
                None => (0.0, 255.0),
            };
            let scale = 255.0 / (high - low).max(f32::MIN_POSITIVE);
            let rows = values.chunks_exact(shape.elements());
            for (values, &label) in rows.zip(batch.labels()) {
                let label = label as usize;
                pictures.push(Sample {
                    shape: [shape.channels, shape.height, shape.width],
                    pixels: values
                        .iter()
                        .map(|own| ((own - low) * scale).round() as u8)
                        .collect(),
                    predicted: label,
                    label,
                });
            }
        }
        Ok(pictures)
    }
}
