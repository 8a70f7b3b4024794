//! NumPy's files: as NumPy writes them, and as it must not be believed.

use std::path::Path;
use std::process::Command;

use feedline_pipeline::source::{Access, Axes, NpyPair};
use feedline_pipeline::{Error, Fault, Loader, Result, Shape, Source};
use proptest::prelude::*;

/// A file as NumPy writes one: the header padded with spaces to a multiple of 64 bytes.
fn npy(element: &str, dimensions: &[usize], elements: &[u8]) -> Vec<u8> {
    let numbers: Vec<String> = dimensions.iter().map(usize::to_string).collect();
    let comma = if dimensions.len() == 1 { "," } else { "" };
    let shape = format!("({}{comma})", numbers.join(", "));
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}");
    npy_of(&text, elements)
}

fn npy_of(text: &str, elements: &[u8]) -> Vec<u8> {
    let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
    let text = format!("{text:<width$}\n", width = length - 1);
    let start = [b"\x93NUMPY\x01\0", &(length as u16).to_le_bytes()[..]].concat();
    [&start, text.as_bytes(), elements].concat()
}

fn open_files(images: &[u8], labels: &[u8], axes: Axes, access: Access) -> Result<NpyPair> {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["images.npy", "labels.npy"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], images).unwrap();
    std::fs::write(&paths[1], labels).unwrap();
    NpyPair::open_with(&paths[0], &paths[1], 10, axes, access)
}

fn open(images: &[u8], labels: &[u8], axes: Axes) -> Result<NpyPair> {
    open_files(images, labels, axes, Access::Mapped)
}

/// One of the types that labels can have.
#[derive(Debug, Clone, Copy)]
struct Integers {
    bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl Integers {
    fn written(self, numbers: &[u8]) -> Vec<u8> {
        let bytes = |&number: &u8| {
            let mut bytes = u64::from(number).to_le_bytes()[..self.bytes].to_vec();
            if self.big_endian {
                bytes.reverse();
            }
            bytes
        };
        numbers.iter().flat_map(bytes).collect()
    }

    fn name(self) -> String {
        let order = match (self.bytes, self.big_endian) {
            (1, _) => "|",
            (_, true) => ">",
            (_, false) => "<",
        };
        format!(
            "{order}{}{}",
            if self.signed { "i" } else { "u" },
            self.bytes
        )
    }
}

fn integers() -> impl Strategy<Value = Integers> {
    let bytes = prop::sample::select(vec![1, 2, 4, 8]);
    (bytes, any::<bool>(), any::<bool>()).prop_map(|(bytes, signed, big_endian)| Integers {
        bytes,
        signed,
        big_endian,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pictures_of_any_layout_come_as_planes(
        labels in prop::collection::vec(0u8..10, 0..6),
        size in (1usize..6, 1usize..6, 1usize..6), integers in integers(), column: bool,
        axes in prop::sample::select(vec![Axes::Nhw, Axes::Nhwc, Axes::Nchw]),
        access in prop::sample::select(vec![Access::Mapped, Access::Copied, Access::Read]),
    ) {
        let count = labels.len();
        let (height, width) = (size.0, size.1);
        let channels = if axes == Axes::Nhw { 1 } else { size.2 };
        let pixel = |sample: usize, channel: usize, y: usize, x: usize| {
            (sample * 83 + channel * 41 + y * 7 + x) as u8
        };
        let dimensions = match axes {
            Axes::Nhw => vec![count, height, width],
            Axes::Nhwc => vec![count, height, width, channels],
            Axes::Nchw => vec![count, channels, height, width],
        };
        let planes = |sample| {
            let mut pixels = Vec::new();
            for channel in 0..channels {
                for y in 0..height {
                    pixels.extend((0..width).map(|x| pixel(sample, channel, y, x)));
                }
            }
            pixels
        };
        let mut pixels = Vec::new();
        for sample in 0..count {
            if axes != Axes::Nhwc {
                pixels.extend(planes(sample));
                continue;
            }
            for y in 0..height {
                for x in 0..width {
                    pixels.extend((0..channels).map(|channel| pixel(sample, channel, y, x)));
                }
            }
        }
        let images = npy("|u1", &dimensions, &pixels);
        let shape = if column { vec![count, 1] } else { vec![count] };
        let file = npy(&integers.name(), &shape, &integers.written(&labels));
        let pair = open_files(&images, &file, axes, access).unwrap();
        prop_assert_eq!((pair.len(), pair.shape()), (count, Shape::new(channels, height, width)));
        let mut scratch = Vec::with_capacity(pair.scratch_bytes());
        let capacity = scratch.capacity();
        for (index, &label) in labels.iter().enumerate() {
            let sample = pair.sample(index, &mut scratch).unwrap();
            prop_assert_eq!(sample.pixels, planes(index));
            prop_assert_eq!((sample.label, pair.label(index).unwrap()), (label.into(), label.into()));
        }
        prop_assert_eq!(scratch.capacity(), capacity, "more scratch than was said");
    }

    #[test]
    fn any_cut_and_any_flipped_byte_is_an_error_or_other_data(place in 0usize..160, flip in 1u8..) {
        let images = npy("|u1", &[2, 2, 2, 2], &[7; 16]);
        let labels = npy("|u1", &[2], &[0, 1]);
        let place = place % images.len();
        prop_assert!(open(&images[..place], &labels, Axes::Nhwc).is_err());
        let mut other = images.clone();
        other[place] ^= flip;
        // It must not panic. Spaces and pixels may be others.
        if let Ok(pair) = open(&other, &labels, Axes::Nhwc) {
            prop_assert_eq!(pair.shape(), Shape::new(2, 2, 2));
        }
    }
}

#[test]
fn planes_are_lent_where_they_lie_in_memory() {
    let labels = npy("|u1", &[1], &[0]);
    for (images, axes) in [
        (npy("|u1", &[1, 2, 2], &[1; 4]), Axes::Nhw),
        (npy("|u1", &[1, 2, 2, 1], &[1; 4]), Axes::Nhwc),
        (npy("|u1", &[1, 3, 2, 2], &[1; 12]), Axes::Nchw),
    ] {
        for access in [Access::Mapped, Access::Copied] {
            let pair = open_files(&images, &labels, axes, access).unwrap();
            let mut scratch = Vec::new();
            pair.sample(0, &mut scratch).unwrap();
            assert_eq!(scratch.capacity(), 0, "{axes:?}");
        }
    }
}

/// The message of an error, without the path in front.
fn message(result: Result<NpyPair>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let text = error.to_string();
    text.split_once(".npy: ").unwrap().1.to_owned()
}

#[test]
fn what_cannot_be_used_is_said_with_what_makes_it_usable() {
    let images = npy("|u1", &[2, 2, 2], &[0; 8]);
    let labels = npy("<i8", &[2], &[0; 16]);
    let fortran = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 2, 2), }";
    let structured = "{'descr': [('x', '|u1')], 'fortran_order': False, 'shape': (2,), }";
    for (file, expected) in [
        (npy("<f4", &[2, 2, 2], &[0; 32]), "images.astype('uint8')"),
        (npy("|i1", &[2, 2, 2], &[0; 8]), "found type \"|i1\""),
        (
            npy("|O", &[2], b"\x80\x03."),
            "found one of Python objects (pickled)",
        ),
        (npy_of(fortran, &[0; 8]), "numpy.ascontiguousarray(array)"),
        (npy_of(structured, &[0; 2]), "found one of structures"),
        (b"PK\x03\x04rest".to_vec(), "numpy.save"),
        (b"GIF89a".to_vec(), "wrong magic number at byte 0"),
        (b"\x93NUMPY\x04\0".to_vec(), "found 4.0"),
        (
            b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec(),
            "a header of at most 65535 bytes, found 4294967295",
        ),
        (
            npy("|u1", &[8], &[0; 8]),
            "of shape (number, height, width), found shape [8]",
        ),
        (npy("|u1", &[2, 0, 2], &[]), "pictures with pixels"),
        (npy("|u1", &[2, usize::MAX, 2], &[]), "can be counted"),
        (npy("|u1", &[2, 2, 2], &[0; 7]), "wrong length"),
        (npy("|u1", &[2, 2, 2], &[0; 9]), "wrong length"),
    ] {
        let said = message(open(&file, &labels, Axes::Nhw));
        assert!(said.contains(expected), "{said}");
    }
    let minus_one = [[0; 8], (-1i64).to_le_bytes()].concat();
    for (file, expected) in [
        (npy("<f8", &[2], &[0; 16]), "labels.astype('int64')"),
        (npy("|b1", &[2], &[0; 2]), "labels.astype('int64')"),
        (npy("<i8", &[2, 10], &[0; 160]), "labels.argmax(axis=1)"),
        (
            npy("<i8", &[3], &[0; 24]),
            "wrong number of samples at byte 0: expected 2 labels",
        ),
        (
            npy("<i8", &[2], &minus_one),
            "label out of range at byte 136: expected a label from 0 to below 10, found -1, that of sample 1",
        ),
        (npy("|u1", &[2], &[0, 10]), "found 10, that of sample 1"),
        (
            npy("<u8", &[2], &[0xff; 16]),
            "found 18446744073709551615, that of sample 0",
        ),
    ] {
        let said = message(open(&images, &file, Axes::Nhw));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn axes_are_taken_as_they_are_said_and_not_guessed() {
    let images = npy("|u1", &[2, 3, 4, 3], &[0; 72]);
    let labels = npy("|u1", &[2], &[0, 1]);
    let shape = |axes| open(&images, &labels, axes).unwrap().shape();
    assert_eq!(shape(Axes::Nhwc), Shape::new(3, 3, 4));
    assert_eq!(shape(Axes::Nchw), Shape::new(3, 4, 3));
    let error = open(&images, &labels, Axes::Nhw);
    let Err(Error::Malformed { fault, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(fault, Fault::WrongDimensions);
}

#[test]
fn a_file_that_is_cut_off_while_it_is_used_is_an_error_of_the_next_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["images.npy", "labels.npy"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], npy("|u1", &[4, 2, 2, 3], &[9; 48])).unwrap();
    std::fs::write(&paths[1], npy("|u1", &[4], &[0; 4])).unwrap();
    let pair = NpyPair::open(&paths[0], &paths[1], 10, Axes::Nhwc).unwrap();
    let builder = Loader::builder(pair).batch_size(2).workers(1).prefetch(0);
    let mut loader = builder.build().unwrap();
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 2);
    let file = std::fs::File::options().write(true).open(&paths[0]);
    file.unwrap().set_len(130).unwrap();
    let error = loader.epoch(1).next().unwrap().unwrap_err();
    assert!(
        error.to_string().contains("changed while in use"),
        "{error}"
    );
}

/// A Python that has NumPy: the one that `FEEDLINE_NUMPY_PYTHON` names, or python3.
fn python() -> Option<String> {
    let python = std::env::var("FEEDLINE_NUMPY_PYTHON");
    let python = python.unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python).args(["-c", "import numpy"]).output();
    found
        .is_ok_and(|output| output.status.success())
        .then_some(python)
}

/// Writes pictures and labels of every sort, with what they are to be in `KIND-AXES.raw`: planes, then labels.
const SCRIPT: &str = r#"
import sys, numpy
random = numpy.random.default_rng(7)
images = random.integers(0, 256, (5, 3, 4, 6), dtype="uint8")
labels = numpy.array([0, 9, 3, 127, 1])
folder = sys.argv[1]
layouts = {"nchw": images, "nhwc": numpy.ascontiguousarray(images.transpose(0, 2, 3, 1)), "nhw": images[:, 0].copy()}
for name, array in layouts.items():
    numpy.save(f"{folder}/{name}.npy", array)
    planes = images[:, :1] if name == "nhw" else images
    planes.tofile(f"{folder}/{name}.raw")
for kind in "bBhHiIlLqQ":
    for order in "<>":
        array = labels.astype(numpy.dtype(kind).newbyteorder(order))
        numpy.save(f"{folder}/{ord(kind)}-{ord(order)}.npy", array.reshape(-1, 1) if order == ">" else array)
for version in [(1, 0), (2, 0), (3, 0)]:
    with open(f"{folder}/version-{version[0]}.npy", "wb") as file:
        numpy.lib.format.write_array(file, labels, version=version)
numpy.save(f"{folder}/fortran.npy", numpy.asfortranarray(images))
numpy.save(f"{folder}/objects.npy", numpy.array([None, 1]), allow_pickle=True)
numpy.savez(f"{folder}/archive.npz", images)
"#;

#[test]
fn what_numpy_itself_writes_is_read_to_the_byte() {
    let Some(python) = python() else {
        eprintln!(
            "skipped: FEEDLINE_NUMPY_PYTHON is not set to a Python that has NumPy, nor has python3"
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let output = Command::new(python)
        .arg("-c")
        .arg(SCRIPT)
        .arg(folder.path())
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let expected = [0, 9, 3, 127, 1];
    let check = |images: &str, labels: &Path, axes| {
        let pair = NpyPair::open(path(&format!("{images}.npy")), labels, 128, axes).unwrap();
        let planes = std::fs::read(path(&format!("{images}.raw"))).unwrap();
        let planes = planes.chunks(pair.shape().elements());
        assert_eq!((pair.len(), planes.len()), (5, 5));
        for (index, planes) in planes.enumerate() {
            let mut scratch = Vec::new();
            let sample = pair.sample(index, &mut scratch).unwrap();
            assert_eq!(
                (sample.pixels, sample.label),
                (planes, expected[index]),
                "{labels:?}"
            );
        }
    };
    let mut labels = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let own = entry.unwrap().path();
        let name = own.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".npy") && (name.contains('-')) {
            labels += 1;
            check("nhwc", &own, Axes::Nhwc);
        }
    }
    assert_eq!(labels, 23);
    check("nchw", &path("version-1.npy"), Axes::Nchw);
    check("nhw", &path("version-1.npy"), Axes::Nhw);
    for name in ["fortran.npy", "objects.npy", "archive.npz"] {
        let opened = NpyPair::open(path(name), path("version-1.npy"), 128, Axes::Nchw);
        let Err(Error::Malformed { fault, .. }) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!(fault, Fault::WrongType, "{name}");
    }
}
