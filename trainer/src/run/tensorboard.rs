//! TensorBoard's event files: records of protocol buffers, each behind its length and checksums.
//!
//! The few messages that scalars need are written by hand: `Event` and `Summary` in TensorFlow's `event.proto` and
//! `summary.proto`.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Result, file};

/// An event file that is written to.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new file in the folder.
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let name = format!("events.out.tfevents.{:010}.{}", now() as u64, host());
        let mut path = folder.join(&name);
        let mut number = 1;
        let file = loop {
            match File::create_new(&path) {
                // Two within a second: TensorBoard reads them in the order of their names.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    path = folder.join(format!("{name}.{number}"));
                    number += 1;
                }
                other => break other.map_err(file("create", &path))?,
            }
        };
        let mut events = Self { path, file };
        events.write(&event(now(), 0, Content::Version))?;
        Ok(events)
    }

    /// Says that the run goes on from a step: what earlier files have of that and later ones no longer counts.
    pub(super) fn start(&mut self, step: u64) -> Result<()> {
        self.write(&event(now(), step, Content::Start))
    }

    /// Numbers under their names.
    pub(super) fn scalars(&mut self, step: u64, scalars: &[(&str, f32)]) -> Result<()> {
        self.write(&event(now(), step, Content::Scalars(scalars)))
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file
            .write_all(&record(event))
            .map_err(file("write", &self.path))
    }
}

/// What an event is about.
enum Content<'a> {
    Version,
    Start,
    Scalars(&'a [(&'a str, f32)]),
}

fn event(seconds: f64, step: u64, content: Content<'_>) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, seconds);
    event.integer(2, step);
    match content {
        Content::Version => event.bytes(3, b"brain.Event:2"),
        Content::Start => {
            let mut session = Message::default();
            session.integer(1, 1);
            event.bytes(7, &session.0);
        }
        Content::Scalars(scalars) => {
            let mut summary = Message::default();
            for (tag, value) in scalars {
                let mut scalar = Message::default();
                scalar.bytes(1, tag.as_bytes());
                scalar.float(2, *value);
                summary.bytes(1, &scalar.0);
            }
            event.bytes(5, &summary.0);
        }
    }
    event.0
}

/// A protocol buffer: fields, each behind its number and the kind of what follows.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// Zero is what a field is that is not there.
    fn integer(&mut self, field: u64, value: u64) {
        if value == 0 {
            return;
        }
        self.variable(field << 3);
        self.variable(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.variable(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.variable(field << 3 | 2);
        self.variable(value.len() as u64);
        self.0.extend(value);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.variable(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; all bytes but the last have the highest bit set.
    fn variable(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Length, its checksum, data, their checksum.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked(crc32c(&length)).to_le_bytes());
    record.extend(data);
    record.extend(masked(crc32c(data)).to_le_bytes());
    record
}

/// So that checksums of data that hold checksums are no worse.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The cyclic redundancy check with Castagnoli's polynomial.
fn crc32c(data: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut crc = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 {
                    crc >> 1 ^ 0x82f6_3b78
                } else {
                    crc >> 1
                };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    !data.iter().fold(!0, |crc, &byte| {
        crc >> 8 ^ TABLE[((crc ^ u32::from(byte)) & 0xff) as usize]
    })
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

/// The machine's name, as far as a file's name can hold it.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")))
        .unwrap_or_default();
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    let name: String = name.trim().chars().filter(plain).take(64).collect();
    if name.is_empty() {
        "localhost".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_castagnolis() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    /// Written by TensorBoard's own `EventsWriter` and `RecordWriter`.
    #[test]
    fn records_are_tensorboards_to_the_byte() {
        let hex = |bytes: Vec<u8>| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let scalars = [("train/loss", 1.5), ("test/accuracy", f32::NAN)];
        assert_eq!(
            hex(record(&event(1.25, 300, Content::Scalars(&scalars)))),
            "3700000000000000e7e8ca5909000000000000f43f10ac022a290a110a0a747261696e2f6c6f7373150000c03f0a140a0d746573742f6163637572616379150000c07f537430c1"
        );
        assert_eq!(
            hex(record(&event(1.25, 2, Content::Start))),
            "0f000000000000006d532b0909000000000000f43f10023a02080153153c2e"
        );
        let version = event(1.25, 0, Content::Version);
        assert_eq!(
            hex(record(&version)),
            "1800000000000000a37f4b2209000000000000f43f1a0d627261696e2e4576656e743a32280b517b"
        );
    }
}
