//! How a conversation ends in words, and what that confirms.

use crate::options::after;
use crate::reason::Reason;

use super::{Connection, Context, Finishing, Origin, State};
use crate::protocol::decisions;

/// How far the goodbyes have come, and the answers before them.
#[derive(Default)]
pub(super) struct Goodbye {
    ours: Asked<Ours>,
    /// What the peer sent before its ByeRequest was received: nothing waits to be confirmed.
    theirs: Asked<()>,
    /// How many messages the goodbyes confirm.
    confirmed: u64,
    /// Sent messages that ask for an answer, and the first answers to as many of them.
    questions: u64,
    answers: u64,
}

/// One side's ByeRequest and its ByeResponse.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Asked<T> {
    #[default]
    No,
    /// The ByeRequest has left, or came.
    Yes(T),
    /// The ByeResponse has left, or came; maybe unasked.
    Answered,
}

/// Our ByeRequest: its id, and how many messages its answer confirms.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ours {
    id: u64,
    messages: u64,
}

impl<T> Asked<T> {
    fn is_open(&self) -> bool {
        matches!(self, Asked::Yes(_))
    }
}

impl Goodbye {
    /// So many messages have left that ask for an answer.
    pub(super) fn on_questions_sent(&mut self, count: u64) {
        self.questions += count;
    }

    /// An answer came, and is whole.
    pub(super) fn on_answer(&mut self) {
        // One that answers nothing confirms nothing.
        if decisions::is_answer(self.answers, self.questions) {
            self.answers += 1;
        }
    }

    pub(super) fn on_request_received(&mut self) {
        if self.theirs != Asked::Answered {
            self.theirs = Asked::Yes(());
        }
    }

    /// The peer waits for our ByeResponse.
    pub(super) fn is_owed(&self) -> bool {
        self.theirs.is_open()
    }

    /// Both sides said goodbye, and the peer has answered ours: our own answer is a courtesy.
    fn is_over(&self) -> bool {
        self.ours == Asked::Answered && self.theirs.is_open()
    }

    /// Our ByeRequest was sent, and nobody has said the last word.
    pub(super) fn is_awaited(&self) -> bool {
        self.ours.is_open() && self.theirs != Asked::Answered
    }
}

impl Connection {
    /// Why it ends where nothing but `reason` has happened since it was open: a conversation that is over
    /// ends by that.
    pub(super) fn unless_over(&self, reason: Reason) -> Reason {
        match self.goodbye.is_over() {
            true => Reason::Bye,
            false => reason,
        }
    }

    pub(super) fn confirmed(&self) -> u64 {
        let Goodbye {
            answers, confirmed, ..
        } = self.goodbye;
        decisions::confirmed(answers, confirmed, self.messages.sent)
    }

    /// Our ByeRequest has left.
    pub(super) fn on_bye_sent(&mut self, id: u64, context: &Context<'_>) {
        let messages = self.messages.sent;
        self.goodbye.ours = Asked::Yes(Ours { id, messages });
        self.begin_to_put_off();
        self.set_deadline_no_later(after(context.now, context.options.bye_timeout));
    }

    /// Our ByeResponse has left: the last word of this side.
    pub(super) fn on_last_word_sent(&mut self, context: &Context<'_>) {
        let goodbye = &mut self.goodbye;
        let is_bye = goodbye.theirs.is_open() || goodbye.ours != Asked::No;
        goodbye.theirs = Asked::Answered;
        let reason = if is_bye { Reason::Bye } else { Reason::Refused };
        self.state = State::Finishing(Finishing {
            reason,
            is_sending_side_closed: false,
        });
        self.set_deadline_no_later(after(context.now, context.options.linger_timeout));
    }

    /// A ByeResponse came: the answer to our goodbye, or a refusal to go on that may have crossed
    /// it.
    pub(super) fn on_bye_response(&mut self, id: u64, context: &mut Context<'_>) {
        let refuses_hello = match &self.origin {
            Origin::Opened(hello) => !hello.is_answered && hello.id == id,
            Origin::Accepted { .. } => false,
        };
        let goodbye = &mut self.goodbye;
        let was_sent = goodbye.ours != Asked::No;
        let is_answer = match goodbye.ours {
            Asked::Yes(ours) if ours.id == id && !refuses_hello => {
                goodbye.confirmed = ours.messages;
                true
            }
            _ => false,
        };
        goodbye.ours = Asked::Answered;
        let have_crossed = was_sent && goodbye.theirs != Asked::No;
        if !is_answer && !have_crossed {
            return self.end(Reason::Refused, None, context);
        }
        if have_crossed && goodbye.theirs != Asked::Answered {
            return; // both said goodbye at once: our answer goes out first
        }
        self.end(Reason::Bye, None, context);
    }

    /// An orderly end behind our last words is how the peer ends the conversation. It confirms nothing:
    /// a peer that waits no longer may have closed its side before they arrived.
    pub(super) fn confirm_by_end(&mut self) {
        let sent = self.messages.sent;
        self.goodbye.confirmed = decisions::confirmed_by_end(self.goodbye.confirmed, sent);
    }
}
