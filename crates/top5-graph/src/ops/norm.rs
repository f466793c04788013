//! Normalisation: batch normalisation, local response normalisation.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::param::{Init, Param};
use crate::shape::Shape;
use crate::spec::{Affine, Family, Spec};

/// Batch normalisation (Ioffe & Szegedy, ICML 2015): per channel `y = weight·(x − mean)/√(var + eps) + bias`.
///
/// In training, mean and (biased) variance are those of the batch and all positions, and the running ones follow
/// them: `running ← (1 − momentum)·running + momentum·batch`, the running variance with the unbiased one. At
/// inference the running ones are used. Parameters and buffers: `[channels]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm2d {
    /// Added to the variance.
    pub eps: f32,
    /// Share of the batch in the running statistics.
    pub momentum: f32,
}

impl Default for BatchNorm2d {
    /// PyTorch's: eps 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

impl Define for BatchNorm2d {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, ..] = inputs[0].chw()?;
        if !(self.eps > 0.0 && (0.0..=1.0).contains(&self.momentum)) {
            return Err(ShapeError::Attribute {
                what: "eps and momentum of a batch normalisation",
                expected: "positive, and between 0 and 1",
            });
        }
        Ok(Spec {
            params: vec![
                Param::learned("weight", [c], Init::Constant(1.0)),
                Param::learned("bias", [c], Init::Constant(0.0)),
                Param::buffer("running_mean", [c], Init::Constant(0.0)),
                Param::buffer("running_var", [c], Init::Constant(1.0)),
            ],
            family: Family::Normalisation,
            trails: true,
            affine: Some(Affine { eps: self.eps }),
            onnx: vec![OnnxNode::new("BatchNormalization").float("epsilon", self.eps).params()],
            ..Spec::new("BatchNorm2d", "bn", inputs[0]).short("BN")
        })
    }
}

/// What `alpha` of a local response normalisation multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlphaOver {
    /// The sum of the squares: the formula of the AlexNet paper (section 3.3).
    Sum,
    /// Their mean over the window: Caffe, PyTorch, ONNX.
    Mean,
}

/// Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3):
/// `y_c = x_c / (k + a·Σ x_j²)^beta` over the `size` channels around `c`, where `a` is `alpha` or `alpha/size`.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalResponseNorm {
    /// Number of neighbouring channels, the channel itself included; odd.
    pub size: usize,
    /// Strength.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Constant under the power.
    pub k: f32,
    /// Whether `alpha` is taken of the sum or of the mean.
    pub over: AlphaOver,
}

impl LocalResponseNorm {
    /// The factor of the sum of squares.
    pub fn alpha_of_sum(&self) -> f32 {
        match self.over {
            AlphaOver::Sum => self.alpha,
            AlphaOver::Mean => self.alpha / self.size as f32,
        }
    }
}

impl Define for LocalResponseNorm {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        inputs[0].chw()?;
        if self.size.is_multiple_of(2) || self.size > 63 {
            return Err(ShapeError::Attribute {
                what: "size of a local response normalisation",
                expected: "odd and below 64",
            });
        }
        if !(self.k > 0.0 && self.alpha >= 0.0 && self.beta.is_finite()) {
            return Err(ShapeError::Attribute {
                what: "k and alpha of a local response normalisation",
                expected: "positive and not negative",
            });
        }
        // ONNX divides alpha by size, so the sum convention has to be multiplied back.
        let alpha = self.alpha_of_sum() * self.size as f32;
        let over = match self.over {
            AlphaOver::Sum => "Σ",
            AlphaOver::Mean => "mean",
        };
        Ok(Spec {
            family: Family::Normalisation,
            label: format!(
                "n={} α={:e} {over} β={} k={}",
                self.size, self.alpha, self.beta, self.k
            ),
            onnx: vec![
                OnnxNode::new("LRN")
                    .float("alpha", alpha)
                    .float("beta", self.beta)
                    .float("bias", self.k)
                    .int("size", self.size),
            ],
            ..Spec::new("LocalResponseNorm", "lrn", inputs[0]).short("LRN")
        })
    }
}
