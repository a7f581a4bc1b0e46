//! Where there is no mechanism yet: everything compiles, and nothing can be started.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, Fate, Sealed};
use crate::event::{Events, Key};
use crate::interest::Interest;
use crate::waker::Signal;

/// No mechanism: there is no value of this type.
#[derive(Debug)]
pub struct Unsupported(Infallible);

impl Sealed for Unsupported {}

impl Backend for Unsupported {
    type Handle = Infallible;

    fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn signal(&self) -> Arc<dyn Signal> {
        match self.0 {}
    }

    fn register(&mut self, _key: Key, _handle: Infallible) -> io::Result<()> {
        match self.0 {}
    }

    fn declare(&mut self, _key: Key, _interest: Interest) {
        match self.0 {}
    }

    fn deregister(&mut self, _key: Key, _fate: Fate) {
        match self.0 {}
    }

    fn reconcile(&mut self, _events: &mut Events) -> io::Result<()> {
        match self.0 {}
    }

    fn collect(&mut self, _events: &mut Events, _timeout: Option<Duration>) -> io::Result<bool> {
        match self.0 {}
    }

    fn calls(&self) -> u64 {
        match self.0 {}
    }
}
