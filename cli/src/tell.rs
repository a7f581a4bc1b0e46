//! `ampe tell`: Signals.

use std::time::Duration;

use ampe::Event;

use crate::args::Tell;
use crate::call;
use crate::content;
use crate::error::Failure;
use crate::feeder::Feeder;
use crate::link::Link;
use crate::output;
use crate::session::Session;

pub(crate) fn run(arguments: &Tell) -> Result<(), Failure> {
    // Read before anybody is connected to.
    let body = arguments
        .body
        .as_ref()
        .map(|body| content::body(Some(body)));
    let body = body.transpose()?;
    let security = arguments.secure.dialling(&arguments.to)?;
    let mut session = Session::start_with(call::options(arguments.timeout), security)?;
    let told = tell(&mut session, arguments, body.as_deref());
    let account = session.end(Duration::ZERO);
    if arguments.json {
        let error = told.as_ref().err().map(ToString::to_string);
        output::json(&call::ended(account, error))?;
    } else if let (Some(account), false) = (account, arguments.quiet) {
        output::note(&output::balance(&account));
    }
    told
}

fn tell(session: &mut Session, arguments: &Tell, body: Option<&[u8]>) -> Result<(), Failure> {
    let hello = content::with(session.group().message(), &arguments.hello)?;
    let mut link = Link::open(session, &arguments.to, hello, arguments.timeout)?;
    link.connected()?;
    let make = call::maker(&link, &arguments.headers, |message, channel| {
        message.signal(channel)
    });
    let Some(body) = body else {
        return tell_lines(link, make);
    };
    link.post(make(body)?)?;
    link.finish().map(drop)
}

fn tell_lines(mut link: Link<'_>, make: crate::feeder::Make) -> Result<(), Failure> {
    let feeder = Feeder::start(link.group().clone(), make)?;
    while !feeder.is_done() {
        // Lines may be long in coming, and the other side in reading: the engine ends what is stuck.
        let mut patience = link.patience();
        if let Some(Event::Room(_)) = link.look(&mut patience)? {
            feeder.room();
        }
    }
    link.finish()?;
    match feeder.refused() {
        0 => Ok(()),
        _ => Err(Failure::Told),
    }
}
