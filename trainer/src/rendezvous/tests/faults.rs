//! Processes that don't come, don't fit, or end.

use super::*;
use crate::rendezvous::RendezvousFault::{self, Late, Lost, Refused, Taken};
use crate::rendezvous::message::{Greeting, Join, Person, Ticket};
use crate::rendezvous::{frame, proof};
use std::net::TcpStream;

const SHORT: Duration = Duration::from_secs(2);

/// The reason of an error of this sort.
fn reason(result: Result<Arc<World>>, expected: RendezvousFault) -> String {
    match result {
        Err(Error::Rendezvous { fault, reason, .. }) if fault == expected => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it came together"),
    }
}

/// Comes to process 0 as process `process` of `processes`, by the rules, and does nothing more.
fn come(process: usize, processes: usize, port: u16) -> TcpStream {
    let stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    let Greeting::Challenge { nonce, .. } = frame::read(&stream, LONG).unwrap() else {
        panic!()
    };
    let challenge = proof::bytes(&nonce).unwrap();
    let ticket = Ticket {
        version: "1".into(),
        process,
        processes,
        person: Person {
            host: "elsewhere".into(),
            id: 77,
            replicas: 1,
        },
    };
    let ticket = serde_json::to_string(&ticket).unwrap();
    let parts = [b"join", &challenge[..], b"nonce", ticket.as_bytes()];
    let join = Join {
        proof: Secret::new("secret").prove(&parts),
        nonce: "nonce".into(),
        ticket,
    };
    frame::write(&stream, &join, LONG).unwrap();
    stream
}

/// What process 0 says of a failure to one who waits.
fn failure(stream: &TcpStream) -> String {
    loop {
        match frame::read(stream, LONG).unwrap() {
            Greeting::Waiting { .. } => {}
            Greeting::Failed { reason, .. } => return reason,
            greeting => panic!("{greeting:?}"),
        }
    }
}

#[test]
fn who_never_comes_is_named_everywhere() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 4, port, SHORT));
    // It would wait for longer, but hears from process 0.
    let other = join(2, 4, port, LONG);
    for result in [first.join().unwrap(), other] {
        let reason = reason(result, Late);
        assert!(reason.contains("process 1 and process 3 of 4"), "{reason}");
    }
}

#[test]
fn who_waits_for_shorter_than_process_0_knows_who_is_missing() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 3, port, LONG));
    let reason_of = reason(join(1, 3, port, SHORT), Late);
    assert!(reason_of.contains("process 2 of 3"), "{reason_of}");
    // It can't come together any more.
    let lost = reason(first.join().unwrap(), Lost);
    assert!(
        lost.contains("process 1 (") && lost.contains("process 2 was"),
        "{lost}"
    );
}

#[test]
fn a_process_0_that_never_comes_is_named() {
    let reason = reason(join(1, 2, free_port(), SHORT), Late);
    assert!(reason.contains("nobody listens there"), "{reason}");
    let launch = Launch::new(1, 2, "no.such.host.invalid", 1).unwrap();
    let error = join_with(&launch, "secret", SHORT).unwrap_err();
    assert!(
        error.to_string().contains("no.such.host.invalid"),
        "{error}"
    );
}

#[test]
fn another_secret_keeps_out_but_does_not_stop_the_run() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 2, port, LONG));
    let stranger = join_with(&launch(1, 2, port), "wrong", LONG);
    let refused = reason(stranger, Refused);
    assert!(refused.contains("FEEDLINE_SECRET"), "{refused}");
    let second = join(1, 2, port, LONG).unwrap();
    drop(first.join().unwrap().unwrap());
    drop(second);
    // If somebody is missing then, it may be for that.
    let port = free_port();
    let first = thread::spawn(move || join(0, 2, port, SHORT));
    reason(join_with(&launch(1, 2, port), "wrong", LONG), Refused);
    let late = reason(first.join().unwrap(), Late);
    assert!(late.contains("FEEDLINE_SECRET"), "{late}");
}

#[test]
fn a_secret_that_is_no_text_is_refused_without_saying_it() {
    let launch = launch(0, 1, 1);
    let proof = |secret: Secret| secret.prove(&[b"x"]);
    let chosen = crate::rendezvous::secret(Some("word".into()), &launch).unwrap();
    assert_eq!(proof(chosen), proof(Secret::new("word")));
    let own = crate::rendezvous::secret(None, &launch).unwrap();
    assert_eq!(proof(own), proof(Secret::new(launch.run())));
    let error = crate::rendezvous::secret(Some("".into()), &launch);
    let Err(Error::Environment { variables, .. }) = error else {
        panic!("an empty secret")
    };
    assert_eq!(variables, "FEEDLINE_SECRET is empty");
}

#[test]
fn a_process_0_with_another_secret_is_not_believed() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let impostor = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let challenge = Greeting::Challenge {
            feedline: 1,
            nonce: "00".repeat(16),
        };
        frame::write(&stream, &challenge, LONG).unwrap();
        let _: Join = frame::read(&stream, LONG).unwrap();
        let proof = "00".repeat(32);
        frame::write(&stream, &Greeting::Accepted { proof }, LONG).unwrap();
        stream
    });
    let refused = reason(join(1, 2, port, LONG), Refused);
    assert!(refused.contains("FEEDLINE_SECRET"), "{refused}");
    impostor.join().unwrap();
}

#[test]
fn the_second_of_two_with_one_number_is_refused() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 3, port, LONG));
    let second = come(1, 3, port);
    frame::read::<Greeting>(&second, LONG).unwrap();
    let twice = reason(join(1, 3, port, LONG), Refused);
    let words = ["elsewhere, process id 77", "process 1", "RANK"];
    assert!(words.iter().all(|word| twice.contains(word)), "{twice}");
    // The run goes on.
    let third = join(2, 3, port, LONG).unwrap();
    let first = first.join().unwrap().unwrap();
    assert_eq!(first.world_size(), 3);
    first.roll().abort(0, "enough");
    drop(second);
    drop(first);
    drop(third);
}

#[test]
fn another_world_size_or_version_stops_all() {
    for (processes, version, word) in [(4, "1", "WORLD_SIZE"), (3, "2", "version 2")] {
        let port = free_port();
        let first = thread::spawn(move || join(0, 3, port, LONG));
        let second = come(1, 3, port);
        frame::read::<Greeting>(&second, LONG).unwrap();
        let secret = Secret::new("secret");
        let other = World::join_as(&launch(2, processes, port), 1, LONG, secret, version);
        let other = reason(other, Refused);
        assert!(other.contains(word), "{other}");
        assert_eq!(reason(first.join().unwrap(), Refused), other);
        assert_eq!(failure(&second), other);
    }
}

#[test]
fn who_comes_and_ends_again_is_named_at_once() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 4, port, LONG));
    let [third, second] = [3, 1].map(|process| come(process, 4, port));
    for stream in [&third, &second] {
        frame::read::<Greeting>(stream, LONG).unwrap();
    }
    drop(second);
    let lost = reason(first.join().unwrap(), Lost);
    let expected = "process 1 (elsewhere, process id 77)";
    assert!(lost.contains(expected), "{lost}");
    assert_eq!(failure(&third), lost);
}

#[test]
fn a_port_that_is_taken_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for launch in [
        launch(0, 2, port),
        Launch::new(0, 2, "127.0.0.1", port).unwrap(),
    ] {
        let taken = reason(join_with(&launch, "secret", LONG), Taken);
        let words = ["ss -ltnp", "MASTER_PORT", "FEEDLINE_PORT"];
        assert!(words.iter().all(|word| taken.contains(word)), "{taken}");
    }
}

#[test]
fn a_port_can_be_used_again_at_once() {
    let port = free_port();
    for _ in 0..3 {
        let first = thread::spawn(move || join(0, 2, port, LONG).map(drop));
        drop(join(1, 2, port, LONG).unwrap());
        first.join().unwrap().unwrap();
    }
}

/// What process 0 and process 2 of three hear when process 1 does `then` with its connection.
fn hear_of(deadline: Duration, then: impl FnOnce(TcpStream) -> Option<TcpStream>) {
    let port = free_port();
    let first = thread::spawn(move || join(0, 3, port, deadline));
    let third = thread::spawn(move || join(2, 3, port, deadline));
    let second = come(1, 3, port);
    while !matches!(frame::read(&second, LONG).unwrap(), Greeting::Roster { .. }) {}
    let worlds = [first, third].map(|thread| thread.join().unwrap().unwrap());
    let kept = then(second);
    for world in &worlds {
        until(|| world.roll().aborted().is_some());
        let (rank, reason) = world.roll().aborted().unwrap();
        assert_eq!(rank, 1, "{reason}");
        assert!(
            reason.contains("process 1 (elsewhere, process id 77)"),
            "{reason}"
        );
        let expected = match kept {
            Some(_) => "nothing was heard of",
            None => "has ended without a word",
        };
        assert!(reason.contains(expected), "{reason}");
    }
    for thread in worlds.map(|world| thread::spawn(move || drop(world))) {
        thread.join().unwrap();
    }
}

#[test]
fn the_end_of_a_process_is_a_failure_of_its_replicas() {
    hear_of(LONG, |stream| {
        drop(stream);
        None
    });
}

#[test]
fn the_silence_of_a_process_is_a_failure_of_its_replicas() {
    hear_of(SHORT, Some);
}

#[test]
fn what_cannot_be_read_is_a_failure_and_nothing_worse() {
    let port = free_port();
    let first = thread::spawn(move || join(0, 2, port, LONG));
    let mut second = come(1, 2, port);
    let world = first.join().unwrap().unwrap();
    std::io::Write::write_all(&mut second, &[0, 0, 0, 3, b'?', b'?', b'?']).unwrap();
    until(|| world.roll().aborted().is_some());
    assert_eq!(world.roll().aborted().unwrap().0, 1);
}

#[test]
fn the_end_of_process_0_is_a_failure_too() {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let second = thread::spawn(move || join(1, 2, port, LONG));
    let (stream, _) = listener.accept().unwrap();
    let challenge = [7; 16];
    let greeting = Greeting::Challenge {
        feedline: 1,
        nonce: proof::hexadecimal(&challenge),
    };
    frame::write(&stream, &greeting, LONG).unwrap();
    let join: Join = frame::read(&stream, LONG).unwrap();
    let parts = [b"welcome", join.nonce.as_bytes(), &challenge[..]];
    let proof = Secret::new("secret").prove(&parts);
    frame::write(&stream, &Greeting::Accepted { proof }, LONG).unwrap();
    let person = |id| Person {
        host: "elsewhere".into(),
        id,
        replicas: 1,
    };
    let roster = Greeting::Roster {
        all: 2,
        some: vec![person(5), person(6)],
    };
    frame::write(&stream, &roster, LONG).unwrap();
    let world = second.join().unwrap().unwrap();
    drop(stream);
    let error = world.share("id", None).unwrap_err();
    assert!(matches!(error, Error::Aborted { rank: 0, .. }), "{error}");
    assert!(error.to_string().contains("process id 5"), "{error}");
}
