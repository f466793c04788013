//! The closed set of ops of 1998–2017, and what each of them says about itself.

use crate::error::ShapeError;
use crate::ops::*;
use crate::params::Param;
use crate::shape::Shape;
use crate::window::Window;

/// A layer, without its inputs. Every variant is a plain struct of attributes; the arithmetic of the definition is in
/// [`Spec`], and the computation in the engines.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The network's input, always node 0.
    Input(Input),
    /// Two-dimensional convolution.
    Conv2d(Conv2d),
    /// LeNet-5's C3: each output map sees a chosen set of input maps.
    TableConv2d(TableConv2d),
    /// Fully connected layer.
    Linear(Linear),
    /// Maximum over windows.
    MaxPool2d(MaxPool2d),
    /// Mean over windows.
    AvgPool2d(AvgPool2d),
    /// Mean over each map.
    GlobalAvgPool(GlobalAvgPool),
    /// LeNet-5's S2 and S4: sum over windows, times a coefficient, plus a bias, per map.
    Subsampling(Subsampling),
    /// Batch normalisation.
    BatchNorm2d(BatchNorm2d),
    /// Local response normalisation across channels.
    LocalResponseNorm(LocalResponseNorm),
    /// Elementwise non-linearity.
    Activation(Activation),
    /// Dropout: the identity outside training.
    Dropout(Dropout),
    /// Sum of two or more inputs of one shape.
    Add(Add),
    /// A map times one factor per channel, given by the second input.
    Scale(Scale),
    /// Multiplication by a constant.
    MulConstant(MulConstant),
    /// Concatenation along the channels.
    Concat(Concat),
    /// A range of channels.
    SliceChannels(SliceChannels),
    /// Zero channels before and after.
    PadChannels(PadChannels),
    /// Every n-th row and column: an identity with a stride.
    Subsample(Subsample),
    /// A map as a vector, in (channel, row, column) order.
    Flatten(Flatten),
    /// Exponentials that sum to one.
    Softmax(Softmax),
    /// LeNet-5's output layer: minus the squared distance to fixed codes.
    EuclideanRbf(EuclideanRbf),
}

/// Everything there is to say about an op applied to its inputs, short of computing it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `Conv2d`
    pub kind: &'static str,
    /// What distinguishes this layer from others of its kind: `3×3 /2 +1, 64`
    pub label: String,
    /// Stem of the automatic name (`conv` gives `conv1`, `conv2`, …).
    pub stem: &'static str,
    /// Shape of the output of one sample.
    pub output: Shape,
    /// Parameters and buffers.
    pub params: Vec<Param>,
    /// Multiply-accumulates of convolutions and linear layers, which is what the papers count; zero elsewhere.
    pub macs: u64,
    /// The window through which an output sees the input, if there is one.
    pub window: Option<Window>,
    /// The chain of ONNX nodes that computes it: the first takes the inputs and parameters, each other the one before.
    /// Empty: the identity at inference.
    pub onnx: Vec<onnx::OnnxNode>,
}

impl Spec {
    /// A spec with no parameters, no MACs and no window.
    pub(crate) fn new(kind: &'static str, stem: &'static str, output: Shape) -> Self {
        Self {
            kind,
            label: String::new(),
            stem,
            output,
            params: Vec::new(),
            macs: 0,
            window: None,
            onnx: Vec::new(),
        }
    }

    /// Total number of learned parameters.
    pub fn param_count(&self) -> usize {
        self.params.iter().filter(|p| p.learned).map(Param::elements).sum()
    }
}

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
    ($($name:ident),* $(,)?) => {
        impl Op {
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
    };
}

ops!(
    Input,
    Conv2d,
    TableConv2d,
    Linear,
    MaxPool2d,
    AvgPool2d,
    GlobalAvgPool,
    Subsampling,
    BatchNorm2d,
    LocalResponseNorm,
    Activation,
    Dropout,
    Add,
    Scale,
    MulConstant,
    Concat,
    SliceChannels,
    PadChannels,
    Subsample,
    Flatten,
    Softmax,
    EuclideanRbf,
);
