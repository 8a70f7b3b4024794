//! The well-known data sets, as users have them on disk. Tests on real data run when `FEEDLINE_DATA` names the folder.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use feedline_pipeline::dataset::{Cifar10, Cifar100, Cifar100Labels, Dataset, Generated, Mnist};
use feedline_pipeline::source::{Access, RecordFile, RecordFormat};
use feedline_pipeline::{Error, Fault, Result, Source};

/// A real data set, or a word about what is missing.
fn real(open: impl Fn(PathBuf) -> Result<Dataset>) -> Option<Dataset> {
    let Some(folder) = std::env::var_os("FEEDLINE_DATA") else {
        eprintln!("skipped: FEEDLINE_DATA does not name a folder with real data");
        return None;
    };
    match open(folder.into()) {
        Err(error @ Error::DatasetNotFound { .. }) => {
            eprintln!("skipped: {error}");
            None
        }
        result => Some(result.unwrap()),
    }
}

/// FNV-1a over all pixels and labels, but for the pixels of the samples `without`. The golden values of the test sets
/// were also computed in Python.
fn hash(source: &dyn Source, without: &[usize]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut scratch = Vec::new();
    for index in 0..source.len() {
        let sample = source.sample(index, &mut scratch).unwrap();
        if !without.contains(&index) {
            sample.pixels.iter().copied().for_each(&mut add);
        }
        add(sample.label as u8);
    }
    hash
}

#[test]
fn real_mnist_is_read_as_published() {
    let Some(mnist) = real(Mnist::open) else {
        return;
    };
    assert_eq!((mnist.train.len(), mnist.test.len()), (60_000, 10_000));
    assert_eq!(hash(&*mnist.train, &[]), 17501880987029217316);
    assert_eq!(hash(&*mnist.test, &[]), 292826813860327747);
}

/// Some copies of CIFAR-10 in circulation differ from the official one in the pixels of these test pictures.
const DIFFERING: [usize; 20] = [
    1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496, 5791, 5896, 6286, 7580, 7707, 7724,
    7832, 8117, 8551, 9254,
];

#[test]
fn real_cifar_10_is_read_as_published() {
    let Some(cifar) = real(Cifar10::open) else {
        return;
    };
    assert_eq!((cifar.train.len(), cifar.test.len()), (50_000, 10_000));
    assert_eq!(hash(&*cifar.train, &[]), 6865767541530366958);
    assert_eq!(hash(&*cifar.test, &DIFFERING), 4117893188215627990);
}

/// Writes a file of `length` bytes that begins with `start`; the rest are zeros that take no room on the disk.
fn write(path: PathBuf, start: &[u8], length: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(start).unwrap();
    file.set_len(length).unwrap();
}

/// Writes CIFAR-10's files of their full size, zeros throughout.
fn zeros(folder: &Path) {
    for name in (1..=5)
        .map(|i| format!("data_batch_{i}.bin"))
        .chain(["test_batch.bin".into()])
    {
        write(folder.join(name), b"", 10_000 * 3073);
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
fn sets_are_opened_in_the_way_that_is_asked_for() {
    let (mnist, cifar) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let be = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    for (name, count, first) in [
        ("train", 60_000, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
        ("t10k", 10_000, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    ] {
        let images: Vec<u8> = be(&[0x803, count, 28, 28]);
        let labels = [be(&[0x801, count]), first.to_vec()].concat();
        let path = |kind| mnist.path().join(format!("{name}-{kind}-ubyte"));
        write(path("images-idx3"), &images, 16 + u64::from(count) * 784);
        write(path("labels-idx1"), &labels, 8 + u64::from(count));
    }
    zeros(cifar.path());
    write(cifar.path().join("train.bin"), b"", 50_000 * 3074);
    write(cifar.path().join("test.bin"), b"", 10_000 * 3074);
    for access in [Access::Mapped, Access::Read, Access::Copied] {
        let sets = [
            (
                Mnist::open_with(mnist.path(), access),
                mnist.path().join("t10k-images-idx3-ubyte"),
            ),
            (
                Cifar10::open_with(cifar.path(), access),
                cifar.path().join("test_batch.bin"),
            ),
            (
                Cifar100::open_with(cifar.path(), Cifar100Labels::Fine, access),
                cifar.path().join("test.bin"),
            ),
        ];
        for (set, file) in sets {
            let set = set.unwrap();
            assert!(set.test.verify().is_ok());
            let file = File::options().write(true).open(file).unwrap();
            let length = file.metadata().unwrap().len();
            file.set_len(length - 1).unwrap();
            // A copy may outlive the file, and what is read piece by piece is an error only where it is missing.
            let verified = set.test.verify();
            assert_eq!(verified.is_ok(), access == Access::Copied, "{access:?}");
            if access != Access::Mapped {
                let last = set.test.len() - 1;
                assert!(set.test.sample(0, &mut Vec::new()).is_ok());
                let whole = set.test.sample(last, &mut Vec::new()).is_ok();
                assert_eq!(whole, access == Access::Copied, "{access:?}");
            }
            file.set_len(length).unwrap();
        }
    }
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
fn a_broken_archive_or_another_sets_is_not_taken_for_a_missing_data_set() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("cifar-10-binary.tar.gz");
    let mut other = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    other
        .append_dir("cifar-10-batches-py", folder.path())
        .unwrap();
    let other = other.into_inner().unwrap().finish().unwrap();
    // A folder that is only a part of the set does not keep the archive from being looked at.
    let inner = folder.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    write(inner.join("data_batch_1.bin"), b"", 10_000 * 3073);
    for (bytes, expected) in [
        (&other[..], Fault::OtherDataset),
        (&other[..other.len() - 4], Fault::DamagedCompression),
    ] {
        std::fs::write(&archive, bytes).unwrap();
        let error = Cifar10::open(folder.path()).unwrap_err();
        let Error::Malformed { path, fault, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((path, *fault), (&archive, expected));
    }
}

#[test]
fn cifar_100_has_the_coarse_label_first_and_the_fine_one_second() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vec![0; 2 * 3074];
    records[..3].copy_from_slice(&[19, 99, 5]);
    records[3074..3077].copy_from_slice(&[3, 42, 6]);
    let path = folder.path().join("two.bin");
    std::fs::write(&path, &records).unwrap();
    for (format, classes, labels) in [
        (RecordFormat::CIFAR100_COARSE, 20, [19, 3]),
        (RecordFormat::CIFAR100_FINE, 100, [99, 42]),
    ] {
        let file = RecordFile::open(&path, format).unwrap();
        assert_eq!((file.len(), file.classes()), (2, classes));
        let mut scratch = Vec::new();
        for (index, label) in labels.into_iter().enumerate() {
            let sample = file.sample(index, &mut scratch).unwrap();
            assert_eq!((sample.label, sample.pixels.len()), (label, 3072));
            assert_eq!(sample.pixels[0], 5 + index as u8);
        }
    }

    write(folder.path().join("train.bin"), &records, 50_000 * 3074);
    write(folder.path().join("test.bin"), &records, 10_000 * 3074);
    for (labels, classes, second) in [
        (Cifar100Labels::Coarse, 20, 3),
        (Cifar100Labels::Fine, 100, 42),
    ] {
        let cifar = Cifar100::open(folder.path(), labels).unwrap();
        assert_eq!((cifar.train.len(), cifar.test.len()), (50_000, 10_000));
        assert_eq!(cifar.class_names.len(), classes);
        assert_eq!(cifar.test.label(1).unwrap(), second);
    }
}

#[cfg(unix)]
#[test]
fn a_set_that_may_not_be_read_is_not_taken_for_a_missing_one() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&inner).unwrap();
    zeros(&inner);
    let file = inner.join("data_batch_2.bin");
    for (locked, unlocked) in [(&file, 0o644), (&inner, 0o755)] {
        std::fs::set_permissions(locked, PermissionsExt::from_mode(0o000)).unwrap();
        let bites = File::open(&file).is_err();
        let result = Cifar10::open(folder.path());
        std::fs::set_permissions(locked, PermissionsExt::from_mode(unlocked)).unwrap();
        if !bites {
            eprintln!("skipped: this user may read everything");
            return;
        }
        let error = result.unwrap_err();
        let Error::Io { source, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    }
}

#[test]
fn generated_pictures_are_genuine_cifar_files_but_do_not_pass_for_cifar() {
    let folder = tempfile::tempdir().unwrap();
    Generated::write(folder.path(), 50, 10).unwrap();
    let path = folder.path().join("data_batch_5.bin");
    let file = RecordFile::open(path, RecordFormat::CIFAR10);
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
    assert!(matches!(error, Error::DatasetNotFound { .. }), "{error}");
}
