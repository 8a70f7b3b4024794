//! Per-image standardization.

/// Gives `values` mean 0 and standard deviation 1; the deviation counts as at least `1 / sqrt(len)`.
pub(super) fn standardize(values: &mut [f32]) {
    let count = values.len() as f32;
    let mean = values.iter().sum::<f32>() / count;
    // Two passes: the difference of mean square and squared mean would cancel for even pictures.
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f32>()
        / count;
    let factor = 1.0 / variance.sqrt().max(1.0 / count.sqrt());
    values
        .iter_mut()
        .for_each(|value| *value = (*value - mean) * factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardized_values_have_mean_zero_and_deviation_one() {
        let mut values: Vec<f32> = (0..300).map(|i| (i * i % 97) as f32).collect();
        standardize(&mut values);
        let mean = values.iter().sum::<f32>() / 300.0;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 300.0;
        assert!(
            mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4,
            "{mean} {variance}"
        );
    }

    #[test]
    fn an_even_picture_becomes_zeros() {
        let mut values = [7.0; 12];
        standardize(&mut values);
        assert_eq!(values, [0.0; 12]);
    }
}
