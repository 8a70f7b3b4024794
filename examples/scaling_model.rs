//! How far data-parallel training would scale, calculated: from the time of a step, the bytes of its gradients and the speeds
//! that makers of links publish.
//!
//!     cargo run --release --example scaling_model -- --step-milliseconds 27 --parameters 1068810
//!
//! `docs/processes.md` has the assumptions and a table. Nothing here is measured but what is passed in.

use std::process::ExitCode;

use clap::Parser;

/// Calculate how far data-parallel training would scale on GPUs
///
/// Each GPU keeps its rows (weak scaling), so that a step takes as long as on one, and what is left of the all-reduce when the
/// way back is over. Within a machine gradients travel over NVLink; between machines each GPU has a network port of its own.
#[derive(Parser, Debug, Clone, Copy)]
struct Model {
    /// Milliseconds of a step on one device, forward, backward and optimizer, measured
    #[arg(long, default_value_t = 27.0)]
    step_milliseconds: f64,
    /// Parameters of the network, each with a gradient
    #[arg(long, default_value_t = 1_068_810)]
    parameters: usize,
    /// Bytes of a gradient on its way: 4 as f32, 2 as bf16
    #[arg(long, default_value_t = 4)]
    bytes_per_gradient: usize,
    /// Buckets in which gradients travel
    #[arg(long, default_value_t = 1)]
    buckets: usize,
    /// GPUs of a machine
    #[arg(long, default_value_t = 8)]
    per_machine: usize,
    /// GB/s that a GPU sends within its machine, as published (NVLink of an H100: 900 both ways)
    #[arg(long, default_value_t = 450.0)]
    link_within: f64,
    /// GB/s that a GPU sends to other machines, as published (NDR InfiniBand, 400 Gb/s)
    #[arg(long, default_value_t = 50.0)]
    link_between: f64,
    /// Share of the published speeds that is reached
    #[arg(long, default_value_t = 0.8)]
    reached: f64,
    /// Microseconds of a hop within a machine
    #[arg(long, default_value_t = 3.0)]
    hop_within: f64,
    /// Microseconds of a hop between machines
    #[arg(long, default_value_t = 10.0)]
    hop_between: f64,
    /// Share of a step that is the way back, in which sums can hide
    #[arg(long, default_value_t = 0.6)]
    way_back: f64,
}

impl Model {
    /// Seconds of all all-reduces of a step: summed within each machine, each GPU's part between the machines, and
    /// handed back within them.
    fn all_reduce(&self, gpus: usize) -> f64 {
        let within = gpus.min(self.per_machine).max(1) as f64;
        let machines = gpus.div_ceil(self.per_machine).max(1) as f64;
        let bytes = (self.parameters * self.bytes_per_gradient) as f64;
        let speed = |published: f64| published * self.reached * 1e9;
        let inner = 2.0 * (within - 1.0) / within * bytes / speed(self.link_within);
        let part = bytes / within;
        let outer = 2.0 * (machines - 1.0) / machines * part / speed(self.link_between);
        // Rings within a machine, trees between machines.
        let hops = 2.0 * (within - 1.0) * self.hop_within
            + 2.0 * machines.log2().ceil() * self.hop_between;
        inner + outer + self.buckets as f64 * hops * 1e-6
    }

    /// What of it a step waits for. The last bucket can't hide: it is full when the way back is over.
    fn exposed(&self, gpus: usize, overlap: bool) -> f64 {
        let all = self.all_reduce(gpus);
        match overlap {
            false => all,
            true => {
                let last = all / self.buckets as f64;
                (all - self.way_back * self.step()).max(last)
            }
        }
    }

    fn efficiency(&self, gpus: usize, overlap: bool) -> f64 {
        self.step() / (self.step() + self.exposed(gpus, overlap))
    }

    fn step(&self) -> f64 {
        self.step_milliseconds * 1e-3
    }

    fn table(&self) -> String {
        let mut table = format!(
            "calculated, not measured: {} ms a step, {:.2} MB of gradients in {} bucket{}\n\n",
            self.step_milliseconds,
            (self.parameters * self.bytes_per_gradient) as f64 / 1e6,
            self.buckets,
            if self.buckets == 1 { "" } else { "s" }
        );
        table += &format!(
            "{:>6} {:>16} {:>22} {:>22}\n",
            "GPUs", "all-reduce in us", "efficiency in a row", "efficiency, overlapped"
        );
        for gpus in [1, 8, 64, 512] {
            let micros = match gpus {
                1 => 0.0,
                _ => self.all_reduce(gpus) * 1e6,
            };
            let share = |overlap| match gpus {
                1 => 100.0,
                _ => 100.0 * self.efficiency(gpus, overlap),
            };
            let (plain, hidden) = (share(false), share(true));
            table += &format!("{gpus:>6} {micros:>16.0} {plain:>20.1} % {hidden:>20.1} %\n");
        }
        table
    }

    fn check(&self) -> Result<(), String> {
        let numbers = [
            ("--step-milliseconds", self.step_milliseconds),
            ("--link-within", self.link_within),
            ("--link-between", self.link_between),
            ("--reached", self.reached),
            ("--buckets", self.buckets as f64),
            ("--per-machine", self.per_machine as f64),
            ("--parameters", self.parameters as f64),
            ("--bytes-per-gradient", self.bytes_per_gradient as f64),
            ("--hop-within", self.hop_within),
            ("--hop-between", self.hop_between),
            ("--way-back", self.way_back),
        ];
        let wrong = numbers
            .iter()
            .find(|(_, own)| !(*own > 0.0 && own.is_finite()));
        match wrong {
            None => Ok(()),
            Some((name, found)) => Err(format!("{name} is {found}, expected more than 0")),
        }
    }
}

fn main() -> ExitCode {
    let model = Model::parse();
    match model.check() {
        Ok(()) => feedline::report(feedline::print(model.table())),
        Err(error) => {
            feedline::say(format_args!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        Model::parse_from(["scaling_model"])
    }

    #[test]
    fn within_a_machine_it_is_the_ring_of_its_definition() {
        let model = Model {
            hop_within: 0.0,
            reached: 1.0,
            ..model()
        };
        // 2 (n - 1) / n times the bytes over the speed.
        let expected = 1.75 * 4.0 * 1_068_810.0 / 450e9;
        assert!((model.all_reduce(8) / expected - 1.0).abs() < 1e-12);
    }

    #[test]
    fn more_gpus_never_take_less_time_and_overlap_never_more() {
        for buckets in [1, 3, 20] {
            for step_milliseconds in [0.1, 1.0, 100.0] {
                let model = Model {
                    buckets,
                    step_milliseconds,
                    ..model()
                };
                let counts = [2, 4, 8, 16, 64, 512, 4096];
                for pair in counts.windows(2) {
                    assert!(model.all_reduce(pair[0]) <= model.all_reduce(pair[1]));
                }
                for gpus in counts {
                    assert!(model.exposed(gpus, true) <= model.exposed(gpus, false));
                    assert!((0.0..1.0).contains(&model.efficiency(gpus, true)));
                }
            }
        }
    }
}
