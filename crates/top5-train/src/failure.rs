//! Why a run ends early: it diverges, or something that it needs refuses.

use std::error::Error;
use std::fmt;

use top5_data::DataError;
use top5_eval::EvaluationError;
use top5_graph::EngineError;

use crate::checkpoint::CheckpointError;
use crate::ranks::RankError;
use crate::recipe::RecipeError;

/// A value that had to be finite was not.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverged {
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step, from 1, counted over all epochs.
    pub step: usize,
    /// The step's loss, or that of validation.
    pub loss: f64,
    /// What was not finite.
    pub what: NotFinite,
}

/// What can be infinite or no number in a run that diverges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// The loss.
    Loss,
    /// The loss on the validation images.
    ValidationLoss,
    /// The learning rate: the schedule multiplied it too often.
    Rate,
    /// The gradient of the parameter of this name.
    Gradient(String),
    /// The tensor of this name, of the weights or of what the optimiser keeps.
    Weight(String),
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, step, loss, what } = self;
        match what {
            NotFinite::Loss => write!(f, "the loss is {loss}")?,
            NotFinite::ValidationLoss => write!(f, "the validation loss is {loss}")?,
            NotFinite::Rate => f.write_str("the learning rate is not finite")?,
            NotFinite::Gradient(name) => {
                write!(f, "the gradient of {name} is not finite, at a loss of {loss}")?;
            }
            NotFinite::Weight(name) => write!(f, "{name} is not finite, at a loss of {loss}")?,
        }
        write!(f, " in epoch {epoch}, step {step}: training has diverged and was stopped ")?;
        f.write_str(match what {
            NotFinite::Loss | NotFinite::Rate | NotFinite::Gradient(_) => {
                "before the weights took it up; "
            }
            NotFinite::ValidationLoss | NotFinite::Weight(_) => {
                "before a checkpoint was written of it; "
            }
        })?;
        match what {
            NotFinite::Rate => f.write_str("lower the schedule's gamma"),
            NotFinite::Loss
            | NotFinite::ValidationLoss
            | NotFinite::Gradient(_)
            | NotFinite::Weight(_) => f.write_str(
                "lower lr, lengthen the warm-up, or look for infinite values in the data",
            ),
        }
    }
}

impl Error for Diverged {}

/// What an observer says when it cannot go on.
pub type ObserverError = Box<dyn Error + Send + Sync>;

/// Why a run ended early.
#[derive(Debug)]
pub enum FitError {
    /// It diverged.
    Diverged(Diverged),
    /// A training image cannot be read.
    Data(DataError),
    /// What the recipe says of parameters does not suit the network.
    Recipe(RecipeError),
    /// The engine refused.
    Engine(EngineError),
    /// The validation images cannot be evaluated.
    Evaluation(EvaluationError),
    /// A checkpoint cannot be written.
    Checkpoint(CheckpointError),
    /// The state belongs to another run.
    Mismatch {
        /// What differs, as `what: this run's, the state's`.
        differences: Vec<String>,
    },
    /// The observer failed.
    Observer(ObserverError),
    /// The ranks cannot work together.
    Ranks(RankError),
    /// Another rank failed, which says why.
    Elsewhere,
}

impl fmt::Display for FitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged(error) => error.fmt(f),
            Self::Data(error) => error.fmt(f),
            Self::Recipe(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
            Self::Evaluation(error) => error.fmt(f),
            Self::Checkpoint(error) => error.fmt(f),
            Self::Observer(error) => error.fmt(f),
            Self::Ranks(error) => error.fmt(f),
            Self::Elsewhere => f.write_str("another rank has failed: its own message says why"),
            Self::Mismatch { differences } => write!(
                f,
                "the checkpoint is of another run ({}): go on with that run's recipe and data, or begin in another folder",
                differences.join("; ")
            ),
        }
    }
}

impl Error for FitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Diverged(error) => Some(error),
            Self::Data(error) => Some(error),
            Self::Recipe(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Evaluation(error) => Some(error),
            Self::Checkpoint(error) => Some(error),
            Self::Observer(error) => Some(error.as_ref()),
            Self::Ranks(error) => Some(error),
            Self::Mismatch { .. } | Self::Elsewhere => None,
        }
    }
}

impl FitError {
    /// Whether a stop flag ended it.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(
            self,
            Self::Data(DataError::Stopped)
                | Self::Engine(EngineError::Stopped)
                | Self::Evaluation(EvaluationError::Data(DataError::Stopped))
                | Self::Evaluation(EvaluationError::Engine(EngineError::Stopped))
        )
    }

    /// Whether the run can go on from its last step: somebody wanted it to end there, or an image can be repaired.
    pub(crate) fn leaves_state(&self) -> bool {
        matches!(self, Self::Data(_) | Self::Evaluation(EvaluationError::Data(_))) || self.is_stop()
    }
}

impl From<DataError> for FitError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<EngineError> for FitError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<CheckpointError> for FitError {
    fn from(error: CheckpointError) -> Self {
        Self::Checkpoint(error)
    }
}

impl From<RankError> for FitError {
    fn from(error: RankError) -> Self {
        Self::Ranks(error)
    }
}
