//! What keeps a server from starting.

use std::error::Error;
use std::fmt;
use std::io;

use top5::graph::EngineError;

/// Why a server cannot start.
#[derive(Debug)]
pub enum StartError {
    /// A model's plan.
    Engine(EngineError),
    /// The system gives no thread.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine(_) => "the server cannot start",
            Self::Thread(_) => "the system starts no more threads (ulimit -u)",
        })
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Thread(error)
    }
}
