//! Steps beside the optimizers' own.

use half::bf16;

use super::*;
use crate::cuda::ops::optimizer::State;
use crate::optim::{Adam, Optimizer, Rule, Sgd};

#[test]
fn steps_have_the_cpus_bits() {
    let Some(context) = context() else { return };
    let sgd = Sgd::new(0.1);
    compare(&context, Adam::default());
    compare(&context, Adam::new(0.01).betas(0.5, 0.9).epsilon(1e-3));
    compare(&context, sgd.clone());
    compare(&context, sgd.clone().momentum(0.9));
    compare(&context, sgd.momentum(0.9).nesterov());
}

fn compare(context: &Context, mut optimizer: impl Optimizer) {
    let rule = optimizer.rule().unwrap();
    for length in [1, 255, 1000] {
        let mut random = Random::new([length as u64]);
        let mut values = noise::<f32>(&mut random, length);
        let mut on_device = upload::<f32>(context, &values);
        let mut copy = garbage::<bf16>(context, length);
        let mut state = State::new(context, &rule, length).unwrap();
        let mut fresh = optimizer.clone();
        for step in 0..5 {
            let mut gradients = noise::<f32>(&mut random, length);
            // Also very small ones, and none.
            gradients.iter_mut().step_by(3).for_each(|g| *g *= 1e-30);
            gradients
                .iter_mut()
                .skip(1)
                .step_by(7)
                .for_each(|g| *g = 0.0);
            let factor = 1.0 / (step + 1) as f32;
            fresh.step(&mut values, &gradients, factor);
            let gradients = upload::<f32>(context, &gradients);
            let (to, from) = (&mut on_device.as_view_mut(), &gradients.as_view());
            // With and without a copy.
            let mut view = copy.as_view_mut();
            let copied = (step != 2).then_some(&mut view);
            state
                .step(context, &rule, factor, to, from, copied)
                .unwrap();
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(
                bits(&download(context, &on_device)),
                bits(&values),
                "{rule:?}"
            );
            if step != 2 {
                let rounded: Vec<f32> = values.iter().map(|&x| bf16::nearest(x)).collect();
                assert_eq!(download(context, &copy), rounded);
            }
        }
        assert!(fresh.rule().is_none(), "what it keeps is not on the device");
    }
    // Clippy does not know that it is a rule for one more replica.
    optimizer.step(&mut [], &[], 1.0);
}

#[test]
fn another_rule_or_length_is_refused() {
    let Some(context) = context() else { return };
    let (adam, sgd): (Rule, Rule) = (
        Adam::default().rule().unwrap(),
        Sgd::new(0.1).rule().unwrap(),
    );
    let mut state = State::new(&context, &adam, 3).unwrap();
    let mut values = upload::<f32>(&context, &[1.0; 4]);
    let gradients = upload::<f32>(&context, &[1.0; 4]);
    let mut step = |rule: &Rule, length: usize| {
        let (to, from) = (&mut values.slice_mut(..length), &gradients.slice(..length));
        state.step::<f32>(&context, rule, 1.0, to, from, None)
    };
    assert!(step(&adam, 3).is_ok());
    assert!(step(&adam, 4).is_err());
    assert!(step(&sgd, 3).is_err());
}
