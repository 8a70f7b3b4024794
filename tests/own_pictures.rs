//! The command `feedline` on somebody's own pictures.

mod common;

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage};
use serde_json::Value;

use common::{done, errors, json, run};

fn failed(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments}");
    errors(&output)
}

/// A run of a second or two.
fn train(data: &str) -> String {
    format!("train --model cifar-cnn --data {data} --epochs 2 --replicas 1 --threads 1")
}

/// A picture in which the class' colour can be seen, of any size.
fn picture(path: &Path, class: usize, number: usize) {
    let colour = [[220, 30, 30], [30, 200, 60], [40, 60, 230]][class];
    let (width, height) = (40 + 3 * number as u32, 36 + 5 * (number % 4) as u32);
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb(colour.map(|value: u8| value.wrapping_add(((x * 7 + y * 3) % 20) as u8)))
    });
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// `count` pictures of each class.
fn pictures(folder: &Path, classes: &[&str], count: usize) {
    for (class, name) in classes.iter().enumerate() {
        for number in 0..count {
            picture(
                &folder.join(name).join(format!("{number:02}.png")),
                class,
                number,
            );
        }
    }
}

#[test]
fn a_folder_of_classes_is_split_trained_on_and_its_network_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(&folder.join("fruit"), &["apple", "lime", "plum"], 20);

    let output = run(folder, &train("images=fruit"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let said = errors(&output);
    assert!(
        said.contains("fruit has no folders train and test: 12 of its 60 pictures are set aside"),
        "{said}"
    );
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(
        words.contains("fruit: 48 pictures to train on, 12 to test on; 2 epochs, batches of 48"),
        "{words}"
    );
    let run_folder = folder.join("runs/cifar-cnn-1");
    assert!(run_folder.join("report.html").exists());

    // All that is needed is with the run, also where the pictures are gone.
    let config: Value =
        serde_json::from_slice(&fs::read(run_folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["data"]["name"], "fruit");
    assert_eq!(
        config["data"]["classes"],
        serde_json::json!(["apple", "lime", "plum"])
    );
    picture(&folder.join("new.png"), 1, 7);
    fs::rename(folder.join("fruit"), folder.join("elsewhere")).unwrap();
    let predicted = json(
        folder,
        "predict runs/cifar-cnn-1 new.png elsewhere/plum/03.png --top 3",
    );
    for picture in predicted["pictures"].as_array().unwrap() {
        let classes = picture["classes"].as_array().unwrap();
        let mut names: Vec<_> = classes
            .iter()
            .map(|own| own["class"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["apple", "lime", "plum"]);
    }
    done(folder, "report runs/cifar-cnn-1");
}

#[test]
fn folders_to_train_and_to_test_on_are_taken_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train_set = folder.join("fruit/train");
    pictures(&train_set, &["apple", "lime", "plum"], 6);
    for name in ["test", "val", "valid", "validation"] {
        // A class may have no picture to test on.
        pictures(&folder.join("fruit").join(name), &["apple", "lime"], 2);
        let output = run(folder, "data info images=fruit --json");
        assert_eq!(errors(&output), "", "nothing is set aside");
        let info: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&info["train"], &info["test"]), (&18.into(), &4.into()));
        assert_eq!(info["shape"], serde_json::json!([3, 32, 32]));
        assert_eq!(
            info["classes"][2],
            serde_json::json!({ "name": "plum", "train": 6, "test": 0 })
        );
        fs::remove_dir_all(folder.join("fruit").join(name)).unwrap();
    }
    // Then there is nothing beside `train`.
    let info = json(folder, "data info images=fruit");
    assert_eq!((&info["train"], &info["test"]), (&14.into(), &4.into()));
    assert_eq!(info["classes"][0]["name"], "apple");
    // And a train may be a class.
    pictures(&folder.join("traffic"), &["car", "train"], 5);
    let info = json(folder, "data info images=traffic");
    assert_eq!(info["classes"][1]["name"], "train");
}

#[test]
fn pictures_can_be_looked_at_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(&folder.join("fruit"), &["apple", "lime"], 5);
    done(folder, "data verify images=fruit");
    for option in [
        "",
        "--augment cifar-cnn",
        "--augment mnist-cnn",
        "--split test",
    ] {
        let written = done(folder, &format!("data preview images=fruit {option}"));
        assert_eq!(written.trim(), "fruit.png");
        assert!(image::open(folder.join("fruit.png")).is_ok());
    }
    fs::write(folder.join("fruit/lime/02.png"), b"no picture").unwrap();
    let said = failed(folder, "data verify images=fruit");
    assert!(said.contains("02.png"), "{said}");
}

#[test]
fn the_same_pictures_are_set_aside_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(&folder.join("fruit"), &["apple", "lime"], 5);
    let mut sheets = Vec::new();
    for _ in 0..2 {
        done(folder, "data preview images=fruit --split test --seed 3");
        sheets.push(fs::read(folder.join("fruit.png")).unwrap());
    }
    assert_eq!(sheets[0], sheets[1]);
}

#[test]
fn what_is_wrong_with_a_folder_is_said_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(&folder.join("one"), &["apple"], 5);
    pictures(&folder.join("broken"), &["apple", "lime"], 10);
    fs::write(folder.join("broken/lime/02.png"), b"no picture").unwrap();
    fs::write(folder.join("broken/lime/03.png"), b"no picture").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    pictures(&folder.join("half"), &["apple"], 5);
    fs::create_dir(folder.join("half/lime")).unwrap();
    pictures(&folder.join("other/train"), &["apple", "lime"], 5);
    pictures(&folder.join("other/test"), &["apple", "pear"], 5);
    let before = fs::read_dir(folder).unwrap().count();
    for (data, expected) in [
        ("images=none", "none"),
        (
            "images=one",
            "number of classes is 1 (apple), in one, expected at least 2",
        ),
        ("images=empty", "empty"),
        ("images=half", "half/lime"),
        ("images=other", "other/test/pear"),
        ("images=one/apple/00.png", "00.png"),
        ("images=", "cannot"),
        ("npy=one", "images.npy"),
    ] {
        let said = failed(folder, &train(data));
        assert!(said.contains(expected), "{data}: {said}");
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), before);
    let said = failed(folder, &train("images=broken"));
    assert!(said.contains("broken/lime/0"), "{said}");
    for arguments in [
        "train --model cifar-cnn --data images=broken --download",
        "data fetch images=broken",
    ] {
        let output = run(folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
    }
}

/// A NumPy file.
fn npy(path: &Path, element: &str, shape: &str, bytes: &[u8]) {
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let start = [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..]].concat();
    fs::write(path, [&start, text.as_bytes(), bytes].concat()).unwrap();
}

#[test]
fn numpys_arrays_are_trained_on_in_either_order_of_axes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let labels: Vec<u8> = (0..20).flat_map(|i| [i % 3, 0]).collect();
    let pixels: Vec<u8> = (0..20 * 3072).map(|i| (i % 251) as u8).collect();
    for (name, shape) in [("hwc", "(20, 32, 32, 3)"), ("chw", "(20, 3, 32, 32)")] {
        fs::create_dir(folder.join(name)).unwrap();
        npy(&folder.join(name).join("images.npy"), "|u1", shape, &pixels);
        npy(
            &folder.join(name).join("labels.npy"),
            "<i2",
            "(20,)",
            &labels,
        );
        let info = json(folder, &format!("data info npy={name}"));
        assert_eq!((&info["train"], &info["test"]), (&16.into(), &4.into()));
        assert_eq!(info["classes"].as_array().unwrap().len(), 3);
    }
    done(folder, &train("npy=hwc"));
    fs::create_dir_all(folder.join("parts/train")).unwrap();
    fs::create_dir_all(folder.join("parts/test")).unwrap();
    for part in ["train", "test"] {
        for name in ["images.npy", "labels.npy"] {
            fs::copy(
                folder.join("chw").join(name),
                folder.join("parts").join(part).join(name),
            )
            .unwrap();
        }
    }
    let info = json(folder, "data info npy=parts");
    assert_eq!((&info["train"], &info["test"]), (&20.into(), &20.into()));

    npy(
        &folder.join("chw/images.npy"),
        "|u1",
        "(20, 3, 1024)",
        &pixels,
    );
    let said = failed(folder, "data info npy=chw");
    assert!(
        said.contains("(number, height, width, 3) or (number, 3, height, width)"),
        "{said}"
    );
    npy(
        &folder.join("chw/images.npy"),
        "<f4",
        "(20, 3, 16, 16)",
        &pixels,
    );
    let said = failed(folder, "data info npy=chw");
    assert!(said.contains("images.astype('uint8')"), "{said}");
}
