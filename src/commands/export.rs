//! `feedline export`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use feedline::Result;
use feedline::config::Trained;
use feedline_trainer::inference;
use serde_json::json;

use super::{Output, count, text};

const EXAMPLES: &str = "\
Examples:
  feedline export runs/mnist-cnn-1 --layout pytorch -o weights.safetensors
  feedline export runs/mnist-cnn-1 --layout keras -o weights.npz

  In Python, with a network of the same layers:
  model.load_state_dict(safetensors.torch.load_file(\"weights.safetensors\"))
  arrays = numpy.load(\"weights.npz\"); model.set_weights([arrays[name] for name in arrays.files])";

/// Write a trained network's weights as PyTorch or Keras have them
///
/// For torch.nn.Sequential or keras.Sequential with the same layers in the same order. Settings that are no weights must be
/// the same there: batch normalization's epsilon is 0.001. resnet9 is no chain of their layers and can't be exported.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Export {
    /// The folder of a run, or of a checkpoint in it
    #[arg(value_name = "RUN|CHECKPOINT")]
    run: PathBuf,
    /// Whose layout the weights are written in
    #[arg(long, value_enum)]
    layout: LayoutName,
    /// The file to write; one that is there is replaced, and nothing but a file is
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Take the checkpoint with the lowest test loss, not the latest
    #[arg(long)]
    best: bool,
}

/// The layouts, by name.
#[derive(ValueEnum, Debug, Clone, Copy)]
enum LayoutName {
    /// A safetensors file of what torch.nn.Sequential calls its state
    Pytorch,
    /// An .npz file of NumPy arrays in the order of keras.Sequential's get_weights()
    Keras,
}

impl From<LayoutName> for inference::Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Pytorch => Self::PyTorch,
            LayoutName::Keras => Self::Keras,
        }
    }
}

impl Export {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let trained = Trained::read(&self.run, self.best)?;
        inference::export(&trained.network, self.layout.into(), &self.output)?;
        let numbers = trained.network.summary().parameters();
        let words = format!(
            "{}: {numbers} numbers, after {}",
            self.output.display(),
            count(trained.checkpoint.epoch(), "epoch")
        );
        output.result(
            words,
            &json!({
                "file": text(&self.output),
                "numbers": numbers,
                "checkpoint": text(trained.checkpoint.path()),
                "epoch": trained.checkpoint.epoch(),
            }),
        )
    }
}
