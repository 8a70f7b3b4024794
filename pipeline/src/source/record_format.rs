//! What a record of fixed size looks like.

use std::ops::Range;

use super::Shape;
use crate::error::{Result, invalid};

/// Where the label and the pixels lie in a record.
///
/// ```
/// use feedline_pipeline::Shape;
/// use feedline_pipeline::source::RecordFormat;
///
/// // Grey 8x8 pictures behind a four-byte header whose third byte is one of 26 letters.
/// let letters = RecordFormat {
///     shape: Shape::new(1, 8, 8),
///     classes: 26,
///     record_length: 4 + 64,
///     label_offset: 2,
///     pixel_offset: 4,
/// };
/// # let _ = letters;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFormat {
    /// The shape of the pictures, stored as CHW bytes.
    pub shape: Shape,
    /// The number of classes; label bytes are below it.
    pub classes: usize,
    /// Bytes of a record.
    pub record_length: usize,
    /// Where in the record the label byte lies.
    pub label_offset: usize,
    /// Where in the record the pixels begin.
    pub pixel_offset: usize,
}

impl RecordFormat {
    /// CIFAR-10, binary version: one label byte, then 3072 pixels
    /// ([specification](https://www.cs.toronto.edu/~kriz/cifar.html)).
    pub const CIFAR10: Self = Self {
        shape: Shape::new(3, 32, 32),
        classes: 10,
        record_length: 1 + 3072,
        label_offset: 0,
        pixel_offset: 1,
    };

    /// CIFAR-100, binary version, with its 20 superclasses as labels: a coarse and a fine label byte, then 3072
    /// pixels ([specification](https://www.cs.toronto.edu/~kriz/cifar.html)).
    pub const CIFAR100_COARSE: Self = Self {
        classes: 20,
        record_length: 2 + 3072,
        pixel_offset: 2,
        ..Self::CIFAR10
    };

    /// CIFAR-100, binary version, with its 100 classes as labels.
    pub const CIFAR100_FINE: Self = Self {
        classes: 100,
        label_offset: 1,
        ..Self::CIFAR100_COARSE
    };

    /// An error if the format contradicts itself.
    pub(super) fn check(&self) -> Result<()> {
        let Some(end) = self
            .shape
            .checked_elements()
            .and_then(|elements| self.pixel_offset.checked_add(elements))
        else {
            return Err(invalid(
                "record format",
                format!("{self:?}"),
                "pixels that can be counted",
            ));
        };
        let label_is_a_pixel = (self.pixel_offset..end).contains(&self.label_offset);
        if self.shape.elements() == 0 || self.classes == 0 {
            return Err(invalid(
                "record format",
                format!("{self:?}"),
                "pixels and at least one class",
            ));
        }
        if end > self.record_length || self.label_offset >= self.record_length || label_is_a_pixel {
            let expected = "a label byte and pixels side by side within the record's length";
            return Err(invalid("record format", format!("{self:?}"), expected));
        }
        Ok(())
    }

    /// Where the pixels lie in a record.
    pub(super) fn pixels(&self) -> Range<usize> {
        self.pixel_offset..self.pixel_offset + self.shape.elements()
    }

    /// The part of a record that a sample needs: label, pixels and what lies between.
    pub(super) fn span(&self) -> Range<usize> {
        let pixels = self.pixels();
        pixels.start.min(self.label_offset)..pixels.end.max(self.label_offset + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    const TINY: RecordFormat = RecordFormat {
        shape: Shape::new(1, 2, 2),
        classes: 3,
        record_length: 6,
        label_offset: 1,
        pixel_offset: 2,
    };

    #[test]
    fn of_a_long_record_only_what_a_sample_needs_is_read() {
        let long = RecordFormat {
            record_length: 1000,
            pixel_offset: 500,
            ..TINY
        };
        let behind = RecordFormat {
            label_offset: 510,
            ..long
        };
        assert_eq!(TINY.span(), 1..6);
        assert_eq!(long.span(), 1..504);
        assert_eq!(behind.span(), 500..511);
    }

    #[test]
    fn formats_that_contradict_themselves_are_refused() {
        for format in [
            RecordFormat {
                record_length: 5,
                ..TINY
            },
            RecordFormat {
                label_offset: 3,
                ..TINY
            },
            RecordFormat {
                label_offset: 6,
                ..TINY
            },
            RecordFormat {
                record_length: 0,
                ..TINY
            },
            RecordFormat { classes: 0, ..TINY },
            RecordFormat {
                pixel_offset: usize::MAX,
                ..TINY
            },
        ] {
            let error = format.check().unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    }
}
