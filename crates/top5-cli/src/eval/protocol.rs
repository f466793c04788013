//! What `--protocol` stands for: a name, or a file.

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::{is_file, read_text};
use top5::eval::{NAMES, Protocol, named};
use top5::graph::{alike, in_plain_words};

use crate::exit::Stop;

/// A protocol that may still depend on the network's input.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// One of the library's.
    Named(String),
    /// A file's.
    File(Protocol),
}

impl Choice {
    /// Reads a file, or makes sure that the name is known.
    pub(crate) fn resolve(text: &str) -> Result<Self> {
        if is_file(Path::new(text)).with_context(|| format!("reading {text}"))? {
            let content = read_text(Path::new(text)).with_context(|| format!("reading {text}"))?;
            return Ok(Self::File(read(text, &content)?));
        }
        let choice = Self::Named(text.to_owned());
        choice.at([224, 224])?;
        Ok(choice)
    }

    /// The protocol for an input of this height and width.
    pub(crate) fn at(&self, input: [usize; 2]) -> Result<Protocol> {
        match self {
            Self::File(protocol) => Ok(protocol.clone()),
            Self::Named(name) => named(name, input).ok_or_else(|| {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                let near = alike(name, names.iter().copied());
                let near = near.map_or_else(String::new, |near| format!("nearest {near}, "));
                let message = format!(
                    "--protocol {name}: no file of that name, and no protocol: {near}expected one of {}, or \
                     NAME@SIDE,SIDE with as many scales as it has",
                    names.join(", ")
                );
                Stop::Usage(message).into()
            }),
        }
    }
}

/// Reads a protocol's file.
fn read(name: &str, content: &str) -> Result<Protocol> {
    let wrong = |reason: String| Stop::BadInput(format!("{name} is no protocol: {reason}"));
    let protocol: Protocol =
        toml::from_str(content).map_err(|error| wrong(wrong_toml(content, &error)))?;
    protocol.check().map_err(|error| wrong(error.to_string()))?;
    Ok(protocol)
}

/// What is wrong with a TOML text and where, on one line.
pub(crate) fn wrong_toml(text: &str, error: &toml::de::Error) -> String {
    let message = in_plain_words(error.message().trim()).replace('\n', ", ");
    let Some(span) = error.span() else { return message };
    let before = text.bytes().take(span.start).filter(|&byte| byte == b'\n').count();
    format!("line {}: {message}", before + 1)
}

/// A protocol as a file.
pub(crate) fn write(protocol: &Protocol) -> Result<String> {
    toml::to_string(protocol).context("writing the protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_survives_its_file() {
        for side in [28, 221, 224, 231, 299] {
            for (name, _) in NAMES {
                let protocol = named(name, [side, side]).unwrap();
                let text = write(&protocol).unwrap();
                assert_eq!(read(name, &text).unwrap(), protocol, "{text}");
            }
        }
    }

    #[test]
    fn what_is_wrong_in_a_file_is_said() {
        for (text, says) in [
            ("name = 'x'", "parts"),
            ("name = 'x'\nparts = []", "at least one"),
            ("name = 'x'\n[[parts]]\ncrops = { ten = { shorter = nan } }", "line 3: invalid type"),
            ("name = 'x'\n\n[[part]]", "line 3: unknown key `part`"),
            ("name = 'x'\n[[parts]]\ncrops = { ten = { shorter = 0 } }", "1 to 4096"),
            (
                "name = 'x'\n[[parts]]\ncrops = { grid = { shorter = ['a'], side = 2 } }",
                "line 3: invalid type: string \"a\", expected a whole number",
            ),
            ("name = 'x'\n[[parts]]\ncrops = 'own'\nweight = 2", "expected one key, found several"),
            ("name = 'x'\n[[parts]]\ncrops = { ten = { shorter = 5000 } }", "shorter: expected"),
            ("name = 'x'\n[[parts]]\ncrops = { eleven = { shorter = 9 } }", "eleven"),
            ("name = 'x'\n[[parts]]\n[parts.dense]\nscales = [256]\nfold = true", "fold"),
            (
                "name = 'x'\n[[parts]]\n[parts.dense]\nscales = [[1, 2, 3]]",
                "expected the shorter side",
            ),
            ("name = ''\n[[parts]]\ncrops = 'own'", "name: expected"),
        ] {
            let error = read("mine.toml", text).unwrap_err().to_string();
            assert!(error.contains("mine.toml") && error.contains(says), "{error}");
        }
    }
}
