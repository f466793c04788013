//! What goes where: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use top5::write_whole;

use crate::printable;

/// The version of the JSON documents' layout: it changes when a field changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The reader of stdout has closed it.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout was closed")
    }
}

impl std::error::Error for Closed {}

/// A command line to type next: the program as the user called it, and these words, quoted where the shell needs it.
pub(crate) fn command_line(words: &[&str]) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "top5".to_owned());
    let words = std::iter::once(&*program).chain(words.iter().copied());
    words.map(quoted).collect::<Vec<String>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Writes a message to stderr. That nobody can read it, or that its disk is full, is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable::message(text));
}

/// How the user wants to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON document on stdout instead of text.
    pub(crate) json: bool,
    /// Nothing on stderr but errors and warnings.
    pub(crate) quiet: bool,
    /// Details on stderr.
    pub(crate) verbose: bool,
}

impl Output {
    /// Writes text to stdout, without what a terminal would act on.
    pub(crate) fn text(self, text: &str) -> Result<()> {
        self.raw(&printable::text(text))
    }

    fn raw(self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
            written => Ok(written?),
        }
    }

    /// Writes a document to stdout, with the version of its layout in front.
    pub(crate) fn document(self, value: &impl Serialize) -> Result<()> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            schema_version: u32,
            #[serde(flatten)]
            value: &'a T,
        }
        let document = Document { schema_version: SCHEMA_VERSION, value };
        self.raw(&(printable::json(&serde_json::to_string_pretty(&document)?) + "\n"))
    }

    /// Writes a file that the user named, and says so. What is there is replaced.
    pub(crate) fn file(self, path: &Path, bytes: &[u8]) -> Result<()> {
        write_whole(path, bytes)?;
        self.note(&format!("written: {}", path.display()));
        Ok(())
    }

    /// Says something on stderr, unless the user wants quiet.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Says on stderr what only the curious want to know.
    pub(crate) fn detail(self, text: &str) {
        if self.verbose {
            say(text);
        }
    }

    /// Says on stderr that something is not as it should be.
    pub(crate) fn warn(self, text: &str) {
        say(&format!("warning: {text}"));
    }

    /// Whether moving progress bars may be drawn on stderr.
    pub(crate) fn animated(self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.quiet && !dumb && io::stderr().is_terminal()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must() {
        for plain in ["runs/lenet-digits", "--per-class", "a=1,2", "é.png"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("my run"), "'my run'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$x"), "'$x'");
        assert_eq!(quoted(""), "''");
        assert!(command_line(&["eval", "my run"]).ends_with(" eval 'my run'"));
    }
}
