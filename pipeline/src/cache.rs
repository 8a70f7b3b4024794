//! Where unpacked files go: beside their archive, or into the user's cache folder.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use tempfile::NamedTempFile;

use crate::error::{Result, invalid, io_error};

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

/// Where the content of the file `origin` goes under the name `name`: beside `origin`, or in the cache folder if
/// that cannot be written. A place in the cache belongs to this version of `origin` only.
pub(crate) fn destination(origin: &Path, name: &str) -> Result<PathBuf> {
    let beside = match origin.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if can_be_written(beside) {
        return Ok(beside.join(name));
    }
    let metadata = std::fs::metadata(origin).map_err(io_error("open it", origin))?;
    let mut hasher = DefaultHasher::new();
    std::fs::canonicalize(origin)
        .map_err(io_error("open it", origin))?
        .hash(&mut hasher);
    metadata.len().hash(&mut hasher);
    metadata
        .modified()
        .map_err(io_error("read the time of it", origin))?
        .hash(&mut hasher);
    Ok(folder()?.join(format!("{:016x}-{name}", hasher.finish())))
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
    let folder = destination.parent().unwrap_or(Path::new("."));
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

    #[cfg(unix)]
    #[test]
    fn a_read_only_folder_is_left_as_it_is() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let origin = folder.path().join("a.gz");
        std::fs::write(&origin, "x").unwrap();
        assert_eq!(destination(&origin, "a").unwrap(), folder.path().join("a"));

        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o555)).unwrap();
        let elsewhere = destination(&origin, "a").unwrap();
        assert!(!elsewhere.starts_with(folder.path()), "{elsewhere:?}");
        assert_eq!(destination(&origin, "a").unwrap(), elsewhere);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
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
