//! Which convolution kernel runs where.

use crate::tuning::{LayerShape, Tuning};
use top5_kernels::conv::{ConvGeom, Direct};
use top5_kernels::winograd::Winograd;
use top5_kernels::{Isa, LANES};

/// What plans are made for.
#[derive(Clone, Debug)]
pub(crate) struct Machinery {
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    /// Most images at once.
    pub(crate) batch: usize,
    /// Direct convolution only.
    pub(crate) exact: bool,
    /// Choices that go before ours.
    pub(crate) tuning: Tuning,
}

/// A convolution kernel.
#[derive(Clone, Debug)]
pub(crate) enum ConvKernel {
    Direct(Direct),
    Winograd(Winograd),
}

impl Machinery {
    /// The kernel for a loop nest.
    pub(crate) fn choose(&self, geom: &ConvGeom) -> ConvKernel {
        self.consider(geom).0
    }

    /// The kernel for a loop nest, and why.
    ///
    /// Winograd's transforms cost a fixed number of operations per channel of input and output, its products 36 per
    /// channel pair and tile of 16 outputs, of which ragged edges use a part; the direct kernel needs 9 per channel
    /// pair and output. Transformed weights are four times as large, and each chunk of tiles reads them once.
    pub(crate) fn consider(&self, geom: &ConvGeom) -> (ConvKernel, String) {
        let candidates = self.candidates(geom);
        let tuned = self.tuning.kernel(&LayerShape::new(geom, self.batch));
        if let Some(kernel) = candidates.iter().find(|kernel| tuned == Some(kernel.name())) {
            return (kernel.clone(), "measured".to_owned());
        }
        let [ConvKernel::Direct(_), ConvKernel::Winograd(_)] = &candidates[..] else {
            let only = candidates.into_iter().next().expect("direct convolution runs anything");
            let why = if self.exact { "exact" } else { "the only one" };
            return (only, why.to_owned());
        };
        let tiles = (geom.rows.div_ceil(4) * geom.cols.div_ceil(4) * self.batch) as f64;
        let [inputs, outputs] = [geom.blocks, geom.out_blocks()].map(|b| (b * LANES) as f64);
        let direct_cost = (9 * geom.rows * geom.cols * self.batch) as f64 * inputs * outputs;
        let products = 36.0 * tiles * inputs * outputs;
        let transforms = 36.0 * tiles * (6.0 * inputs + 6.0 * outputs);
        let weights = 36.0 * 4.0 * inputs * outputs;
        let cost = (products + transforms + weights) / direct_cost;
        let why = format!("Winograd costs {cost:.2} of direct");
        let [direct, winograd] = candidates.try_into().expect("matched above");
        (if cost < 1.0 { winograd } else { direct }, why)
    }

    /// The kernels that can run a loop nest, the direct one first.
    pub(crate) fn candidates(&self, geom: &ConvGeom) -> Vec<ConvKernel> {
        let mut kernels = vec![ConvKernel::Direct(Direct::new(self.isa, geom.clone()))];
        if !self.exact {
            let winograd = Winograd::new(self.isa, geom.clone(), self.batch);
            kernels.extend(winograd.map(ConvKernel::Winograd));
        }
        kernels
    }
}

impl ConvKernel {
    /// Its name, as in tables of plans.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Direct(kernel) => kernel.name(),
            Self::Winograd(kernel) => kernel.name(),
        }
    }

    pub(crate) fn geom(&self) -> &ConvGeom {
        match self {
            Self::Direct(kernel) => kernel.geom(),
            Self::Winograd(kernel) => kernel.geom(),
        }
    }

    /// Blocks of scratch memory.
    pub(crate) fn workspace(&self, threads: usize) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Winograd(kernel) => kernel.workspace(threads),
        }
    }

    /// Blocks of weights in a form of its own; 0 if it reads those packed for direct convolution.
    pub(crate) fn transformed_len(&self) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Winograd(kernel) => kernel.packed_len(),
        }
    }
}
