//! Which pictures of a folder are found, in which order, under which labels.

use std::path::Path;

use feedline_pipeline::source::{DEFAULT_PIXEL_LIMIT, Decode, Fit, ImageFolder};
use feedline_pipeline::{Error, Fault, Source};

use crate::made::{broken, inner, jpeg, photo, png, write};

const DECODE: Decode = Decode::rgb(4, 4);

/// Writes pictures, all different, at these places below `root`.
fn fill(root: &Path, names: &[&str]) {
    for (number, name) in names.iter().enumerate() {
        write(&root.join(name), &jpeg(&photo(8 + number as u32, 8)));
    }
}

fn paths(folder: &ImageFolder) -> Vec<(String, u32)> {
    (0..folder.len())
        .map(|index| {
            let path = folder.path(index);
            let place: Vec<_> = path
                .iter()
                .rev()
                .take(2)
                .map(|part| part.to_string_lossy())
                .collect();
            (
                format!("{}/{}", place[1], place[0]),
                folder.label(index).unwrap(),
            )
        })
        .collect()
}

fn fault(result: feedline_pipeline::Result<ImageFolder>) -> (Fault, String) {
    let error = result.unwrap_err();
    let message = error.to_string();
    match error {
        Error::Malformed { fault, .. } => (fault, message),
        _ => panic!("{message}"),
    }
}

#[test]
fn classes_and_samples_are_in_the_order_of_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fill(
        root,
        &[
            "b/2.jpg",
            "b/10.jpg",
            "b/1.PNG",
            "a/z.JPEG",
            "a/nested/a.jpg",
            "B/x.jfif",
            "é/1.jpe",
            "a/deep/er/b.png",
        ],
    );
    // None of these is a sample.
    write(&root.join("b/notes.txt"), b"x");
    write(&root.join("b/.hidden.jpg"), b"x");
    write(&root.join("b/._1.jpg"), b"x");
    write(&root.join("b/.DS_Store"), b"x");
    write(&root.join(".git/x.jpg"), b"x");
    write(&root.join("__MACOSX/b/1.jpg"), b"x");
    write(&root.join("README.md"), b"x");
    std::fs::create_dir(root.join("b/empty")).unwrap();
    let source = ImageFolder::open(root, DECODE).unwrap();
    assert_eq!(source.class_names(), ["B", "a", "b", "é"]);
    let expected = [
        ("B/x.jfif", 0),
        ("a/z.JPEG", 1),
        ("er/b.png", 1),
        ("nested/a.jpg", 1),
        ("b/1.PNG", 2),
        ("b/10.jpg", 2),
        ("b/2.jpg", 2),
        ("é/1.jpe", 3),
    ];
    assert_eq!(
        paths(&source),
        expected.map(|(path, label)| (path.to_owned(), label))
    );
    let mut scratch = Vec::new();
    for index in 0..source.len() {
        let label = source.sample(index, &mut scratch).unwrap().label;
        assert_eq!(label, source.label(index).unwrap());
    }
}

#[test]
fn another_folders_classes_give_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["b/1.jpg", "c/1.jpg"]);
    std::fs::create_dir(folder.path().join("d")).unwrap();
    let open = |names: &[&str]| ImageFolder::open_with_classes(folder.path(), DECODE, names);
    let source = open(&["a", "b", "c", "d"]).unwrap();
    assert_eq!((source.classes(), source.len()), (4, 2));
    assert_eq!(
        paths(&source),
        [("b/1.jpg".into(), 1), ("c/1.jpg".into(), 2)]
    );
    // In the order given, whatever it is.
    let source = open(&["c", "d", "b"]).unwrap();
    assert_eq!(
        paths(&source),
        [("c/1.jpg".into(), 0), ("b/1.jpg".into(), 2)]
    );

    let (kind, message) = fault(open(&["a", "b", "c"]));
    assert_eq!(kind, Fault::UnknownClass);
    assert!(
        message.contains("\"d\"") && message.contains("3 classes"),
        "{message}"
    );
    let message = open(&["b", "c", "d", "b"]).unwrap_err().to_string();
    assert!(message.contains("\"b\" twice"), "{message}");
}

#[test]
fn folders_that_hold_no_such_set_say_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (kind, message) = fault(ImageFolder::open(root, DECODE));
    assert_eq!(kind, Fault::NoClasses);
    assert!(
        message.contains("no sub-folder, and 0 picture(s)"),
        "{message}"
    );
    write(&root.join("1.jpg"), b"x");
    let (kind, message) = fault(ImageFolder::open(root, DECODE));
    assert_eq!(kind, Fault::NoClasses);
    assert!(
        message.contains("1 picture(s)") && message.contains("of its own"),
        "{message}"
    );

    fill(root, &["a/1.jpg"]);
    write(&root.join("b/1.webp"), b"x");
    let (kind, message) = fault(ImageFolder::open(root, DECODE));
    assert_eq!(kind, Fault::NoPictures);
    assert!(
        message.contains(root.join("b").to_str().unwrap()),
        "{message}"
    );
    std::fs::remove_dir_all(root.join("a")).unwrap();
    assert_eq!(
        fault(ImageFolder::open_with_classes(root, DECODE, &["b"])).0,
        Fault::NoPictures
    );

    assert_eq!(
        fault(ImageFolder::open(root.join("1.jpg"), DECODE)).0,
        Fault::NotAFolder
    );
    let error = ImageFolder::open(root.join("none"), DECODE).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    for decode in [
        Decode::rgb(0, 4),
        Decode::grey(4, 0),
        Decode::rgb(1 << 20, 4),
    ] {
        let error = ImageFolder::open(root, decode).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let root = folder.path();
    fill(elsewhere.path(), &["x.jpg", "below/y.jpg"]);
    fill(root, &["a/1.jpg"]);
    symlink(elsewhere.path(), root.join("b")).unwrap();
    // Loops: to itself, to the folder above, and to one that was seen.
    symlink(root.join("a"), root.join("a/itself")).unwrap();
    symlink("..", elsewhere.path().join("below/up")).unwrap();
    symlink(
        elsewhere.path().join("below"),
        elsewhere.path().join("again"),
    )
    .unwrap();
    symlink(root.join("a/1.jpg"), root.join("a/2.jpg")).unwrap();
    // Leads nowhere: a broken picture.
    symlink("nowhere", root.join("a/3.jpg")).unwrap();
    let odd = OsStr::from_bytes(b"\xff\xfe.jpg");
    write(&root.join("a").join(odd), &jpeg(&photo(9, 9)));

    let source = ImageFolder::open(root, DECODE).unwrap();
    let names: Vec<_> = (0..source.len()).map(|index| source.path(index)).collect();
    let a = root.join("a");
    let mut expected = ["1.jpg", "2.jpg", "3.jpg"]
        .map(|name| a.join(name))
        .to_vec();
    expected.push(a.join(odd));
    // Of two ways to the same folder the first by name.
    expected.extend(["x.jpg", "again/y.jpg"].map(|name| root.join("b").join(name)));
    assert_eq!(names, expected);
    let mut scratch = Vec::new();
    for index in [0, 1, 3, 4, 5] {
        source.sample(index, &mut scratch).unwrap();
    }
    assert_eq!(
        source.sample(0, &mut Vec::new()).unwrap().pixels,
        source.sample(1, &mut scratch).unwrap().pixels
    );
    let message = inner(&source.sample(2, &mut scratch).unwrap_err());
    assert!(message.contains("3.jpg: cannot open it"), "{message}");

    std::fs::create_dir(root.join(OsStr::from_bytes(b"\xff"))).unwrap();
    let (kind, message) = fault(ImageFolder::open(root, DECODE));
    assert_eq!(kind, Fault::UnknownClass);
    assert!(message.contains("UTF-8"), "{message}");
}

#[test]
fn pictures_that_go_or_change_later_are_errors_of_their_samples() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a/1.jpg", "a/2.jpg", "a/3.jpg"]);
    let source = ImageFolder::open(folder.path(), DECODE).unwrap();
    std::fs::remove_file(source.path(0)).unwrap();
    write(&source.path(1), &jpeg(&photo(500, 500)));
    let mut scratch = Vec::new();
    assert!(inner(&source.sample(0, &mut scratch).unwrap_err()).contains("cannot open it"));
    let message = inner(&source.sample(1, &mut scratch).unwrap_err());
    assert!(message.contains("changed while in use"), "{message}");
    source.sample(2, &mut scratch).unwrap();
    source.verify().unwrap();
    // As long as before, but with more pixels than memory was set aside for.
    let mut larger = png(&photo(300, 300).into());
    let length = std::fs::metadata(source.path(2)).unwrap().len() as usize;
    larger.resize(length, 0);
    write(&source.path(2), &larger);
    let message = inner(&source.sample(2, &mut scratch).unwrap_err());
    assert!(
        message.contains("more than when the source was opened"),
        "{message}"
    );
}

#[test]
fn fingerprints_tell_folders_apart_but_not_a_copy() {
    let names = ["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"];
    let [one, copy] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for folder in [&one, &copy] {
        fill(folder.path(), &names);
    }
    let of = |root: &Path, decode| {
        ImageFolder::open(root, decode)
            .unwrap()
            .fingerprint()
            .unwrap()
    };
    let first = of(one.path(), DECODE);
    assert_eq!(first, of(copy.path(), DECODE));
    let mut seen = vec![first];
    for decode in [
        Decode::rgb(4, 5),
        Decode::grey(4, 4),
        DECODE.fit(Fit::Stretch),
        DECODE.pixel_limit(DEFAULT_PIXEL_LIMIT - 1),
    ] {
        seen.push(of(one.path(), decode));
    }
    let changes: [&dyn Fn(&Path); 5] = [
        &|root| std::fs::rename(root.join("a/1.jpg"), root.join("a/3.jpg")).unwrap(),
        &|root| std::fs::rename(root.join("a/2.jpg"), root.join("b/3.jpg")).unwrap(),
        &|root| std::fs::rename(root.join("b"), root.join("c")).unwrap(),
        &|root| fill(root, &["a/4.jpg"]),
        // As long as before.
        &|root| {
            let path = root.join("a/4.jpg");
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        },
    ];
    for change in changes {
        change(copy.path());
        seen.push(of(copy.path(), DECODE));
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn broken_pictures_are_errors_of_their_samples_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (number, (file, _)) in broken().iter().enumerate() {
        write(&folder.path().join(format!("a/{number:02}.jpg")), file);
    }
    let source = ImageFolder::open(folder.path(), DECODE).unwrap();
    let mut scratch = Vec::with_capacity(source.scratch_bytes());
    let capacity = scratch.capacity();
    for (index, (_, word)) in broken().iter().enumerate() {
        let message = inner(&source.sample(index, &mut scratch).unwrap_err());
        assert!(message.contains(word), "{index}: {message}");
        assert!(message.contains(&format!("{index:02}.jpg")), "{message}");
    }
    assert_eq!(scratch.capacity(), capacity);
    source.fingerprint().unwrap();
}
