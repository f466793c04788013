//! The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.

#![forbid(unsafe_code)]

mod classifier;
mod engine;
pub mod evaluation;
mod files;
pub mod hub;
mod model;
mod pipeline;
pub mod training;

pub use classifier::{Classifier, Prediction};
pub use engine::engine;
pub use files::{sha256, write_whole};
pub use model::{CONFIG_FILE, Model, ModelError, WEIGHTS_FILE};
pub use pipeline::preprocessing;
pub use top5_cpu::{CpuEngine, Options};
pub use top5_data as data;
pub use top5_formats as formats;
pub use top5_graph as graph;
pub use top5_zoo as zoo;
