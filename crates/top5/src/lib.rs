//! The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.
//!
//! This crate is the program `top5`, and the library that gathers the crates it is made of. A [`Model`] is a network with
//! trained weights, read from a file, a folder or the hub; a [`Classifier`] says what images show:
//!
//! ```
//! use top5::{Classifier, Model, Options, data};
//!
//! let model = Model::lenet_digits()?;
//! let mut classifier = Classifier::new(&model, &Options::default())?;
//! let test = data::digits().test.expect("the digits have a test part");
//! let sample = test.sample(0)?;
//! let [first, ..] = &classifier.predict(&sample.image, 3)?[..] else { unreachable!() };
//! assert_eq!(first.label, sample.label);
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! [`train`] makes such models and [`eval`] measures them; `examples/digits.rs` does all of it in one page. Networks
//! come from [`zoo`], data from [`data`], other people's files from [`formats`], and [`engine`] makes what runs a
//! [`graph::Graph`].

#![forbid(unsafe_code)]

mod classifier;
mod engine;
mod files;
pub mod hub;
mod model;
mod pipeline;
mod recipes;

pub use classifier::{Classifier, Prediction};
pub use engine::engine;
pub use files::{make_folder, sha256, write_whole};
pub use model::{CONFIG_FILE, Model, ModelError, WEIGHTS_FILE};
pub use pipeline::preprocessing;
pub use recipes::{recipe, recipes};
pub use top5_cpu::plan;
pub use top5_cpu::{
    Choice, CpuEngine, Isa, LayerShape, Mode, Options, PlannedStep, Precision, Summary, Tuning,
};
pub use top5_data as data;
pub use top5_draw as draw;
pub use top5_eval as eval;
pub use top5_formats as formats;
pub use top5_graph as graph;
pub use top5_train as train;
pub use top5_zoo as zoo;
