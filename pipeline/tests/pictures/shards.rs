//! What is found in tar files, and what is refused.

use std::path::{Path, PathBuf};

use feedline_pipeline::source::{Access, Decode, TarShards};
use feedline_pipeline::{Error, Fault, Result, Source};
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use crate::made::{broken, inner, jpeg, photo, tar, write};

const DECODE: Decode = Decode::rgb(4, 4);

const ACCESSES: [Access; 3] = [Access::Mapped, Access::Copied, Access::Read];

fn picture(number: u32) -> Vec<u8> {
    jpeg(&photo(8 + number, 8))
}

fn opened(file: &[u8]) -> Result<TarShards> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.tar");
    write(&path, file);
    // What is mapped stays when its name is gone.
    TarShards::open([path], DECODE)
}

fn refused(file: &[u8]) -> (Fault, String) {
    let error = opened(file).unwrap_err();
    let message = error.to_string();
    match error {
        Error::Malformed {
            fault,
            path,
            offset,
            ..
        } => {
            assert!(path.ends_with("shard.tar"));
            assert!(offset <= file.len() as u64);
            (fault, message)
        }
        _ => panic!("{message}"),
    }
}

/// How a file's name is stored, if it is long.
#[derive(Debug, Clone, Copy)]
enum Names {
    Gnu,
    Pax,
}

/// Appends a file, by `names`' extension if the name is too long or if `extended`.
fn append(
    builder: &mut Builder<Vec<u8>>,
    name: &str,
    content: &[u8],
    names: Names,
    extended: bool,
) {
    let mut header = match names {
        Names::Gnu => Header::new_gnu(),
        Names::Pax => Header::new_ustar(),
    };
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    match names {
        Names::Gnu => builder.append_data(&mut header, name, content).unwrap(),
        Names::Pax if extended || name.len() > 90 => {
            let length = content.len().to_string();
            builder
                .append_pax_extensions([("path", name.as_bytes()), ("size", length.as_bytes())])
                .unwrap();
            // As pax does it, the header has something else.
            header.set_path("short.bin").unwrap();
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        Names::Pax => {
            header.set_path(name).unwrap();
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
    }
}

/// The pictures in a tar file, found by reading it from front to back: name, content, class.
fn naive(file: &[u8]) -> Vec<(String, Vec<u8>, u32)> {
    let mut files = Vec::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        files.push((name, content));
    }
    let pictures = files.iter().filter(|(name, _)| name.ends_with(".jpg"));
    pictures
        .map(|(name, content)| {
            let class = name.replace(".jpg", ".cls");
            let (_, text) = files.iter().find(|(name, _)| *name == class).unwrap();
            let class = String::from_utf8(text.clone()).unwrap().trim().parse();
            (name.clone(), content.clone(), class.unwrap())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// No content is a picture, so that each error says which file was read; its length shows in the message.
    #[test]
    fn the_index_of_a_tar_file_is_what_reading_it_finds(
        samples in prop::collection::vec(
            (0usize..200, 0usize..2000, 0u32..1000, any::<bool>(), any::<bool>(), any::<bool>()),
            1..12,
        ),
    ) {
        let mut builder = Builder::new(Vec::new());
        for (number, (depth, length, class, pax, extended, class_first)) in samples.into_iter().enumerate() {
            let names = if pax { Names::Pax } else { Names::Gnu };
            let key = format!("{}{number}", "long/".repeat(depth / 5));
            let content: Vec<u8> = (0..length).map(|i| (i * 7 + number) as u8).collect();
            let files = [
                (format!("{key}.jpg"), content),
                (format!("{key}.cls"), format!("{class}\n").into_bytes()),
                (format!("{key}.other.jpg.txt"), vec![1; length / 3]),
            ];
            let order = if class_first { [1, 2, 0] } else { [0, 1, 2] };
            for i in order {
                append(&mut builder, &files[i].0, &files[i].1, names, extended);
            }
        }
        let file = builder.into_inner().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard.tar");
        write(&path, &file);
        let expected = naive(&file);
        for access in ACCESSES {
            let shards = TarShards::open_with([&path], DECODE, access).unwrap();
            prop_assert_eq!(shards.len(), expected.len());
            let highest = expected.iter().map(|(_, _, class)| *class).max().unwrap();
            prop_assert_eq!(shards.classes(), highest as usize + 1);
            for (index, (name, content, class)) in expected.iter().enumerate() {
                prop_assert_eq!(shards.label(index).unwrap(), *class);
                let error = shards.sample(index, &mut Vec::new()).unwrap_err();
                let Error::Sample { source, .. } = error else { panic!("{error}") };
                let Some(Error::Picture { entry: Some(entry), .. }) = source.downcast_ref::<Error>() else {
                    panic!("{source}")
                };
                prop_assert_eq!(&entry.name, &format!("{name:?}"));
                let start = entry.offset as usize;
                prop_assert_eq!(&file[start..start + content.len()], &content[..]);
            }
        }
    }
}

/// Two shards of pictures and classes, with other files among them.
fn two_shards(folder: &Path) -> [PathBuf; 2] {
    let pictures: Vec<_> = (0..4).map(picture).collect();
    let first = tar(&[
        ("train/b.jpg", &pictures[0]),
        ("train/b.cls", b"2"),
        ("train/a.json", b"{}"),
        ("train/a.cls", b" 0\n"),
        ("train/._a.jpg", b"macOS"),
        ("__MACOSX/a.jpg", b"macOS"),
        ("train/a.JPEG", &pictures[1]),
        ("README.md", b"x"),
        ("notes", b"x"),
    ]);
    let second = tar(&[
        ("train/a.jpg", &pictures[2]),
        ("train/a.cls", b"1"),
        ("other/a.jpg", &pictures[3]),
        ("other/a.cls", b"1"),
    ]);
    let paths = [0, 1].map(|number| folder.join(format!("s-{number:03}.tar")));
    write(&paths[0], &first);
    write(&paths[1], &second);
    paths
}

#[test]
fn shards_follow_each_other_and_give_what_a_folder_gives() {
    let folder = tempfile::tempdir().unwrap();
    let paths = two_shards(folder.path());
    let all = TarShards::open([folder.path().join("s-{000..001}.tar")], DECODE).unwrap();
    assert_eq!((all.len(), all.classes()), (4, 3));
    let labels: Vec<_> = (0..4).map(|index| all.label(index).unwrap()).collect();
    assert_eq!(labels, [2, 0, 1, 1]);
    let mut scratch = Vec::new();
    for number in 0..4 {
        let expected = crate::made::decoded(&picture(number as u32), DECODE).unwrap();
        assert_eq!(all.sample(number, &mut scratch).unwrap().pixels, expected);
    }
    // In the order given.
    let turned = TarShards::open([&paths[1], &paths[0]], DECODE).unwrap();
    let labels: Vec<_> = (0..4).map(|index| turned.label(index).unwrap()).collect();
    assert_eq!(labels, [1, 1, 2, 0]);
    assert_ne!(turned.fingerprint().unwrap(), all.fingerprint().unwrap());
    for access in ACCESSES {
        let same = TarShards::open_with(&paths, DECODE, access).unwrap();
        assert_eq!(same.fingerprint().unwrap(), all.fingerprint().unwrap());
        let mut scratch = Vec::with_capacity(same.scratch_bytes());
        let capacity = scratch.capacity();
        for index in 0..4 {
            let expected = all.sample(index, &mut Vec::new()).unwrap().pixels.to_vec();
            assert_eq!(same.sample(index, &mut scratch).unwrap().pixels, expected);
        }
        assert_eq!(scratch.capacity(), capacity);
    }
    assert_eq!(turned.with_classes(10).unwrap().classes(), 10);
    let message = all.with_classes(2).unwrap_err().to_string();
    assert!(
        message.contains("classes is 2, expected more than 2"),
        "{message}"
    );
    let none: [&str; 0] = [];
    assert!(matches!(
        TarShards::open(none, DECODE),
        Err(Error::InvalidArgument { .. })
    ));
}

#[test]
fn hints_may_go_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let shards = TarShards::open(two_shards(folder.path()), DECODE).unwrap();
    for range in [
        0..4,
        1..3,
        3..4,
        2..2,
        4..9,
        0..usize::MAX,
        usize::MAX - 1..usize::MAX,
    ] {
        shards.will_need(range.clone());
        shards.done_with(range);
    }
    (0..4).for_each(|index| shards.prefetch(index));
    shards.sample(3, &mut Vec::new()).unwrap();
}

/// The files of a shard, and what its error is and says.
type Refused<'a> = (&'a [(&'a str, &'a [u8])], Fault, &'a [&'a str]);

#[test]
fn unsound_samples_name_shard_key_and_what_to_do() {
    let one = picture(0);
    let one = &one[..];
    let cases: [Refused<'_>; 11] = [
        (
            &[("x/a.jpg", one)],
            Fault::UnsoundSample,
            &["\"x/a\".cls", "lacks its class"],
        ),
        (
            &[("a.cls", b"1")],
            Fault::UnsoundSample,
            &["\"a\".jpg", "lacks its picture"],
        ),
        (
            &[("a.jpg", one), ("a.cls", b"1"), ("a.png", one)],
            Fault::UnsoundSample,
            &[
                "one picture for the key \"a\"",
                "\"a.png\" beside \"a.jpg\"",
            ],
        ),
        (
            &[
                ("a.jpg", one),
                ("a.cls", b"1"),
                ("b.jpg", one),
                ("b.cls", b"1"),
                ("a.jpg", one),
            ],
            Fault::UnsoundSample,
            &["one picture for the key \"a\""],
        ),
        (
            &[("a.cls", b"1"), ("a.jpg", one), ("a.cls", b"1")],
            Fault::UnsoundSample,
            &["one class for the key \"a\""],
        ),
        (
            &[("a.jpg", one), ("a.cls", b"cat")],
            Fault::UnsoundSample,
            &["decimal number in \"a.cls\"", "found \"cat\""],
        ),
        (
            &[("a.jpg", one), ("a.cls", b"")],
            Fault::UnsoundSample,
            &["found \"\""],
        ),
        (
            &[("a.jpg", one), ("a.cls", b"-1")],
            Fault::UnsoundSample,
            &["found \"-1\""],
        ),
        (
            &[("a.jpg", one), ("a.cls", b"1048576")],
            Fault::UnsoundSample,
            &["below 1048576", "found \"1048576\""],
        ),
        (&[("a.txt", one)], Fault::NoPictures, &["0001.cls"]),
        (&[], Fault::NoPictures, &["none"]),
    ];
    for (files, expected, words) in cases {
        let (fault, message) = refused(&tar(files));
        assert_eq!(fault, expected, "{message}");
        for word in words.iter().chain(&["shard.tar"]) {
            assert!(message.contains(word), "{message} has no {word:?}");
        }
    }
}

#[test]
fn what_is_no_whole_plain_tar_file_is_refused() {
    assert_eq!(refused(b"").0, Fault::Empty);
    let (fault, message) = refused(b"\x1f\x8b\x08 and more");
    assert_eq!(fault, Fault::Compressed);
    assert!(
        message.contains("gzip") && message.contains("unpack it first"),
        "{message}"
    );
    assert_eq!(refused(b"BZh9").0, Fault::Compressed);
    assert_eq!(refused(&[b'x'; 2048]).0, Fault::DamagedArchive);
    assert_eq!(refused(b"short").0, Fault::DamagedArchive);

    let one = picture(0);
    let whole = tar(&[("a.jpg", &one), ("a.cls", b"1")]);
    opened(&whole).unwrap();
    // The last two blocks are zeros, of which one is enough.
    for length in (1..whole.len() - 512).step_by(37) {
        assert_eq!(
            refused(&whole[..length]).0,
            Fault::DamagedArchive,
            "{length}"
        );
    }
    opened(&whole[..whole.len() - 512]).unwrap();
    opened(&[&whole[..], &[0; 100_000]].concat()).unwrap();
    let (fault, message) =
        refused(&[&whole[..], &tar(&[("b.jpg", &one), ("b.cls", b"1")])].concat());
    assert_eq!(fault, Fault::DamagedArchive);
    assert!(message.contains("several archives"), "{message}");
}

#[test]
fn links_and_folders_in_a_tar_file_are_no_pictures() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "a.jpg", &picture(0), Names::Gnu, false);
    append(&mut builder, "a.cls", b"1", Names::Gnu, false);
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_path("b.jpg").unwrap();
        header.set_link_name("a.jpg").unwrap();
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
    }
    assert_eq!(opened(&builder.into_inner().unwrap()).unwrap().len(), 1);
}

#[test]
fn broken_pictures_are_errors_of_their_samples_and_say_where_they_lie() {
    let broken = broken();
    let names: Vec<_> = (0..broken.len())
        .map(|number| [format!("x/{number:02}.png"), format!("x/{number:02}.cls")])
        .collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&broken)
        .flat_map(|([picture, class], (file, _))| {
            [(&picture[..], &file[..]), (&class[..], &b"3"[..])]
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.tar");
    write(&path, &tar(&files));
    for access in ACCESSES {
        let shards = TarShards::open_with([&path], DECODE, access).unwrap();
        let mut scratch = Vec::with_capacity(shards.scratch_bytes());
        let capacity = scratch.capacity();
        for (index, (_, word)) in broken.iter().enumerate() {
            let message = inner(&shards.sample(index, &mut scratch).unwrap_err());
            let place = format!("shard.tar: \"x/{index:02}.png\" at byte ");
            assert!(
                message.contains(word) && message.contains(&place),
                "{message}"
            );
        }
        assert_eq!(scratch.capacity(), capacity);
    }
}

#[test]
fn shards_that_change_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let paths = two_shards(folder.path());
    let shards = TarShards::open(&paths, DECODE).unwrap();
    shards.verify().unwrap();
    let file = std::fs::OpenOptions::new()
        .append(true)
        .open(&paths[1])
        .unwrap();
    file.set_len(1 << 20).unwrap();
    assert!(matches!(
        shards.verify(),
        Err(Error::Malformed {
            fault: Fault::Changed,
            ..
        })
    ));
}
