//! How pictures and pools lie in device memory.

use cudarc::driver::DeviceRepr;

use crate::error::{Result, invalid};
use crate::nn::geometry::Side;

/// A picture, or a row of features as a picture of one pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Picture {
    pub(crate) fn new(height: usize, width: usize, channels: usize) -> Self {
        Self {
            height,
            width,
            channels,
        }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in all.
    pub(crate) fn len(&self) -> usize {
        self.pixels() * self.channels
    }
}

/// A max-pool. Windows may overlap and reach over the edges, where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) input: Picture,
    pub(crate) output: Picture,
    /// As the kernels take it.
    pub(super) numbers: PoolNumbers,
}

/// `Pool` of `kernels/pool.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct PoolNumbers {
    height: u32,
    width: u32,
    channels: u32,
    pooled_height: u32,
    pooled_width: u32,
    window: u32,
    step: u32,
    top: u32,
    left: u32,
}

// SAFETY: it has the fields of its like in the kernels, all of them numbers.
unsafe impl DeviceRepr for PoolNumbers {}

impl Pool {
    /// Pixels along a side of the largest window.
    pub(crate) const WIDEST: usize = 256;

    /// The pool of pictures with these windows, from top to bottom and from left to right.
    ///
    /// # Errors
    ///
    /// If a window has more than 256 pixels along a side: a place in it must be a `u16`. Or if the windows are not those of
    /// the picture.
    pub(crate) fn new(input: Picture, sides: &[Side; 2]) -> Result<Self> {
        let [vertical, horizontal] = sides;
        let window = vertical.window;
        if !(1..=Self::WIDEST).contains(&window) {
            let expected = format!("from 1 to {} pixels on a GPU", Self::WIDEST);
            return Err(invalid("window of a pool", window, expected));
        }
        let step = Side::step(sides);
        let square = horizontal.window == window && horizontal.stride == vertical.stride;
        let inside = |side: &Side, size: usize| {
            let reaches = side.before < window && step > 0 && side.windows > 0;
            side.size == size && reaches && (side.windows - 1) * step < size + side.before
        };
        if !(square && inside(vertical, input.height) && inside(horizontal, input.width)) {
            let expected = "windows that each have a pixel of the picture";
            return Err(invalid("pool", format!("{sides:?} of {input:?}"), expected));
        }
        let output = Picture::new(vertical.windows, horizontal.windows, input.channels);
        // No side of a picture whose numbers can be counted in 32 bits is longer.
        super::count("numbers of a picture", &[input.height, input.width])?;
        let sizes = [input.height, input.width, input.channels].map(|size| size as u32);
        let [height, width, channels] = sizes;
        let numbers = PoolNumbers {
            height,
            width,
            channels,
            pooled_height: output.height as u32,
            pooled_width: output.width as u32,
            window: window as u32,
            step: step as u32,
            top: vertical.before as u32,
            left: horizontal.before as u32,
        };
        Ok(Self {
            input,
            output,
            numbers,
        })
    }
}
