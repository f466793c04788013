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
//! [`Isa::run`], the one door to code for an instruction set; within, [`Simd::run`] gives each shape of a tile a function of
//! its own. Work is split over outputs, or over a fixed number of parts, so that results do not depend on the number of threads.
//!
//! **Convolutions** have several algorithms in two precisions. [`conv`] is their interface, one for each kind, and [`table`]
//! lists them; `docs/kernels.md` is written from it. What they have in common is checked in one place each: the sizes of a
//! loop nest by [`conv::ConvGeom`], lengths of operands when a kernel runs.
//!
//! **Other kernels.** The error is what the documentation of the module allows against f64, u = 2⁻²⁴; the tests hold it on
//! signed inputs.
//!
//! | kernel | for | memory beside its operands | error |
//! |---|---|---|---|
//! | [`pool`] | maximum, mean, and gradients | none | exact; (n + 2)·u·Σ\|x\|/n |
//! | [`norm`], [`lrn`] | batch and response normalisation, and gradients | sums per plane | 10⁻⁶ of the value, gradients 10⁻⁵ |
//! | [`bias_gradient`] | gradients of biases | a block per plane | (n + 2)·u·Σ\|dy\| |
//! | [`jpeg`] | samples and colours of decoded images | none | exact: integers |
//! | [`elementwise`], [`channels`], [`convert`] | activations, sums, scales, copies, rounding | none | each operation rounded once |
//! | [`optimizer`] | updates of weights, norms, averages | none | each operation rounded once, sums in f64 |

mod arena;
mod bf16;
pub mod bias_gradient;
mod block;
pub mod channels;
pub mod conv;
pub mod convert;
pub mod direct;
mod element;
pub mod elementwise;
mod isa;
pub mod jpeg;
mod lines;
pub mod lrn;
pub mod norm;
pub mod optimizer;
pub mod peak;
mod pixel;
pub mod pool;
mod precision;
mod simd;
pub mod table;
mod threads;
mod transpose;
pub mod weight_gradient;
pub mod winograd;

pub use arena::Arena;
pub use bf16::Bf16;
pub use block::{Block, BlockBf16, LANES, Layout};
pub use isa::Isa;
pub use pixel::Pixel;
pub use precision::Precision;
pub use simd::{Kernel, Simd};
pub use threads::Threads;
