//! Networks of random shape, against candle's tape in `f64`: the CPU's convolutions round more than these tests allow.

use proptest::prelude::*;

use super::*;
use crate::engine::tests::naive::{Naive, numbers};
use crate::engine::tests::{Block, Op, block, network, ops, tape_step};

/// Where something is at the edge of a rectifier, or two numbers of a pool are nearly the same, rounding decides where
/// gradients go.
fn is_at_an_edge(input: [usize; 3], ops: Vec<Op>, network: &Sequential, rows: &Rows) -> bool {
    let naive = Naive {
        input,
        ops,
        statistics: numbers(network, false),
    };
    naive.run(&numbers(network, true), rows).margin < 1e-5
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn gradients_are_those_of_candles_tape(
        (channels, height, width) in (1usize..20, 1usize..12, 1usize..12),
        blocks in prop::collection::vec(block(), 0..3),
        (rows, hidden, seed, training) in (1usize..20, 1usize..40, any::<u64>(), any::<bool>()),
    ) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let (input, ops) = ([channels, height, width], ops(&blocks, hidden));
        let network = network(input, &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let mut rows = Rows::new(&network, rows, false, &mut Random::new([seed]));
        if !training {
            rows.pass = Pass::evaluation();
        }
        let expected = tape_step(&network, &rows);
        let step = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        // In front of a batch normalization a bias' gradient is 0, but for the rounding of large numbers that cancel out.
        let tolerance = if blocks.iter().any(|own| own.norm) { 1e-4 } else { 1e-5 };
        if let Err(difference) = difference(&network, &step, &expected, tolerance) {
            prop_assert!(is_at_an_edge(input, ops, &network, &rows), "{difference}");
        }
    }

    #[test]
    fn uneven_borders_are_zeros(
        (channels, height, width) in (1usize..5, 1usize..9, 1usize..9),
        (filters, kernel, stride, rows, seed) in (1usize..5, 1usize..7, 1usize..4, 1usize..5, any::<u64>()),
    ) {
        let Some(gpu) = gpu() else { return Ok(()) };
        let block = Block {
            norm_before: false, filters, kernel, stride, same: true, relu: 0, pool: None, norm: false, dropout: false,
        };
        let input = [channels, height, width];
        // The second one's input has a gradient.
        let ops = [ops(&[block.clone(), block], 3)[..2].to_vec(), vec![Op::Flatten, Op::Linear(3)]].concat();
        let network = network(input, &ops, seed).unwrap();
        let rows = Rows::new(&network, rows, false, &mut Random::new([seed]));
        let expected = tape_step(&network, &rows);
        let step = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        prop_assert_eq!(difference(&network, &step, &expected, 1e-5), Ok(()));
    }
}
