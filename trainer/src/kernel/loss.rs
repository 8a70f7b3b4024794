//! The loss.

/// The softmax of one row of logits against its label: returns the cross-entropy in nats, and whether the label's logit
/// was the largest (of equal ones the first counts). `logits` become the gradient of `share` times the loss. `None` if
/// the label is no class.
pub(crate) fn cross_entropy(logits: &mut [f32], label: u32, share: f32) -> Option<(f32, bool)> {
    let label = label as usize;
    let own = *logits.get(label)?;
    let mut largest = 0;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[largest] || logit.is_nan() {
            largest = class;
        }
    }
    // The largest logit is subtracted, so that none is too large for the exponential.
    let top = logits[largest];
    let mut sum = 0.0;
    for logit in &mut *logits {
        *logit = (*logit - top).exp();
        sum += *logit;
    }
    for logit in &mut *logits {
        *logit *= share / sum;
    }
    logits[label] -= share;
    Some((sum.ln() - (own - top), largest == label))
}

/// As [`cross_entropy`], where the target is `smoothing` spread evenly over all classes, and the rest on the label's.
pub(crate) fn smoothed_cross_entropy(
    logits: &mut [f32],
    label: u32,
    share: f32,
    smoothing: f32,
) -> Option<(f32, bool)> {
    if smoothing == 0.0 {
        return cross_entropy(logits, label, share);
    }
    let own = *logits.get(label as usize)?;
    let classes = logits.len() as f32;
    // How far the label's logit is above the mean one.
    let ahead = logits.iter().map(|&logit| own - logit).sum::<f32>() / classes;
    let (loss, right) = cross_entropy(logits, label, share)?;
    for gradient in &mut *logits {
        *gradient -= share * smoothing / classes;
    }
    logits[label as usize] += share * smoothing;
    Some((loss + smoothing * ahead, right))
}

#[cfg(test)]
mod tests {
    use feedline_pipeline::Random;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::testing::cases;

    proptest! {
        #![proptest_config(cases(256))]

        #[test]
        fn loss_and_gradient_are_those_of_the_formula(
            (classes, scale, share, seed) in (1usize..20, 0.01f32..100.0, 0.01f32..2.0, any::<u64>()),
        ) {
            let mut random = Random::new([seed]);
            let logits: Vec<_> = (0..classes).map(|_| random.uniform(-scale, scale)).collect();
            let label = random.below(classes as u64) as usize;
            // Without what makes it safe, which f64 has no need of here.
            let powers = logits.iter().map(|&x| f64::from(x).exp());
            let powers: Vec<_> = powers.collect();
            let sum: f64 = powers.iter().sum();
            let mut gradient = logits.clone();
            let (loss, right) = cross_entropy(&mut gradient, label as u32, share).unwrap();
            let expected = sum.ln() - f64::from(logits[label]);
            let error = (f64::from(loss) - expected).abs();
            prop_assert!(error <= 1e-6 * f64::from(1.0 + scale), "{loss}, expected {expected}");
            prop_assert_eq!(right, logits.iter().all(|&x| x <= logits[label]));
            for (class, (&found, power)) in gradient.iter().zip(&powers).enumerate() {
                let own = f64::from(u8::from(class == label));
                let expected = f64::from(share) * (power / sum - own);
                // The exponential's error is that of the difference of logits that goes in.
                let most = 1e-7 * f64::from(share * (4.0 + scale));
                prop_assert!((f64::from(found) - expected).abs() <= most, "{found}, {expected}");
            }
        }
    }

    proptest! {
        #![proptest_config(cases(64))]

        #[test]
        fn smoothed_labels_are_the_mean_of_all_labels_and_the_own(
            (classes, share, smoothing, seed) in (1usize..20, 0.01f32..2.0, 0.0f32..0.9, any::<u64>()),
        ) {
            let mut random = Random::new([seed]);
            let logits: Vec<_> = (0..classes).map(|_| random.uniform(-9.0, 9.0)).collect();
            let label = random.below(classes as u64) as u32;
            let mut found = logits.clone();
            let (loss, right) = smoothed_cross_entropy(&mut found, label, share, smoothing).unwrap();
            let (mut expected_loss, mut expected) = (0.0, vec![0.0; classes]);
            for class in 0..classes as u32 {
                let rest = f32::from(u8::from(class == label)) * (1.0 - smoothing);
                let weight = rest + smoothing / classes as f32;
                let mut gradient = logits.clone();
                let (loss, own) = cross_entropy(&mut gradient, class, share).unwrap();
                expected_loss += weight * loss;
                expected.iter_mut().zip(gradient).for_each(|(sum, own)| *sum += weight * own);
                prop_assert!(class != label || own == right);
            }
            prop_assert!((loss - expected_loss).abs() < 2e-5, "{loss}, {expected_loss}");
            for (found, expected) in found.into_iter().zip(expected) {
                prop_assert!((found - expected).abs() < 2e-6, "{found}, {expected}");
            }
        }
    }

    #[test]
    fn of_equal_logits_the_first_counts() {
        let right = |label| {
            cross_entropy(&mut [1.0, 3.0, 3.0, 2.0], label, 1.0)
                .unwrap()
                .1
        };
        assert_eq!([0, 1, 2, 3].map(right), [false, true, false, false]);
    }

    #[test]
    fn no_logit_is_too_large() {
        let mut logits = [1e30, -1e30, f32::MAX];
        let (loss, right) = cross_entropy(&mut logits, 2, 0.5).unwrap();
        assert_eq!((loss, right, logits), (0.0, true, [0.0; 3]));
    }

    #[test]
    fn a_label_that_is_no_class_has_no_loss() {
        let mut logits = [1.0, 2.0];
        for label in [2, 3, u32::MAX] {
            assert_eq!(cross_entropy(&mut logits, label, 1.0), None);
        }
        assert_eq!((cross_entropy(&mut [], 0, 1.0), logits), (None, [1.0, 2.0]));
    }

    #[test]
    fn a_diverged_network_is_not_hidden() {
        for bad in [f32::NAN, f32::INFINITY] {
            for (place, label) in [(0, 0), (0, 1), (2, 0), (2, 2)] {
                let mut logits = [1.0, 2.0, 3.0];
                logits[place] = bad;
                let (loss, _) = cross_entropy(&mut logits, label, 1.0).unwrap();
                assert!(!loss.is_finite(), "{bad} at {place}, label {label}: {loss}");
            }
        }
    }
}
