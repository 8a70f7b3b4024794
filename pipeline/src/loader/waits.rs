//! Waits that last: who says what waits for what.

use std::time::Duration;

use tracing::warn;

/// How long to wait for something, and when to say so.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Then waiting is an error, or given up.
    pub(super) at_most: Duration,
    /// Then a warning says what is waited for.
    pub(super) report_after: Duration,
}

impl Patience {
    /// Waits with `wait`, which gives up after the time that it is told, and warns once if that is long: `what` says who waits
    /// for what.
    pub(super) fn wait<R>(
        self,
        mut wait: impl FnMut(Duration) -> Option<R>,
        what: impl FnOnce() -> String,
    ) -> Option<R> {
        if self.report_after >= self.at_most {
            return wait(self.at_most);
        }
        if let Some(result) = wait(self.report_after) {
            return Some(result);
        }
        warn!(
            "waiting for {:?} already, {:?} at most: {}",
            self.report_after,
            self.at_most,
            what()
        );
        wait(self.at_most - self.report_after)
    }
}
