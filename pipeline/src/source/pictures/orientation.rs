//! Which way up a picture is: cameras store it as the sensor sees it, and note how they were held.

/// EXIF's eight orientations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Whether stored rows are shown as columns; before the mirrors.
    pub(super) transposed: bool,
    /// Whether what is stored on the left is shown on the right (or, if transposed, at the bottom).
    pub(super) mirrored_x: bool,
    /// Whether what is stored at the top is shown at the bottom (or, if transposed, on the right).
    pub(super) mirrored_y: bool,
}

/// The tag of the orientation.
const TAG: u16 = 0x0112;

impl Orientation {
    /// The orientation with EXIF's number, 1 to 8; as stored for any other.
    fn numbered(number: u16) -> Self {
        let (transposed, mirrored_x, mirrored_y) = match number {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => (false, false, false),
        };
        Self {
            transposed,
            mirrored_x,
            mirrored_y,
        }
    }

    /// What EXIF data (a TIFF header and its first directory) say; as stored if they say nothing that makes sense.
    pub(super) fn of_exif(exif: &[u8]) -> Self {
        Self::find(exif).map_or_else(Self::default, Self::numbered)
    }

    fn find(exif: &[u8]) -> Option<u16> {
        let big = match exif.get(..4)? {
            b"MM\0*" => true,
            b"II*\0" => false,
            _ => return None,
        };
        let short = |at: usize| {
            let bytes = exif.get(at..)?.first_chunk()?;
            Some(if big {
                u16::from_be_bytes(*bytes)
            } else {
                u16::from_le_bytes(*bytes)
            })
        };
        let directory = exif.get(4..)?.first_chunk()?;
        let directory = if big {
            u32::from_be_bytes(*directory)
        } else {
            u32::from_le_bytes(*directory)
        } as usize;
        let entries = usize::from(short(directory)?);
        // Entries of twelve bytes: tag, type, count, and the value or where it is.
        (0..entries)
            .map(|entry| directory + 2 + 12 * entry)
            .take_while(|&entry| entry < exif.len())
            .find(|&entry| short(entry) == Some(TAG))
            .and_then(|entry| short(entry + 8))
    }

    /// Width and height as shown of a picture that is stored with these, or the other way round.
    pub(super) fn turn<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.transposed {
            (height, width)
        } else {
            (width, height)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exif(big: bool, orientation: u16) -> Vec<u8> {
        let short = |number: u16| {
            if big {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            }
        };
        let mut bytes = if big {
            b"MM\0*\0\0\0\x08".to_vec()
        } else {
            b"II*\0\x08\0\0\0".to_vec()
        };
        bytes.extend(short(2));
        for (tag, value) in [(0x0100, 7), (TAG, orientation)] {
            let (one, none) = (short(1), short(0));
            let count = if big { [none, one] } else { [one, none] };
            bytes.extend([short(tag), short(3), count[0], count[1], short(value), none].concat());
        }
        bytes
    }

    #[test]
    fn both_byte_orders_are_read() {
        for big in [true, false] {
            for number in 0..10 {
                assert_eq!(
                    Orientation::of_exif(&exif(big, number)),
                    Orientation::numbered(number)
                );
            }
        }
    }

    #[test]
    fn cut_off_and_senseless_data_mean_as_stored() {
        for big in [true, false] {
            let whole = exif(big, 6);
            // The value is the last but two bytes.
            for length in 0..whole.len() - 2 {
                let found = Orientation::of_exif(&whole[..length]);
                assert_eq!(found, Orientation::default(), "{length}");
            }
        }
        for senseless in [
            &b"MM\0*\xff\xff\xff\xff"[..],
            b"II*\0\xff\xff\xff\xff",
            b"GIF89a",
        ] {
            assert_eq!(Orientation::of_exif(senseless), Orientation::default());
        }
    }
}
