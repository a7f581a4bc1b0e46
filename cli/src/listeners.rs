//! The addresses that a command listens on until it ends.

use std::collections::HashMap;
use std::path::Path;

use ampe::{Address, Channel, ChannelGroup, Closed, ListenOptions};
use serde_json::json;

use crate::advice;
use crate::error::Failure;
use crate::listen::Place;
use crate::output;
use crate::ready::Ready;

#[derive(Default)]
pub(crate) struct Listeners {
    addresses: HashMap<Channel, Address>,
    options: ListenOptions,
    ready: Ready,
}

impl Listeners {
    /// None yet, for those that are to listen with these options.
    pub(crate) fn with(options: ListenOptions) -> Listeners {
        Listeners {
            options,
            ..Listeners::default()
        }
    }

    /// Listens on all of these.
    pub(crate) fn start(
        group: &ChannelGroup,
        places: Vec<Place>,
        options: ListenOptions,
        ready: Option<&Path>,
    ) -> Result<Listeners, Failure> {
        let mut listeners = Listeners {
            ready: Ready::new(ready, places.len()),
            ..Listeners::with(options)
        };
        for place in places {
            listeners.listen(group, place)?;
        }
        Ok(listeners)
    }

    /// Listens on one more.
    pub(crate) fn listen(&mut self, group: &ChannelGroup, place: Place) -> Result<(), Failure> {
        let address = place.address().clone();
        let listening = match place {
            Place::Address(address) => group.listen_with(&address, &self.options),
            Place::Socket(socket) => group.listen_on_with(socket, &self.options),
        };
        let channel =
            listening.map_err(|refused| Failure::new(format!("{refused}: run it again")))?;
        self.addresses.insert(channel, address);
        Ok(())
    }

    /// Prints the address that a listener has, and tells whoever waits for it.
    pub(crate) fn tell(&mut self, bound: &Address, json: bool) -> Result<(), Failure> {
        tell(bound, json)?;
        self.ready.tell(bound)
    }

    /// Fails if a listener has ended, and not a connection.
    pub(crate) fn check(&mut self, closed: &Closed) -> Result<(), Failure> {
        match self.addresses.remove(&closed.channel()) {
            Some(address) => Err(Failure::Failed(advice::listener(
                &address,
                closed,
                self.addresses.values(),
            ))),
            None => Ok(()),
        }
    }
}

/// Prints the address that a listener has.
pub(crate) fn tell(bound: &Address, json: bool) -> Result<(), Failure> {
    let address = bound.to_string();
    match json {
        true => output::json(&json!({ "event": "listening", "address": address })),
        false => output::line(address),
    }
}
