//! What is done with each broken picture and each broken tar file of pictures, as `bodies.rs` does for other files.
#![allow(dead_code, reason = "each fuzz target uses one of the bodies")]

use feedline_pipeline::source::{Access, Decode, Fit, ImageFolder, TarShards};
use feedline_pipeline::{Error, Source};

/// Small, so that no input claims much memory.
const DECODE: Decode = Decode::rgb(5, 7).fit(Fit::Contain).pixel_limit(1 << 16);

/// One picture, in a folder and in a tar file: the same pixels or the same reason, in the memory that was said to be
/// enough.
pub(crate) fn picture(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("class")).unwrap();
    std::fs::write(folder.path().join("class/a.jpg"), input).unwrap();
    let shard = folder.path().join("shard.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&shard).unwrap());
    for (name, content) in [("a.png", input), ("a.cls", b"0")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    }
    tar.finish().unwrap();

    let in_folder = ImageFolder::open(folder.path(), DECODE).unwrap();
    let mut results = vec![sampled(&in_folder)];
    for access in [Access::Mapped, Access::Copied, Access::Read] {
        let in_tar = TarShards::open_with([&shard], DECODE, access).unwrap();
        results.push(sampled(&in_tar));
    }
    let (first, others) = results.split_first().unwrap();
    for other in others {
        match (first, other) {
            (Ok(first), Ok(other)) => assert_eq!(first, other),
            (Err(_), Err(_)) => {}
            _ => panic!("{first:?} is not {other:?}"),
        }
    }
}

fn sampled(source: &dyn Source) -> Result<Vec<u8>, String> {
    let mut scratch = Vec::with_capacity(source.scratch_bytes());
    let capacity = scratch.capacity();
    let result = source.sample(0, &mut scratch);
    let result = result.map(|sample| sample.pixels.to_vec());
    assert_eq!(scratch.capacity(), capacity);
    result.map_err(|error| match error {
        Error::Sample { source, .. } => source.to_string(),
        other => panic!("{other}"),
    })
}

/// A tar file of pictures: refused with a place in it, or all of its samples lie in it, and can be asked for.
pub(crate) fn shard(input: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shard.tar");
    // The checksums are set right, so that other fields are looked at.
    std::fs::write(&path, super::bodies::with_checksums(input)).unwrap();
    let opened = [Access::Mapped, Access::Copied, Access::Read]
        .map(|access| TarShards::open_with([&path], DECODE, access));
    let messages = opened.each_ref().map(|opened| match opened {
        Ok(shards) => {
            assert!(!shards.is_empty());
            let mut scratch = Vec::with_capacity(shards.scratch_bytes());
            for index in 0..shards.len() {
                assert!((shards.label(index).unwrap() as usize) < shards.classes());
                shards.prefetch(index);
                if let Err(error) = shards.sample(index, &mut scratch) {
                    assert!(matches!(error, Error::Sample { .. }), "{error}");
                }
            }
            shards.fingerprint().unwrap().to_string()
        }
        Err(Error::Malformed { offset, .. }) => {
            assert!(*offset <= input.len() as u64);
            "refused".into()
        }
        Err(other) => panic!("{other}"),
    });
    assert!(
        messages.iter().all(|message| *message == messages[0]),
        "{messages:?}"
    );
}
