//! The one place that knows which engine runs the networks.

use top5_cpu::{CpuDevice, Options};
use top5_graph::EngineError;

/// What computes: one for all networks, sessions and training of a process, so that they share its threads. Fails where the
/// machine lacks what the options ask for.
pub fn device(options: &Options) -> Result<CpuDevice, EngineError> {
    CpuDevice::new(options)
}
