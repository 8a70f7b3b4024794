//! A transform made ready for samples of one shape: everything is checked, what can be fused is fused.

use super::affine::{Affine, Line};
use super::element::Element;
use super::map::{Map, MapSample};
use super::moments::Moments;
use super::stage::{Stage, ValueOperation};
use super::window::Window;
use super::{Operation, Transform};
use crate::error::{Error, Result, invalid};
use crate::random::Random;
use crate::source::{Sample, Shape};

/// What random choices are keyed by, besides the operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SampleKey {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) index: usize,
    /// Tells the draws of a sample that an epoch visits more than once.
    pub(crate) repeat: u64,
}

/// Keeps these keys apart from all others of a program.
const TRANSFORM: u64 = 0x7472_616e_7366_6f72;

impl SampleKey {
    pub(super) fn random(self, operation: usize) -> Random {
        Random::new([
            TRANSFORM,
            self.seed,
            self.epoch,
            self.index as u64,
            self.repeat,
            operation as u64,
        ])
    }
}

/// A checked transform of samples of shape `input` into elements of type `T`. Operations carry their place in the
/// user's list.
#[derive(Debug)]
pub(crate) struct Program<T: Element = f32> {
    input: Shape,
    output: Shape,
    windows: Vec<(usize, WindowOperation)>,
    /// From the bytes of the window to values.
    first: Stage,
    /// What becomes of the values then: a user's function, and operations behind it.
    rest: Vec<(usize, Map, Stage)>,
    /// `first` for each channel, where it is all there is to do and the same for every sample.
    channels: Option<Vec<T::Channel>>,
}

#[derive(Debug)]
enum WindowOperation {
    RandomCrop {
        height: usize,
        width: usize,
        padding: usize,
    },
    CenterCrop {
        height: usize,
        width: usize,
    },
    RandomFlip,
}

/// A worker's own memory for [`Program::apply`]; made by [`Program::scratch`].
#[derive(Debug)]
pub(crate) struct Scratch {
    values: Vec<f32>,
    moments: Vec<Moments>,
    lines: Vec<Line>,
    affine: Vec<Affine>,
}

impl<T: Element> Program<T> {
    pub(crate) fn new(transform: &Transform, input: Shape) -> Result<Self> {
        check_shape("sample shape", input)?;
        let mut program = Self {
            input,
            output: input,
            windows: Vec::new(),
            first: Stage::default(),
            rest: Vec::new(),
            channels: None,
        };
        let mut last_value = None;
        for (place, operation) in transform.operations.iter().enumerate() {
            match operation {
                Operation::RandomCrop { .. }
                | Operation::CenterCrop { .. }
                | Operation::RandomFlip => {
                    if let Some(before) = last_value {
                        let found = format!("{} behind {before}", operation.name());
                        return Err(invalid(
                            "transform",
                            found,
                            "crops and flips before all others",
                        ));
                    }
                    program.push_window(place, operation)?;
                }
                _ if !T::TAKES_VALUES => {
                    let found = format!("{} into {}", operation.name(), T::NAME);
                    let expected = "crops and flips alone, or another element type";
                    return Err(invalid("transform", found, expected));
                }
                _ => {
                    program.push_value(place, operation)?;
                    last_value = Some(operation.name());
                }
            }
        }
        let constant = program.constant_lines();
        program.channels = constant.map(|lines| lines.into_iter().map(T::channel).collect());
        Ok(program)
    }

    /// The line of each channel, if it is the same for every sample and all there is to do.
    pub(super) fn constant_lines(&self) -> Option<Vec<Affine>> {
        if !(self.rest.is_empty() && self.first.is_constant()) {
            return None;
        }
        let mut lines = vec![Line::IDENTITY; self.input.channels];
        let nothing = std::iter::repeat(0.0);
        self.first.fold(nothing, &[], 0, &mut lines);
        Some(lines.into_iter().map(Line::rounded).collect())
    }

    pub(crate) fn input_shape(&self) -> Shape {
        self.input
    }

    pub(crate) fn output_shape(&self) -> Shape {
        self.output
    }

    fn push_window(&mut self, place: usize, operation: &Operation) -> Result<()> {
        let (window, size) = match *operation {
            Operation::RandomCrop {
                height,
                width,
                padding,
            } => (
                WindowOperation::RandomCrop {
                    height,
                    width,
                    padding,
                },
                Some((height, width, padding)),
            ),
            Operation::CenterCrop { height, width } => (
                WindowOperation::CenterCrop { height, width },
                Some((height, width, 0)),
            ),
            _ => (WindowOperation::RandomFlip, None),
        };
        if let Some((height, width, padding)) = size {
            let crops = |(_, window): &(usize, WindowOperation)| {
                !matches!(window, WindowOperation::RandomFlip)
            };
            if self.windows.iter().any(crops) {
                return Err(invalid("transform", "two crops", "at most one"));
            }
            let longer_side = self.input.height.max(self.input.width);
            if padding > longer_side {
                return Err(invalid(
                    "crop padding",
                    padding,
                    format!("at most {longer_side}"),
                ));
            }
            // No side is so long that this could overflow.
            let max_height = self.input.height + 2 * padding;
            let max_width = self.input.width + 2 * padding;
            if height == 0 || width == 0 || height > max_height || width > max_width {
                return Err(invalid(
                    "crop",
                    format!("{height}x{width}"),
                    format!("between 1x1 and the padded picture, {max_height}x{max_width}"),
                ));
            }
            self.output = Shape {
                height,
                width,
                ..self.input
            };
            check_shape("shape of a crop", self.output)?;
        }
        self.windows.push((place, window));
        Ok(())
    }

    fn push_value(&mut self, place: usize, operation: &Operation) -> Result<()> {
        let channels = self.input.channels;
        let value = match operation {
            Operation::Scale => ValueOperation::Lines(vec![Line::SCALE; channels]),
            Operation::Normalize { mean, std } => {
                ValueOperation::Lines(normalization(mean, std, channels)?)
            }
            &Operation::RandomBrightness { max_delta } => {
                if !(max_delta.is_finite() && max_delta >= 0.0) {
                    return Err(invalid("brightness delta", max_delta, "a number from 0"));
                }
                ValueOperation::Brightness { max_delta }
            }
            &Operation::RandomContrast { low, high } => {
                if !(low.is_finite() && high.is_finite() && 0.0 <= low && low <= high) {
                    let found = format!("{low}..{high}");
                    return Err(invalid("contrast range", found, "0 <= low <= high"));
                }
                ValueOperation::Contrast { low, high }
            }
            Operation::Map(map) => {
                self.rest.push((place, map.clone(), Stage::default()));
                return Ok(());
            }
            _ => ValueOperation::Standardize,
        };
        let stage = match self.rest.last_mut() {
            Some((_, _, stage)) => stage,
            None => &mut self.first,
        };
        stage.push(place, value);
        Ok(())
    }

    /// Memory for [`apply`](Self::apply).
    pub(crate) fn scratch(&self) -> Scratch {
        let (values, channels) = self.scratch_lengths();
        Scratch {
            values: vec![0.0; values],
            moments: vec![Moments::default(); channels],
            lines: vec![Line::IDENTITY; channels],
            affine: vec![Affine::IDENTITY; channels],
        }
    }

    /// The bytes of a [`scratch`](Self::scratch).
    pub(crate) fn scratch_bytes(&self) -> usize {
        let (values, channels) = self.scratch_lengths();
        let channel = size_of::<Moments>() + size_of::<Line>() + size_of::<Affine>();
        channels
            .saturating_mul(channel)
            .saturating_add(values * size_of::<f32>())
    }

    fn scratch_lengths(&self) -> (usize, usize) {
        match self.channels {
            Some(_) => (0, 0),
            None => (
                T::SCRATCH_VALUES * self.output.elements(),
                self.input.channels,
            ),
        }
    }

    /// Where the pixels of the sample of `key` are read from.
    pub(super) fn window(&self, key: SampleKey) -> Window {
        let mut window = Window::whole(self.input);
        for (place, operation) in &self.windows {
            window = operation.apply(window, || key.random(*place));
        }
        window
    }

    /// What becomes of the window's bytes, if there is no function of the user's among it.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn only_stage(&self) -> Option<&Stage> {
        self.rest.is_empty().then_some(&self.first)
    }

    /// Transforms one sample into `output`, whose length is that of the output shape.
    pub(crate) fn apply(
        &self,
        sample: Sample<'_>,
        key: SampleKey,
        scratch: &mut Scratch,
        output: &mut [T],
    ) -> Result<()> {
        let window = self.window(key);
        if let Some(channels) = &self.channels {
            window.read(sample.pixels, self.input, channels, output);
            return Ok(());
        }
        let plane = self.output.height * self.output.width;
        let Scratch {
            values,
            moments,
            lines,
            affine,
        } = scratch;
        if self.first.needs_moments() {
            let planes = sample
                .pixels
                .chunks_exact(self.input.height * self.input.width);
            for (moments, pixels) in moments.iter_mut().zip(planes) {
                *moments = Moments::of_bytes(window.sums(pixels, self.input), plane);
            }
        }
        self.first.fold(self.first.draw(key), moments, plane, lines);
        for (affine, line) in affine.iter_mut().zip(&*lines) {
            *affine = line.rounded();
        }
        T::with_values(output, values, |values| {
            window.read(sample.pixels, self.input, affine, values);
            for (place, map, stage) in &self.rest {
                let argument = MapSample {
                    pixels: values,
                    shape: self.output,
                    label: sample.label,
                    index: key.index,
                    epoch: key.epoch,
                    random: key.random(*place),
                };
                map.call(argument).map_err(|source| Error::Sample {
                    index: key.index,
                    stage: "map",
                    source,
                })?;
                change(stage, key, values, plane, moments, lines);
            }
            Ok(())
        })
    }
}

/// Applies a stage to values in place.
fn change(
    stage: &Stage,
    key: SampleKey,
    values: &mut [f32],
    plane: usize,
    moments: &mut [Moments],
    lines: &mut [Line],
) {
    if stage.is_empty() {
        return;
    }
    if stage.needs_moments() {
        for (moments, values) in moments.iter_mut().zip(values.chunks_exact(plane)) {
            *moments = Moments::of_values(values);
        }
    }
    stage.fold(stage.draw(key), moments, plane, lines);
    for (values, line) in values.chunks_exact_mut(plane).zip(lines) {
        let affine = line.rounded();
        values
            .iter_mut()
            .for_each(|value| *value = affine.apply(*value));
    }
}

impl WindowOperation {
    fn apply(&self, window: Window, random: impl FnOnce() -> Random) -> Window {
        match *self {
            Self::RandomCrop {
                height,
                width,
                padding,
            } => {
                let mut random = random();
                let mut place = |whole: usize, part: usize| {
                    let places = whole + 2 * padding - part + 1;
                    random.below(places as u64) as isize - padding as isize
                };
                let top = place(window.height, height);
                let left = place(window.width, width);
                window.crop(top, left, height, width)
            }
            Self::CenterCrop { height, width } => {
                let top = (window.height - height) / 2;
                let left = (window.width - width) / 2;
                window.crop(top as isize, left as isize, height, width)
            }
            Self::RandomFlip if random().below(2) == 1 => window.flip(),
            Self::RandomFlip => window,
        }
    }
}

/// An error if there is nothing in `shape`, or if its values would not fit into any memory.
fn check_shape(name: &'static str, shape: Shape) -> Result<()> {
    const MOST: usize = isize::MAX as usize / size_of::<f32>();
    let expected = match shape.checked_elements() {
        Some(0) => "at least one channel, row and column".into(),
        Some(1..=MOST) => return Ok(()),
        _ => format!("at most {MOST} values"),
    };
    Err(invalid(name, shape, expected))
}

fn normalization(mean: &[f32], std: &[f32], channels: usize) -> Result<Vec<Line>> {
    for (name, values) in [("mean", mean), ("standard deviation", std)] {
        if values.len() != channels {
            let found = format!("{} values", values.len());
            return Err(invalid(
                name,
                found,
                format!("one for each of the {channels} channels"),
            ));
        }
    }
    if let Some(mean) = mean.iter().find(|mean| !mean.is_finite()) {
        return Err(invalid("mean", mean, "a finite number"));
    }
    if let Some(std) = std.iter().find(|std| !(std.is_normal() && **std > 0.0)) {
        return Err(invalid("standard deviation", std, "a number above 0"));
    }
    Ok(mean
        .iter()
        .zip(std)
        .map(|(&mean, &std)| Line::normalize(mean, std))
        .collect())
}

#[cfg(test)]
mod tests;
