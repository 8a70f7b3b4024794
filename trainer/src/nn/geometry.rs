//! Where windows lie along a side of a picture.

use std::ops::Range;

/// What lies beyond the edge of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// Nothing that a window could reach: windows lie within the picture, and what does not fill one at the right and at
    /// the bottom is left out.
    #[default]
    Valid,
    /// As much as it takes for the output to have ⌈size / stride⌉ pixels along each side; if it is an odd number, there
    /// is one more at the right and at the bottom, as in TensorFlow. For a convolution it is zeros, for a pool nothing.
    Same,
}

/// The windows along one side of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side {
    /// Pixels of the picture.
    pub(crate) size: usize,
    /// Pixels of a window.
    pub(crate) window: usize,
    /// Pixels from one window to the next.
    pub(crate) stride: usize,
    /// How many windows there are.
    pub(crate) windows: usize,
    /// How far the first window begins before the first pixel.
    pub(crate) before: usize,
}

impl Side {
    /// `window` and `stride` must be at least 1; with [`Padding::Valid`] a window must fit.
    pub(crate) fn new(size: usize, window: usize, stride: usize, padding: Padding) -> Self {
        let (windows, before) = match padding {
            Padding::Valid => ((size - window) / stride + 1, 0),
            Padding::Same => {
                let windows = size.div_ceil(stride);
                let reach = (windows - 1) * stride + window;
                (windows, reach.saturating_sub(size) / 2)
            }
        };
        Self {
            size,
            window,
            stride,
            windows,
            before,
        }
    }

    /// The pixels of the picture that the window at place `index` covers.
    pub(crate) fn pixels(&self, index: usize) -> Range<usize> {
        let start = index * self.stride;
        let end = (start + self.window).saturating_sub(self.before);
        start.saturating_sub(self.before)..end.min(self.size)
    }

    /// The stride of both sides, but no longer than they are: windows that are farther apart are none.
    pub(crate) fn step([vertical, horizontal]: &[Self; 2]) -> usize {
        vertical.stride.min(vertical.size.max(horizontal.size))
    }

    /// Pixels from the beginning of the first window to the end of the last.
    pub(crate) fn reach(&self) -> usize {
        (self.windows - 1) * self.stride + self.window
    }

    /// How far the last window ends after the last pixel.
    pub(crate) fn after(&self) -> usize {
        (self.reach()).saturating_sub(self.before + self.size)
    }
}
