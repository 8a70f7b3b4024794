//! A folder of checkpoints, as one run has it to itself.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest, Position};
use super::snapshot::Snapshot;
use super::tensors::{self, Tensors};
use super::{CheckpointFault, Checkpoints, Settings, error, io};
use crate::error::Result;

/// What finished checkpoints' names begin with; the step follows, in ten digits or more.
const PREFIX: &str = "step-";
/// What begins with this is being written or removed, or was when a process ended.
const HIDDEN: &str = ".step-";
/// What is locked while a run has the folder.
const LOCK: &str = ".lock";

/// The checkpoints in `folder` and the steps in their names, in the order of those. None if there is no such folder.
pub(super) fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io(folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io(folder))?;
        let name = entry.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(step) = step.and_then(|digits| digits.parse().ok()) {
            found.push((step, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Those with a loss, the lowest first; of several with the same one the earliest. What can't be read has none.
pub(super) fn by_loss(checkpoints: &[(u64, PathBuf)]) -> Vec<&Path> {
    let losses = checkpoints.iter().filter_map(|(_, path)| {
        let loss = Manifest::read(path).ok()?.loss;
        (!loss.is_nan()).then_some((loss, path.as_path()))
    });
    let mut losses: Vec<_> = losses.collect();
    losses.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    losses.into_iter().map(|(_, path)| path).collect()
}

/// A folder of checkpoints, as one run has it to itself.
#[derive(Debug)]
pub(crate) struct Folder {
    checkpoints: Checkpoints,
    /// Whether only what was evaluated on a test set can be the best.
    has_test: bool,
    /// Unlocked when it is dropped, or the process ends in whatever way.
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it.
    pub(crate) fn open(checkpoints: &Checkpoints, has_test: bool) -> Result<Self> {
        let folder = checkpoints.folder();
        fs::create_dir_all(folder).map_err(io(folder))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new().create(true).append(true).open(&path);
        let lock = lock.map_err(io(&path))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let reason =
                    "another run writes its checkpoints there; wait for it, or take another folder";
                return Err(error(folder, CheckpointFault::Busy, reason));
            }
            // Some file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        if let Some(parent) = folder.parent() {
            // So that the folder itself is on the disk; not all that lets folders be made lets them be read.
            let _ = synchronize(parent);
        }
        Ok(Self {
            checkpoints: checkpoints.clone(),
            has_test,
            _lock: lock,
        })
    }

    pub(crate) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Writes a checkpoint, and when it is on the disk removes those that are not to be kept.
    pub(crate) fn save(
        &self,
        position: &Position,
        settings: &Settings,
        snapshot: &Snapshot,
    ) -> Result<()> {
        let folder = self.checkpoints.folder();
        self.clear()?;
        let name = format!("{:010}", position.step);
        let (partial, path) = (
            hidden(folder, &name, "partial"),
            folder.join(format!("{PREFIX}{name}")),
        );
        let tensors = Tensors::encode(
            &path,
            snapshot.tensors.iter().map(|(name, own)| (name, own)),
        )?;
        let manifest = Manifest::new((position, self.has_test), settings, snapshot, &tensors);
        let manifest = manifest.encode();
        let manifest = manifest.map_err(|reason| error(&path, CheckpointFault::Io, reason))?;
        let files = [(tensors::FILE, &tensors), (manifest::FILE, &manifest)];
        write(&partial, &files).inspect_err(|_| {
            // It is of no use, and perhaps there is no space.
            let _ = fs::remove_dir_all(&partial);
        })?;
        // The run went on from an earlier one: these were found to be no good.
        for (step, old) in list(folder)? {
            if step >= position.step {
                set_aside(&old)?;
            }
        }
        fs::rename(&partial, &path).map_err(io(&path))?;
        synchronize(folder)?;
        self.prune()
    }

    /// Removes what was left half-done.
    fn clear(&self) -> Result<()> {
        let folder = self.checkpoints.folder();
        for entry in fs::read_dir(folder).map_err(io(folder))? {
            let entry = entry.map_err(io(folder))?;
            if entry.file_name().to_string_lossy().starts_with(HIDDEN) {
                fs::remove_dir_all(entry.path()).map_err(io(&entry.path()))?;
            }
        }
        Ok(())
    }

    fn prune(&self) -> Result<()> {
        let folder = self.checkpoints.folder();
        let all = list(folder)?;
        let superfluous = all.len().saturating_sub(self.checkpoints.keep_last);
        let ordered = self.checkpoints.keeps_best().then(|| by_loss(&all));
        let best = ordered.and_then(|own| own.first().copied());
        for (step, path) in &all[..superfluous] {
            if Some(path.as_path()) == best {
                continue;
            }
            // Half of one must not look like a whole one.
            let removed = hidden(folder, &format!("{step:010}"), "removed");
            fs::rename(path, &removed).map_err(io(path))?;
            fs::remove_dir_all(&removed).map_err(io(&removed))?;
        }
        Ok(())
    }
}

fn hidden(folder: &Path, name: &str, extension: &str) -> PathBuf {
    folder.join(format!("{HIDDEN}{name}.{extension}"))
}

/// Makes the folder `path` with these files, and waits until they are on the disk.
fn write(path: &Path, files: &[(&str, &Vec<u8>)]) -> Result<()> {
    fs::create_dir(path).map_err(io(path))?;
    for (name, bytes) in files {
        let path = path.join(name);
        let mut file = File::create_new(&path).map_err(io(&path))?;
        file.write_all(bytes).map_err(io(&path))?;
        file.sync_all().map_err(io(&path))?;
    }
    synchronize(path)
}

/// Renames a checkpoint that is no good, so that it is there to be looked at and in nobody's way.
fn set_aside(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..).map(|count| path.with_file_name(format!("damaged-{count}-{name}")));
    let aside = free
        .into_iter()
        .find(|own| fs::symlink_metadata(own).is_err());
    match aside {
        Some(aside) => fs::rename(path, aside).map_err(io(path)),
        None => Ok(()),
    }
}

/// Waits until the names in a folder are on the disk.
fn synchronize(folder: &Path) -> Result<()> {
    // Elsewhere folders can't be opened, and renaming waits by itself.
    if cfg!(unix) {
        let opened = File::open(folder).map_err(io(folder))?;
        opened.sync_all().map_err(io(folder))?;
    }
    Ok(())
}
