//! The interface of the kernels of convolutions: what all say about themselves, and what each of the three kinds does.
//!
//! Weights come *packed* as `[out block][in block][tap][lane][16]` ([`ConvGeom::packed_index`]). A kernel may have a form of its
//! own, into which inference brings them once.

use super::epilogue::{Input, Output};
use super::geometry::ConvGeom;
use super::problem::Problem;
use crate::block::Block;
use crate::isa::Isa;
use crate::precision::Precision;
use crate::threads::Threads;
use std::fmt;

/// What a result may be off by, against f64, with u = 2⁻²⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `(n + 2)·u·Σ|a·b|` for n products per result: the bound for sums in any order.
    Sum,
    /// The same, of operands that were rounded to bf16.
    RoundedSum,
    /// `(n + R)·u` times the sum of products with every matrix of F(m×m, 3×3) by the sizes of its entries, for n channels (of
    /// a weight gradient: tiles) and R roundings in the transforms; see [`winograd`](crate::winograd).
    Transforms {
        /// m
        side: usize,
        /// R
        roundings: usize,
    },
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => f.write_str("(n + 2)·u·Σ|a·b|"),
            Self::RoundedSum => f.write_str("(n + 2)·u·Σ|a·b| of rounded operands"),
            Self::Transforms { roundings, .. } => {
                write!(f, "(n + {roundings})·u·Σ of the transforms' sizes")
            }
        }
    }
}

/// What a kernel is, and what it was made for.
#[derive(Clone, Debug)]
pub struct Identity {
    /// With precision, method and instruction set: `f32_conv_direct_2x14_avx512`.
    pub name: String,
    /// In explanations of a choice.
    pub method: &'static str,
    /// What it is compiled for.
    pub isa: Isa,
    /// What it multiplies.
    pub precision: Precision,
    /// The loop nest that it runs.
    pub problem: Problem,
}

/// A kernel of any kind.
pub trait Convolution: fmt::Debug + Send + Sync {
    /// What it is.
    fn identity(&self) -> &Identity;
    /// Its name.
    fn name(&self) -> &str {
        &self.identity().name
    }
    /// The method, in explanations of a choice.
    fn method(&self) -> &'static str {
        self.identity().method
    }
    /// What it is compiled for.
    fn isa(&self) -> Isa {
        self.identity().isa
    }
    /// What it multiplies.
    fn precision(&self) -> Precision {
        self.identity().precision
    }
    /// What it was made for.
    fn problem(&self) -> &Problem {
        &self.identity().problem
    }
    /// Its time as a share of that of direct convolution in f32, as estimated.
    fn cost(&self) -> f64;
    /// What its results may be off by.
    fn bound(&self) -> Bound;
    /// Blocks of scratch memory with this many threads.
    fn workspace(&self, threads: usize) -> usize;
}

/// A convolution.
pub trait Forward: Convolution {
    /// Whether it reads inputs in this precision.
    fn reads(&self, input: Precision) -> bool;
    /// Whether it writes results in this precision.
    fn writes(&self, output: Precision) -> bool;
    /// Whether weights are brought into a form of its own first, by [`Forward::pack`]. Never while training, when they are
    /// transformed in each run.
    fn packs(&self) -> bool;
    /// Blocks of the weights that it reads.
    fn packed_len(&self) -> usize;
    /// From packed weights to the form that it reads.
    fn pack(&self, threads: &Threads, weights: &[Block], own: &mut [Block]);
    /// Computes `n` images.
    ///
    /// # Panics
    /// If an operand is too short for the geometry, or in a precision that this kernel does not know.
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: Input<'_>,
        weights: &[Block],
        work: &mut [Block],
        y: Output<'_>,
    );
}

/// The weights of a convolution, for one loop nest of its backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Transposed<'a> {
    /// The loop nest of the forward pass, over channel blocks.
    pub forward: &'a ConvGeom,
    /// Its packed weights.
    pub weights: &'a [Block],
    /// The taps of `forward` that the taps at hand stand for.
    pub elements: &'a [usize],
}

/// The gradient of a convolution's input, or that of the positions of one residue of the stride: a loop nest from the gradient
/// of the output.
pub trait InputGradient: Convolution {
    /// The precision in which it reads the gradient of the output.
    fn reads(&self) -> Precision;
    /// Blocks for weights with inputs and outputs swapped, with this many threads; 0 if they are swapped on the way.
    fn transposed_len(&self, threads: usize) -> usize;
    /// Writes the gradient of `n` images, or adds it. `transposed` has [`InputGradient::transposed_len`] blocks.
    ///
    /// # Panics
    /// If an operand is too short for the geometry.
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        dy: Input<'_>,
        weights: &Transposed<'_>,
        accumulate: bool,
        work: &mut [Block],
        transposed: &mut [Block],
        dx: &mut [Block],
    );
}

/// The gradient of a convolution's weights: of the loop nest of the forward pass, whose `y` is where the gradient of the
/// output is.
pub trait WeightGradient: Convolution {
    /// Writes the packed gradient of `n` images to `dw`. Places of `dw` that hold no weight become zero; those of weights
    /// between groups become any numbers.
    ///
    /// # Panics
    /// If an operand is too short for the geometry.
    fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    );
}
