//! Where unpacked files go: beside their archive, or into the user's cache folder.

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use etcetera::BaseStrategy;
use tempfile::NamedTempFile;

use crate::error::{Result, invalid, io_error};
use crate::random::mix;

/// Where the content of a compressed file lies, or goes.
#[derive(Debug)]
pub(crate) enum Place {
    /// It lies here from an earlier time.
    Ready(PathBuf),
    /// It is nowhere yet and goes here.
    Free(PathBuf),
}

/// The folder for what can be made again: `$FEEDLINE_CACHE`, or `feedline` in the user's cache folder.
/// It is created if need be.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = match std::env::var_os("FEEDLINE_CACHE").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => match etcetera::base_strategy::choose_native_strategy() {
            Ok(strategy) => strategy.cache_dir().join("feedline"),
            Err(error) => {
                let expected = "a home folder; set FEEDLINE_CACHE to a folder that can be written";
                return Err(invalid("cache folder", error, expected));
            }
        },
    };
    std::fs::create_dir_all(&folder).map_err(io_error("create the cache folder", &folder))?;
    Ok(folder)
}

/// Looks for the content of the file `origin` under the name `name`: beside `origin`, then in the cache folder.
/// `is_whole` says whether something is all of it.
///
/// Nothing beside `origin` is ever replaced, as it may be somebody's own. If the name is taken there by something
/// else, or by what is older than `origin`, or if nothing can be written there, the content goes to the cache folder.
pub(crate) fn place(
    origin: &Path,
    name: &OsStr,
    is_whole: impl Fn(&Path) -> bool,
) -> Result<Place> {
    let folder = match origin.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let beside = folder.join(name);
    if is_whole(&beside) && is_current(&beside, origin) {
        return Ok(Place::Ready(beside));
    }
    // Also a link to nothing is somebody's own.
    if std::fs::symlink_metadata(&beside).is_err() && can_be_written(folder) {
        return Ok(Place::Free(beside));
    }
    let cached = cached(origin, name)?;
    if is_whole(&cached) {
        return Ok(Place::Ready(cached));
    }
    if cached.is_dir() {
        // Somebody has tidied up here; no folder can be moved over the rest.
        std::fs::remove_dir_all(&cached).map_err(io_error("remove it", &cached))?;
    }
    Ok(Place::Free(cached))
}

/// A place in the cache folder that belongs to this version of `origin` only.
fn cached(origin: &Path, name: &OsStr) -> Result<PathBuf> {
    let metadata = std::fs::metadata(origin).map_err(io_error("open it", origin))?;
    let path = std::fs::canonicalize(origin).map_err(io_error("open it", origin))?;
    let modified = metadata
        .modified()
        .map_err(io_error("read the time of it", origin))?;
    let mut file = OsString::from(format!("{:016x}-", key(&path, metadata.len(), modified)));
    file.push(name);
    Ok(folder()?.join(file))
}

/// The same in every process and with every release of Rust, so that what was unpacked is found again.
fn key(path: &Path, length: u64, modified: SystemTime) -> u64 {
    let time = modified
        .duration_since(UNIX_EPOCH)
        .unwrap_or_else(|before| before.duration());
    let bytes = path.as_os_str().as_encoded_bytes().iter().copied();
    bytes
        .chain(length.to_le_bytes())
        .chain(time.as_nanos().to_le_bytes())
        .fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// Whether what lies at `path` is not older than the file `origin` that it came from.
fn is_current(path: &Path, origin: &Path) -> bool {
    let metadata = |path| std::fs::metadata(path).ok();
    let made = metadata(path).and_then(|metadata| made(&metadata));
    let written = metadata(origin).and_then(|metadata| metadata.modified().ok());
    made.zip(written)
        .is_some_and(|(made, written)| made >= written)
}

/// When a file came to where it is. tar sets the time of what it unpacks back to what it was for the author; when
/// it did so is the status change.
#[cfg(unix)]
fn made(metadata: &Metadata) -> Option<SystemTime> {
    use std::os::unix::fs::MetadataExt;
    let seconds = metadata.ctime().try_into().ok()?;
    let nanoseconds = metadata.ctime_nsec().try_into().ok()?;
    let changed = UNIX_EPOCH.checked_add(std::time::Duration::new(seconds, nanoseconds));
    changed.max(metadata.modified().ok())
}

#[cfg(not(unix))]
fn made(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

/// Whether files may be made in `folder`. One without any write permission is meant to stay as it is, even if
/// the user is allowed everything.
fn can_be_written(folder: &Path) -> bool {
    let read_only =
        std::fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().readonly());
    !read_only && tempfile::tempfile_in(folder).is_ok()
}

/// A file in the folder of `destination` that vanishes when dropped and is kept by [`keep`].
pub(crate) fn temporary_file(destination: &Path) -> Result<NamedTempFile> {
    let folder = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".feedline-");
    // What others may read beside it they may read here: the user's mask decides.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .tempfile_in(folder)
        .map_err(io_error("create a file in it", folder))
}

/// Gives a complete file its name, so that nobody ever sees half of it.
pub(crate) fn keep(file: NamedTempFile, destination: &Path) -> Result<()> {
    file.as_file()
        .sync_all()
        .map_err(io_error("write it", destination))?;
    file.persist(destination)
        .map_err(|error| io_error("write it", destination)(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a file `a.gz` in it, written in 2001.
    fn origin() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("a.gz");
        std::fs::write(&origin, "x").unwrap();
        set_time(&origin, 1_000_000_000);
        (folder, origin)
    }

    fn set_time(path: &Path, seconds: u64) {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    /// Where `a` is, or goes, if any file passes for it.
    fn place_of(origin: &Path) -> Place {
        place(origin, OsStr::new("a"), Path::is_file).unwrap()
    }

    fn goes_to_the_cache(origin: &Path) -> bool {
        let cache = folder().unwrap();
        matches!(place_of(origin), Place::Free(path) if path.starts_with(&cache))
    }

    #[cfg(unix)]
    #[test]
    fn a_read_only_folder_is_left_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, origin) = origin();
        assert!(matches!(place_of(&origin), Place::Free(path) if path == folder.path().join("a")));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
        assert!(goes_to_the_cache(&origin));
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_is_older_than_its_origin_is_neither_used_nor_replaced() {
        let (folder, origin) = origin();
        let beside = folder.path().join("a");
        std::fs::write(&beside, "").unwrap();
        assert!(matches!(place_of(&origin), Place::Ready(path) if path == beside));
        // 2096: written after `a`.
        set_time(&origin, 4_000_000_000);
        assert!(goes_to_the_cache(&origin));
    }

    #[cfg(unix)]
    #[test]
    fn what_tar_has_given_an_old_time_is_used() {
        let (folder, origin) = origin();
        let beside = folder.path().join("a");
        std::fs::write(&beside, "").unwrap();
        set_time(&beside, 500_000_000);
        assert!(matches!(place_of(&origin), Place::Ready(path) if path == beside));
    }

    #[test]
    fn something_else_of_that_name_is_not_replaced() {
        let (folder, origin) = origin();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert!(goes_to_the_cache(&origin));
    }

    #[test]
    fn a_place_in_the_cache_belongs_to_one_version_and_never_changes() {
        let time = UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5);
        let path = Path::new("/data/a.gz");
        // Golden: a change makes everybody unpack again.
        assert_eq!(key(path, 7, time), 17532510578888320772);
        assert_ne!(key(path, 8, time), key(path, 7, time));
        assert_ne!(key(path, 7, UNIX_EPOCH), key(path, 7, time));
        assert_ne!(key(Path::new("/data/b.gz"), 7, time), key(path, 7, time));
    }

    #[test]
    fn a_file_is_seen_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("name");
        let file = temporary_file(&path).unwrap();
        std::fs::write(file.path(), "all of it").unwrap();
        assert!(!path.exists());
        keep(file, &path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "all of it");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
