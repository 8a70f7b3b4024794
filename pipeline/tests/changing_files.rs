//! Files that are changed, cut off or replaced while they are in use.

mod common;

use std::fs::File;
use std::path::Path;
use std::time::SystemTime;

use common::{RECORDS, epoch_bits, pictures, written};
use feedline_pipeline::source::{Access, RecordFile};
use feedline_pipeline::{Error, Fault, Loader, Result};

const LEN: usize = 200;

/// A loader that does nothing while nobody reads from it, so that no worker is in the file when it changes.
fn loader(path: &Path, access: Access) -> Loader {
    let file = RecordFile::open_with(path, RECORDS, access).unwrap();
    let builder = Loader::builder(file).batch_size(50).workers(1).prefetch(0);
    builder.build().unwrap()
}

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

fn assert_changed(loader: &mut Loader, epoch: u64) {
    let error = loader.epoch(epoch).next().unwrap().unwrap_err();
    let changed = matches!(
        error,
        Error::Malformed {
            fault: Fault::Changed,
            ..
        }
    );
    assert!(changed, "{error}");
    assert!(
        error.to_string().contains("changed while in use"),
        "{error}"
    );
}

#[test]
fn a_file_cut_off_between_epochs_is_an_error_of_the_next() {
    for access in [Access::Mapped, Access::Read] {
        let file = written(&pictures(LEN), 0..LEN);
        let mut loader = loader(file.path(), access);
        assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 4);
        writable(file.path()).set_len(1000).unwrap();
        assert_changed(&mut loader, 1);
        // Nor does asking where the loader stands touch what is gone.
        assert!(loader.state().is_err());
        assert_changed(&mut loader, 0);
    }
}

#[test]
fn a_file_cut_off_while_the_next_epoch_was_prepared_is_an_error_as_well() {
    let file = written(&pictures(LEN), 0..LEN);
    let source = RecordFile::open_with(file.path(), RECORDS, Access::Read).unwrap();
    let mut loader = Loader::builder(source)
        .batch_size(50)
        .prefetch(3)
        .build()
        .unwrap();
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 4);
    let state = loader.state().unwrap();
    writable(file.path()).set_len(1000).unwrap();
    assert_changed(&mut loader, 1);
    // What was known stays known.
    assert_eq!(loader.state().unwrap(), state);
}

#[test]
fn a_file_written_to_between_epochs_is_an_error_of_the_next() {
    for access in [Access::Mapped, Access::Read] {
        let file = written(&pictures(LEN), 0..LEN);
        let mut loader = loader(file.path(), access);
        assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 4);
        writable(file.path())
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_changed(&mut loader, 1);
    }
}

#[test]
fn a_copied_file_may_change() {
    let file = written(&pictures(LEN), 0..LEN);
    let mut loader = loader(file.path(), Access::Copied);
    let expected = epoch_bits(&mut loader, 0);
    writable(file.path()).set_len(0).unwrap();
    assert_eq!(epoch_bits(&mut loader, 0), expected);
}

#[test]
fn a_file_replaced_by_renaming_keeps_its_data_for_those_who_use_it() {
    for access in [Access::Mapped, Access::Copied, Access::Read] {
        let source = pictures(2 * LEN);
        let file = written(&source, 0..LEN);
        let mut old = loader(file.path(), access);
        let expected = epoch_bits(&mut old, 0);
        written(&source, LEN..2 * LEN).persist(file.path()).unwrap();
        assert_eq!(epoch_bits(&mut old, 0), expected);
        assert_ne!(epoch_bits(&mut loader(file.path(), access), 0), expected);
    }
}

#[test]
fn a_file_cut_off_within_an_epoch_is_an_error_if_it_is_read() {
    let file = written(&pictures(LEN), 0..LEN);
    let mut loader = loader(file.path(), Access::Read);
    let mut epoch = loader.epoch(0);
    assert!(epoch.next().unwrap().is_ok());
    writable(file.path()).set_len(100 * 193).unwrap();
    assert!(epoch.next().unwrap().is_ok());
    let error = epoch.next().unwrap().unwrap_err();
    let Error::Sample {
        index: 100,
        stage: "source",
        source,
    } = &error
    else {
        panic!("{error}")
    };
    let source = source.downcast_ref::<Error>();
    assert!(matches!(source, Some(Error::Io { .. })), "{error}");
    assert!(
        error.to_string().contains(&*file.path().to_string_lossy()),
        "{error}"
    );
    assert!(epoch.next().is_none());
}
