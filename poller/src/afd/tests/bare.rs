//! A port without a poller over it, pass by pass.

use std::sync::Arc;
use std::time::Duration;

use super::super::defects::Sound;
use super::super::port::{PollingMode, Port};
use crate::nt::sim::{Kernel, Sim, Socket};
use crate::sys::Backend;
use crate::{Events, Interest, Key};

/// A port without a poller over it.
pub(super) struct Bare {
    pub(super) kernel: Arc<Kernel>,
    pub(super) port: Port<Sim, Sound>,
    pub(super) events: Events,
    generation: u64,
}

impl Bare {
    pub(super) fn new(mode: PollingMode) -> Bare {
        let kernel = Arc::<Kernel>::default();
        Bare {
            port: Port::with_mode(Sim::new(&kernel), mode).unwrap(),
            kernel,
            events: Events::with_capacity(64),
            generation: 0,
        }
    }

    pub(super) fn add(&mut self, interest: Interest) -> (Key, Socket) {
        let socket = Socket::bare(&self.kernel);
        (self.insert(&socket, interest), socket)
    }

    pub(super) fn insert(&mut self, socket: &Socket, interest: Interest) -> Key {
        self.generation += 1;
        let key = Key {
            index: self.generation as u32,
            generation: self.generation,
        };
        self.port.register(key, socket.handle()).unwrap();
        self.port.declare(key, interest);
        key
    }

    /// One pass that does not sleep. How many sources it reports, and whether there was a wake.
    pub(super) fn pass(&mut self) -> (usize, bool) {
        self.events.clear();
        self.port.reconcile(&mut self.events).unwrap();
        let timeout = Some(Duration::ZERO);
        let was_signalled = self.port.collect(&mut self.events, timeout).unwrap();
        (self.events.iter().count(), was_signalled)
    }

    /// How many calls something costs, by the kernel's count and by the port's own.
    #[track_caller]
    pub(super) fn cost<T>(&mut self, something: impl FnOnce(&mut Bare) -> T) -> u64 {
        let before = (self.kernel.state().counts.calls, self.port.calls());
        something(self);
        let calls = self.kernel.state().counts.calls - before.0;
        assert_eq!(self.port.calls() - before.1, calls, "the port's own count");
        calls
    }

    pub(super) fn keep_packets(&self, keeps: bool) {
        self.kernel.state().mood.keeps_packets = keeps;
    }
}
