//! Pictures for machines without data.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::{Cifar10, Dataset, check_folder, textures};
use crate::cache;
use crate::error::{Result, invalid, io_error};
use crate::random::Random;

/// A generated set of colour pictures of 32×32 pixels in ten classes of patterns and shapes, for trying things out
/// where there is no data.
///
/// It is the same on every machine. It can be learnt but is not trivial: a linear model stays below 60 %, a small
/// convolutional network passes 90 %. On disk it is files in CIFAR-10's format, so that everything runs as on real
/// data.
#[derive(Debug)]
pub struct Generated;

/// Part of the folder's name, to be raised when the pictures change.
const VERSION: u32 = 1;

impl Generated {
    /// The ten classes, in the order of their labels.
    pub const CLASS_NAMES: [&'static str; 10] = textures::NAMES;

    /// Opens `train` and `test` pictures, which are drawn into the user's cache folder (`FEEDLINE_CACHE` names another
    /// one) when they are first asked for.
    ///
    /// ```
    /// use feedline_pipeline::dataset::Generated;
    ///
    /// let dataset = Generated::open(500, 100)?;
    /// assert_eq!(dataset.train.len(), 500);
    /// assert_eq!(dataset.class_names.len(), 10);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `train` is no multiple of 5 (there are five files)
    /// or one of them is 0; [`Error::Io`](crate::Error::Io) if the files can't be written.
    pub fn open(train: usize, test: usize) -> Result<Dataset> {
        check(train, test)?;
        let parent = cache::folder()?;
        let folder = parent.join(format!("generated-{VERSION}-{train}-{test}"));
        if !folder.is_dir() {
            let temporary = tempfile::Builder::new()
                .prefix(".feedline-")
                .tempdir_in(&parent)
                .map_err(io_error("create a folder in it", &parent))?;
            let drawn = temporary.path().join("drawn");
            Self::write(&drawn, train, test)?;
            match std::fs::rename(&drawn, &folder) {
                // Another process was faster, and drew the same.
                Err(_) if folder.is_dir() => {}
                Err(error) => return Err(io_error("move the pictures to it", &folder)(error)),
                Ok(()) => {}
            }
        }
        let classes = &Self::CLASS_NAMES;
        Cifar10::open_files("generated pictures", &folder, classes, (train / 5, test))
    }

    /// Writes the set into `folder`, which is created if need be, as `data_batch_1.bin` to `data_batch_5.bin` and
    /// `test_batch.bin`: each picture is a byte with its label, then red, green and blue
    /// ([format](https://www.cs.toronto.edu/~kriz/cifar.html)).
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn write(folder: impl AsRef<Path>, train: usize, test: usize) -> Result<()> {
        check(train, test)?;
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(io_error("create it", folder))?;
        check_folder(folder)?;
        let (train_names, test_name) = Cifar10::files();
        let share = train / train_names.len();
        for (i, name) in train_names.iter().enumerate() {
            write_file(&folder.join(name), 0, i * share, share)?;
        }
        write_file(&folder.join(test_name), 1, 0, test)?;
        write_names(&folder.join("batches.meta.txt"))
    }
}

/// Pictures of a split: a slip of the finger is not to fill a disk.
const MOST: usize = 1_000_000;

fn check(train: usize, test: usize) -> Result<()> {
    if train == 0 || train > MOST || !train.is_multiple_of(5) {
        let expected = format!("a multiple of 5, from 5 to {MOST}, which take 3 GB");
        return Err(invalid("train", train, expected));
    }
    if test == 0 || test > MOST {
        return Err(invalid("test", test, format!("from 1 to {MOST}")));
    }
    Ok(())
}

/// Writes the pictures `first..first + count` of one split.
fn write_file(path: &Path, split: u64, first: usize, count: usize) -> Result<()> {
    let file = cache::temporary_file(path)?;
    let mut writer = BufWriter::new(file);
    let mut record = [0; 1 + 3 * 32 * 32];
    for index in first..first + count {
        let label = index % textures::NAMES.len();
        record[0] = label as u8;
        let mut random = Random::new([u64::from(VERSION), split, index as u64]);
        textures::draw(label, &mut random, &mut record[1..]);
        writer
            .write_all(&record)
            .map_err(io_error("write it", path))?;
    }
    let file = writer
        .into_inner()
        .map_err(|error| io_error("write it", path)(error.into_error()))?;
    cache::keep(file, path)
}

fn write_names(path: &Path) -> Result<()> {
    let mut names = textures::NAMES.join("\n");
    names.push('\n');
    std::fs::write(path, names).map_err(io_error("write it", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::mix;

    #[test]
    fn the_pictures_are_the_same_on_every_machine() {
        let folder = tempfile::tempdir().unwrap();
        Generated::write(folder.path(), 50, 20).unwrap();
        let hash = ["data_batch_1.bin", "data_batch_5.bin", "test_batch.bin"].map(|name| {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            assert_eq!(bytes.len() % 3073, 0);
            bytes
                .iter()
                .fold(0, |hash, &byte| mix(hash ^ u64::from(byte)))
        });
        // Golden: raise VERSION when the pictures are meant to change.
        let golden = [
            5535335783604035108,
            5374596914762406488,
            7159779727193720789,
        ];
        assert_eq!(hash, golden);
    }

    #[test]
    fn what_is_written_is_what_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        Generated::write(folder.path(), 25, 10).unwrap();
        let names = &Generated::CLASS_NAMES;
        let dataset = Cifar10::open_files("generated", folder.path(), names, (5, 10)).unwrap();
        assert_eq!((dataset.train.len(), dataset.test.len()), (25, 10));
        let mut scratch = Vec::new();
        for index in 0..25 {
            let sample = dataset.train.sample(index, &mut scratch).unwrap();
            assert_eq!(sample.label as usize, index % 10);
        }
    }

    #[test]
    fn a_set_that_cannot_be_divided_is_refused() {
        for (train, test) in [(0, 1), (4, 1), (5, 0)] {
            assert!(Generated::open(train, test).is_err());
        }
    }
}
