//! Against central differences of an interpreter's losses.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

/// Networks that were looked at, and all.
static NETWORKS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// Parameters of the former that were compared, and all.
static PARAMETERS: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

/// What a parameter is moved by.
const STEP: f64 = 1e-5;

/// The slopes by every parameter; `None` where a rectifier or a pool changes its mind within a step, so that there is no
/// slope.
fn slopes(naive: &Naive, parameters: &mut [Vec<f64>], rows: &Rows) -> Vec<Option<f64>> {
    let pattern = naive.run(parameters, rows).pattern;
    let mut slopes = Vec::new();
    for parameter in 0..parameters.len() {
        for index in 0..parameters[parameter].len() {
            let here = parameters[parameter][index];
            let [above, below] = [STEP, -STEP].map(|step| {
                parameters[parameter][index] = here + step;
                naive.run(parameters, rows)
            });
            parameters[parameter][index] = here;
            let smooth = above.pattern == pattern && below.pattern == pattern;
            slopes.push(smooth.then(|| (above.loss - below.loss) / (2.0 * STEP)));
        }
    }
    slopes
}

fn assert_slopes(naive: &Naive, network: &Sequential, rows: &Rows) {
    let mut parameters = naive::numbers(network, true);
    let outcome = naive.run(&parameters, rows);
    NETWORKS[1].fetch_add(1, Relaxed);
    // Numbers in `f32` may be on the other side.
    if outcome.margin < 5e-6 {
        return;
    }
    NETWORKS[0].fetch_add(1, Relaxed);
    let slopes = slopes(naive, &mut parameters, rows);
    PARAMETERS[1].fetch_add(slopes.len(), Relaxed);
    PARAMETERS[0].fetch_add(slopes.iter().flatten().count(), Relaxed);
    for isa in Isa::available() {
        let found = engine_step(network, rows, isa, 1);
        let loss = f64::from(SHARE) * found.totals.loss;
        assert!((loss - outcome.loss).abs() <= 1e-5 * (1.0 + outcome.loss));
        let expected = slopes.iter().zip(&found.gradients);
        let expected = expected.map(|(slope, &found)| slope.map_or(found, |slope| slope as f32));
        let expected: Vec<_> = expected.collect();
        let (error, place) = worst(network, &found.gradients, &expected, 0.1);
        assert!(error <= 1e-4, "{isa:?}: {error:e}: {place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    fn check_gradients(
        (channels, height, width) in (1usize..5, 1usize..8, 1usize..8),
        blocks in prop::collection::vec(block(), 0..3),
        (rows, hidden, seed) in (1usize..4, 1usize..7, any::<u64>()),
        evaluation in prop::bool::weighted(0.2),
    ) {
        let mut blocks = blocks;
        for block in &mut blocks {
            // Small enough for two passes for every parameter.
            block.filters = 1 + block.filters % 5;
        }
        let (input, ops) = ([channels, height, width], ops(&blocks, hidden));
        let network = network(input, &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let random = &mut Random::new([seed]);
        // Biases and shifts begin as 0 and scales as 1, where wrong code may look right.
        set(&network, |own| {
            let count = own.value.elem_count();
            let vector = own.value.dims().len() == 1;
            vector.then(|| (0..count).map(|_| random.uniform(0.2, 1.2)).collect())
        });
        let mut rows = Rows::new(&network, rows, false, random);
        if evaluation {
            rows.pass = Pass::evaluation();
        }
        // Before training changes them.
        let statistics = naive::numbers(&network, false);
        assert_slopes(&Naive { input, ops, statistics }, &network, &rows);
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    check_gradients();
    for (what, counts, least) in [
        ("networks", &NETWORKS, 30),
        ("parameters", &PARAMETERS, 2000),
    ] {
        let [compared, all] = counts.each_ref().map(|count| count.load(Relaxed));
        println!("compared {compared} of {all} {what}");
        assert!(
            all >= least && compared * 10 >= all * 9,
            "{compared} of {all} {what}"
        );
    }
}
