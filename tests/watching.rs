//! Traces, logs and what the command says about its loader.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use common::{done, errors, run};

/// A run of a second at most.
const TRAIN: &str =
    "train --model cifar-cnn --data generated=50 --batch-size 25 --replicas 1 --threads 1";

/// A whole trace.
struct Trace {
    threads: HashMap<u64, String>,
    /// Thread, name and what goes with it, of spans that have ended.
    spans: Vec<(u64, String, Value)>,
}

impl Trace {
    /// Reads it, and checks that on each thread what began last ends first, in time that does not run back.
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let events: Vec<Value> = serde_json::from_str(&text).unwrap();
        let mut trace = Self {
            threads: HashMap::new(),
            spans: Vec::new(),
        };
        let mut open: HashMap<u64, Vec<&Value>> = HashMap::new();
        let mut now: HashMap<u64, f64> = HashMap::new();
        for event in &events {
            let thread = event["tid"].as_u64().unwrap();
            let name = event["name"].as_str().unwrap().to_owned();
            if event["ph"] == "M" {
                let named = event["args"]["name"].as_str().unwrap().to_owned();
                trace.threads.insert(thread, named);
                continue;
            }
            let at = event["ts"].as_f64().unwrap();
            assert!(at >= now.insert(thread, at).unwrap_or(0.0), "{event}");
            assert!(trace.threads.contains_key(&thread), "{event}");
            let open = open.entry(thread).or_default();
            match event["ph"].as_str() {
                Some("B") => open.push(event),
                Some("E") => {
                    let began = open.pop().unwrap();
                    assert_eq!(began["name"], event["name"]);
                    trace.spans.push((thread, name, event["args"].clone()));
                }
                other => assert_eq!(other, Some("i"), "{event}"),
            }
        }
        trace
    }

    fn count(&self, name: &str) -> usize {
        self.spans.iter().filter(|(_, own, _)| own == name).count()
    }

    /// On which threads it was done, by their names.
    fn threads_of(&self, name: &str) -> Vec<&str> {
        let spans = self.spans.iter().filter(|(_, own, _)| own == name);
        let mut threads: Vec<_> = spans.map(|(own, ..)| self.threads[own].as_str()).collect();
        threads.sort_unstable();
        threads.dedup();
        threads
    }
}

#[test]
fn a_trace_has_what_each_thread_did_in_spans_that_nest() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &format!("{TRAIN} --epochs 2 --trace trace.json"));
    let trace = Trace::read(&folder.join("trace.json"));
    assert_eq!((trace.count("train"), trace.count("evaluate")), (4, 2));
    assert_eq!(trace.count("save"), 2);
    assert_eq!((trace.count("read"), trace.count("transform")), (0, 0));
    assert!(trace.count("fill") > 0 && trace.count("wait") > 4);
    let workers = trace.threads_of("fill");
    assert!(
        workers.iter().all(|own| own.contains("worker")),
        "{workers:?}"
    );
    let replica = trace.threads_of("train");
    assert_eq!(replica.len(), 1);
    assert!(replica[0].starts_with("replica-0"), "{replica:?}");
    let mut steps: Vec<_> = trace
        .spans
        .iter()
        .filter(|(_, own, _)| own == "train")
        .collect();
    let second = steps.swap_remove(1);
    assert_eq!(
        (&second.2["epoch"], &second.2["step"]),
        (&"0".into(), &"1".into())
    );

    let samples = format!("{TRAIN} --epochs 1 --trace samples.json --trace-samples");
    done(folder, &samples);
    let trace = Trace::read(&folder.join("samples.json"));
    assert!(trace.count("read") >= 50 && trace.count("transform") >= 50);
}

#[test]
fn a_run_that_fails_leaves_a_whole_trace() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        folder.path(),
        &format!("{TRAIN} --epochs 9 --learning-rate 1e30 --optimizer sgd --trace trace.json"),
    );
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let trace = Trace::read(&folder.path().join("trace.json"));
    assert!(trace.count("train") > 0);
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("taken")).unwrap();
    for path in ["none/trace.json", "taken"] {
        for command in [
            &*format!("{TRAIN} --epochs 1"),
            "bench --data generated=50 --batch-size 10",
        ] {
            let output = run(folder, &format!("{command} --trace {path}"));
            assert_eq!(output.status.code(), Some(1));
            let said = errors(&output);
            assert!(
                said.contains(&format!("error: can't write the trace {path}: ")),
                "{said}"
            );
            assert!(!said.contains("Epoch"), "{said}");
        }
    }
    assert_eq!(fs::read_dir(folder.join("runs")).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_trace_and_not_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        folder.path(),
        &format!("{TRAIN} --epochs 1 --trace /dev/full"),
    );
    let said = errors(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("warning: the trace /dev/full is cut off"),
        "{said}"
    );
}

#[test]
fn training_says_what_the_loaders_time_went_into() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let printed = done(folder, &format!("{TRAIN} --epochs 1 --record run"));
    assert!(
        printed.contains("input-bound: the consumer waited "),
        "{printed}"
    );
    assert!(printed.contains("data wait"), "{printed}");
    let timeline = fs::read_to_string(folder.join("run/timeline.svg")).unwrap();
    for stage in ["fill", "wait", "deliver", "train", "evaluate", "save"] {
        assert!(timeline.contains(&format!(">{stage}<")), "{stage}");
    }
    let metrics = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let row: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    let share = row["data_wait_share"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&share), "{share}");

    let printed = done(folder, &format!("{TRAIN} --epochs 1 --json"));
    let lines = printed.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    assert!(lines[0]["data_wait_share"].as_f64().is_some());
    let loading = &lines[1]["loading"];
    assert!(loading["headroom"].as_f64().unwrap() >= 1.0);
    let words = loading["words"].as_str().unwrap();
    assert!(
        words.contains(loading["slowest"].as_str().unwrap()),
        "{words}"
    );
}

#[test]
fn the_benchmark_says_which_stage_was_the_slowest() {
    let folder = tempfile::tempdir().unwrap();
    let bench = "bench --data generated=50 --batch-size 10 --rounds 1 --seconds 0.04 --workers 1,2";
    let printed = done(folder.path(), &format!("{bench} --trace trace.json"));
    let cases = printed
        .lines()
        .filter(|line| line.contains("is the slowest stage"));
    assert_eq!(cases.count(), 3, "{printed}");
    let trace = Trace::read(&folder.path().join("trace.json"));
    assert!(trace.count("fill") > 0 && trace.count("deliver") > 0);

    let value: Value =
        serde_json::from_str(&done(folder.path(), &format!("{bench} --json"))).unwrap();
    let cases = value["loading"].as_object().unwrap();
    assert_eq!(cases.len(), 3);
    for (name, by_workers) in cases {
        let by_workers = by_workers.as_array().unwrap();
        assert_eq!(by_workers.len(), 2);
        assert_eq!(by_workers[1]["workers"], 2, "{name}");
    }
}

#[test]
fn how_much_is_logged_can_be_chosen_by_an_option_or_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let log = |level: &str| run(folder.path(), &format!("{TRAIN} --epochs 1 --log {level}"));
    assert_eq!(log("off").status.code(), Some(0));
    assert_eq!(log("loud").status.code(), Some(2));
    let mut command = Command::new(env!("CARGO_BIN_EXE_feedline"));
    let command = command
        .current_dir(folder.path())
        .env("FEEDLINE_LOG", "loud");
    let output = command.args(TRAIN.split_whitespace()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("warn"), "{}", errors(&output));
    // Samples are traced into a file.
    let output = run(folder.path(), &format!("{TRAIN} --trace-samples"));
    assert_eq!(output.status.code(), Some(2));
}
