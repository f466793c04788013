//! Convolutions: the geometry of their loop nests, and the interface of the kernels that compute them.
//!
//! There are three kinds of kernel ([`Forward`], [`InputGradient`], [`WeightGradient`]). A kernel is made for one [`Problem`]; who can
//! make which is listed in [`table`](crate::table).
//!
//! What differs between the uses of a kernel is only where things are, so a [`ConvNest`] holds strides and a list of tap
//! offsets:
//!
//! - a convolution has one tap per kernel element, and reads a halo instead of testing for edges;
//! - a first layer reads plain planes: its blocks are the input channels, its taps the kernel's rows, its lanes the
//!   kernel's columns, which are contiguous in memory;
//! - a fully connected layer is a 1×1 convolution whose row of pixels is the batch;
//! - the gradient with respect to the input is a convolution over the output's gradient with transposed weights; for a
//!   stride s it is s² of them (one per residue of the position), each writing every s-th pixel;
//! - groups that are no whole blocks are packed with zeros between them, which direct convolution skips.

mod algorithm;
mod epilogue;
mod geometry;
mod kernel;
mod problem;

pub use algorithm::Algorithm;
pub use epilogue::{Epilogue, Input, Output};
pub use geometry::{ConvGeom, ConvNest, GeomError, Group, LARGEST, Strides};
pub(crate) use geometry::{MOST_GROUPED, MOST_INPUTS, MOST_SOURCES};
pub use kernel::{
    Bound, Convolution, Forward, Identity, InputGradient, Transposed, WeightGradient,
};
pub use problem::Problem;
