//! Pictures and the report of a run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::html::{self, Page, Picture};
use super::{
    CONFIG, Evaluation, METRICS, Recording, RunFolder, Span, SpanRecorder, confusion, curves,
    metrics, raster, sheet, timeline, write,
};
use crate::error::{Result, file};
use crate::fit::{History, TrainedStep};

const EVALUATION: &str = "evaluation.json";
const REPORT: &str = "report.html";

/// What is kept of an evaluation beside its pictures.
#[derive(Serialize, Deserialize)]
struct Confusion {
    classes: Vec<String>,
    confusion: Vec<Vec<u64>>,
    /// After which epoch, from 1; 0 if that is not known.
    #[serde(default)]
    epoch: u64,
}

impl RunFolder {
    /// Draws what ran when, to `timeline.svg`. The report shows it if it is there before [`finish`](Self::finish).
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) if something can't be written.
    pub fn timeline(&self, spans: &[Span]) -> Result<()> {
        write(
            &self.path.join("timeline.svg"),
            timeline::svg(spans, "").as_bytes(),
        )
    }

    /// Draws the timeline of a trainer's run from what `recorder` hears from its beginning on: on all replicas of this process
    /// when the loader's workers filled batches, and when these were waited for, delivered and trained on. The recorder's
    /// [layer](SpanRecorder::layer) must be in the program's subscriber; else the timeline is as without a recorder.
    ///
    /// ```
    /// use feedline_pipeline::Transform;
    /// use feedline_pipeline::dataset::Generated;
    /// use feedline_trainer::nn::{Flatten, Linear, Sequential};
    /// use feedline_trainer::run::{RunFolder, SpanRecorder};
    /// use feedline_trainer::{Input, Replicas, Trainer};
    /// use tracing_subscriber::prelude::*;
    ///
    /// let recorder = SpanRecorder::new();
    /// tracing_subscriber::registry().with(recorder.layer()).init();
    ///
    /// # let parent = tempfile::tempdir()?;
    /// # let runs = parent.path();
    /// let folder = RunFolder::create(runs.join("first"), &"softmax")?.with_recorder(&recorder);
    /// let train = Input::new(Generated::open(500, 100)?.train, Transform::new().scale());
    /// Trainer::new(|device| {
    ///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
    /// })
    /// .replicas(Replicas::cpu(1)?)
    /// .callback(folder)
    /// .progress(false)
    /// .fit(train, None)?;
    /// assert!(std::fs::read_to_string(runs.join("first/timeline.svg"))?.contains("fill"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_recorder(mut self, recorder: &SpanRecorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Draws what the recorder knows, if it knows something.
    fn recorded_timeline(&self) -> Result<bool> {
        let recording = self.recorder.as_ref().map(SpanRecorder::recording);
        let Some(recording) = recording.filter(|own| !own.spans.is_empty()) else {
            return Ok(false);
        };
        let Recording { joined, lost, .. } = recording;
        let mut words = String::new();
        if joined > 0 {
            words += &format!(", {joined} more joined with their neighbours");
        }
        if lost > 0 {
            words += &format!(", {lost} more not kept");
        }
        let svg = timeline::svg(&recording.timeline("").spans, &words);
        write(&self.path.join("timeline.svg"), svg.as_bytes())?;
        Ok(true)
    }

    /// Begins to note what runs when.
    pub(crate) fn start_clock(&mut self) {
        self.clock = Some(Clock::new());
        if let Some(recorder) = &self.recorder {
            // What came before is no part of this run.
            recorder.take();
        }
    }

    /// A step was made.
    pub(crate) fn note_step(&mut self, step: &TrainedStep) {
        if let Some(clock) = &mut self.clock {
            clock.step(step.epoch, step.duration, step.data_wait);
        }
    }

    /// An epoch is over, with its evaluation.
    pub(crate) fn note_evaluation(&mut self) {
        if let Some(clock) = &mut self.clock {
            clock.evaluated();
        }
    }

    /// Writes epochs that [`epoch`](Self::epoch) was not called for, draws all pictures and writes `report.html`, whose
    /// path it returns. Can be called again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the evaluation's lengths and classes do not fit each
    /// other, [`Error::File`](crate::Error::File) if something can't be written.
    pub fn finish(
        &mut self,
        history: &History,
        evaluation: Option<&Evaluation>,
    ) -> Result<PathBuf> {
        // Who has reopened a folder and written nothing yet may have gone back.
        let last = if self.resumed { 0 } else { self.last };
        for record in history
            .epochs
            .iter()
            .filter(|record| record.epoch + 1 > last)
        {
            self.epoch(record)?;
        }
        if let Some(clock) = &self.clock
            && !self.recorded_timeline()?
        {
            self.timeline(&clock.spans())?;
        }
        if let Some(evaluation) = evaluation {
            evaluation.check()?;
            if !evaluation.confusion.is_empty() {
                let path = self.path.join(EVALUATION);
                let kept = Confusion {
                    classes: evaluation.classes.clone(),
                    confusion: evaluation.confusion.clone(),
                    epoch: self.last,
                };
                write(
                    &path,
                    &serde_json::to_vec(&kept).map_err(file("write", &path))?,
                )?;
            }
            if !evaluation.samples.is_empty() {
                let path = self.path.join("samples.png");
                let drawn = sheet::samples(evaluation).and_then(|svg| raster::png(&svg));
                write(&path, &drawn.map_err(file("draw", &path))?)?;
            }
            if let Some(filters) = &evaluation.filters {
                let path = self.path.join("filters.png");
                let drawn = sheet::filters(filters).and_then(|svg| raster::png(&svg));
                write(&path, &drawn.map_err(file("draw", &path))?)?;
            }
        }
        report(&self.path)
    }
}

/// Draws curves and the confusion matrix of the run in a folder, and writes its `report.html` anew, whose path it
/// returns: while the run goes on, or after it ended in any way.
///
/// # Errors
///
/// [`Error::File`](crate::Error::File) if there is no run, its files can't be understood, or something can't be written.
pub fn report(path: impl AsRef<Path>) -> Result<PathBuf> {
    let path = path.as_ref();
    let config_path = path.join(CONFIG);
    let config = fs::read_to_string(&config_path).map_err(file("find a run's", &config_path))?;
    let rows = metrics::read(&path.join(METRICS))?;

    let mut pictures = Vec::new();
    let mut draw = |name: &str, title, svg: String| {
        write(&path.join(format!("{name}.svg")), svg.as_bytes())?;
        let png = path.join(format!("{name}.png"));
        write(&png, &raster::png(&svg).map_err(file("draw", &png))?)?;
        pictures.push(Picture { title, markup: svg });
        Ok::<_, crate::Error>(())
    };
    draw("curves", "Curves", curves::svg(&rows))?;
    let evaluation_path = path.join(EVALUATION);
    let mut confused = None;
    let mut outdated = None;
    if let Some(bytes) = read(&evaluation_path)? {
        let kept: Confusion =
            serde_json::from_slice(&bytes).map_err(file("understand", &evaluation_path))?;
        let last = rows.last().map_or(0, |row| row.epoch);
        outdated = (1..last).contains(&kept.epoch).then_some(kept.epoch);
        let evaluation = Evaluation {
            classes: kept.classes,
            confusion: kept.confusion,
            ..Evaluation::default()
        };
        evaluation.check()?;
        draw(
            "confusion",
            "Confusion",
            confusion::svg(&evaluation.classes, &evaluation.confusion),
        )?;
        confused = Some(evaluation);
    }
    for (name, title) in [("samples", "Samples"), ("filters", "Filters")] {
        if let Some(png) = read(&path.join(format!("{name}.png")))? {
            let markup = format!(r#"<img src="{}" alt="{title}">"#, raster::address(&png));
            pictures.push(Picture { title, markup });
        }
    }
    if let Some(svg) = read(&path.join("timeline.svg"))? {
        // As an image: what stands in the file can do nothing to the page.
        let markup = format!(
            r#"<img src="{}" alt="Timeline">"#,
            raster::svg_address(&svg)
        );
        pictures.push(Picture {
            title: "Timeline",
            markup,
        });
    }

    let name = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = name
        .file_name()
        .unwrap_or(name.as_os_str())
        .to_string_lossy()
        .into_owned();
    let page = html::page(&Page {
        name: &name,
        config: &config,
        rows: &rows,
        evaluation: confused.as_ref(),
        outdated,
        pictures: &pictures,
    });
    let report = path.join(REPORT);
    write(&report, page.as_bytes())?;
    Ok(report)
}

/// What is in a file, if there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("read", path)(error)),
    }
}
