//! The command `feedline`, as a person or a script runs it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use common::{done, errors, feedline, json, run, words};

const SUBCOMMANDS: [&[&str]; 11] = [
    &["data"],
    &["data", "fetch"],
    &["data", "verify"],
    &["data", "info"],
    &["data", "preview"],
    &["train"],
    &["predict"],
    &["export"],
    &["report"],
    &["bench"],
    &["completions"],
];

/// What it printed, whatever it did.
fn run_words(folder: &Path, arguments: &str) -> String {
    words(&run(folder, arguments))
}

/// What it says when it can't, in words; in JSON it must be the same.
fn failed(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments}");
    let said = errors(&output);
    let output = run(folder, &format!("{arguments} --json"));
    assert_eq!(output.status.code(), Some(1), "{arguments}");
    let value: Value = serde_json::from_str(&words(&output)).unwrap();
    let error = value["error"].as_str().unwrap();
    assert!(said.contains(&format!("error: {error}")), "{said} {error}");
    said
}

/// A run of a second at most.
const TRAIN: &str =
    "train --model cifar-cnn --data generated=50 --batch-size 25 --replicas 1 --threads 1";

fn picture(folder: &Path, name: &str) {
    let picture = image::GrayImage::from_fn(40, 30, |x, y| image::Luma([(x * 5 + y) as u8]));
    picture.save(folder.join(name)).unwrap();
}

#[test]
fn every_subcommand_explains_itself_and_ends_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    let top = done(folder.path(), "--help");
    assert!(top.contains("Exit codes:") && top.contains("Examples:"));
    for names in SUBCOMMANDS {
        let names = names.join(" ");
        let help = done(folder.path(), &format!("{names} --help"));
        let (_, examples) = help.split_once("Examples:").expect(&names);
        assert!(examples.contains(&format!("feedline {names}")) || names == "data");
        assert!(help.len() > done(folder.path(), &format!("{names} -h")).len());
        assert!(!help.contains('\u{1b}'), "{names}: colours");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        "",
        "tain",
        "train",
        "train --model softmax --epochs 0",
        "train --model softmax --width 3",
        "train --model resnet9 --dropout 0.1",
        "train --model mnist-cnn --augmentation color",
        "train --model cifar-cnn --data generated=7",
        "train --model softmax --resume",
        "train --model softmax --data generated=50",
        "data preview generated --augment mnist-cnn",
        "predict run picture.png --top 0",
        "data info",
        "data info imagenet",
        "data preview generated --count 101",
        "predict run",
        "export run --layout onnx -o file",
        "bench --data generated=50 --batch-size 51",
        "bench --data generated=50 --workers 0",
        "bench --data generated=50 --seconds nan",
        "completions tcsh",
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn numbers_that_cannot_be_are_refused_with_those_that_can() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        ("train --model softmax --epochs 0", "of at least 1"),
        ("train --model softmax --batch-size -1", "of at least 1"),
        ("train --model resnet9 --width 0", "of at least 1"),
        ("train --model softmax --seed -1", "from 0 to"),
        ("data preview mnist --seed -1", "from 0 to"),
        ("data preview mnist --count -1", "1..=100"),
        ("predict run picture.png --top -1", "-1 is not in 1.."),
    ] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let said = errors(&output);
        assert!(said.contains(expected), "{arguments}: {said}");
    }
    for option in ["--clip", "--dropout", "--weight-decay"] {
        let said = failed(folder.path(), &format!("{TRAIN} {option} -1"));
        assert!(said.contains("is -1") || said.contains("rate -1"), "{said}");
    }
}

#[test]
fn what_is_not_there_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for run in ["none", "empty"] {
        for arguments in [
            format!("predict {run} picture.png"),
            format!("export {run} --layout keras -o weights.npz"),
            format!("report {run}"),
        ] {
            let said = failed(folder.path(), &arguments);
            assert!(said.contains(run), "{said}");
        }
    }
    let said = failed(folder.path(), "data info fashion-mnist --data empty");
    assert!(
        said.contains("`feedline data fetch fashion-mnist --data empty`"),
        "{said}"
    );
    let said = failed(folder.path(), "train --model resnet9 --data cifar100=it's");
    assert!(
        said.contains(r"`feedline data fetch cifar100 --data 'it'\''s'`"),
        "{said}"
    );
    // What can't begin leaves no folder for a run behind.
    let said = failed(folder.path(), &format!("{TRAIN} --learning-rate -1"));
    assert!(said.contains("learning rate"), "{said}");
    assert_eq!(fs::read_dir(folder.path().join("runs")).unwrap().count(), 0);
}

#[test]
fn what_was_trained_predicts_is_exported_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let printed = done(folder, &format!("{TRAIN} --epochs 1"));
    assert!(printed.ends_with("runs/cifar-cnn-1/report.html\n"));
    let run = folder.join("runs/cifar-cnn-1");
    for name in [
        "report.html",
        "confusion.png",
        "samples.png",
        "filters.png",
        "timeline.svg",
    ] {
        assert!(run.join(name).exists(), "{name}");
    }

    // A line for each epoch, then the result; in a folder of its own.
    let printed = done(folder, &format!("{TRAIN} --epochs 2 --json"));
    let lines = printed.lines().map(serde_json::from_str);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["epoch"], &lines[1]["epoch"]),
        (&1.into(), &2.into())
    );
    assert_eq!(lines[2]["run"], "runs/cifar-cnn-2");
    assert_eq!(lines[2]["test"], lines[1]["test"]);
    // The evaluation behind the pictures is that of training.
    let text = fs::read(folder.join("runs/cifar-cnn-2/evaluation.json")).unwrap();
    let evaluation: Value = serde_json::from_slice(&text).unwrap();
    let right = (0..10).map(|own| evaluation["confusion"][own][own].as_f64().unwrap());
    assert_eq!(lines[2]["test"]["accuracy"], right.sum::<f64>() / 10.0);

    picture(folder, "one.png");
    picture(folder, "two.png");
    let all = json(folder, "predict runs/cifar-cnn-1 one.png two.png --top 99");
    let classes = all["pictures"][1]["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 10);
    let probabilities = classes
        .iter()
        .map(|own| own["probability"].as_f64().unwrap());
    assert!((probabilities.clone().sum::<f64>() - 1.0).abs() < 1e-5);
    assert!(probabilities.is_sorted_by(|one, other| one >= other));
    // By the checkpoint itself, and in words.
    let checkpoint = all["checkpoint"].as_str().unwrap();
    let printed = done(folder, &format!("predict {checkpoint} two.png"));
    let likeliest = classes[0]["class"].as_str().unwrap();
    assert!(printed.starts_with(&format!("two.png  {likeliest} ")));
    assert_eq!(printed.matches('%').count(), 3);
    let said = failed(folder, "predict runs/cifar-cnn-1 one.png three.png");
    assert!(said.contains("three.png"), "{said}");
    // The other one is predicted all the same.
    let output = run_words(folder, "predict runs/cifar-cnn-1 three.png two.png");
    assert!(output.starts_with("two.png  "), "{output}");

    for (layout, name) in [("pytorch", "w.safetensors"), ("keras", "w.npz")] {
        let arguments = format!("export runs/cifar-cnn-1 --best --layout {layout} -o {name}");
        assert_eq!(json(folder, &arguments)["numbers"], 1_068_810);
        assert!(folder.join(name).metadata().unwrap().len() > 4 * 1_068_810);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::{PermissionsExt, symlink};
        // A link is followed, and what is no file stays what it is.
        symlink("w.npz", folder.join("link.npz")).unwrap();
        fs::write(folder.join("w.npz"), b"").unwrap();
        let export = "export runs/cifar-cnn-1 --layout";
        done(folder, &format!("{export} keras -o link.npz"));
        assert!(folder.join("link.npz").is_symlink());
        assert!(folder.join("w.npz").metadata().unwrap().len() > 4 * 1_068_810);
        let linked = folder.join("device");
        symlink("/dev/null", &linked).unwrap();
        let said = failed(folder, &format!("{export} keras -o device"));
        assert!(said.contains("no file") && linked.is_symlink(), "{said}");
        let said = failed(folder, &format!("{export} keras -o runs"));
        assert!(said.contains("no file"), "{said}");
        let mode = |name: &str| folder.join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode("w.npz"), mode("w.safetensors"));
        // Paths need not be Unicode.
        use std::os::unix::ffi::OsStrExt;
        let odd = folder.join(std::ffi::OsStr::from_bytes(b"odd\xff.png"));
        fs::copy(folder.join("one.png"), &odd).unwrap();
        let predict = ["predict", "runs/cifar-cnn-1"];
        let output = feedline(folder).args(predict).arg(&odd).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let data = std::ffi::OsStr::from_bytes(b"mnist=da\xffta");
        let train = ["train", "--model", "softmax", "--data"];
        let output = feedline(folder).args(train).arg(data).output().unwrap();
        let said = errors(&output);
        assert!(
            said.contains("no MNIST here") && !said.contains("mnist="),
            "{said}"
        );
    }

    fs::remove_file(run.join("report.html")).unwrap();
    let report = json(folder, "report runs/cifar-cnn-1");
    assert!(folder.join(report["report"].as_str().unwrap()).exists());
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(
        folder,
        &format!("{TRAIN} --epochs 1 --record stopped --resume"),
    );
    let said = failed(folder, &format!("{TRAIN} --epochs 2 --record stopped"));
    assert!(said.contains("--resume"), "{said}");
    for other in ["--seed 7", "--dropout 0.1", "--augmentation color"] {
        let arguments = format!("{TRAIN} --epochs 2 --record stopped --resume {other}");
        let said = failed(folder, &arguments);
        assert!(said.contains("stopped: it can't be gone on with"), "{said}");
    }
    let printed = done(
        folder,
        &format!("{TRAIN} --epochs 2 --record stopped --resume"),
    );
    assert!(printed.contains("went on from stopped/checkpoints/step-"));
    done(folder, &format!("{TRAIN} --epochs 2 --record whole"));
    let weights = ["stopped", "whole"].map(|run| {
        let file = format!("{run}.safetensors");
        done(folder, &format!("export {run} --layout pytorch -o {file}"));
        fs::read(folder.join(file)).unwrap()
    });
    assert!(weights[0] == weights[1]);
    let metrics = fs::read_to_string(folder.join("stopped/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 2);
}

#[test]
fn damaged_settings_are_an_error_that_names_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &format!("{TRAIN} --epochs 1 --record run"));
    picture(folder, "one.png");
    let path = folder.join("run/config.json");
    let whole = fs::read_to_string(&path).unwrap();
    let change = |place: &str, value: Value| {
        let mut config: Value = serde_json::from_str(&whole).unwrap();
        *config.pointer_mut(place).unwrap() = value;
        config.to_string()
    };
    for damaged in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        r#"["feedline", "train"]"#.into(),
        "{}".into(),
        change("/versions/format", 2.into()),
        change("/model/name", "cifar-rnn".into()),
        change(
            "/model",
            serde_json::json!({ "name": "resnet9", "width": u64::MAX }),
        ),
        change("/model/dropout", (-1).into()),
        change("/data/shape/0", u64::MAX.into()),
        change("/data/shape/1", 0.into()),
        change("/data/classes", Value::Array(Vec::new())),
        change("/preprocessing/test", serde_json::json!(["sharpen"])),
        change("/preprocessing/test", serde_json::json!([])),
        change("/checkpoints", "elsewhere".into()),
        change("/checkpoints", Value::Null),
    ] {
        fs::write(&path, &damaged).unwrap();
        let said = failed(folder, "predict run one.png");
        assert!(said.starts_with("error: "), "{damaged}: {said}");
    }
    fs::write(&path, "nothing").unwrap();
    for arguments in [
        "predict run one.png",
        "export run --layout keras -o w.npz",
        &format!("{TRAIN} --epochs 2 --record run --resume"),
    ] {
        let said = failed(folder, arguments);
        assert!(
            said.contains("the run run: its config.json is damaged"),
            "{said}"
        );
    }
    fs::write(&path, &whole).unwrap();
    let checkpoint = fs::read_dir(folder.join("run/checkpoints")).unwrap();
    for entry in checkpoint
        .map(Result::unwrap)
        .filter(|own| own.path().is_dir())
    {
        fs::write(entry.path().join("tensors.safetensors"), "short").unwrap();
    }
    let said = failed(folder, "predict run one.png");
    assert!(said.contains("damaged"), "{said}");
}

#[test]
fn data_and_the_loaders_speed_are_printed_as_words_or_json() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let info = json(folder, "data info generated");
    assert_eq!(
        (&info["train"], &info["test"]),
        (&3000.into(), &1000.into())
    );
    assert_eq!(info["shape"], serde_json::json!([3, 32, 32]));
    assert_eq!(
        (&info["classes"][9]["train"], &info["classes"][9]["test"]),
        (&300.into(), &100.into())
    );
    let mean = info["channels"][0]["mean"].as_f64().unwrap();
    assert!((0.2..0.8).contains(&mean), "{mean}");
    assert_eq!(info["files"][5]["bytes"], 1000 * 3073);
    assert!(done(folder, "data info generated").contains("10 classes:"));
    assert_eq!(json(folder, "data verify generated")["whole"], true);
    assert_eq!(json(folder, "data fetch generated")["train"], 3000);

    for more in ["", "--split test --augment resnet9"] {
        let arguments = format!("data preview generated -o sheet.png --count 12 {more}");
        assert_eq!(json(folder, &arguments)["pictures"], 12);
        let sheet = image::open(folder.join("sheet.png")).unwrap();
        assert!(sheet.width() > 500 && sheet.height() > 200);
    }

    fs::create_dir(folder.join("taken")).unwrap();
    let said = failed(folder, "data preview generated -o taken");
    assert!(said.contains("taken") && said.contains("no file"), "{said}");

    let arguments = "bench --data generated=50 --batch-size 10 --rounds 1 --seconds 0.04";
    let bench = json(folder, &format!("{arguments} --workers 1,2"));
    for (case, rates) in bench["pictures_per_second"].as_object().unwrap() {
        let rates = rates.as_array().unwrap();
        assert_eq!(rates.len(), 2);
        assert!(rates.iter().all(|rate| rate.as_f64() > Some(0.0)), "{case}");
    }
    let printed = done(folder, arguments);
    assert!(printed.contains("plain loop") && printed.contains("of 1 round\n"));
}

#[test]
fn damaged_data_are_found() {
    let folder = tempfile::tempdir().unwrap();
    feedline_pipeline::dataset::Generated::write(folder.path(), 50, 10).unwrap();
    let said = failed(folder.path(), "data verify cifar10 --data .");
    assert!(said.contains("data_batch_1.bin"), "{said}");
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        "--help",
        "completions bash",
        "data info generated",
        "data info mnist --json",
        &format!("{TRAIN} --epochs 1 --json --record run"),
    ] {
        let mut command = feedline(folder.path());
        command.args(arguments.split_whitespace());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = errors(&output);
        assert!(!said.contains("panicked"), "{said}");
        let expected = i32::from(arguments.contains("mnist"));
        assert_eq!(output.status.code(), Some(expected), "{arguments}: {said}");
    }
    assert!(folder.path().join("run/report.html").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = feedline(folder.path());
    let output = command
        .args(["data", "info", "generated"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("standard output"));
}

#[test]
fn completions_know_the_options() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(folder.path(), &format!("completions {shell}"));
        for word in ["feedline", "preview", "learning-rate", "fashion-mnist"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}
