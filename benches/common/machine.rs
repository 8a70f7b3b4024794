//! What the operating system says about this process and the machine. Zero where it says nothing.

use std::fs::File;
use std::io::Read;
use std::thread::available_parallelism;

/// Seconds of processor time of this process, over all its threads, in steps of 10 ms (Linux).
pub(crate) fn cpu_time() -> f64 {
    (stat(14) + stat(15)) / 100.0
}

/// A number of `/proc/self/stat`, by its place in proc(5), 4 and higher.
pub(crate) fn stat(place: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second, the process's name, may hold spaces; behind it is the third.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let field = fields.split_whitespace().nth(place - 3);
    field
        .and_then(|field| field.parse().ok())
        .unwrap_or_default()
}

/// Bytes of resident memory that are no pages of files (Linux). Allocates nothing, so as not to be counted itself.
pub(crate) fn anonymous_memory() -> usize {
    let mut text = [0; 4096];
    let length = File::open("/proc/self/status")
        .and_then(|mut file| file.read(&mut text))
        .unwrap_or_default();
    let text = str::from_utf8(&text[..length]).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1024
}

/// The machine, in a few lines.
pub(crate) fn describe() -> String {
    let model = field("/proc/cpuinfo", "model name").unwrap_or("unknown processor".into());
    let cores = available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let (architecture, system) = (std::env::consts::ARCH, std::env::consts::OS);
    format!(
        "processor: {model}, {cores} cores, {architecture}\nmemory: {memory}\nsystem: {system}\n"
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
