//! What is done with each input, and what must hold then: the bodies of the fuzz targets in `fuzz/`, and of the test
//! beside this file.
//!
//! A reader takes exactly the files that a second, naive reader takes, gives the same samples, fails with a typed error
//! that has a place in the file, and writes nothing but what belongs to the input.
#![allow(dead_code, reason = "each fuzz target uses one of the bodies")]

// A path, as the fuzz targets find this file in another folder than their own.
#[path = "naive.rs"]
mod naive;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use feedline_pipeline::dataset::Cifar10;
use feedline_pipeline::source::{Access, Axes, IdxPair, NpyPair, RecordFile, RecordFormat};
use feedline_pipeline::{Error, Fault, Shape, Source};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

const CLASSES: u8 = 10;

const ACCESSES: [Access; 3] = [Access::Mapped, Access::Copied, Access::Read];

/// A pair of plain IDX files: the length of the pictures' file in two bytes, that file, the labels' file.
pub(crate) fn idx(input: &[u8]) {
    let Some((length, files)) = input.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(files.len());
    let (images, labels) = files.split_at(length);
    // Compressed files have a body of their own.
    if [images, labels]
        .iter()
        .any(|file| file.starts_with(&[0x1f, 0x8b]))
    {
        return;
    }
    let sandbox = Sandbox::new();
    let paths = [
        sandbox.write("images", images),
        sandbox.write("labels", labels),
    ];
    let expected = naive::pictures(images).zip(naive::labels(labels));
    let expected = expected.filter(|(pictures, labels)| pictures.pixels.len() == labels.len());
    for access in ACCESSES {
        match IdxPair::open_with(&paths[0], &paths[1], CLASSES.into(), access) {
            Ok(pair) => {
                let (pictures, labels) = expected
                    .as_ref()
                    .expect("a file that is not sound was taken");
                assert_eq!((pair.shape().height, pair.shape().width), pictures.size);
                assert_samples(&pair, &pictures.pixels, labels);
            }
            Err(error) => {
                assert!(expected.is_none(), "a sound file was refused: {error}");
                assert_malformed(&error, images.len().max(labels.len()));
            }
        }
    }
    sandbox.assert_only(&["images", "labels"]);
}

/// A pair of NumPy's files: the length of the pictures' file in two bytes, that file, the labels' file.
pub(crate) fn npy(input: &[u8]) {
    let Some((length, files)) = input.split_first_chunk() else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(files.len());
    let (images, labels) = files.split_at(length);
    let sandbox = Sandbox::new();
    let paths = [
        sandbox.write("images.npy", images),
        sandbox.write("labels.npy", labels),
    ];
    let known = naive::npy_labels(labels, CLASSES);
    for (axes, order) in [
        (Axes::Nhw, &[0, 1, 2][..]),
        (Axes::Nchw, &[0, 2, 3, 1]),
        (Axes::Nhwc, &[0, 1, 2, 3]),
    ] {
        let expected = naive::npy_pictures(images, order).zip(known.as_ref());
        let expected = expected.filter(|(pictures, labels)| pictures.len() == labels.len());
        for access in ACCESSES {
            match NpyPair::open_with(&paths[0], &paths[1], CLASSES.into(), axes, access) {
                Ok(pair) => {
                    let (pictures, labels) = expected
                        .as_ref()
                        .expect("a file that is not sound was taken");
                    let pictures: Vec<_> = pictures.iter().map(|pixels| &pixels[..]).collect();
                    assert_samples(&pair, &pictures, labels);
                }
                Err(error) => {
                    assert!(expected.is_none(), "a sound file was refused: {error}");
                    assert_malformed(&error, images.len().max(labels.len()));
                }
            }
        }
    }
    sandbox.assert_only(&["images.npy", "labels.npy"]);
}

/// A compressed IDX file of pictures. After an even byte: as it is; after an odd one: to be compressed first.
pub(crate) fn gzip(input: &[u8]) {
    let Some((mode, file)) = input.split_first() else {
        return;
    };
    let file = if mode % 2 == 0 {
        file.to_vec()
    } else {
        compressed(file)
    };
    if !file.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    let mut content = Vec::new();
    let result = MultiGzDecoder::new(&file[..])
        .take(1 << 22)
        .read_to_end(&mut content);
    let pictures = naive::pictures(&content).filter(|_| result.is_ok());

    let sandbox = Sandbox::new();
    let images = sandbox.write("images.gz", &file);
    let count = pictures
        .as_ref()
        .map_or(1, |pictures| pictures.pixels.len());
    let mut labels = [0x0801_u32.to_be_bytes(), (count as u32).to_be_bytes()].concat();
    labels.resize(8 + count, 3);
    let labels = sandbox.write("labels", &labels);
    match IdxPair::open(images, labels, CLASSES.into()) {
        Ok(pair) => {
            let pictures = pictures.expect("a file that is not sound was taken");
            assert_samples(&pair, &pictures.pixels, &vec![3; count]);
            assert_eq!(std::fs::read(sandbox.path("images")).unwrap(), content);
            sandbox.assert_only(&["images.gz", "images", "labels"]);
        }
        Err(error) => {
            assert!(pictures.is_none(), "a sound file was refused: {error}");
            assert_malformed(&error, content.len().max(file.len()));
            // A file of one picture is unpacked before the labels are found not to fit.
            if !matches!(
                error,
                Error::Malformed {
                    fault: Fault::WrongCount,
                    ..
                }
            ) {
                sandbox.assert_only(&["images.gz", "labels"]);
            }
        }
    }
}

/// A file of records, such as CIFAR's, in the formats of both sets and in a small one.
pub(crate) fn cifar(input: &[u8]) {
    let tiny = RecordFormat {
        shape: Shape::new(1, 2, 2),
        classes: CLASSES.into(),
        record_length: 6,
        label_offset: 1,
        pixel_offset: 2,
    };
    let sandbox = Sandbox::new();
    let path = sandbox.write("records.bin", input);
    for format in [
        tiny,
        RecordFormat::CIFAR10,
        RecordFormat::CIFAR100_COARSE,
        RecordFormat::CIFAR100_FINE,
    ] {
        let records = input.chunks(format.record_length);
        let sound = !input.is_empty()
            && input.len().is_multiple_of(format.record_length)
            && records
                .clone()
                .all(|record| usize::from(record[format.label_offset]) < format.classes);
        for access in ACCESSES {
            match RecordFile::open_with(&path, format, access) {
                Ok(file) => {
                    assert!(sound, "a file that is not sound was taken");
                    let pixels: Vec<_> = records
                        .clone()
                        .map(|record| &record[format.pixel_offset..])
                        .collect();
                    let labels: Vec<_> = records
                        .clone()
                        .map(|record| record[format.label_offset])
                        .collect();
                    assert_samples(&file, &pixels, &labels);
                }
                Err(error) => {
                    assert!(!sound, "a sound file was refused: {error}");
                    assert_malformed(&error, input.len());
                }
            }
        }
    }
    sandbox.assert_only(&["records.bin"]);
}

/// CIFAR-10's archive, found in a folder. The first byte says what the rest is, modulo 3: 0 the archive, 1 a tar file to
/// be compressed, 2 one whose checksums are set right first, so that other fields are looked at.
pub(crate) fn archive(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else {
        return;
    };
    let file = match mode % 3 {
        0 => rest.to_vec(),
        1 => compressed(rest),
        _ => compressed(&with_checksums(rest)),
    };
    let sandbox = Sandbox::new();
    sandbox.write("cifar-10-binary.tar.gz", &file);
    // An input is too small for the published number of samples: opening them fails at the latest.
    let error = Cifar10::open(&sandbox.data).expect_err("a set is too large for an input");
    let unpacked = sandbox.path("cifar-10-batches-bin");
    if unpacked.exists() {
        assert_malformed(&error, usize::MAX);
        let entries = naive::entries(&file);
        for name in ["data_batch_1.bin", "test_batch.bin"] {
            let content = &entries[&Path::new("cifar-10-batches-bin").join(name)];
            assert!(
                std::fs::read(unpacked.join(name)).unwrap() == *content,
                "{name} has other bytes"
            );
        }
        std::fs::remove_dir_all(&unpacked).unwrap();
    } else {
        match &error {
            Error::Malformed { offset, .. } => assert!(*offset <= file.len() as u64, "{error}"),
            Error::UnsafeArchive { .. } | Error::TooLarge { .. } => {}
            _ => panic!("an error of another kind: {error}"),
        }
    }
    sandbox.assert_only(&["cifar-10-binary.tar.gz"]);
    assert!(
        !escape().exists(),
        "an entry was unpacked to an absolute path"
    );
}

/// Where an archive with an absolute path tries to write.
pub(crate) fn escape() -> PathBuf {
    std::env::temp_dir().join("feedline-fuzz-escape")
}

/// Nothing may be put there, as nothing stands in the way beside the input.
static CACHE: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("feedline-fuzz-cache-{}", std::process::id()));
    // SAFETY: this program reads the environment through std alone, which locks it.
    unsafe { std::env::set_var("FEEDLINE_CACHE", &path) };
    path
});

/// A temporary folder with a folder `data` in it.
struct Sandbox {
    outer: tempfile::TempDir,
    data: PathBuf,
}

impl Sandbox {
    fn new() -> Self {
        LazyLock::force(&CACHE);
        let outer = tempfile::tempdir().unwrap();
        let data = outer.path().join("data");
        std::fs::create_dir(&data).unwrap();
        Self { outer, data }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// These names and no others are in `data`, nothing is beside it, and nothing in the cache.
    fn assert_only(&self, names: &[&str]) {
        let list = |folder: &Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let mut names = names.to_vec();
        names.sort_unstable();
        assert_eq!(list(&self.data), names);
        assert_eq!(list(self.outer.path()), ["data"]);
        assert!(!CACHE.exists(), "something was written to the cache folder");
    }
}

fn assert_malformed(error: &Error, length: usize) {
    let Error::Malformed { offset, .. } = error else {
        panic!("an error of another kind: {error}")
    };
    assert!(*offset <= length as u64, "a place behind the end: {error}");
}

fn assert_samples(source: &dyn Source, pixels: &[&[u8]], labels: &[u8]) {
    assert_eq!((source.len(), source.len()), (pixels.len(), labels.len()));
    let mut scratch = Vec::new();
    for (index, (&pixels, &label)) in pixels.iter().zip(labels).enumerate() {
        let sample = source.sample(index, &mut scratch).unwrap();
        assert_eq!((sample.pixels, sample.label), (pixels, u32::from(label)));
        assert_eq!(source.label(index).unwrap(), u32::from(label));
    }
}

pub(crate) fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The tar file with right checksums wherever a header may be.
pub(crate) fn with_checksums(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar
        .chunks_exact_mut(512)
        .filter(|block| block[257..].starts_with(b"ustar"))
    {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    tar
}
