//! Fully connected layers: the linear layer, and LeNet-5's radial basis functions.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::param::{Init, Param};
use crate::shape::Shape;
use crate::spec::{Convolution, Family, Fans, Kernels, Spec};
use crate::window::k;
use std::sync::Arc;

/// `y = W x + b`. Weight: `[out_features, in_features]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Number of outputs.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Define for Linear {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let features = inputs[0].flat()?;
        let params = Param::weight_bias([self.out_features, features], self.bias)?;
        Ok(Spec {
            label: format!("{features} → {}", self.out_features),
            family: Family::Linear,
            short: "fc",
            caption: format!("fc {}", self.out_features),
            macs: params[0].elements() as u64,
            params,
            fans: Some(Fans { input: features, output: self.out_features }),
            convolution: Some(Convolution { window: k(1), groups: 1, kernels: Kernels::Dense }),
            onnx: vec![OnnxNode::new("Gemm").int("transB", 1).params()],
            ..Spec::new("Linear", "fc", Shape::Flat(self.out_features))
        })
    }
}

/// LeNet-5's output layer (LeCun et al. 1998, equation 7), negated so that the largest output is the answer:
/// `y_i = −Σ_j (x_j − codes_ij)²`. The codes are fixed (a buffer): `[classes, features]`.
#[derive(Clone, Debug, PartialEq)]
pub struct EuclideanRbf {
    /// One row of target activations per class.
    pub codes: Arc<[f32]>,
    /// Number of rows.
    pub classes: usize,
}

impl Define for EuclideanRbf {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let features = inputs[0].flat()?;
        if Some(self.codes.len()) != self.classes.checked_mul(features) {
            return Err(ShapeError::Attribute {
                what: "the number of code values",
                expected: "classes × features",
            });
        }
        let codes =
            Param::buffer("codes", [self.classes, features], Init::Values(self.codes.clone()));
        Ok(Spec {
            label: format!("{features} → {}", self.classes),
            family: Family::Linear,
            short: "RBF",
            caption: format!("RBF {}", self.classes),
            params: vec![codes],
            // x as [n, 1, features] minus the codes, squared, summed over the features, negated.
            onnx: vec![
                OnnxNode::new("Unsqueeze").integers(&[1]),
                OnnxNode::new("Sub").params(),
                OnnxNode::new("ReduceSumSquare").ints("axes", &[2]).int("keepdims", 0),
                OnnxNode::new("Neg"),
            ],
            ..Spec::new("EuclideanRbf", "rbf", Shape::Flat(self.classes))
        })
    }
}
