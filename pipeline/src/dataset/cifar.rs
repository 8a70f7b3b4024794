//! CIFAR-10 and CIFAR-100, binary version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cifar100_names::{COARSE_NAMES, FINE_NAMES};
use super::{Dataset, archive, check_folder, exists};
use crate::error::{Error, Result};
use crate::source::{Access, Concat, RecordFile, RecordFormat, Source};

/// How one of the two sets is stored.
struct Layout {
    name: &'static str,
    folder: &'static str,
    archive: &'static str,
    #[cfg(feature = "download")]
    address: &'static str,
    #[cfg(feature = "download")]
    md5: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Records in each file of the training set, and in the test set.
    records: (usize, usize),
}

/// Where the authors publish both archives; torchvision and TensorFlow take them from there.
#[cfg(feature = "download")]
const ADDRESS: &str = "https://www.cs.toronto.edu/~kriz/";

const CIFAR10: Layout = Layout {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    #[cfg(feature = "download")]
    address: ADDRESS,
    #[cfg(feature = "download")]
    md5: "c32a1d4ab5d03f1284b67883e8d87530",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    records: (10_000, 10_000),
};

const CIFAR100: Layout = Layout {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    #[cfg(feature = "download")]
    address: ADDRESS,
    #[cfg(feature = "download")]
    md5: "03b5dce01913d631647c71ecec9e9cb8",
    train: &["train.bin"],
    test: "test.bin",
    records: (50_000, 10_000),
};

/// CIFAR-10: 50,000 + 10,000 colour pictures of 32×32 pixels in ten classes
/// (Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009;
/// [format](https://www.cs.toronto.edu/~kriz/cifar.html)).
#[derive(Debug)]
pub struct Cifar10;

impl Cifar10 {
    /// The ten classes, in the order of their labels.
    pub const CLASS_NAMES: [&'static str; 10] = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];

    /// The mean of red, green and blue over the training set, on the scale 0 to 1.
    pub const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];

    /// The standard deviation of red, green and blue over the training set, on the scale 0 to 1.
    pub const STANDARD_DEVIATION: [f32; 3] = [0.2470, 0.2435, 0.2616];

    /// Opens CIFAR-10 from `folder`: extracted, or the official archive, which is unpacked.
    ///
    /// The files are mapped, not read ([`Access::Mapped`]): while the data set is in use, nobody may change them or
    /// make them shorter. Where you cannot be sure, choose another way with [`open_with`](Self::open_with).
    ///
    /// # Errors
    ///
    /// [`Error::DatasetNotFound`] if `folder` does not have it, with where to get it; [`Error::Io`],
    /// [`Error::Malformed`], [`Error::UnsafeArchive`] or [`Error::TooLarge`] if it has and something is wrong with it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Dataset> {
        Self::open_with(folder, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl AsRef<Path>, access: Access) -> Result<Dataset> {
        let format = RecordFormat::CIFAR10;
        CIFAR10.open(folder.as_ref(), format, access, &Self::CLASS_NAMES)
    }

    /// As [`open`](Self::open), after fetching the archive (170 MB) into `folder` if the set isn't there. An
    /// interrupted download is continued, and a damaged archive renamed to `NAME.damaged` first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`Error::Download`] or [`Error::Checksum`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>) -> Result<Dataset> {
        CIFAR10.download(folder.as_ref())?;
        Self::open(folder)
    }

    /// The set whose files lie in `folder` itself, each of any whole number of records.
    pub(super) fn open_files(
        name: &'static str,
        folder: &Path,
        class_names: &'static [&'static str],
        records: (usize, usize),
    ) -> Result<Dataset> {
        Layout {
            name,
            records,
            ..CIFAR10
        }
        .open_files(
            folder,
            RecordFormat::CIFAR10,
            Access::default(),
            class_names,
        )
    }

    /// The names of the files, the five to train on and the one to test on.
    pub(super) fn files() -> (&'static [&'static str], &'static str) {
        (CIFAR10.train, CIFAR10.test)
    }
}

/// Which labels of CIFAR-100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cifar100Labels {
    /// 100 classes.
    Fine,
    /// 20 superclasses of five classes each.
    Coarse,
}

/// CIFAR-100: 50,000 + 10,000 colour pictures of 32×32 pixels, with 100 fine and 20 coarse labels
/// ([format](https://www.cs.toronto.edu/~kriz/cifar.html)).
#[derive(Debug)]
pub struct Cifar100;

impl Cifar100 {
    /// The mean of red, green and blue over the training set, on the scale 0 to 1.
    pub const MEAN: [f32; 3] = [0.5071, 0.4865, 0.4409];

    /// The standard deviation of red, green and blue over the training set, on the scale 0 to 1.
    pub const STANDARD_DEVIATION: [f32; 3] = [0.2673, 0.2564, 0.2762];

    /// Opens CIFAR-100 from `folder`: extracted, or the official archive, which is unpacked. The files are mapped, as
    /// with [`Cifar10::open`].
    ///
    /// # Errors
    ///
    /// As [`Cifar10::open`].
    pub fn open(folder: impl AsRef<Path>, labels: Cifar100Labels) -> Result<Dataset> {
        Self::open_with(folder, labels, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`Cifar10::open`].
    pub fn open_with(
        folder: impl AsRef<Path>,
        labels: Cifar100Labels,
        access: Access,
    ) -> Result<Dataset> {
        let (format, class_names): (_, &'static [&'static str]) = match labels {
            Cifar100Labels::Fine => (RecordFormat::CIFAR100_FINE, &FINE_NAMES),
            Cifar100Labels::Coarse => (RecordFormat::CIFAR100_COARSE, &COARSE_NAMES),
        };
        CIFAR100.open(folder.as_ref(), format, access, class_names)
    }

    /// As [`open`](Self::open), after fetching the archive (169 MB) into `folder` if the set isn't there.
    ///
    /// # Errors
    ///
    /// As [`Cifar10::download`].
    #[cfg(feature = "download")]
    pub fn download(folder: impl AsRef<Path>, labels: Cifar100Labels) -> Result<Dataset> {
        CIFAR100.download(folder.as_ref())?;
        Self::open(folder, labels)
    }
}

impl Layout {
    fn open(
        &self,
        folder: &Path,
        format: RecordFormat,
        access: Access,
        class_names: &'static [&'static str],
    ) -> Result<Dataset> {
        if !exists(folder)? {
            return Err(self.not_found(folder));
        }
        check_folder(folder)?;
        let files = match self.find(folder)? {
            Some(files) => Some(files),
            // Opening a part of the set says which file is missing.
            None => self.find_some(folder, 1)?,
        };
        match files {
            Some(files) => self.open_files(&files, format, access, class_names),
            None => Err(self.not_found(folder)),
        }
    }

    fn not_found(&self, folder: &Path) -> Error {
        Error::DatasetNotFound {
            dataset: self.name,
            directory: folder.to_owned(),
            looked_for: vec![
                format!("{}/{}", self.folder, self.train[0]),
                self.train[0].into(),
                self.archive.into(),
            ],
            advice: format!(
                "get {} from https://www.cs.toronto.edu/~kriz/cifar.html",
                self.archive
            ),
        }
    }

    /// The folder with all the files, unpacked if need be.
    fn find(&self, folder: &Path) -> Result<Option<PathBuf>> {
        let path = folder.join(self.archive);
        if exists(&path)? {
            archive::unpack(&path, self.folder, &self.files()).map(Some)
        } else {
            self.find_some(folder, self.files().len())
        }
    }

    /// The folder with at least `count` of the files.
    fn find_some(&self, folder: &Path, count: usize) -> Result<Option<PathBuf>> {
        for candidate in [folder.join(self.folder), folder.to_owned()] {
            let mut found = 0;
            for name in self.files() {
                found += usize::from(exists(&candidate.join(name))?);
            }
            if found >= count {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    fn files(&self) -> Vec<&'static str> {
        [self.train, &[self.test]].concat()
    }

    fn open_files(
        &self,
        folder: &Path,
        format: RecordFormat,
        access: Access,
        class_names: &'static [&'static str],
    ) -> Result<Dataset> {
        let open = |name: &str, records| -> Result<Arc<dyn Source>> {
            let file = RecordFile::open_with(folder.join(name), format, access)?;
            Ok(Arc::new(file.expect_len(records)?))
        };
        let parts = self
            .train
            .iter()
            .map(|name| open(name, self.records.0))
            .collect::<Result<Vec<_>>>()?;
        let test = open(self.test, self.records.1)?;
        Ok(Dataset {
            name: self.name.into(),
            train: Arc::new(Concat::new(parts)?),
            test,
            class_names: super::owned(class_names),
            files: self.files().iter().map(|name| folder.join(name)).collect(),
        })
    }

    #[cfg(feature = "download")]
    fn download(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(crate::error::io_error("create it", folder))?;
        match self.find(folder) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            // The archive can't be used. If it is not damaged, opening the set says why.
            Err(_) if folder.join(self.archive).is_file() => {}
            Err(error) => return Err(error),
        }
        super::download::fetch(&[self.address], self.archive, self.md5, folder)?;
        Ok(())
    }
}

#[cfg(all(test, feature = "download"))]
mod tests {
    use super::super::download::tests::{Server, md5_of};
    use super::*;
    use flate2::{Compression, write::GzEncoder};

    #[test]
    fn a_damaged_archive_is_set_aside_and_fetched_anew() {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, label) in [("train.bin", 3), ("test.bin", 7)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(3073);
            header.set_mode(0o644);
            let mut record = [0; 3073];
            record[0] = label;
            let path = format!("set/{name}");
            builder.append_data(&mut header, path, &record[..]).unwrap();
        }
        let archive = builder.into_inner().unwrap().finish().unwrap();
        let layout = Layout {
            folder: "set",
            archive: "set.tar.gz",
            address: Server::of(archive.clone()).address.leak(),
            md5: md5_of(&archive).leak(),
            train: &["train.bin"],
            test: "test.bin",
            records: (1, 1),
            ..CIFAR10
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar.gz");
        std::fs::write(&path, &archive[..archive.len() / 2]).unwrap();
        let open = || {
            let format = RecordFormat::CIFAR10;
            layout.open(
                folder.path(),
                format,
                Access::default(),
                &Cifar10::CLASS_NAMES,
            )
        };
        // Who only opens it is told what to do.
        let error = open().unwrap_err().to_string();
        assert!(
            error.contains("set.tar.gz") && error.contains("delete it"),
            "{error}"
        );
        layout.download(folder.path()).unwrap();
        assert_eq!(open().unwrap().train.len(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), archive);
        assert!(folder.path().join("set.tar.gz.damaged").exists());
    }
}
