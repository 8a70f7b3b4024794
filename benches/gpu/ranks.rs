//! NCCL by itself: ranks in processes of their own, which sum numbers.

use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::nccl::{Comm, Id, ReduceOp, result::NcclError};

use crate::child;
use crate::clock::{self, Length};
use crate::figures::{Figure, Outcome};
use crate::machine::is_simulated;

/// As many gradients as `cifar_cnn` has.
const NUMBERS: usize = 1_068_810;
/// Allows NCCL from 2.30 on to have several ranks on a GPU.
const SHARED_GPU: &str = "NCCL_MULTI_RANK_GPU_ENABLE";

/// For all that a rank does. One that waits for a rank that has failed does not notice.
const DEADLINE: Duration = Duration::from_secs(60);

/// One rank of several.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Rank {
    pub(crate) rank: usize,
    pub(crate) ranks: usize,
    /// What several ranks find each other by, in hexadecimal digits
    pub(crate) id: Option<String>,
}

impl Rank {
    pub(crate) fn measure(&self, gpu: &Gpu, length: Length) -> Result<Vec<Figure>, Box<dyn Error>> {
        let stream = gpu.stream();
        stream.context().bind_to_thread()?;
        let id = match &self.id {
            Some(digits) => parse(digits)?,
            None => Id::new().map_err(refused)?,
        };
        let communicator =
            Comm::from_rank(stream.clone(), self.rank, self.ranks, id).map_err(refused)?;

        let own = stream.clone_htod(&vec![self.rank as f32 + 1.0; NUMBERS])?;
        let mut sums = stream.alloc_zeros::<f32>(NUMBERS)?;
        let sum = ReduceOp::Sum;
        communicator
            .all_reduce(&own, &mut sums, &sum)
            .map_err(refused)?;
        let expected = (self.ranks * (self.ranks + 1) / 2) as f32;
        let found = stream.clone_dtoh(&sums)?;
        if let Some(wrong) = found.iter().find(|sum| **sum != expected) {
            return Err(format!("a sum over the ranks is {wrong}, not {expected}").into());
        }
        // All ranks must do it as often.
        let steps = Some(length.steps.unwrap_or(100));
        let milliseconds = clock::milliseconds(gpu, Length { steps, ..length }, || {
            communicator
                .all_reduce(&own, &mut sums, &sum)
                .map_err(refused)?;
            Ok(())
        })?;
        stream.synchronize()?;
        let work = format!("sum of {NUMBERS} f32");
        let system = format!(
            "{} rank{}",
            self.ranks,
            if self.ranks == 1 { "" } else { "s on one GPU" }
        );
        Ok(vec![
            Figure::new(&work, &system, "ms", milliseconds),
            Figure::new(
                &work,
                &system,
                "GB/s",
                NUMBERS as f64 * 4.0 / milliseconds / 1e6,
            ),
        ])
    }
}

/// Has so many processes sum numbers on the first GPU. Those of several ranks are skipped where the library refuses.
pub(crate) fn run(ranks: usize, length: Length) -> Outcome {
    if ranks > 1 && is_simulated() {
        return Outcome::Skipped(
            "two ranks on one GPU: the simulated NCCL knows no other process".into(),
        );
    }
    let id = match Id::new() {
        Ok(id) => id,
        Err(error) => return Outcome::Failed(refused(error)),
    };
    let digits = id.internal().iter();
    let digits: String = digits.map(|byte| format!("{:02x}", *byte as u8)).collect();
    let (ended, outcomes) = mpsc::channel();
    for rank in 0..ranks {
        let words = ["rank".into(), rank.to_string(), ranks.to_string()];
        let id = (ranks > 1).then(|| digits.clone());
        let ended = ended.clone();
        thread::spawn(move || {
            let outcome = child::run_to_the_end(&words, DEADLINE, |command| {
                command.args(id).args(length.arguments());
                command.env(SHARED_GPU, "1").env("NCCL_DEBUG", "WARN");
            });
            let _ = ended.send(outcome);
        });
    }
    drop(ended);
    // The first that fails says why; the others miss it.
    let all: Vec<_> = outcomes.iter().collect();
    let failed = all
        .iter()
        .find(|outcome| !matches!(outcome, Outcome::Done(_)));
    match failed.or(all.first()) {
        Some(Outcome::Failed(reason)) if ranks > 1 && reason.contains("ncclInvalidUsage") => {
            Outcome::Skipped(format!(
                "two ranks on one GPU, which NCCL allows from 2.30 on: {reason}"
            ))
        }
        Some(outcome) => outcome.clone(),
        None => Outcome::Failed("no rank could be started".into()),
    }
}

fn parse(digits: &str) -> Result<Id, Box<dyn Error>> {
    let bytes = (0..digits.len()).step_by(2).map(|place| {
        let digits = digits.get(place..place + 2).unwrap_or_default();
        u8::from_str_radix(digits, 16).map(|byte| byte as _)
    });
    let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
    Ok(Id::uninit(
        bytes.try_into().map_err(|_| "the id has not 128 bytes")?,
    ))
}

fn refused(error: NcclError) -> String {
    format!("NCCL refuses: {:?}", error.0)
}
