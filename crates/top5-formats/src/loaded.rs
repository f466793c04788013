//! What a file of weights held.

use std::collections::BTreeMap;
use std::fmt;

use top5_graph::Weights;

use crate::error::FormatError;
use crate::overfeat;

/// A format that weights are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors
    Safetensors,
    /// A PyTorch checkpoint: zip, legacy or tar.
    Torch,
    /// OverFeat's raw floats.
    Overfeat(overfeat::Model),
    /// A Caffe model.
    Caffe,
    /// An ONNX model, whose weights are read by way of its structure (see [`crate::Onnx`]).
    Onnx,
}

/// Tensors that lie together in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The keys that lead to them, `state_dict` or `trainer.model`; empty where the whole file is one group.
    pub path: String,
    /// How many there are.
    pub tensors: usize,
    /// Whether their key says that they are an average of weights.
    pub average: bool,
    /// Whether they were read.
    pub taken: bool,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, tensors, .. } = self;
        let word = if *tensors == 1 { "tensor" } else { "tensors" };
        match path.as_str() {
            "" => write!(f, "{tensors} {word} without a key"),
            path => write!(f, "{tensors} {word} in `{path}`"),
        }
    }
}

/// What was in a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The tensors, under the file's names (see [`crate::fit`]).
    pub weights: Weights,
    /// The format.
    pub format: Format,
    /// Free text beside the tensors.
    pub metadata: BTreeMap<String, String>,
    /// The groups of tensors in a PyTorch checkpoint; none in formats that have but one.
    pub groups: Vec<Group>,
    /// A phrase for each tensor beside the weights whose type is not read, and for an object that may be a model: which one, why, and
    /// what to do.
    pub unread: Vec<String>,
}

impl Loaded {
    /// Itself, unless it has nothing but tensors that are not read.
    pub(crate) fn check(self) -> Result<Self, FormatError> {
        match self.refusal().filter(|_| self.weights.is_empty()) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// Why these are not the weights of a network, if tensors are missing since they are not read.
    pub fn refusal(&self) -> Option<FormatError> {
        let format = match self.format {
            Format::Torch => "PyTorch",
            Format::Safetensors => "safetensors",
            Format::Caffe => "Caffe",
            Format::Onnx => "ONNX",
            Format::Overfeat(_) => "OverFeat",
        };
        self.unread.first().map(|what| FormatError::refused(format, what))
    }
}
