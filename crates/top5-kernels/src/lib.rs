//! CPU kernels on slices: the only crate with `unsafe` code.
//!
//! **Letters.** Input `N C H W`, weights `K C R S`, output `N K P Q`.
//!
//! **Layout.** An activation is stored as `[image][channel block][row][column][16]` (nChw16c): a [`Block`] holds the
//! 16 channels of one pixel, on every instruction set, and unused lanes of the last block are zero. A plane may have a
//! physical halo of zeros around it ([`Layout`]), so that windows need no edge code. A vector is a 1×1 map. Activations of
//! inference may be in bf16 instead ([`BlockBf16`]): kernels that take both are generic over [`Pixel`].
//!
//! **Rules.** Public functions are safe: they check geometry and lengths once at the door and run unchecked inside.
//! Kernels see slices and geometry, never a graph. They are generic over [`Simd`], written once, and entered through
//! [`Isa::run`], the one place where code for an instruction set starts. Work is split over outputs, or over a fixed
//! number of parts, so that results do not depend on the number of threads.
//!
//! **Kernels.** The error is what the documentation of the module allows against f64, u = 2⁻²⁴; the tests hold it on signed
//! inputs (`tests/kernels/errors.rs`, `bf16.rs`, `norm.rs`).
//!
//! | kernel | for | memory beside its operands | error |
//! |---|---|---|---|
//! | [`conv::Direct`] | any convolution, fully connected layer, data gradient | none | (n + 2)·u·Σ\|x·w\| |
//! | [`bf16::DirectBf16`] | the same in bf16 | none | the same, of rounded operands |
//! | [`winograd::Winograd`] | dense 3×3 of stride 1, and its data gradient | tiles in transit | of the transforms, see there |
//! | [`weight_gradient::WeightGradient`] | any convolution | copies of the gradient where jobs are few | (n + 2)·u·Σ\|x·dy\| |
//! | [`bf16::WeightGradientBf16`] | the same in bf16 | the same, and rounded strips | the same, of rounded operands |
//! | [`winograd::WinogradGradient`] | dense 3×3 of stride 1 | tiles in transit | of the transforms, see there |
//! | [`pool`] | maximum, mean, and gradients | none | exact; (n + 2)·u·Σ\|x\|/n |
//! | [`norm`], [`lrn`] | batch and response normalisation, and gradients | sums per plane | 10⁻⁶ of the value, gradients 10⁻⁵ |
//! | [`jpeg`] | samples and colours of decoded images | none | exact: integers |
//! | [`elementwise`], [`channels`] | activations, sums, scales, copies | none | each operation rounded once |
//! | [`optimizer`] | updates of weights, norms, averages | none | each operation rounded once, sums in f64 |

mod arena;
pub mod bf16;
mod block;
pub mod channels;
pub mod conv;
pub mod elementwise;
mod isa;
pub mod jpeg;
pub mod lrn;
mod multiply;
pub mod norm;
pub mod optimizer;
pub mod peak;
mod pixel;
pub mod pool;
mod simd;
mod threads;
pub mod transpose;
pub mod weight_gradient;
pub mod winograd;

pub use arena::Arena;
pub use block::{Block, LANES, Layout};
pub use isa::{Isa, Kernel};
pub use pixel::{BlockBf16, Pixel};
pub use simd::Simd;
pub use threads::Threads;
