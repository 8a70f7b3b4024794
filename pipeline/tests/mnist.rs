//! MNIST and Fashion-MNIST, whose files have the same names and sizes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use feedline_pipeline::dataset::{Dataset, FashionMnist, Mnist};
use feedline_pipeline::{Error, Fault, Result};

const MNIST_LABELS: [&[u8]; 2] = [
    &[5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
    &[7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
];
const FASHION_LABELS: [&[u8]; 2] = [
    &[9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
    &[9, 2, 1, 1, 6, 1, 4, 6, 5, 7],
];

/// Writes a file of `length` bytes that begins with `start`; the rest are zeros that take no room on the disk.
fn write(path: PathBuf, start: &[u8], length: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(start).unwrap();
    file.set_len(length).unwrap();
}

/// Writes the four files of MNIST or Fashion-MNIST, which begin with these labels, without anything in the pictures.
fn write_mnist(folder: &Path, labels: [&[u8]; 2]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, count, labels) in [("train", 60_000, labels[0]), ("t10k", 10_000, labels[1])] {
        write_images(folder, name, [count, 28, 28]);
        let start = [&[0, 0, 8, 1][..], &count.to_be_bytes(), labels].concat();
        let path = folder.join(format!("{name}-labels-idx1-ubyte"));
        write(path, &start, 8 + u64::from(count));
    }
}

fn write_images(folder: &Path, name: &str, dimensions: [u32; 3]) {
    let header = [0x0803, dimensions[0], dimensions[1], dimensions[2]].map(u32::to_be_bytes);
    let length = 16 + dimensions.map(u64::from).iter().product::<u64>();
    write(
        folder.join(format!("{name}-images-idx3-ubyte")),
        header.as_flattened(),
        length,
    );
}

/// The fault of a set that does not open, where in which file it is, and the message.
fn fault(result: Result<Dataset>) -> (Fault, u64, String, String) {
    let error = result.unwrap_err();
    let message = error.to_string();
    match error {
        Error::Malformed {
            path,
            fault,
            offset,
            ..
        } => {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (fault, offset, name, message)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn mnist_and_fashion_mnist_are_found_in_their_folders() {
    for inner in ["", "mnist", "MNIST/raw"] {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(&folder.path().join(inner), MNIST_LABELS);
        let mnist = Mnist::open(folder.path()).unwrap();
        assert_eq!((&*mnist.name, mnist.test.len()), ("MNIST", 10_000));
    }
    for inner in ["", "fashion-mnist", "fashion", "FashionMNIST/raw"] {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(&folder.path().join(inner), FASHION_LABELS);
        let fashion = FashionMnist::open(folder.path()).unwrap();
        assert_eq!(
            (&*fashion.name, fashion.train.len()),
            ("Fashion-MNIST", 60_000)
        );
        assert_eq!(
            fashion.class_names[fashion.train.label(0).unwrap() as usize],
            "Ankle boot"
        );
    }
}

#[test]
fn mnist_and_fashion_mnist_do_not_pass_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    write_mnist(folder.path(), MNIST_LABELS);
    let (found, offset, file, message) = fault(FashionMnist::open(folder.path()));
    assert_eq!((found, offset), (Fault::OtherDataset, 8));
    assert_eq!(file, "train-labels-idx1-ubyte");
    assert!(message.contains("Fashion-MNIST's labels"), "{message}");

    write_mnist(folder.path(), FASHION_LABELS);
    assert_eq!(fault(Mnist::open(folder.path())).0, Fault::OtherDataset);
    // The test set of the one beside the training set of the other.
    write_mnist(folder.path(), [MNIST_LABELS[0], FASHION_LABELS[1]]);
    assert_eq!(
        fault(Mnist::open(folder.path())).2,
        "t10k-labels-idx1-ubyte"
    );
    // The other set in one place does not hide this one in the next.
    write_mnist(folder.path(), FASHION_LABELS);
    write_mnist(&folder.path().join("mnist"), MNIST_LABELS);
    assert_eq!(Mnist::open(folder.path()).unwrap().name, "MNIST");
    assert_eq!(
        FashionMnist::open(folder.path()).unwrap().name,
        "Fashion-MNIST"
    );
}

#[test]
fn mnist_of_another_size_is_refused_before_anything_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Mnist::open(folder.path());
    write_mnist(folder.path(), MNIST_LABELS);
    write_images(folder.path(), "train", [59_999, 28, 28]);
    let (found, offset, file, _) = fault(open());
    assert_eq!((found, offset), (Fault::WrongCount, 4));
    assert_eq!(file, "train-images-idx3-ubyte");
    write_images(folder.path(), "train", [60_000, 28, 32]);
    let (found, offset, ..) = fault(open());
    assert_eq!((found, offset), (Fault::WrongDimensions, 12));

    // A small file that says that it holds 15 GiB.
    let header = [0x0803_u32, 60_000, 512, 512].map(u32::to_be_bytes);
    let compressed = folder.path().join("train-images-idx3-ubyte.gz");
    let file = File::create(&compressed).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    encoder.write_all(header.as_flattened()).unwrap();
    encoder.finish().unwrap();
    let (found, offset, file, _) = fault(open());
    assert_eq!((found, offset), (Fault::WrongDimensions, 8));
    assert_eq!(file, "train-images-idx3-ubyte.gz");
}

#[cfg(feature = "download")]
#[test]
fn nothing_is_fetched_that_can_be_opened() {
    for inner in ["fashion", "FashionMNIST/raw", ""] {
        let folder = tempfile::tempdir().unwrap();
        write_mnist(&folder.path().join(inner), FASHION_LABELS);
        FashionMnist::download(folder.path()).unwrap();
        assert!(!folder.path().join("fashion-mnist").exists());
    }
}
