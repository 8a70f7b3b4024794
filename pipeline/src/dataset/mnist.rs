//! MNIST and Fashion-MNIST.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Dataset, check_folder, exists};
use crate::error::{Error, Fault, Result};
use crate::source::{Access, IdxPair, Source};

/// Pictures and labels to train on, then those to test on.
const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// How one of the two sets is stored; the names of the files are the same.
struct Layout {
    name: &'static str,
    /// Where in the folder that the user named the files may lie. Downloads go to the first place.
    folders: &'static [&'static str],
    /// The first labels to train on and to test on, which tell this set from others in the same files.
    labels: [[u8; 10]; 2],
    advice: &'static str,
    #[cfg(feature = "download")]
    addresses: &'static [&'static str],
    #[cfg(feature = "download")]
    md5: [&'static str; 4],
}

const MNIST: Layout = Layout {
    name: "MNIST",
    folders: &["", "mnist", "MNIST/raw"],
    labels: [
        [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
        [7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
    ],
    advice: "get the four .gz files from https://ossci-datasets.s3.amazonaws.com/mnist/",
    // torchvision's mirrors.
    #[cfg(feature = "download")]
    addresses: &[
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ],
    #[cfg(feature = "download")]
    md5: [
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ],
};

const FASHION_MNIST: Layout = Layout {
    name: "Fashion-MNIST",
    folders: &["fashion-mnist", "fashion", "FashionMNIST/raw", ""],
    labels: [
        [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
        [9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
    ],
    advice: "get the four .gz files from https://github.com/zalandoresearch/fashion-mnist",
    #[cfg(feature = "download")]
    addresses: &["http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"],
    #[cfg(feature = "download")]
    md5: [
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ],
};

/// MNIST: 60,000 + 10,000 grey pictures of 28×28 pixels of handwritten digits
/// (LeCun, Bottou, Bengio, Haffner: "Gradient-based learning applied to document recognition", 1998).
#[derive(Debug)]
pub struct Mnist;

impl Mnist {
    /// The ten digits.
    pub const CLASS_NAMES: [&'static str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

    /// Opens MNIST from `folder`; files that are compressed are unpacked once.
    ///
    /// The unpacked files are mapped, not read ([`Access::Mapped`]): while the data set is in use, nobody may change
    /// them or make them shorter. Where you cannot be sure, choose another way with [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// [`Error::DatasetNotFound`] if `folder` does not have it, with where to get it; [`Error::Io`] or
    /// [`Error::Malformed`] if it has and something is wrong with it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        Self::open_with(folder, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, access: Access) -> Result<Dataset> {
        MNIST.open(folder.as_ref(), access, &Self::CLASS_NAMES)
    }

    /// As [`open`](Self::open), after fetching the files (12 MB) into `folder` if they aren't there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Error::Download`] or [`Error::Checksum`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>) -> Result<Dataset> {
        MNIST.download(folder.as_ref(), &Self::CLASS_NAMES)
    }
}

/// Fashion-MNIST: 60,000 + 10,000 grey pictures of 28×28 pixels of clothes, in MNIST's format
/// (Xiao, Rasul, Vollgraf: "Fashion-MNIST", 2017, [arXiv:1708.07747](https://arxiv.org/abs/1708.07747)).
#[derive(Debug)]
pub struct FashionMnist;

impl FashionMnist {
    /// The ten classes, in the order of their labels.
    pub const CLASS_NAMES: [&'static str; 10] = [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ];

    /// Opens Fashion-MNIST from `folder`; files that are compressed are unpacked once. MNIST's files have the same
    /// names: keep the two sets in folders of their own. The unpacked files are mapped, as with [`Mnist::open`].
    ///
    /// # Errors
    ///
    /// As [`Mnist::open`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        Self::open_with(folder, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`Mnist::open`].
    pub fn open_with(folder: impl AsRef<Path>, access: Access) -> Result<Dataset> {
        FASHION_MNIST.open(folder.as_ref(), access, &Self::CLASS_NAMES)
    }

    /// As [`open`](Self::open), after fetching the files (31 MB) into `fashion-mnist` in `folder` if it doesn't find
    /// them.
    ///
    /// # Errors
    ///
    /// As [`Mnist::download`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>) -> Result<Dataset> {
        FASHION_MNIST.download(folder.as_ref(), &Self::CLASS_NAMES)
    }
}

impl Layout {
    fn open(
        &self,
        folder: &Path,
        access: Access,
        class_names: &'static [&'static str],
    ) -> Result<Dataset> {
        if !exists(folder)? {
            return Err(self.not_found(folder));
        }
        check_folder(folder)?;
        let mut other = None;
        for place in self.folders.iter().map(|inner| folder.join(inner)) {
            if !exists(&either(&place, FILES[0])?)? {
                continue;
            }
            match self.open_files(&place, access, class_names) {
                // This set may still lie in the next place.
                Err(
                    error @ Error::Malformed {
                        fault: Fault::OtherDataset,
                        ..
                    },
                ) => other = other.or(Some(error)),
                result => return result,
            }
        }
        Err(other.unwrap_or_else(|| self.not_found(folder)))
    }

    fn open_files(
        &self,
        place: &Path,
        access: Access,
        class_names: &'static [&'static str],
    ) -> Result<Dataset> {
        let open = |images, labels, count, first: &[u8]| -> Result<Arc<dyn Source>> {
            let (images, labels) = (either(place, images)?, either(place, labels)?);
            let pair = IdxPair::open_exact(&images, &labels, 10, access, [count, 28, 28])?;
            Ok(Arc::new(pair.expect_labels(first, self.name)?))
        };
        let files = FILES.iter().map(|name| either(place, name));
        Ok(Dataset {
            name: self.name,
            train: open(FILES[0], FILES[1], 60_000, &self.labels[0])?,
            test: open(FILES[2], FILES[3], 10_000, &self.labels[1])?,
            class_names,
            files: files.collect::<Result<_>>()?,
        })
    }

    fn not_found(&self, folder: &Path) -> Error {
        let name = |inner: &&str| {
            Path::new(inner)
                .join(format!("{}[.gz]", FILES[0]))
                .display()
                .to_string()
        };
        Error::DatasetNotFound {
            dataset: self.name,
            directory: folder.to_owned(),
            looked_for: self.folders.iter().map(name).collect(),
            advice: self.advice.into(),
        }
    }

    #[cfg(feature = "download")]
    fn download(&self, folder: &Path, class_names: &'static [&'static str]) -> Result<Dataset> {
        let create = |folder: &Path| {
            std::fs::create_dir_all(folder).map_err(crate::error::io_error("create it", folder))
        };
        create(folder)?;
        match self.open(folder, Access::default(), class_names) {
            Err(error) if is_incomplete(&error) => {}
            result => return result,
        }
        let home = folder.join(self.folders[0]);
        create(&home)?;
        for (name, md5) in FILES.into_iter().zip(self.md5) {
            if !exists(&either(&home, name)?)? {
                super::download::fetch(self.addresses, &format!("{name}.gz"), md5, &home)?;
            }
        }
        self.open(folder, Access::default(), class_names)
    }
}

/// Whether the set, or a part of it, is missing.
#[cfg(feature = "download")]
fn is_incomplete(error: &Error) -> bool {
    match error {
        Error::DatasetNotFound { .. } => true,
        Error::Malformed { fault, .. } => *fault == Fault::OtherDataset,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The compressed file if it is there, else the plain one. What was unpacked from the former is found by it, and
/// only if it is whole and not older.
fn either(folder: &Path, name: &str) -> Result<PathBuf> {
    let compressed = folder.join(format!("{name}.gz"));
    if exists(&compressed)? {
        Ok(compressed)
    } else {
        Ok(folder.join(name))
    }
}
