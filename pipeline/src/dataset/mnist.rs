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

    /// As [`open`](Self::open), after fetching the files (12 MB) into `folder` if they aren't there. One that is damaged
    /// is renamed to `NAME.damaged` first.
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
            name: self.name.into(),
            train: open(FILES[0], FILES[1], 60_000, &self.labels[0])?,
            test: open(FILES[2], FILES[3], 10_000, &self.labels[1])?,
            class_names: super::owned(class_names),
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
        loop {
            let error = match self.open(folder, Access::default(), class_names) {
                Ok(dataset) => return Ok(dataset),
                Err(error) => error,
            };
            let fetched = match is_incomplete(&error) {
                true => {
                    let home = folder.join(self.folders[0]);
                    create(&home)?;
                    self.fetch_missing(&home)?
                }
                false => self.fetch_damaged(&error)?,
            };
            // Nothing more to fetch: each file is fetched at most once.
            if !fetched {
                return Err(error);
            }
        }
    }

    /// Fetches the files that are not in this folder. Returns whether there were any.
    #[cfg(feature = "download")]
    fn fetch_missing(&self, home: &Path) -> Result<bool> {
        let mut fetched = false;
        for (name, md5) in FILES.into_iter().zip(self.md5) {
            if !exists(&either(home, name)?)? {
                let name = format!("{name}.gz");
                fetched |= super::download::fetch(self.addresses, &name, md5, home)?;
            }
        }
        Ok(fetched)
    }

    /// Fetches the compressed file that an error is about, if it is not the published one. Returns whether it was that.
    #[cfg(feature = "download")]
    fn fetch_damaged(&self, error: &Error) -> Result<bool> {
        let Error::Malformed { path, .. } = error else {
            return Ok(false);
        };
        let (Some(folder), Some(found)) = (path.parent(), path.file_name()) else {
            return Ok(false);
        };
        for (name, md5) in FILES.into_iter().zip(self.md5) {
            let compressed = format!("{name}.gz");
            // The error may be about what was unpacked.
            if (found == name || *found == *compressed) && folder.join(&compressed).is_file() {
                return super::download::fetch(self.addresses, &compressed, md5, folder);
            }
        }
        Ok(false)
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

#[cfg(all(test, feature = "download"))]
mod tests {
    use super::super::download::tests::{Server, md5_of};
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    #[test]
    fn a_damaged_file_is_set_aside_and_fetched_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut served = Vec::new();
        for ((name, count), own) in FILES
            .into_iter()
            .zip([60_000, 60_000, 10_000, 10_000])
            .zip(0..)
        {
            let labels = &MNIST.labels[own / 2];
            if own == 1 {
                let mut bytes = [&[0, 0, 8, 1][..], &u32::to_be_bytes(count), labels].concat();
                bytes.resize(8 + count as usize, 0);
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&bytes).unwrap();
                served = encoder.finish().unwrap();
                continue;
            }
            let (start, length) = match own % 2 {
                0 => (
                    [0x0803, count, 28, 28].map(u32::to_be_bytes).concat(),
                    16 + 784 * count,
                ),
                _ => (
                    [&[0, 0, 8, 1][..], &u32::to_be_bytes(count), labels].concat(),
                    8 + count,
                ),
            };
            let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.write_all(&start).unwrap();
            file.set_len(length.into()).unwrap();
        }
        let addresses: Vec<&'static str> = vec![Server::of(served.clone()).address.leak()];
        let mut md5 = [""; 4];
        md5[1] = md5_of(&served).leak();
        let layout = Layout {
            addresses: addresses.leak(),
            md5,
            ..MNIST
        };
        let path = folder.path().join("train-labels-idx1-ubyte.gz");
        // Cut off, empty, and what a server says instead of a file.
        for damaged in [&served[..served.len() / 2], b"", b"<html>"] {
            std::fs::write(&path, damaged).unwrap();
            let open = || layout.open(folder.path(), Access::default(), &Mnist::CLASS_NAMES);
            let error = open().unwrap_err().to_string();
            assert!(error.contains("labels-idx1-ubyte.gz"), "{error}");
            layout.download(folder.path(), &Mnist::CLASS_NAMES).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), served);
        }
        assert!(
            folder
                .path()
                .join("train-labels-idx1-ubyte.gz.damaged-3")
                .exists()
        );
    }
}
