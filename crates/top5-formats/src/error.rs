//! What can be wrong with a file.

use std::fmt;

/// Why the bytes cannot be read. `format` is the name of the format they were read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// They contradict themselves or end too early.
    Malformed {
        /// The format.
        format: &'static str,
        /// What was found, where, and what was expected.
        what: String,
    },
    /// They use a part of the format that is not read here, or would run code.
    Refused {
        /// The format.
        format: &'static str,
        /// What, and what to do instead.
        what: String,
    },
    /// They are no file of weights.
    NotWeights {
        /// What they are instead, and what to do.
        what: String,
    },
}

impl FormatError {
    pub(crate) fn malformed(format: &'static str, what: impl Into<String>) -> Self {
        Self::Malformed { format, what: what.into() }
    }

    pub(crate) fn refused(format: &'static str, what: impl Into<String>) -> Self {
        Self::Refused { format, what: what.into() }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { format, what } => write!(f, "damaged {format} file: {what}"),
            Self::Refused { format, what } => write!(f, "{format} file not read: {what}"),
            Self::NotWeights { what } => write!(f, "not a file of weights: {what}"),
        }
    }
}

impl std::error::Error for FormatError {}

/// No tensor's name is longer, in bytes: names are compared with each other when a mismatch is told.
pub(crate) const MAX_NAME: usize = 1024;

/// A name from a file, cut and escaped so that it can stand in a message.
pub(crate) fn quoted(name: &str) -> String {
    const SHOWN: usize = 80;
    let mut text: String = name.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if name.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    format!("`{text}`")
}
