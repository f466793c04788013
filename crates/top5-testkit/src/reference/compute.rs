//! What the definition of an op in arithmetic is given, and what it gives.

use super::array::Array;
use super::moments::Moments;
use top5_graph::random::Stream;
use top5_graph::{EngineError, Node, Rule, Statistics, Stop};

/// What a pass depends on beside images and parameters.
#[derive(Clone, Copy)]
pub(super) struct Mode<'a> {
    pub(super) statistics: Statistics,
    /// Of the dropout masks; without one nothing is dropped.
    pub(super) seed: Option<u64>,
    /// The first image's place among those that the masks are drawn for.
    pub(super) first: usize,
    pub(super) rule: Rule,
    pub(super) stop: Option<&'a Stop>,
}

impl Mode<'_> {
    /// As at inference.
    pub(super) fn inference() -> Self {
        let (statistics, rule) = (Statistics::Running, Rule::gradient());
        Self { statistics, seed: None, first: 0, rule, stop: None }
    }

    pub(super) fn go_on(&self) -> Result<(), EngineError> {
        if self.stop.is_some_and(Stop::is_set) { Err(EngineError::Stopped) } else { Ok(()) }
    }
}

/// An op's definition in arithmetic.
pub(super) trait Compute {
    /// The output.
    fn forward(&self, at: &At<'_>) -> Array;

    /// Writes the gradients of inputs and parameters, which come in zero, given that of the output.
    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>);
}

/// What a node computes with.
pub(super) struct At<'a> {
    pub(super) node: &'a Node,
    pub(super) inputs: &'a [&'a Array],
    pub(super) params: &'a [Vec<f64>],
    pub(super) moments: Option<&'a Moments>,
    pub(super) mode: &'a Mode<'a>,
}

/// The gradients of a node's inputs and parameters.
pub(super) struct Gradients<'a> {
    pub(super) inputs: &'a mut [Array],
    pub(super) params: &'a mut [Vec<f64>],
}

impl<'a> At<'a> {
    /// The first input.
    pub(super) fn x(&self) -> &'a Array {
        self.inputs[0]
    }

    /// Zeros in the output's place.
    pub(super) fn zeros(&self) -> Array {
        Array::zeros(self.x().n, self.node.shape())
    }

    /// The node's draws, where something is dropped.
    pub(super) fn stream(&self) -> Option<Stream> {
        self.mode.seed.map(|seed| Stream::new(seed, self.node.id.index() as u64))
    }
}
