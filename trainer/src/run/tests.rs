//! What a run's folder must hold, and survive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::Error;
use crate::fit::Metrics;

fn record(epoch: u64, loss: f64, test: Option<f64>) -> EpochRecord {
    let metrics = |loss: f64| Metrics {
        loss,
        accuracy: 1.0 / (1.0 + loss),
        samples: 50_000,
    };
    EpochRecord {
        epoch,
        train: metrics(loss),
        test: test.map(metrics),
        duration: Duration::from_millis(2500),
        data_wait: Duration::from_millis(125),
    }
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(METRICS)).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn config() -> Value {
    serde_json::json!({ "model": "cifar_cnn", "note": "<script>alert('&')</script>" })
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.to_string_lossy().contains("tfevents"))
        .collect()
}

#[test]
fn every_epoch_is_on_disk_at_once_and_not_a_number_is_null() {
    let parent = tempfile::tempdir().unwrap();
    let mut folder = RunFolder::create(parent.path().join("deep/run"), &config()).unwrap();
    folder.epoch(&record(0, f64::NAN, None)).unwrap();
    folder.epoch(&record(1, 0.5, Some(1.0))).unwrap();
    let lines = lines(folder.path());
    assert_eq!(lines[0]["epoch"], 1);
    assert_eq!(lines[0]["train"]["loss"], Value::Null);
    assert_eq!(lines[0].get("test"), None);
    assert_eq!(lines[1]["test"]["accuracy"], 0.5);
    assert_eq!(lines[1]["samples_per_second"], 20_000.0);
    assert_eq!(lines[1]["data_wait_seconds"], 0.125);
    assert_eq!(lines[1]["data_wait_share"], 0.05);
    let rows = metrics::read(&folder.path().join(METRICS)).unwrap();
    assert!(rows[0].train.loss.is_nan() && rows[0].test.is_none());
    assert_eq!(rows[1], Row::from(&record(1, 0.5, Some(1.0))));
    let written: Value =
        serde_json::from_slice(&fs::read(folder.path().join(CONFIG)).unwrap()).unwrap();
    assert_eq!(written, config());
}

#[test]
fn a_folder_with_another_run_is_refused_and_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let mut first = RunFolder::create(parent.path(), &config()).unwrap();
    first.epoch(&record(0, 1.0, None)).unwrap();
    let error = RunFolder::create(parent.path(), &"other").unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }));
    let words = error.to_string();
    assert!(
        words.contains("another run") && words.contains("reopen"),
        "{words}"
    );
    assert_eq!(lines(parent.path()).len(), 1);
    assert_eq!(event_files(parent.path()).len(), 1);
    let error = RunFolder::reopen(parent.path().join("none")).unwrap_err();
    assert!(matches!(error, Error::File { .. }));
    assert!(error.to_string().contains(CONFIG), "{error}");
}

#[test]
fn a_run_goes_on_after_a_crash_and_takes_back_what_it_does_again() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join(METRICS);
    let mut folder = RunFolder::create(parent.path(), &config()).unwrap();
    for epoch in 0..3 {
        folder.epoch(&record(epoch, 1.0, None)).unwrap();
    }
    drop(folder);
    let mut cut = fs::read(&path).unwrap();
    cut.extend(b"{\"epoch\":4,\"tr");
    fs::write(&path, cut).unwrap();
    assert_eq!(metrics::read(&path).unwrap().len(), 3);
    let mut folder = RunFolder::reopen(parent.path()).unwrap();
    folder.epoch(&record(1, 0.25, None)).unwrap();
    let rows = metrics::read(&path).unwrap();
    assert_eq!(rows.iter().map(|row| row.epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rows[1].train.loss, 0.25);
    assert_eq!(lines(parent.path()).len(), 4);
    fs::write(&path, "{}\n").unwrap();
    let error = RunFolder::reopen(parent.path()).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

/// Needs a Python with TensorBoard: its path in `FEEDLINE_TENSORBOARD_PYTHON`.
#[test]
fn tensorboard_reads_what_was_written() {
    let Ok(python) = std::env::var("FEEDLINE_TENSORBOARD_PYTHON") else {
        println!(
            "skipped: FEEDLINE_TENSORBOARD_PYTHON is not set to a Python that has TensorBoard"
        );
        return;
    };
    let parent = tempfile::tempdir().unwrap();
    let mut folder = RunFolder::create(parent.path(), &config()).unwrap();
    for epoch in 0..3 {
        folder.epoch(&record(epoch, 1.0, None)).unwrap();
    }
    let mut folder = RunFolder::reopen(parent.path()).unwrap();
    folder.epoch(&record(1, 3.0, Some(0.25))).unwrap();
    let script = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
tags = events.Tags()['scalars']
print(json.dumps({tag: [[event.step, event.value] for event in events.Scalars(tag)] for tag in tags}))
";
    let output = Command::new(python)
        .args(["-c", script])
        .arg(parent.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "train/loss": [[1, 1.0], [2, 3.0]],
        "train/accuracy": [[1, 0.5], [2, 0.25]],
        "test/loss": [[2, 0.25]],
        "test/accuracy": [[2, 0.800_000_011_920_929]],
        "samples_per_second": [[1, 20_000.0], [2, 20_000.0]],
        "data_wait": [[1, 0.125], [2, 0.125]],
        "data_wait_share": [[1, 0.050_000_000_745_058_06], [2, 0.050_000_000_745_058_06]],
    });
    assert_eq!(found, expected);
}

#[cfg(feature = "report")]
mod report {
    use super::*;
    use crate::fit::History;

    /// `FEEDLINE_KEEP_RUNS` names a folder to look at what was drawn.
    fn folder(name: &str) -> (tempfile::TempDir, PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let path = match std::env::var("FEEDLINE_KEEP_RUNS") {
            Ok(keep) => Path::new(&keep).join(name),
            Err(_) => parent.path().join(name),
        };
        (parent, path)
    }

    fn evaluation(classes: &[&str], shape: [usize; 3], filters: [usize; 4]) -> Evaluation {
        let number = classes.len();
        let noise = |seed: usize| seed.wrapping_mul(2_654_435_761) >> 7;
        let count = |row: usize, column: usize| match noise(row * 131 + column) % 9 {
            _ if row == column => 700,
            share @ 0..5 => share as u64 * 17,
            _ => 0,
        };
        let samples = (0..24).map(|index| Sample {
            shape,
            pixels: (0..shape.iter().product())
                .map(|place: usize| (place * 3 + place / 1024 * 90 + index * 40) as u8)
                .collect(),
            label: index % number,
            predicted: if index % 5 == 0 {
                (index + 1) % number
            } else {
                index % number
            },
        });
        let weight = |place: usize| (noise(place) % 2001) as f32 / 1000.0 - 1.0;
        Evaluation {
            classes: classes.iter().map(|&name| name.to_owned()).collect(),
            confusion: (0..number)
                .map(|row| (0..number).map(|column| count(row, column)).collect())
                .collect(),
            samples: samples.collect(),
            filters: Some(Filters {
                shape: filters,
                values: (0..filters.iter().product()).map(weight).collect(),
            }),
        }
    }

    fn history(records: impl IntoIterator<Item = EpochRecord>) -> History {
        History {
            epochs: records.into_iter().collect(),
        }
    }

    /// Names and kinds of what is in it: SVGs that parse, PNGs with pixels, a page that needs nothing else.
    fn check(folder: &Path, names: &[&str]) {
        for name in names {
            let bytes = fs::read(folder.join(name)).unwrap();
            match name.rsplit_once('.').unwrap().1 {
                "svg" => drop(raster::png(std::str::from_utf8(&bytes).unwrap()).unwrap()),
                _ => assert!(
                    resvg::tiny_skia::Pixmap::decode_png(&bytes)
                        .unwrap()
                        .width()
                        > 100
                ),
            }
        }
        let page = fs::read_to_string(folder.join("report.html")).unwrap();
        let source = |kind: &str| page.matches(kind).count();
        assert_eq!(source("src=\""), source("src=\"data:image/"));
        assert_eq!(source("<svg "), source("</svg>"));
        let curves = fs::read_to_string(folder.join("curves.svg")).unwrap();
        assert!(!curves.contains("NaN") && !curves.contains("inf"));
        let others = page.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !others.contains("<script") && !others.contains("http:") && !others.contains("https:")
        );
        check_in_browser(&folder.join("report.html"));
    }

    /// What a browser makes of the page: needs Chromium, or what takes its options, in `FEEDLINE_BROWSER`.
    fn check_in_browser(page: &Path) {
        let Ok(browser) = std::env::var("FEEDLINE_BROWSER") else {
            println!("skipped: FEEDLINE_BROWSER is not set to a browser such as chromium");
            return;
        };
        // It says what only a browser knows: whether pictures can be shown, whether something is wider than the page, and
        // whether anything of the run has become a part of the page.
        let script = "<script>addEventListener('load', () => {
            const pictures = [...document.images, ...document.querySelectorAll('svg')];
            const sizes = pictures.map(own => own.getBoundingClientRect());
            document.title = JSON.stringify({
                pictures: pictures.length,
                broken: [...document.images].filter(own => !own.complete || own.naturalWidth == 0).length,
                flat: sizes.filter(own => own.width < 100 || own.height < 50).length,
                wide: document.documentElement.scrollWidth > innerWidth,
                scripts: document.scripts.length,
                loaded: performance.getEntriesByType('resource').filter(own => !own.name.startsWith('data:')).length,
            });
        })</script></head>";
        let folder = tempfile::tempdir().unwrap();
        let asking = folder.path().join("page.html");
        let text = fs::read_to_string(page).unwrap();
        fs::write(&asking, text.replacen("</head>", script, 1)).unwrap();
        for width in [1200, 400] {
            let output = Command::new(&browser)
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
                .arg(format!("--window-size={width},900"))
                .arg(format!("--user-data-dir={}", folder.path().display()))
                .arg(format!("file://{}", asking.display()))
                .output()
                .unwrap();
            let shown = String::from_utf8(output.stdout).unwrap();
            let (_, title) = shown.split_once("<title>").unwrap();
            let found: Value =
                serde_json::from_str(title.split_once("</title>").unwrap().0).unwrap();
            let pictures = text.matches("<svg ").count() + text.matches("<img ").count();
            let expected = serde_json::json!({
                "pictures": pictures, "broken": 0, "flat": 0, "wide": false, "scripts": 1, "loaded": 0,
            });
            assert_eq!(found, expected, "{} at {width} pixels", page.display());
        }
    }

    const ALL: [&str; 7] = [
        "curves.svg",
        "curves.png",
        "confusion.svg",
        "confusion.png",
        "samples.png",
        "filters.png",
        "timeline.svg",
    ];

    #[test]
    fn a_finished_run_shows_all_that_happened() {
        let (_parent, path) = folder("usual");
        let mut run = RunFolder::create(&path, &config()).unwrap();
        let decay = |epoch: u64| 2.2 * (-0.2 * epoch as f64).exp();
        let history = history(
            (0..20).map(|epoch| record(epoch, decay(epoch) + 0.05, Some(decay(epoch) * 0.8 + 0.4))),
        );
        // The last epochs are left to `finish`.
        for epoch in &history.epochs[..15] {
            run.epoch(epoch).unwrap();
        }
        let at = |stage: &str, start, end| Span {
            stage: stage.into(),
            start: Duration::from_millis(start),
            end: Duration::from_millis(end),
        };
        let spans = (0..4000).flat_map(|step| {
            let start = step * 12;
            [
                at("load", start, start + 5),
                at("compute", start + 5, start + 11),
                at("reduce", start + 9, start + 12),
            ]
        });
        run.timeline(
            &spans
                .chain([at("evaluate", 30_000, 36_000)])
                .collect::<Vec<_>>(),
        )
        .unwrap();
        let classes = [
            "airplane",
            "automobile",
            "bird",
            "cat",
            "deer",
            "dog",
            "frog",
            "horse",
            "ship",
            "truck & <trailer>",
        ];
        let written = run
            .finish(
                &history,
                Some(&evaluation(&classes, [3, 32, 32], [32, 3, 5, 5])),
            )
            .unwrap();
        assert_eq!(written, path.join("report.html"));
        assert_eq!(lines(&path).len(), 20);
        check(&path, &ALL);
        let page = fs::read_to_string(&written).unwrap();
        for words in [
            "cifar_cnn",
            "&lt;script&gt;",
            "truck &amp; &lt;trailer&gt;",
            "Best test accuracy",
        ] {
            assert!(page.contains(words), "{words}");
        }
        assert_eq!(page.matches("<tr><td>").count(), 20);
        // From the files alone, it is the same page.
        fs::remove_file(&written).unwrap();
        super::super::report(&path).unwrap();
        assert_eq!(fs::read_to_string(&written).unwrap(), page);
    }

    #[test]
    fn runs_that_are_compared_share_lines_and_scale() {
        let parent = tempfile::tempdir().unwrap();
        let span = |stage: &str, start, end| Span {
            stage: stage.into(),
            start: Duration::from_secs(start),
            end: Duration::from_secs(end),
        };
        let run = |name: &str, spans: &[Span]| Timeline {
            name: name.into(),
            spans: spans.to_vec(),
        };
        let runs = [
            run(
                "slow & <plain>",
                &[span("load", 100, 104), span("other", 101, 102)],
            ),
            run("fast", &[span("train", 7, 8)]),
            run("idle", &[]),
        ];
        let path = parent.path().join("version 1.2");
        draw_timelines(&path, ["Title", "Words"], &["load", "train"], &runs).unwrap();
        let svg = fs::read_to_string(parent.path().join("version 1.2.svg")).unwrap();
        // Colours are of stages, widths are of time, from the left end on.
        let bars = |class: &str| -> Vec<_> {
            let class = format!("class=\"{class}\"");
            let number = |line: &str, name: &str| -> f64 {
                let value = line.split_once(&format!(" {name}=\"")).unwrap().1;
                value.split_once('"').unwrap().0.parse().unwrap()
            };
            let lines = svg.lines().filter(|line| line.contains(&class));
            lines
                .map(|line| (number(line, "x"), number(line, "width")))
                .collect()
        };
        let (load, train) = (bars("f0"), bars("f1"));
        assert_eq!((load.len(), train.len(), bars("f2").len()), (1, 1, 0));
        assert_eq!((load[0].0, load[0].1), (train[0].0, 4.0 * train[0].1));
        for words in [
            "slow &amp; &lt;plain&gt;: 4.00 s",
            "fast: 1.00 s",
            "4.00 s, 100.0 %",
        ] {
            assert!(svg.contains(words), "{words}");
        }
        assert_eq!(svg.matches(">train</text>").count(), 3);
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("other"));
        image::open(parent.path().join("version 1.2.png")).unwrap();
    }

    #[test]
    fn odd_runs_are_drawn_too() {
        let (_parent, path) = folder("hundred");
        let names: Vec<_> = (0..100)
            .map(|class| format!("class {class} with a name that never ends \u{0}\"'<"))
            .collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let mut run = RunFolder::create(&path, &config()).unwrap();
        run.timeline(&[]).unwrap();
        let mut odd = evaluation(&names, [1, 28, 28], [6, 16, 3, 3]);
        odd.filters.as_mut().unwrap().values[..20].fill(f32::NAN);
        let report = run.finish(&history([record(0, 2.0, Some(2.5))]), Some(&odd));
        check(report.unwrap().parent().unwrap(), &ALL);

        let (_parent, path) = folder("diverged");
        let mut run = RunFolder::create(&path, &()).unwrap();
        let losses = [2.0, 1.0, f64::NAN, 1e300, 0.5, f64::INFINITY, -1.0];
        let epochs = losses
            .into_iter()
            .zip(0..)
            .map(|(loss, epoch)| record(epoch, loss, Some(f64::NAN)));
        let one = Span {
            stage: "backwards".into(),
            start: Duration::from_secs(9),
            end: Duration::from_secs(3),
        };
        run.timeline(&[one]).unwrap();
        run.finish(
            &history(epochs),
            Some(&evaluation(&["一", "deux"], [2, 300, 2], [1, 1, 1, 1])),
        )
        .unwrap();
        check(&path, &ALL);

        let (_parent, path) = folder("empty");
        let mut run = RunFolder::create(&path, &()).unwrap();
        run.finish(&History::default(), Some(&Evaluation::default()))
            .unwrap();
        check(&path, &ALL[..2]);
    }

    #[test]
    fn a_reopened_run_can_be_finished_from_its_history_alone() {
        let parent = tempfile::tempdir().unwrap();
        RunFolder::create(parent.path(), &())
            .unwrap()
            .finish(&history((0..4).map(|epoch| record(epoch, 9.0, None))), None)
            .unwrap();
        let mut run = RunFolder::reopen(parent.path()).unwrap();
        for _ in 0..2 {
            run.finish(&history((2..5).map(|epoch| record(epoch, 1.0, None))), None)
                .unwrap();
        }
        let rows = metrics::read(&parent.path().join(METRICS)).unwrap();
        let losses: Vec<_> = rows.iter().map(|row| row.train.loss).collect();
        assert_eq!(losses, [9.0, 9.0, 1.0, 1.0, 1.0]);
        assert_eq!(lines(parent.path()).len(), 7);
    }

    #[test]
    fn an_evaluation_of_an_earlier_epoch_says_so() {
        let parent = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(parent.path(), &()).unwrap();
        let evaluated = evaluation(&["a", "b"], [1, 2, 2], [1, 1, 2, 2]);
        let all = history((0..2).map(|epoch| record(epoch, 1.0, None)));
        let page = run.finish(&all, Some(&evaluated)).unwrap();
        let old = "As it was after epoch 2.";
        assert!(!fs::read_to_string(&page).unwrap().contains(old));
        run.epoch(&record(2, 0.5, None)).unwrap();
        super::super::report(parent.path()).unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap().matches(old).count(), 3);
    }

    #[test]
    fn a_new_folder_of_a_resumed_run_gets_the_epochs_before() {
        use crate::fit::Callback;
        let parent = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(parent.path(), &()).unwrap();
        let resume = |run: &mut RunFolder| {
            for epoch in 0..3 {
                assert!(
                    run.resumed(&record(epoch, 1.0, None))
                        .unwrap()
                        .is_continue()
                );
            }
        };
        resume(&mut run);
        run.epoch(&record(3, 0.5, None)).unwrap();
        drop(run);
        // One that has them is left as it is.
        let mut run = RunFolder::reopen_with(parent.path(), &"other").unwrap();
        resume(&mut run);
        assert_eq!(lines(parent.path()).len(), 4);
        let config = fs::read_to_string(parent.path().join(CONFIG)).unwrap();
        assert_eq!(config, "\"other\"\n");
    }

    #[test]
    fn rows_of_a_confusion_matrix_are_true_classes() {
        let classes = ["a", "b"].map(String::from);
        let svg = confusion::svg(&classes, &[vec![5, 3], vec![0, 0]]);
        assert!(svg.contains("a taken for b: 3") && !svg.contains("b taken for a"));
        assert!(svg.contains("5 of 8 samples right"));
    }

    #[test]
    fn evaluations_that_do_not_fit_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let mut run = RunFolder::create(parent.path(), &()).unwrap();
        let mut refused = |change: fn(&mut Evaluation), word: &str| {
            let mut evaluation = evaluation(&["a", "b"], [1, 2, 2], [1, 1, 2, 2]);
            change(&mut evaluation);
            let error = run
                .finish(&History::default(), Some(&evaluation))
                .unwrap_err()
                .to_string();
            assert!(error.contains(word), "{error}");
        };
        refused(|evaluation| evaluation.confusion[1].push(1), "confusion");
        refused(|evaluation| evaluation.classes.truncate(1), "confusion");
        refused(|evaluation| evaluation.samples[3].predicted = 2, "sample 3");
        refused(
            |evaluation| evaluation.samples[0].shape = [usize::MAX, 2, 2],
            "pixels",
        );
        refused(
            |evaluation| {
                evaluation.filters = Some(Filters {
                    shape: [0; 4],
                    values: vec![],
                });
            },
            "weights",
        );
    }
}
