//! Processes that are threads here, on connections as between machines.

mod faults;
mod hostile;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::World;
use super::proof::Secret;
use crate::collective::Phase;
use crate::error::{Error, Result};
use crate::launch::Launch;

/// Long enough for a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn launch(process: usize, processes: usize, port: u16) -> Launch {
    let launch = Launch::new(process, processes, "127.0.0.1", port).unwrap();
    launch.with_local(process, processes).unwrap()
}

fn join_with(launch: &Launch, secret: &str, deadline: Duration) -> Result<Arc<World>> {
    World::join_as(launch, 1, deadline, Secret::new(secret), "1")
}

fn join(process: usize, processes: usize, port: u16, deadline: Duration) -> Result<Arc<World>> {
    join_with(&launch(process, processes, port), "secret", deadline)
}

/// What `work` returns in each of `processes`.
fn in_each<T: Send>(
    processes: usize,
    deadline: Duration,
    work: impl Fn(Arc<World>) -> T + Sync,
) -> Vec<T> {
    let port = free_port();
    let run = |process| work(join(process, processes, port, deadline).unwrap());
    let run = &run;
    thread::scope(|scope| {
        let start = |process| scope.spawn(move || run(process));
        let threads: Vec<_> = (0..processes).map(start).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    })
}

/// Waits until `what` holds, which it will.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < 2 * LONG, "it never held");
        thread::sleep(Duration::from_millis(1));
    }
}

fn values(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    list.iter().map(own).collect()
}

#[test]
fn ranks_are_counted_over_the_processes_in_their_order() {
    let port = free_port();
    let replicas = [2, 1, 3, 1];
    // The later a process, the earlier it starts; process 0 comes last.
    let threads: Vec<_> = (0..4)
        .rev()
        .map(|process| {
            let join = move || {
                let secret = Secret::new("secret");
                let launch = launch(process, 4, port);
                let world = World::join_as(&launch, replicas[process], LONG, secret, "1")?;
                Ok::<_, Error>((process, world.ranks(), world.world_size(), world))
            };
            let thread = thread::spawn(join);
            thread::sleep(Duration::from_millis(30));
            thread
        })
        .collect();
    // All must be here before the first ends.
    let mut ended: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap().unwrap())
        .collect();
    ended.reverse();
    let ranks: Vec<_> = ended.iter().map(|(_, ranks, ..)| ranks.clone()).collect();
    assert_eq!(ranks, [0..2, 2..3, 3..6, 6..7]);
    assert!(ended.iter().all(|&(_, _, size, _)| size == 7));
    let rolls: Vec<_> = ended
        .iter()
        .map(|(.., world)| world.roll().beside())
        .collect();
    let threads: Vec<_> = ended
        .into_iter()
        .map(|(.., world)| thread::spawn(move || drop(world)))
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    // An end is no failure.
    assert!(rolls.iter().all(|roll| roll.aborted().is_none()));
}

#[test]
fn one_process_needs_nobody() {
    let launch = Launch::new(0, 1, "no.such.host.invalid", 1).unwrap();
    let world = join_with(&launch, "secret", LONG).unwrap();
    assert_eq!((world.ranks(), world.processes()), (0..1, 1));
    world.agree("settings", &values(&[("a", "1")])).unwrap();
    assert_eq!(world.share("id", Some(vec![1, 2])).unwrap(), [1, 2]);
}

#[test]
fn processes_agree_and_share_in_turn() {
    in_each(3, LONG, |world| {
        for round in 0..20u8 {
            world.agree("settings", &values(&[("a", "1")])).unwrap();
            for part in 0..3 {
                let value = (world.process() == 0).then(|| vec![round, part]);
                assert_eq!(world.share("bytes", value).unwrap(), [round, part]);
            }
        }
    });
}

#[test]
fn what_differs_is_named_in_all_processes() {
    let errors = in_each(3, LONG, |world| {
        let own = match world.process() {
            2 => values(&[("a", "1"), ("seed", "7"), ("size", "2")]),
            _ => values(&[("a", "1"), ("seed", "8"), ("size", "3")]),
        };
        let differs = world.agree("settings", &own).unwrap_err();
        let lacks = match world.process() {
            1 => values(&[]),
            _ => values(&[("b", "x")]),
        };
        let lacks = world.agree("settings", &lacks).unwrap_err();
        // That they differ is for them to judge.
        world.agree("nothing", &values(&[])).unwrap();
        (differs, lacks)
    });
    for (differs, lacks) in errors {
        let Error::Disagreement {
            rank: 2,
            name,
            found,
            expected,
        } = &differs
        else {
            panic!("{differs}")
        };
        assert_eq!([name, found, expected], ["seed", "7", "8"]);
        let Error::Disagreement { rank: 1, found, .. } = &lacks else {
            panic!("{lacks}")
        };
        assert_eq!(found, "missing");
    }
}

#[test]
fn processes_that_call_different_things_are_told() {
    let errors = in_each(3, LONG, |world| match world.process() {
        1 => world.share("id", None).unwrap_err().to_string(),
        _ => world.agree("data", &values(&[])).unwrap_err().to_string(),
    });
    for error in errors {
        let names = ["sharing of id", "agreement on data", "replica 1"];
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
}

#[test]
fn too_much_is_refused_before_anybody_hears_of_it() {
    in_each(2, LONG, |world| {
        let much = "x".repeat(50_000);
        let error = world.agree("data", &values(&[("a", &much)])).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        if world.process() == 0 {
            for value in [None, Some(vec![0; 50_000])] {
                let error = world.share("id", value).unwrap_err();
                assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            }
        }
        // As much as there may be arrives.
        let value = (world.process() == 0).then(|| vec![7; 24 << 10]);
        assert_eq!(world.share("id", value).unwrap(), [7; 24 << 10]);
    });
}

#[test]
fn who_does_not_come_to_a_meeting_is_named() {
    let errors = in_each(3, Duration::from_secs(3), |world| {
        if world.process() == 2 {
            world.roll().note(2, 7, Phase::Data);
            // It is alive, but elsewhere.
            until(|| world.roll().aborted().is_some());
            return None;
        }
        Some(world.agree("settings", &values(&[])).unwrap_err())
    });
    for error in errors.into_iter().flatten() {
        let error = error.to_string();
        let words = [
            "settings",
            "replica 2 (last seen at: step 7, wait for data)",
        ];
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn a_failure_reaches_all_with_its_reason() {
    for failing in 0..3 {
        let failures = in_each(3, LONG, |world| {
            if world.process() == failing {
                let rank = world.ranks().start;
                world.roll().abort(rank, "no memory");
            }
            until(|| world.roll().aborted().is_some());
            let error = world.share("id", Some(vec![])).unwrap_err();
            assert!(matches!(error, Error::Aborted { .. }), "{error}");
            world.roll().aborted().unwrap()
        });
        assert_eq!(failures, vec![(failing, "no memory".to_owned()); 3]);
    }
}

#[test]
fn all_know_where_each_replica_is() {
    let all_have_looked = Barrier::new(3);
    in_each(3, LONG, |world| {
        let own = world.ranks().start;
        for step in 0..=own as u64 {
            world.roll().enter(own, step, Phase::Bucket(own));
        }
        until(|| {
            let expected = |rank| format!("step {rank}, all-reduce of bucket {rank}");
            let seen = |rank| world.roll().seen(rank).map(|place| place.to_string());
            (0..3).all(|rank| seen(rank) == Some(expected(rank)))
        });
        // Rank 2 has entered most calls.
        assert_eq!(world.roll().missing(2).len(), 2);
        all_have_looked.wait();
    });
}

#[test]
fn a_process_that_ends_while_others_wait_for_it_is_missed_by_them() {
    for ending in [0, 2] {
        let failures = in_each(3, LONG, |world| {
            let own = world.ranks().start;
            world.agree("start", &values(&[])).unwrap();
            world.roll().enter(own, 0, Phase::Data);
            if world.process() == ending {
                return None;
            }
            world.roll().enter(own, 1, Phase::Data);
            until(|| world.roll().aborted().is_some());
            world.roll().aborted()
        });
        let expected = "it has ended while others still wait for it";
        for failure in failures.into_iter().flatten() {
            assert_eq!(failure, (ending, expected.to_owned()));
        }
    }
}
