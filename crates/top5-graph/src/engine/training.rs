//! Training: the one that owns its parameters.

use super::{EngineError, Network, Reducer, Retain, Stop, Targets};
use crate::graph::Graph;
use crate::optimizer::Update;
use crate::tensor::Tensor;
use crate::weights::Weights;
use std::sync::Arc;

/// How training is to run.
#[derive(Clone, Debug)]
pub struct TrainingOptions {
    /// The most samples of a step.
    pub batch: usize,
    /// Bytes of gradients after which a bucket is handed to the reducer.
    pub bucket: usize,
    /// What published networks keep beside their packed weights.
    pub retain: Retain,
    /// A flag that ends a step early.
    pub stop: Option<Stop>,
}

impl TrainingOptions {
    /// Steps of up to `batch` samples, buckets of 25 MiB, published networks that keep nothing.
    pub fn new(batch: usize) -> Self {
        Self { batch, bucket: 25 << 20, retain: Retain::Nothing, stop: None }
    }
}

/// What one training step depends on beside images, targets and weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// Share of the target that is spread evenly over all classes (Szegedy et al., CVPR 2016, section 7).
    pub label_smoothing: f32,
    /// Seed of this step's dropout masks: node `i` draws from `Stream::new(seed, i)` at the element's index in
    /// `[n, channels, height, width]` order.
    pub seed: u64,
    /// The place of the first image in the step's whole batch, from which images are counted in that index. So batches that
    /// count as one, on one engine or on several, have the masks of that one.
    pub first: usize,
    /// Factor of the gradients; not of the loss that is returned. Where k batches count as one it is 1/k.
    pub scale: f32,
    /// Whether the gradients are added to those of the last step.
    pub accumulate: bool,
}

impl StepOptions {
    /// A step of its own, without label smoothing.
    pub fn new(seed: u64) -> Self {
        Self { label_smoothing: 0.0, seed, first: 0, scale: 1.0, accumulate: false }
    }
}

/// The result of a training step's forward and backward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Mean cross-entropy over the batch, auxiliary losses added with their weights.
    pub value: f64,
    /// The main output in training mode: `[n, classes]`.
    pub logits: Tensor,
    /// Whether the loss and every gradient are finite: if not, the gradients must not be used.
    pub finite: bool,
}

/// A network that learns. It owns its parameters, their gradients and the state of the optimiser.
pub trait Training: Send {
    /// The network.
    fn graph(&self) -> &Graph;

    /// The most samples of a step.
    fn batch(&self) -> usize;

    /// Takes these weights; on an error nothing changes. The optimiser begins anew.
    fn load(&mut self, weights: &Weights) -> Result<(), EngineError>;

    /// A copy of all parameters and buffers.
    fn weights(&self) -> Weights;

    /// Forward with the batch's statistics and dropout, loss, and backward. Leaves the gradients for
    /// [`Training::update`] and lets the running statistics follow, but changes no parameter. Images are as in
    /// [`Session`](super::Session). A call that fails, or is stopped, changes no parameter, no running statistics and no
    /// state of the optimiser; the gradients are then unspecified.
    fn gradients(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        reducer: Option<&mut dyn Reducer>,
    ) -> Result<Loss, EngineError>;

    /// The gradients of the last step by parameter name.
    fn gradient_tensors(&self) -> Weights;

    /// Changes the weights by the gradients of the last step. What the optimiser keeps begins where there is none of that
    /// name yet, and what this update does not name is given up.
    fn update(&mut self, update: &Update);

    /// What the optimiser keeps, as `exp_avg/conv1.weight` (see [`StateName`](crate::StateName)).
    fn state(&self) -> Weights;

    /// Takes what another training's [`Training::state`] gave, in the place of all that it keeps; on an error nothing
    /// changes.
    fn load_state(&mut self, state: &Weights) -> Result<(), EngineError>;

    /// The network that validation reads: today's weights, packed when this is called. It is the same network each time,
    /// loaded anew.
    fn publish(&mut self) -> Result<Arc<dyn Network>, EngineError>;
}
