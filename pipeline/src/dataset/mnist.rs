//! MNIST and Fashion-MNIST.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Dataset, check_folder};
use crate::error::{Error, Fault, Result};
use crate::source::{IdxPair, Source};

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
    /// Where in the folder that the user named the files may lie.
    folders: &'static [&'static str],
    advice: &'static str,
    #[cfg(feature = "download")]
    addresses: &'static [&'static str],
    #[cfg(feature = "download")]
    md5: [&'static str; 4],
}

const MNIST: Layout = Layout {
    name: "MNIST",
    folders: &["", "mnist", "MNIST/raw"],
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
    /// # Errors
    ///
    /// [`Error::DatasetNotFound`] if `folder` does not have it, with where to get it; [`Error::Io`] or
    /// [`Error::Malformed`] if it has and something is wrong with it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        MNIST.open(folder.as_ref(), &Self::CLASS_NAMES)
    }

    /// As [`open`](Self::open), after fetching the files (12 MB) into `folder` if they aren't there.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Error::Download`] or [`Error::Checksum`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>) -> Result<Dataset> {
        MNIST.download(folder.as_ref())?;
        Self::open(folder)
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
    /// names: keep the two sets in folders of their own.
    ///
    /// # Errors
    ///
    /// As [`Mnist::open`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        FASHION_MNIST.open(folder.as_ref(), &Self::CLASS_NAMES)
    }

    /// As [`open`](Self::open), after fetching the files (31 MB) into `fashion-mnist` in `folder` if they aren't
    /// there.
    ///
    /// # Errors
    ///
    /// As [`Mnist::download`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>) -> Result<Dataset> {
        let inner = folder.as_ref().join(FASHION_MNIST.folders[0]);
        FASHION_MNIST.download(&inner)?;
        Self::open(inner)
    }
}

impl Layout {
    fn open(&self, folder: &Path, class_names: &'static [&'static str]) -> Result<Dataset> {
        check_folder(folder)?;
        let Some(inner) = self.find(folder) else {
            let name = |inner: &&str| {
                Path::new(inner)
                    .join(format!("{}[.gz]", FILES[0]))
                    .display()
                    .to_string()
            };
            return Err(Error::DatasetNotFound {
                dataset: self.name,
                directory: folder.to_owned(),
                looked_for: self.folders.iter().map(name).collect(),
                advice: self.advice.into(),
            });
        };
        let train = self.open_pair(&inner, FILES[0], FILES[1], 60_000)?;
        let test = self.open_pair(&inner, FILES[2], FILES[3], 10_000)?;
        Ok(Dataset {
            name: self.name,
            train,
            test,
            class_names,
        })
    }

    fn find(&self, folder: &Path) -> Option<PathBuf> {
        self.folders
            .iter()
            .map(|inner| folder.join(inner))
            .find(|inner| either(inner, FILES[0]).exists())
    }

    fn open_pair(
        &self,
        folder: &Path,
        images: &str,
        labels: &str,
        count: usize,
    ) -> Result<Arc<dyn Source>> {
        let images = either(folder, images);
        let pair = IdxPair::open(&images, either(folder, labels), 10)?;
        let (shape, found) = (pair.shape(), pair.len());
        if (shape.height, shape.width) == (28, 28) && found == count {
            return Ok(Arc::new(pair));
        }
        let fault = if found == count {
            Fault::WrongDimensions
        } else {
            Fault::WrongCount
        };
        Err(Error::Malformed {
            path: images,
            fault,
            offset: if found == count { 8 } else { 4 },
            expected: format!("{count} pictures of 28x28 pixels"),
            found: format!("{found} of {}x{}", shape.height, shape.width),
        })
    }

    #[cfg(feature = "download")]
    fn download(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(crate::error::io_error("create it", folder))?;
        // Where a part of the set lies, the rest belongs too.
        let folder = self.find(folder).unwrap_or_else(|| folder.to_owned());
        for (name, md5) in FILES.into_iter().zip(self.md5) {
            if !either(&folder, name).exists() {
                super::download::fetch(self.addresses, &format!("{name}.gz"), md5, &folder)?;
            }
        }
        Ok(())
    }
}

/// The plain file if it is there, else the compressed one.
fn either(folder: &Path, name: &str) -> PathBuf {
    let plain = folder.join(name);
    let compressed = folder.join(format!("{name}.gz"));
    if !plain.exists() && compressed.exists() {
        compressed
    } else {
        plain
    }
}
