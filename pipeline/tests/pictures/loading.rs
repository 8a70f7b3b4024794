//! Pictures through a loader: its policy for those that are damaged, and the same bits on any number of workers.

use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::{Decode, ImageFolder, TarShards};
use feedline_pipeline::{Error, Loader, OnError, Source, Tail, Transform};

use crate::common::epoch_bits;
use crate::made::{broken, jpeg, photo, png, tar, write};

const SOUND: usize = 40;

/// A folder and a tar file of the same pictures: sound ones in two classes, and broken ones of every kind.
fn sources(folder: &Path, with_broken: bool) -> [Arc<dyn Source>; 2] {
    let mut files: Vec<(String, usize, Vec<u8>)> = (0..SOUND)
        .map(|number| {
            let picture = photo(10 + 3 * number as u32, 40 - number as u32 / 2);
            let file = match number % 3 {
                0 => jpeg(&picture),
                1 => png(&picture.into()),
                _ => png(&image::DynamicImage::from(picture).into_luma8().into()),
            };
            (format!("sound-{number:02}"), number % 2, file)
        })
        .collect();
    if with_broken {
        files.extend(
            broken()
                .into_iter()
                .enumerate()
                .map(|(number, (file, _))| (format!("broken-{number:02}"), number % 2, file)),
        );
    }
    let root = folder.join("folder");
    let mut names = Vec::new();
    for (name, class, file) in &files {
        write(&root.join(format!("{class}/{name}.jpg")), file);
        names.push((
            format!("{name}.jpg"),
            format!("{name}.cls"),
            class.to_string(),
        ));
    }
    let entries: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&files)
        .flat_map(|((picture, name, class), (_, _, file))| {
            [(&picture[..], &file[..]), (&name[..], class.as_bytes())]
        })
        .collect();
    let path = folder.join("shard.tar");
    write(&path, &tar(&entries));
    let decode = Decode::rgb(12, 16);
    [
        Arc::new(ImageFolder::open(root, decode).unwrap()),
        Arc::new(TarShards::open([path], decode).unwrap()),
    ]
}

fn builder(source: &Arc<dyn Source>, workers: usize) -> LoaderBuilder {
    Loader::builder(Arc::clone(source))
        .batch_size(9)
        .shuffle(true)
        .seed(5)
        .tail(Tail::Pad)
        .workers(workers)
        .transform(
            Transform::new()
                .random_crop(10, 14, 1)
                .random_flip()
                .scale(),
        )
}

#[test]
fn one_worker_and_four_give_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for source in sources(folder.path(), false) {
        let [one, four] = [1, 4].map(|workers| {
            let mut loader = builder(&source, workers).build().unwrap();
            [epoch_bits(&mut loader, 0), epoch_bits(&mut loader, 1)]
        });
        assert_eq!(one, four);
        // Block-wise, too, where the source is told what comes.
        let [one, four] = [1, 4].map(|workers| {
            let blocks = builder(&source, workers).shuffle_blocks(6000);
            epoch_bits(&mut blocks.build().unwrap(), 0)
        });
        assert_eq!(one, four);
    }
}

#[test]
fn broken_pictures_stop_the_loader_unless_it_is_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    for source in sources(folder.path(), true) {
        let mut loader = builder(&source, 2).build().unwrap();
        let error = loader.epoch(0).find_map(Result::err).unwrap();
        assert!(matches!(error, Error::Sample { .. }), "{error}");
        assert!(error.to_string().contains("broken-"), "{error}");
    }
}

#[test]
fn broken_pictures_are_skipped_or_replaced_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let bad = broken().len();
    for source in sources(folder.path(), true) {
        for policy in [
            OnError::Skip { at_most: 2 * bad },
            OnError::Replace { at_most: 2 * bad },
        ] {
            let [one, four] = [1, 4].map(|workers| {
                let mut loader = builder(&source, workers).on_error(policy).build().unwrap();
                let mut failures = Vec::new();
                let mut samples = 0;
                let mut bits = Vec::new();
                for batch in loader.epoch(0) {
                    let batch = batch.unwrap();
                    samples += batch.info().samples;
                    failures.extend(batch.failures().iter().map(|failure| failure.index));
                    bits.push(crate::common::bits(&batch));
                }
                failures.sort_unstable();
                (failures, samples, bits)
            });
            assert_eq!(one, four);
            let (failures, samples, _) = one;
            // Each of them, once, and no other.
            let mut scratch = Vec::new();
            let expected: Vec<_> = (0..source.len())
                .filter(|&index| source.sample(index, &mut scratch).is_err())
                .collect();
            assert_eq!(failures, expected);
            assert_eq!(expected.len(), bad);
            let all = SOUND + bad;
            let kept = match policy {
                OnError::Skip { .. } => SOUND,
                _ => all,
            };
            assert_eq!(samples, kept, "{policy:?}");
        }
        let policy = OnError::Skip { at_most: bad - 1 };
        let mut loader = builder(&source, 2).on_error(policy).build().unwrap();
        let error = loader.epoch(0).find_map(Result::err).unwrap();
        assert!(matches!(error, Error::TooManyFailures { .. }), "{error}");
    }
}
