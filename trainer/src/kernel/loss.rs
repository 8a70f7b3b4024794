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
