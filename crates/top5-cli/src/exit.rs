//! From an error to what the user reads and to the exit code.

use std::fmt;
use std::io;

use top5::ModelError;
use top5::data::DataError;
use top5::eval::EvaluationError;
use top5::explain::ExplainError;
use top5::explain::score::ScoreError;
use top5::formats::FormatError;
use top5::graph::{EngineError, GraphError, WeightsError};
use top5::train::{CheckpointError, Diverged, FitError, RankError, RecipeError};
use top5::zoo::UnknownName;
use top5_hub::HubError;

use crate::limits;

/// The exit codes, as `--help` prints them.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  success
  1  other failure
  2  wrong usage
  3  bad input: a model, image, dataset or recipe
  4  I/O or resources: permissions, disk, memory, a lock that is held
  5  training diverged; the last good checkpoint is kept
  6  a check failed, for example `eval --min-top1`
  130, 143  interrupted by Ctrl-C or SIGTERM; a checkpoint was written";

/// The code of what the system refused.
pub(crate) const RESOURCE: u8 = 4;

/// What ends a command that no library has an error for.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The arguments do not fit together.
    Usage(String),
    /// Something that the user gave is not usable.
    BadInput(String),
    /// Something that is in the way, or taken.
    Resource(String),
    /// A demanded property does not hold.
    CheckFailed(String),
    /// A signal ended the run after a checkpoint.
    Interrupted {
        /// The signal's number.
        signal: u8,
        /// What was written and how to go on.
        message: String,
    },
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message)
            | Self::BadInput(message)
            | Self::Resource(message)
            | Self::CheckFailed(message)
            | Self::Interrupted { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Stop {}

/// The chain of causes on one line, without those that the message before already holds.
pub(crate) fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(words) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if error.chain().any(is_file_limit)
        && let Some(most) = limits::file_length()
    {
        text += &format!(": this process may write files of {most} bytes at most (ulimit -f)");
    }
    text
}

/// What a cause says.
fn words(cause: &(dyn std::error::Error + 'static)) -> String {
    match cause.downcast_ref() {
        Some(&EngineError::Memory { needed, allowed }) if allowed < 1 << 20 => format!(
            "the plan needs {} MiB of memory, and what is taken beside it leaves none; use a smaller batch or input",
            needed.div_ceil(1 << 20)
        ),
        _ => cause.to_string(),
    }
}

/// Whether the system refused to let a file grow further.
fn is_file_limit(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_system = |error: &io::Error| error.raw_os_error().and(Some(error.kind()));
    cause.downcast_ref::<io::Error>().and_then(of_system) == Some(io::ErrorKind::FileTooLarge)
}

/// The exit code of the first cause that has one.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(stop) = cause.downcast_ref::<Stop>() {
        return Some(match stop {
            Stop::Usage(_) => 2,
            Stop::BadInput(_) => 3,
            Stop::Resource(_) => 4,
            Stop::CheckFailed(_) => 6,
            Stop::Interrupted { signal, .. } => 128 + signal,
        });
    }
    if let Some(error) = cause.downcast_ref::<DataError>() {
        return Some(if error.is_io() { 4 } else { 3 });
    }
    if let Some(error) = cause.downcast_ref::<EngineError>() {
        let resource = matches!(error, EngineError::Memory { .. } | EngineError::Reduction { .. });
        return Some(if resource { RESOURCE } else { 3 });
    }
    if let Some(error) = cause.downcast_ref::<ExplainError>() {
        let full = matches!(error, ExplainError::Engine(EngineError::Memory { .. }));
        return Some(if full { RESOURCE } else { 3 });
    }
    if let Some(error) = cause.downcast_ref::<HubError>() {
        return Some(match error {
            HubError::Name { .. }
            | HubError::Absent { .. }
            | HubError::Status { status: 401 | 404, .. } => 3,
            HubError::Content { .. } => 6,
            HubError::Offline { .. }
            | HubError::Status { .. }
            | HubError::Answer { .. }
            | HubError::Connection { .. }
            | HubError::Stalled { .. }
            | HubError::Io { .. } => 4,
        });
    }
    if cause.is::<Diverged>() {
        return Some(5);
    }
    if let Some(error) = cause.downcast_ref::<CheckpointError>() {
        return Some(match error {
            CheckpointError::Damaged(_) => 3,
            CheckpointError::Locked { .. }
            | CheckpointError::Io { .. }
            | CheckpointError::Unread { .. } => RESOURCE,
        });
    }
    if let Some(RankError::Lost { .. } | RankError::Apart { .. }) = cause.downcast_ref() {
        return Some(RESOURCE);
    }
    if let Some(FitError::Mismatch { .. }) = cause.downcast_ref() {
        return Some(3);
    }
    if let Some(error) = cause.downcast_ref::<ModelError>() {
        return match error {
            ModelError::Hash { .. } => Some(6),
            ModelError::Io(_) => Some(RESOURCE),
            ModelError::File { .. } => None, // its source says more
            ModelError::Metadata { .. }
            | ModelError::Unrecognised { .. }
            | ModelError::Caffe { .. }
            | ModelError::NonFinite { .. }
            | ModelError::Onnx { .. }
            | ModelError::Format(_)
            | ModelError::Name(_)
            | ModelError::Graph(_)
            | ModelError::Weights(_) => Some(3),
        };
    }
    if let Some(EvaluationError::Data(_) | EvaluationError::Engine(_)) = cause.downcast_ref() {
        return None; // its source says more
    }
    if let Some(ScoreError::Engine(_) | ScoreError::Explanation(_)) = cause.downcast_ref() {
        return None; // its source says more
    }
    if let Some(ExplainError::Engine(_)) = cause.downcast_ref() {
        return None; // its source says more
    }
    let bad_input = cause.is::<ScoreError>()
        || cause.is::<ExplainError>()
        || cause.is::<GraphError>()
        || cause.is::<WeightsError>()
        || cause.is::<FormatError>()
        || cause.is::<UnknownName>()
        || cause.is::<RecipeError>()
        || cause.is::<EvaluationError>();
    if bad_input {
        return Some(3);
    }
    let error = cause.downcast_ref::<io::Error>()?;
    // A text that is none was read well.
    Some(if error.kind() == io::ErrorKind::InvalidData { 3 } else { 4 })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn code_is_that_of_the_cause() {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let data = DataError::Io { path: "x".into(), source: missing() };
        for (error, expected) in [
            (anyhow!("something"), 1),
            (Stop::Usage("no".into()).into(), 2),
            (anyhow::Error::new(DataError::TooFew { name: "x".into(), samples: 1 }), 3),
            (anyhow::Error::new(data), 4),
            (anyhow::Error::new(missing()), 4),
            (EngineError::Memory { needed: 2, allowed: 1 }.into(), 4),
            (Stop::Interrupted { signal: 15, message: String::new() }.into(), 143),
        ] {
            assert_eq!(code(&error), expected, "{error}");
            assert_eq!(code(&error.context("while doing it")), expected);
        }
    }

    #[test]
    fn nothing_left_is_said_as_such() {
        let of = |allowed| describe(&EngineError::Memory { needed: 3 << 20, allowed }.into());
        assert!(
            of(1000).starts_with("the plan needs 3 MiB of memory, and what is taken beside it")
        );
        assert!(of(2 << 20).contains("may use 2 MiB"), "{}", of(2 << 20));
    }

    #[test]
    fn message_says_each_cause_once() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let error = Err::<(), _>(DataError::Io { path: "digit.png".into(), source })
            .context("predicting")
            .unwrap_err();
        assert_eq!(describe(&error), "predicting: cannot read digit.png: entity not found");
    }
}
