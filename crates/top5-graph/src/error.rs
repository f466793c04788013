//! What can be wrong with a network, said with the layer, what it got, what it expected and the line of the page.

use crate::shape::Shape;
use crate::window::Window;
use std::fmt;
use std::panic::Location;

/// Why an op does not fit its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeError {
    /// A zero among the window's kernel, stride or dilation, or a value beyond 65,536.
    BadWindow {
        /// The window.
        window: Window,
    },
    /// The kernel is larger than the padded input.
    DoesNotFit {
        /// The window.
        window: Window,
        /// Height and width of the input.
        input: [usize; 2],
    },
    /// A pooling window could lie wholly in the padding.
    PadTooLarge {
        /// The window.
        window: Window,
    },
    /// A map was expected.
    NotAMap {
        /// Features of the vector that was got.
        features: usize,
    },
    /// A flat vector was expected.
    NotFlat {
        /// Shape of the map that was got.
        chw: [usize; 3],
    },
    /// A count of channels that must divide evenly does not.
    NotDivisible {
        /// What is divided.
        what: &'static str,
        /// Its value.
        value: usize,
        /// The divisor.
        by: usize,
    },
    /// Inputs that must agree do not.
    Disagree {
        /// What must agree.
        what: &'static str,
        /// The shapes that were got.
        shapes: Vec<Shape>,
    },
    /// A range of channels is not inside the input.
    Range {
        /// First channel.
        start: usize,
        /// Number of channels.
        len: usize,
        /// Channels of the input.
        channels: usize,
    },
    /// An attribute has a value that makes no sense.
    Attribute {
        /// The attribute.
        what: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A dimension is zero.
    Empty {
        /// The dimensions.
        dims: Vec<usize>,
    },
    /// A tensor is larger than any machine's memory.
    TooLarge {
        /// The dimensions.
        dims: Vec<usize>,
    },
    /// Two nodes or outputs have one name.
    DuplicateName {
        /// The name.
        name: String,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadWindow { window } => write!(
                f,
                "window {window}: kernel, stride and dilation must be between 1 and 65536, padding at most 65536"
            ),
            Self::DoesNotFit { window, input: [h, w] } => {
                write!(f, "window {window} does not fit {h}×{w}; use a larger input")
            }
            Self::PadTooLarge { window } => {
                write!(f, "window {window}: the padding of a pooling is at most half its kernel")
            }
            Self::NotAMap { features } => {
                write!(f, "expected a map (channels×height×width), got a vector of {features}")
            }
            Self::NotFlat { chw: [c, h, w] } => {
                write!(f, "expected a vector, got a map {c}×{h}×{w}; flatten it first")
            }
            Self::NotDivisible { what, value, by } => {
                write!(f, "{what} ({value}) must be a multiple of {by}")
            }
            Self::Disagree { what, shapes } => {
                let shapes: Vec<String> = shapes.iter().map(Shape::to_string).collect();
                write!(f, "{what} must agree, got {}", shapes.join(" and "))
            }
            Self::Range { start, len, channels } => {
                write!(
                    f,
                    "channels {start}..{} are not within 0..{channels}",
                    start.saturating_add(*len)
                )
            }
            Self::Attribute { what, expected } => write!(f, "{what} must be {expected}"),
            Self::Empty { dims } => {
                write!(f, "a tensor of shape {dims:?} is empty; no dimension may be 0")
            }
            Self::TooLarge { dims } => {
                write!(
                    f,
                    "a tensor of shape {dims:?} is too large; use fewer classes or a smaller input"
                )
            }
            Self::DuplicateName { name } => write!(f, "the name {name:?} is used twice"),
        }
    }
}

impl std::error::Error for ShapeError {}

/// The first thing wrong with a network, and the line of the page that says it, which `{error:#}` prints as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    /// The network.
    pub network: String,
    /// The layer.
    pub node: String,
    /// Kind of the layer's op.
    pub kind: &'static str,
    /// What is wrong.
    pub error: Box<ShapeError>,
    /// The line that added the layer.
    pub at: &'static Location<'static>,
}

impl GraphError {
    pub(crate) fn new(
        network: &str,
        node: String,
        kind: &'static str,
        error: ShapeError,
        at: &'static Location<'static>,
    ) -> Self {
        Self { network: network.to_owned(), node, kind, error: Box::new(error), at }
    }
}

impl fmt::Display for GraphError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, node, kind, error, at } = self;
        write!(f, "{network}: {kind} {node}: {error}")?;
        if f.alternate() { write!(f, " ({}:{})", at.file(), at.line()) } else { Ok(()) }
    }
}

impl std::error::Error for GraphError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.error.as_ref())
    }
}
