//! Why something cannot be explained.

use std::fmt;

use top5_graph::EngineError;

/// Why something cannot be explained.
#[derive(Clone, Debug, PartialEq)]
pub enum ExplainError {
    /// The engine could not do as it was told.
    Engine(EngineError),
    /// There is no layer of this name, or it has no maps.
    Layer {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
        /// Layers that would do.
        choices: Vec<String>,
    },
    /// A class is not one of the network's.
    Class {
        /// Its number.
        class: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A channel is not one of a layer's.
    Channel {
        /// The layer.
        layer: String,
        /// The number of the channel.
        channel: usize,
        /// Number of channels.
        channels: usize,
    },
    /// A setting of a method makes no sense.
    Setting {
        /// Its name.
        key: &'static str,
        /// What it must be.
        expected: String,
    },
    /// Numbers do not have the shape that they must have.
    Shape {
        /// What they are.
        what: &'static str,
        /// How many there must be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Numbers that have to be finite are not.
    NotFinite {
        /// What they are.
        what: String,
    },
    /// A picture could not be written as a PNG file.
    Picture {
        /// Why.
        why: String,
    },
}

impl fmt::Display for ExplainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => error.fmt(f),
            Self::Layer { name, why, choices } => {
                write!(f, "layer {name:?}: {why}; layers that would do: {}", choices.join(", "))
            }
            Self::Class { class, classes } => {
                write!(
                    f,
                    "class {class} is not one of the network's: it has {classes}, counted from 0"
                )
            }
            Self::Channel { layer, channel, channels } => write!(
                f,
                "there is no map {channel} in layer {layer}: it has {channels}, counted from 0"
            ),
            Self::Setting { key, expected } => write!(f, "{key}: expected {expected}"),
            Self::Shape { what, expected, got } => {
                write!(f, "{what}: expected {expected} values, got {got}")
            }
            Self::NotFinite { what } => write!(
                f,
                "{what} is infinite or no number: the weights are damaged or too large for single precision, or the \
                 image is prepared otherwise than for this model"
            ),
            Self::Picture { why } => write!(f, "the picture cannot be written as PNG: {why}"),
        }
    }
}

impl std::error::Error for ExplainError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Layer { .. }
            | Self::Class { .. }
            | Self::Channel { .. }
            | Self::Setting { .. }
            | Self::Shape { .. }
            | Self::NotFinite { .. }
            | Self::Picture { .. } => None,
        }
    }
}

impl From<EngineError> for ExplainError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}
