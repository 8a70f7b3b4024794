//! What the libraries say, on standard error.

use std::fmt::{self, Write};

use clap::ValueEnum;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::targets;
use crate::console;

/// Up to which level messages are said.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Nothing
    Off,
    /// What fails
    Error,
    /// What may be wrong, such as a long wait
    #[default]
    Warn,
    /// What is worth to know
    Info,
    /// Decisions, too
    Debug,
    /// All there is
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// Says messages up to this level.
pub(super) fn layer<S>(level: LogLevel) -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    Messages.with_filter(targets(level.into()).with_default(LevelFilter::OFF))
}

struct Messages;

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        console::say(line(event));
    }
}

/// As in `warning: waiting for … already`.
fn line(event: &Event<'_>) -> String {
    let level = match *event.metadata().level() {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let mut words = Words(format!("{level}:"));
    event.record(&mut words);
    words.0
}

/// The message of an event and behind it its fields with their names.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    /// Keeps the lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(line(event));
        }
    }

    #[test]
    fn a_message_is_said_with_its_level_and_fields() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(step = 3, why = "slow", "worker {} waits", 1);
            tracing::debug!("2 workers, 5 slots");
        });
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines[0], "warning: worker 1 waits step=3 why=\"slow\"");
        assert_eq!(lines[1], "debug: 2 workers, 5 slots");
    }

    #[test]
    fn the_default_is_warnings_of_our_libraries() {
        let lines = Lines::default();
        let filter = targets(LogLevel::default().into());
        let subscriber = tracing_subscriber::registry().with(lines.clone().with_filter(filter));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "feedline_pipeline::loader", "one");
            tracing::info!(target: "feedline_pipeline::loader", "two");
            tracing::error!(target: "other", "three");
        });
        assert_eq!(*lines.0.lock().unwrap(), ["warning: one"]);
    }
}
