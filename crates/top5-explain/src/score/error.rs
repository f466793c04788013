//! Why a score could not be computed.

use std::fmt;

use top5_graph::EngineError;

/// Why a score could not be computed.
#[derive(Debug)]
pub enum ScoreError {
    /// The network did not answer.
    Engine(EngineError),
    /// An argument is not as it must be.
    Input {
        /// Which one, and what is wrong with it.
        what: String,
        /// What was expected.
        expected: String,
    },
    /// The explanation of a changed image could not be made.
    Explanation(Box<dyn std::error::Error + Send + Sync>),
}

impl ScoreError {
    pub(crate) fn input(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Input { what: what.into(), expected: expected.into() }
    }
}

impl fmt::Display for ScoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Input { what, expected } => write!(f, "{what}: expected {expected}"),
            Self::Explanation(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ScoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Input { .. } => None,
            Self::Explanation(error) => Some(&**error),
        }
    }
}

impl From<EngineError> for ScoreError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
