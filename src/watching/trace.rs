//! A file that says what ran when.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_chrome::{ChromeLayerBuilder, EventOrSpan, FlushGuard};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::targets;
use crate::Result;
use crate::console::{other_processes, say};
use crate::error::file;

/// A trace, which is complete when this is dropped.
pub(super) struct Trace {
    path: PathBuf,
    /// Taken when it is dropped.
    guard: Option<FlushGuard>,
    fault: Fault,
}

type Fault = Arc<Mutex<Option<io::Error>>>;

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Begins the trace in the file at `path`, if this is the only process or the first; else beside it. With `samples` each of
/// them is traced.
pub(super) fn begin<S>(path: &Path, samples: bool) -> Result<(impl Layer<S> + use<S>, Trace)>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
{
    let process = other_processes().map_or(0, |own| own.process());
    let path = of_process(path, process);
    let fault = Fault::default();
    let out = Lasting {
        file: File::create(&path).map_err(file("write the trace", &path))?,
        fault: Arc::clone(&fault),
    };
    let chrome = ChromeLayerBuilder::new().writer(out);
    // An event is named by its level, and has its message beside it.
    let name = |own: &EventOrSpan<'_, '_, S>| match own {
        EventOrSpan::Event(event) => event.metadata().level().to_string().to_lowercase(),
        EventOrSpan::Span(span) => span.name().to_owned(),
    };
    let (layer, guard) = chrome
        .include_args(true)
        .include_locations(false)
        .name_fn(Box::new(name))
        .build();
    let level = if samples {
        LevelFilter::TRACE
    } else {
        LevelFilter::DEBUG
    };
    let trace = Trace {
        path,
        guard: Some(guard),
        fault,
    };
    Ok((layer.with_filter(targets(level)), trace))
}

/// `trace.json` of the first process, `trace.process-1.json` of the next.
fn of_process(path: &Path, process: usize) -> PathBuf {
    let Some(stem) = path.file_stem().filter(|_| process > 0) else {
        return path.to_owned();
    };
    let mut name = stem.to_owned();
    name.push(format!(".process-{process}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Waits until all is written.
        drop(self.guard.take());
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = fault.take() {
            let path = self.path.display();
            say(format_args!(
                "warning: the trace {path} is cut off: {fault}"
            ));
        }
    }
}

/// Goes on when the disk is full, as a program that works is worth more than its trace; what writes traces would panic.
struct Lasting {
    file: File,
    fault: Fault,
}

impl Write for Lasting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_none() {
            *fault = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_file_of_its_own() {
        let of = |path: &str, process| of_process(Path::new(path), process);
        assert_eq!(of("out/trace.json", 0), Path::new("out/trace.json"));
        assert_eq!(
            of("out/trace.json", 2),
            Path::new("out/trace.process-2.json")
        );
        assert_eq!(of("trace", 1), Path::new("trace.process-1"));
    }
}
