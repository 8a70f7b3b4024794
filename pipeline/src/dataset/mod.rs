//! Well-known data sets, opened from a folder.
//!
//! | data set | looked for in the folder |
//! |---|---|
//! | [`Cifar10`] | `cifar-10-batches-bin/` or the files in it, or `cifar-10-binary.tar.gz` |
//! | [`Cifar100`] | `cifar-100-binary/` or the files in it, or `cifar-100-binary.tar.gz` |
//! | [`Mnist`] | the four `*-ubyte` files, with or without `.gz`, also in `mnist/` or `MNIST/raw/` |
//! | [`FashionMnist`] | the same files, also in `fashion-mnist/`, `fashion/` or `FashionMNIST/raw/` |
//!
//! Archives are unpacked once, beside themselves, or into the user's cache folder (`FEEDLINE_CACHE` names another
//! one) if nothing can be written beside them or something else has the name there: nothing of the user's is ever
//! replaced. What is older than its archive is unpacked anew. Files must hold exactly the published number of samples: a
//! part of a set that passes for the whole is a wrong result later. Each set's `open` maps the files, and its `open_with`
//! takes another [`Access`](crate::source::Access) to them. [`Generated`] draws pictures for machines without data.

mod archive;
mod cifar;
mod cifar100_names;
#[cfg(feature = "download")]
mod download;
mod generated;
mod mnist;
mod textures;

pub use cifar::{Cifar10, Cifar100, Cifar100Labels};

pub use generated::Generated;
pub use mnist::{FashionMnist, Mnist};

use std::borrow::Cow;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Fault, Result, invalid, io_error};
use crate::source::Source;

/// A data set: what to train on, what to test on.
#[derive(Clone)]
#[non_exhaustive]
pub struct Dataset {
    /// The name, as in "CIFAR-10".
    pub name: Cow<'static, str>,
    /// The samples to train on.
    pub train: Arc<dyn Source>,
    /// The samples to test on.
    pub test: Arc<dyn Source>,
    /// What each label means.
    pub class_names: Vec<String>,
    /// The files that were opened.
    pub files: Vec<PathBuf>,
}

impl Dataset {
    /// A data set of one's own, of two sources; its list of files is empty.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use feedline_pipeline::dataset::Dataset;
    /// use feedline_pipeline::source::InMemory;
    /// use feedline_pipeline::{Shape, Source};
    ///
    /// let source = |labels: Vec<u32>| {
    ///     let pixels = labels.iter().map(|&label| 100 * label as u8).collect();
    ///     InMemory::new(Shape::new(1, 1, 1), 2, pixels, labels).map(Arc::new)
    /// };
    /// let names = vec!["dark".into(), "bright".into()];
    /// let dataset = Dataset::new("Brightness", source(vec![0, 1, 1])?, source(vec![1])?, names)?;
    /// assert_eq!((dataset.train.len(), dataset.test.len()), (3, 1));
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the sources differ in shape or classes, or there are more or fewer names than classes.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let of =
            |source: &dyn Source| format!("{} in {} classes", source.shape(), source.classes());
        let (expected, found) = (of(&*train), of(&*test));
        if expected != found {
            return Err(invalid(
                "shape to test on",
                found,
                format!("{expected}, as to train on"),
            ));
        }
        if class_names.len() != train.classes() {
            let expected = format!("{}, as there are classes", train.classes());
            return Err(invalid(
                "number of class names",
                class_names.len(),
                expected,
            ));
        }
        Ok(Self {
            name: name.into(),
            train,
            test,
            class_names,
            files: Vec::new(),
        })
    }
}

/// Names that are known beforehand.
fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("train", &self.train.len())
            .field("test", &self.test.len())
            .field("classes", &self.class_names.len())
            .finish()
    }
}

/// Checks that `folder` is one, so that a wrong path is not reported as a missing data set.
fn check_folder(folder: &Path) -> Result<()> {
    let metadata = std::fs::metadata(folder).map_err(io_error("open it", folder))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(Error::Malformed {
        path: folder.to_owned(),
        fault: Fault::NotAFolder,
        offset: 0,
        expected: "the folder that holds the data set".into(),
        found: "a file".into(),
    })
}

/// Whether there is anything at `path`. If that is not allowed to be known it is an error: a data set that cannot be
/// read must not pass for one that is missing.
fn exists(path: &Path) -> Result<bool> {
    match path.try_exists() {
        // A file stands where a folder was looked for.
        Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(false),
        result => result.map_err(io_error("look for it", path)),
    }
}
