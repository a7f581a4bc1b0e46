//! `ampe doctor`: what this system is and offers, to be pasted into a report of a defect, or what answers at an
//! address.

mod peer;
mod verification;

use ampe::platform::{Descriptors, Platform};
use serde_json::{Value, json};

use self::verification::Verified;
use crate::args::Doctor;
use crate::error::Failure;
use crate::output;

pub(crate) fn run(arguments: &Doctor) -> Result<(), Failure> {
    if let Some(to) = &arguments.to {
        return peer::run(arguments, to);
    }
    if arguments.secure.is_given() {
        let said =
            "--ca, --pin, --key and the like are for --to: give an address, or leave them out";
        return Err(Failure::Usage(said.to_owned()));
    }
    let platform = Platform::probe().map_err(|error| {
        Failure::new(format!(
            "cannot open a socket to look at: {error}: see that this system has a network"
        ))
    })?;
    let verified = arguments
        .verify
        .then(|| verification::run(arguments.trace.as_deref()))
        .transpose()?;
    if arguments.json {
        let mut document = document(&platform);
        if let Some(verified) = &verified {
            document["verify"] = verified.document();
        }
        return output::json(&document);
    }
    for (name, value) in lines(&platform) {
        output::line(format!("{name:<14}{value}"))?;
    }
    for line in verified.iter().flat_map(Verified::lines) {
        output::line(line)?;
    }
    Ok(())
}

fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

fn lines(platform: &Platform) -> Vec<(&'static str, String)> {
    let version = env!("CARGO_PKG_VERSION");
    let architecture = platform.architecture;
    let mut lines = vec![
        ("ampe", format!("{version}, {architecture}, {}", build())),
        ("system", platform.system.clone()),
        ("polled by", platform.backend.to_owned()),
    ];
    if let Some(polled_on) = &platform.polled_on {
        lines.push(("polled on", polled_on.to_string()));
    }
    if let Some(provider) = &platform.provider {
        lines.push(("provider", provider.clone()));
    }
    let unix_sockets = if platform.unix_sockets { "yes" } else { "no" };
    lines.push(("Unix sockets", unix_sockets.to_owned()));
    let descriptors = match platform.descriptors {
        None => "as many as memory holds".to_owned(),
        Some(Descriptors { soft, hard }) => {
            format!("{}, may be raised to {}", limit(soft), limit(hard))
        }
    };
    lines.push(("descriptors", descriptors));
    lines
}

fn limit(limit: Option<u64>) -> String {
    limit.map_or("no limit".to_owned(), |limit| limit.to_string())
}

fn document(platform: &Platform) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": build(),
        "architecture": platform.architecture,
        "system": platform.system,
        "backend": platform.backend,
        "control": platform.polled_on.as_ref().map(ToString::to_string),
        "provider": platform.provider,
        "unix_sockets": platform.unix_sockets,
        "descriptors": platform.descriptors.map(|Descriptors { soft, hard }| json!({
            "soft": soft,
            "hard": hard,
        })),
    })
}
