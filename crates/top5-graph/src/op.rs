//! The closed set of ops of 1998–2017, and what each of them says about itself.
//!
//! Whoever wants to know something about a layer reads it off its [`Spec`]; only what builds or computes matches on [`Op`]. So a
//! new op is its definition among the ops, one line in the list below, and what `each_op!` then asks engines for.

use crate::error::ShapeError;
use crate::ops::*;
use crate::shape::Shape;
use crate::spec::Spec;

/// What an op's struct defines.
pub(crate) trait Define {
    /// The op applied to inputs of these shapes. The builder has checked their number against [`Define::arity`].
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError>;

    /// Fewest and most inputs.
    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }
}

macro_rules! ops {
    (($d:tt) $($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A layer, without its inputs. Every variant is a plain struct of attributes; the arithmetic of the definition is in
        /// [`Spec`], and the computation in the engines.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        impl Op {
            /// The names of all variants.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            pub(crate) fn define(&self) -> &dyn Define {
                match self { $(Self::$name(op) => op,)* }
            }

            /// The name of the variant.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }
        }
        $(impl From<$name> for Op {
            fn from(op: $name) -> Self {
                Self::$name(op)
            }
        })*

        /// Evaluates an expression with the struct of an op, whichever it is: `each_op!(op, it => it)` is where an engine that
        /// implements a trait for every op finds the one that a node asks for. The list of ops is then written nowhere else, and
        /// the compiler names the op that the engine lacks.
        #[macro_export]
        macro_rules! each_op {
            ($d op:expr, $d it:ident => $d body:expr) => {
                match $d op { $($crate::Op::$name($d it) => $d body,)* }
            };
        }
    };
}

ops! {
    ($)
    /// The network's input, always node 0.
    Input,
    /// Two-dimensional convolution.
    Conv2d,
    /// LeNet-5's C3: each output map sees a chosen set of input maps.
    TableConv2d,
    /// Fully connected layer.
    Linear,
    /// Maximum over windows.
    MaxPool2d,
    /// Mean over windows.
    AvgPool2d,
    /// Mean over windows that divide a map of any size into so many rows and columns.
    AdaptiveAvgPool2d,
    /// Mean over each map.
    GlobalAvgPool,
    /// LeNet-5's S2 and S4: sum over windows, times a coefficient, plus a bias, per map.
    Subsampling,
    /// Batch normalisation.
    BatchNorm2d,
    /// Local response normalisation across channels.
    LocalResponseNorm,
    /// Elementwise non-linearity.
    Activation,
    /// Dropout: the identity outside training.
    Dropout,
    /// Sum of two or more inputs of one shape.
    Add,
    /// A map times one factor per channel, given by the second input.
    Scale,
    /// Multiplication by a constant.
    MulConstant,
    /// Concatenation along the channels.
    Concat,
    /// A range of channels.
    SliceChannels,
    /// Zero channels before and after.
    PadChannels,
    /// Every n-th row and column: an identity with a stride.
    Subsample,
    /// A map as a vector, in (channel, row, column) order.
    Flatten,
    /// Exponentials that sum to one.
    Softmax,
    /// LeNet-5's output layer: minus the squared distance to fixed codes.
    EuclideanRbf,
}
