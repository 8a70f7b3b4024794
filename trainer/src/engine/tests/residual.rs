//! Layers whose input is added to their output.

use super::*;

/// What may stand around and inside of a residual, over pictures that have this many channels there.
#[derive(Debug, Clone)]
struct Around {
    /// A convolution before it.
    before: bool,
    /// In a residual of its own around the last layer.
    nested: bool,
    relu: bool,
    norm: bool,
    dropout: bool,
    kernels: [usize; 2],
}

fn around() -> impl Strategy<Value = Around> {
    (any::<[bool; 5]>(), [1usize..4, 1usize..4]).prop_map(|(switches, kernels)| {
        let [before, nested, relu, norm, dropout] = switches;
        Around {
            before,
            nested,
            relu,
            norm,
            dropout,
            kernels,
        }
    })
}

fn layers(channels: usize, around: &Around) -> Vec<Op> {
    let convolution = |kernel| Op::Convolution {
        filters: channels,
        kernel,
        stride: 1,
        same: true,
    };
    let Around { kernels, .. } = *around;
    let mut inside = Vec::new();
    inside.extend(around.norm.then_some(Op::Norm));
    inside.push(convolution(kernels[0]));
    inside.extend(around.relu.then_some(Op::Relu));
    inside.extend(around.dropout.then_some(Op::Dropout(0.3)));
    inside.extend(around.nested.then_some(Op::Residual(1)));
    inside.push(convolution(kernels[1]));
    inside.extend(around.norm.then_some(Op::Norm));
    inside.extend((!around.nested).then_some(Op::Relu));
    let mut ops = Vec::new();
    ops.extend(around.before.then_some(convolution(kernels[1])));
    ops.push(Op::Residual(inside.len()));
    ops.extend(inside);
    ops.extend([Op::Relu, Op::Flatten, Op::Linear(3)]);
    ops
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradients_around_layers_are_those_of_candles_tape(
        (channels, height, width) in (1usize..40, 1usize..9, 1usize..9),
        around in around(),
        (rows, seed, evaluation) in (1usize..12, any::<u64>(), any::<bool>()),
    ) {
        let (input, ops) = ([channels, height, width], layers(channels, &around));
        let network = network(input, &ops, seed).unwrap();
        let mut rows = Rows::new(&network, rows, false, &mut Random::new([seed]));
        if evaluation {
            rows.pass = Pass::evaluation();
        }
        let naive = Naive { input, ops: ops.clone(), statistics: naive::numbers(&network, false) };
        let loss = naive.run(&naive::numbers(&network, true), &rows).loss;
        let expected = tape_step(&network, &rows).totals.loss * f64::from(SHARE);
        prop_assert!((loss - expected).abs() < 1e-6 * (1.0 + loss), "{loss}, on the tape {expected}");
        assert_agrees(input, ops, &network, &rows);
    }
}

#[test]
fn a_residual_without_parameters_is_only_added() {
    let inside = Residual::new().add(MaxPool2d::new(3, 1).padding(Padding::Same));
    let builder = Sequential::builder([3, 5, 5])
        .add(inside.clone())
        .add(Conv2d::new(4, 3));
    let builder = builder
        .add(inside.add(Relu))
        .add(Flatten)
        .add(Linear::new(3));
    let network = builder.build(1, &Device::Cpu).unwrap();
    let rows = Rows::new(&network, 7, false, &mut Random::new([1]));
    assert_eq!(difference(&network, &rows, (1e-5, 0.0)), Ok(()));
}
