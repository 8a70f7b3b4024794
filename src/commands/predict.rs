//! `feedline predict`

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use feedline::Result;
use feedline::config::Trained;
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
/// that the network was trained on, and then changed as in training's tests. MNIST's digits are white on black.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Predict {
    /// The folder of a run, or of a checkpoint in it
    #[arg(value_name = "RUN|CHECKPOINT")]
    run: PathBuf,
    /// PNG files
    #[arg(value_name = "PICTURE", required = true)]
    pictures: Vec<PathBuf>,
    /// Take the checkpoint with the lowest test loss, not the latest
    #[arg(long)]
    best: bool,
    /// How many classes to print for each picture
    #[arg(long, value_name = "N", default_value_t = 3)]
    top: usize,
}

impl Predict {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let trained = Trained::read(&self.run, self.best)?;
        let config = &trained.config;
        let pictures = self.pictures.iter();
        let pictures = pictures.map(|path| inference::picture(path, config.shape()));
        let source = Concat::new(pictures.collect::<Result<_, _>>()?)?;
        let input = Input::new(Arc::new(source), config.preprocessing.test.clone());
        let predictions = inference::predict(&trained.network, input)?;

        let classes = &config.data.classes;
        let mut words = String::new();
        let mut values = Vec::new();
        for (path, prediction) in self.pictures.iter().zip(&predictions) {
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
        let value = json!({
            "checkpoint": text(trained.checkpoint.path()),
            "pictures": Value::from(values),
        });
        output.result(words.trim_end(), &value)
    }

    /// The likeliest classes, the first one first.
    fn likeliest(&self, prediction: &Prediction) -> Vec<usize> {
        let probabilities = &prediction.probabilities;
        let mut classes: Vec<usize> = (0..probabilities.len()).collect();
        classes.sort_by(|&one, &other| probabilities[other].total_cmp(&probabilities[one]));
        classes.truncate(self.top);
        classes
    }
}
