//! Why a file of a repository cannot be had.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a file of a repository cannot be had.
#[derive(Debug)]
pub enum HubError {
    /// Not the name of a repository.
    Name {
        /// What was given.
        text: String,
    },
    /// The file is not in the cache, and no connection may be opened.
    Offline {
        /// Where it would be.
        path: PathBuf,
    },
    /// The repository lacks the file, as the hub has said before.
    Absent {
        /// The cache's record of it.
        record: PathBuf,
    },
    /// The hub's answer was not the file.
    Status {
        /// What was asked for.
        url: String,
        /// The answer's status.
        status: u16,
    },
    /// The hub's answer lacks something, or has something strange.
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection failed.
    Connection {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The hub sends nothing any more, or next to nothing.
    Stalled {
        /// What was asked for.
        url: String,
    },
    /// The bytes that came are not the file, or not all of it.
    Content {
        /// What was asked for.
        url: String,
        /// The hash or length that the hub states.
        expected: String,
        /// The hash or length of what came.
        found: String,
    },
    /// The cache cannot be read or written.
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { text } => write!(
                f,
                "'{text}' is not the name of a repository: expected ORG/NAME or ORG/NAME@REVISION"
            ),
            Self::Offline { path } => write!(
                f,
                "{} is not in the cache: leave --offline out to download it",
                path.display()
            ),
            Self::Absent { record } => write!(
                f,
                "{}: the cache knows that the repository has no such file: check the name; without --offline a branch is \
                 asked again",
                record.display()
            ),
            Self::Status { url, status: status @ (401 | 404) } => write!(
                f,
                "{url}: there is no such file for the public (status {status}): check the name"
            ),
            Self::Status { url, status } => write!(f, "{url}: status {status}: try again later"),
            Self::Answer { url, reason } => write!(f, "{url}: {reason}"),
            Self::Connection { url, source } => write!(
                f,
                "{url}: {source}: check the connection, or give --weights a file that you have"
            ),
            Self::Stalled { url } => write!(
                f,
                "{url}: nothing, or next to nothing, came for too long: try again; what has been downloaded is kept"
            ),
            Self::Content { url, expected, found } => write!(
                f,
                "{url}: expected {expected}, got {found}: the download was cut off or damaged, try \
                 again"
            ),
            Self::Io { path, source } => write!(f, "the hub's cache: {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for HubError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            Self::Name { .. }
            | Self::Offline { .. }
            | Self::Absent { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Stalled { .. }
            | Self::Content { .. } => None,
        }
    }
}

impl HubError {
    /// Whether the repository lacks the file.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Status { status: 404, .. })
    }
}
