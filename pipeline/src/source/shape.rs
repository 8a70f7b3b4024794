//! How large a picture is.

/// The shape of one picture: channels, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Colour channels: 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A shape of `channels` × `height` × `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
        }
    }

    /// As [`elements`](Self::elements), or `None` if there are more than a `usize` can count.
    pub(crate) fn checked_elements(self) -> Option<usize> {
        let plane = self.height.checked_mul(self.width)?;
        self.channels.checked_mul(plane)
    }

    /// Values in one picture: channels · height · width, or `usize::MAX` if there are more than can be counted. No
    /// picture is as large, and a loader refuses such a shape.
    pub const fn elements(self) -> usize {
        let plane = self.height.saturating_mul(self.width);
        self.channels.saturating_mul(plane)
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}
