//! Defaults of options from a file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, CommandFactory};

use crate::args::Arguments;
use crate::error::Failure;
use crate::output;

/// What is typed, with what the file says in addition: behind the command's name, each option that is
/// neither typed nor in the environment.
pub(crate) fn arguments() -> Result<Vec<OsString>, Failure> {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let Some((path, is_asked_for)) = path() else {
        return Ok(typed);
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_asked_for => {
            return Ok(typed);
        }
        Err(error) => {
            let shown = output::shown(path.display());
            let said =
                format!("cannot read {shown}, the file of defaults: {error}: check its name");
            return Err(Failure::Usage(said));
        }
    };
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let added = with_defaults(typed, &text, is_set);
    added.map_err(|why| {
        let shown = output::shown(path.display());
        Failure::Usage(format!("{shown}, the file of defaults: {why}"))
    })
}

/// The file, and whether it was named by somebody.
fn path() -> Option<(PathBuf, bool)> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = named("AMPE_CONFIG") {
        return Some((path.into(), true));
    }
    let directory = match (named("XDG_CONFIG_HOME"), named("HOME"), named("APPDATA")) {
        (Some(directory), ..) => PathBuf::from(directory),
        (_, Some(home), _) => Path::new(&home).join(".config"),
        (.., Some(directory)) => PathBuf::from(directory),
        _ => return None,
    };
    Some((directory.join("ampe").join("config"), false))
}

fn with_defaults(
    mut typed: Vec<OsString>,
    text: &str,
    is_set: impl Fn(&str) -> bool,
) -> Result<Vec<OsString>, String> {
    let all = Arguments::command();
    let command = typed.get(1).and_then(|name| name.to_str());
    let command = command.and_then(|name| all.find_subcommand(name));
    let Some(command) = command else {
        return Ok(typed);
    };
    let mut added = Vec::new();
    for (section, name, value) in options(text)? {
        if section.is_some_and(|section| section != command.get_name()) {
            continue;
        }
        let of_this = command
            .get_arguments()
            .find(|of| of.get_long() == Some(name));
        // What stands above all sections is for those commands that have it, and that do what they do without.
        let of_this = of_this.filter(|_| section.is_some() || command.get_name() != "doctor");
        let Some(option) = of_this else {
            match section {
                Some(section) => return Err(format!("`ampe {section}` has no option --{name}")),
                None => continue,
            }
        };
        let variable = format!("AMPE_{}", name.to_uppercase().replace('-', "_"));
        if !is_set(&variable) && !is_typed(&typed, option) {
            added.extend(argument(option, name, value)?);
        }
    }
    typed.splice(2..2, added);
    Ok(typed)
}

/// An option in a file: the section that it is in, its name, and its value.
type Entry<'a> = (Option<&'a str>, &'a str, &'a str);

/// The options in a file's text.
fn options(text: &str) -> Result<Vec<Entry<'_>>, String> {
    let mut section = None;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = Some(name.trim());
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!(
                "line {} is neither `name = value` nor `[command]`",
                at + 1
            ));
        };
        found.push((section, name.trim(), value.trim()));
    }
    Ok(found)
}

fn argument(option: &Arg, name: &str, value: &str) -> Result<Option<OsString>, String> {
    let takes_value = !matches!(option.get_action(), ArgAction::SetTrue);
    match (takes_value, value) {
        (true, _) => Ok(Some(format!("--{name}={value}").into())),
        (false, "true") => Ok(Some(format!("--{name}").into())),
        (false, "false") => Ok(None),
        (false, _) => Err(format!("{name} is true or false")),
    }
}

fn is_typed(typed: &[OsString], option: &Arg) -> bool {
    let long = option.get_long().map(|name| format!("--{name}"));
    let short = option.get_short().map(|name| format!("-{name}"));
    let is_it = |word: &OsStr| {
        let word = word.to_string_lossy();
        let is_long = |long: &String| {
            let rest = word.strip_prefix(long.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        long.as_ref().is_some_and(is_long)
            || short
                .as_ref()
                .is_some_and(|short| word.starts_with(short.as_str()))
    };
    let options = typed.iter().take_while(|word| *word != "--");
    options.into_iter().any(|word| is_it(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(typed: &str, text: &str, set: &[&str]) -> Result<String, String> {
        let typed = typed.split(' ').map(OsString::from).collect();
        let words = with_defaults(typed, text, |name| set.contains(&name))?;
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        Ok(words.join(" "))
    }

    const TEXT: &str = "\
        # for all\n\
        timeout = 5\n\
        to=7099\n\
        \n\
        [send]\n\
        quiet = true\n\
        preserve = false\n\
        [recv]\n\
        out = in";

    #[test]
    fn what_is_not_typed_is_as_the_file_says() {
        let send = with("ampe send file", TEXT, &[]).unwrap();
        assert_eq!(send, "ampe send --timeout=5 --to=7099 --quiet file");
        let send = with("ampe send --to=1 --timeout 3 -- --quiet", TEXT, &[]).unwrap();
        assert_eq!(send, "ampe send --quiet --to=1 --timeout 3 -- --quiet");
        assert_eq!(
            with("ampe recv", TEXT, &["AMPE_TIMEOUT"]).unwrap(),
            "ampe recv --out=in"
        );
        assert_eq!(
            with("ampe recv -o x", TEXT, &[]).unwrap(),
            "ampe recv --timeout=5 -o x"
        );
        for alone in ["ampe", "ampe --help", "ampe dance", "ampe doctor"] {
            assert_eq!(with(alone, TEXT, &[]).unwrap(), alone);
        }
        let doctor = with("ampe doctor", "to=1\n[doctor]\nto = 2", &[]).unwrap();
        assert_eq!(doctor, "ampe doctor --to=2", "only what is meant for it");
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told() {
        assert!(
            with("ampe send x", "[send]\nspeed=5", &[])
                .unwrap_err()
                .contains("--speed")
        );
        assert!(
            with("ampe send x", "quiet", &[])
                .unwrap_err()
                .contains("line 1")
        );
        assert!(
            with("ampe send x", "quiet=maybe", &[])
                .unwrap_err()
                .contains("true or false")
        );
    }
}
