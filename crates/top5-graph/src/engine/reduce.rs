//! What data-parallel training does between processes while a step runs.
//!
//! ```text
//! forward    ── statistics(norm 1) ── statistics(norm 2) ── …          sums over all processes, one by one
//! backward   ── statistics(norm 2) ── ready(bucket) ── statistics(norm 1) ── ready(bucket) ──▶ finish
//!                                        └─ reduced on another thread while the pass goes on
//! ```
//!
//! Every process makes the same calls in the same order.

use super::EngineError;
use crate::graph::NodeId;
use std::any::Any;
use std::fmt;

/// Reduces over processes. After an error, or a step that was stopped, `finish` is not called: what was handed over is
/// given up.
pub trait Reducer {
    /// Whether batch normalisation is to be over the images of all processes: [`Reducer::statistics`] is called then.
    fn synchronises(&self) -> bool {
        false
    }

    /// Adds `sums` over all processes, in place. Forward they are the count, then per channel the sum, then per channel
    /// the sum of squares of what `node` normalises; backward the count, then per channel the sum of the gradients, then
    /// per channel that of the gradients times the normalised values.
    fn statistics(&mut self, node: NodeId, sums: &mut [f64]) -> Result<(), EngineError> {
        let _ = (node, sums);
        Ok(())
    }

    /// Takes a bucket of gradients that is final, to be reduced while the backward pass goes on.
    fn ready(&mut self, bucket: Bucket) -> Result<(), EngineError>;

    /// Gives back every bucket that was taken, in any order, when it is reduced.
    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError>;
}

/// Gradients of some parameters, in an order of the engine's own, the same in every process.
pub struct Bucket {
    /// Its number: 0 for the first parameters of the network. The last ones are ready first.
    pub index: usize,
    /// Its memory.
    pub values: Box<dyn Values>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {} of {} values", self.index, self.values.values().len())
    }
}

/// Memory of an engine's own, moved through a reducer and back.
pub trait Values: Any + Send {
    /// The gradients.
    fn values(&self) -> &[f32];
    /// The gradients, to be changed in place.
    fn values_mut(&mut self) -> &mut [f32];
}

impl Values for Vec<f32> {
    fn values(&self) -> &[f32] {
        self
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self
    }
}
