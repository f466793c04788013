//! What a network is: layers with shapes, parameters and costs in topological order, and the trait of the engines
//! that run it.
//!
//! A page of Rust per paper builds a [`Graph`] with [`net`] and [`Var`]; everything else reads it. Each op says what it
//! is once, in its [`Spec`] (output shape, parameters, multiply-accumulates, ONNX form, …), so that tables, diagrams,
//! exporters and memory plans are folds over the nodes and only engines match on [`Op`].
//!
//! Shapes are per sample (channels, height, width): the batch is a property of a run, not of a network. Nothing here
//! computes on tensor values, and the crate depends on nothing.

#![forbid(unsafe_code)]

mod builder;
mod count;
mod engine;
mod error;
mod graph;
mod op;
pub mod ops;
mod optimizer;
mod param;
pub mod random;
mod rewrite;
mod shape;
mod size;
mod spec;
mod summary;
mod tensor;
mod weights;
mod window;
mod words;

pub use builder::{Scope, Var, concat, net, sum};
pub use count::ReceptiveField;
pub use engine::{
    Backward, Bucket, Device, EngineError, Forward, GateRule, Loss, LrnRule, NO_SWITCH, Network,
    Purpose, Reducer, ReluRule, Retain, Rule, Session, SessionOptions, Signals, Statistics,
    StepOptions, Stop, Targets, Training, TrainingOptions, Values, check_form,
};
pub use error::{GraphError, ShapeError};
pub use graph::{Graph, Node, NodeId, Output};
pub use op::Op;
pub use ops::onnx;
pub use optimizer::{
    Adam, Clip, Ema, EmaBuffers, EmaWarmup, Group, Lars, Optimizer, OutOfBounds, RmsProp,
    RmsPropForm, Scales, Select, Sgd, StateName, StateTensor, Update, check_state,
};
pub use param::{Init, Param};
pub use rewrite::DenseForm;
pub use shape::Shape;
pub use spec::{Affine, Convolution, Family, Fans, Kernels, Spec};
pub use summary::{LayerRow, markdown, rows, table};
pub use tensor::Tensor;
pub use weights::{Mismatch, Weights, WeightsError};
pub use window::{Window, k};
pub use words::{alike, counted, edit_distance, in_plain_words, several};
