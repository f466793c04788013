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

/// One of the causes of an error.
type Cause = dyn std::error::Error + 'static;

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
fn words(cause: &Cause) -> String {
    match cause.downcast_ref() {
        Some(&EngineError::Memory { needed, allowed }) if allowed < 1 << 20 => format!(
            "the plan needs {} MiB of memory, and what is taken beside it leaves none; use a smaller batch or input",
            needed.div_ceil(1 << 20)
        ),
        _ => cause.to_string(),
    }
}

/// Whether the system refused to let a file grow further.
fn is_file_limit(cause: &Cause) -> bool {
    let of_system = |error: &io::Error| error.raw_os_error().and(Some(error.kind()));
    cause.downcast_ref::<io::Error>().and_then(of_system) == Some(io::ErrorKind::FileTooLarge)
}

/// The exit code of the first cause that has one.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

/// The code of one cause; None where its own cause says more, or nothing is known of its kind.
fn code_of(cause: &Cause) -> Option<u8> {
    /// Of a kind of errors, which is the cause's or not.
    type Judge = fn(&Cause) -> Option<Option<u8>>;
    const JUDGES: [Judge; 17] = [
        |cause| cause.downcast_ref().map(of_stop),
        |cause| cause.downcast_ref().map(|e: &DataError| Some(if e.is_io() { 4 } else { 3 })),
        |cause| cause.downcast_ref().map(of_engine),
        |cause| cause.downcast_ref().map(of_explanation),
        |cause| cause.downcast_ref().map(of_hub),
        |cause| cause.downcast_ref().map(|_: &Diverged| Some(5)),
        |cause| cause.downcast_ref().map(of_checkpoint),
        |cause| cause.downcast_ref().map(of_ranks),
        |cause| cause.downcast_ref().map(of_fit),
        |cause| cause.downcast_ref().map(of_model),
        |cause| cause.downcast_ref().map(of_evaluation),
        |cause| cause.downcast_ref().map(of_score),
        |cause| cause.downcast_ref().map(|_: &GraphError| Some(3)),
        |cause| cause.downcast_ref().map(|_: &WeightsError| Some(3)),
        |cause| cause.downcast_ref().map(|_: &FormatError| Some(3)),
        |cause| cause.downcast_ref().map(|_: &UnknownName| Some(3)),
        |cause| cause.downcast_ref().map(|_: &RecipeError| Some(3)),
    ];
    let judged = JUDGES.iter().find_map(|judge| judge(cause));
    judged.or_else(|| cause.downcast_ref().map(of_system)).flatten()
}

fn of_stop(stop: &Stop) -> Option<u8> {
    Some(match stop {
        Stop::Usage(_) => 2,
        Stop::BadInput(_) => 3,
        Stop::Resource(_) => RESOURCE,
        Stop::CheckFailed(_) => 6,
        Stop::Interrupted { signal, .. } => 128 + signal,
    })
}

fn of_engine(error: &EngineError) -> Option<u8> {
    let resource = matches!(error, EngineError::Memory { .. } | EngineError::Reduction { .. });
    Some(if resource { RESOURCE } else { 3 })
}

fn of_explanation(error: &ExplainError) -> Option<u8> {
    let full = matches!(error, ExplainError::Engine(EngineError::Memory { .. }));
    Some(if full { RESOURCE } else { 3 })
}

fn of_hub(error: &HubError) -> Option<u8> {
    Some(match error {
        HubError::Name { .. }
        | HubError::Absent { .. }
        | HubError::Status { status: 401 | 404, .. } => 3,
        HubError::Content { .. } => 6,
        HubError::Offline { .. }
        | HubError::Status { .. }
        | HubError::Answer { .. }
        | HubError::Connection { .. }
        | HubError::Stalled { .. }
        | HubError::Io { .. } => RESOURCE,
    })
}

fn of_checkpoint(error: &CheckpointError) -> Option<u8> {
    Some(match error {
        CheckpointError::Damaged(_) => 3,
        CheckpointError::Locked { .. }
        | CheckpointError::Io { .. }
        | CheckpointError::Unread { .. } => RESOURCE,
    })
}

fn of_ranks(error: &RankError) -> Option<u8> {
    matches!(error, RankError::Lost { .. } | RankError::Apart { .. }).then_some(RESOURCE)
}

fn of_fit(error: &FitError) -> Option<u8> {
    matches!(error, FitError::Mismatch { .. }).then_some(3)
}

fn of_model(error: &ModelError) -> Option<u8> {
    match error {
        ModelError::Hash { .. } => Some(6),
        ModelError::Io(_) => Some(RESOURCE),
        ModelError::File { .. } => None,
        ModelError::Metadata { .. }
        | ModelError::Unrecognised { .. }
        | ModelError::Several(_)
        | ModelError::Caffe { .. }
        | ModelError::NonFinite { .. }
        | ModelError::Onnx { .. }
        | ModelError::Format(_)
        | ModelError::Name(_)
        | ModelError::Graph(_)
        | ModelError::Weights(_)
        | ModelError::Other { .. } => Some(3),
    }
}

fn of_evaluation(error: &EvaluationError) -> Option<u8> {
    let is_own = !matches!(error, EvaluationError::Data(_) | EvaluationError::Engine(_));
    is_own.then_some(3)
}

fn of_score(error: &ScoreError) -> Option<u8> {
    (!matches!(error, ScoreError::Engine(_) | ScoreError::Explanation(_))).then_some(3)
}

/// A text that is none was read well.
fn of_system(error: &io::Error) -> Option<u8> {
    Some(if error.kind() == io::ErrorKind::InvalidData { 3 } else { RESOURCE })
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
