//! What the processes of a run have to agree on before it begins, and what each of them says.

use std::fmt::Display;
use std::io::Write;

use feedline_pipeline::order::GlobalBatches;
use feedline_pipeline::{Shard, Tail};
use sha2::{Digest, Sha256};

use super::{Input, Trainer};
use crate::checkpoint::Settings;
use crate::collective::{Collective, Phase};
use crate::error::Result;
use crate::nn::{Model, flat};
use crate::optim::Optimizer;
use crate::parallel::{Replica, Replicas, caught};

impl<F, O: Optimizer> Trainer<F, O> {
    /// Refuses to begin if another process was started with other settings or data.
    pub(super) fn agree(
        &self,
        replicas: &Replicas,
        settings: &Settings,
        train: &Input,
        test: Option<&Input>,
    ) -> Result<()> {
        let Some(world) = replicas.world() else {
            return Ok(());
        };
        let mut all = settings.clone();
        let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
        set("length of the run", format!("{:?}", self.length));
        set("evaluation", format!("every {}", self.watch.evaluate_every));
        set("overlap", format!("{:?}", self.overlap));
        set("bucket sizes", format!("{:?}", self.bucket_sizes));
        set("gradients in bf16", self.gradients_in_bf16.to_string());
        set("checkpoints", self.saving.rhythm());
        let sets = [Some(("training", train)), test.map(|test| ("test", test))];
        for (name, input) in sets.into_iter().flatten() {
            let fingerprint = || Ok(input.source.fingerprint()?);
            let fingerprint = caught(replicas.ranks().start, fingerprint)?;
            set(
                &format!("fingerprint of the {name} data"),
                format!("{fingerprint:016x}"),
            );
            set(
                &format!("transform of the {name} data"),
                format!("{:?}", input.transform),
            );
        }
        world.agree("settings", &all)
    }

    /// Says on standard error which share of the data this process reads.
    pub(super) fn say_what_is_read(
        &self,
        replicas: &Replicas,
        train: &Input,
        test: Option<&Input>,
    ) -> Result<()> {
        if !self.progress || replicas.world().is_none() {
            return Ok(());
        }
        let read = |input: &Input, tail| {
            let batches = GlobalBatches::new(input.source.len(), self.batch_size, tail)?;
            let (mut samples, mut all, mut first_rows) = (0, 0, Vec::new());
            for rank in replicas.ranks() {
                let shard = Shard::new(rank, replicas.world_size())?;
                let slices = (0..batches.steps()).map(|step| batches.rows(step, shard));
                first_rows.extend(slices.clone().next());
                samples += slices.clone().map(|own| own.samples).sum::<usize>();
                all = slices.map(|own| own.global_samples).sum();
            }
            let begin = first_rows.first().map_or(0, |own| own.first_row);
            let end = first_rows.last().map_or(0, |own| own.first_row + own.rows);
            Ok::<_, crate::Error>((format!("{samples} of {all}"), begin..end))
        };
        let (samples, rows) = read(train, Tail::Drop)?;
        let mut words = format!(
            "reads rows {} to {} of each batch of {}: {samples} samples an epoch to train on",
            rows.start,
            rows.end.saturating_sub(1),
            self.batch_size,
        );
        if let Some(test) = test {
            words += &format!(", {} to test on", read(test, Tail::Pad)?.0);
        }
        say(replicas, words);
        Ok(())
    }
}

/// Says something on standard error, with the ranks of this process in front. Nobody listening there is no reason to end a
/// run.
fn say(replicas: &Replicas, words: impl Display) {
    // At once, so that lines of several processes do not mix.
    let line = format!("[{}] {words}\n", replicas.place());
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Refuses a model that is not that of the other processes.
pub(super) fn agree_on_model(replica: &Replica, model: &impl Model) -> Result<()> {
    let Some(world) = replica.world() else {
        return Ok(());
    };
    // One of each process speaks for it.
    if replica.rank() != replica.local_ranks().start {
        return Ok(());
    }
    let parameters = model.parameters();
    let mut digest = Sha256::new();
    for own in parameters {
        digest.update(format!(
            "{} {:?} {};",
            own.name,
            own.value.dims(),
            own.trainable
        ));
    }
    let digest: Vec<_> = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let words = format!(
        "{} numbers in {} parameters (digest of their names and shapes {})",
        flat::length(parameters),
        parameters.len(),
        digest.concat()
    );
    world.agree("model", &[("model".to_owned(), words)].into())
}

/// Gives the model of every process the weights that rank 0's has.
pub(super) fn take_over_weights(model: &impl Model, collective: &dyn Collective) -> Result<()> {
    let mut values = flat::read(model.parameters())?;
    collective.note(0, Phase::Weights);
    collective.broadcast(&mut values)?;
    flat::write(model.parameters(), &values)
}
