//! Ranks of several processes. Each is this program, started again for the test `child`.

mod failures;

use super::reducer::train;
use super::sums::reduced;
use super::*;
use crate::collective::nccl::share::Share;
use crate::collective::{BucketSizes, Collective, Roll};
use crate::error::{Result, invalid};
use half::bf16;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::{env, fs};

/// What a process does: "case, its first rank, how many it has, of how many, and the rank that is killed".
const ROLE: &str = "FEEDLINE_TEST_NCCL_ROLE";
/// Where the processes of a test leave files for each other.
const FOLDER: &str = "FEEDLINE_TEST_NCCL_FOLDER";
const SHORT: Duration = Duration::from_secs(2);
/// How long a process waits for another before it fails, in tests in which none does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that is there at once, as a whole.
fn write(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(new, path).unwrap();
}

/// What another process writes there.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut waits = 0..PATIENCE.as_millis();
    waits.find_map(|_| {
        let read = fs::read(path).ok();
        if read.is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        read
    })
}

/// Processes that share by files.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    shared: AtomicUsize,
}

impl Share for Files {
    fn share(&self, what: &'static str, value: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let number = self.shared.fetch_add(1, Relaxed);
        let path = self.folder.join(format!("shared-{number}"));
        if let Some(value) = value {
            write(&path, &value);
        }
        read(&path).ok_or_else(|| invalid(what, "no file", "one in time"))
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, or ends now.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one process for each list of devices. That of rank `victim`, if there is one, is to be killed.
fn start(case: &str, devices: &[&str], victim: usize, folder: &Path) -> Vec<Process> {
    let count = |own: &&str| own.split(',').count();
    let world_size: usize = devices.iter().map(count).sum();
    let mut first = 0;
    let mut processes = Vec::new();
    let test = module_path!().split_once("::").unwrap().1;
    for own in devices {
        let count = count(own);
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", &format!("{test}::child")]);
        let role = format!("{case} {first} {count} {world_size} {victim}");
        command.env(ROLE, role).env(FOLDER, folder);
        command.env("CUDA_VISIBLE_DEVICES", own);
        if case.ends_with("silent") {
            command.env("FEEDLINE_SIMULATED_NCCL_DEATHS", "silent");
        }
        processes.push(Process(command.stdout(Stdio::null()).spawn().unwrap()));
        first += count;
    }
    processes
}

/// What a rank found out.
fn result(folder: &Path, rank: usize) -> Vec<u8> {
    read(&folder.join(format!("result-{rank}"))).expect("a result in time")
}

/// Not a test by itself: what the processes do that others start.
#[test]
fn child() {
    let (Ok(role), Some(folder)) = (env::var(ROLE), env::var_os(FOLDER)) else {
        return;
    };
    let mut role = role.split(' ');
    let case = role.next().unwrap();
    let [first, count, world_size, victim] =
        [(); 4].map(|()| role.next().unwrap().parse().unwrap());
    if case == "absent" && first == victim {
        return;
    }
    let folder = PathBuf::from(folder);
    let share = Arc::new(Files {
        folder: folder.clone(),
        shared: AtomicUsize::new(0),
    });
    let is_short = !["together", "told", "told-silent"].contains(&case);
    let deadline = if is_short { SHORT } else { PATIENCE };
    let roll = Roll::new(world_size);
    let tickets = Ticket::part(first..first + count, roll, deadline, share).unwrap();
    thread::scope(|scope| {
        for ticket in tickets {
            let folder = &folder;
            scope.spawn(move || {
                let rank = ticket.rank();
                let gpu = Gpu::new(rank - first).unwrap();
                let connected = Communicator::connect(ticket, &gpu);
                let bytes = match case {
                    "together" => work(connected.unwrap()),
                    _ => connected
                        .and_then(|own| {
                            failures::sum_until_another_dies(&own, victim, case, folder)
                        })
                        .unwrap_err()
                        .to_string()
                        .into_bytes(),
                };
                write(&folder.join(format!("result-{rank}")), &bytes);
            });
        }
    });
}

/// All that ranks do together, and the bits of what comes of it.
fn work(communicator: Communicator) -> Vec<u8> {
    let rank = communicator.rank();
    let mut all = Vec::new();
    for reduction in [Some(Reduction::Sum), Some(Reduction::Mean), None] {
        all.extend(reduced(&communicator, 3000, reduction, |x| x));
        let halves = reduced(&communicator, 70, reduction, bf16::from_f32);
        all.extend(halves.into_iter().map(bf16::to_f32));
    }
    let mut values: Vec<f32> = (0..500).map(|i| (i * rank) as f32 * 0.1).collect();
    communicator.all_reduce_sum(&mut values).unwrap();
    all.extend(&values);
    values.iter_mut().for_each(|value| *value *= rank as f32);
    communicator.broadcast(&mut values).unwrap();
    all.extend(&values);
    let mut counts = [rank as f64 + 0.5; 3];
    communicator.all_reduce_sum_f64(&mut counts).unwrap();
    all.extend(counts.map(|count| count as f32));

    // Connections of the same ranks, which they call in different orders.
    let duplicate = communicator.duplicate().unwrap();
    let second = duplicate.duplicate().unwrap();
    let connections = [&communicator as &dyn Collective, &*duplicate, &*second];
    let mut sums = [[1.0], [10.0], [100.0]];
    thread::scope(|scope| {
        let mut calls: Vec<_> = connections.iter().zip(&mut sums).collect();
        calls.rotate_left(rank % 3);
        for (connection, sum) in calls {
            scope.spawn(move || {
                for _ in 0..3 {
                    connection.all_reduce_sum(sum).unwrap();
                }
            });
        }
    });
    all.extend(sums.iter().flatten());
    drop((duplicate, second));
    communicator.barrier().unwrap();

    let sizes = BucketSizes {
        first: 200,
        others: 600,
    };
    for sums in train(communicator, &[300, 20, 77], sizes, true, true) {
        all.extend(sums);
    }
    all.into_iter().flat_map(f32::to_le_bytes).collect()
}

#[test]
fn several_processes_come_to_the_bits_of_one() {
    let worlds: [&[&str]; 5] = [
        &["0", "1"],
        &["1", "0"],
        &["0", "1", "2"],
        &["0,1", "2"],
        &["2", "0,1", "3"],
    ];
    for devices in worlds {
        let all = devices.iter().flat_map(|own| own.split(','));
        let world_size = all.count();
        if !has_gpus(world_size) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let processes = start("together", devices, world_size, folder.path());
        let expected = on_each(world_size, LONG, work);
        for (rank, expected) in expected.iter().enumerate() {
            assert!(result(folder.path(), rank) == *expected, "{devices:?}");
        }
        for mut process in processes {
            assert!(process.0.wait().unwrap().success());
        }
    }
}
