//! Ops that combine branches.

use super::onnx::OnnxNode;
use crate::error::ShapeError;
use crate::op::Define;
use crate::shape::Shape;
use crate::spec::{Family, Spec};

/// Many inputs, as far as any paper goes.
const MANY: usize = 1 << 10;

/// The elementwise sum of inputs of one shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Add;

impl Define for Add {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        if inputs.iter().any(|shape| shape != &inputs[0]) {
            return Err(ShapeError::Disagree {
                what: "the shapes of a sum",
                shapes: inputs.to_vec(),
            });
        }
        let op_type = if inputs.len() == 2 { "Add" } else { "Sum" };
        Ok(Spec {
            family: Family::Join,
            onnx: vec![OnnxNode::new(op_type)],
            ..Spec::new("Add", "add", inputs[0]).short("add")
        })
    }

    fn arity(&self) -> (usize, usize) {
        (2, MANY)
    }
}

/// A map times one factor per channel: inputs `c×h×w` and `c×1×1` (or a vector of c).
/// The excitation of SENet (Hu et al., CVPR 2018, equation 4).
#[derive(Clone, Debug, PartialEq)]
pub struct Scale;

impl Define for Scale {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let [c, ..] = inputs[0].chw()?;
        if inputs[1].elements() != c || inputs[1].channels() != c {
            return Err(ShapeError::Disagree {
                what: "the channels of a map and its factors",
                shapes: inputs.to_vec(),
            });
        }
        let onnx = OnnxNode::new("Mul");
        // Factors in a vector have to be a map to multiply one.
        let flat = matches!(inputs[1], Shape::Flat(_));
        let onnx = if flat { onnx.unsqueezed(1, &[2, 3]) } else { onnx };
        Ok(Spec {
            family: Family::Join,
            onnx: vec![onnx],
            ..Spec::new("Scale", "scale", inputs[0]).short("scale")
        })
    }

    fn arity(&self) -> (usize, usize) {
        (2, 2)
    }
}

/// Multiplication by a constant: the residual scaling of Inception-ResNet (Szegedy et al., AAAI 2017, section 3.3).
#[derive(Clone, Debug, PartialEq)]
pub struct MulConstant {
    /// The constant.
    pub factor: f32,
}

impl Define for MulConstant {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        if !self.factor.is_finite() {
            return Err(ShapeError::Attribute { what: "a constant factor", expected: "finite" });
        }
        Ok(Spec {
            label: format!("×{}", self.factor),
            trails: true,
            onnx: vec![OnnxNode::new("Mul").scalar(self.factor)],
            ..Spec::new("MulConstant", "mul", inputs[0]).short("× const")
        })
    }
}

/// Concatenation along the channels of maps of one height and width, or of vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat;

impl Define for Concat {
    fn spec(&self, inputs: &[Shape]) -> Result<Spec, ShapeError> {
        let flat = matches!(inputs[0], Shape::Flat(_));
        let agree = inputs
            .iter()
            .all(|s| s.size() == inputs[0].size() && matches!(s, Shape::Flat(_)) == flat);
        if !agree {
            let what = "height and width of a concatenation";
            return Err(ShapeError::Disagree { what, shapes: inputs.to_vec() });
        }
        let channels = inputs.iter().map(Shape::channels).sum();
        let [h, w] = inputs[0].size();
        let output = if flat { Shape::Flat(channels) } else { Shape::Map([channels, h, w]) };
        Ok(Spec {
            family: Family::Join,
            onnx: vec![OnnxNode::new("Concat").int("axis", 1)],
            ..Spec::new("Concat", "concat", output).short("concat")
        })
    }

    fn arity(&self) -> (usize, usize) {
        (1, MANY)
    }
}
