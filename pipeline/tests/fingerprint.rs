//! A fingerprint follows from the data alone.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{RECORDS, SHAPE, pictures, written};
use feedline_pipeline::source::{
    Access, Concat, IdxPair, InMemory, RecordFile, RecordFormat, Subset,
};
use feedline_pipeline::{Error, Loader, OnError, Result, Sample, Shape, Source};

#[test]
fn a_fingerprint_tells_data_apart() {
    let (pixels, labels) = (vec![7; 5 * 192], vec![1, 2, 3, 4, 5]);
    let of = |pixels: &[u8], labels: &[u32]| {
        let source = InMemory::new(SHAPE, 10, pixels.to_vec(), labels.to_vec()).unwrap();
        source.fingerprint().unwrap()
    };
    let mut seen = vec![of(&pixels, &labels)];
    for position in [0, 191, 192, 500, 959] {
        let mut pixels = pixels.clone();
        pixels[position] = 8;
        seen.push(of(&pixels, &labels));
    }
    for sample in 0..5 {
        let mut labels = labels.clone();
        labels[sample] = 0;
        seen.push(of(&pixels, &labels));
    }
    seen.push(of(&pixels[192..], &labels[1..]));
    let subset = |indices: &[usize]| {
        let source = Arc::new(pictures(100));
        Subset::new(source, indices.to_vec())
            .unwrap()
            .fingerprint()
            .unwrap()
    };
    seen.extend(
        [
            &[0, 1, 2][..],
            &[2, 1, 0],
            &[0, 1],
            &[0, 1, 2, 2],
            &[0, 1, 3],
            &[],
        ]
        .map(subset),
    );
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{seen:x?}");
}

#[test]
fn a_fingerprint_does_not_depend_on_how_the_data_are_read() {
    let source = pictures(200);
    let expected = source.fingerprint().unwrap();
    let whole = written(&source, 0..200);
    let open = |file: &tempfile::NamedTempFile, access| {
        Arc::new(RecordFile::open_with(file.path(), RECORDS, access).unwrap())
    };
    let [first, second] = [0..90, 90..200].map(|range| written(&source, range));
    let copied = Concat::new(vec![
        open(&first, Access::Copied),
        open(&second, Access::Copied),
    ]);
    let expected_of_parts = copied.unwrap().fingerprint().unwrap();
    for access in [Access::Mapped, Access::Copied, Access::Read] {
        assert_eq!(
            open(&whole, access).fingerprint().unwrap(),
            expected,
            "{access:?}"
        );
        let parts = Concat::new(vec![open(&first, access), open(&second, access)]).unwrap();
        assert_eq!(
            parts.fingerprint().unwrap(),
            expected_of_parts,
            "{access:?}"
        );
    }
}

#[test]
fn one_other_label_among_many_is_noticed() {
    // Only 64 samples are looked at, and this is none of them.
    const LEN: usize = 10_000;
    const RELABELLED: usize = 1234;
    let labels = |relabelled: bool| -> Vec<u8> {
        let mut labels = vec![3; LEN];
        labels[RELABELLED] += u8::from(relabelled);
        labels
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    let idx = |dimensions: &[u32], data: &[u8]| {
        let mut bytes = (0x0800 | dimensions.len() as u32).to_be_bytes().to_vec();
        bytes.extend(dimensions.iter().flat_map(|number| number.to_be_bytes()));
        bytes.extend(data);
        bytes
    };
    let fingerprints = [false, true].map(|relabelled| {
        let labels = labels(relabelled);
        let records: Vec<u8> = labels.iter().flat_map(|&label| [label, 9]).collect();
        std::fs::write(path("records"), records).unwrap();
        std::fs::write(path("images"), idx(&[LEN as u32, 1, 1], &[9; LEN])).unwrap();
        std::fs::write(path("labels"), idx(&[LEN as u32], &labels)).unwrap();
        let format = RecordFormat {
            shape: Shape::new(1, 1, 1),
            record_length: 2,
            ..RECORDS
        };
        let sources: [Arc<dyn Source>; 3] = [
            Arc::new(
                InMemory::new(
                    format.shape,
                    10,
                    vec![9; LEN],
                    labels.iter().map(|&label| label.into()).collect(),
                )
                .unwrap(),
            ),
            Arc::new(RecordFile::open(path("records"), format).unwrap()),
            Arc::new(IdxPair::open(path("images"), path("labels"), 10).unwrap()),
        ];
        let [memory, records, pair] = sources
            .each_ref()
            .map(|source| source.fingerprint().unwrap());
        assert_eq!((memory, memory), (records, pair));
        let all = Concat::new(sources.to_vec()).unwrap().fingerprint();
        (memory, all.unwrap())
    });
    assert_ne!(fingerprints[0].0, fingerprints[1].0);
    assert_ne!(fingerprints[0].1, fingerprints[1].1);
}

#[test]
fn the_order_of_parts_is_told_apart() {
    let [a, b]: [Arc<dyn Source>; 2] = [Arc::new(pictures(5)), Arc::new(pictures(7))];
    let of = |parts: &[&Arc<dyn Source>]| {
        let parts = parts.iter().map(|&part| Arc::clone(part)).collect();
        Concat::new(parts).unwrap().fingerprint().unwrap()
    };
    let all = [of(&[&a, &b]), of(&[&b, &a]), of(&[&a]), of(&[&a, &a])];
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:x?}");
}

/// Pictures of which some cannot be read.
struct Damaged(InMemory, HashSet<usize>);

impl Source for Damaged {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn shape(&self) -> Shape {
        self.0.shape()
    }

    fn classes(&self) -> usize {
        self.0.classes()
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        if self.1.contains(&index) {
            return Err(Error::Sample {
                index,
                stage: "source",
                source: "damaged".into(),
            });
        }
        self.0.sample(index, scratch)
    }
}

#[test]
fn samples_that_cannot_be_read_do_not_keep_data_from_having_a_fingerprint() {
    let of = |damaged: &[usize]| {
        let source = Damaged(pictures(50), damaged.iter().copied().collect());
        source.fingerprint().unwrap()
    };
    assert_eq!(of(&[3]), of(&[3]));
    let all = [of(&[]), of(&[3]), of(&[4]), of(&[3, 4])];
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "{all:x?}");

    // Nor do they keep a loader that skips them from saying where it stands.
    let source = Damaged(pictures(50), [3].into());
    let builder = Loader::builder(source)
        .batch_size(10)
        .on_error(OnError::Skip { at_most: 5 });
    let state = builder.clone().build().unwrap().state().unwrap();
    assert!(builder.resume(state).build().is_ok());
}
