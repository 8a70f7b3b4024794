//! A program as plain numbers, for a device that applies it by itself.
//!
//! What is drawn for a sample is drawn here, by the same code as for the host's own pass; the device gets the numbers, a
//! row of words for each row of a batch, and computes with them in the same order and with the same roundings.

use super::element::Element;
use super::program::{Program, SampleKey};
use super::stage::ValueOperation;

/// In the place of a sample's number in a row's plan: the row is padding.
#[cfg(feature = "cuda")]
pub(crate) const PADDING: u32 = u32::MAX;

/// Words of a row's plan in front of the drawn numbers: sample, top, left, flipped.
const PLACE_WORDS: usize = 4;

/// The most channels that the device's kernels take: they keep a line for each in shared memory.
const MOST_CHANNELS: usize = 64;

/// The most pixels of a channel that they take: so many squares of bytes, times their number, fit into 64 bits.
const MOST_PIXELS: usize = 1 << 24;

/// What a program does with the bytes of a window. The numbers of the kinds are known to `cuda/kernels/transform.cu`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lowered {
    /// The kind of each operation: 0 for lines, 1 brightness, 2 contrast, 3 standardize.
    pub(crate) kinds: Vec<u32>,
    /// For each operation and channel a factor and an offset, which matter for lines alone.
    pub(crate) lines: Vec<f64>,
    /// Whether the operations depend on the mean and variance of channels.
    pub(crate) needs_moments: bool,
    /// A factor and an offset for each channel, if they are the same for all samples.
    pub(crate) constant: Option<Vec<f32>>,
}

impl<T: Element> Program<T> {
    /// The program as numbers; `None` if it holds a function of the user's, or is too large for the kernels.
    pub(crate) fn lower(&self) -> Option<Lowered> {
        let (input, output) = (self.input_shape(), self.output_shape());
        let stage = self.only_stage()?;
        let fits = output.height * output.width <= MOST_PIXELS
            && input.channels <= MOST_CHANNELS
            && input.elements() <= i32::MAX as usize;
        if !fits {
            return None;
        }
        let channels = input.channels;
        let lines = |operation: &ValueOperation| match operation {
            ValueOperation::Lines(lines) => lines
                .iter()
                .flat_map(|line| [line.factor, line.offset])
                .collect(),
            _ => vec![0.0; 2 * channels],
        };
        let kind = |operation: &ValueOperation| match operation {
            ValueOperation::Lines(_) => 0,
            ValueOperation::Brightness { .. } => 1,
            ValueOperation::Contrast { .. } => 2,
            ValueOperation::Standardize => 3,
        };
        let constant = self.constant_lines();
        Some(Lowered {
            kinds: stage.operations().map(kind).collect(),
            lines: stage.operations().flat_map(lines).collect(),
            needs_moments: stage.needs_moments(),
            constant: constant.map(|lines| {
                let pairs = lines.iter().flat_map(|line| [line.factor, line.offset]);
                pairs.collect()
            }),
        })
    }

    /// Words of a row's plan.
    pub(crate) fn plan_words(&self) -> usize {
        PLACE_WORDS + self.drawn()
    }

    /// The plan of a row: the number of the `sample` where the device finds it, and what is drawn for `key`.
    pub(crate) fn plan(&self, key: SampleKey, sample: u32) -> impl Iterator<Item = u32> {
        let (top, left, flipped) = self.window(key).place();
        // Places lie within the padded picture, whose sides fit into 31 bits.
        let place = [
            sample,
            top as i32 as u32,
            left as i32 as u32,
            u32::from(flipped),
        ];
        let drawn = self.only_stage().into_iter();
        let drawn = drawn.flat_map(move |stage| stage.draw(key));
        place
            .into_iter()
            .chain(drawn.take(self.drawn()).map(f32::to_bits))
    }

    /// How many numbers a plan has behind its place: one for each operation, or none if all is constant.
    fn drawn(&self) -> usize {
        match self.only_stage() {
            Some(stage) if !stage.is_constant() => stage.operations().len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16;
    use crate::source::{Sample, Shape};
    use crate::transform::Transform;
    use proptest::prelude::*;

    /// What the kernels do with one row, in the words of the kernels.
    fn interpreted(
        lowered: &Lowered,
        plan: &[u32],
        pixels: &[u8],
        input: Shape,
        output: Shape,
    ) -> Vec<f32> {
        let [top, left, flipped] = [1, 2, 3].map(|word| plan[word] as i32);
        let byte = |c: usize, y: usize, x: usize| {
            let x = if flipped != 0 {
                output.width - 1 - x
            } else {
                x
            };
            let (y, x) = (top + y as i32, left + x as i32);
            let inside = 0 <= y && y < input.height as i32 && 0 <= x && x < input.width as i32;
            let place = || (c * input.height + y as usize) * input.width + x as usize;
            if inside { pixels[place()] } else { 0 }
        };
        let plane = output.height * output.width;
        let places = || (0..output.height).flat_map(|y| (0..output.width).map(move |x| (y, x)));
        let moments = |c: usize| {
            let (mut sum, mut squares) = (0u64, 0u64);
            for (y, x) in places() {
                let byte = u64::from(byte(c, y, x));
                (sum, squares) = (sum + byte, squares + byte * byte);
            }
            let count = plane as u64;
            let spread = count * squares - sum * sum;
            (
                sum as f64 / count as f64,
                spread as f64 / (count * count) as f64,
            )
        };
        let channels = input.channels;
        let moments: Vec<_> = (0..channels).map(moments).collect();
        let mut lines = vec![(1.0f64, 0.0f64); channels];
        let at = |line: (f64, f64), value: f64| value * line.0 + line.1;
        let then = |line: (f64, f64), next: (f64, f64)| (line.0 * next.0, line.1 * next.0 + next.1);
        for (i, kind) in lowered.kinds.iter().enumerate() {
            let drawn = || f64::from(f32::from_bits(plan[4 + i]));
            let before = lines.clone();
            for c in 0..channels {
                let constant = &lowered.lines[2 * (i * channels + c)..][..2];
                lines[c] = match kind {
                    0 => then(before[c], (constant[0], constant[1])),
                    1 => (before[c].0, before[c].1 + drawn()),
                    2 => {
                        let mean = at(before[c], moments[c].0);
                        then(before[c], (drawn(), mean - mean * drawn()))
                    }
                    _ => {
                        let all = || before.iter().zip(&moments);
                        let n = channels as f64;
                        let mean = all().map(|(line, own)| at(*line, own.0)).sum::<f64>() / n;
                        let spread = all().map(|(line, own)| {
                            let apart = at(*line, own.0) - mean;
                            line.0 * line.0 * own.1 + apart * apart
                        });
                        let deviation = (spread.sum::<f64>() / n).sqrt();
                        let factor = 1.0 / deviation.max(1.0 / (plane as f64 * n).sqrt());
                        then(before[c], (factor, 0.0 - mean * factor))
                    }
                };
            }
        }
        if let Some(constant) = &lowered.constant {
            let rounded = lines.iter().flat_map(|line| [line.0 as f32, line.1 as f32]);
            assert!(rounded.eq(constant.iter().copied()));
        }
        let values = (0..channels).flat_map(|c| places().map(move |(y, x)| (c, y, x)));
        values
            .map(|(c, y, x)| f32::from(byte(c, y, x)) * lines[c].0 as f32 + lines[c].1 as f32)
            .collect()
    }

    /// Any built-in operations that fit samples of a shape with so many channels.
    fn transforms(channels: usize) -> impl Strategy<Value = Transform> {
        let window = (0usize..5, 1usize..9, 1usize..12, 0usize..4);
        let values = prop::collection::vec((0usize..5, 0.1f32..2.0, -1.0f32..1.0), 0..6);
        (window, values).prop_map(move |((kind, height, width, padding), values)| {
            let new = Transform::new();
            let transform = match kind {
                0 => new,
                1 => new.random_crop(height, width, padding),
                2 => new.random_flip().random_crop(height, width, padding),
                3 => new.center_crop(height, width).random_flip(),
                _ => new.random_flip(),
            };
            values.into_iter().fold(transform, |all, (kind, a, b)| {
                let each = |value: f32| {
                    let values = (0..channels).map(move |c| value + 0.125 * c as f32);
                    values.collect::<Vec<_>>()
                };
                match kind {
                    0 => all.scale(),
                    1 => all.normalize(each(b), each(a)),
                    2 => all.random_brightness(a),
                    3 => all.random_contrast(0.5 * a, a),
                    _ => all.standardize(),
                }
            })
        })
    }

    /// Samples of a small shape, and a transform that may fit them.
    fn cases() -> impl Strategy<Value = (Shape, Transform)> {
        let shape = (1usize..5, 1usize..9, 1usize..12);
        shape.prop_flat_map(|(channels, height, width)| {
            let shape = Shape::new(channels, height, width);
            (Just(shape), transforms(channels))
        })
    }

    proptest! {
        #[test]
        fn a_lowered_program_gives_the_same_bits(
            (shape, transform) in cases(), key in any::<(u64, u64, u16, u64)>(), noise: u64,
        ) {
            let Ok(program) = Program::<f32>::new(&transform, shape) else {
                return Ok(());
            };
            let (seed, epoch, index, repeat) = key;
            let key = SampleKey { seed, epoch, index: index.into(), repeat };
            let mut random = crate::Random::new([noise]);
            let pixels: Vec<u8> = (0..shape.elements()).map(|_| random.next_u64() as u8).collect();
            let output_shape = program.output_shape();
            let mut expected = vec![f32::NAN; output_shape.elements()];
            let sample = Sample { pixels: &pixels, label: 0 };
            program.apply(sample, key, &mut program.scratch(), &mut expected).unwrap();

            let lowered = program.lower().unwrap();
            let plan: Vec<u32> = program.plan(key, 7).collect();
            prop_assert_eq!(plan.len(), program.plan_words());
            prop_assert_eq!(plan[0], 7);
            let found = interpreted(&lowered, &plan, &pixels, shape, output_shape);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&found), bits(&expected));

            // What is drawn does not depend on the type of the values.
            let other = Program::<bf16>::new(&transform, shape).unwrap();
            prop_assert!(other.plan(key, 7).eq(plan));
        }
    }

    #[test]
    fn what_the_kernels_do_not_take_is_not_lowered() {
        let lowered =
            |transform: &Transform, shape| Program::<f32>::new(transform, shape).unwrap().lower();
        let plain = Transform::new();
        assert!(lowered(&plain, Shape::new(64, 4, 4)).is_some());
        assert!(lowered(&plain, Shape::new(65, 4, 4)).is_none());
        assert!(lowered(&plain, Shape::new(1, 4096, 4097)).is_none());
        assert!(lowered(&plain.map(|_| Ok(())), Shape::new(1, 4, 4)).is_none());
    }
}
