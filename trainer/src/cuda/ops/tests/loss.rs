//! The loss beside the CPU's kernel.

use half::bf16;

use super::*;
use crate::cuda::ops::loss;
use crate::kernel::loss as cpu;

/// Losses and answers of each row, and the gradient.
fn on_device<T: Real>(
    context: &Context,
    logits: &[f32],
    labels: &[u32],
    share: f32,
) -> (Vec<f32>, Vec<f32>) {
    let logits = upload::<T>(context, logits);
    let (rows, classes) = (labels.len(), logits.len() / labels.len());
    let labels = send(context, labels);
    let mut losses = garbage::<f32>(context, 2 * rows);
    let mut gradient = garbage::<T>(context, logits.len());
    loss::cross_entropy(
        context,
        classes,
        share,
        &logits.as_view(),
        &labels.as_view(),
        &mut losses.as_view_mut(),
        Some(&mut gradient.as_view_mut()),
    )
    .unwrap();
    (download(context, &losses), download(context, &gradient))
}

#[test]
fn losses_answers_and_gradients_are_the_cpus() {
    let Some(context) = context() else { return };
    proptest!(cases(48), |(
        (rows, classes) in (1usize..20, prop_oneof![1usize..12, 30usize..70, Just(1000)]),
        (share, scale, ties, seed) in (0.01f32..1.0, 0.1f32..50.0, any::<bool>(), any::<u64>()),
    )| {
        let mut random = Random::new([seed]);
        let logits: Vec<f32> = (0..rows * classes)
            .map(|_| if ties { random.below(4) as f32 } else { bf16::nearest(random.uniform(-scale, scale)) })
            .collect();
        let labels: Vec<u32> = (0..rows).map(|_| random.below(classes as u64) as u32).collect();
        compare::<f32>(&context, &logits, &labels, share)?;
        compare::<bf16>(&context, &logits, &labels, share)?;
    });
}

fn compare<T: Exactness>(
    context: &Context,
    logits: &[f32],
    labels: &[u32],
    share: f32,
) -> Result<(), TestCaseError> {
    let classes = logits.len() / labels.len();
    let (losses, gradient) = on_device::<T>(context, logits, labels, share);
    let mut own = logits.to_vec();
    let (mut expected, mut right) = (vec![], vec![]);
    for (row, &label) in own.chunks_exact_mut(classes).zip(labels) {
        let (loss, answer) = cpu::cross_entropy(row, label, share).unwrap();
        expected.push((f64::from(loss), f64::from(loss).max(1.0)));
        right.push(f32::from(u8::from(answer)));
    }
    let pairs = losses.chunks_exact(2);
    let (losses, answers): (Vec<f32>, Vec<f32>) = pairs.map(|pair| (pair[0], pair[1])).unzip();
    check::<f32>("losses", &losses, &expected)?;
    same("answers", &answers, &right)?;
    let own: Vec<_> = own
        .iter()
        .map(|&g| (f64::from(g), f64::from(share)))
        .collect();
    check::<T>("gradient", &gradient, &own)
}

#[test]
fn a_diverged_network_is_not_hidden() {
    let Some(context) = context() else { return };
    for bad in [f32::NAN, f32::INFINITY] {
        for (place, label) in [(0, 0), (0, 1), (2, 0), (2, 2)] {
            let mut logits = [1.0, 2.0, 3.0];
            logits[place] = bad;
            let (losses, _) = on_device::<f32>(&context, &logits, &[label], 1.0);
            let (loss, right) = cpu::cross_entropy(&mut logits, label, 1.0).unwrap();
            assert!(!losses[0].is_finite() && !loss.is_finite());
            assert_eq!(losses[1] > 0.0, right, "{bad} at {place}, label {label}");
        }
    }
    // Of several, the last.
    let logits = [f32::NAN, 2.0, f32::NAN, 3.0];
    for label in 0..4 {
        let (losses, _) = on_device::<f32>(&context, &logits, &[label], 1.0);
        let (_, right) = cpu::cross_entropy(&mut logits.clone(), label, 1.0).unwrap();
        assert_eq!(losses[1] > 0.0, right, "label {label}");
    }
}

#[test]
fn a_label_that_is_no_class_has_the_loss_nan() {
    let Some(context) = context() else { return };
    for label in [3, 4, u32::MAX] {
        let logits = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0];
        let (losses, gradient) = on_device::<bf16>(&context, &logits, &[label, 2], 1.0);
        assert!(losses[0].is_nan() && losses[1] == 0.0);
        assert!(losses[2].is_finite() && losses[3] == 1.0);
        assert!(
            gradient[..3].iter().all(|g| g.is_nan()) && gradient[3..].iter().all(|g| g.is_finite())
        );
    }
}

#[test]
fn totals_are_the_sums_of_all_rows() {
    let Some(context) = context() else { return };
    for rows in [1usize, 7, 255, 256, 257, 3000] {
        let mut random = Random::new([rows as u64]);
        let pairs: Vec<f32> = (0..2 * rows)
            .map(|i| {
                if i % 2 == 0 {
                    random.uniform(0.0, 9.0)
                } else {
                    random.below(2) as f32
                }
            })
            .collect();
        let sum = |first: usize| {
            pairs
                .iter()
                .skip(first)
                .step_by(2)
                .map(|&x| f64::from(x))
                .sum::<f64>()
        };
        let losses = upload::<f32>(&context, &pairs);
        let mut totals = garbage::<f32>(&context, 2);
        loss::totals(&context, &losses.as_view(), &mut totals.as_view_mut()).unwrap();
        assert_eq!(download(&context, &totals)[1], sum(1) as f32);
        assert!((f64::from(download(&context, &totals)[0]) / sum(0) - 1.0).abs() < 1e-6);
        let mut totals = send(&context, &[100.0f64, 50.0]);
        for _ in 0..2 {
            loss::add_totals(&context, &losses.as_view(), &mut totals.as_view_mut()).unwrap();
        }
        let totals = context.gpu.stream().clone_dtoh(&totals).unwrap();
        assert_eq!(totals[1], 50.0 + 2.0 * sum(1));
        assert!((totals[0] / (100.0 + 2.0 * sum(0)) - 1.0).abs() < 1e-12);
    }
}
