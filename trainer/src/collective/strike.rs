//! Ends or stops this process where a test wants it to.

use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::Place;

/// Which signal, which rank, and where: as in `KILL 1 step 7, all-reduce of bucket 0`.
pub(crate) const STRIKE: &str = "FEEDLINE_TEST_STRIKE";

const BEFORE_JOINING: &str = "before joining";

pub(crate) fn before_joining(rank: usize) {
    strike(rank, BEFORE_JOINING);
}

/// `rank` of this process is here.
pub(crate) fn at(rank: usize, place: Place) {
    if wanted().is_some() {
        strike(rank, &place.to_string());
    }
}

fn strike(rank: usize, place: &str) {
    let Some((signal, wanted)) = wanted() else {
        return;
    };
    if *wanted == format!("{rank} {place}") {
        let process = std::process::id().to_string();
        Command::new("kill")
            .args([&format!("-{signal}"), &process])
            .status()
            .unwrap();
        // It may take a moment.
        thread::sleep(Duration::from_secs(60));
    }
}

fn wanted() -> Option<&'static (String, String)> {
    static WANTED: OnceLock<Option<(String, String)>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(STRIKE).ok()?;
        let (signal, place) = text.split_once(' ')?;
        Some((signal.to_owned(), place.to_owned()))
    });
    wanted.as_ref()
}
