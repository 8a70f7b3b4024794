//! Checkpoints that somebody has made to do harm, or chance to look like one.

use super::*;

#[test]
fn what_is_no_plain_file_is_damaged() {
    let all = TempDir::new().unwrap();
    all_steps(all.path());
    let damaged = |change: &dyn Fn(&Path)| {
        let folder = stopped_after(all.path(), 1);
        let path = folder.path().join("step-0000000001");
        change(&path);
        assert_fault(load(&path), CheckpointFault::Damaged, "");
    };
    damaged(&|path| {
        fs::remove_file(path.join(tensors::FILE)).unwrap();
        fs::create_dir(path.join(tensors::FILE)).unwrap();
    });
    damaged(&|path| {
        // Far more than there is memory, though not on the disk.
        let file = fs::File::create(path.join(tensors::FILE)).unwrap();
        file.set_len(1 << 42).unwrap();
    });
    #[cfg(unix)]
    damaged(&|path| {
        for name in [tensors::FILE, manifest::FILE] {
            fs::rename(path.join(name), path.with_file_name(name)).unwrap();
            std::os::unix::fs::symlink(path.with_file_name(name), path.join(name)).unwrap();
        }
    });
    #[cfg(unix)]
    damaged(&|path| {
        fs::rename(path, path.with_file_name("elsewhere")).unwrap();
        std::os::unix::fs::symlink(path.with_file_name("elsewhere"), path).unwrap();
    });
}

/// A checkpoint within an epoch, whose parts can be changed.
fn parts() -> (TempDir, Manifest, Vec<(String, Tensor_)>) {
    let all = TempDir::new().unwrap();
    all_steps(all.path());
    let folder = stopped_after(all.path(), 4);
    let checkpoint = latest(folder.path()).unwrap().unwrap();
    let Checkpoint {
        manifest, tensors, ..
    } = checkpoint;
    (folder, manifest, tensors.0.into_iter().collect())
}

type Tensor_ = super::tensors::Tensor;

#[test]
fn what_is_sealed_well_and_makes_no_sense_is_an_error() {
    let (folder, manifest, tensors) = parts();
    let path = folder.path().join("step-0000000004");
    type Change<'a> = &'a dyn Fn(&mut Manifest, &mut Vec<(String, Tensor_)>);
    let changes: [Change; 9] = [
        &|own, _| own.position.running.step = 2,
        &|own, _| own.position.running.step = usize::MAX,
        &|own, _| own.position.step = 0,
        &|own, _| own.position.epoch = u64::MAX,
        &|own, _| own.parameters[0].shape = vec![usize::MAX, usize::MAX],
        &|own, _| own.optimizer_steps = u64::MAX,
        &|own, _| own.optimizer_steps = 0,
        &|_, tensors| {
            tensors.retain(|(name, _)| name != "optimizer.means");
        },
        &|_, tensors| {
            let short = Tensor_::new(vec![1], vec![1.0]);
            tensors.push(("optimizer.squares".into(), short));
            tensors.sort_by(|one, other| one.0.cmp(&other.0));
            tensors.dedup_by(|one, other| one.0 == other.0);
            let own = tensors.iter_mut().find(|own| own.0 == "optimizer.squares");
            own.unwrap().1 = Tensor_::new(vec![1], vec![1.0]);
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        for (_, other) in folder::list(folder.path()).unwrap() {
            fs::remove_dir_all(other).unwrap();
        }
        fs::create_dir(&path).unwrap();
        let (mut manifest, mut tensors) = (manifest.clone(), tensors.clone());
        change(&mut manifest, &mut tensors);
        let bytes =
            super::tensors::Tensors::encode(&path, tensors.iter().map(|(name, own)| (name, own)))
                .unwrap();
        manifest.tensors.bytes = bytes.len() as u64;
        manifest.tensors.crc32 = crc32fast::hash(&bytes);
        fs::write(path.join(super::tensors::FILE), bytes).unwrap();
        fs::write(path.join(manifest::FILE), manifest.encode().unwrap()).unwrap();
        let error = go_on(folder.path())
            .map(|_| number)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("panicked"), "{number}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn bytes_that_were_changed_or_cut_off_are_noticed(
        place in any::<prop::sample::Index>(),
        flipped in 1u8..,
        cut in any::<bool>(),
        of_tensors in any::<bool>(),
    ) {
        static WHOLE: std::sync::LazyLock<(Vec<u8>, Vec<u8>)> = std::sync::LazyLock::new(|| {
            let (folder, ..) = parts();
            let path = folder.path().join("step-0000000004");
            (fs::read(path.join(tensors::FILE)).unwrap(), fs::read(path.join(manifest::FILE)).unwrap())
        });
        let folder = TempDir::new().unwrap();
        let (mut tensors, mut manifest) = WHOLE.clone();
        let changed = if of_tensors { &mut tensors } else { &mut manifest };
        let place = place.index(changed.len());
        match cut {
            true => changed.truncate(place),
            false => changed[place] ^= flipped,
        }
        // Also what the checksums would have kept away.
        let _ = Tensors::decode(&tensors);
        let _ = Manifest::decode(folder.path(), &manifest);
        fs::write(folder.path().join(tensors::FILE), tensors).unwrap();
        fs::write(folder.path().join(manifest::FILE), manifest).unwrap();
        let error = load(folder.path()).map(|_| ()).unwrap_err();
        let is_own = matches!(error, Error::Checkpoint { .. });
        prop_assert!(is_own, "{}", error);
    }

    #[test]
    fn foreign_bytes_are_errors(bytes in prop::collection::vec(any::<u8>(), 0..64), length in any::<u64>()) {
        let mut headed = length.to_le_bytes().to_vec();
        headed.extend(&bytes);
        prop_assert!(Tensors::decode(&bytes).is_err());
        let _ = Tensors::decode(&headed);
        prop_assert!(Manifest::decode(Path::new("manifest"), &bytes).is_err());
    }

    #[test]
    fn numbers_in_json_have_the_same_bits(bits in any::<u64>()) {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Own(#[serde(with = "number")] f64);
        let value = f64::from_bits(bits);
        let text = serde_json::to_string(&Own(value)).unwrap();
        let Own(read) = serde_json::from_str(&text).unwrap();
        prop_assert!(read.to_bits() == bits || read.is_nan() && value.is_nan(), "{text}");
    }
}
