//! The seam between what a network is and how it is computed.
//!
//! An engine is made for one graph and one largest batch. Losses, schedules, protocols and explanations are built on
//! these few calls and never see which engine answers.

mod purpose;

pub use purpose::{Backward, GateRule, LrnRule, Purpose, ReluRule, Rule, Signals, Statistics};

use crate::graph::{Graph, NodeId};
use crate::params::{Weights, WeightsError};
use crate::tensor::Tensor;
use std::fmt;

/// What a forward pass returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// The main output: `[batch, classes]`, or `[batch, classes, height, width]` of a dense network.
    pub logits: Tensor,
    /// The activations that were asked for, in that order, each `[batch, …]`.
    pub kept: Vec<Tensor>,
}

/// What one training step depends on beside images, labels and weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// Share of the target that is spread evenly over all classes (Szegedy et al., CVPR 2016, section 7).
    pub label_smoothing: f32,
    /// Seed of this step's dropout masks: node `i` draws from `Stream::new(seed, i)` at the element's index in
    /// `[batch, channels, height, width]` order.
    pub seed: u64,
}

/// The result of a training step's forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Mean cross-entropy over the batch, auxiliary losses added with their weights. May be infinite or NaN: then the
    /// gradients must not be used.
    pub value: f64,
    /// The main output in training mode: `[batch, classes]`.
    pub logits: Tensor,
}

/// Stochastic gradient descent as PyTorch defines it: `g ← g + weight_decay·w; v ← momentum·v + g;
/// w ← w − lr·v`, or with Nesterov's momentum `w ← w − lr·(g + momentum·v)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f32,
    /// Momentum; 0 for none.
    pub momentum: f32,
    /// Weight decay, applied to every learned parameter.
    pub weight_decay: f32,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

/// Why an engine could not do as it was told.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineError {
    /// The weights are not those of the graph.
    Weights(WeightsError),
    /// The images do not have the length of 1 to `batch` samples.
    Images {
        /// Elements of one sample.
        sample: usize,
        /// Most samples.
        batch: usize,
        /// Elements that were got.
        got: usize,
    },
    /// There is not one label per image.
    Labels {
        /// Number of images.
        expected: usize,
        /// Number of labels.
        got: usize,
    },
    /// A label is not a class.
    Label {
        /// Its index in the batch.
        index: usize,
        /// The label.
        label: u32,
        /// Number of classes.
        classes: usize,
    },
    /// The engine cannot run this graph this way.
    Unsupported {
        /// The node.
        node: String,
        /// What is not supported, and what to do instead.
        why: String,
    },
    /// The machine cannot do what the options ask for.
    Machine {
        /// What it lacks, and what to do instead.
        why: String,
    },
    /// The plan needs more memory than it may have.
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes allowed.
        allowed: u64,
    },
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(error) => error.fmt(f),
            Self::Images { sample, batch, got } => {
                write!(f, "expected 1 to {batch} images of {sample} values, got {got} values")
            }
            Self::Labels { expected, got } => {
                write!(f, "expected one label for each of {expected} images, got {got}")
            }
            Self::Label { index, label, classes } => {
                write!(
                    f,
                    "label {label} of image {index} is not a class: the network has {classes}"
                )
            }
            Self::Unsupported { node, why } => write!(f, "layer {node}: {why}"),
            Self::Machine { why } => f.write_str(why),
            Self::Memory { needed, allowed } => write!(
                f,
                "the plan needs {} MiB and may use {} MiB; use a smaller batch or input",
                needed >> 20,
                allowed >> 20
            ),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Weights(error) => Some(error),
            Self::Images { .. }
            | Self::Labels { .. }
            | Self::Label { .. }
            | Self::Unsupported { .. }
            | Self::Machine { .. }
            | Self::Memory { .. } => None,
        }
    }
}

impl From<WeightsError> for EngineError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(error)
    }
}

/// Something that runs a graph. Images are `[batch, channels, height, width]` in row-major order; any number of
/// samples from 1 to [`Engine::batch`] may be given.
pub trait Engine {
    /// The network it was made for.
    fn graph(&self) -> &Graph;

    /// The most samples it takes at once.
    fn batch(&self) -> usize;

    /// Takes these weights; on an error nothing changes. Momenta become zero.
    fn load(&mut self, weights: &Weights) -> Result<(), EngineError>;

    /// A copy of all parameters and buffers.
    fn weights(&self) -> Weights;

    /// Inference: dropout off, running statistics used. `keep` names activations to return.
    fn forward(&mut self, images: &[f32], keep: &[NodeId]) -> Result<Forward, EngineError>;

    /// Training mode: forward, loss and backward. Leaves the gradients in [`Engine::gradient_buffer`] and updates the
    /// running statistics of batch normalisation, but no parameter.
    fn gradients(
        &mut self,
        images: &[f32],
        labels: &[u32],
        options: &StepOptions,
    ) -> Result<Loss, EngineError>;

    /// All gradients of the last step in one piece, in an order of the engine's own: what data-parallel training
    /// reduces between [`Engine::gradients`] and [`Engine::update`].
    fn gradient_buffer(&mut self) -> &mut [f32];

    /// The gradients of the last step by parameter name.
    fn gradient_tensors(&self) -> Weights;

    /// Applies the gradients of the last step.
    fn update(&mut self, sgd: &Sgd);

    /// The momenta by parameter name.
    fn momenta(&self) -> Weights;

    /// Takes these momenta (one tensor per learned parameter); on an error nothing changes.
    fn load_momenta(&mut self, momenta: &Weights) -> Result<(), EngineError>;
}
