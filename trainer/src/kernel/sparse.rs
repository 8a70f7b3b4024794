//! The gradients of a convolution whose output went into a max-pool, so that most gradients by its output are 0.

use super::entries::{Entries, List};
use super::{Isa, Kernel, Vector, run, tile};

/// Adds the gradients by the weights, `[filter][kernel row][padded segment]`, and by the biases. Numbers beyond a
/// segment are anything.
///
/// `input` is the convolution's, with [`SLACK`](super::shape::SLACK).
pub(crate) fn weight_gradient(
    isa: Isa,
    entries: &Entries,
    input: &[f32],
    sums: &mut [f32],
    bias: &mut [f32],
) {
    let shape = entries.shape();
    assert!(input.len() >= shape.input.len() + super::shape::SLACK);
    assert_eq!(sums.len(), shape.output.channels * shape.padded_filter());
    assert!(bias.len() >= shape.output.channels);
    let gradient = WeightGradient {
        entries,
        input,
        sums,
        bias,
    };
    run(isa, gradient);
}

/// Adds the gradients by the input: a picture with [`SLACK`](super::shape::SLACK), as the convolution's input.
///
/// `weights` are `[filter][kernel row][padded segment]`, 0 beyond a segment.
pub(crate) fn data_gradient(isa: Isa, entries: &Entries, weights: &[f32], d_input: &mut [f32]) {
    let shape = entries.shape();
    assert_eq!(weights.len(), shape.output.channels * shape.padded_filter());
    assert!(d_input.len() >= shape.input.len() + shape.overreach());
    let gradient = DataGradient {
        entries,
        weights,
        d_input,
    };
    run(isa, gradient);
}

struct WeightGradient<'a> {
    entries: &'a Entries,
    input: &'a [f32],
    sums: &'a mut [f32],
    bias: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let shape = self.entries.shape();
        let filters = 0..shape.output.channels;
        let windows = Windows {
            rows: shape.kernel,
            columns: shape.padded_segment(),
            from: self.input.as_ptr(),
            from_row: shape.input.row(),
            to: self.sums.as_mut_ptr(),
            to_row: shape.padded_segment(),
            widest: usize::MAX,
        };
        let lists = filters.clone().map(|filter| {
            let list = self.entries.of_filter(filter);
            (list, filter * shape.padded_filter())
        });
        // SAFETY: the processor is the caller's. The entries' windows lie in the input, and what a padded segment has
        // more than a segment does not reach beyond the slack.
        unsafe { windows.add::<V>(lists) };
        for (filter, bias) in filters.zip(self.bias) {
            // SAFETY: the processor is the caller's.
            *bias += unsafe { sum::<V>(self.entries.of_filter(filter).gradients) };
        }
    }
}

struct DataGradient<'a> {
    entries: &'a Entries,
    weights: &'a [f32],
    d_input: &'a mut [f32],
}

impl Kernel for DataGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let shape = self.entries.shape();
        let windows = Windows {
            rows: shape.kernel,
            columns: shape.padded_segment(),
            from: self.weights.as_ptr(),
            from_row: shape.padded_segment(),
            to: self.d_input.as_mut_ptr(),
            to_row: shape.input.row(),
            widest: CACHED / shape.output.channels,
        };
        let lists = (0..shape.output.pixels()).map(|pixel| {
            let window = shape.window(pixel / shape.output.width, pixel % shape.output.width);
            (self.entries.of_pixel(pixel), window)
        });
        let lists = lists.filter(|(list, _)| !list.offsets.is_empty());
        // SAFETY: the processor is the caller's. The entries' filters are those of the weights. The windows lie in the
        // input, and what a padded segment has more than a segment does not reach beyond the slack.
        unsafe { windows.add::<V>(lists) };
    }
}

/// So many numbers stay in the cache nearest to the processor, with room for others.
const CACHED: usize = 6144;

/// The sum of many numbers, a register of them at a time.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn sum<V: Vector>(numbers: &[f32]) -> f32 {
    let registers = numbers.chunks_exact(V::LANES);
    let rest: f32 = registers.remainder().iter().sum();
    // SAFETY: the caller's.
    unsafe {
        let mut sum = V::zero();
        for register in registers {
            sum = sum.add(V::load(register.as_ptr()));
        }
        V::sums([sum, V::zero(), V::zero(), V::zero()])[0] + rest
    }
}

/// Sums of windows, each times the gradient of an entry. For each list, with the place of its result:
/// `to[place + row · to_row ..] += Σ gradient · from[offset + row · from_row ..]`, `columns` numbers of each row.
struct Windows {
    rows: usize,
    columns: usize,
    from: *const f32,
    from_row: usize,
    to: *mut f32,
    to_row: usize,
    /// Numbers of a tile at most, but for the smallest tiles.
    widest: usize,
}

impl Windows {
    /// Cuts the windows into tiles of sums that stay in registers while all lists are run through.
    ///
    /// # Safety
    ///
    /// As [`Vector`]'s, for all numbers that are read and written. There are whole registers of columns.
    #[inline(always)]
    unsafe fn add<'a, V: Vector>(&self, lists: impl Iterator<Item = (List<'a>, usize)> + Clone) {
        let mut column = 0;
        while column < self.columns {
            let lists = lists.clone();
            // SAFETY: the caller's.
            column += V::LANES
                * unsafe {
                    match (self.columns - column) / V::LANES {
                        20.. if self.fits::<V>(20) => self.tiles::<V, 20>(column, lists),
                        12.. if self.fits::<V>(12) => self.tiles::<V, 12>(column, lists),
                        6.. if self.fits::<V>(6) => self.tiles::<V, 6>(column, lists),
                        4.. => self.tiles::<V, 4>(column, lists),
                        2.. => self.tiles::<V, 2>(column, lists),
                        _ => self.tiles::<V, 1>(column, lists),
                    }
                };
        }
    }

    /// Whether so many registers of sums may be a tile.
    #[inline(always)]
    fn fits<V: Vector>(&self, registers: usize) -> bool {
        registers <= tile::ROWS * V::WIDEST && registers * V::LANES <= self.widest
    }

    /// All rows of `WIDE` registers of columns, as many at a time as can be. Returns `WIDE`.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add)'s.
    #[inline(always)]
    unsafe fn tiles<'a, V: Vector, const WIDE: usize>(
        &self,
        column: usize,
        lists: impl Iterator<Item = (List<'a>, usize)> + Clone,
    ) -> usize {
        let mut row = 0;
        while row < self.rows {
            let lists = lists.clone();
            // SAFETY: the caller's.
            row += unsafe {
                match self.rows - row {
                    5.. if self.fits::<V>(5 * WIDE) => self.tile::<V, 5, WIDE>(row, column, lists),
                    3.. if self.fits::<V>(3 * WIDE) => self.tile::<V, 3, WIDE>(row, column, lists),
                    _ => self.tile::<V, 1, WIDE>(row, column, lists),
                }
            };
        }
        WIDE
    }

    /// `ROWS` rows of `WIDE` registers of columns. Returns `ROWS`.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add)'s.
    #[inline(always)]
    unsafe fn tile<'a, V: Vector, const ROWS: usize, const WIDE: usize>(
        &self,
        row: usize,
        column: usize,
        lists: impl Iterator<Item = (List<'a>, usize)>,
    ) -> usize {
        let from = self.from.wrapping_add(row * self.from_row + column);
        let to = self.to.wrapping_add(row * self.to_row + column);
        for (list, place) in lists {
            // SAFETY: the caller's.
            unsafe {
                let mut sums = [[V::zero(); WIDE]; ROWS];
                for (&offset, &gradient) in list.offsets.iter().zip(list.gradients) {
                    let factor = V::splat(gradient);
                    let from = from.add(offset as usize);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let from = from.add(row * self.from_row);
                        for (wide, sum) in sums.iter_mut().enumerate() {
                            *sum = factor.mul_add(V::load(from.add(wide * V::LANES)), *sum);
                        }
                    }
                }
                let to = to.add(place);
                for (row, sums) in sums.iter().enumerate() {
                    let to = to.add(row * self.to_row);
                    for (wide, sum) in sums.iter().enumerate() {
                        let to = to.add(wide * V::LANES);
                        V::load(to).add(*sum).store(to);
                    }
                }
            }
        }
        ROWS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::pool;
    use crate::kernel::shape::{Convolution, Picture, Pool, SLACK};

    /// A convolution, its pool, and what flows through them.
    struct Case {
        shape: Convolution,
        pool: Pool,
        rectify: bool,
        input: Vec<f32>,
        weights: Vec<f32>,
        output: Vec<f32>,
        places: Vec<u8>,
        d_output: Vec<f32>,
    }

    impl Case {
        fn new(shape: Convolution, pool: Pool, rectify: bool, seed: u64) -> Self {
            let mut random = feedline_pipeline::Random::new([seed]);
            let mut value = || random.below(2000) as f32 / 1000.0 - 1.0;
            let (filters, segment) = (shape.output.channels, shape.padded_segment());
            let convolved: Vec<f32> = (0..pool.input.len()).map(|_| value()).collect();
            let weights = (0..filters * shape.padded_filter()).map(|index| {
                if index % segment < shape.segment() {
                    value()
                } else {
                    0.0
                }
            });
            let weights = weights.collect();
            let d_output = (0..pool.output.len()).map(|index| {
                let counts = index % pool.output.stride < filters && value() > -0.5;
                if counts { value() } else { 0.0 }
            });
            let d_output: Vec<f32> = d_output.collect();
            let input = (0..shape.input.len() + SLACK).map(|_| value()).collect();
            let mut output = vec![0.0; d_output.len()];
            let mut places = vec![0; d_output.len()];
            pool::forward(
                Isa::Portable,
                &pool,
                rectify,
                &convolved,
                &mut output,
                &mut places,
            );
            Self {
                shape,
                pool,
                rectify,
                input,
                weights,
                output,
                places,
                d_output,
            }
        }

        fn entries(&self) -> Entries {
            Entries::new(&self.shape, &self.pool, self.rectify, true)
        }

        fn build(&self, isa: Isa, entries: &mut Entries) {
            entries.build(isa, &self.output, &self.d_output, &self.places);
        }

        /// Weight gradient, bias gradient, and data gradient.
        fn gradients(&self, isa: Isa, entries: &Entries) -> [Vec<f32>; 3] {
            let mut sums = vec![1.0; self.weights.len()];
            let mut bias = vec![1.0; self.shape.output.channels];
            let mut d_input = vec![0.0; self.input.len()];
            weight_gradient(isa, entries, &self.input, &mut sums, &mut bias);
            data_gradient(isa, entries, &self.weights, &mut d_input);
            [sums, bias, d_input]
        }

        /// The same by naive loops, each with the sum of magnitudes.
        fn expected(&self) -> [Vec<(f64, f64)>; 3] {
            let Self { shape, pool, .. } = self;
            let mut sums = vec![(1.0, 1.0); self.weights.len()];
            let mut bias = vec![(1.0, 1.0); shape.output.channels];
            let mut d_input = vec![(0.0, 0.0); self.input.len()];
            let add = |sum: &mut (f64, f64), x: f32, y: f32| {
                let product = f64::from(x) * f64::from(y);
                *sum = (sum.0 + product, sum.1 + product.abs());
            };
            for (index, &gradient) in self.d_output.iter().enumerate() {
                let (pixel, filter) = (index / pool.output.stride, index % pool.output.stride);
                if filter >= shape.output.channels || self.rectify && self.output[index] <= 0.0 {
                    continue;
                }
                let pixel = (pixel / pool.output.width, pixel % pool.output.width);
                let pixel = pool.pixel(pixel, self.places[index].into());
                let window = shape.window(pixel / shape.output.width, pixel % shape.output.width);
                add(&mut bias[filter], gradient, 1.0);
                for row in 0..shape.kernel {
                    for column in 0..shape.segment() {
                        let weight =
                            (filter * shape.kernel + row) * shape.padded_segment() + column;
                        let at = window + row * shape.input.row() + column;
                        add(&mut sums[weight], gradient, self.input[at]);
                        add(&mut d_input[at], gradient, self.weights[weight]);
                    }
                }
            }
            [sums, bias, d_input]
        }
    }

    proptest! {
        #[test]
        fn gradients_are_those_of_naive_loops(
            (height, width, channels) in (1usize..9, 1usize..9, 1usize..70),
            (kernel, step, filters, packed) in (1usize..6, 1usize..3, 1usize..40, any::<bool>()),
            (window, pool_step, same) in (1usize..5, 1usize..4, any::<bool>()),
            (rectify, more, seed) in (any::<bool>(), 0usize..2, any::<u64>()),
        ) {
            prop_assume!(window <= height.min(width));
            // A packed picture, as the first layer's, has few channels and no padding.
            let channels = if packed { 1 + channels % 4 } else { channels };
            let side = |size: usize| (size - 1) * step + kernel + more % step;
            let mut input = Picture::new(side(height), side(width), channels);
            if packed {
                input.stride = channels;
            }
            let output = Picture::new(height, width, filters);
            let shape = Convolution { input, output, kernel, step };
            let pool = pool::tests::pool(output, window, pool_step, same);
            let cases = [seed, !seed].map(|seed| Case::new(shape, pool, rectify, seed));
            for isa in Isa::available() {
                // One after the other, so that nothing of the first may be left.
                let mut entries = cases[0].entries();
                for case in &cases {
                    case.build(isa, &mut entries);
                    let gradients = case.gradients(isa, &entries);
                    prop_assert_eq!(&gradients[2], &case.gradients(isa, &entries)[2]);
                    for (kind, (actual, expected)) in gradients.iter().zip(case.expected()).enumerate() {
                        for (index, (&actual, (value, magnitude))) in actual.iter().zip(expected).enumerate() {
                            let counts = kind != 0 || index % shape.padded_segment() < shape.segment();
                            let error = (f64::from(actual) - value).abs();
                            prop_assert!(
                                !counts || error <= 1e-5 * magnitude,
                                "{isa:?}, gradient {kind}, number {index}: {actual} instead of {value}"
                            );
                        }
                    }
                }
            }
        }
    }

    fn small() -> Case {
        let input = Picture::new(8, 8, 16);
        let output = Picture::new(6, 6, 20);
        let shape = Convolution {
            input,
            output,
            kernel: 3,
            step: 1,
        };
        Case::new(shape, pool::tests::pool(output, 3, 2, true), true, 7)
    }

    #[test]
    fn a_diverged_network_is_not_hidden() {
        for isa in Isa::available() {
            let mut case = small();
            (case.output[0], case.d_output[0]) = (1.0, f32::NAN);
            let mut entries = case.entries();
            case.build(isa, &mut entries);
            for gradient in case.gradients(isa, &entries) {
                assert!(gradient.iter().any(|x| x.is_nan()));
            }
        }
    }

    #[test]
    fn places_of_another_pool_are_harmless() {
        for isa in Isa::available() {
            for place in 0..=u8::MAX {
                let mut case = small();
                case.places.fill(place);
                case.output.fill(1.0);
                let mut entries = case.entries();
                case.build(isa, &mut entries);
                case.gradients(isa, &entries);
            }
        }
    }
}
