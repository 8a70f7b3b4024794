//! Thousands of broken files, the same ones in every run. `fuzz/` has the same checks as targets for cargo-fuzz, which
//! looks for files that nobody thought of.

mod bodies;
mod mutations;
#[cfg(feature = "images")]
mod picture_bodies;

use std::panic::catch_unwind;

use bodies::{archive, cifar, compressed, escape, gzip, idx, npy};
use feedline_pipeline::Random;
use mutations::mutated;
use tar::{Builder, EntryType, Header};

/// Runs `body` on the sound files, then on `count` broken ones.
fn run(body: fn(&[u8]), seeds: &[Vec<u8>], fields: &[usize], count: u64) {
    seeds.iter().for_each(|seed| body(seed));
    for number in 0..count {
        let input = mutated(&mut Random::new([number]), seeds, fields);
        assert!(
            catch_unwind(|| body(&input)).is_ok(),
            "input {number} fails: {input:02x?}"
        );
    }
}

/// An IDX file of these dimensions, with values below ten.
fn idx_file(dimensions: &[u32]) -> Vec<u8> {
    let mut file = (0x0800 | dimensions.len() as u32).to_be_bytes().to_vec();
    file.extend(
        dimensions
            .iter()
            .flat_map(|dimension| dimension.to_be_bytes()),
    );
    file.extend((0..dimensions.iter().product()).map(|i| (i % 10) as u8));
    file
}

fn idx_pair(images: &[u32], labels: &[u32]) -> Vec<u8> {
    let (images, labels) = (idx_file(images), idx_file(labels));
    [&(images.len() as u16).to_be_bytes(), &images[..], &labels].concat()
}

#[test]
fn broken_idx_files_are_refused_and_sound_ones_are_read_to_the_byte() {
    let seeds = [
        idx_pair(&[3, 2, 3], &[3]),
        idx_pair(&[1, 1, 1], &[1]),
        idx_pair(&[0, 4, 4], &[0]),
        idx_pair(&[2, 1, 5], &[3]),
    ];
    // Of the pictures; then of the labels, which are behind 18 bytes of pixels in the first seed.
    run(idx, &seeds, &[0, 2, 6, 10, 14, 36, 40, 44], 3000);
}

/// A `.npy` file of these elements, with as many dimensions.
fn npy_file(version: u8, element: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}");
    let length = (text.len() as u32).to_le_bytes();
    let length = &length[..if version == 1 { 2 } else { 4 }];
    let start = [b"\x93NUMPY", &[version, 0][..], length];
    [&start.concat(), text.as_bytes(), elements].concat()
}

#[test]
fn broken_numpy_files_are_refused_and_sound_ones_are_read_to_the_byte() {
    let pair = |images: Vec<u8>, labels: Vec<u8>| {
        [&(images.len() as u16).to_be_bytes(), &images[..], &labels].concat()
    };
    let pixels: Vec<u8> = (0..36).collect();
    let seeds = [
        pair(
            npy_file(1, "|u1", "(3, 2, 2, 3)", &pixels),
            npy_file(1, "<i8", "(3,)", &[3, 2, 1].map(u64::to_le_bytes).concat()),
        ),
        pair(
            npy_file(2, "|u1", "(3, 3, 4)", &pixels),
            npy_file(3, ">u2", "(3, 1)", &[0, 3, 0, 2, 0, 1]),
        ),
        pair(
            npy_file(1, "|u1", "(0, 3, 4)", &[]),
            npy_file(1, "|i1", "(0,)", &[]),
        ),
        pair(
            npy_file(1, "<f4", "(1, 3, 3)", &pixels),
            npy_file(1, "|b1", "(1,)", &[1]),
        ),
    ];
    // Magic number, version, length, type, order and dimensions of the pictures; the labels' begin behind them.
    let fields = [0, 2, 8, 10, 11, 12, 14, 22, 24, 25, 44, 61, 62, 65, 68, 71];
    let labels = [0, 6, 8, 9, 10, 22, 24, 25, 61].map(|field| seeds[0].len() - 24 - 63 + field);
    run(npy, &seeds, &[&fields[..], &labels].concat(), 1500);
}

#[test]
fn broken_compressed_files_are_refused_and_sound_ones_are_unpacked_to_the_byte() {
    let files = [
        idx_file(&[3, 2, 3]),
        idx_file(&[1, 1, 1]),
        idx_file(&[50, 20, 20]),
    ];
    let raw = files
        .iter()
        .map(|file| [vec![0], compressed(file)].concat());
    // Compressed in two pieces, which count as one file.
    let pieces = files[2].chunks(9000).flat_map(compressed);
    let plain = files.iter().map(|file| [&[1], &file[..]].concat());
    let seeds: Vec<_> = raw
        .chain([[0].into_iter().chain(pieces).collect()])
        .chain(plain)
        .collect();
    run(gzip, &seeds, &[0, 1, 3, 4, 5, 9, 11, 13], 1500);
}

#[test]
fn broken_records_are_refused_and_sound_ones_are_read_to_the_byte() {
    let records = |length: usize, count: usize| -> Vec<u8> {
        let labelled = (0..length * count).map(|i| if i % length < 2 { i % 10 } else { i % 251 });
        labelled.map(|byte| byte as u8).collect()
    };
    let seeds = [
        records(6, 3),
        records(3073, 2),
        records(3074, 2),
        records(6, 1),
    ];
    run(cifar, &seeds, &[0, 1, 6, 7, 3073, 3074, 3075], 1000);
}

/// A tar file of these entries: name, type, content.
fn tar_file(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_ustar();
        // Past the checks of tar's own writer.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn broken_archives_are_refused_and_write_nothing_elsewhere() {
    let names: Vec<String> = (1..=5)
        .map(|i| format!("data_batch_{i}.bin"))
        .chain(["test_batch.bin".into()])
        .collect();
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("cifar-10-batches-bin/{name}"))
        .collect();
    let file = EntryType::Regular;
    let whole: Vec<_> = names
        .iter()
        .map(|name| (&name[..], file, &b"abc"[..]))
        .collect();
    let and = |entry| tar_file(&[&whole[..], &[entry]].concat());
    let escape = escape();
    let long = [&b"cifar-10-batches-bin/"[..], &[b'x'; 300], b"\0"].concat();
    let tars = [
        tar_file(&whole),
        tar_file(&[
            ("cifar-10-batches-bin/", EntryType::Directory, b""),
            whole[0],
        ]),
        and(("../evil", file, b"x")),
        and((escape.to_str().unwrap(), file, b"x")),
        and(("cifar-10-batches-bin/link", EntryType::Symlink, b"")),
        and(("././@LongLink", EntryType::GNULongName, &long)),
        and((
            "pax",
            EntryType::XHeader,
            b"30 path=../../feedline-escape\n",
        )),
        and(("pax", EntryType::XHeader, b"19 size=4294967295\n")),
        and(("sparse", EntryType::GNUSparse, b"x")),
        and(("cifar-10-batches-bin/test_batch.bin/below", file, b"x")),
    ];
    let raw = [[vec![0], compressed(&tars[0])].concat()];
    let plain = tars
        .iter()
        .flat_map(|tar| [1, 2].map(|mode| [&[mode], &tar[..]].concat()));
    let seeds: Vec<_> = raw.into_iter().chain(plain).collect();
    // Name, size, time, checksum, type, link, magic and prefix of the headers of the first two entries.
    let fields = [0, 100, 124, 136, 148, 156, 157, 257, 345].map(|field| [1 + field, 1025 + field]);
    run(archive, &seeds, &fields.concat(), 1000);
}

#[cfg(feature = "images")]
#[test]
fn broken_pictures_are_errors_and_never_anything_else() {
    let pixels = image::RgbImage::from_fn(20, 12, |x, y| {
        image::Rgb([x as u8 * 11, y as u8 * 20, (x * y) as u8])
    });
    let jpeg = |progressive| {
        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 90);
        encoder.set_progressive(progressive);
        let exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        encoder.add_app_segment(1, exif.to_vec()).unwrap();
        let color = jpeg_encoder::ColorType::Rgb;
        encoder.encode(&pixels, 20, 12, color).unwrap();
        file
    };
    let png = |picture: &image::DynamicImage| {
        let mut file = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut file, image::ImageFormat::Png)
            .unwrap();
        file.into_inner()
    };
    let picture = image::DynamicImage::from(pixels.clone());
    let seeds = [
        jpeg(false),
        jpeg(true),
        png(&picture),
        png(&picture.to_luma_alpha16().into()),
    ];
    // Lengths and numbers of the segments at the start of a JPEG file; size, depth, colour and interlacing of a PNG file.
    let fields = [
        2, 4, 16, 18, 20, 22, 24, 25, 28, 40, 60, 62, 64, 200, 300, 600,
    ];
    run(picture_bodies::picture, &seeds, &fields, 2000);
}

#[cfg(feature = "images")]
#[test]
fn broken_tar_files_of_pictures_are_refused_or_read() {
    let file = EntryType::Regular;
    let long = [&b"folder/"[..], &[b'x'; 300], b".jpg\0"].concat();
    let tars = [
        tar_file(&[("a.jpg", file, b"abc"), ("a.cls", file, b"7")]),
        tar_file(&[
            ("x/", EntryType::Directory, b""),
            ("x/a.cls", file, b"1"),
            ("x/a.png", file, &[9; 600]),
            ("x/b.png", file, b""),
            ("x/b.cls", file, b"0"),
        ]),
        tar_file(&[
            ("././@LongLink", EntryType::GNULongName, &long),
            ("a", file, b"abc"),
            ("a.jpg", file, b"abc"),
            ("a.cls", file, b"7"),
        ]),
        tar_file(&[
            ("pax", EntryType::XHeader, b"14 path=b.jpg\n9 size=3\n"),
            ("a", file, b"abc"),
            ("b.cls", file, b"7"),
        ]),
        tar_file(&[
            ("pax", EntryType::XHeader, b"29 size=18446744073709551615\n"),
            ("a.jpg", file, b"abc"),
            ("a.cls", file, b"7"),
        ]),
        tar_file(&[("a.jpg", EntryType::GNUSparse, b"x"), ("a.cls", file, b"7")]),
    ];
    let fields = [0, 100, 124, 136, 148, 156, 157, 257, 345].map(|field| [field, 1024 + field]);
    run(picture_bodies::shard, &tars, &fields.concat(), 2000);
}
