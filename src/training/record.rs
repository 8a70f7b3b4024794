//! The record of a run, which the trainer writes to and the program finishes.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use feedline_trainer::Result as TrainerResult;
use feedline_trainer::fit::{Callback, EpochRecord, History, Run, TrainedStep};
use feedline_trainer::run::{Evaluation, RunFolder};

use crate::config::Config;
use crate::{Error, Result, watching};

/// The folder of a run, made when training begins: settings that can't work leave nothing behind.
#[derive(Debug, Clone)]
pub(super) struct Record {
    path: PathBuf,
    config: Config,
    /// Whether the run is there already.
    resumed: bool,
    folder: Arc<Mutex<Option<RunFolder>>>,
}

impl Record {
    /// Of a run with these settings; with `resume` that of the run in the folder, if there is one.
    pub(super) fn new(path: PathBuf, config: Config, resume: bool) -> Result<Self> {
        let resumed = path.join("config.json").exists();
        if resumed && !resume {
            let reason =
                "it is there already; --resume goes on with it, another folder begins anew";
            return Err(Error::Run {
                run: path,
                reason: reason.into(),
            });
        }
        if resumed {
            Config::read(&path)?.check_resumed(&path, &config)?;
        }
        Ok(Self {
            path,
            config,
            resumed,
            folder: Arc::default(),
        })
    }

    /// Whether the run was there, with an epoch.
    pub(super) fn has_epochs(&self) -> bool {
        let metrics = std::fs::metadata(self.path.join("metrics.jsonl"));
        self.resumed && metrics.is_ok_and(|own| own.len() > 0)
    }

    fn watched(&self, folder: RunFolder) -> RunFolder {
        match watching::recorder() {
            Some(recorder) => folder.with_recorder(recorder),
            None => folder,
        }
    }

    fn with_folder<T>(
        &self,
        work: impl FnOnce(&mut RunFolder) -> TrainerResult<T>,
    ) -> TrainerResult<T> {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match folder.take() {
            Some(open) => open,
            // With the settings that it has now, such as another number of replicas.
            None if self.resumed => self.watched(RunFolder::reopen_with(&self.path, &self.config)?),
            None => self.watched(RunFolder::create(&self.path, &self.config)?),
        };
        work(folder.insert(open))
    }

    /// Draws everything, and returns where the report is.
    pub(super) fn finish(
        &self,
        history: &History,
        evaluation: Option<&Evaluation>,
    ) -> Result<PathBuf> {
        Ok(self.with_folder(|folder| folder.finish(history, evaluation))?)
    }
}

impl Callback for Record {
    fn begin(&mut self, run: &Run) -> TrainerResult<()> {
        self.with_folder(|folder| folder.begin(run))
    }

    fn step(&mut self, step: &TrainedStep) -> TrainerResult<()> {
        self.with_folder(|folder| folder.step(step))
    }

    fn resumed(&mut self, record: &EpochRecord) -> TrainerResult<ControlFlow<()>> {
        self.with_folder(|folder| folder.resumed(record))
    }

    fn epoch(&mut self, record: &EpochRecord) -> TrainerResult<ControlFlow<()>> {
        self.with_folder(|folder| Callback::epoch(folder, record))
    }
}
