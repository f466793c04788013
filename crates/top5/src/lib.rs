//! The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.
//!
//! This crate gathers those that it is made of. It prints nothing, reads no environment and opens no connection: the program
//! `top5` (`top5-cli`) does. A [`Model`] is a network with trained weights, read from a file or a folder; a [`Classifier`]
//! says what images show:
//!
//! ```
//! use top5::{Classifier, Model, Options, data};
//!
//! let model = Model::lenet_digits()?;
//! let mut classifier = Classifier::new(model, 1, &Options::default())?;
//! let test = data::digits().test.expect("the digits have a test part");
//! let sample = test.sample(0)?;
//! let [first, ..] = &classifier.predict(&sample.image, 3)?[..] else { unreachable!() };
//! assert_eq!(first.label, sample.label);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`train`] makes such models and [`eval`] measures them; `examples/digits.rs` does all of it in one page. Networks
//! come from [`zoo`], data from [`data`], other people's files from [`formats`], and [`device`] makes what runs a
//! [`graph::Graph`]: it gives a [`graph::Network`] of weights, which several threads may share, and a
//! [`graph::Session`] for each thread, input size and purpose.

#![forbid(unsafe_code)]

mod catalogue;
mod classifier;
mod description;
mod device;
mod error;
mod files;
mod finite;
mod fit;
mod model;
mod onnx_file;
mod preprocessing;
mod published;
mod recipes;
mod transplant;
mod twins;
mod weight_files;

pub use catalogue::{Listed, PublishedError, citation};
pub use classifier::{Classifier, Prediction, best, class_named, softmax};
pub use device::device;
pub use error::ModelError;
pub use files::{
    WholeFile, WriteError, append, make_folder, remove_file, sha256, sha256_of, write_whole,
};
pub use finite::{Finite, trace};
pub use model::Model;
pub use preprocessing::{preprocessing, recipe_preprocessing};
pub use recipes::{recipe, recipe_file, recipes, usual_augment};
pub use top5_cpu::plan;
pub use top5_cpu::{
    Choice, CpuDevice, CpuNetwork, CpuSession, CpuTraining, Isa, LayerShape, Mode, Options,
    PlanSummary, PlannedStep, Precision, Tuning,
};
pub use top5_data as data;
pub use top5_draw as draw;
pub use top5_eval as eval;
pub use top5_explain as explain;
pub use top5_formats as formats;
pub use top5_graph as graph;
pub use top5_train as train;
pub use top5_zoo as zoo;
pub use transplant::{Transplanted, transplant};
pub use weight_files::{CONFIG_FILE, Opened, PREPROCESSOR_FILE, WEIGHTS_FILE, WeightFiles};
