//! Events as lines of the ledger.

use ampe::{Event, Received, Returned};

use super::book::{Account, Book, Line, Verb};
use super::content;

/// Writes an event down. Nothing of it may have been acted on before.
pub(crate) fn record(book: &Book, event: &Event) {
    let line = match event {
        Event::Hello(it) => received(it),
        Event::Request(it) => received(it),
        Event::Signal(it) => received(it),
        Event::Bye(it) => received(it),
        Event::Accepted(it) | Event::Response(it) | Event::ByeResponse(it) => received(it),
        Event::Returned(it) => returned(it),
        Event::Closed(it) => closed(it),
        Event::Opened(_) | Event::Room(_) => return,
        other => Line::Fault(format!("unexpected: {other:?}")),
    };
    book.write(&line);
}

/// Lets go of an event, which leaves a Bye to the engine to answer.
pub(crate) fn leave(book: &Book, event: Event) {
    if let Event::Bye(bye) = &event {
        book.write(&Line::Left(bye.channel().into()));
    }
    drop(event);
}

fn closed(closed: &ampe::Closed) -> Line {
    let account = closed.account();
    let account = Account {
        posted: account.posted,
        sent: account.sent,
        returned: account.returned,
        confirmed: account.confirmed,
        received: account.received,
    };
    Line::Closed(closed.channel().into(), word(closed.reason()), account)
}

fn returned(returned: &Returned) -> Line {
    let (channel, id) = (returned.channel().into(), returned.id());
    let told = Verb::of(returned.op_code()).and_then(|verb| {
        let identity = content::identify(returned.message(), own_id(verb, id))?;
        Ok((verb, identity))
    });
    match told {
        Ok((verb, identity)) => {
            Line::Returned(channel, verb, identity, id, word(returned.reason()))
        }
        Err(what) => Line::Fault(format!("returned on {channel}: {what}")),
    }
}

fn received(received: &Received) -> Line {
    let (channel, id) = (received.channel().into(), received.id());
    let told = Verb::of(received.op_code()).and_then(|verb| {
        let identity = content::identify(received.message(), own_id(verb, id))?;
        match (identity, verb) {
            (None, Verb::ByeResponse) | (Some(_), _) => Ok((verb, identity)),
            (None, _) => Err(format!("{verb} with id {id} does not say who it is")),
        }
    });
    match told {
        Ok((verb, identity)) => Line::Received(channel, verb, identity, id),
        Err(what) => Line::Fault(format!("received on {}: {what}", received.channel())),
    }
}

/// The id of a message that asks; that of an answer is the question's.
fn own_id(verb: Verb, id: u64) -> u64 {
    match verb {
        Verb::Accept | Verb::Response | Verb::ByeResponse => 0,
        _ => id,
    }
}

fn word(reason: ampe::Reason) -> String {
    format!("{reason:?}").replace(char::is_whitespace, "")
}
