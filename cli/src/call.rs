//! `ampe call`: a Request, and its Response.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ampe::{Account, Channel, Event, Options, Post, Received};
use serde_json::{Value, json};

use crate::args::Call;
use crate::content;
use crate::error::Failure;
use crate::feeder::Feeder;
use crate::link::{Fate, Link};
use crate::output;
use crate::patience::Patience;
use crate::session::Session;

pub(crate) fn run(arguments: &Call) -> Result<(), Failure> {
    if arguments.lines && (arguments.body.is_some() || arguments.count > 1) {
        let said = "--lines takes its bodies from stdin: leave BODY and --count out";
        return Err(Failure::Usage(said.to_owned()));
    }
    let body = content::body(arguments.body.as_ref())?;
    let security = arguments.secure.dialling(&arguments.to)?;
    let mut session = Session::start_with(options(arguments.timeout), security)?;
    let mut times = Times::default();
    let called = call(&mut session, arguments, &body, &mut times);
    let account = session.end(Duration::ZERO);
    tell_end(arguments, &times, account, &called)?;
    called
}

/// Our own limit comes first: it knows what was waited for.
pub(crate) fn options(timeout: Duration) -> Options {
    let mut options = Options::default();
    options.connect_timeout = 2 * timeout;
    options.bye_timeout = options.bye_timeout.max(2 * timeout);
    options.send_timeout = options.send_timeout.max(2 * timeout);
    options.frame_timeout = options.frame_timeout.max(2 * timeout);
    options
}

/// How long the answers took.
#[derive(Default)]
struct Times {
    count: u64,
    total: Duration,
    longest: Duration,
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total += time;
        self.longest = self.longest.max(time);
    }
}

fn call(
    session: &mut Session,
    arguments: &Call,
    body: &[u8],
    times: &mut Times,
) -> Result<(), Failure> {
    let hello = content::with(session.group().message(), &arguments.hello)?;
    let mut link = Link::open(session, &arguments.to, hello, arguments.timeout)?;
    if arguments.lines {
        return call_lines(link, arguments, times);
    }
    for number in 1..=arguments.count {
        let message = content::with(link.group().message(), &arguments.headers)?;
        let message = message
            .with_body(body)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let request = message.request(link.channel());
        let mut patience = link.patience();
        let posted = Instant::now();
        let id = match link.post(request) {
            Ok(posted) => posted.id,
            Err(Failure::Failed(why)) => {
                let fate = of_request(Fate::Returned);
                return Err(Failure::new(format!("{why}; {fate}")));
            }
            Err(failure) => return Err(failure),
        };
        loop {
            let Some(answer) = answer(&mut link, id, &mut patience)? else {
                return Err(late(link, id));
            };
            tell_answer(arguments, number, posted.elapsed(), &answer)?;
            if !answer.has_more() {
                break;
            }
        }
        times.add(posted.elapsed());
    }
    link.finish().map(drop)
}

/// The Response with this id, or its next part; `None` if there is no more patience. A connection that
/// breaks meanwhile says what became of the Request.
fn answer(
    link: &mut Link<'_>,
    id: u64,
    patience: &mut Patience,
) -> Result<Option<Received>, Failure> {
    while !patience.is_over() {
        match link.look(patience) {
            Ok(Some(Event::Response(answer))) if answer.id() == id => return Ok(Some(answer)),
            Ok(_) => {}
            Err(Failure::Failed(why)) => {
                let fate = link.fate(id);
                return Err(Failure::new(format!("{why}; {}", of_request(fate))));
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(None)
}

fn late(link: Link<'_>, id: u64) -> Failure {
    let (to, seconds) = (output::shown(link.to()), link.timeout().as_secs_f64());
    let fate = match link.give_up(id) {
        Ok(fate) => of_request(fate),
        Err(failure) => return failure,
    };
    Failure::Late(format!(
        "no answer from {to} within {seconds} s; {fate}: wait longer with --timeout"
    ))
}

fn of_request(fate: Fate) -> &'static str {
    match fate {
        Fate::Returned => "the request was returned, not sent",
        Fate::Unknown => "the request was sent, and whether it was served is unknown",
    }
}

/// A Request for each line of stdin, without waiting for the answer before the next.
fn call_lines(mut link: Link<'_>, arguments: &Call, times: &mut Times) -> Result<(), Failure> {
    let feeder = Feeder::start(
        link.group().clone(),
        maker(&link, &arguments.headers, |message, channel| {
            message.request(channel)
        }),
    )?;
    let mut patience = link.patience();
    let mut posted = 0;
    loop {
        let open = feeder.open();
        if open == 0 && feeder.is_done() {
            break;
        }
        // While nothing is asked, nothing is waited for.
        if open == 0 || posted != feeder.posted() {
            posted = feeder.posted();
            patience.renew(Instant::now());
        }
        match link.look(&mut patience)? {
            Some(Event::Room(_)) => feeder.room(),
            Some(Event::Response(answer)) => {
                let Some((line, since)) = feeder.line(answer.id()) else {
                    continue;
                };
                tell_answer(arguments, line, since.elapsed(), &answer)?;
                if !answer.has_more() {
                    times.add(since.elapsed());
                    feeder.close(answer.id());
                }
                patience.renew(Instant::now());
            }
            _ => {}
        }
        if patience.is_over() && feeder.open() > 0 {
            return Err(Failure::Late(format!(
                "{} of {} requests were not answered within {} s: wait longer with --timeout",
                feeder.open(),
                feeder.posted(),
                link.timeout().as_secs_f64()
            )));
        }
    }
    link.finish()?;
    match feeder.refused() {
        0 => Ok(()),
        _ => Err(Failure::Told),
    }
}

/// What makes lines into posts with these headers.
pub(crate) fn maker(
    link: &Link<'_>,
    headers: &[content::Header],
    post: impl Fn(ampe::Message, Channel) -> Post + Send + 'static,
) -> crate::feeder::Make {
    let (group, channel, headers) = (link.group().clone(), link.channel(), headers.to_owned());
    Box::new(move |line| {
        let message = content::with(group.message(), &headers)?;
        let message = message
            .with_body(line)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(post(message, channel))
    })
}

fn tell_answer(
    arguments: &Call,
    number: u64,
    time: Duration,
    answer: &Received,
) -> Result<(), Failure> {
    if !arguments.json {
        let is_one = !arguments.lines && arguments.count == 1;
        let is_exact = is_one && !io::stdout().is_terminal();
        // What follows begins on a line of its own.
        if is_exact || answer.has_more() || answer.body().ends_with(b"\n") {
            return output::bytes_exactly(answer.body());
        }
        return output::line(answer.body());
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    // A name may be there more than once.
    let headers: Vec<[String; 2]> = answer
        .text_headers()
        .into_iter()
        .map(|(name, value)| [text(name), text(value)])
        .collect();
    let mut document = json!({
        "event": "answer",
        "number": number,
        "status": answer.status(),
        "more": answer.has_more(),
        "headers": headers,
        "rtt_us": time.as_secs_f64() * 1e6,
    });
    output::put(&mut document, "body", answer.body());
    output::json(&document)
}

/// What ends every command: the account, and in JSON why it failed.
fn tell_end(
    arguments: &Call,
    times: &Times,
    account: Option<Account>,
    called: &Result<(), Failure>,
) -> Result<(), Failure> {
    if arguments.json {
        let error = called.as_ref().err().map(ToString::to_string);
        return output::json(&ended(account, error));
    }
    if arguments.quiet {
        return Ok(());
    }
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    match u32::try_from(times.count) {
        Ok(0) | Err(_) => {}
        Ok(1) => output::note(&format!("answered in {:.3} ms", milliseconds(times.total))),
        Ok(count) => output::note(&format!(
            "{count} answers, in {:.3} ms on average and {:.3} ms at most",
            milliseconds(times.total / count),
            milliseconds(times.longest),
        )),
    }
    if let Some(account) = account {
        output::note(&output::balance(&account));
    }
    Ok(())
}

/// The last document of a command that talks to somebody.
pub(crate) fn ended(account: Option<Account>, error: Option<String>) -> Value {
    let mut document = json!({ "event": "ended", "account": account.map(output::account) });
    if let Some(error) = error {
        document["error"] = error.into();
    }
    document
}
