//! How pictures, convolutions and pools lie in memory.

use super::padded;

/// A picture, or a row of features as a picture of one pixel: pixel after pixel, `stride` numbers each, of which the
/// first `channels` count and the others are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) stride: usize,
}

impl Picture {
    /// With padded channels.
    pub(crate) fn new(height: usize, width: usize, channels: usize) -> Self {
        Self {
            height,
            width,
            channels,
            stride: padded(channels),
        }
    }

    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Numbers in a row of pixels.
    pub(crate) fn row(&self) -> usize {
        self.width * self.stride
    }

    /// Numbers in all.
    pub(crate) fn len(&self) -> usize {
        self.height * self.row()
    }
}

/// A convolution. Its input is a picture that has its border of zeros already.
///
/// Numbers beyond a window's `kernel · stride` may be read together with it (and multiplied by zeros, or ignored), so
/// wherever pictures with a border lie one after the other, [`SLACK`] more numbers follow the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convolution {
    /// With its border.
    pub(crate) input: Picture,
    pub(crate) output: Picture,
    pub(crate) kernel: usize,
    /// Pixels from one window to the next.
    pub(crate) step: usize,
}

/// Numbers that must be readable and writable after pictures.
pub(crate) const SLACK: usize = super::BLOCK;

impl Convolution {
    /// Numbers of one row of a window, which lie side by side in the input.
    pub(crate) fn segment(&self) -> usize {
        self.kernel * self.input.stride
    }

    /// Numbers of one row of a window in padded weights and weight gradients, which are `[filter][kernel row][segment]`.
    pub(crate) fn padded_segment(&self) -> usize {
        padded(self.segment())
    }

    /// How far a padded segment may reach beyond the last window.
    pub(crate) fn overreach(&self) -> usize {
        self.padded_segment() - self.segment()
    }

    /// Numbers of one filter in padded weights: one padded segment for each row of the kernel.
    pub(crate) fn padded_filter(&self) -> usize {
        self.kernel * self.padded_segment()
    }

    /// Whether the windows of all output pixels lie in the input, and channels in their pixels, as they must.
    pub(crate) fn fits(&self) -> bool {
        let Self { input, output, .. } = self;
        let fits = |input: usize, output: usize| {
            output > 0 && (output - 1) * self.step + self.kernel <= input
        };
        let holds = |picture: &Picture| picture.channels <= picture.stride;
        fits(input.height, output.height)
            && fits(input.width, output.width)
            && holds(input)
            && holds(output)
            && output.stride.is_multiple_of(super::BLOCK)
    }

    /// Where the window of output pixel `(y, x)` begins in the input.
    pub(crate) fn window(&self, y: usize, x: usize) -> usize {
        (y * self.input.width + x) * self.step * self.input.stride
    }
}

/// A max-pool. Windows may overlap and reach over the edges, where there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) input: Picture,
    pub(crate) output: Picture,
    /// Pixels along a side of a window, at most 16: a place in a window is a byte.
    pub(crate) window: usize,
    /// Pixels from one window to the next.
    pub(crate) step: usize,
    /// How far the first window begins above the first row, and left of the first column.
    pub(crate) top: usize,
    pub(crate) left: usize,
}
