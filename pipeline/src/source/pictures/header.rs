//! What the first bytes of a picture say: its format, by content and not by name, and its size.

use super::orientation::Orientation;

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg {
        /// Where the compressed pixels begin.
        scan: usize,
        /// Whether the decoder must keep all coefficients, as they come in several scans.
        several_scans: bool,
        orientation: Orientation,
    },
    /// The decoder itself tells how PNG pictures are oriented.
    Png,
}

/// A picture before it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) format: Format,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Of a JPEG picture: its components.
    pub(super) components: usize,
}

/// Why there is no header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHeader {
    /// It may be further on: the bytes end before it does.
    CutOff,
    /// In words.
    Refused(String),
}

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

impl Header {
    /// The header at the start of `bytes`, which may be the first part of a picture.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, NoHeader> {
        let header = if bytes.starts_with(&[0xff, 0xd8]) {
            Self::jpeg(bytes)
        } else if bytes.starts_with(&PNG) {
            Self::png(bytes)
        } else if bytes.len() < 2 || PNG.starts_with(bytes) {
            Err(NoHeader::CutOff)
        } else {
            Err(NoHeader::Refused(foreign(bytes)))
        }?;
        if header.width == 0 || header.height == 0 {
            let (width, height) = (header.width, header.height);
            return Err(NoHeader::Refused(format!(
                "it says that it is {width}x{height} pixels large"
            )));
        }
        Ok(header)
    }

    fn png(bytes: &[u8]) -> Result<Self, NoHeader> {
        // Behind the signature: length and name of the first chunk, width, height.
        let word = |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk);
        let (Some(width), Some(height)) = (word(16), word(20)) else {
            return Err(NoHeader::CutOff);
        };
        if bytes[12..16] != *b"IHDR" {
            return Err(NoHeader::Refused(
                "it is a PNG file without a header".into(),
            ));
        }
        Ok(Self {
            format: Format::Png,
            width: u32::from_be_bytes(*width) as usize,
            height: u32::from_be_bytes(*height) as usize,
            components: 0,
        })
    }

    /// Goes from marker to marker until the compressed pixels begin.
    fn jpeg(bytes: &[u8]) -> Result<Self, NoHeader> {
        let byte = |at: usize| bytes.get(at).copied().ok_or(NoHeader::CutOff);
        let short = |at: usize| {
            let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
            bytes
                .map(|bytes| usize::from(u16::from_be_bytes(*bytes)))
                .ok_or(NoHeader::CutOff)
        };
        let mut frame = None;
        let mut orientation = None;
        let mut at = 2;
        loop {
            // Anything may stand between segments, and any number of 0xff before a marker.
            while byte(at)? != 0xff {
                at += 1;
            }
            while byte(at)? == 0xff {
                at += 1;
            }
            let marker = byte(at)?;
            at += 1;
            // Those without a segment.
            if matches!(marker, 0 | 1 | 0xd0..=0xd8) {
                continue;
            }
            if marker == 0xd9 {
                return Err(NoHeader::Refused("it ends before its pixels begin".into()));
            }
            let length = short(at)?;
            match marker {
                // A frame, but for the tables that have numbers among those of frames.
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    let (height, width) = (short(at + 3)?, short(at + 5)?);
                    let components = usize::from(byte(at + 7)?);
                    frame = Some((width, height, components, marker == 0xc2));
                }
                0xe1 if orientation.is_none() => {
                    let segment = bytes.get(at + 2..at + length.max(2));
                    let segment = segment.ok_or(NoHeader::CutOff)?;
                    orientation = segment.strip_prefix(b"Exif\0\0").map(Orientation::of_exif);
                }
                0xda => {
                    let Some((width, height, components, progressive)) = frame else {
                        let reason = "its pixels begin before their number is known";
                        return Err(NoHeader::Refused(reason.into()));
                    };
                    let interleaved = usize::from(byte(at + 2)?) == components;
                    return Ok(Self {
                        format: Format::Jpeg {
                            scan: at + length,
                            several_scans: progressive || !interleaved,
                            orientation: orientation.unwrap_or_default(),
                        },
                        width,
                        height,
                        components,
                    });
                }
                _ => {}
            }
            at += length.max(2);
        }
    }
}

/// What stands in the place of a picture.
fn foreign(bytes: &[u8]) -> String {
    const KNOWN: [(&[u8], &str); 7] = [
        (b"GIF8", "a GIF picture"),
        (b"BM", "a BMP picture"),
        (b"II*\0", "a TIFF picture"),
        (b"MM\0*", "a TIFF picture"),
        (b"<", "a text such as HTML or SVG"),
        (b"{", "a text such as JSON"),
        (
            b"version https://git-lfs",
            "a pointer of Git LFS, not the file itself",
        ),
    ];
    let known = KNOWN.iter().find(|(start, _)| bytes.starts_with(start));
    let found = if let Some((_, known)) = known {
        (*known).to_owned()
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        "a WebP picture".to_owned()
    } else if bytes.get(4..8) == Some(b"ftyp") {
        "an AVIF or HEIF picture, or a film".to_owned()
    } else {
        let start = &bytes[..bytes.len().min(8)];
        format!("a file that begins with {start:02x?}")
    };
    format!("expected a JPEG or PNG picture, found {found}")
}
