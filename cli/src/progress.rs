//! One progress bar per file and one for all of them, on a terminal.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Failure;
use crate::output;

/// The bars of files.
#[derive(Clone)]
pub(crate) struct Bars {
    progress: Progress,
    all: ProgressBar,
}

/// The bar of one file. Dropped, it disappears.
pub(crate) struct FileBar(ProgressBar);

impl Bars {
    pub(crate) fn file(&self, name: &impl std::fmt::Display, len: Option<u64>) -> FileBar {
        self.progress.file(name, len)
    }

    /// So many bytes more of any file.
    pub(crate) fn add(&self, bytes: u64) {
        self.all.inc(bytes);
    }

    pub(crate) fn finish(&self) {
        self.all.finish_and_clear();
    }
}

impl FileBar {
    pub(crate) fn set_position(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for FileBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The bars of a command, and the lines written beside them.
#[derive(Clone)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// Bars appear on stderr if that is a terminal and `quiet` is not wanted.
    pub(crate) fn new(quiet: bool) -> Self {
        let is_shown = !quiet && io::stderr().is_terminal();
        let bars = is_shown.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Progress { bars }
    }

    /// A bar that counts bytes.
    pub(crate) fn bytes(&self, name: &impl std::fmt::Display, len: u64) -> ProgressBar {
        const WIDE: &str = "{msg:24!} {wide_bar} {decimal_bytes}/{decimal_total_bytes} \
                            {decimal_bytes_per_sec} {eta}";
        const NARROW: &str = "{wide_msg} {percent:>3}% {decimal_bytes_per_sec}";
        self.bar(&name.to_string(), len, WIDE, NARROW)
    }

    /// A bar that counts steps.
    pub(crate) fn steps(&self, name: &str, len: u64) -> ProgressBar {
        const WIDE: &str = "{msg:24!} {wide_bar} {pos}/{len} {eta}";
        const NARROW: &str = "{wide_msg} {percent:>3}%";
        self.bar(name, len, WIDE, NARROW)
    }

    /// Bars for files that have so many bytes together, if that is known; with one for all if they are
    /// several.
    pub(crate) fn files(&self, count: usize, len: Option<u64>) -> Bars {
        let all = match len {
            Some(len) if count > 1 => self.bytes(&format_args!("all {count}"), len),
            _ => ProgressBar::hidden(),
        };
        let progress = self.clone();
        Bars { progress, all }
    }

    /// The bar of one file.
    pub(crate) fn file(&self, name: &impl std::fmt::Display, len: Option<u64>) -> FileBar {
        FileBar(match len {
            Some(len) => self.bytes(name, len),
            None => self.endless(name),
        })
    }

    /// A bar that counts bytes whose number is not known.
    fn endless(&self, name: &impl std::fmt::Display) -> ProgressBar {
        const TEMPLATE: &str = "{wide_msg} {decimal_bytes} {decimal_bytes_per_sec}";
        self.bar(&name.to_string(), 0, TEMPLATE, TEMPLATE)
    }

    fn bar(&self, name: &str, len: u64, wide: &str, narrow: &str) -> ProgressBar {
        // What is longer than a line is not all removed again.
        const WIDE_COLUMNS: u16 = 80;
        let (_, columns) = console::Term::stderr().size();
        let template = if columns < WIDE_COLUMNS { narrow } else { wide };
        let Some(bars) = &self.bars else {
            return ProgressBar::hidden();
        };
        let bar = bars.add(ProgressBar::new(len));
        // A template that does not parse would be our own mistake; the usual bar still tells.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar
    }

    /// Writes a line of talk between the bars.
    pub(crate) fn note(&self, text: &str) {
        self.between(|| output::note(text));
    }

    /// Writes a line of data between the bars.
    pub(crate) fn line(&self, text: impl AsRef<[u8]>) -> Result<(), Failure> {
        self.between(|| output::line(text))
    }

    fn between<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}
