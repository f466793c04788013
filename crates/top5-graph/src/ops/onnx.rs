//! The vocabulary of ONNX (operator set 17): what an op's spec says to an exporter.

use crate::window::Window;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// INT
    Int(i64),
    /// INTS
    Ints(Vec<i64>),
    /// FLOAT
    Float(f32),
}

/// A constant input, appended after the inputs and parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// A float tensor: shape and values.
    Floats(Vec<i64>, Vec<f32>),
    /// A one-dimensional integer tensor.
    Ints(Vec<i64>),
}

/// One ONNX node.
#[derive(Clone, Debug, PartialEq)]
pub struct OnnxNode {
    /// The operator's name.
    pub op_type: &'static str,
    /// Names and values.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Whether the layer's parameters follow the inputs.
    pub params: bool,
    /// Inputs that are known beforehand; they come last.
    pub constants: Vec<Constant>,
    /// An input that first gets axes of length one, and where.
    pub unsqueezed: Option<(usize, Vec<i64>)>,
}

impl OnnxNode {
    pub(crate) fn new(op_type: &'static str) -> Self {
        Self {
            op_type,
            attributes: Vec::new(),
            params: false,
            constants: Vec::new(),
            unsqueezed: None,
        }
    }

    pub(crate) fn params(self) -> Self {
        Self { params: true, ..self }
    }

    pub(crate) fn unsqueezed(self, input: usize, axes: &[i64]) -> Self {
        Self { unsqueezed: Some((input, axes.to_vec())), ..self }
    }

    pub(crate) fn int(mut self, name: &'static str, value: usize) -> Self {
        self.attributes.push((name, Attribute::Int(value as i64)));
        self
    }

    pub(crate) fn float(mut self, name: &'static str, value: f32) -> Self {
        self.attributes.push((name, Attribute::Float(value)));
        self
    }

    pub(crate) fn ints(mut self, name: &'static str, values: &[usize]) -> Self {
        self.attributes.push((name, Attribute::Ints(values.iter().map(|&v| v as i64).collect())));
        self
    }

    pub(crate) fn scalar(mut self, value: f32) -> Self {
        self.constants.push(Constant::Floats(Vec::new(), vec![value]));
        self
    }

    pub(crate) fn floats(mut self, shape: [usize; 2], values: Vec<f32>) -> Self {
        self.constants.push(Constant::Floats(shape.map(|size| size as i64).to_vec(), values));
        self
    }

    pub(crate) fn integers(mut self, values: &[usize]) -> Self {
        self.constants.push(Constant::Ints(values.iter().map(|&v| v as i64).collect()));
        self
    }

    /// `kernel_shape`, `strides`, `pads` (begins, then ends) and, where they are not 1, `dilations`.
    pub(crate) fn window(self, w: &Window) -> Self {
        let node = self
            .ints("kernel_shape", &w.kernel)
            .ints("strides", &w.stride)
            .ints("pads", &[w.pad[0], w.pad[1], w.pad_end[0], w.pad_end[1]]);
        if w.dilation == [1, 1] { node } else { node.ints("dilations", &w.dilation) }
    }
}
