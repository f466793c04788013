//! What an op says about itself: everything that others ask about a layer, short of computing it.
//!
//! Tables, figures, exporters, importers and initialisers fold over these fields and name no op. A new question is a new field with
//! a default in [`Spec::new`], answered in the definitions of the ops that it concerns.

use crate::ops::onnx::OnnxNode;
use crate::param::Param;
use crate::shape::Shape;
use crate::window::Window;

/// Everything there is to say about an op applied to its inputs, short of computing it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// `Conv2d`. For people: code asks the other fields.
    pub kind: &'static str,
    /// What distinguishes this layer from others of its kind: `3×3 /2 +1, 64`
    pub label: String,
    /// Stem of the automatic name (`conv` gives `conv1`, `conv2`, …).
    pub stem: &'static str,
    /// What sort of layer it is.
    pub family: Family,
    /// The kind in a word, as figures have it: `BN`
    pub short: &'static str,
    /// What a figure writes below the layer: `3×3 /2 +1, 64`, `max 3×3 /2`, `fc 1000`.
    pub caption: String,
    /// Whether a figure draws it as part of the layer before it, as it does batch normalisations and activations.
    pub trails: bool,
    /// Shape of the output of one sample.
    pub output: Shape,
    /// Parameters and buffers.
    pub params: Vec<Param>,
    /// How many terms the parameter called `weight` is summed over, if it is summed.
    pub fans: Option<Fans>,
    /// Multiply-accumulates of convolutions and linear layers, which is what the papers count; zero elsewhere.
    pub macs: u64,
    /// The window through which an output sees the input, if there is one.
    pub window: Option<Window>,
    /// The convolution that it is: its output is a sum of products of inputs and `weight`, plus `bias` if there is one.
    pub convolution: Option<Convolution>,
    /// At inference it is an affine map of each channel, which a convolution before it can take up.
    pub affine: Option<Affine>,
    /// The chain of ONNX nodes that computes it: the first takes the inputs, each other the one before. Empty: the identity at
    /// inference.
    pub onnx: Vec<OnnxNode>,
}

impl Spec {
    /// A rearrangement of elements with no parameters, no MACs and no window, called by its kind.
    pub(crate) fn new(kind: &'static str, stem: &'static str, output: Shape) -> Self {
        Self {
            kind,
            label: String::new(),
            stem,
            family: Family::Rearrangement,
            short: kind,
            caption: kind.to_owned(),
            trails: false,
            output,
            params: Vec::new(),
            fans: None,
            macs: 0,
            window: None,
            convolution: None,
            affine: None,
            onnx: Vec::new(),
        }
    }

    /// With this word for its kind, which is also its caption.
    pub(crate) fn short(self, short: &'static str) -> Self {
        Self { short, caption: short.to_owned(), ..self }
    }

    /// Total number of learned parameters.
    pub fn param_count(&self) -> usize {
        self.params.iter().filter(|p| p.learned).map(Param::elements).sum()
    }
}

/// The sorts of layer that figures tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// The network's input.
    Input,
    /// Sums over windows with learned weights.
    Convolution,
    /// Sums over all inputs.
    Linear,
    /// One value from each window of each map.
    Pooling,
    /// Normalisation.
    Normalisation,
    /// Non-linearity.
    Activation,
    /// Several inputs to one.
    Join,
    /// Elements moved, dropped or multiplied by a constant.
    Rearrangement,
}

/// How many products one output of a layer sums, and in how many sums one input is: the sizes that rules of initialisation ask
/// for, as PyTorch computes them (the output's fan counts all groups).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fans {
    /// Terms of an output.
    pub input: usize,
    /// Outputs with an input among their terms.
    pub output: usize,
}

/// The convolution that an op is. A fully connected layer is one of a 1×1 map.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Number of independent groups of channels.
    pub groups: usize,
    /// How the dense weight `[out_channels, in_channels / groups, height, width]` follows from the layer's.
    pub kernels: Kernels,
}

/// How the dense weight of a convolution follows from a layer's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// It is the weight, element by element.
    Dense,
    /// The weight holds one kernel after the other, each for the pair (output channel, input channel) at this position, counted
    /// along the rows of the dense weight; the other kernels are zero.
    Scattered(Vec<usize>),
    /// The weight holds one value per channel, which its kernel repeats.
    Repeated,
}

/// An affine map of each channel, from parameters `weight`, `bias`, `running_mean` and `running_var`:
/// `y = weight·(x − running_mean)/√(running_var + eps) + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Added to the variance.
    pub eps: f32,
}

impl Affine {
    /// Slope and intercept of a channel: the definition.
    pub fn line(&self, weight: f32, bias: f32, mean: f32, variance: f32) -> [f64; 2] {
        let slope = f64::from(weight) / (f64::from(variance) + f64::from(self.eps)).sqrt();
        [slope, f64::from(bias) - f64::from(mean) * slope]
    }
}
