//! Why an engine could not do as it was told.

use crate::counted;
use crate::weights::WeightsError;
use std::fmt;

/// Why an engine could not do as it was told.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineError {
    /// The weights are not those of the graph.
    Weights(WeightsError),
    /// The images do not have the length of 1 to `batch` samples.
    Images {
        /// Elements of one sample.
        sample: usize,
        /// Most samples.
        batch: usize,
        /// Elements that were got.
        got: usize,
    },
    /// There is not one label per image.
    Labels {
        /// Number of images.
        expected: usize,
        /// Number of labels.
        got: usize,
    },
    /// A label is not a class.
    Label {
        /// Its index in the batch.
        index: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// There is not one distribution over the classes per image.
    Distributions {
        /// Number of images.
        images: usize,
        /// Number of classes.
        classes: usize,
        /// Number of values that were got.
        got: usize,
    },
    /// A target is no distribution: it has a negative share, or its shares do not sum to one.
    Distribution {
        /// Its index in the batch.
        index: usize,
        /// The sum of its shares; NaN where one is negative or no number.
        sum: f64,
    },
    /// What a backward pass starts from does not have the shape of its activation in the last forward pass.
    Seed {
        /// That shape.
        expected: Vec<usize>,
        /// The shape that was got.
        got: Vec<usize>,
    },
    /// A node is not one of the graph's.
    Node {
        /// Its position.
        index: usize,
        /// Number of nodes of the graph.
        nodes: usize,
    },
    /// A graph is not a form of the network: it has a parameter that the network lacks or has in another size.
    Form {
        /// The network.
        network: String,
        /// The graph.
        form: String,
        /// The parameter.
        parameter: String,
        /// Its elements in the network, if it is there.
        expected: Option<usize>,
        /// Its elements in the form.
        got: usize,
    },
    /// The network keeps no plain tensors, and a session needs one that has been freed.
    Unpacked {
        /// The parameter.
        parameter: String,
    },
    /// The session was not made for this.
    Purpose {
        /// What it was not made for, and what to do instead.
        why: String,
    },
    /// The engine cannot run this graph this way.
    Unsupported {
        /// The node.
        node: String,
        /// What is not supported, and what to do instead.
        why: String,
    },
    /// The machine cannot do what the options ask for.
    Machine {
        /// What it lacks, and what to do instead.
        why: String,
    },
    /// The plan needs more memory than it may have.
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// Values that have to be finite are not.
    NotFinite {
        /// Which.
        what: String,
    },
    /// A reduction between processes failed.
    Reduction {
        /// Why.
        why: String,
    },
    /// A stop flag was set.
    Stopped,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(error) => error.fmt(f),
            Self::Images { sample, batch, got } => {
                write!(f, "expected 1 to {batch} images of {sample} values, got {got} values")
            }
            Self::Labels { expected, got } => {
                write!(
                    f,
                    "expected one label for each of {}, got {got}",
                    counted(*expected, "image")
                )
            }
            Self::Label { index, label, classes } => write!(
                f,
                "label {label} of image {index} is not a class: the network has {classes}"
            ),
            Self::Distributions { images, classes, got } => write!(
                f,
                "expected one distribution over {classes} classes for each of {}, got {got} values",
                counted(*images, "image")
            ),
            Self::Distribution { index, sum } => write!(
                f,
                "target {index} is no distribution: its shares sum to {sum}, expected shares of at least 0 that sum to 1"
            ),
            Self::Seed { expected, got } => write!(
                f,
                "the backward pass starts from an activation of shape {expected:?}, got {got:?}"
            ),
            Self::Node { index, nodes } => {
                write!(f, "there is no node {index}: the graph has {nodes}, counted from 0")
            }
            Self::Form { network, form, parameter, expected: None, .. } => write!(
                f,
                "{form} is no form of {network}, which has no parameter {parameter}; make a network of its own for it"
            ),
            Self::Form { network, form, parameter, expected: Some(expected), got } => write!(
                f,
                "{form} is no form of {network}: {parameter} has {got} elements there and {expected} here; make a \
                 network of its own for it"
            ),
            Self::Unpacked { parameter } => write!(
                f,
                "{parameter} is needed in another form than the network has packed it in, and the plain tensor is no \
                 longer there; make the network with Retain::Tensors"
            ),
            Self::Purpose { why } | Self::Machine { why } => f.write_str(why),
            Self::Unsupported { node, why } => write!(f, "layer {node}: {why}"),
            Self::Memory { needed, allowed } => write!(
                f,
                "the plan needs {} MiB and may use {} MiB; use a smaller batch or input",
                needed >> 20,
                allowed >> 20
            ),
            Self::NotFinite { what } => write!(
                f,
                "{what} is infinite or no number: the weights are damaged or too large for single precision, or the images \
                 are prepared otherwise than for this model"
            ),
            Self::Reduction { why } => write!(f, "the reduction between processes failed: {why}"),
            Self::Stopped => f.write_str("stopped, as was asked for"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Weights(error) => Some(error),
            Self::Images { .. }
            | Self::Labels { .. }
            | Self::Label { .. }
            | Self::Distributions { .. }
            | Self::Distribution { .. }
            | Self::Seed { .. }
            | Self::Node { .. }
            | Self::Form { .. }
            | Self::Unpacked { .. }
            | Self::Purpose { .. }
            | Self::Unsupported { .. }
            | Self::Machine { .. }
            | Self::Memory { .. }
            | Self::NotFinite { .. }
            | Self::Reduction { .. }
            | Self::Stopped => None,
        }
    }
}

impl From<WeightsError> for EngineError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(error)
    }
}
