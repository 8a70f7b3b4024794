//! The data sets by name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum;
use feedline_pipeline::Shape;
use feedline_pipeline::dataset::{
    Cifar10, Cifar100, Cifar100Labels, Dataset, FashionMnist, Generated, Mnist,
};
use serde::{Deserialize, Serialize};

use crate::own::Kind;
use crate::{Error, Result};

/// Pictures of the generated set, to train on and to test on, where nothing else is said: few, for machines that just want to
/// see it work.
pub const GENERATED: (usize, usize) = (3_000, 1_000);

/// The data sets that have a name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataName {
    /// 50,000 + 10,000 colour pictures of 32×32 pixels in ten classes (170 MB)
    Cifar10,
    /// 50,000 + 10,000 colour pictures of 32×32 pixels in a hundred classes (169 MB)
    Cifar100,
    /// 60,000 + 10,000 handwritten digits of 28×28 pixels (12 MB)
    Mnist,
    /// 60,000 + 10,000 grey pictures of 28×28 pixels of clothes, in ten classes (31 MB)
    FashionMnist,
    /// 3,000 + 1,000 colour pictures of 32×32 pixels in ten classes, drawn here: for machines without data
    Generated,
}

impl DataName {
    /// The name on the command line, as in `cifar10`.
    pub fn name(self) -> String {
        let name = self.to_possible_value();
        name.map_or_else(String::new, |own| own.get_name().to_owned())
    }

    /// The set that is called this in messages, as in "CIFAR-10".
    pub fn titled(title: &str) -> Option<Self> {
        let letters = |text: &str| text.to_lowercase().replace('-', "");
        let mut names = Self::value_variants().iter().copied();
        names.find(|own| letters(&own.name()) == letters(title))
    }

    /// The shape of its pictures.
    pub fn shape(self) -> Shape {
        match self {
            Self::Mnist | Self::FashionMnist => Shape::new(1, 28, 28),
            Self::Cifar10 | Self::Cifar100 | Self::Generated => Shape::new(3, 32, 32),
        }
    }

    /// Opens the set from a folder, extracted or as its authors' archives.
    ///
    /// # Errors
    ///
    /// As [`Cifar10::open`].
    pub fn open(self, folder: &Path) -> Result<Dataset> {
        Ok(match self {
            Self::Cifar10 => Cifar10::open(folder),
            Self::Cifar100 => Cifar100::open(folder, Cifar100Labels::Fine),
            Self::Mnist => Mnist::open(folder),
            Self::FashionMnist => FashionMnist::open(folder),
            Self::Generated => Generated::open(GENERATED.0, GENERATED.1),
        }?)
    }

    /// Opens the set, after fetching it into the folder if it isn't there.
    ///
    /// # Errors
    ///
    /// As [`Cifar10::download`].
    pub fn download(self, folder: &Path) -> Result<Dataset> {
        Ok(match self {
            Self::Cifar10 => Cifar10::download(folder),
            Self::Cifar100 => Cifar100::download(folder, Cifar100Labels::Fine),
            Self::Mnist => Mnist::download(folder),
            Self::FashionMnist => FashionMnist::download(folder),
            Self::Generated => return self.open(folder),
        }?)
    }
}

/// A data set as the command line says it.
///
/// ```
/// use feedline::data::{Choice, DataName};
/// use feedline::own::Kind;
///
/// let choice = |text: &str| text.parse::<Choice>();
/// assert_eq!(choice("mnist")?, Choice::Named(DataName::Mnist));
/// assert_eq!(choice("mnist=pictures")?, Choice::In(DataName::Mnist, "pictures".into()));
/// assert_eq!(choice("pictures")?, Choice::Folder("pictures".into()));
/// assert_eq!(choice("generated=300")?, Choice::Generated(300));
/// assert_eq!(choice("images=photos")?, Choice::Own(Kind::Images, "photos".into()));
/// # Ok::<(), feedline::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// A set by its name, in the usual folder.
    Named(DataName),
    /// A set by its name, in a folder.
    In(DataName, PathBuf),
    /// A folder, with whatever set the network is for.
    Folder(PathBuf),
    /// A folder with pictures of the user's own.
    Own(Kind, PathBuf),
    /// Generated pictures, so many to train on, and a fifth as many to test on.
    Generated(usize),
}

impl FromStr for Choice {
    type Err = Error;

    /// # Errors
    ///
    /// [`Error::Usage`] if `generated=` is followed by no number that can be drawn.
    fn from_str(text: &str) -> Result<Self> {
        let name = |text: &str| DataName::from_str(text, false).ok();
        if let Some(name) = name(text) {
            return Ok(Self::Named(name));
        }
        let Some((before, after)) = text.split_once('=') else {
            return Ok(Self::Folder(text.into()));
        };
        match name(before) {
            Some(DataName::Generated) => match after.parse() {
                Ok(samples) if samples > 0 && samples % 5 == 0 => Ok(Self::Generated(samples)),
                _ => Err(Error::Usage(format!(
                    "generated={after} is no number of pictures: a multiple of 5, as in generated=3000"
                ))),
            },
            Some(name) => Ok(Self::In(name, after.into())),
            None => Ok(Self::own(text.as_ref()).unwrap_or(Self::Folder(text.into()))),
        }
    }
}

impl Choice {
    /// A folder of the user's own, if that is what it says: `images=DIR` or `npy=DIR`.
    pub fn own(text: &OsStr) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|kind| {
            let folder = after(text, &format!("{}=", kind.name()))?;
            Some(Self::Own(kind, folder.into()))
        })
    }

    /// As text is parsed; a folder's name need be no Unicode.
    ///
    /// # Errors
    ///
    /// As [`from_str`](Self::from_str).
    pub fn from_path(path: &Path) -> Result<Self> {
        if let Some(text) = path.to_str() {
            return text.parse();
        }
        if let Some(own) = Self::own(path.as_os_str()) {
            return Ok(own);
        }
        for name in DataName::value_variants() {
            let folder = after(path.as_os_str(), &format!("{}=", name.name()));
            if let Some(folder) = folder {
                if *name == DataName::Generated {
                    // It has a number, not a folder: refused in words.
                    return path.to_string_lossy().parse();
                }
                return Ok(Self::In(*name, folder.into()));
            }
        }
        Ok(Self::Folder(path.to_owned()))
    }

    /// Opens the set; `usual` says which one a folder is looked through for, and of what shape pictures of the user's own
    /// shall be, and `folder` where a set lies that has only a
    /// name. With `download` it is fetched if it isn't there.
    ///
    /// # Errors
    ///
    /// As [`DataName::open`], [`DataName::download`] and [`Kind::open`].
    pub fn open(&self, usual: DataName, folder: &Path, download: bool) -> Result<Dataset> {
        let (name, folder) = match self {
            Self::Generated(samples) => return Ok(Generated::open(*samples, samples / 5)?),
            Self::Own(..) if download => {
                let reason = "pictures of your own lie where you say; there is nothing to fetch";
                return Err(Error::Usage(reason.into()));
            }
            Self::Own(kind, folder) => return kind.open(folder, usual.shape()),
            Self::Named(name) => (*name, folder),
            Self::In(name, folder) => (*name, folder.as_path()),
            Self::Folder(folder) => (usual, folder.as_path()),
        };
        match download {
            true => name.download(folder),
            false => name.open(folder),
        }
    }
}

/// What follows behind `start`. A folder's name need be no Unicode.
fn after<'a>(text: &'a OsStr, start: &str) -> Option<&'a OsStr> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let rest = text.as_bytes().strip_prefix(start.as_bytes())?;
        Some(OsStr::from_bytes(rest))
    }
    #[cfg(not(unix))]
    Some(OsStr::new(text.to_str()?.strip_prefix(start)?))
}
