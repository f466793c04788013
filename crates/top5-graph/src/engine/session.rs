//! The third level: a network planned for one input size, batch and purpose.

use super::{EngineError, Purpose};
use crate::graph::{Graph, NodeId};
use crate::tensor::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How a session is to be.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The most samples that it takes at once.
    pub batch: usize,
    /// Activations to return beside the logits, in this order. Nodes of auxiliary heads are computed where they are asked
    /// for.
    pub keep: Vec<NodeId>,
    /// What it is for: [`Purpose::inference`] or [`Purpose::explanation`].
    pub purpose: Purpose,
    /// A flag that ends a call of it early.
    pub stop: Option<Stop>,
}

impl SessionOptions {
    /// Inference on up to `batch` samples at once, keeping nothing.
    pub fn inference(batch: usize) -> Self {
        Self { batch, keep: Vec::new(), purpose: Purpose::inference(), stop: None }
    }
}

/// A flag that ends calls early; its clones are one flag. A call that finds it set returns [`EngineError::Stopped`] and
/// leaves everything as it was before.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The flag that somebody else sets, for example when a signal comes.
    pub fn of(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Sets it.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes it back.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a forward pass returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The main output: `[n, classes]`, or `[n, classes, height, width]` of a dense network.
    pub logits: Tensor,
    /// The activations that were asked for, in that order, each `[n, …]`.
    pub kept: Vec<Tensor>,
}

/// Runs a network as at inference. Images are `[n, channels, height, width]` in row-major order, for any n from 1 to
/// [`Session::batch`].
pub trait Session: Send {
    /// The graph that it runs.
    fn graph(&self) -> &Graph;

    /// The most samples it takes at once.
    fn batch(&self) -> usize;

    /// The logits of these images, and the activations that the session keeps.
    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError>;

    /// Sends `seed`, `[n, …]` for the n images of the last forward pass and the activation that the session's signals start
    /// from, backward through that pass; returns a tensor `[n, …]` for each node that they end at. Any number of calls may
    /// follow one forward pass. Fails where the session has no such purpose, or no forward pass went before.
    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError>;

    /// Of the last forward pass, where each output of a maximum pooling came from: `[n, channels, height, width]` of the
    /// output in row-major order, the row-major index in the map of the input. Of equal maxima it is the first. An output
    /// whose window holds no input has [`NO_SWITCH`]. Fails unless the session's purpose is signals.
    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError>;
}

/// The switch of a window that holds no input.
pub const NO_SWITCH: u32 = u32::MAX;
