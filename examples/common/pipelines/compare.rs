//! Both pipelines in turn, and whether they did the same work.

use feedline_pipeline::BoxError;
use feedline_trainer::nn::Sequential;
use feedline_trainer::run::SpanRecorder;

use super::learner::Learner;
use super::measured::{Measured, median};
use super::{Done, Task};

/// The same training behind both pipelines: the run of each that took the median time.
pub(crate) struct Compared {
    pub(crate) naive: Measured,
    pub(crate) optimised: Measured,
}

/// Trains `network` behind both, `rounds` times in turn.
pub(crate) fn compare(
    rounds: usize,
    network: &Sequential,
    task: &Task,
    recorder: &SpanRecorder,
    mut naive: impl FnMut(&mut Learner) -> Result<Done, BoxError>,
    mut optimised: impl FnMut(&mut Learner) -> Result<Done, BoxError>,
) -> Result<Compared, BoxError> {
    // The first step touches memory for the first time: that is to be nobody's time.
    let row = 3 * task.crop * task.crop;
    let (images, labels) = (vec![0.0; task.batch_size * row], vec![0; task.batch_size]);
    Learner::new(network, task.seed)?.train(&images, &labels)?;
    let (mut naive_runs, mut optimised_runs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let measure = |name: &str, run: &mut dyn FnMut(&mut Learner) -> _| {
            let mut learner = Learner::new(network, task.seed)?;
            let measured = Measured::of(recorder, &mut learner, run)?;
            let wall = measured.wall.as_secs_f64();
            eprintln!("  round {round} of {rounds}, {name}: {wall:.2} s");
            Ok::<_, BoxError>(measured)
        };
        naive_runs.push(measure("naive", &mut naive)?);
        optimised_runs.push(measure("optimised", &mut optimised)?);
    }
    let all: Vec<_> = naive_runs.iter().chain(&optimised_runs).collect();
    let trained = |run: &Measured| (run.fingerprint, run.done.history.clone());
    if all
        .windows(2)
        .any(|pair| trained(pair[0]) != trained(pair[1]))
    {
        return Err("the pipelines did not train to the same weights: please report this".into());
    }
    match (median(naive_runs), median(optimised_runs)) {
        (Some(naive), Some(optimised)) => Ok(Compared { naive, optimised }),
        _ => Err("there must be a round".into()),
    }
}
