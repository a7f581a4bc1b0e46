//! Whether a connection that was accepted may say something.

use std::time::Instant;

use crate::between::key::RecordKey;
use crate::event::{Event, Incoming};
use crate::peer::Peer;
use crate::reason::Reason;
use crate::tls::Identity;

use super::{Connection, Context, Origin, State};
use crate::protocol::{ReadPlan, decisions};

/// How far a connection has come to be admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::protocol) enum Admission {
    /// The application is asked once the handshake has shown who it is.
    Handshake,
    /// The application is asked. Nothing is read; that it ends shows as long as nothing is there to be read.
    Asked {
        has_spoken: bool,
    },
    Admitted,
}

impl Connection {
    /// The listener that accepted it, if one did.
    pub(in crate::protocol) fn listener(&self) -> Option<RecordKey> {
        match self.origin {
            Origin::Accepted { listener, .. } => Some(listener),
            Origin::Opened(_) => None,
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        decisions::may_speak(self.admission == Admission::Admitted)
    }

    /// Whether the application has been asked, and has not answered.
    pub(in crate::protocol) fn is_asked(&self) -> bool {
        matches!(self.admission, Admission::Asked { .. })
    }

    /// Whether its handshake or its end is waited for.
    pub(super) fn awaits_admission(&self) -> bool {
        let is_of_interest = match self.admission {
            Admission::Handshake | Admission::Asked { has_spoken: false } => true,
            Admission::Asked { has_spoken: true } | Admission::Admitted => false,
        };
        is_of_interest && self.is_live()
    }

    /// How to find out about one that is not admitted.
    pub(super) fn plan_before_admission(&self) -> ReadPlan<'static> {
        match self.admission {
            Admission::Handshake => ReadPlan::Handshake,
            Admission::Asked { has_spoken: false } => ReadPlan::Peek,
            Admission::Asked { has_spoken: true } | Admission::Admitted => ReadPlan::Park,
        }
    }

    /// The peer has proven who it is, before it says anything.
    pub(in crate::protocol) fn handle_identified(
        &mut self,
        identity: Option<Identity>,
        context: &mut Context<'_>,
    ) {
        self.peer = self.peer.take().map(|peer| peer.identified(identity));
        if self.admission == Admission::Handshake {
            self.ask(context);
        }
    }

    pub(in crate::protocol) fn ask(&mut self, context: &mut Context<'_>) {
        let (
            &Origin::Accepted {
                listener,
                listener_channel,
            },
            Some(peer),
            State::Open,
        ) = (&self.origin, &self.peer, &self.state)
        else {
            return;
        };
        self.admission = Admission::Asked { has_spoken: false };
        let incoming = Incoming::new((listener, listener_channel), self.key, Peer::clone(peer));
        context.events.push_back(Event::Incoming(incoming));
    }

    pub(in crate::protocol) fn handle_spoken(&mut self) {
        if self.is_asked() {
            self.admission = Admission::Asked { has_spoken: true };
        }
    }

    /// The application has decided. Who is admitted has until `deadline` to say hello. Returns whether the connection
    /// was ended by it.
    pub(in crate::protocol) fn decide(
        &mut self,
        is_admitted: bool,
        deadline: Instant,
        context: &mut Context<'_>,
    ) -> bool {
        self.admission = Admission::Admitted; // or it has ended
        if self.has_ended() {
            return false;
        }
        if decisions::is_let_in(is_admitted) {
            self.deadline = Some(deadline);
            return false;
        }
        self.end(Reason::Refused, None, context);
        true
    }
}
