//! Both pipelines must do the same work, or comparing them says nothing.

use std::sync::Arc;

use candle_core::Device;
use feedline_pipeline::dataset::Generated;
use feedline_pipeline::order::Order;
use feedline_pipeline::{Source, Tail};
use feedline_trainer::nn::{Flatten, Linear, Sequential};
use tempfile::TempDir;

use crate::learner::Learner;
use crate::measured::{Done, Measured};
use crate::recorder::{Mark, Recorder, Stage};
use crate::storage::{Files, PictureFolder, RecordsInTurn, record_format, write_records};
use crate::task::Task;
use crate::{fed, naive};

const TASK: Task = Task {
    epochs: 2,
    batch_size: 16,
    seed: 5,
    crop: 24,
};

/// 40 PNG files to train on and 10 to test on, and the same decoded into record files.
struct Setting {
    folder: TempDir,
    pictures: [PictureFolder; 2],
    recorder: Arc<Recorder>,
}

impl Setting {
    fn new() -> Self {
        let (folder, recorder) = (tempfile::tempdir().unwrap(), Arc::new(Recorder::new()));
        let data = Generated::open(50, 20).unwrap();
        let pictures =
            [("train", data.train, 40), ("test", data.test, 10)].map(|(name, source, count)| {
                let path = folder.path().join(name);
                let written = PictureFolder::write(&path, &*source, count, 48, &recorder).unwrap();
                let records = folder.path().join(format!("{name}.bin"));
                write_records(&records, Arc::new(written.clone()), &recorder).unwrap();
                written
            });
        Self {
            folder,
            pictures,
            recorder,
        }
    }

    fn records(&self, name: &str) -> RecordsInTurn {
        let path = self.folder.path().join(name);
        RecordsInTurn::new(&path, Files::shape(&self.pictures[0]), &self.recorder).unwrap()
    }

    fn learner(&self) -> Learner {
        let network = Sequential::builder([3, 24, 24])
            .add(Flatten)
            .add(Linear::new(10));
        Learner::new(&network.build(1, &Device::Cpu).unwrap(), 1).unwrap()
    }

    fn run_naive(&self) -> Measured {
        let mut learner = self.learner();
        let [mut train, mut test] = self.pictures.clone();
        let run = || {
            let recorder = &self.recorder;
            let history = naive::run(&TASK, &mut train, &mut test, &mut learner, recorder)?;
            Ok(Done::new(history, &learner))
        };
        Measured::of(&self.recorder, run).unwrap()
    }

    fn run_fed(&self) -> Measured {
        let mut learner = self.learner();
        let paths = ["train.bin", "test.bin"].map(|name| self.folder.path().join(name));
        let run = || {
            let format = record_format(Files::shape(&self.pictures[0]), 10);
            let paths = [&*paths[0], &*paths[1]];
            let history = fed::run(&TASK, paths, format, &mut learner, &self.recorder)?;
            Ok(Done::new(history, &learner))
        };
        Measured::of(&self.recorder, run).unwrap()
    }
}

#[test]
fn all_ways_to_read_give_the_same_batches() {
    let setting = Setting::new();
    let [augmented, plain] = TASK.transforms();
    let cases = [
        (0, "train.bin", augmented, true),
        (1, "test.bin", plain, false),
    ];
    for (set, name, transform, shuffled) in cases {
        let mut pictures = setting.pictures[set].clone();
        let mut records = setting.records(name);
        assert_eq!(pictures.count(), records.count());
        let shape = Files::shape(&pictures);
        let mut prepared = transform.prepare(shape, TASK.seed).unwrap();
        let path = setting.folder.path().join(name);
        let format = record_format(shape, pictures.classes());
        let loader = fed::loader(&TASK, &path, format, transform, &setting.recorder).unwrap();
        let loader = loader.shuffle(shuffled).tail(Tail::Pad).workers(2);
        let mut loader = loader.build().unwrap();
        let order = match shuffled {
            true => Order::shuffled(records.count(), TASK.seed),
            false => Order::sequential(records.count()),
        };
        for epoch in [0, 1] {
            let mut seen = 0;
            for batch in loader.epoch(epoch) {
                let batch = batch.unwrap();
                let samples = batch.info().samples;
                let order = order.epoch(epoch);
                let indices: Vec<_> = (seen..seen + samples).map(|at| order.index(at)).collect();
                seen += samples;
                assert_eq!(indices, batch.indices());
                for files in [&mut pictures as &mut dyn Files, &mut records] {
                    let recorder = &setting.recorder;
                    let (images, labels) =
                        naive::load(files, &indices, epoch, &mut prepared, recorder).unwrap();
                    assert_eq!(images, batch.pixels()[..images.len()]);
                    assert_eq!(labels, batch.labels()[..samples]);
                }
            }
            assert_eq!(seen, records.count());
        }
    }
}

#[test]
fn both_pipelines_train_the_same_weights() {
    let setting = Setting::new();
    let (naive, fed) = (setting.run_naive(), setting.run_fed());
    assert_eq!(naive.history, fed.history);
    assert_eq!(naive.fingerprint, fed.fingerprint);
    assert_eq!(
        (naive.history.losses.len(), naive.history.correct.len()),
        (2, 2)
    );
    // A network that has seen other batches is another one.
    assert_ne!(setting.learner().fingerprint(), fed.fingerprint);
}

#[test]
fn what_one_thread_does_follows_in_turn() {
    let setting = Setting::new();
    let naive = setting.run_naive();
    let threads = |marks: &[Mark]| {
        let mut threads: Vec<_> = marks.iter().map(|mark| mark.thread).collect();
        threads.sort_unstable();
        threads.dedup();
        threads
    };
    assert_eq!(threads(&naive.marks).len(), 1);
    for run in [&naive, &setting.run_fed()] {
        for thread in threads(&run.marks) {
            let own = run.marks.iter().filter(|mark| mark.thread == thread);
            let own: Vec<_> = own.collect();
            let in_turn = |pair: &[&Mark]| pair[0].end <= pair[1].start;
            assert!(own.windows(2).all(in_turn), "{own:?}");
        }
    }
}

#[test]
fn every_sample_is_noted_once_a_stage() {
    let setting = Setting::new();
    let count = |run: &Measured, stage| {
        let marks = run.marks.iter().filter(|mark| mark.stage == stage);
        marks.count()
    };
    // Two epochs of two full batches of 16 to train on, and of 10 to test on.
    let samples = 2 * (2 * 16 + 10);
    let naive = setting.run_naive();
    for stage in [
        Stage::Open,
        Stage::Read,
        Stage::Decode,
        Stage::Transform,
        Stage::Copy,
    ] {
        assert_eq!(count(&naive, stage), samples, "{stage:?}");
    }
    let fed = setting.run_fed();
    assert_eq!(count(&fed, Stage::Open), 2);
    // The loader may have begun with the next epoch, and have been stopped in the middle of a sample.
    assert!(count(&fed, Stage::Transform) >= samples);
    assert!(count(&fed, Stage::Read) >= count(&fed, Stage::Transform));
    for run in [&naive, &fed] {
        assert_eq!(
            (count(run, Stage::Train), count(run, Stage::Evaluate)),
            (4, 2)
        );
        assert!(run.total(Stage::Train).unwrap() + run.waited() <= run.wall);
    }
    assert_eq!((count(&naive, Stage::Wait), naive.cache), (0, None));
}

#[test]
fn a_part_of_a_timeline_is_cut_to_its_length() {
    let setting = Setting::new();
    let naive = setting.run_naive();
    let whole = naive.timeline("all");
    assert_eq!(whole.spans.len(), naive.marks.len());
    let length = naive.step();
    let part = naive.part("part", length);
    let first = part.spans.iter().map(|span| span.start).min().unwrap();
    let last = part.spans.iter().map(|span| span.end).max().unwrap();
    assert!(last - first <= length && part.spans.len() < whole.spans.len());
}
