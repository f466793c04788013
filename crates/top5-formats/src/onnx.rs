//! ONNX, operator set 17: networks are written as a fold over the nodes' specs, each of which holds its ONNX form. Files are read
//! where they are one of the networks that are known, which is told by their structure: names do not count, and normalisations
//! may be folded into convolutions or not. Tensors may lie in files beside them.

mod external;
mod fit;
mod form;
mod model;
mod read;
mod write;

pub use fit::{Onnx, OnnxWeights};
pub use write::{Options, write};
