//! A line of a table of kernels.

use super::kernel::Bound;
use super::problem::Problem;
use crate::isa::Isa;
use crate::precision::Precision;
use std::sync::Arc;

/// A way to compute a kind of convolution.
#[derive(Debug)]
pub struct Algorithm<K: ?Sized> {
    /// The middle of the names of its kernels.
    pub name: &'static str,
    /// What it multiplies.
    pub precision: Precision,
    /// What it can compute, in words.
    pub serves: &'static str,
    /// The memory that it takes beside its operands, in words.
    pub memory: &'static str,
    /// What results may be off by.
    pub bound: Bound,
    /// The kernel for a problem, if it can solve it.
    pub make: fn(Isa, &Problem) -> Option<Arc<K>>,
}
