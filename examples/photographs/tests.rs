//! The photographs are what they should be, both pipelines do the same work, and what is wrong is said.

use std::fs;
use std::path::Path;

use feedline_pipeline::Random;
use image::RgbImage;
use rayon::prelude::*;
use tempfile::TempDir;

use crate::network::network;
use crate::pipelines::Done;
use crate::pipelines::learner::Learner;
use crate::wildlife::{self, NAMES, SIDE, photograph};
use crate::{open, task, train_naive, train_optimised};

fn photographs(count: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    wildlife::write(folder.path(), count, 7).unwrap();
    folder
}

/// What both pipelines make of a folder, each on its own.
fn train(folder: &Path, epochs: u64) -> [Result<(Done, u64), String>; 2] {
    let task = task(epochs, 7);
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    [false, true].map(|is_optimised| {
        let mut learner = Learner::new(&network(10, 7).unwrap(), 7).unwrap();
        let done = match is_optimised {
            false => train_naive(folder, &task, &mut learner),
            true => train_optimised(folder, &cache, &task, &mut learner),
        };
        let done = done.map_err(|error| error.to_string())?;
        Ok((done, learner.fingerprint()))
    })
}

#[test]
fn the_seed_says_what_is_drawn() {
    let [first, second] = [photographs(20), photographs(20)];
    for index in 0..20 {
        let name = format!("{}/{index:05}.jpg", NAMES[index % 10]);
        let [first, second] =
            [&first, &second].map(|own| fs::read(own.path().join(&name)).unwrap());
        assert_eq!(first, second);
        // As large as photographs of this size are.
        assert!((10_000..100_000).contains(&first.len()), "{}", first.len());
    }
    assert_ne!(photograph(3, [7, 3]), photograph(3, [8, 3]));
    // The same on every machine, before the JPEG encoder sees it.
    let all = (0..10).flat_map(|label| photograph(label, [7, label as u64]).into_raw());
    let hash = all.fold(0, |hash, byte| {
        Random::new([hash, u64::from(byte)]).next_u64()
    });
    assert_eq!(hash, GOLDEN);
}

/// To be changed when the photographs are meant to change.
const GOLDEN: u64 = 9_653_589_023_480_677_924;

#[test]
fn the_mean_colour_does_not_say_what_can_be_seen() {
    let mean = |index: usize| {
        let photograph: RgbImage = photograph(index % 10, [7, index as u64]);
        let mut sums = [0.0; 3];
        for pixel in photograph.pixels() {
            for (sum, value) in sums.iter_mut().zip(pixel.0) {
                *sum += f64::from(value) / (SIDE * SIDE) as f64;
            }
        }
        sums
    };
    let means: Vec<_> = (0..600).into_par_iter().map(mean).collect();
    let (known, asked) = means.split_at(400);
    let distance = |a: &[f64; 3], b: &[f64; 3]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    };
    let right = asked.iter().enumerate().filter(|(index, colour)| {
        // The answer of the majority of the 15 whose colours are the nearest.
        let mut order: Vec<_> = (0..known.len()).collect();
        order.sort_by(|&a, &b| distance(&known[a], colour).total_cmp(&distance(&known[b], colour)));
        let mut votes = [0; 10];
        order[..15].iter().for_each(|own| votes[own % 10] += 1);
        let answer = (0..10).max_by_key(|&label| votes[label]);
        answer == Some(index % 10)
    });
    // Guessing has 20 right of 200.
    let right = right.count();
    assert!(right < 50, "{right} of 200 are right");
}

#[test]
fn both_pipelines_train_the_same_weights() {
    let folder = photographs(80);
    let [naive, optimised] = train(folder.path(), 2).map(Result::unwrap);
    assert_eq!(naive.0.history, optimised.0.history);
    assert_eq!(naive.1, optimised.1);
    assert_eq!(naive.0.history.losses.len(), 2);
    assert!(naive.0.stats.is_none() && optimised.0.stats.is_some());
}

#[test]
fn a_damaged_photograph_is_named_by_both_pipelines() {
    let folder = photographs(80);
    let path = folder.path().join("owl/00005.jpg");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    for error in train(folder.path(), 1).map(Result::unwrap_err) {
        assert!(
            error.contains("owl") && error.contains("00005.jpg"),
            "{error}"
        );
    }
}

#[test]
fn a_folder_without_classes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1.jpg"), "").unwrap();
    let missing = folder.path().join("missing");
    for path in [folder.path(), &missing] {
        let error = open(path).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join(NAMES[0]);
    fs::create_dir(&class).unwrap();
    // A device that is always full.
    std::os::unix::fs::symlink("/dev/full", class.join("00000.jpg")).unwrap();
    let error = wildlife::write(folder.path(), 20, 7)
        .unwrap_err()
        .to_string();
    assert!(error.contains("00000.jpg: No space left"), "{error}");
    assert!(error.contains("name another folder"), "{error}");
}
