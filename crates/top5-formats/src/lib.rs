//! Weights, graphs and the course of training to and from the file formats of others.
//!
//! Everything takes and returns bytes: no file is opened here. A reader trusts nothing that a file says: a size is
//! compared with the bytes that are there before anything is allocated for it, and what is wrong is a [`FormatError`]
//! that names the format, what was found and what was expected.

#![forbid(unsafe_code)]

mod adapt;
pub mod caffe;
mod computed;
pub mod config;
mod detect;
mod element;
mod error;
pub mod events;
mod loaded;
mod names;
pub mod onnx;
pub mod overfeat;
mod pick;
mod protobuf;
pub mod safetensors;
mod several;
mod shards;
pub mod timm;
pub mod torch;
mod transformers;
mod translate;

pub use adapt::{fit, non_finite, recognise, renamings, stem};
pub use computed::compute;
pub use detect::{detect, read_weights, read_weights_with};
pub use error::FormatError;
pub use loaded::{Format, Group, Loaded};
pub use onnx::{Alike, Intake, Onnx, OnnxWeights};
pub use pick::{Pick, picked};
pub use several::{Below, below, several};
pub use shards::Index;
