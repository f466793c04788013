//! The CPU engine: a graph lowered to steps over the kernels of `top5-kernels`.
//!
//! ```text
//! Graph ──passes──▶ steps over buffers ──memory──▶ offsets in one arena ──run──▶ results
//! ```
//!
//! Everything is decided when the plan is made: which ops are fused, which kernel runs, how large each halo is, where
//! each buffer lies. A run allocates nothing but what it returns. For inference, batch normalisation is folded into
//! the convolution before it, and bias, residual sum and ReLU into its epilogue; training keeps what its backward pass
//! needs, in one arena as well.
//!
//! With [`Precision::Bf16`], inference multiplies in bfloat16 where the cost model says that it is faster: an activation
//! is rounded once for all steps that read it so, weights when they are loaded, and everything else stays in f32.

#![forbid(unsafe_code)]

mod buckets;
mod buffer;
#[cfg(test)]
mod check;
mod choose;
mod device;
mod geometry;
mod ir;
mod levels;
mod loss;
mod memory;
mod network;
mod optimizer;
mod options;
mod packed;
mod pass;
mod purpose;
mod run;
mod session;
mod statistics;
mod step;
mod summary;
mod training;
mod tuning;
mod turn;

pub use device::{CpuDevice, plan};
pub use network::CpuNetwork;
pub use options::Options;
pub use purpose::Mode;
pub use session::CpuSession;
pub use summary::{Choice, PlanSummary, PlannedStep};
pub use top5_kernels::{Isa, Precision};
pub use training::CpuTraining;
pub use tuning::{LayerShape, Tuning};
