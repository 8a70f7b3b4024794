//! What is kept of a run's settings, in its folder's `config.json`: all that its network needs to be used again.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::{Shape, Transform};
use feedline_trainer::checkpoint::{self, Checkpoint};
use feedline_trainer::nn::Sequential;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::recipe::{Network, Recipe};
use crate::{Error, Result, console};

/// The version of what is written.
const FORMAT: u32 = 1;

/// The settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Who wrote this.
    pub versions: Versions,
    /// The network.
    pub model: Network,
    /// What it was trained on.
    pub data: Data,
    /// What was done to pictures.
    pub preprocessing: Preprocessing,
    /// What weights, order, augmentation and dropout followed from.
    pub seed: u64,
    /// The folder with the run's checkpoints; if it is relative, in the run's folder.
    pub checkpoints: Option<PathBuf>,
    /// How it was trained: the options of [`Training`](crate::Training), with what they are by default.
    pub options: Value,
    /// What it was trained on, in words.
    pub replicas: String,
    /// The command line.
    pub arguments: Vec<String>,
}

/// Who wrote a [`Config`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// Of the file's format.
    pub format: u32,
    /// Of Feedline.
    pub feedline: String,
    /// The system and processor, as in `linux x86_64`.
    pub platform: String,
}

/// The data of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The set's name, as in "CIFAR-10".
    pub name: String,
    /// Pictures to train on.
    pub train: usize,
    /// Pictures to test on.
    pub test: usize,
    /// Channels, rows and columns of a picture as it is stored.
    pub shape: [usize; 3],
    /// The classes' names, by label.
    pub classes: Vec<String>,
}

/// What is done to pictures before the network gets them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Preprocessing {
    /// To train on them.
    pub train: Transform,
    /// To test on them, and to predict them.
    pub test: Transform,
    /// Whether pictures that are predicted are cropped, as [`Recipe::cropped`] says.
    #[serde(default)]
    pub cropped: bool,
}

impl PartialEq for Preprocessing {
    /// Whether they are the same in words.
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Config {
    /// The settings of a run of `recipe` on `dataset`.
    pub(crate) fn new(dataset: &Dataset, recipe: &Recipe, seed: u64, replicas: String) -> Self {
        let shape = dataset.train.shape();
        let argument = |own: std::ffi::OsString| own.to_string_lossy().into_owned();
        Self {
            versions: Versions {
                format: FORMAT,
                feedline: env!("CARGO_PKG_VERSION").into(),
                platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            },
            model: recipe.network.clone(),
            data: Data {
                name: dataset.name.to_string(),
                train: dataset.train.len(),
                test: dataset.test.len(),
                shape: [shape.channels, shape.height, shape.width],
                classes: dataset.class_names.clone(),
            },
            preprocessing: Preprocessing {
                train: recipe.train.clone(),
                test: recipe.test.clone(),
                cropped: recipe.cropped,
            },
            seed,
            checkpoints: None,
            options: Value::Null,
            replicas,
            arguments: std::env::args_os().map(argument).collect(),
        }
    }

    /// Reads the settings of the run in a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] if there is no run, its settings are damaged, or a later version of Feedline wrote them.
    pub fn read(run: impl AsRef<Path>) -> Result<Self> {
        let run = run.as_ref();
        let refuse = |reason: String| Error::Run {
            run: run.to_owned(),
            reason,
        };
        let text = fs::read(run.join("config.json")).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if !run.is_dir() => {
                refuse("there is no such folder".into())
            }
            std::io::ErrorKind::NotFound => {
                refuse("it has no config.json, so it is no folder of a run".into())
            }
            _ => refuse(format!("can't read its config.json: {error}")),
        })?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|error| refuse(format!("its config.json is damaged: {error}")))?;
        // First, as all else may be otherwise in another version.
        match value["versions"]["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(refuse(format!(
                    "its config.json has the format {format}, this version of Feedline reads {FORMAT}"
                )));
            }
            None => {
                return Err(refuse(
                    "its config.json was not written by `feedline train` or an example".into(),
                ));
            }
        }
        let config: Self = serde_json::from_value(value)
            .map_err(|error| refuse(format!("its config.json is damaged: {error}")))?;
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// What can't be known from the JSON alone.
    fn check(&self) -> Result<(), String> {
        let own = &self.data;
        if own.classes.is_empty() {
            return Err("its config.json names no classes".into());
        }
        let pixels = own
            .shape
            .iter()
            .try_fold(1usize, |all, &side| all.checked_mul(side));
        match pixels {
            Some(1..=0x1000_0000) => Ok(()),
            _ => Err(format!("its config.json has pictures of {:?}", own.shape)),
        }
    }

    /// The shape of a picture as it is stored.
    pub fn shape(&self) -> Shape {
        let [channels, height, width] = self.data.shape;
        Shape::new(channels, height, width)
    }

    /// Checks that a run may be gone on with under other settings: network, data, seed, preprocessing
    /// and the folder of checkpoints must be the same.
    pub(crate) fn check_resumed(&self, run: &Path, now: &Self) -> Result<()> {
        fn words<T: fmt::Debug>(what: &'static str, before: &T, now: &T) -> [String; 3] {
            [what.into(), format!("{before:?}"), format!("{now:?}")]
        }
        let mut settings = vec![
            words("network", &self.model, &now.model),
            words("data", &self.data, &now.data),
            words("seed", &self.seed, &now.seed),
            words("preprocessing", &self.preprocessing, &now.preprocessing),
        ];
        if self.checkpoints.is_some() {
            let folders = [&self.checkpoints, &now.checkpoints];
            let [before, now] = folders.map(|own| own.clone().unwrap_or_default());
            settings.push(words("folder of checkpoints", &before, &now));
        }
        match settings.into_iter().find(|[_, before, now]| before != now) {
            None => Ok(()),
            Some([what, before, now]) => Err(Error::Run {
                run: run.to_owned(),
                reason: format!(
                    "it can't be gone on with, as its {what} was {before} and is now {now}"
                ),
            }),
        }
    }
}

/// A network that was trained, with what it was trained for.
#[derive(Debug)]
pub struct Trained {
    /// The settings of its run.
    pub config: Config,
    /// The network, on the CPU.
    pub network: Sequential,
    /// The checkpoint that the weights are from.
    pub checkpoint: Checkpoint,
}

impl Trained {
    /// Reads the network of a run: from its folder, by the latest checkpoint or with `best` the one with the lowest test
    /// loss; or from a checkpoint `step-…` in it.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] if there is no run or no checkpoint, and as [`Config::read`]; the trainer's if a checkpoint is damaged
    /// or of another network.
    pub fn read(path: impl AsRef<Path>, best: bool) -> Result<Self> {
        let path = path.as_ref();
        let (config, checkpoint) = match path.join("checkpoint.json").exists() {
            true => (Config::read(run_of(path)?)?, checkpoint::load(path)?),
            false => {
                let config = Config::read(path)?;
                let refuse = |reason: &str| Error::Run {
                    run: path.to_owned(),
                    reason: reason.into(),
                };
                let folder = config.checkpoints.as_ref().ok_or_else(|| {
                    refuse("it was made without checkpoints, so its weights are not kept")
                })?;
                let folder = path.join(folder);
                let (found, damaged) = match best {
                    true => (checkpoint::best(&folder)?, Vec::new()),
                    false => checkpoint::latest_whole(&folder)?,
                };
                for own in damaged {
                    console::say(format_args!(
                        "warning: passing over the checkpoint {}: {}",
                        own.path.display(),
                        own.reason
                    ));
                }
                let none =
                    || refuse("it has no checkpoint yet: the first one is made after an epoch");
                (config, found.ok_or_else(none)?)
            }
        };
        let network = config
            .model
            .build(config.data.classes.len(), config.seed, &Device::Cpu)?;
        checkpoint.apply(&network)?;
        Ok(Self {
            config,
            network,
            checkpoint,
        })
    }
}

/// The folder of the run that a checkpoint is in: the nearest one above with a `config.json`.
fn run_of(checkpoint: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(checkpoint)
        .map_err(crate::error::file("find the folder of", checkpoint))?;
    let above = absolute.ancestors().skip(1).take(2);
    let mut runs = above.filter(|folder| folder.join("config.json").exists());
    runs.next().map(Path::to_owned).ok_or_else(|| Error::Run {
        run: checkpoint.to_owned(),
        reason: "the checkpoint is not in the folder of a run; name the run, whose config.json says what network it is".into(),
    })
}
