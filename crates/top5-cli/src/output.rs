//! What goes where: data on stdout, everything else on stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use top5::data::files::Regular;
use top5::{WholeFile, make_folder, remove_file, write_whole};

use crate::exit::{self, Stop};
use crate::interrupt::Interrupt;
use crate::printable;

/// The version of the JSON documents' layout: it changes when a field changes its meaning or goes away.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// A document with the version of its layout in front.
#[derive(Serialize)]
pub(crate) struct Versioned<'a, T> {
    schema_version: u32,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T: Serialize> Versioned<'a, T> {
    pub(crate) fn new(value: &'a T) -> Self {
        Self { schema_version: SCHEMA_VERSION, value }
    }
}

/// The reader of stdout has closed it.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout was closed")
    }
}

impl std::error::Error for Closed {}

/// A command line to type next: the program as the user called it, and these words, quoted where the shell needs it. Windows'
/// shells have backslashes in paths, and quotation marks in common.
pub(crate) fn command_line(words: &[&str]) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "top5".to_owned());
    let words = std::iter::once(&*program).chain(words.iter().copied());
    words.map(|word| quoted(word, cfg!(windows))).collect::<Vec<String>>().join(" ")
}

fn quoted(word: &str, windows: bool) -> String {
    let plain = |c: char| {
        c.is_alphanumeric() || "-_./=,:@+".contains(c) || c == if windows { '\\' } else { '%' }
    };
    match word.chars().all(plain) && !word.is_empty() {
        true => word.to_owned(),
        false if windows => format!("\"{}\"", word.replace('"', "\\\"")),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Writes a message to stderr. That nobody can read it, or that its disk is full, is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable::message(text));
}

/// What a file that is written is. One that is there is replaced if it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A drawing.
    Svg,
    /// A picture.
    Png,
    /// Measured choices of kernels.
    Tuning,
    /// What a model said of images, for each of them.
    PredictionsCsv,
    /// Errors, for somebody to sort.
    ErrorsCsv,
    /// The numbers of an evaluation.
    ReportJson,
    /// The page of an evaluation.
    ReportHtml,
    /// What a model said of images, to be judged later.
    Predictions,
}

impl Kind {
    /// Whether a file that begins so is one.
    fn is(self, start: &[u8]) -> bool {
        let text = String::from_utf8_lossy(start);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        match self {
            Self::Svg => {
                text.starts_with("<svg") || text.starts_with("<?xml") && text.contains("<svg")
            }
            Self::Tuning | Self::ReportJson => {
                text.starts_with('{') && text.contains("\"schema_version\"")
            }
            Self::PredictionsCsv => text.starts_with("image,label,"),
            Self::ErrorsCsv => text.starts_with("image,label,class,rank,taken_for,"),
            Self::ReportHtml => text.starts_with("<!doctype html>"),
            Self::Png => start.starts_with(b"\x89PNG"),
            // A safetensors file, after its length.
            Self::Predictions => start.get(8) == Some(&b'{') && text.contains("top5.predictions"),
        }
    }

    /// Whether there is a file that is one.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        Regular::open(path)
            .and_then(|mut file| file.start(START))
            .is_ok_and(|start| self.is(&start))
    }

    /// How the name of a picture ends.
    fn end(self) -> Option<&'static str> {
        match self {
            Self::Svg => Some("svg"),
            Self::Png => Some("png"),
            Self::Tuning
            | Self::PredictionsCsv
            | Self::ErrorsCsv
            | Self::ReportJson
            | Self::ReportHtml
            | Self::Predictions => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Svg => "SVG file",
            Self::Png => "PNG file",
            Self::Tuning => "file of `top5 tune`",
            Self::PredictionsCsv => "predictions.csv",
            Self::ErrorsCsv => "errors.csv",
            Self::ReportJson => "report.json",
            Self::ReportHtml => "report.html",
            Self::Predictions => "file of `top5 eval --save`",
        }
    }
}

/// Bytes by which a file's kind is told.
const START: u64 = 1 << 10;

/// How names of pictures end.
const PICTURES: [&str; 8] = ["svg", "png", "jpg", "jpeg", "gif", "webp", "bmp", "pdf"];

/// How the user wants to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON document on stdout instead of text.
    pub(crate) json: bool,
    /// Nothing on stderr but errors and warnings.
    pub(crate) quiet: bool,
    /// Details on stderr.
    pub(crate) verbose: bool,
    /// Files are replaced whatever they are.
    pub(crate) force: bool,
    /// Nothing at all: another process says it.
    pub(crate) mute: bool,
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
        let document = Versioned::new(value);
        self.raw(&(printable::json(&serde_json::to_string_pretty(&document)?) + "\n"))
    }

    /// Writes a file that the user named, and says so. Fails before that where something of another kind is there.
    pub(crate) fn file(self, path: &Path, kind: Kind, bytes: &[u8]) -> Result<()> {
        self.check_file(path, kind)?;
        write_whole(path, bytes)?;
        self.note(&format!("written: {}", path.display()));
        Ok(())
    }

    /// Writes files of which none is of use without the others: all have their names only once all are written.
    pub(crate) fn files(self, files: &[(PathBuf, Kind, Vec<u8>)]) -> Result<()> {
        let mut begun = Vec::new();
        for (path, kind, bytes) in files {
            self.check_file(path, *kind)?;
            let mut file = WholeFile::create(path)?;
            file.write(bytes)?;
            begun.push((file, path));
        }
        for (file, path) in begun {
            file.finish(path)?;
            self.note(&format!("written: {}", path.display()));
        }
        Ok(())
    }

    /// Fails where a file that is to be written would take the place of another kind, or the name of another kind of picture, and
    /// where none can be written: asked before the work, not after it.
    pub(crate) fn check_file(self, path: &Path, kind: Kind) -> Result<()> {
        let end = path.extension().map(|end| end.to_string_lossy().to_lowercase());
        let end = end.filter(|end| PICTURES.contains(&end.as_str()) && !self.force);
        if let (Some(own), Some(end)) = (kind.end(), end)
            && own != end
        {
            let message = format!(
                "{}: what is written is an {}: name it .{own}, or give --force",
                path.display(),
                kind.name()
            );
            return Err(Stop::Usage(message).into());
        }
        if let Some(mut there) = Regular::open(path).ok().filter(|_| !self.force) {
            let start = there.start(START)?;
            if !start.is_empty() && !kind.is(&start) {
                return Err(taken(path, &format!(" and is no {}", kind.name())));
            }
        }
        // What is begun and not finished goes away.
        WholeFile::create(path)?;
        Ok(())
    }

    /// Writes the files of a model, the weights first, and makes the folders that they are in. Fails before that where one is there.
    /// A signal leaves what was there.
    pub(crate) fn model(self, files: &[(PathBuf, Vec<u8>)], interrupt: &Interrupt) -> Result<()> {
        /// Bytes after which signals are asked for.
        const PIECE: usize = 1 << 24;
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        if let Some((path, _)) = files.iter().find(|(path, _)| is_there(path) && !self.force) {
            return Err(taken(path, ""));
        }
        let mut begun = Vec::new();
        for (path, bytes) in files {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            folder.map_or(Ok(()), make_folder)?;
            let mut file = WholeFile::create(path)?;
            for piece in bytes.chunks(PIECE) {
                if let Some(signal) = interrupt.signal() {
                    let message = format!("stopped; {} is not written", path.display());
                    return Err(Stop::Interrupted { signal, message }.into());
                }
                file.write(piece)?;
            }
            begun.push((file, path));
        }
        // No weights ever lie beside the description of others.
        for (_, path) in begun.iter().skip(1).filter(|(_, path)| is_there(path)) {
            remove_file(path)?;
        }
        for (file, path) in begun {
            file.finish(path)?;
        }
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
        if !self.mute {
            say(&format!("warning: {text}"));
        }
    }

    /// Whether moving progress bars may be drawn on stderr.
    pub(crate) fn animated(self) -> bool {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        !self.quiet && !dumb && io::stderr().is_terminal()
    }
}

/// What is said of a name that is taken.
pub(crate) fn taken(path: &Path, what: &str) -> anyhow::Error {
    let message = format!("{} exists{what}: choose another name, or give --force", path.display());
    Stop::Resource(message).into()
}

/// Reports an error on stderr and gives the exit code. A closed stdout is no error: whoever read it has seen enough.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.downcast_ref::<Closed>().is_some() {
        return 0;
    }
    match error.downcast_ref::<Stop>() {
        Some(Stop::Interrupted { message, .. }) => say(message),
        Some(_) | None => say(&format!("error: {}", exit::describe(error))),
    }
    exit::code(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_stopped_while_it_is_written_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let output = Output { json: false, quiet: true, verbose: false, force: true, mute: true };
        let files =
            |text: &str| ["weights", "config"].map(|name| (at(name), text.as_bytes().to_vec()));
        output.model(&files("old"), &Interrupt::default()).unwrap();
        let error = output.model(&files("new"), &Interrupt::by(15)).unwrap_err();
        assert_eq!(exit::code(&error), 143, "{error}");
        assert_eq!(std::fs::read(at("weights")).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        output.model(&files("new"), &Interrupt::default()).unwrap();
        assert_eq!(std::fs::read(at("config")).unwrap(), b"new");
    }

    #[test]
    fn files_are_told_by_their_beginning() {
        let drawing =
            top5::draw::architecture(&top5::zoo::network("lenet").unwrap().graph().unwrap());
        assert!(Kind::Svg.is(drawing.as_bytes()));
        assert!(Kind::Svg.is(b"<?xml version=\"1.0\"?>\n<svg>"));
        for other in [&b"{\"schema_version\": 2}"[..], b"<html>", b"text", b"\xff\xd8\xff"] {
            assert!(!Kind::Svg.is(other), "{other:?}");
        }
        assert!(Kind::Tuning.is(b"{\n  \"schema_version\": 2"));
        assert!(!Kind::Tuning.is(b"{\"version\": 2"));
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_they_must() {
        for plain in ["runs/lenet-digits", "--per-class", "a=1,2", "é.png"] {
            assert_eq!(quoted(plain, false), plain);
            assert_eq!(quoted(plain, true), plain);
        }
        assert_eq!(quoted("my run", false), "'my run'");
        assert_eq!(quoted("it's", false), r"'it'\''s'");
        assert_eq!(quoted("$x", false), "'$x'");
        assert_eq!(quoted("", false), "''");
        assert_eq!(quoted(r"runs\lenet", true), r"runs\lenet");
        assert_eq!(quoted("my run", true), "\"my run\"");
        assert!(command_line(&["eval", "my run"]).contains(" eval "));
    }
}
