//! Spans tell where the time of a sample goes.

use std::sync::{Arc, Mutex};

use feedline_pipeline::Source;
use feedline_pipeline::source::{Decode, ImageFolder, TarShards};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::made::{jpeg, photo, tar, write};

/// Names of the spans that were entered, after `+`, and left, after `-`.
#[derive(Default, Clone)]
struct Names(Arc<Mutex<(Vec<&'static str>, Vec<String>)>>);

impl Subscriber for Names {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "feedline_pipeline" && *metadata.level() == Level::TRACE
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut names = self.0.lock().unwrap();
        names.0.push(span.metadata().name());
        Id::from_u64(names.0.len() as u64)
    }
    fn enter(&self, span: &Id) {
        self.note('+', span);
    }
    fn exit(&self, span: &Id) {
        self.note('-', span);
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
}

impl Names {
    fn note(&self, sign: char, span: &Id) {
        let mut names = self.0.lock().unwrap();
        let name = names.0[span.into_u64() as usize - 1];
        names.1.push(format!("{sign}{name}"));
    }
}

#[test]
fn opening_and_decoding_are_spans_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let picture = jpeg(&photo(9, 9));
    write(&folder.path().join("a/1.jpg"), &picture);
    let shard = folder.path().join("shard.tar");
    write(&shard, &tar(&[("1.jpg", &picture), ("1.cls", b"0")]));
    let sources: [Box<dyn Source>; 2] = [
        Box::new(ImageFolder::open(folder.path(), Decode::rgb(4, 4)).unwrap()),
        Box::new(TarShards::open([shard], Decode::rgb(4, 4)).unwrap()),
    ];
    for source in sources {
        let names = Names::default();
        tracing::subscriber::with_default(names.clone(), || {
            source.sample(0, &mut Vec::new()).unwrap();
        });
        let found = names.0.lock().unwrap().1.join(" ");
        assert_eq!(found, "+open -open +decode -decode");
    }
}
