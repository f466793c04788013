//! Elementwise non-linearities, dropout and softmax.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::shape::Shape;
use crate::spec::{Family, Spec};

/// An elementwise non-linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`, with derivative 0 at 0.
    Relu,
    /// `1 / (1 + e^−x)`
    Sigmoid,
    /// LeNet-5's squashing function, `1.7159·tanh(2x/3)` (LeCun et al. 1998, appendix A).
    ScaledTanh,
}

impl Activation {
    /// Amplitude of the scaled hyperbolic tangent.
    pub const TANH_AMPLITUDE: f32 = 1.7159;
    /// Slope at the origin of the scaled hyperbolic tangent's argument.
    pub const TANH_SLOPE: f32 = 2.0 / 3.0;
}

impl Define for Activation {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let (kind, stem, short, onnx) = match self {
            Self::Relu => ("ReLU", "relu", "ReLU", vec![OnnxNode::new("Relu")]),
            Self::Sigmoid => ("Sigmoid", "sigmoid", "sigmoid", vec![OnnxNode::new("Sigmoid")]),
            Self::ScaledTanh => {
                let scale = |factor| OnnxNode::new("Mul").scalar(factor);
                let onnx = vec![
                    scale(Self::TANH_SLOPE),
                    OnnxNode::new("Tanh"),
                    scale(Self::TANH_AMPLITUDE),
                ];
                ("ScaledTanh", "tanh", "tanh", onnx)
            }
        };
        Ok(Spec {
            family: Family::Activation,
            trails: true,
            onnx,
            ..Spec::new(kind, stem, inputs[0]).short(short)
        })
    }
}

/// Dropout (Srivastava et al. 2014), inverted: in training each element is zero with probability `p` and
/// multiplied by `1/(1 − p)` otherwise; at inference it is the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of a zero.
    pub p: f32,
}

impl Dropout {
    /// The factor of the element whose draw is `u` in [0, 1): the definition of the mask.
    #[inline]
    pub fn factor(&self, u: f32) -> f32 {
        if u < self.p { 0.0 } else { 1.0 / (1.0 - self.p) }
    }
}

impl Define for Dropout {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        if !(0.0..1.0).contains(&self.p) {
            return Err(ShapeError::Attribute { what: "p of a dropout", expected: "in [0, 1)" });
        }
        Ok(Spec {
            label: self.p.to_string(),
            trails: true,
            ..Spec::new("Dropout", "dropout", inputs[0]).short("dropout")
        })
    }
}

/// `e^x_i / Σ e^x_j` over a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax;

impl Define for Softmax {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        inputs[0].flat()?;
        let onnx = OnnxNode::new("Softmax").int("axis", 1);
        Ok(Spec {
            family: Family::Activation,
            trails: true,
            onnx: vec![onnx],
            ..Spec::new("Softmax", "softmax", inputs[0]).short("softmax")
        })
    }
}
