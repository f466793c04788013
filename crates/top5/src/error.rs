//! Why something is no model.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use top5_formats::safetensors::ReadError;
use top5_formats::{Below, FormatError};
use top5_graph::{GraphError, WeightsError};
use top5_zoo::UnknownName;

/// Why something is no model.
#[derive(Debug)]
pub enum ModelError {
    /// The metadata of a file contradict themselves or the tensors.
    Metadata {
        /// What is wrong.
        reason: String,
    },
    /// No network has these tensors.
    Unrecognised {
        /// How many tensors there are.
        tensors: usize,
        /// The network that comes nearest, and what differs; none where all are far.
        nearest: Option<WeightsError>,
    },
    /// Several networks, each below a beginning of names.
    Several(Vec<Below>),
    /// The file's name ends with the beginning of another SHA-256 than its own.
    Hash {
        /// What the name says.
        expected: String,
        /// The file's SHA-256.
        found: String,
    },
    /// Weights of Caffe's for a network that is built in another way.
    Caffe {
        /// The network that was named.
        named: &'static str,
        /// The one that the weights belong to.
        meant: &'static str,
    },
    /// Weights that are NaN or infinite.
    NonFinite {
        /// The tensors that have some, with their number.
        tensors: Vec<(String, usize)>,
    },
    /// An ONNX file that computes what no network of the zoo does, or not what the named one does.
    Onnx {
        /// The network that was named.
        named: Option<&'static str>,
        /// How many nodes of which kinds there are.
        kinds: String,
        /// What in it no network has, if that is known.
        reason: Option<String>,
    },
    /// The file is damaged, or of a format that is not read.
    Format(FormatError),
    /// The file names a network that top5 does not know.
    Name(UnknownName),
    /// The network cannot be built as the file wants it.
    Graph(GraphError),
    /// The tensors are not the named network's.
    Weights(WeightsError),
    /// The tensors are not the named network's, but another's.
    Other {
        /// What differs from the named network.
        error: WeightsError,
        /// The network that the tensors belong to.
        meant: &'static str,
    },
    /// The system refuses to read.
    Io(io::Error),
    /// Any of these, with the file.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<Self>,
    },
}

impl ModelError {
    /// Whether tensors that a file has, and that are not read, may be what is missing.
    pub(crate) fn lacks_tensors(&self) -> bool {
        matches!(self, Self::Unrecognised { .. })
            || matches!(self, Self::Weights(error) if !error.missing.is_empty())
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { reason } => write!(
                f,
                "the model's description is not usable ({reason}): name the network and give the \
                 file as --weights"
            ),
            Self::Unrecognised { tensors: 0, .. } => f.write_str("the file holds no tensors"),
            Self::Unrecognised { tensors, nearest: None } => write!(
                f,
                "these are the weights of no network that top5 knows ({tensors} tensors), nor nearly: `top5 models` lists \
                 the networks; name one and give the file as --weights for the list of differences"
            ),
            Self::Unrecognised { nearest: Some(error), .. } => write!(
                f,
                "these are the weights of no network that top5 knows; the nearest is {}, of whose \
                 tensors {} are missing, {} have another shape and {} are too many: name the \
                 network and give the file as --weights for the list",
                error.network,
                error.missing.len(),
                error.mismatched.len(),
                error.unexpected.len()
            ),
            Self::Several(found) => {
                const LISTED: usize = 8;
                let of = |below: &Below| match &below.network {
                    Some(network) => format!("`{}` ({network})", below.beginning),
                    None => format!("`{}`", below.beginning),
                };
                let listed: Vec<String> = found.iter().take(LISTED).map(of).collect();
                let more = if found.len() > LISTED { ", …" } else { "" };
                write!(
                    f,
                    "the file holds several networks, whose tensors' names begin with {}{more}: `top5 convert FILE OUT.safetensors \
                     --weights-key {}` takes one out",
                    listed.join(", "),
                    found.first().map_or("", |below| &below.beginning)
                )
            }
            Self::Hash { expected, found } => write!(
                f,
                "its SHA-256 should begin with {expected}, as its name says, and is {found}: download \
                 it again"
            ),
            Self::Caffe { named, meant } => write!(
                f,
                "these weights were trained in Caffe, where strides, pooling or normalisation are not \
                 those of {named} although the tensors are: load them as {meant}"
            ),
            Self::NonFinite { tensors } => {
                let count: usize = tensors.iter().map(|(_, count)| count).sum();
                write!(f, "{count} weights are NaN or infinite:")?;
                const LISTED: usize = 8;
                for (name, count) in tensors.iter().take(LISTED) {
                    write!(f, "\n    {count} in {name}")?;
                }
                if let Some(more) = tensors.len().checked_sub(LISTED).filter(|&more| more > 0) {
                    write!(f, "\n    … and more in {more} other tensors")?;
                }
                f.write_str("\n  training diverged, or the file is damaged: take an older one")
            }
            Self::Onnx { named, kinds, reason } => {
                match named {
                    Some(network) => write!(
                        f,
                        "an ONNX file ({kinds}) that does not compute what {network} does"
                    )?,
                    None => write!(f, "an ONNX file of no network that top5 knows ({kinds})")?,
                }
                reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
            }
            Self::Format(error) => error.fmt(f),
            Self::Name(error) => error.fmt(f),
            Self::Graph(error) => error.fmt(f),
            Self::Weights(error) => error.fmt(f),
            Self::Other { error, meant } => {
                write!(f, "{error}\n  they are those of {meant}: name that network")
            }
            Self::Io(error) => error.fmt(f),
            Self::File { path, .. } => write!(f, "reading {}", path.display()),
        }
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(&**source),
            Self::Format(error) => error.source(),
            Self::Name(error) => error.source(),
            Self::Graph(error) => error.source(),
            Self::Weights(error) | Self::Other { error, .. } => error.source(),
            Self::Io(error) => error.source(),
            Self::Metadata { .. }
            | Self::Unrecognised { .. }
            | Self::Several(_)
            | Self::Hash { .. }
            | Self::Caffe { .. }
            | Self::NonFinite { .. }
            | Self::Onnx { .. } => None,
        }
    }
}

impl ModelError {
    /// The same, with the file that it is about.
    pub(crate) fn at(self, path: &Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}

impl From<FormatError> for ModelError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<UnknownName> for ModelError {
    fn from(error: UnknownName) -> Self {
        Self::Name(error)
    }
}

impl From<GraphError> for ModelError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl From<WeightsError> for ModelError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(error)
    }
}

impl From<ReadError> for ModelError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error.into(),
            ReadError::Format(error) => error.into(),
        }
    }
}

impl From<io::Error> for ModelError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
