//! Pictures of one's own: a folder of picture files, or of NumPy's arrays.
//!
//! Either has sub-folders `train` and `test` (or `val`, `valid`, `validation`), or else a fifth of each class is set aside to
//! test on, the same one each time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::source::{Axes, Decode, ImageFolder, InMemory, NpyPair, split_stratified};
use feedline_pipeline::{Error as PipelineError, Fault, Shape, Source};

use crate::{Error, Result, is_first, say};

/// What folders with pictures to test on are called.
const TESTS: [&str; 4] = ["test", "val", "valid", "validation"];

/// The part that is set aside where there is no such folder, and what its choice follows from. It is not the run's own seed,
/// so that runs with other seeds can be compared.
const ASIDE: f64 = 0.2;
const SEED: u64 = 0;

/// The most classes that arrays may have: with more, a label is not the number of a class.
const MOST_CLASSES: usize = 10_000;

/// What a folder has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Picture files, those of each class in a folder with its name.
    Images,
    /// `images.npy` and `labels.npy`.
    Arrays,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Images, Self::Arrays];

    /// What stands before the folder on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Arrays => "npy",
        }
    }

    /// Opens the pictures in `folder` for a network that takes pictures of this shape: files are decoded to it, arrays must
    /// have its channels.
    ///
    /// # Errors
    ///
    /// If there is no such folder, or not what should be in it, or fewer than two classes; as [`ImageFolder::open`] and
    /// [`NpyPair::open`].
    pub fn open(self, folder: &Path, shape: Shape) -> Result<Dataset> {
        let parts = Parts::of(folder);
        let (train, test, names) = match self {
            Self::Images => images(&parts, shape)?,
            Self::Arrays => arrays(&parts, shape.channels)?,
        };
        if names.len() < 2 {
            let found = format!(
                "{} ({}), in {}",
                names.len(),
                names.join(", "),
                parts.train.display()
            );
            let expected =
                "at least 2, as a network learns to tell classes apart: is it the folder above?";
            return Err(invalid("number of classes", found, expected));
        }
        let (train, test) = match test {
            Some(test) => (train, test),
            None => {
                let split = split_stratified(train, ASIDE, SEED)?;
                (
                    Arc::new(split.train) as _,
                    Arc::new(split.validation) as Arc<dyn Source>,
                )
            }
        };
        if parts.test.is_none() && is_first() {
            say(format_args!(
                "{} has no folders train and test: {} of its {} pictures are set aside to test on, chosen at random, a fifth \
                 of each class and always the same",
                folder.display(),
                test.len(),
                train.len() + test.len()
            ));
        }
        let mut dataset = Dataset::new(named(folder), train, test, names)?;
        dataset.files = [Some(parts.train), parts.test]
            .into_iter()
            .flatten()
            .collect();
        Ok(dataset)
    }
}

/// Where the pictures to train on are, and those to test on if they are elsewhere.
struct Parts {
    train: PathBuf,
    test: Option<PathBuf>,
}

impl Parts {
    fn of(folder: &Path) -> Self {
        let train = folder.join("train");
        let mut tests = TESTS.iter().map(|name| folder.join(name));
        match tests.find(|test| test.is_dir()).filter(|_| train.is_dir()) {
            Some(test) => Self {
                train,
                test: Some(test),
            },
            // Beside other folders `train` is a class like those.
            None => Self {
                train: if is_alone(&train) {
                    train
                } else {
                    folder.to_owned()
                },
                test: None,
            },
        }
    }
}

/// Whether it is a folder with no other one beside it.
fn is_alone(folder: &Path) -> bool {
    let above = folder
        .parent()
        .and_then(|above| std::fs::read_dir(above).ok());
    let entries = above.into_iter().flatten().flatten();
    let hidden = |name: std::ffi::OsString| name.as_encoded_bytes().starts_with(b".");
    let mut folders = entries.filter(|entry| entry.path().is_dir() && !hidden(entry.file_name()));
    folders.next().is_some_and(|entry| entry.path() == folder) && folders.next().is_none()
}

/// To train on, to test on, the classes' names.
type Opened = (Arc<dyn Source>, Option<Arc<dyn Source>>, Vec<String>);

fn images(parts: &Parts, shape: Shape) -> Result<Opened> {
    let train = ImageFolder::open(&parts.train, decode(shape))?;
    let names = train.class_names().to_vec();
    let test = parts.test.as_ref();
    let test = test.map(|folder| ImageFolder::open_with_classes(folder, decode(shape), &names));
    let test = test.transpose()?.map(|test| Arc::new(test) as _);
    Ok((Arc::new(train), test, names))
}

fn arrays(parts: &Parts, channels: usize) -> Result<Opened> {
    // How many classes there are, only the labels say.
    let all = pair(&parts.train, channels, MOST_CLASSES)?;
    let labels = (0..all.len()).map(|index| all.label(index));
    let largest = labels.collect::<Result<Vec<_>, _>>()?.into_iter().max();
    let classes = largest.map_or(0, |label| label as usize + 1);
    let train = pair(&parts.train, channels, classes)?;
    let test = parts.test.as_ref();
    let test = test
        .map(|folder| pair(folder, channels, classes))
        .transpose()?;
    let names = (0..classes).map(|class| class.to_string()).collect();
    Ok((Arc::new(train), test.map(|test| Arc::new(test) as _), names))
}

/// The pair of arrays in a folder, read in the only way that gives so many channels.
fn pair(folder: &Path, channels: usize, classes: usize) -> Result<NpyPair> {
    let [images, labels] = ["images.npy", "labels.npy"].map(|name| folder.join(name));
    let (mut found, mut shape) = (Vec::new(), String::new());
    for axes in [Axes::Nhw, Axes::Nhwc, Axes::Nchw] {
        match NpyPair::open(&images, &labels, classes, axes) {
            Ok(pair) if pair.shape().channels == channels => found.push(pair),
            // The labels' shape does not depend on the axes.
            Err(PipelineError::Malformed {
                fault: Fault::WrongDimensions,
                path,
                found,
                ..
            }) if path == images => shape = found,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match (found.pop(), found.len()) {
        (Some(pair), 0) => Ok(pair),
        (last, _) => {
            let found = match last {
                Some(_) => "a shape that can be read in two ways".into(),
                None => shape,
            };
            let expected = match channels {
                1 => "grey pictures: (number, height, width)",
                _ => "pictures in colour: (number, height, width, 3) or (number, 3, height, width)",
            };
            let found = format!("of {found}, in {}", images.display());
            Err(invalid("array of pictures", found, expected))
        }
    }
}

fn invalid(name: &'static str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    let (found, expected) = (found.into(), expected.into());
    Error::Pipeline(PipelineError::InvalidArgument {
        name,
        found,
        expected,
    })
}

/// A folder's own name, also if it is called `.`.
fn named(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}

fn decode(shape: Shape) -> Decode {
    match shape.channels {
        1 => Decode::grey(shape.height, shape.width),
        _ => Decode::rgb(shape.height, shape.width),
    }
}

/// The picture in a file as a source of one sample with the label 0, decoded as those of [`Kind::Images`].
///
/// # Errors
///
/// As [`Decode::read`].
pub fn picture(path: &Path, shape: Shape) -> Result<Arc<dyn Source>> {
    let pixels = decode(shape).read(path)?;
    Ok(Arc::new(InMemory::new(shape, 1, pixels, vec![0])?))
}
