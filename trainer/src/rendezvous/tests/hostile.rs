//! Connections of those who do not belong to the run.

use super::*;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

/// Connects to process 0, and says `bytes`.
fn say(port: u16, bytes: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let _ = stream.write_all(bytes);
    Some(stream)
}

#[test]
fn any_bytes_leave_process_0_as_it_was() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 2, port, LONG));
    until(|| say(port, &[]).is_some());
    let kept = Mutex::new(Vec::new());
    proptest!(ProptestConfig::with_cases(200), |(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        has_length in any::<bool>(),
        ends in any::<bool>(),
    )| {
        if has_length && bytes.len() >= 4 {
            // A message that is as long as it says.
            let length = (bytes.len() - 4) as u32;
            bytes[..4].copy_from_slice(&length.to_be_bytes());
        }
        let stream = say(port, &bytes).unwrap();
        if !ends {
            kept.lock().unwrap().push(stream);
        }
    });
    let second = join(1, 2, port, LONG).unwrap();
    let first = first.join().unwrap().unwrap();
    assert!(first.roll().aborted().is_none() && second.roll().aborted().is_none());
}

#[test]
fn too_long_a_message_ends_its_connection() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 2, port, LONG));
    until(|| say(port, &[]).is_some());
    for length in [4097, u32::MAX] {
        let mut stream = say(port, &length.to_be_bytes()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        // After its challenge, process 0 says nothing more.
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        assert!(said.len() < 200);
    }
    drop(join(1, 2, port, LONG).unwrap());
    first.join().unwrap().unwrap();
}

#[test]
fn a_flood_of_connections_keeps_nobody_out() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 4, port, LONG));
    until(|| say(port, &[]).is_some());
    let flood: Vec<_> = (0..300)
        .map(|i| match i % 3 {
            0 => say(port, &[]),
            1 => say(port, &[0, 0, 0, 9, b'{']),
            _ => say(port, b"GET / HTTP/1.1\r\n\r\n"),
        })
        .collect();
    let others: Vec<_> = (1..4)
        .map(|process| thread::spawn(move || join(process, 4, port, LONG)))
        .collect();
    let more: Vec<_> = (0..100).map(|_| say(port, &[1])).collect();
    let others: Vec<_> = others
        .into_iter()
        .map(|thread| thread.join().unwrap().unwrap())
        .collect();
    assert!(first.join().unwrap().unwrap().roll().aborted().is_none());
    assert!(others.iter().all(|world| world.world_size() == 4));
    drop((flood, more));
}

#[test]
fn something_else_that_listens_is_not_taken_for_process_0() {
    for said in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], &[0, 0, 0, 2, b'{', b'}']] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let other = thread::spawn(move || {
            let mut said_to = Vec::new();
            let second = thread::spawn(move || join(1, 2, port, Duration::from_secs(1)));
            listener.set_nonblocking(true).unwrap();
            while !second.is_finished() {
                if let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.write_all(said);
                    said_to.push(stream);
                }
                thread::sleep(Duration::from_millis(1));
            }
            second.join().unwrap()
        });
        let error = other.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("what listens there"), "{error}");
    }
}
