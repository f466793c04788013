//! The first level: what computes.

use super::{EngineError, Network, Training, TrainingOptions};
use crate::graph::Graph;
use crate::weights::Weights;
use std::sync::Arc;

/// Threads and an instruction set, or an adapter, with a limit on memory: one for everything that is made from it. It runs
/// one session's or training's step at a time; a second one waits.
pub trait Device: Send + Sync {
    /// A graph with these weights, ready for sessions of any size. Takes the weights by value, so that no second copy of
    /// them need exist.
    fn network(
        &self,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<Arc<dyn Network>, EngineError>;

    /// Training that begins with these weights. Fails where it cannot be planned, or needs more memory than allowed.
    fn training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Box<dyn Training>, EngineError>;
}

/// What a network keeps of the tensors that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retain {
    /// Nothing: a tensor is freed when the first session has packed it, so that one copy of each exists. A later session
    /// that needs another form of it is refused with [`EngineError::Unpacked`].
    #[default]
    Nothing,
    /// All: sessions of any form can be made at any time, for the memory of a second copy.
    Tensors,
}
