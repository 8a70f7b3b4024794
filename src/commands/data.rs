//! `feedline data`

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use feedline::Result;
use feedline::data::{Choice, DataName};
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::{Error, Source};
use serde_json::{Value, json};

use super::preview::Preview;
use super::{Output, count, text};

const EXAMPLES: &str = "\
Examples:
  feedline data fetch cifar10
  feedline data info mnist --data pictures
  feedline data preview cifar10 -o cifar.png
  feedline data verify images=photos";

/// Fetch, check and look at data sets
///
/// A set is looked for in the folder `data`, or the one that FEEDLINE_DATA names, or the one after --data: extracted, or as
/// its authors' archives.
#[derive(Subcommand)]
#[command(after_long_help = EXAMPLES)]
pub(crate) enum Data {
    /// Download a data set, if it isn't there
    ///
    /// A download that was stopped goes on where it was, and what has arrived is compared with the authors' checksum. A
    /// damaged archive that is there is renamed to NAME.damaged, and fetched anew.
    #[command(after_long_help = "\
Examples:
  feedline data fetch mnist
  feedline data fetch cifar10 --data pictures")]
    Fetch(Place),
    /// Read a whole data set, and say whether all of it can be used
    ///
    /// Archives are unpacked, files must have the published number of samples, and every picture and label is read. What is
    /// wrong is said with file and byte, and ends the command with 1.
    #[command(after_long_help = "\
Examples:
  feedline data verify cifar10
  feedline data verify mnist --data pictures && echo fine")]
    Verify(Place),
    /// Print what is in a data set: samples, shape, classes, and what to normalize with
    ///
    /// Mean and standard deviation of each channel are those of the training set, on the scale from 0 to 1: what
    /// Transform::normalize takes behind scale.
    #[command(after_long_help = "\
Examples:
  feedline data info cifar10
  feedline data info fashion-mnist --json | jq .channels")]
    Info(Place),
    Preview(Preview),
}

/// A data set and where it is.
#[derive(Args)]
pub(crate) struct Place {
    /// The data set, or one of your own: images=DIR for a folder of JPEG and PNG pictures, which become 32×32 pixels in colour,
    /// or npy=DIR for NumPy's images.npy and labels.npy
    #[arg(value_name = "NAME", value_parser = SetParser)]
    pub(crate) set: Choice,
    /// The folder with the data set
    #[arg(
        long = "data",
        value_name = "DIR",
        env = "FEEDLINE_DATA",
        default_value = "data"
    )]
    pub(crate) folder: PathBuf,
}

impl Place {
    /// Opens the set; pictures of the user's own get the shape of those of `usual`.
    pub(crate) fn open(&self, usual: DataName) -> Result<Dataset> {
        self.set.open(usual, &self.folder, false)
    }

    /// What files are called that show it.
    pub(crate) fn title(&self, dataset: &Dataset) -> String {
        match &self.set {
            Choice::Named(name) => name.name(),
            _ => dataset.name.to_string(),
        }
    }
}

/// Takes the name of a set, or a folder of the user's own.
#[derive(Clone)]
struct SetParser;

impl TypedValueParser for SetParser {
    type Value = Choice;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Choice, clap::Error> {
        if let Some(own) = Choice::own(value) {
            return Ok(own);
        }
        let names = EnumValueParser::<DataName>::new();
        Ok(Choice::Named(names.parse_ref(command, argument, value)?))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = DataName::value_variants().iter();
        Some(Box::new(names.filter_map(ValueEnum::to_possible_value)))
    }
}

impl Data {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        match self {
            Self::Fetch(place) => {
                let dataset = place.set.open(DataName::Cifar10, &place.folder, true)?;
                let (words, value) = samples(&dataset);
                // Generated pictures lie elsewhere than in the folder.
                let first = dataset.files.first().and_then(|own| own.parent());
                let folder = first.unwrap_or(&place.folder).display();
                output.result(format_args!("{words}, in {folder}"), &value)
            }
            Self::Verify(place) => verify(&place.open(DataName::Cifar10)?, output),
            Self::Info(place) => info(&place.open(DataName::Cifar10)?, output),
            Self::Preview(preview) => preview.run(output),
        }
    }
}

/// The name and how many samples there are.
fn samples(dataset: &Dataset) -> (String, Value) {
    let (train, test) = (dataset.train.len(), dataset.test.len());
    let words = format!(
        "{}: {} to train on, {test} to test on",
        dataset.name,
        count(train, "picture")
    );
    let files: Vec<_> = dataset.files.iter().map(|own| text(own)).collect();
    let value = json!({ "name": dataset.name, "train": train, "test": test, "files": files });
    (words, value)
}

fn verify(dataset: &Dataset, output: &Output) -> Result<()> {
    for source in [&dataset.train, &dataset.test] {
        Statistics::of(&**source)?;
        source.verify()?;
    }
    let (words, mut value) = samples(dataset);
    value["whole"] = true.into();
    output.result(format_args!("{words}; all of them can be read"), &value)
}

fn info(dataset: &Dataset, output: &Output) -> Result<()> {
    let train = Statistics::of(&*dataset.train)?;
    let test = Statistics::of(&*dataset.test)?;
    let (words, mut value) = samples(dataset);
    let shape = dataset.train.shape();
    let channels = train.channels();
    let names = &dataset.class_names;

    let mut lines = vec![
        words,
        format!("shape: {shape} (channels x height x width), a byte each"),
    ];
    for (index, (mean, deviation)) in channels.iter().enumerate() {
        let channel = index + 1;
        lines.push(format!(
            "channel {channel}: mean {mean:.4}, standard deviation {deviation:.4}, of 0 to 1"
        ));
    }
    lines.push(format!("{} classes:", names.len()));
    let longest = names.iter().map(|name| name.chars().count()).max();
    let wide = longest.unwrap_or(0);
    for (label, name) in names.iter().enumerate() {
        let (train, test) = (train.count(label), test.count(label));
        lines.push(format!(
            "  {label:>3}  {name:wide$}  {train:>6} to train on, {test:>6} to test on"
        ));
    }
    lines.push(format!("{} files:", dataset.files.len()));
    let mut files = Vec::new();
    for path in &dataset.files {
        let bytes = fs::metadata(path).map(|own| own.len()).unwrap_or(0);
        lines.push(format!("  {} ({bytes} bytes)", path.display()));
        files.push(json!({ "path": text(path), "bytes": bytes }));
    }

    let classes = names.iter().enumerate().map(|(label, name)| {
        json!({ "name": name, "train": train.count(label), "test": test.count(label) })
    });
    let channels = channels.iter();
    let channels =
        channels.map(|(mean, deviation)| json!({ "mean": mean, "deviation": deviation }));
    value["shape"] = json!([shape.channels, shape.height, shape.width]);
    value["classes"] = classes.collect();
    value["channels"] = channels.collect();
    value["files"] = files.into();
    output.result(lines.join("\n"), &value)
}

/// What all samples of a source have together.
struct Statistics {
    classes: Vec<u64>,
    /// Of each channel the sum of its bytes, and of their squares: whole numbers, so that no bit is lost.
    sums: Vec<[u128; 2]>,
    /// Pixels of a channel, over all samples.
    pixels: u64,
}

impl Statistics {
    /// Reads every sample.
    fn of(source: &dyn Source) -> Result<Self> {
        let shape = source.shape();
        let plane = (shape.height * shape.width).max(1);
        let mut own = Self {
            classes: vec![0; source.classes()],
            sums: vec![[0; 2]; shape.channels],
            pixels: (source.len() * plane) as u64,
        };
        let mut scratch = Vec::new();
        for index in 0..source.len() {
            let sample = source.sample(index, &mut scratch)?;
            let label = sample.label as usize;
            let Some(count) = own.classes.get_mut(label) else {
                return Err(Error::Sample {
                    index,
                    stage: "source",
                    source: format!("label {label}, expected below {}", source.classes()).into(),
                }
                .into());
            };
            *count += 1;
            for (sums, plane) in own.sums.iter_mut().zip(sample.pixels.chunks_exact(plane)) {
                let (sum, squares) = plane.iter().fold((0u64, 0u64), |(sum, squares), &byte| {
                    let byte = u64::from(byte);
                    (sum + byte, squares + byte * byte)
                });
                sums[0] += u128::from(sum);
                sums[1] += u128::from(squares);
            }
        }
        Ok(own)
    }

    fn count(&self, label: usize) -> u64 {
        self.classes.get(label).copied().unwrap_or(0)
    }

    /// Mean and standard deviation of each channel, of 0 to 1.
    fn channels(&self) -> Vec<(f64, f64)> {
        let pixels = self.pixels.max(1) as f64;
        let of = |&[sum, squares]: &[u128; 2]| {
            let mean = sum as f64 / pixels;
            let variance = (squares as f64 / pixels - mean * mean).max(0.0);
            (mean / 255.0, variance.sqrt() / 255.0)
        };
        self.sums.iter().map(of).collect()
    }
}
