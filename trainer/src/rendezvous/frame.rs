//! Messages on a connection: four bytes of length, then JSON.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No message is longer.
pub(super) const MOST_BYTES: usize = 64 << 10;

/// What a message carries for others is no longer than this, as JSON.
pub(super) const MOST_PAYLOAD: usize = 48 << 10;

/// The bytes of a message.
pub(super) fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MOST_BYTES {
        return Err(invalid(format!("a message of {length} bytes")));
    }
    // It fits.
    bytes[..4].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(bytes)
}

/// Takes the first message of at most `most` bytes from those that have arrived, once it is whole.
pub(super) fn take<T: DeserializeOwned>(
    arrived: &mut Vec<u8>,
    most: usize,
) -> io::Result<Option<T>> {
    let Some(header) = arrived.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = checked(*header, most)?;
    let Some(message) = arrived.get(4..4 + length) else {
        return Ok(None);
    };
    let message = serde_json::from_slice(message)?;
    arrived.drain(..4 + length);
    Ok(Some(message))
}

/// Reads a message, which must arrive within `limit`.
pub(super) fn read<T: DeserializeOwned>(mut stream: &TcpStream, limit: Duration) -> io::Result<T> {
    let end = Instant::now() + limit;
    let mut fill = |bytes: &mut [u8]| {
        let mut filled = 0;
        while filled < bytes.len() {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(rest))?;
            match stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => filled += count,
                Err(error) if is_late(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    let mut header = [0; 4];
    fill(&mut header)?;
    let mut message = vec![0; checked(header, MOST_BYTES)?];
    fill(&mut message)?;
    Ok(serde_json::from_slice(&message)?)
}

/// Writes a message, which others must take within `limit`.
pub(super) fn write(
    mut stream: &TcpStream,
    message: &impl Serialize,
    limit: Duration,
) -> io::Result<()> {
    stream.set_write_timeout(Some(limit.max(Duration::from_millis(1))))?;
    stream.write_all(&encode(message)?)
}

/// Whether nothing has arrived yet, which is no failure.
pub(super) fn is_late(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn checked(header: [u8; 4], most: usize) -> io::Result<usize> {
    // Where usize is smaller, the length is too large anyway.
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    match length <= most {
        true => Ok(length),
        false => Err(invalid(format!("a message of {length} bytes"))),
    }
}

fn invalid(found: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_arrive_whole_however_they_are_cut(
            messages in prop::collection::vec(".{0,40}", 0..5),
            cut in 1usize..20,
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|text| encode(text).unwrap()).collect();
            let (mut arrived, mut found) = (Vec::new(), Vec::new());
            for piece in bytes.chunks(cut) {
                arrived.extend_from_slice(piece);
                while let Some(message) = take::<String>(&mut arrived, MOST_BYTES).unwrap() {
                    found.push(message);
                }
            }
            prop_assert_eq!(found, messages);
            prop_assert!(arrived.is_empty());
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error_or_too_few(mut bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let before = bytes.len();
            if let Ok(Some(_)) = take::<serde_json::Value>(&mut bytes, 4096) {
                prop_assert!(bytes.len() < before);
            }
        }
    }

    #[test]
    fn too_long_a_message_is_refused_by_its_header_alone() {
        let mut bytes = 5000u32.to_be_bytes().to_vec();
        assert!(take::<String>(&mut bytes, 4096).is_err());
        assert!(encode(&"x".repeat(MOST_BYTES)).is_err());
    }
}
