//! From a picture's file to a sample's pixels.

use std::cell::RefCell;
use std::ops::Range;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::super::Shape;
use super::codec::{self, Decoded};
use super::emit::{Stored, emit};
use super::fit::Fit;
use super::header::{Header, NoHeader};
use crate::error::{Result, invalid};

/// The most pixels that a picture may have, unless [`Decode::pixel_limit`] says otherwise: 2²⁶, as many as 8192 × 8192.
pub const DEFAULT_PIXEL_LIMIT: usize = 1 << 26;

/// What pictures of all sizes become: their number of channels and size, and how they are made to fit.
///
/// JPEG and PNG pictures of every kind are read; the first bytes of a file say which it is, not its name. Colours become
/// grey or grey becomes colours as need be, 16 bits become 8, and what is transparent is seen before black. Cameras'
/// notes of how they were held (EXIF's orientation) are obeyed. Colour profiles are not. Resizing is bilinear, and
/// looks at all pixels when it makes a picture smaller, as torchvision does.
///
/// ```
/// use feedline_pipeline::source::{Decode, Fit};
///
/// let decode = Decode::rgb(224, 224).fit(Fit::Contain);
/// assert_eq!(decode.shape().to_string(), "3x224x224");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decode {
    shape: Shape,
    fit: Fit,
    pixel_limit: usize,
}

/// As much of a picture as is read to find its header; if that is not there, the next. Most have it at once; there may be
/// a small picture before it, or many notes.
const BEGINNINGS: [usize; 4] = [BEGINNING as usize, 64 << 10, 1 << 20, usize::MAX];

/// The first of them.
pub(super) const BEGINNING: u64 = 4 << 10;

thread_local! {
    /// Keeps its memory from picture to picture.
    static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
}

impl Decode {
    /// Pictures in red, green and blue.
    pub const fn rgb(height: usize, width: usize) -> Self {
        Self::new(3, height, width)
    }

    /// Pictures in grey.
    pub const fn grey(height: usize, width: usize) -> Self {
        Self::new(1, height, width)
    }

    const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self {
            shape: Shape::new(channels, height, width),
            fit: Fit::Cover,
            pixel_limit: DEFAULT_PIXEL_LIMIT,
        }
    }

    /// How pictures of other proportions are made to fit. Default: [`Fit::Cover`].
    pub const fn fit(mut self, fit: Fit) -> Self {
        self.fit = fit;
        self
    }

    /// The most pixels (width times height) that a picture may have: a small file can claim to be so large a picture
    /// that no memory holds it. One that has more is an error of its sample, before it is decoded. Default:
    /// [`DEFAULT_PIXEL_LIMIT`].
    pub const fn pixel_limit(mut self, pixels: usize) -> Self {
        // What a larger one needs could not be counted.
        let countable = usize::MAX >> 16;
        self.pixel_limit = if pixels < countable {
            pixels
        } else {
            countable
        };
        self
    }

    /// The shape of what comes out.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// An error if no picture can be of this size.
    pub(super) fn check(&self) -> Result<()> {
        let Shape { height, width, .. } = self.shape;
        let sides = 1..=usize::from(u16::MAX);
        if sides.contains(&height) && sides.contains(&width) {
            return Ok(());
        }
        Err(invalid(
            "size to decode to",
            format!("{height}x{width}"),
            format!("a height and a width of 1 to {}", u16::MAX),
        ))
    }

    /// Numbers that the pixels follow from, for fingerprints.
    pub(super) fn numbers(&self) -> [u64; 5] {
        let Shape {
            channels,
            height,
            width,
        } = self.shape;
        let fit = match self.fit {
            Fit::Cover => 0,
            Fit::Stretch => 1,
            Fit::Contain => 2,
        };
        [channels, height, width, fit, self.pixel_limit].map(|number| number as u64)
    }

    /// The header at the start of a picture's bytes, if the picture is not too large.
    pub(super) fn header(&self, bytes: &[u8]) -> Result<Header, NoHeader> {
        let header = Header::parse(bytes)?;
        let (width, height) = (header.width, header.height);
        if width.saturating_mul(height) > self.pixel_limit {
            return Err(NoHeader::Refused(format!(
                "it is {width}x{height} pixels large, but the limit is {} pixels; see Decode::pixel_limit",
                self.pixel_limit
            )));
        }
        Ok(header)
    }

    /// Bytes that [`decode`](Self::decode) needs for a picture with this header.
    pub(super) fn needs(&self, header: &Header) -> Needs {
        let to = self.shape;
        // Between its two passes the resizer has a picture as wide as the stored one and as high as the result, which
        // may be turned.
        let between = header.width * to.height.max(to.width);
        Needs {
            pixels: codec::pixel_bytes(header),
            elsewhere: codec::working_bytes(header).saturating_add(to.channels * between),
        }
    }

    /// What a picture of `length` bytes needs: nothing if it has no header, as it won't be decoded then. `read` adds a
    /// part of the picture to what was read before it into `beginning`.
    pub(super) fn look_at(
        &self,
        length: usize,
        beginning: &mut Vec<u8>,
        mut read: impl FnMut(Range<usize>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<Needs> {
        beginning.clear();
        for limit in BEGINNINGS {
            read(beginning.len()..limit.min(length), beginning)?;
            match self.header(beginning) {
                Ok(header) => return Ok(self.needs(&header)),
                Err(NoHeader::CutOff) if limit < length => {}
                Err(_) => break,
            }
        }
        Ok(Needs::default())
    }

    /// Decodes a picture into `output`, of as many bytes as the shape has elements. `memory` is rubbish before and
    /// after, and as long as [`work`](Self::work) says for what the picture needs. The error says why in words.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        memory: &mut [u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        let header = self.header(bytes).map_err(|error| match error {
            NoHeader::CutOff if bytes.is_empty() => "the file is empty".to_owned(),
            NoHeader::CutOff => "it is cut off in its header".to_owned(),
            NoHeader::Refused(reason) => reason,
        })?;
        let Shape {
            channels,
            height,
            width,
        } = self.shape;
        let needed = self.work(codec::pixel_bytes(&header));
        if memory.len() < needed {
            return Err(format!(
                "it is {}x{} pixels large, more than when the source was opened",
                header.width, header.height
            ));
        }
        let (resized, pixels) = memory.split_at_mut(self.shape.elements());
        let Decoded {
            channels: stored,
            orientation,
        } = codec::decode(bytes, &header, channels, pixels)?;
        let from = (header.width, header.height);
        let placement = self.fit.place(orientation.turn(from), (width, height));
        // Of the picture as it is stored: turned when it is small.
        let (used, to) = (
            orientation.turn(placement.used),
            orientation.turn(placement.size),
        );
        let whole = used == (from.0 as f64, from.1 as f64);
        let pixels = &pixels[..from.0 * from.1 * stored];
        let pixels = if whole && from == to {
            pixels
        } else {
            let resized = &mut resized[..to.0 * to.1 * stored];
            resize(pixels, from, used, resized, to, stored)?;
            resized
        };
        let stored = Stored {
            pixels,
            width: to.0,
            height: to.1,
            channels: stored,
            orientation,
        };
        emit(&stored, output, (width, height), placement.margin);
        Ok(())
    }

    /// Cuts `scratch` into the sample's own bytes, room for a file of up to `file` bytes, and what [`decode`](Self::decode)
    /// works in for pictures of so many bytes of pixels.
    pub(super) fn split<'a>(
        &self,
        scratch: &'a mut Vec<u8>,
        file: usize,
        pixels: usize,
    ) -> [&'a mut [u8]; 3] {
        let output = self.shape.elements();
        let needed = output + file + self.work(pixels);
        if scratch.len() < needed {
            scratch.resize(needed, 0);
        }
        let (output, rest) = scratch.split_at_mut(output);
        let (file, work) = rest.split_at_mut(file);
        [output, file, work]
    }

    /// Bytes of memory that [`decode`](Self::decode) works in, for pictures of so many bytes of pixels.
    pub(super) fn work(&self, pixels: usize) -> usize {
        self.shape.elements().saturating_add(pixels)
    }
}

/// Bytes that pictures need to be decoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// In the memory that is lent.
    pub(super) pixels: usize,
    /// In the decoder's own memory, and the resizer's.
    pub(super) elsewhere: usize,
}

impl Needs {
    /// All bytes that a sample needs, if its file of up to `file` bytes is read into memory.
    pub(super) fn scratch_bytes(self, decode: &Decode, file: usize) -> usize {
        let parts = [file, decode.work(self.pixels), self.elsewhere];
        let sum = |sum: usize, &bytes| sum.saturating_add(bytes);
        parts.iter().fold(decode.shape.elements(), sum)
    }

    /// What is enough for both.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            pixels: self.pixels.max(other.pixels),
            elsewhere: self.elsewhere.max(other.elsewhere),
        }
    }
}

/// Makes the middle of a picture, `used` of its columns and rows, one of another size.
fn resize(
    pixels: &[u8],
    from: (usize, usize),
    used: (f64, f64),
    resized: &mut [u8],
    to: (usize, usize),
    channels: usize,
) -> Result<(), String> {
    let kind = if channels == 1 {
        PixelType::U8
    } else {
        PixelType::U8x3
    };
    // With care, as rounding may not lead out of the picture.
    let middle = |side: usize, used: f64| {
        let side = side as f64;
        let before = ((side - used) / 2.0).max(0.0);
        (before, used.min(side - before))
    };
    let ((left, width), (top, height)) = (middle(from.0, used.0), middle(from.1, used.1));
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left, top, width, height);
    let from = ImageRef::new(from.0 as u32, from.1 as u32, pixels, kind);
    let to = Image::from_slice_u8(to.0 as u32, to.1 as u32, resized, kind);
    let (from, mut to) = (
        from.map_err(|error| error.to_string())?,
        to.map_err(|error| error.to_string())?,
    );
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize(&from, &mut to, &options))
        .map_err(|error| error.to_string())
}
