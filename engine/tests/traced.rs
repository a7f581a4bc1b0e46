//! What the crate `tracing` is told, by all engines of a process alike: so this is the only test of its process.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by a panic"
)]

#[macro_use]
mod common;

use std::collections::BTreeSet;
use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};

use common::{PATIENCE, engine, group, listen, serve_well};

/// Remembers the lines that it is told, from any thread.
#[derive(Clone, Default)]
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    /// Messages as well.
    takes_traces: Arc<AtomicBool>,
    spans: Arc<AtomicU64>,
    open: Arc<Mutex<BTreeSet<u64>>>,
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = match self.takes_traces.load(Ordering::Relaxed) {
            true => Level::TRACE,
            false => Level::DEBUG,
        };
        metadata.target() == "ampe" && *metadata.level() <= most
    }

    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes() // it changes
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        assert!(
            attributes.is_root(),
            "no span of whoever drives the reactor"
        );
        let id = self.spans.fetch_add(1, Ordering::Relaxed) + 1;
        self.open.lock().unwrap().insert(id);
        Id::from_u64(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.open.lock().unwrap().remove(&id.into_u64())
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        let span = event.parent().map_or(0, Id::into_u64);
        let line = format!("{} in span {span}", line.0);
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_subscriber_is_told_when_channels_open_and_close_and_of_every_message_if_it_asks() {
    let memory = Lines::default();
    tracing::subscriber::set_global_default(memory.clone()).unwrap();
    let engine = engine();
    let mut server = group(&engine);
    let any = "tcp://127.0.0.1:0".parse().unwrap();
    let (_, address) = listen(&server.0, &mut server.1, &any);
    serve_well(&mut server, &address);
    let lines = std::mem::take(&mut *memory.lines.lock().unwrap());
    let listening = format!("listens on {address}");
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert!(count(&listening) == 1, "{lines:#?}");
    assert!(count(" opened to tcp://127.0.0.1:") >= 1, "{lines:#?}");
    assert!(count("both sides said goodbye") >= 2, "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.starts_with("DEBUG")),
        "{lines:#?}"
    );
    // The listener's span goes on; those of the connection had their beginnings, and ended.
    let span = |line: &str| line.split_once(" in span ").unwrap().1.parse::<u64>();
    let open = memory.open.lock().unwrap().clone();
    let found = lines.iter().find(|line| line.contains(&listening));
    assert!(open.contains(&span(found.unwrap()).unwrap()), "{lines:#?}");
    for line in lines.iter().filter(|line| line.contains("both sides said")) {
        let span = span(line).unwrap();
        assert!(!open.contains(&span), "{lines:#?}");
        let end = format!(" in span {span}");
        let others = lines.iter().filter(|line| line.ends_with(&end));
        assert_eq!(others.count(), 2, "{lines:#?}");
    }

    memory.takes_traces.store(true, Ordering::Relaxed);
    let client = group(&engine);
    let channel = client.0.connect(&address).unwrap();
    let question = engine.message().with_body(b"who knows?").unwrap();
    let call = client.0.call(channel, question, Instant::now() + PATIENCE);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(expect!(server.1, Hello));
            let answer = engine.message().with_body(b"I do").unwrap();
            let request = expect!(server.1, Request);
            server.0.post(request.reply(answer)).unwrap();
        });
        call.wait().unwrap();
    });
    let lines = memory.lines.lock().unwrap();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("who knows?"), 1, "{lines:#?}");
    assert_eq!(count("I do"), 1, "{lines:#?}");
}
