//! Waits that last are said, and spans tell what runs when.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::pictures;
use feedline_pipeline::{Loader, Transform};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::set_global_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// Everything that the loader says, on any thread.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<(Level, String)>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("feedline_pipeline")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        let mut all = self.0.lock().unwrap();
        all.push((*span.metadata().level(), text.0));
        Id::from_u64(all.len() as u64)
    }
    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0
            .lock()
            .unwrap()
            .push((*event.metadata().level(), text.0));
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

impl Listener {
    fn count(&self, level: Level, words: &[&str]) -> usize {
        let all = self.0.lock().unwrap();
        let fit = |(own, text): &&(Level, String)| {
            *own == level && words.iter().all(|word| text.contains(word))
        };
        all.iter().filter(fit).count()
    }
}

// One test, as there is one listener for the whole process.
#[test]
fn waits_that_last_say_what_waits_for_what_and_stages_are_spans() {
    let listener = Listener::default();
    set_global_default(listener.clone()).unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&open);
    let transform = Transform::new().map(move |sample| {
        while sample.index == 13 && !own.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let builder = Loader::builder(pictures(30))
        .batch_size(5)
        .workers(1)
        .prefetch(2);
    let builder = builder.transform(transform);
    let mut loader = builder
        .report_waits(Duration::from_millis(50))
        .build()
        .unwrap();

    let mut epoch = loader.epoch(0);
    let held = (
        epoch.next().unwrap().unwrap(),
        epoch.next().unwrap().unwrap(),
    );
    std::thread::scope(|scope| {
        let listener = listener.clone();
        scope.spawn(move || {
            // The consumer waits for a sample, until somebody has said so.
            let said = || {
                let words = [
                    "the consumer, for the batch of step 2 in epoch 0",
                    "worker 0 transforms sample 13",
                ];
                listener.count(Level::WARN, &words) > 0
            };
            for _ in 0..1000 {
                if said() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            open.store(true, Ordering::Release);
            assert!(said(), "{:?}", listener.0);
        });
        assert!(epoch.next().unwrap().is_ok());
    });
    drop(held);
    epoch.for_each(|batch| drop(batch.unwrap()));
    for (level, name, least) in [
        (Level::DEBUG, "fill epoch=0 step=2 row=0 rows=5", 1),
        (Level::DEBUG, "wait epoch=0 step=5", 1),
        (Level::DEBUG, "deliver epoch=0 step=5", 1),
        (Level::TRACE, "read sample=", 30),
        (Level::TRACE, "transform sample=", 30),
    ] {
        assert!(listener.count(level, &[name]) >= least, "{name}");
    }

    // A worker that has nothing to do, as the consumer doesn't go on.
    for _ in 0..1000 {
        if listener.count(Level::INFO, &["nothing to do", "waits for the consumer"]) > 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nobody said that a worker has nothing to do");
}
