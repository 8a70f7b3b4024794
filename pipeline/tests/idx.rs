//! MNIST's files, plain and compressed, whole and broken.

use std::io::Write;
use std::path::Path;

use feedline_pipeline::source::IdxPair;
use feedline_pipeline::{Error, Fault, Result, Shape, Source};
use flate2::{Compression, write::GzEncoder};

fn idx(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = (0x0800 | dimensions.len() as u32).to_be_bytes().to_vec();
    bytes.extend(
        dimensions
            .iter()
            .flat_map(|dimension| dimension.to_be_bytes()),
    );
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Opens a pair of files with these contents.
fn open(images: &[u8], labels: &[u8]) -> Result<IdxPair> {
    let folder = tempfile::tempdir().unwrap();
    let paths = [
        folder.path().join("images.gz"),
        folder.path().join("labels.gz"),
    ];
    std::fs::write(&paths[0], images).unwrap();
    std::fs::write(&paths[1], labels).unwrap();
    IdxPair::open(&paths[0], &paths[1], 10)
}

/// The fault, and where it lies.
fn fault(result: Result<IdxPair>) -> (Fault, u64) {
    match result {
        Err(Error::Malformed { fault, offset, .. }) => (fault, offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_and_compressed_files_give_the_same_samples() {
    let images = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let labels = idx(&[2], &[9, 0]);
    for pair in [open(&images, &labels), open(&gzip(&images), &gzip(&labels))] {
        let pair = pair.unwrap();
        assert_eq!((pair.len(), pair.shape()), (2, Shape::new(1, 2, 3)));
        let mut scratch = Vec::new();
        let sample = pair.sample(1, &mut scratch).unwrap();
        assert_eq!(
            (sample.pixels, sample.label),
            (&[7, 8, 9, 10, 11, 12][..], 0)
        );
    }
}

/// A folder with pictures of one sample in `images.gz` and its label in `labels`.
fn one_sample() -> (tempfile::TempDir, impl Fn(&str) -> std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_owned();
    let path = move |name: &str| base.join(name);
    std::fs::write(path("images.gz"), gzip(&idx(&[1, 1, 1], &[7]))).unwrap();
    std::fs::write(path("labels"), idx(&[1], &[3])).unwrap();
    (folder, path)
}

fn first_pixel(images: &Path, labels: &Path) -> u8 {
    let pair = IdxPair::open(images, labels, 10).unwrap();
    pair.sample(0, &mut Vec::new()).unwrap().pixels[0]
}

#[test]
fn a_compressed_file_is_unpacked_once() {
    let (folder, path) = one_sample();
    let time = || path("images").metadata().unwrap().modified().unwrap();
    assert_eq!(first_pixel(&path("images.gz"), &path("labels")), 7);
    let written = time();
    assert_eq!(first_pixel(&path("images.gz"), &path("labels")), 7);
    assert_eq!(time(), written);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_neighbour_with_the_name_of_the_unpacked_file_is_never_replaced() {
    let (folder, path) = one_sample();
    std::fs::write(path("images"), "somebody's own").unwrap();
    for _ in 0..2 {
        assert_eq!(first_pixel(&path("images.gz"), &path("labels")), 7);
    }
    assert_eq!(std::fs::read(path("images")).unwrap(), b"somebody's own");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_compressed_file_that_was_replaced_is_unpacked_anew() {
    let (_folder, path) = one_sample();
    assert_eq!(first_pixel(&path("images.gz"), &path("labels")), 7);
    let mut file = std::fs::File::create(path("images.gz")).unwrap();
    file.write_all(&gzip(&idx(&[1, 1, 1], &[8]))).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    file.set_modified(later).unwrap();
    assert_eq!(first_pixel(&path("images.gz"), &path("labels")), 8);
}

#[test]
fn a_file_without_the_usual_ending_is_unpacked_under_its_whole_name() {
    let (_folder, path) = one_sample();
    std::fs::write(path("images.train"), gzip(&idx(&[1, 1, 1], &[1]))).unwrap();
    std::fs::write(path("images.test"), gzip(&idx(&[1, 1, 1], &[2]))).unwrap();
    assert_eq!(first_pixel(&path("images.train"), &path("labels")), 1);
    assert_eq!(first_pixel(&path("images.test"), &path("labels")), 2);
    assert_eq!(first_pixel(&path("images.train"), &path("labels")), 1);
}

#[test]
fn an_error_names_the_file_whose_bytes_its_offset_counts() {
    let (_folder, path) = one_sample();
    std::fs::write(path("labels.gz"), gzip(&idx(&[1], &[77]))).unwrap();
    std::fs::remove_file(path("labels")).unwrap();
    let error = IdxPair::open(path("images.gz"), path("labels.gz"), 10).unwrap_err();
    let Error::Malformed {
        path: named,
        offset,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(std::fs::read(&named).unwrap()[offset as usize], 77);
    assert_eq!(named, path("labels"));
}

#[test]
fn every_defect_is_named_with_its_place() {
    let images = idx(&[2, 2, 2], &[0; 8]);
    let labels = idx(&[2], &[0, 1]);
    assert_eq!(fault(open(&[], &labels)), (Fault::Empty, 0));
    assert_eq!(fault(open(&images, &labels[..3])), (Fault::WrongLength, 3));
    assert_eq!(
        fault(open(&images[..10], &labels)),
        (Fault::WrongLength, 10)
    );
    assert_eq!(
        fault(open(&images[..20], &labels)),
        (Fault::WrongLength, 20)
    );
    assert_eq!(
        fault(open(&[&images[..], &[0]].concat(), &labels)),
        (Fault::WrongLength, 24)
    );
    assert_eq!(fault(open(&labels, &labels)), (Fault::WrongMagic, 0));
    assert_eq!(fault(open(&images, &images)), (Fault::WrongMagic, 0));
    assert_eq!(
        fault(open(&idx(&[2, 2, 0], &[]), &labels)),
        (Fault::WrongDimensions, 12)
    );
    assert_eq!(
        fault(open(&idx(&[u32::MAX; 3], &[]), &labels)),
        (Fault::WrongDimensions, 4)
    );
    assert_eq!(
        fault(open(&images, &idx(&[3], &[0; 3]))),
        (Fault::WrongCount, 4)
    );
    assert_eq!(
        fault(open(&images, &idx(&[2], &[0, 10]))),
        (Fault::LabelOutOfRange, 9)
    );
}

#[test]
fn damaged_compression_is_an_error_and_leaves_nothing_behind() {
    let images = gzip(&idx(
        &[100, 9, 9],
        &(0..8100).map(|i| (i * i % 251) as u8).collect::<Vec<_>>(),
    ));
    let labels = idx(&[100], &[0; 100]);
    let cut = open(&images[..images.len() / 2], &labels);
    assert_eq!(fault(cut).0, Fault::DamagedCompression);
    let mut flipped = images.clone();
    let middle = images.len() / 2;
    flipped[middle] ^= 0xff;
    assert_eq!(fault(open(&flipped, &labels)).0, Fault::DamagedCompression);
}

#[test]
fn a_stream_longer_than_its_header_says_is_not_unpacked() {
    // A megabyte of zeros behind a header that announces four bytes.
    let bomb = gzip(&idx(&[1, 2, 2], &vec![0; 1 << 20]));
    assert_eq!(
        fault(open(&bomb, &idx(&[1], &[0]))),
        (Fault::WrongLength, 20)
    );
}
