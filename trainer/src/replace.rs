//! Files that are there whole or not at all.

use std::fs;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use crate::error::file;

/// So many links may follow each other; Linux follows as many.
const LINKS: usize = 40;

/// Writes a file that appears under its name when all of it is written. One of that name is replaced then, and not before;
/// if it is a link, the file that it names.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("digits.png");
/// feedline_trainer::replace_file(&path, b"new")?;
/// assert_eq!(std::fs::read(&path)?, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`File`](crate::Error::File) if it can't be written, or something else than a regular file has the name: a folder, a
/// device, a pipe. What is there then stays as it is.
pub fn replace_file(path: impl AsRef<Path>, bytes: &[u8]) -> crate::Result<()> {
    let path = path.as_ref();
    replace(path, bytes).map_err(file("write", path))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let reason = "what is there is no file, and only files are replaced";
            return Err(Error::new(ErrorKind::InvalidInput, reason));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let path = behind_links(path)?;
    let folder = match path.parent() {
        Some(folder) if folder != "" => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".feedline-");
    // The user's mask decides who may read it, as of any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Vanishes if it is not kept.
    let mut beside = builder.tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.as_file().sync_all()?;
    beside.persist(&path)?;
    Ok(())
}

/// What a link names in the end, whether it is there or not.
fn behind_links(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(named) => path = path.parent().unwrap_or(Path::new("")).join(named),
            Err(_) => return Ok(path),
        }
    }
    Err(Error::other("too many links follow each other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_replaced_stays_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        fs::create_dir(&path).unwrap();
        let error = replace_file(&path, b"new").unwrap_err().to_string();
        assert!(
            error.contains("weights") && error.contains("no file"),
            "{error}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = replace_file(folder.path().join("none/weights"), b"").unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_to_the_file_that_they_name() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        symlink("inner/second", folder.path().join("first")).unwrap();
        symlink("../file", inner.join("second")).unwrap();
        // There is none yet, then there is.
        for content in [b"one", b"two"] {
            replace_file(folder.path().join("first"), content).unwrap();
            assert_eq!(fs::read(folder.path().join("file")).unwrap(), content);
            assert!(inner.join("second").is_symlink());
        }
        symlink("circle", folder.path().join("circle")).unwrap();
        replace_file(folder.path().join("circle"), b"").unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn it_may_be_read_by_those_who_may_read_other_files() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let paths = ["usual", "replaced"].map(|name| folder.path().join(name));
        fs::write(&paths[0], "").unwrap();
        replace_file(&paths[1], b"").unwrap();
        let [usual, replaced] = paths.map(|path| path.metadata().unwrap().mode());
        assert_eq!(usual, replaced);
    }
}
