//! What answers at an address `tls://`, with which identity, and whether that would be accepted.

use std::io;
use std::time::Duration;

use ampe::{Address, KeyHash, TlsOptions};
use serde_json::json;

use super::certificate::{Certificate, Validity};
use super::hello::{self, Answer};
use super::look::{self, Handshake, Protocol, Seen, Spoken};
use super::{NO_AMPE, Report, milliseconds, shown, silent};
use crate::args::{Doctor, Security};
use crate::aside::{self, Aside};
use crate::error::Failure;
use crate::output;

const KEPT_OUT: &str = "not asked: it does not let this side in";

/// Looks at the certificate, whoever's it is; then asks as any command would, with what is given.
pub(super) fn examine(
    report: &mut Report,
    arguments: &Doctor,
    to: &Address,
) -> Result<(), Failure> {
    // What is wrong with it is told before anybody is connected to.
    let given = match arguments.secure.says_whom() {
        true => arguments.secure.dialling(to)?,
        false => None,
    };
    let timeout = arguments.timeout;
    let Some(seen) = look(to, timeout)? else {
        report.port(None);
        report.late(unresolved(to, "was not resolved in time"));
        return Ok(());
    };
    let Some(handshake) = see(report, to, seen, timeout)? else {
        return Ok(());
    };
    let certificate = handshake.chain.first().map(Certificate::read);
    tell(report, &handshake, certificate.as_ref());
    if let Protocol::Web(_) | Protocol::Refused = handshake.protocol {
        report.ampe("no: something else is spoken", json!({ "answers": false }));
        let what = match &handshake.protocol {
            Protocol::Web(name) => format!("is a web server ({name})"),
            _ => "speaks another protocol over TLS".to_owned(),
        };
        let to = output::shown(to);
        report.wrong(format!("{to} {what}: check host and port"));
        return Ok(());
    }
    match given {
        Some(given) => ask_as(report, arguments, to, given, certificate.as_ref())?,
        None => ask_whoever(report, to, &handshake, certificate.as_ref(), timeout)?,
    }
    Ok(())
}

/// Whether TLS is spoken at an address that is said to have none.
pub(super) fn speaks_tls(to: &Address, timeout: Duration) -> Result<bool, Failure> {
    let seen = match to.host() {
        Some(_) => look(to, timeout)?,
        None => None,
    };
    let is_tls = |spoken: &Spoken| {
        matches!(
            spoken,
            Spoken::Tls(_) | Spoken::OtherVersion | Spoken::Failed(_)
        )
    };
    Ok(matches!(seen, Some(Seen::Connected { spoken, .. }) if is_tls(&spoken)))
}

/// On a thread of its own, which is left behind where names are not resolved.
fn look(to: &Address, timeout: Duration) -> Result<Option<Seen>, Failure> {
    let (Some(host), Some(port)) = (to.host(), to.port()) else {
        return Ok(None);
    };
    let host = host.to_string();
    let looking = move || look::look(&host, port, timeout);
    let looking = Aside::spawn("ampe-look", looking).map_err(|error| aside::no_thread(&error))?;
    // It connects, shakes hands, and does so once more.
    looking.wait_while_moving(5 * timeout, || 0)
}

/// What of a handshake there is; `None` if there is none, which is told.
fn see(
    report: &mut Report,
    to: &Address,
    seen: Seen,
    timeout: Duration,
) -> Result<Option<Box<Handshake>>, Failure> {
    let (at, took, spoken) = match seen {
        Seen::NotResolved(error) => {
            report.port(None);
            report.wrong(unresolved(to, &format!("cannot be resolved ({error})")));
            return Ok(None);
        }
        Seen::NotConnected(error) => {
            report.port(None);
            not_connected(report, to, &error, timeout);
            return Ok(None);
        }
        Seen::Connected { at, took, spoken } => (at, took, spoken),
    };
    report.port(Some((Some(at.to_string()), took)));
    if let Spoken::Tls(handshake) = spoken {
        return Ok(Some(handshake));
    }
    let spoken_there = match &spoken {
        Spoken::OtherVersion | Spoken::Failed(_) => "spoken, but no handshake came about",
        _ => "not spoken",
    };
    report.tell("TLS", spoken_there);
    no_handshake(report, to, &spoken, timeout)?;
    Ok(None)
}

fn unresolved(to: &Address, what: &str) -> String {
    format!(
        "the host of {} {what}: check its spelling, and that this machine reaches its name server",
        output::shown(to)
    )
}

fn not_connected(report: &mut Report, to: &Address, error: &io::Error, timeout: Duration) {
    let to = output::shown(to);
    if error.kind() == io::ErrorKind::TimedOut {
        let seconds = timeout.as_secs_f64();
        report.late(format!(
            "no connection to {to} within {seconds} s: check the address, and whether a firewall lets nothing \
             through, or wait longer with --timeout"
        ));
        return;
    }
    report.wrong(format!(
        "could not connect to {to}: {error}: see that something listens there, that host and port are right, and \
         that it listens beyond its own machine"
    ));
}

/// Why there was no handshake, and what to do.
fn no_handshake(
    report: &mut Report,
    to: &Address,
    spoken: &Spoken,
    timeout: Duration,
) -> Result<(), Failure> {
    let shown_to = output::shown(to);
    let is_tls = matches!(spoken, Spoken::OtherVersion | Spoken::Failed(_));
    // Whoever does not understand a handshake may well be an ampe without TLS.
    let tcp = to.to_string().replacen("tls://", "tcp://", 1);
    if !is_tls
        && let Ok(tcp) = tcp.parse::<Address>()
        && hello::ask(&tcp, None, timeout)?.is_ampe()
    {
        report.ampe(
            "answers, without TLS",
            json!({ "answers": true, "without_tls": true }),
        );
        report.wrong(format!(
            "ampe answers at {shown_to} without TLS: have it listen at tls://, or give {} if all on the way is trusted",
            output::shown(tcp)
        ));
        return Ok(());
    }
    let answers = (!is_tls).then_some(false);
    report.ampe("not asked", json!({ "answers": answers }));
    let wrong = match spoken {
        Spoken::OtherVersion => format!(
            "{shown_to} speaks TLS, but not TLS 1.3: have it updated, or check that the address is right"
        ),
        Spoken::Failed(words) => format!(
            "no handshake with {shown_to} came about: {words}: check that the address is right, and see what it says"
        ),
        Spoken::Plain(first) => format!(
            "{shown_to} does not speak TLS, it says {}: check host and port",
            output::quoted(&String::from_utf8_lossy(first))
        ),
        Spoken::Closed => format!(
            "{shown_to} closed the connection at the handshake of TLS: see that ampe listens at tls:// there, and not \
             another program"
        ),
        Spoken::Silent | Spoken::Tls(_) => {
            report.late(silent(to, timeout));
            return Ok(());
        }
    };
    report.wrong(wrong);
    Ok(())
}

/// What the handshake showed.
fn tell(report: &mut Report, handshake: &Handshake, certificate: Option<&Certificate>) {
    let Handshake {
        took,
        cipher,
        protocol,
        asks_for_certificate,
        ..
    } = handshake;
    let took_shown = shown(*took);
    report.tell(
        "TLS",
        &format!("1.3, {cipher}, hands shaken in {took_shown}"),
    );
    let (alpn, said) = match protocol {
        Protocol::Ampe => (Some("ampe/1"), "ampe/1".to_owned()),
        Protocol::Web(name) => (Some(name.as_str()), format!("{name}, as web servers speak")),
        Protocol::Unsaid => (None, "none agreed on".to_owned()),
        Protocol::Refused => (None, "neither ampe/1 nor a web server's".to_owned()),
    };
    report.tell("protocol", &said);
    let lines = certificate.map_or_else(Vec::new, Certificate::lines);
    for (label, text) in lines {
        report.tell(label, &text);
    }
    if *asks_for_certificate {
        report.tell("asks for", "a key or a certificate of who connects");
    }
    report.document["tls"] = json!({
        "version": "1.3",
        "cipher": cipher,
        "alpn": alpn,
        "handshake_ms": milliseconds(*took),
        "asks_for_certificate": asks_for_certificate,
        "certificate": certificate.map(Certificate::document),
    });
}

fn trusted(report: &mut Report, text: &str, accepted: Option<bool>, why: Option<&str>) {
    report.tell("trusted", text);
    report.document["trusted"] = json!({ "accepted": accepted, "why": why });
}

/// Says hello as any command would that is given the same.
fn ask_as(
    report: &mut Report,
    arguments: &Doctor,
    to: &Address,
    given: Security,
    certificate: Option<&Certificate>,
) -> Result<(), Failure> {
    let asked = hello::ask(to, Some(given), arguments.timeout)?;
    match (&asked.answer, asked.connected) {
        // It is behind our handshake that a server says so.
        (Answer::NotSecured(words), Some(_)) => {
            trusted(report, "yes, by what is given", Some(true), None);
            report.ampe(KEPT_OUT, json!({ "answers": null }));
            report.wrong(refused_by(to, words));
        }
        (Answer::NotSecured(words), None) => {
            trusted(report, "no", Some(false), Some(words));
            report.wrong(not_trusted(to, words, certificate));
            if let Some(hash) = certificate.and_then(|it| it.key_hash) {
                ask_all_the_same(report, to, hash, arguments.timeout)?;
            }
        }
        (_, Some(_)) => {
            trusted(report, "yes, by what is given", Some(true), None);
            report.answer(to, &asked, arguments.timeout);
        }
        // It was there a moment ago.
        (_, None) => report.answer(to, &asked, arguments.timeout),
    }
    Ok(())
}

/// What it is, though it is not trusted: nothing is given, so that nothing is shown to whoever this is.
fn ask_all_the_same(
    report: &mut Report,
    to: &Address,
    hash: KeyHash,
    timeout: Duration,
) -> Result<(), Failure> {
    let asked = hello::ask(to, Some(pinned(hash)?), timeout)?;
    let (text, answers) = match asked.answer {
        Answer::Accepted(_) | Answer::Refused(_) => ("answers", Some(true)),
        Answer::NotSecured(_) => (KEPT_OUT, None),
        Answer::Ended { .. } | Answer::Silent => (NO_AMPE, Some(false)),
    };
    report.ampe(text, json!({ "answers": answers }));
    Ok(())
}

/// Says hello to whoever has the key that was shown, and shows nothing.
fn ask_whoever(
    report: &mut Report,
    to: &Address,
    handshake: &Handshake,
    certificate: Option<&Certificate>,
    timeout: Duration,
) -> Result<(), Failure> {
    let advice = "not asked: give --key-file, --pin or --ca, once the hash was compared with what the listener printed";
    trusted(report, advice, None, None);
    let Some(hash) = certificate.and_then(|it| it.key_hash) else {
        report.wrong(format!(
            "{} shows no certificate that can be read: check that the address is right",
            output::shown(to)
        ));
        return Ok(());
    };
    let asked = hello::ask(to, Some(pinned(hash)?), timeout)?;
    match &asked.answer {
        Answer::NotSecured(_) if handshake.asks_for_certificate => {
            report.ampe(KEPT_OUT, json!({ "answers": null }));
            report.wrong(format!(
                "{} demands a key or a certificate of who connects: give the key that it printed, by --key-file or \
                 AMPE_KEY, or --cert and --cert-key",
                output::shown(to)
            ));
        }
        _ => report.answer(to, &asked, timeout),
    }
    Ok(())
}

fn pinned(hash: KeyHash) -> Result<Security, Failure> {
    let built = TlsOptions::new().pin(hash).build();
    built.map_err(|error| Failure::new(format!("{error}: report it")))
}

fn refused_by(to: &Address, words: &str) -> String {
    format!(
        "{} does not accept what this side shows: {words}: give the key that it printed last, or a certificate of an \
         authority that it trusts",
        output::shown(to)
    )
}

/// Why it is not accepted by what is given, and what to do.
fn not_trusted(to: &Address, words: &str, certificate: Option<&Certificate>) -> String {
    let advice = match certificate.and_then(Certificate::validity) {
        _ if words.contains("pinned") => {
            "compare the hash above with what the listener printed: if they differ, somebody else answers there; a \
             listener that is given no key makes another each time it starts"
                .to_owned()
        }
        Some(Validity::NoMore) => "have its certificate renewed, and look at this machine's clock".to_owned(),
        Some(Validity::NotYet) => "look at the clocks of both machines".to_owned(),
        _ => match certificate.and_then(Certificate::issuer) {
            Some(issuer) => format!(
                "give the certificate of the authority that issued it ({}) by --ca, and the name that it is for as host",
                output::shown(issuer)
            ),
            None => "nobody else issued it: give the hash of its key by --pin, once it was compared with what the \
                     listener printed"
                .to_owned(),
        },
    };
    format!("{} is not trusted: {words}: {advice}", output::shown(to))
}
