//! `feedline predict`

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, value_parser};
use feedline::config::Trained;
use feedline::{Error, Result, own};
use feedline_pipeline::source::Concat;
use feedline_trainer::Input;
use feedline_trainer::inference::{self, Prediction};
use serde_json::{Value, json};

use super::{Output, text};

const EXAMPLES: &str = "\
Examples:
  feedline predict runs/mnist-cnn-1 seven.png
  feedline predict runs/resnet9-1 --best *.png
  feedline predict runs/resnet9-1/checkpoints/step-0000004690 ship.png --top 1 --json";

/// Say what is on pictures, by a network that was trained
///
/// Prints the likeliest classes of each PNG file with their probabilities. Pictures are brought to the size and the colours
/// that the network was trained on, whatever their proportions (one that is three times as wide as high is squashed), and then
/// changed as in training's tests; what is transparent becomes white. With a network that was trained on a folder of pictures,
/// JPEG files can be predicted, too, and pictures are treated as those were: cropped, not squashed. MNIST's digits are white on black. Pictures that can't be read are named at the end, and
/// make the exit code 1.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Predict {
    /// The folder of a run, or of a checkpoint in it
    #[arg(value_name = "RUN|CHECKPOINT")]
    run: PathBuf,
    /// PNG files, and JPEG files if the network was trained on a folder of pictures
    #[arg(value_name = "PICTURE", required = true)]
    pictures: Vec<PathBuf>,
    /// Take the checkpoint with the lowest test loss, not the latest
    #[arg(long)]
    best: bool,
    /// How many classes to print for each picture
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true, value_parser = value_parser!(u16).range(1..))]
    top: u16,
}

impl Predict {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let trained = Trained::read(&self.run, self.best)?;
        let config = &trained.config;
        // One that can't be read does not keep the others from being predicted.
        let (mut good, mut pictures, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for path in &self.pictures {
            let picture = match config.preprocessing.cropped {
                true => own::picture(path, config.shape()),
                false => inference::picture(path, config.shape()).map_err(Error::from),
            };
            match picture {
                Ok(picture) => {
                    good.push(path);
                    pictures.push(picture);
                }
                Err(error) => faults.push((path, error)),
            }
        }
        let predictions = match pictures.is_empty() {
            true => Vec::new(),
            false => {
                let source = Arc::new(Concat::new(pictures)?);
                let input = Input::new(source, config.preprocessing.test.clone());
                inference::predict(&trained.network, input)?
            }
        };

        let classes = &config.data.classes;
        let mut words = String::new();
        let mut values = Vec::new();
        for (path, prediction) in good.into_iter().zip(&predictions) {
            let _ = write!(words, "{}", path.display());
            let mut likeliest = Vec::new();
            for class in self.likeliest(prediction) {
                let probability = prediction.probabilities[class];
                // A network of somebody's own may have more classes than names.
                let name = classes.get(class).map_or("?", String::as_str);
                let _ = write!(words, "  {name} {:.1} %", 100.0 * probability);
                likeliest.push(json!({ "class": name, "probability": probability }));
            }
            words.push('\n');
            values.push(json!({ "picture": text(path), "classes": likeliest }));
        }
        for (path, error) in &faults {
            values.push(json!({ "picture": text(path), "error": error.to_string() }));
        }
        let mut value = json!({
            "checkpoint": text(trained.checkpoint.path()),
            "pictures": Value::from(values),
        });
        let fault = (!faults.is_empty()).then(|| {
            let reasons = faults.iter().map(|(_, error)| error.to_string());
            Error::Pictures {
                count: faults.len(),
                of: self.pictures.len(),
                reasons: reasons.collect::<Vec<_>>().join("\n"),
            }
        });
        if let Some(fault) = &fault {
            value["error"] = fault.to_string().into();
        }
        if !predictions.is_empty() || output.is_json() {
            output.result(words.trim_end(), &value)?;
        }
        fault.map_or(Ok(()), Err)
    }

    /// The likeliest classes, the first one first.
    fn likeliest(&self, prediction: &Prediction) -> Vec<usize> {
        let probabilities = &prediction.probabilities;
        let mut classes: Vec<usize> = (0..probabilities.len()).collect();
        classes.sort_by(|&one, &other| probabilities[other].total_cmp(&probabilities[one]));
        classes.truncate(self.top.into());
        classes
    }
}
