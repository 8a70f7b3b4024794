//! A fingerprint follows from the data alone.

mod common;

use std::sync::Arc;

use common::{RECORDS, SHAPE, pictures, written};
use feedline_pipeline::Source;
use feedline_pipeline::source::{Access, Concat, InMemory, RecordFile, Subset};

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
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
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
    for access in [Access::Mapped, Access::Copied, Access::Read] {
        assert_eq!(
            open(&whole, access).fingerprint().unwrap(),
            expected,
            "{access:?}"
        );
        let parts = Concat::new(vec![open(&first, access), open(&second, access)]).unwrap();
        assert_eq!(parts.fingerprint().unwrap(), expected, "{access:?}");
    }
}
