//! The header of a NumPy `.npy` file: which elements follow, in which order, how many along each axis.

use crate::error::Fault;

/// What stands in front of the elements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The type of the elements as NumPy writes it, as in `<i8`.
    pub(super) element: String,
    /// How many along each axis, the slowest first.
    pub(super) dimensions: Vec<usize>,
    /// Where the elements begin, in bytes from the start of the file.
    pub(super) start: usize,
}

/// What is wrong with a header, and where in the file.
#[derive(Debug)]
pub(super) struct Defect {
    pub(super) fault: Fault,
    pub(super) offset: usize,
    pub(super) expected: String,
    pub(super) found: String,
}

type Result<T> = std::result::Result<T, Defect>;

impl Header {
    /// The longest header, as many bytes as version 1.0 can say. NumPy's own are 128 bytes long.
    pub(super) const LONGEST: usize = 10 + u16::MAX as usize;

    /// Reads the header at the start of `file`, of which at least the first [`LONGEST`](Self::LONGEST) bytes are needed, if
    /// it has as many. Versions 1.0, 2.0 and 3.0 of the
    /// [format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        let cut_off = |expected: String| Defect {
            fault: Fault::WrongLength,
            offset: file.len(),
            expected,
            found: format!("{} bytes", file.len()),
        };
        if file.starts_with(b"PK\x03\x04") {
            let expected = "one array, as numpy.save(\"name.npy\", array) writes it";
            return Err(defect(
                Fault::WrongType,
                0,
                expected,
                "an archive of arrays (.npz)",
            ));
        }
        let magic = file.get(..6).unwrap_or(file);
        if magic != b"\x93NUMPY" {
            let (expected, found) = ("NumPy's \\x93NUMPY", magic.escape_ascii().to_string());
            return Err(defect(Fault::WrongMagic, 0, expected, found));
        }
        // The header's length has two bytes in version 1.0 and four later.
        let (length, begin) = match file.get(6..8) {
            Some([1, 0]) => (file.get(8..10), 10),
            Some([2 | 3, 0]) => (file.get(8..12), 12),
            Some([major, minor]) => {
                let found = format!("{major}.{minor}");
                return Err(defect(
                    Fault::WrongMagic,
                    6,
                    "version 1.0, 2.0 or 3.0",
                    found,
                ));
            }
            _ => return Err(cut_off("a version behind the magic number".into())),
        };
        let length = length.ok_or_else(|| cut_off("the length of the header".into()))?;
        let length = length
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        if length > u64::from(u16::MAX) {
            let expected = format!("a header of at most {} bytes", u16::MAX);
            return Err(defect(Fault::DamagedHeader, 8, expected, length));
        }
        let start = begin + length as usize;
        let Some(text) = file.get(begin..start) else {
            return Err(cut_off(format!("a header that ends at byte {start}")));
        };
        let (element, dimensions) = Parser { text, begin, at: 0 }.header()?;
        Ok(Self {
            element,
            dimensions,
            start,
        })
    }
}

fn defect(fault: Fault, offset: usize, expected: impl ToString, found: impl ToString) -> Defect {
    Defect {
        fault,
        offset,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// Reads as much of Python's notation as NumPy writes: a dictionary of three entries.
struct Parser<'a> {
    text: &'a [u8],
    /// Where in the file the text begins.
    begin: usize,
    /// How much of it was read.
    at: usize,
}

impl Parser<'_> {
    /// The elements' type and the dimensions.
    fn header(mut self) -> Result<(String, Vec<usize>)> {
        let (mut element, mut fortran_order, mut dimensions) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let place = self.at;
            match self.string()?.as_str() {
                "descr" if element.is_none() => {
                    self.expect(b':')?;
                    element = Some(self.element()?);
                }
                "fortran_order" if fortran_order.is_none() => {
                    self.expect(b':')?;
                    fortran_order = Some(self.boolean()?);
                }
                "shape" if dimensions.is_none() => {
                    self.expect(b':')?;
                    dimensions = Some(self.tuple()?);
                }
                _ => {
                    self.at = place;
                    return self
                        .unexpected("the keys 'descr', 'fortran_order' and 'shape', once each");
                }
            }
            if !self.take(b',') {
                self.expect(b'}')?;
                break;
            }
        }
        self.skip_space();
        if self.at < self.text.len() {
            return self.unexpected("the end of the header");
        }
        let (Some(element), Some(fortran_order), Some(dimensions)) =
            (element, fortran_order, dimensions)
        else {
            return self.unexpected("the keys 'descr', 'fortran_order' and 'shape'");
        };
        // The order of a single axis is the same either way.
        if fortran_order && dimensions.iter().filter(|&&length| length != 1).count() > 1 {
            let expected = "an array in C order, as numpy.ascontiguousarray(array) makes it";
            let found = "one in Fortran order";
            return Err(defect(Fault::WrongType, self.begin, expected, found));
        }
        Ok((element, dimensions))
    }

    fn element(&mut self) -> Result<String> {
        self.skip_space();
        let offset = self.begin + self.at;
        if self.text.get(self.at) == Some(&b'[') {
            let expected = "an array of numbers";
            return Err(defect(
                Fault::WrongType,
                offset,
                expected,
                "one of structures",
            ));
        }
        let element = self.string()?;
        if element.contains('O') {
            let expected = "an array of numbers, such as numpy.stack(list) makes of a list of arrays of one shape";
            let found = "one of Python objects (pickled)";
            return Err(defect(Fault::WrongType, offset, expected, found));
        }
        Ok(element)
    }

    fn string(&mut self) -> Result<String> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let content = match rest.split_first() {
            Some((quote @ (b'\'' | b'"'), content)) => {
                let end = content.iter().position(|byte| byte == quote);
                end.map(|end| &content[..end])
            }
            _ => None,
        };
        match content {
            Some(content)
                if content
                    .iter()
                    .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\') =>
            {
                self.at += content.len() + 2;
                Ok(String::from_utf8_lossy(content).into_owned())
            }
            _ => self.unexpected("a word in quotation marks"),
        }
    }

    fn boolean(&mut self) -> Result<bool> {
        self.skip_space();
        for (word, value) in [(&b"False"[..], false), (b"True", true)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.unexpected("True or False")
    }

    fn tuple(&mut self) -> Result<Vec<usize>> {
        self.expect(b'(')?;
        let mut numbers = Vec::new();
        while !self.take(b')') {
            numbers.push(self.number()?);
            if !self.take(b',') {
                if numbers.len() == 1 {
                    return self.unexpected("a comma, as in (7,)");
                }
                self.expect(b')')?;
                break;
            }
        }
        Ok(numbers)
    }

    fn number(&mut self) -> Result<usize> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.count();
        let number = String::from_utf8_lossy(&rest[..length]).parse();
        let Ok(number) = number else {
            return self.unexpected("a number that can be counted");
        };
        self.at += length;
        // Python 2 wrote long integers so.
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(number)
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        let space = rest.iter().take_while(|byte| byte.is_ascii_whitespace());
        self.at += space.count();
    }

    /// Whether this byte comes next, behind which it then goes on.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        match self.take(byte) {
            true => Ok(()),
            false => self.unexpected(char::from(byte)),
        }
    }

    fn unexpected<T>(&self, expected: impl ToString) -> Result<T> {
        let rest = &self.text[self.at..];
        let found = match rest {
            [] => "the end of the header".into(),
            _ => rest[..rest.len().min(20)].escape_ascii().to_string(),
        };
        let offset = self.begin + self.at;
        Err(defect(Fault::DamagedHeader, offset, expected, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(version: u8, text: &str) -> Vec<u8> {
        let length = (text.len() as u32).to_le_bytes();
        let length = &length[..if version == 1 { 2 } else { 4 }];
        [b"\x93NUMPY", &[version, 0][..], length, text.as_bytes()].concat()
    }

    fn parsed(text: &str) -> Option<(String, Vec<usize>)> {
        let header = Header::parse(&file(1, text)).ok()?;
        Some((header.element, header.dimensions))
    }

    #[test]
    fn what_numpy_and_others_write_is_read() {
        let expected = Some(("|u1".into(), vec![3, 4]));
        for text in [
            "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 4), }   \n",
            "{\"shape\":(3,4,),\"descr\":\"|u1\",\"fortran_order\":False}",
            " {'descr': '|u1' , 'fortran_order' : False, 'shape': ( 3L, 4L ) } ",
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
        for version in [1, 2, 3] {
            let text = "{'descr': '<i8', 'fortran_order': True, 'shape': (7,), }";
            let file = file(version, text);
            let header = Header::parse(&file).unwrap();
            assert_eq!((header.start, header.dimensions), (file.len(), vec![7]));
        }
    }

    #[test]
    fn what_is_no_dictionary_of_the_three_is_refused_where_it_is_wrong() {
        for (text, place) in [
            ("", 0),
            ("{", 1),
            ("{'descr': '|u1'}", 16),
            ("{'descr': '|u1', 'descr': '|u1'}", 17),
            ("{'other': '|u1'}", 1),
            ("{'descr': '|\\x75'}", 10),
            ("{'descr': '|u1', 'fortran_order': 0}", 34),
            ("{'shape': (3)}", 12),
            ("{'shape': (,)}", 11),
            ("{'shape': (-3,)}", 11),
            ("{'shape': (99999999999999999999,)}", 11),
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (3,)} x",
                56,
            ),
        ] {
            let defect = Header::parse(&file(1, text)).unwrap_err();
            assert_eq!(
                (defect.fault, defect.offset),
                (Fault::DamagedHeader, 10 + place),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_point_behind_the_end(
            version in 0u8..5, text in "[{}()\\[\\]'\":, 0-9LTFdescrshapfotn_|u1O<>]{0,80}", cut in 0usize..100,
        ) {
            let mut file = file(version, &text);
            file.truncate(file.len().saturating_sub(cut));
            match Header::parse(&file) {
                Ok(header) => prop_assert!(header.start <= file.len()),
                Err(defect) => prop_assert!(defect.offset <= file.len()),
            }
        }

        #[test]
        fn every_shape_is_read_as_it_was_written(dimensions in prop::collection::vec(0usize..1000, 0..6)) {
            let numbers: String = dimensions.iter().map(|number| format!("{number}, ")).collect();
            let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({numbers}), }}");
            prop_assert_eq!(parsed(&text), Some(("<f4".into(), dimensions)));
        }
    }
}
