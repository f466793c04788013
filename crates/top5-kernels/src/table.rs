//! The kernels of convolutions, a table for each kind, and the choice among those that can solve a problem.
//!
//! An algorithm is one file, which says all there is to say about it in an [`Algorithm`], and one line here. Where costs are
//! equal the earlier line wins.

use crate::conv::{Algorithm, Bound, Convolution, Forward, InputGradient, Problem, WeightGradient};
use crate::isa::Isa;
use crate::precision::Precision;
use crate::{direct, weight_gradient, winograd};
use std::sync::Arc;

/// Convolutions.
pub const FORWARD: [Algorithm<dyn Forward>; 5] = [
    direct::FORWARD,
    winograd::FORWARD_2,
    winograd::FORWARD_4,
    direct::FORWARD_BF16,
    direct::FORWARD_AMX,
];

/// Gradients of inputs.
pub const INPUT_GRADIENT: [Algorithm<dyn InputGradient>; 5] = [
    direct::INPUT_GRADIENT,
    winograd::INPUT_GRADIENT_2,
    winograd::INPUT_GRADIENT_4,
    direct::INPUT_GRADIENT_BF16,
    direct::INPUT_GRADIENT_AMX,
];

/// Gradients of weights.
pub const WEIGHT_GRADIENT: [Algorithm<dyn WeightGradient>; 6] = [
    weight_gradient::WEIGHT_GRADIENT,
    weight_gradient::WEIGHT_GRADIENT_GROUPED,
    winograd::WEIGHT_GRADIENT_2,
    winograd::WEIGHT_GRADIENT_4,
    weight_gradient::WEIGHT_GRADIENT_BF16,
    weight_gradient::WEIGHT_GRADIENT_AMX,
];

/// Which kernels may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Of this instruction set.
    pub isa: Isa,
    /// Bf16 if products may be of rounded operands.
    pub precision: Precision,
    /// Only those whose bound is that of sums in any order.
    pub exact: bool,
}

impl Allowed {
    fn allows<K: ?Sized>(&self, algorithm: &Algorithm<K>) -> bool {
        algorithm.precision <= self.precision
            && self.isa.multiplies(algorithm.precision)
            && (!self.exact || algorithm.bound == Bound::Sum)
    }
}

/// A kernel, and why it was chosen.
#[derive(Clone, Debug)]
pub struct Choice<K: ?Sized> {
    /// The kernel.
    pub kernel: Arc<K>,
    /// In words.
    pub why: String,
    /// The names of all that could have been chosen, in the order of the table.
    pub candidates: Vec<String>,
    /// What they cost, as estimated: their times as shares of direct convolution's in f32.
    pub costs: Vec<f64>,
}

/// The kernels of a table that may be chosen and can solve a problem, in its order.
pub fn candidates<K: ?Sized>(
    table: &[Algorithm<K>],
    allowed: &Allowed,
    problem: &Problem,
) -> Vec<Arc<K>> {
    let allowed_ones = table.iter().filter(|algorithm| allowed.allows(algorithm));
    allowed_ones.filter_map(|algorithm| (algorithm.make)(allowed.isa, problem)).collect()
}

/// Of the kernels that may be chosen the one with this name, which was measured to be the fastest, and else the one that
/// costs least.
///
/// # Panics
/// If no kernel can solve the problem: the first one of every table solves all.
pub fn choose<K: Convolution + ?Sized>(
    table: &[Algorithm<K>],
    allowed: &Allowed,
    problem: &Problem,
    measured: Option<&str>,
) -> Choice<K> {
    let kernels = candidates(table, allowed, problem);
    let costs: Vec<f64> = kernels.iter().map(|kernel| kernel.cost()).collect();
    let least = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
    let least = least.expect("direct convolution solves every problem");
    let tuned = kernels.iter().position(|kernel| measured == Some(kernel.name()));
    let why = if tuned.is_some() {
        "measured".to_owned()
    } else if kernels.len() == 1 {
        if allowed.exact { "exact" } else { "the only one" }.to_owned()
    } else {
        let cost = |(kernel, cost): (&Arc<K>, &f64)| format!("{} costs {cost:.2}", kernel.method());
        let others: Vec<String> = kernels.iter().zip(&costs).skip(1).map(cost).collect();
        format!("{} of direct", others.join(", "))
    };
    let candidates = kernels.iter().map(|kernel| kernel.name().to_owned()).collect();
    Choice { kernel: kernels[tuned.unwrap_or(least)].clone(), why, candidates, costs }
}
