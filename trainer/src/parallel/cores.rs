//! Which of the machine's cores a process may use.

use std::thread::available_parallelism;

/// As many as this process may use.
pub(super) fn own() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Whether this process was given some of the machine's cores, as launchers do that bind processes: then they are its own,
/// and not to be shared out among the processes of the machine. Only Linux says so.
pub(super) fn are_chosen() -> bool {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let mut lines = status.lines();
    let allowed = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let online = read("/sys/devices/system/cpu/online");
    let counts = (allowed.and_then(count), count(&online));
    matches!(counts, (Some(allowed), Some(online)) if allowed < online)
}

/// How many numbers a list such as `0-3,8` has.
fn count(list: &str) -> Option<usize> {
    let parts = list.trim().split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (last + 1).checked_sub(first)
    });
    parts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        for (list, expected) in [("0", 1), ("0-3,8\n", 5), ("\t2-2,7-10", 5)] {
            assert_eq!(count(list), Some(expected), "{list:?}");
        }
        for list in ["", "x", "3-1", "1,"] {
            assert_eq!(count(list), None, "{list:?}");
        }
    }
}
