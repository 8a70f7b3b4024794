//! A cache gives what its source gives, and is never taken for another's.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{SHAPE, augmentation, epoch_bits, pictures};
use feedline_pipeline::source::{Access, Cached, InMemory};
use feedline_pipeline::{Error, Fault, Loader, OnError, Result, Sample, Shape, Source};
use proptest::prelude::*;

/// [`pictures`] that count how often they are read, some of which can't be: even ones are errors, odd ones panics.
struct Slow {
    pictures: InMemory,
    bad: BTreeSet<usize>,
    reads: AtomicUsize,
}

fn slow(len: usize, bad: &[usize]) -> Arc<Slow> {
    Arc::new(Slow {
        pictures: pictures(len),
        bad: bad.iter().copied().collect(),
        reads: AtomicUsize::new(0),
    })
}

impl Source for Slow {
    fn len(&self) -> usize {
        self.pictures.len()
    }
    fn shape(&self) -> Shape {
        SHAPE
    }
    fn classes(&self) -> usize {
        10
    }
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match self.bad.contains(&index) {
            true if index % 2 == 1 => panic!("damaged"),
            true => Err(Error::Sample {
                index,
                stage: "source",
                source: "damaged".into(),
            }),
            false => self.pictures.sample(index, scratch),
        }
    }
    fn scratch_bytes(&self) -> usize {
        1000
    }
    fn fingerprint(&self) -> Result<u64> {
        self.pictures.fingerprint()
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pictures.cache");
    (folder, path)
}

/// The fault and the message of what could not be opened.
fn fault<S: Source>(result: Result<Cached<S>>) -> (Fault, String) {
    match result {
        Err(error) => match &error {
            Error::Malformed { fault, .. } => (*fault, error.to_string()),
            _ => panic!("{error}"),
        },
        Ok(_) => panic!("it was taken"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().into_string().unwrap()
    };
    entries.map(name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_are_the_same_to_the_bit_with_and_without_a_cache(
        len in 16usize..200, seed: u64,
        access in prop::sample::select(vec![Access::Mapped, Access::Copied, Access::Read]),
    ) {
        let (_folder, path) = folder();
        let loader = |source: Arc<dyn Source>| {
            let builder = Loader::builder(source).batch_size(16).shuffle(true).seed(seed);
            builder.transform(augmentation()).workers(2).build().unwrap()
        };
        let plain = slow(len, &[]);
        let mut expected = loader(plain.clone());
        for _ in 0..2 {
            let cached = Cached::open_with(slow(len, &[]), &path, access, |_, _| {}).unwrap();
            let mut cached = loader(Arc::new(cached));
            for epoch in 0..2 {
                prop_assert_eq!(epoch_bits(&mut cached, epoch), epoch_bits(&mut expected, epoch));
            }
            prop_assert_eq!(cached.state().unwrap(), expected.state().unwrap());
        }
    }

    #[test]
    fn samples_that_fail_are_let_pass_as_without_a_cache(
        len in 20usize..90, bad in prop::collection::btree_set(0usize..20, 0..9),
    ) {
        let (_folder, path) = folder();
        let bad: Vec<_> = bad.into_iter().collect();
        for policy in [OnError::Skip { at_most: 100 }, OnError::Replace { at_most: 100 }] {
            let read = |source: Arc<dyn Source>| {
                let builder = Loader::builder(source).batch_size(8).shuffle(true).seed(3);
                let mut loader = builder.on_error(policy).build().unwrap();
                let failures: Vec<String> = loader
                    .epoch(1)
                    .flat_map(|batch| {
                        let batch = batch.unwrap();
                        let said = batch.failures().iter().map(|failure| failure.error.to_string());
                        said.collect::<Vec<_>>()
                    })
                    .collect();
                (failures, epoch_bits(&mut loader, 2))
            };
            let cached = Cached::open(slow(len, &bad), &path).unwrap();
            prop_assert_eq!(cached.unreadable(), bad.len());
            prop_assert_eq!(read(Arc::new(cached)), read(slow(len, &bad)));
        }
    }
}

#[test]
fn each_sample_is_read_once_and_never_again() {
    let (folder, path) = folder();
    // Several pieces of a mebibyte.
    let source = slow(20_000, &[]);
    let mut told = Vec::new();
    let cached = Cached::open_with(source.clone(), &path, Access::Mapped, |done, all| {
        told.push((done, all));
    })
    .unwrap();
    assert_eq!(source.reads.load(Ordering::Relaxed), 20_000);
    assert!(told.len() > 1 && told.is_sorted(), "{told:?}");
    assert_eq!(told.last(), Some(&(20_000, 20_000)));
    for index in [0, 5_461, 5_462, 19_999] {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        let expected = source.pictures.sample(index, &mut there).unwrap();
        assert_eq!(cached.sample(index, &mut here).unwrap(), expected);
        // Lent where it lies.
        assert_eq!(here.capacity(), 0);
    }
    let again = Cached::open_with(source.clone(), &path, Access::Mapped, |_, _| {
        panic!("it was written again")
    });
    assert_eq!(again.unwrap().label(19_999).unwrap(), 9);
    assert_eq!(source.reads.load(Ordering::Relaxed), 20_000);
    assert_eq!(names(folder.path()), ["pictures.cache"]);
}

#[test]
fn a_sample_that_failed_is_asked_of_the_source_each_time() {
    let (_folder, path) = folder();
    let cached = Cached::open(slow(50, &[4]), &path).unwrap();
    let mut scratch = Vec::new();
    let error = cached.sample(4, &mut scratch).unwrap_err().to_string();
    assert_eq!(error, "sample 4 failed in source: damaged");
    assert!(cached.label(4).is_err());
    assert_eq!(cached.scratch_bytes(), 1000);
    // Once it can be read, it is.
    let healed = Cached::open(slow(50, &[]), &path).unwrap();
    let expected = pictures(50);
    let expected = expected.sample(4, &mut scratch).unwrap().pixels.to_vec();
    assert_eq!(healed.sample(4, &mut scratch).unwrap().pixels, expected);
}

#[test]
fn another_sources_cache_is_an_error_and_stays() {
    let (folder, path) = folder();
    drop(Cached::open(slow(50, &[]), &path).unwrap());
    let before = std::fs::read(&path).unwrap();
    let (fault, message) = fault(Cached::open(slow(51, &[]), &path));
    assert_eq!(fault, Fault::OtherCache);
    for part in [
        "the cache of 51 samples of 3x8x8 in 10 classes",
        "found the cache of 50 samples of 3x8x8 in 10 classes",
        "delete it",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(names(folder.path()), ["pictures.cache"]);
}

#[test]
fn what_is_no_cache_is_an_error_and_stays() {
    let (_folder, path) = folder();
    for content in [&b""[..], b"somebody's own", &[7; 5000]] {
        std::fs::write(&path, content).unwrap();
        let (fault, message) = fault(Cached::open(slow(50, &[]), &path));
        assert_eq!(fault, Fault::OtherCache, "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[test]
fn a_damaged_cache_is_an_error() {
    let (_folder, path) = folder();
    drop(Cached::open(slow(50, &[3]), &path).unwrap());
    let whole = std::fs::read(&path).unwrap();
    let open = |bytes: &[u8], access| {
        std::fs::write(&path, bytes).unwrap();
        Cached::open_with(slow(50, &[3]), &path, access, |_, _| {})
    };
    for access in [Access::Mapped, Access::Copied, Access::Read] {
        for length in (0..whole.len()).step_by(17).chain(60..280) {
            let opened = fault(open(&whole[..length], access));
            assert_eq!(opened.0, Fault::OtherCache, "{length} bytes: {}", opened.1);
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(fault(open(&longer, access)).0, Fault::OtherCache);
        // The header, and the labels.
        for place in 0..72 + 200 {
            let mut other = whole.clone();
            other[place] ^= 1 << (place % 8);
            let opened = fault(open(&other, access));
            assert_eq!(opened.0, Fault::OtherCache, "byte {place}: {}", opened.1);
        }
        assert_eq!(open(&whole, access).unwrap().unreadable(), 1);
    }
}

#[test]
fn several_that_write_the_same_cache_do_not_disturb_each_other() {
    let (folder, path) = folder();
    let expected = pictures(3000).fingerprint().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cached = Cached::open(slow(3000, &[]), &path).unwrap();
                assert_eq!(cached.fingerprint().unwrap(), expected);
                assert_eq!(cached.label(2999).unwrap(), 9);
            });
        }
    });
    assert_eq!(names(folder.path()), ["pictures.cache"]);
}

#[test]
fn a_cache_that_comes_while_another_is_written_is_not_replaced() {
    let (folder, path) = folder();
    let opened = Cached::open_with(slow(50, &[]), &path, Access::Mapped, |_, _| {
        drop(Cached::open(slow(60, &[]), &path).unwrap());
    });
    assert_eq!(fault(opened).0, Fault::OtherCache);
    assert_eq!(names(folder.path()), ["pictures.cache"]);
    assert_eq!(Cached::open(slow(60, &[]), &path).unwrap().len(), 60);
}

#[test]
fn what_is_left_unfinished_is_not_taken_for_a_cache() {
    let (folder, path) = folder();
    let interrupted = std::panic::catch_unwind(|| {
        Cached::open_with(slow(20_000, &[]), &path, Access::Mapped, |_, _| {
            panic!("interrupted")
        })
    });
    assert!(interrupted.is_err());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_cannot_be_written_is_an_error_that_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none").join("pictures.cache");
    let error = Cached::open(slow(5, &[]), &path).map(drop).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("none: cannot create a file in it"),
        "{error}"
    );
    let (fault, _) = fault(Cached::open(slow(5, &[]), folder.path()));
    assert_eq!(fault, Fault::NotAFile);
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_not_replaced() {
    let (folder, path) = folder();
    std::os::unix::fs::symlink(folder.path().join("nothing"), &path).unwrap();
    let error = Cached::open(slow(5, &[]), &path).map(drop).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(path.symlink_metadata().unwrap().is_symlink());
}

/// Its process is killed while a cache is written: see the next test.
#[test]
fn writing_that_is_killed() {
    let Ok(path) = std::env::var("FEEDLINE_TEST_KILLED_CACHE") else {
        return;
    };
    let _ = Cached::open_with(slow(40_000, &[]), path, Access::Mapped, |_, _| {
        println!("begun");
        std::thread::sleep(std::time::Duration::from_secs(60));
    });
}

#[cfg(unix)]
#[test]
fn a_killed_process_leaves_nothing_that_is_taken_for_a_cache() {
    use std::io::{BufRead, BufReader};
    let (folder, path) = folder();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writing_that_is_killed", "--nocapture"])
        .env("FEEDLINE_TEST_KILLED_CACHE", &path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(std::result::Result::ok)
            .any(|line| line.contains("begun"))
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        names(folder.path())
            .iter()
            .all(|name| name.starts_with(".feedline-"))
    );
    let cached = Cached::open(slow(40_000, &[]), &path).unwrap();
    assert_eq!((cached.len(), cached.unreadable()), (40_000, 0));
}

/// Linux's device that is always full stands for a disk; its folder can't be written, so a small file system is needed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_behind() {
    let Some(folder) = std::env::var_os("FEEDLINE_TEST_SMALL_DISK").map(PathBuf::from) else {
        eprintln!(
            "skipped: FEEDLINE_TEST_SMALL_DISK is not set to a folder on a disk of at most a few megabytes"
        );
        return;
    };
    let path = folder.join("pictures.cache");
    let error = Cached::open(slow(100_000, &[]), &path)
        .map(drop)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("pictures.cache: cannot write it: No space left"),
        "{error}"
    );
    assert!(names(&folder).is_empty());
}
