//! How a device is to run what is made from it.

use crate::tuning::Tuning;
use top5_kernels::{Isa, Precision};

/// How a device is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The instruction set; the best available one if none is given.
    pub isa: Option<Isa>,
    /// Number of threads; as many as there are cores that the process may use if none is given, and no more than these.
    /// Results do not depend on it.
    pub threads: Option<usize>,
    /// Start as many threads as are asked for, also on fewer cores, where they are in each other's way. To test that results do
    /// not depend on their number.
    pub oversubscribe: bool,
    /// Direct convolution only: a little more exact, and slower.
    pub exact: bool,
    /// The precision of products of convolutions and linear layers; sums are in f32 always. Bf16 has 8 bits, of inputs and
    /// weights, where that is faster than Winograd in f32. Inference stores the activations between layers in bf16 as well,
    /// also those that a caller asks for. Training rounds what it multiplies, forward and backward, and keeps sums, weights,
    /// activations and gradients in f32. The CPU must multiply bf16 itself, or the instruction set be [`Isa::Scalar`], which
    /// does the same slowly.
    pub precision: Precision,
    /// Weights that a kernel wants transformed to more than twice their size stay as they are, and are transformed in each
    /// pass: less memory, and less speed but for the first few passes. Results are the same bits. In f32 only.
    pub compact: bool,
    /// Most bytes that the parameters and activations of one plan may take.
    pub memory_limit: Option<u64>,
    /// Kernels for inference chosen by measurement.
    pub tuning: Tuning,
}

impl Options {
    pub(crate) fn thread_count(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(available).max(1)
    }
}
