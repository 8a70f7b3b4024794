//! Against candle's tape, in `f64`.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn gradients_are_those_of_candles_tape(
        (channels, height, width) in (1usize..20, 1usize..12, 1usize..12),
        blocks in prop::collection::vec(block(), 0..3),
        (rows, hidden, seed) in (1usize..20, 1usize..40, any::<u64>()),
    ) {
        let (input, ops) = ([channels, height, width], ops(&blocks, hidden));
        let network = network(input, &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let rows = Rows::new(&network, rows, false, &mut Random::new([seed]));
        assert_agrees(input, ops, &network, &rows);
    }

    #[test]
    fn evaluation_has_gradients_too(
        (channels, height, width) in (1usize..20, 1usize..9, 1usize..9),
        block in block(),
        (rows, hidden, seed) in (1usize..9, 1usize..20, any::<u64>()),
    ) {
        // With what evaluation treats in another way than training.
        let block = Block { norm: true, dropout: true, ..block };
        let (input, ops) = ([channels, height, width], ops(&[block], hidden));
        let network = network(input, &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let random = &mut Random::new([seed]);
        set(&network, |own| {
            let count = own.value.elem_count();
            (!own.trainable).then(|| (0..count).map(|_| random.uniform(0.1, 1.5)).collect())
        });
        let rows = Rows::new(&network, rows, false, random);
        let rows = Rows { pass: Pass::evaluation(), ..rows };
        assert_agrees(input, ops, &network, &rows);
    }

    #[test]
    fn of_equal_values_the_first_gets_the_gradient(
        (channels, height, width) in (1usize..20, 1usize..12, 1usize..12),
        blocks in prop::collection::vec(block(), 1..3),
        (rows, hidden, seed) in (1usize..12, 1usize..20, any::<u64>()),
    ) {
        let mut blocks = blocks;
        let mut inputs = channels;
        for block in &mut blocks {
            // Means are not exact, nor is Winograd's convolution, which takes kernels of three and five pixels where there
            // are channels enough. Without ties on the way, there is nothing to see.
            (block.norm, block.norm_before, block.dropout) = (false, false, false);
            if inputs >= 4 && matches!(block.kernel, 3 | 5) {
                block.kernel -= 1;
            }
            inputs = block.filters;
            let (_, stride, same) = block.pool.unwrap_or((2, 1, false));
            block.pool = Some((2, stride, same));
        }
        let (input, ops) = ([channels, height, width], ops(&blocks, hidden));
        let network = network(input, &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let random = &mut Random::new([seed]);
        let mut fan_in = 1;
        set(&network, |own| {
            // Multiples of a power of two: so small that the logits are not beyond all measure.
            let dims = own.value.dims();
            if let [_, channels, kernel, _] = *dims {
                fan_in = channels * kernel * kernel;
            }
            let unit = (fan_in.next_power_of_two().ilog2() as f32 / -2.0).floor().exp2();
            let count = own.value.elem_count();
            let mut draw = || unit * (random.below(3) as f32 - 1.0);
            own.name.starts_with("conv").then(|| (0..count).map(|_| draw()).collect())
        });
        let rows = Rows::new(&network, rows, true, random);
        assert_agrees(input, ops, &network, &rows);
    }
}

#[test]
fn the_networks_gradients_are_those_of_candles_tape() {
    let device = Device::Cpu;
    for (network, rows) in [
        (models::softmax(1, &device).unwrap(), 20),
        (models::mnist_cnn(0.5, 1, &device).unwrap(), 20),
        (models::cifar_cnn(0.5, 1, &device).unwrap(), 10),
    ] {
        let rows = Rows::new(&network, rows, false, &mut Random::new([1]));
        assert_eq!(difference(&network, &rows, (2e-5, 0.0)), Ok(()));
    }
}

#[test]
fn the_residual_networks_gradients_are_those_of_candles_tape() {
    let network = models::resnet9(4, 1, &Device::Cpu).unwrap();
    let rows = Rows::new(&network, 6, false, &mut Random::new([1]));
    // Those of a bias that a batch normalization takes out again are nothing but rounding.
    assert_eq!(difference(&network, &rows, (5e-5, 0.1)), Ok(()));
}
