//! The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.

#![forbid(unsafe_code)]

pub mod hub;

pub use top5_data as data;
pub use top5_graph as graph;
pub use top5_zoo as zoo;
