//! What a run does about checkpoints.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tracing::debug_span;

use super::{Input, Trainer};
use crate::checkpoint::{
    self, Checkpoint, CheckpointFault, Checkpoints, Damaged, Folder, Position, Resume, Settings,
    Snapshot,
};
use crate::collective::{Collective, Phase};
use crate::error::{Error, Result, invalid};
use crate::nn::Model;
use crate::optim::{Optimizer, Schedule};
use crate::parallel::Replica;

/// Where a run that was resumed went on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The checkpoint's folder.
    pub checkpoint: PathBuf,
    /// How many steps had been made there, over all epochs.
    pub step: u64,
    /// Later checkpoints, which are no good. They are renamed when the run gets there.
    pub damaged: Vec<Damaged>,
}

/// What was asked for, and what was found when the run began; the same for all replicas.
#[derive(Debug, Clone, Default)]
pub(super) struct Saving {
    pub(super) checkpoints: Option<Checkpoints>,
    pub(super) resume: Resume,
    folder: Option<Arc<Folder>>,
    settings: Settings,
    from: Option<Arc<Checkpoint>>,
    origin: Option<Origin>,
}

impl Saving {
    /// Takes the folder and finds where to go on, before there are replicas; in other processes than `rank_0`'s there is nothing
    /// to take. `settings` must be the same then and now.
    pub(super) fn begin(&mut self, settings: Settings, has_test: bool, rank_0: bool) -> Result<()> {
        let Some(checkpoints) = &self.checkpoints else {
            if self.resume == Resume::Latest {
                return Err(invalid(
                    "resume",
                    "asked for",
                    "`Trainer::checkpoints` to say from where",
                ));
            }
            return Ok(());
        };
        checkpoints.check()?;
        if !rank_0 {
            return Ok(());
        }
        self.folder = Some(Arc::new(Folder::open(checkpoints, has_test)?));
        let (found, damaged) = checkpoint::latest_whole(checkpoints.folder())?;
        if let Some(found) = found {
            if self.resume == Resume::Never {
                let reason = "the folder has checkpoints already; go on from them (`--resume`, or `Trainer::resume`), or take another folder";
                return Err(foreign(&found, reason));
            }
            compare(&found, &settings)?;
            for Damaged { path, reason } in &damaged {
                warn(&format!(
                    "checkpoint {} is no good: {reason}",
                    path.display()
                ));
            }
            self.origin = Some(Origin {
                checkpoint: found.path().to_owned(),
                step: found.step(),
                damaged,
            });
            self.from = Some(Arc::new(found));
        }
        self.settings = settings;
        Ok(())
    }

    /// Whether checkpoints are made.
    pub(super) fn is_on(&self) -> bool {
        self.checkpoints.is_some()
    }

    /// What all processes must do together, in words.
    pub(super) fn rhythm(&self) -> String {
        let rhythm = self.checkpoints.as_ref().map(Checkpoints::rhythm);
        format!(
            "{}, resume: {:?}",
            rhythm.as_deref().unwrap_or("none"),
            self.resume
        )
    }

    /// The same for all processes: where to go on is rank 0's to say, which alone need see the folder.
    pub(super) fn of_all(&self, replica: &Replica) -> Result<Self> {
        if replica.world().is_none() || !self.is_on() {
            return Ok(self.clone());
        }
        let collective = replica.collective();
        collective.note(0, Phase::Other("handing over of the checkpoint"));
        let from = checkpoint::of_rank_0(self.from(), collective)?;
        let origin = from.as_ref().map(|own| Origin {
            checkpoint: own.path().to_owned(),
            step: own.step(),
            damaged: Vec::new(),
        });
        Ok(Self {
            origin: self.origin.clone().or(origin),
            from: from.map(Arc::new),
            ..self.clone()
        })
    }

    /// The checkpoint to go on from.
    pub(super) fn from(&self) -> Option<&Checkpoint> {
        self.from.as_deref()
    }

    /// Whether the run ends with the model of the best checkpoint.
    pub(super) fn restores_best(&self) -> bool {
        let checkpoints = self.checkpoints.as_ref();
        checkpoints.is_some_and(Checkpoints::restores_best)
    }

    /// Gives the model the weights of the best checkpoint of the first `epochs`, if that was asked for. Without a whole one
    /// it keeps the last ones.
    pub(super) fn restore_best(&self, model: &impl Model, epochs: u64) -> Result<()> {
        let checkpoints = self.folder.as_ref().map(|own| own.checkpoints());
        let Some(checkpoints) = checkpoints.filter(|own| own.restores_best()) else {
            return Ok(());
        };
        match checkpoint::best_of(checkpoints.folder(), epochs) {
            Ok(best) => best.map_or(Ok(()), |best| best.apply(model)),
            // What was trained is not to be lost for it.
            Err(error) => {
                warn(&format!(
                    "the last model is kept, not the best one: {error}"
                ));
                Ok(())
            }
        }
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        self.origin.clone()
    }

    /// How far the run had come.
    pub(super) fn position(&self) -> Position {
        let from = self.from.as_ref();
        from.map_or_else(Position::default, |own| own.manifest().position.clone())
    }

    /// Whether to save within an epoch, when these many steps have been made.
    pub(super) fn due_within(&self, step: u64) -> bool {
        let checkpoints = self.checkpoints.as_ref();
        checkpoints.is_some_and(|own| own.due_within(step))
    }

    /// Whether to save at the end of an epoch, which may be the run's.
    pub(super) fn due_after(&self, position: &Position, over: bool) -> bool {
        let checkpoints = self.checkpoints.as_ref();
        checkpoints.is_some_and(|own| over || own.due_after(position.epoch, position.step))
    }

    /// Writes a checkpoint, if this is the replica that has a snapshot.
    pub(super) fn save(
        &self,
        collective: &dyn Collective,
        position: &Position,
        snapshot: Option<Snapshot>,
    ) -> Result<()> {
        let (Some(folder), Some(snapshot)) = (&self.folder, snapshot) else {
            return Ok(());
        };
        let _saving =
            debug_span!(target: "feedline_trainer", "save", epoch = position.epoch).entered();
        collective.note(position.step, Phase::Other("writing of a checkpoint"));
        folder.save(position, &self.settings, &snapshot)
    }
}

impl<F, O: Optimizer> Trainer<F, O> {
    /// What must be the same in a run that goes on, in words.
    pub(super) fn settings(&self, train: &Input, test: Option<&Input>) -> Settings {
        let mut settings = Settings::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        set("batch size", self.batch_size.to_string());
        set("seed", self.seed.to_string());
        set("optimizer", format!("{:?}", self.optimizer));
        set("recipe", format!("{:?}", self.recipe));
        if let Some(loss) = &self.loss {
            set("loss", format!("{loss:?}"));
        }
        set("precision", format!("{:?}", self.precision));
        set("number of samples", train.source.len().to_string());
        // Losses are compared with each other.
        let test = test.map_or("none".into(), |own| own.source.len().to_string());
        set("number of samples to test on", test);
        let (schedule, length) = (self.schedule, self.length);
        // A rate that does not change over the run does not care how long that is.
        let schedule = match schedule == Schedule::constant() {
            true => format!("{schedule:?}"),
            false => format!("{schedule:?} over {length:?}"),
        };
        set("schedule", schedule);
        settings
    }
}

/// What differs of two settings: of those with the same parts these parts, else all.
fn difference(before: &str, now: &str) -> (String, String) {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split([',', '{', '}']).map(str::trim);
        parts
            .filter(|own| !own.is_empty())
            .map(String::from)
            .collect()
    };
    let (old, new) = (parts(before), parts(now));
    let differ: Vec<_> = old.iter().zip(&new).filter(|(a, b)| a != b).collect();
    if old.len() != new.len() || differ.is_empty() {
        return (before.into(), now.into());
    }
    let join = |own: Vec<&str>| own.join(", ");
    (
        join(differ.iter().map(|(old, _)| old.as_str()).collect()),
        join(differ.iter().map(|(_, new)| new.as_str()).collect()),
    )
}

/// Says it on standard error. Nobody listening there is no reason to end a run.
fn warn(words: &str) {
    let _ = writeln!(std::io::stderr().lock(), "warning: {words}");
}

fn compare(found: &Checkpoint, settings: &Settings) -> Result<()> {
    let saved = &found.manifest().settings;
    for name in saved.keys().chain(settings.keys()) {
        let (before, now) = (saved.get(name), settings.get(name));
        if before != now {
            let word = |value: Option<&String>| value.cloned().unwrap_or_else(|| "not set".into());
            let (before, now) = difference(&word(before), &word(now));
            let reason = format!(
                "{name} was {before} and is {now}; set it as it was, or begin anew in another folder"
            );
            return Err(foreign(found, &reason));
        }
    }
    Ok(())
}

fn foreign(checkpoint: &Checkpoint, reason: &str) -> Error {
    Error::Checkpoint {
        path: checkpoint.path().to_owned(),
        fault: CheckpointFault::Foreign,
        reason: reason.to_owned(),
    }
}
