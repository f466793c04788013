//! The one place that knows which engine runs the networks.

use top5_cpu::{CpuEngine, Options};
use top5_graph::{EngineError, Graph};

/// An engine for up to `batch` images at once, with all parameters zero. Fails where the plan needs more memory than it
/// may have.
pub fn engine(graph: Graph, batch: usize, options: &Options) -> Result<CpuEngine, EngineError> {
    CpuEngine::new(graph, batch, options)
}
