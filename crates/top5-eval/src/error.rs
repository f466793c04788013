//! Why an evaluation ends early.

use std::fmt;

use top5_data::{DataError, SettingError};
use top5_graph::{EngineError, GraphError, counted};

/// Why an evaluation ended early.
#[derive(Debug)]
pub enum EvaluationError {
    /// Not one image could be read, or the loader itself failed.
    Data(DataError),
    /// The dataset has no images.
    Empty {
        /// Its name.
        name: String,
    },
    /// The network and the dataset have different numbers of classes.
    Classes {
        /// The network's.
        network: usize,
        /// The dataset's.
        dataset: usize,
    },
    /// The protocol makes no sense.
    Protocol(SettingError),
    /// The network has no form for inputs of this size.
    NoForm {
        /// What the dataset calls the image of this size; none where no image has another one.
        image: Option<String>,
        /// Height and width.
        size: [usize; 2],
        /// The layer that does not fit.
        source: GraphError,
    },
    /// The engine refused its images.
    Engine(EngineError),
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Empty { name } => write!(f, "the dataset {name} has no images to evaluate on"),
            Self::Classes { network, dataset } => write!(
                f,
                "the network tells {} apart, the dataset has {dataset}: use a dataset of the same classes",
                counted(*network, "class")
            ),
            Self::Protocol(error) => write!(f, "the protocol cannot be used: {error}"),
            Self::NoForm { image, size: [height, width], source } => {
                let GraphError { network, node, kind, error, .. } = source;
                image.iter().try_for_each(|image| write!(f, "{image}: "))?;
                write!(
                    f,
                    "{network} cannot look at {height}x{width}: its {kind} {node} has no such form ({error}); use a \
                     protocol of crops"
                )
            }
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EvaluationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Data(error) => Some(error),
            Self::Engine(error) => Some(error),
            // What these are of is in their own words already.
            Self::NoForm { .. } | Self::Protocol(_) | Self::Empty { .. } | Self::Classes { .. } => {
                None
            }
        }
    }
}

impl From<DataError> for EvaluationError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<EngineError> for EvaluationError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
