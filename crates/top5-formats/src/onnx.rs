//! ONNX, operator set 17: networks are written as a fold over the nodes' specs, each of which holds its ONNX form. Files are read
//! where they are one of the networks that are known, which is told by their structure: names do not count, and normalisations
//! may be folded into convolutions or not. What comes before the network, such as the normalisation of its input, and after its logits
//! is told apart from it. Tensors may lie in files beside them.

mod external;
mod fit;
mod form;
mod intake;
mod message;
mod model;
mod of_graph;
mod read;
mod strip;
mod write;

pub use fit::{Alike, Onnx, OnnxWeights};
pub use intake::Intake;
pub use write::{Options, write};
