//! Sums over processes by MPI: how long they take, and what they cost a thread that computes beside them.
//!
//!     cargo bench --bench mpi --features mpi --no-run
//!     mpirun -n 2 target/release/deps/mpi-HASH
//!
//! The name of the program is what the first command prints.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use feedline_trainer::Result;
use feedline_trainer::collective::{Collective, Mpi, Roll};

fn main() -> Result<()> {
    let number = |name| std::env::var(name).ok().and_then(|own| own.parse().ok());
    let (Some(rank), Some(size)) = (
        number("OMPI_COMM_WORLD_RANK"),
        number("OMPI_COMM_WORLD_SIZE"),
    ) else {
        println!("skipped: start this with mpirun (of Open MPI)");
        return Ok(());
    };
    let mpi = Mpi::start(Roll::new(size), rank, size, Duration::from_secs(60))?;
    let own = mpi.collective()?;
    if rank == 0 {
        println!("{size} processes");
        println!("    bytes    alone, us       MB/s   beside, us   computes");
    }
    let alone = computed(&own, None)?.1;
    for length in (1..=24).map(|power| 1usize << power) {
        let rounds = (20_000_000 / (length + 40_000)).max(5);
        let (time, _) = sums(&own, length, rounds)?;
        let (beside, rate) = computed(&own, Some((length, rounds)))?;
        if rank == 0 {
            println!(
                "{:>9} {:>12.1} {:>10.1} {:>12.1} {:>9.0}%",
                4 * length,
                time * 1e6,
                4e-6 * length as f64 / time,
                beside * 1e6,
                rate / alone * 100.0,
            );
        }
    }
    Ok(())
}

/// The seconds that a sum of `length` values takes, and all.
fn sums(own: &dyn Collective, length: usize, rounds: usize) -> Result<(f64, f64)> {
    let mut values = vec![0f32; length];
    own.all_reduce_sum(&mut values)?;
    let start = Instant::now();
    for _ in 0..rounds {
        own.all_reduce_sum(&mut values)?;
    }
    let all = start.elapsed().as_secs_f64();
    Ok((all / rounds as f64, all))
}

/// As [`sums`], while another thread computes as fast as it can; and how fast that is. Without sums for a second.
fn computed(own: &dyn Collective, work: Option<(usize, usize)>) -> Result<(f64, f64)> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    own.barrier()?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut x = 1f32;
            while !stop.load(Relaxed) {
                for _ in 0..1000 {
                    x = black_box(x * 1.0001);
                }
                count.fetch_add(1, Relaxed);
            }
        });
        let start = Instant::now();
        let result = match work {
            Some((length, rounds)) => sums(own, length, rounds),
            None => {
                thread::sleep(Duration::from_secs(1));
                Ok((1.0, 1.0))
            }
        };
        let rate = count.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        Ok((result?.0, rate))
    })
}
