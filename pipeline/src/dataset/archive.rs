//! Archives, unpacked safely: all of it or nothing, and nothing outside.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};

use crate::cache::{self, Place};
use crate::error::{Error, Fault, Result, io_error};

/// What an archive of a data set may unpack to. CIFAR's are 185 MB.
const SIZE_LIMIT: u64 = 256 << 20;

/// No data set here has more than ten entries.
const ENTRY_LIMIT: usize = 1000;

/// Unpacks `folder` with these `files` out of the `.tar.gz` at `path` and returns where it lies. If it is there from
/// an earlier time, nothing is written.
pub(super) fn unpack(path: &Path, folder: &str, files: &[&str]) -> Result<PathBuf> {
    unpack_within(path, folder, files, SIZE_LIMIT)
}

fn unpack_within(path: &Path, folder: &str, files: &[&str], size_limit: u64) -> Result<PathBuf> {
    let missing = |place: &Path| files.iter().find(|name| !place.join(name).is_file());
    let is_whole = |place: &Path| missing(place).is_none();
    let destination = match cache::place(path, OsStr::new(folder), is_whole)? {
        Place::Ready(place) => return Ok(place),
        Place::Free(place) => place,
    };
    let parent = destination.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".feedline-")
        .tempdir_in(parent)
        .map_err(io_error("create a folder in it", parent))?;

    let file = File::open(path).map_err(io_error("open it", path))?;
    // Headers and padding count too, so the limit is on the stream, with room for them.
    let stream = MultiGzDecoder::new(BufReader::new(file)).take(size_limit + (1 << 20));
    let mut archive = Archive::new(stream);
    let mut unpacked = 0;
    let result = unpack_entries(
        &mut archive,
        path,
        temporary.path(),
        size_limit,
        &mut unpacked,
    );
    let mut stream = archive.into_inner();
    // A tar archive ends before its compressed stream does, and the checksum comes last.
    let result = result.and_then(|()| {
        io::copy(&mut stream, &mut io::sink()).map_err(io_error("unpack it", path))?;
        Ok(())
    });
    if stream.limit() == 0 {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            limit: size_limit,
        });
    }
    result.map_err(|error| match error {
        // The decoder's own errors: the file is damaged or cut off.
        Error::Io { source, .. } if is_damage(&source) => Error::Malformed {
            path: path.to_owned(),
            fault: Fault::DamagedCompression,
            // As far as was read: the damage lies at most one read buffer before.
            offset: stream.get_mut().get_mut().stream_position().unwrap_or(0),
            expected: "a tar archive compressed with gzip".into(),
            found: source.to_string(),
        },
        other => other,
    })?;

    let unpacked = temporary.path().join(folder);
    if let Some(name) = missing(&unpacked) {
        return Err(Error::Malformed {
            path: path.to_owned(),
            fault: Fault::OtherDataset,
            offset: 0,
            expected: format!("an archive with {folder}/{name}"),
            found: "none in it".into(),
        });
    }
    match std::fs::rename(&unpacked, &destination) {
        // Another process was faster, and unpacked the same.
        Err(_) if is_whole(&destination) => Ok(destination),
        Err(error) => Err(io_error("move the unpacked folder to it", &destination)(
            error,
        )),
        Ok(()) => Ok(destination),
    }
}

fn unpack_entries(
    archive: &mut Archive<impl Read>,
    path: &Path,
    folder: &Path,
    size_limit: u64,
    unpacked: &mut u64,
) -> Result<()> {
    let entries = archive.entries().map_err(io_error("unpack it", path))?;
    for (count, entry) in entries.enumerate() {
        let mut entry = entry.map_err(io_error("unpack it", path))?;
        let name = entry
            .path()
            .map_err(io_error("unpack it", path))?
            .into_owned();
        let refused = |reason| Error::UnsafeArchive {
            archive: path.to_owned(),
            entry: name.display().to_string(),
            reason,
        };
        // What the system refuses because of the name is the archive's fault.
        let failed = |error: io::Error, place: &Path| match error.kind() {
            ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename => {
                refused("no file can have that name, or not beside the others")
            }
            _ => io_error("create it", place)(error),
        };
        if count == ENTRY_LIMIT {
            return Err(refused("there are more entries than any data set has"));
        }
        if name
            .components()
            .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(refused("it would lie outside the folder"));
        }
        let destination = folder.join(&name);
        match entry.header().entry_type() {
            EntryType::Directory => {
                std::fs::create_dir_all(&destination)
                    .map_err(|error| failed(error, &destination))?;
            }
            EntryType::Regular | EntryType::Continuous => {
                *unpacked = unpacked.saturating_add(entry.size());
                if *unpacked > size_limit {
                    return Err(Error::TooLarge {
                        path: path.to_owned(),
                        limit: size_limit,
                    });
                }
                let parent = destination.parent().unwrap_or(folder);
                std::fs::create_dir_all(parent).map_err(|error| failed(error, parent))?;
                let mut file =
                    File::create(&destination).map_err(|error| failed(error, &destination))?;
                io::copy(&mut entry, &mut file).map_err(io_error("unpack it", path))?;
                file.sync_all()
                    .map_err(io_error("write it", &destination))?;
            }
            EntryType::Symlink | EntryType::Link => return Err(refused("it is a link")),
            EntryType::XGlobalHeader => {}
            _ => return Err(refused("it is neither a file nor a folder")),
        }
    }
    Ok(())
}

/// Whether an error of reading an archive is about its content.
fn is_damage(error: &io::Error) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(
        error.kind(),
        InvalidData | InvalidInput | UnexpectedEof | Other
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use tar::{Builder, Header};

    /// A `.tar.gz` of these entries: name, type, content.
    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, content) in entries {
            let mut header = Header::new_ustar();
            // Past the checks of tar's own writer.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            if matches!(kind, EntryType::Symlink | EntryType::Link) {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    /// Unpacks these bytes; also says which names there are in the archive's folder afterwards.
    fn unpacked(bytes: &[u8]) -> (Result<PathBuf>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        std::fs::create_dir(&inner).unwrap();
        let path = inner.join("set.tar.gz");
        std::fs::write(&path, bytes).unwrap();
        let result = unpack_within(&path, "set", &[], 10_000);
        let mut names: Vec<String> = [folder.path(), &inner]
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (result, names)
    }

    #[test]
    fn a_good_archive_is_unpacked_and_leaves_no_temporary_files() {
        let file = EntryType::Regular;
        let bytes = archive(&[
            ("set/", EntryType::Directory, b""),
            ("set/a.bin", file, b"abc"),
        ]);
        let (result, names) = unpacked(&bytes);
        assert!(result.unwrap().ends_with("data/set"));
        assert_eq!(names, ["data", "set", "set.tar.gz"]);
    }

    #[test]
    fn entries_that_are_no_part_of_a_data_set_are_refused_and_nothing_is_left() {
        for (name, kind) in [
            ("../evil", EntryType::Regular),
            ("set/../../evil", EntryType::Regular),
            ("/tmp/evil", EntryType::Regular),
            ("set/evil", EntryType::Symlink),
            ("set/evil", EntryType::Link),
            ("set/evil", EntryType::Fifo),
            ("set/evil", EntryType::Char),
        ] {
            let bytes = archive(&[("set/good", EntryType::Regular, b"x"), (name, kind, b"")]);
            let (result, names) = unpacked(&bytes);
            let error = result.unwrap_err();
            assert!(
                matches!(error, Error::UnsafeArchive { .. }),
                "{name}: {error}"
            );
            assert_eq!(names, ["data", "set.tar.gz"], "{name}");
        }
    }

    #[test]
    fn names_that_no_file_can_have_are_the_archives_fault() {
        let file = EntryType::Regular;
        for (name, kind) in [
            ("set/good/below", file),
            ("set", file),
            ("set/good", EntryType::Directory),
        ] {
            let (result, names) =
                unpacked(&archive(&[("set/good", file, b"x"), (name, kind, b"")]));
            let error = result.unwrap_err();
            assert!(
                matches!(error, Error::UnsafeArchive { .. }),
                "{name}: {error}"
            );
            assert_eq!(names, ["data", "set.tar.gz"], "{name}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let large = vec![0; 20_000];
        let (result, names) = unpacked(&archive(&[("set/a", EntryType::Regular, &large)]));
        assert!(matches!(result, Err(Error::TooLarge { limit: 10_000, .. })));
        assert_eq!(names, ["data", "set.tar.gz"]);
        let many: Vec<_> = (0..2000)
            .map(|_| ("set/a", EntryType::Regular, &b""[..]))
            .collect();
        let error = unpacked(&archive(&many)).0.unwrap_err();
        assert!(
            matches!(error, Error::UnsafeArchive { .. } | Error::TooLarge { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_archive_or_another_sets_is_an_error() {
        let noise: Vec<u8> = (0..9000u64).map(|i| crate::random::mix(i) as u8).collect();
        let good = archive(&[("set/a", EntryType::Regular, &noise)]);
        for bytes in [&good[..good.len() / 2], &noise, b""] {
            let (result, names) = unpacked(bytes);
            let error = result.unwrap_err();
            let Error::Malformed { fault, .. } = &error else {
                panic!("{error}")
            };
            assert!(
                matches!(fault, Fault::DamagedCompression | Fault::Empty),
                "{error}"
            );
            assert_eq!(names, ["data", "set.tar.gz"]);
        }
    }

    #[test]
    fn an_archive_that_lacks_a_file_is_not_taken_for_a_missing_data_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar.gz");
        for name in ["other/a", "set/b"] {
            std::fs::write(&path, archive(&[(name, EntryType::Regular, b"x")])).unwrap();
            let error = unpack(&path, "set", &["a"]).unwrap_err();
            let Error::Malformed {
                path: named,
                fault,
                expected,
                ..
            } = &error
            else {
                panic!("{error}")
            };
            assert_eq!((named, *fault), (&path, Fault::OtherDataset));
            assert!(expected.contains("set/a"), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_flipped_bit_never_unpacks_to_other_bytes() {
        let content: Vec<u8> = (0..60u64)
            .map(|i| crate::random::mix(i / 3) as u8)
            .collect();
        let good = archive(&[("set/a", EntryType::Regular, &content)]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar.gz");
        let mut refused = 0;
        for bit in 0..8 * good.len() {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            match unpack(&path, "set", &["a"]) {
                Ok(unpacked) => {
                    assert!(
                        std::fs::read(unpacked.join("a")).unwrap() == content,
                        "bit {bit}"
                    );
                    std::fs::remove_dir_all(unpacked).unwrap();
                }
                Err(_) => refused += 1,
            }
        }
        // Only bits that mean nothing may flip: the time in the header, or from which zero another one is copied.
        assert!(refused > 7 * good.len(), "{refused}");
    }

    #[test]
    fn an_archive_without_its_checksum_is_refused() {
        let good = archive(&[("set/a", EntryType::Regular, b"abc")]);
        for cut in 1..=8 {
            let (result, names) = unpacked(&good[..good.len() - cut]);
            let Error::Malformed { fault, .. } = result.unwrap_err() else {
                panic!("{cut} bytes less")
            };
            assert_eq!(fault, Fault::DamagedCompression);
            assert_eq!(names, ["data", "set.tar.gz"]);
        }
    }

    #[test]
    fn a_folder_that_is_in_the_way_is_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar.gz");
        let file = EntryType::Regular;
        std::fs::write(
            &path,
            archive(&[("set/a", file, b"a"), ("set/b", file, b"b")]),
        )
        .unwrap();
        let beside = folder.path().join("set");
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("a"), "mine").unwrap();

        let unpacked = unpack(&path, "set", &["a", "b"]).unwrap();
        assert_eq!(std::fs::read(unpacked.join("a")).unwrap(), b"a");
        assert_eq!(std::fs::read(beside.join("a")).unwrap(), b"mine");
        // Whatever has been lost is unpacked again.
        std::fs::remove_file(unpacked.join("b")).unwrap();
        assert_eq!(unpack(&path, "set", &["a", "b"]).unwrap(), unpacked);
        assert_eq!(std::fs::read(unpacked.join("b")).unwrap(), b"b");
        std::fs::remove_dir_all(unpacked).unwrap();
    }
}
