//! The well-known data sets, as users have them on disk. Tests on real data run when `FEEDLINE_DATA` names the folder.

use std::path::{Path, PathBuf};

use feedline_pipeline::dataset::{Cifar10, Cifar100, Cifar100Labels, Dataset, Generated, Mnist};
use feedline_pipeline::{Error, Fault, Result, Source};

/// The folder with real data, or a word about what is missing.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("FEEDLINE_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: FEEDLINE_DATA does not name a folder with real data");
    }
    folder
}

/// FNV-1a over all pixels and labels. The golden values of the test sets were also computed in Python.
fn hash(source: &dyn Source) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut scratch = Vec::new();
    for index in 0..source.len() {
        let sample = source.sample(index, &mut scratch).unwrap();
        sample.pixels.iter().copied().for_each(&mut add);
        add(sample.label as u8);
    }
    hash
}

fn hashes(dataset: &Dataset) -> [u64; 2] {
    [hash(&*dataset.train), hash(&*dataset.test)]
}

#[test]
fn real_mnist_is_read_as_published() {
    let Some(folder) = real_data() else { return };
    let mnist = Mnist::open(folder).unwrap();
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!(hashes(&mnist), [17501880987029217316, 292826813860327747]);
}

#[test]
fn real_cifar_10_is_read_as_published() {
    let Some(folder) = real_data() else { return };
    let cifar = Cifar10::open(folder).unwrap();
    assert_eq!((cifar.train.len(), cifar.test.len()), (50_000, 10_000));
    assert_eq!(hashes(&cifar), [6865767541530366958, 1733628672617627953]);
}

/// Writes CIFAR-10's files of their full size, zeros throughout.
fn zeros(folder: &Path) {
    for name in (1..=5)
        .map(|i| format!("data_batch_{i}.bin"))
        .chain(["test_batch.bin".into()])
    {
        let file = std::fs::File::create(folder.join(name)).unwrap();
        file.set_len(10_000 * 3073).unwrap();
    }
}

#[test]
fn cifar_10_is_found_in_its_own_folder_and_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    zeros(&inner);
    assert_eq!(Cifar10::open(&inner).unwrap().train.len(), 50_000);
    assert_eq!(Cifar10::open(folder.path()).unwrap().test.len(), 10_000);
}

#[test]
fn a_part_of_a_set_does_not_pass_for_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    zeros(folder.path());
    let part = folder.path().join("data_batch_3.bin");
    let file = std::fs::OpenOptions::new().write(true).open(&part).unwrap();
    file.set_len(9_000 * 3073).unwrap();
    let error = Cifar10::open(folder.path()).unwrap_err();
    let Error::Malformed { path, fault, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((path, *fault), (&part, Fault::WrongCount));

    std::fs::remove_file(&part).unwrap();
    let error = Cifar10::open(folder.path()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if *path == part),
        "{error}"
    );
}

#[test]
fn generated_pictures_are_genuine_cifar_files_but_do_not_pass_for_cifar() {
    let folder = tempfile::tempdir().unwrap();
    Generated::write(folder.path(), 50, 10).unwrap();
    let path = folder.path().join("data_batch_5.bin");
    let file = feedline_pipeline::source::RecordFile::open(
        path,
        feedline_pipeline::source::RecordFormat::CIFAR10,
    );
    assert_eq!(file.unwrap().len(), 10);
    assert!(Cifar10::open(folder.path()).is_err());
}

#[test]
fn a_folder_without_the_set_is_an_error_that_says_where_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let opened: [Result<Dataset>; 3] = [
        Cifar10::open(folder.path()),
        Cifar100::open(folder.path(), Cifar100Labels::Fine),
        Mnist::open(folder.path()),
    ];
    for result in opened {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::DatasetNotFound { .. }), "{error}");
        assert!(error.to_string().contains("https://"), "{error}");
    }
}

#[test]
fn what_is_no_folder_is_not_searched() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Mnist::open(file.path()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Malformed {
                fault: Fault::NotAFolder,
                ..
            }
        ),
        "{error}"
    );
    let missing = file.path().with_extension("missing");
    let error = Cifar10::open(missing).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
}
