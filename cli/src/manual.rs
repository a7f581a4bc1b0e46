//! `ampe completions` and `ampe man`: what shells and man(1) want to know of the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Arguments, Completions, Manual};
use crate::error::Failure;
use crate::output;

pub(crate) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "ampe", &mut script);
    output::bytes_exactly(&script)
}

pub(crate) fn manual(arguments: &Manual) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let pages = pages().map_err(|error| Failure::new(format!("cannot write a page: {error}")))?;
    for (name, page) in pages {
        write(directory, &name, &page)?;
    }
    Ok(())
}

fn write(directory: &Path, name: &str, page: &[u8]) -> Result<(), Failure> {
    let path = directory.join(name);
    fs::write(&path, page).map_err(|error| {
        Failure::new(format!(
            "cannot write {}: {error}: name a directory that exists and that you may write to",
            output::shown(path.display())
        ))
    })?;
    output::line(path.as_os_str().as_encoded_bytes())
}

/// A page for the command and one for each of its own that is not hidden, by file name.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = Arguments::command();
    command.build();
    let page = |of: clap::Command, name: String| {
        let mut page = Vec::new();
        Man::new(of).title(name.clone()).render(&mut page)?;
        Ok((format!("{name}.1"), page))
    };
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    let mut all: Vec<_> = shown
        .filter(|it| it.get_name() != "help")
        .map(|it| page(it.clone(), format!("ampe-{}", it.get_name())))
        .collect::<io::Result<_>>()?;
    all.insert(0, page(command.clone(), "ampe".to_owned())?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let pages = pages().unwrap();
        let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[..2], ["ampe.1", "ampe-demo.1"]);
        assert!(names.contains(&"ampe-call.1") && !names.contains(&"ampe-demo-receiver.1"));
        for (name, page) in &pages {
            let text = String::from_utf8_lossy(page);
            assert!(
                text.contains(".TH ") && text.contains(".SH"),
                "{name}: {text}"
            );
        }
    }
}
