//! A plan without addresses: buffers, and the steps that read and write them.

use crate::buffer::{BufferId, Buffers};
use crate::packed::{PackedParams, ParamId};
use crate::step::Kernel;
use top5_graph::NodeId;

/// One call of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The layer it belongs to.
    pub(crate) node: NodeId,
    pub(crate) kernel: Kernel,
    /// Nothing has been written to the result before: it is overwritten. Otherwise it is added to, or changed in place.
    pub(crate) fresh: bool,
}

/// A plan without addresses.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) buffers: Buffers,
    pub(crate) steps: Vec<Step>,
    pub(crate) packed: PackedParams,
    /// Blocks of the packed parameters that are learned: its first part.
    pub(crate) learned: usize,
    /// The activations that are shown and the outputs: what is read when the steps are done.
    pub(crate) results: Vec<(NodeId, BufferId)>,
    /// The first steps, which one run is: all, but for those backward from a node, which are run apart.
    pub(crate) forward: usize,
    /// What those end in, for each node that they go to; nothing where no path leads there.
    pub(crate) signals: Vec<Option<BufferId>>,
}

impl Program {
    /// For each step the parameters whose gradients it writes.
    pub(crate) fn gradients(&self) -> Vec<Vec<ParamId>> {
        self.steps.iter().map(|step| step.kernel.gradients().collect()).collect()
    }
}
