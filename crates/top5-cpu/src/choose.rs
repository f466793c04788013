//! Which convolution kernel runs where.

use crate::lower::Mode;
use crate::tuning::{LayerShape, Tuning};
use top5_kernels::conv::{ConvGeom, Direct};
use top5_kernels::weight_gradient::WeightGradient;
use top5_kernels::winograd::{Winograd, WinogradGradient};
use top5_kernels::{Block, Isa, LANES, Threads};

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

/// A kernel for the gradient of a convolution's weights.
#[derive(Clone, Debug)]
pub(crate) enum GradientKernel {
    Direct(WeightGradient),
    Winograd(WinogradGradient),
}

impl Machinery {
    /// For plans of this mode. Measured choices are for inference, which transforms its weights beforehand.
    pub(crate) fn in_mode(&self, mode: Mode) -> Self {
        match mode {
            Mode::Inference => self.clone(),
            Mode::Training => Self { tuning: Tuning::default(), ..self.clone() },
        }
    }

    /// The kernel for a loop nest.
    pub(crate) fn choose(&self, geom: &ConvGeom) -> ConvKernel {
        self.consider(geom).0
    }

    /// The kernel for a loop nest, and why.
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
        let cost = self.cost(geom);
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

    /// The kernel for the gradient of a convolution's weights.
    pub(crate) fn choose_gradient(&self, geom: ConvGeom) -> GradientKernel {
        let pays = !self.exact && self.cost(&geom) < 1.0;
        match WinogradGradient::new(self.isa, geom.clone(), self.batch) {
            Some(winograd) if pays => GradientKernel::Winograd(winograd),
            Some(_) | None => GradientKernel::Direct(WeightGradient::new(self.isa, geom)),
        }
    }

    /// The cost of Winograd's algorithm relative to that of direct convolution.
    ///
    /// The transforms cost a fixed number of operations per channel of input and output, the products 36 per channel pair
    /// and tile of 16 outputs, of which ragged edges use a part; the direct kernel needs 9 per channel pair and output.
    /// Transformed weights are four times as large, and each chunk of tiles reads them once.
    fn cost(&self, geom: &ConvGeom) -> f64 {
        let tiles = (geom.rows.div_ceil(4) * geom.cols.div_ceil(4) * self.batch) as f64;
        let [inputs, outputs] = [geom.blocks, geom.out_blocks()].map(|b| (b * LANES) as f64);
        let direct = (9 * geom.rows * geom.cols * self.batch) as f64 * inputs * outputs;
        let products = 36.0 * tiles * inputs * outputs;
        let transforms = 36.0 * tiles * (6.0 * inputs + 6.0 * outputs);
        let weights = 36.0 * 4.0 * inputs * outputs;
        (products + transforms + weights) / direct
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

    /// Blocks of scratch memory, with weights in a form of its own or packed for direct convolution.
    pub(crate) fn workspace(&self, threads: usize, transformed: bool) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Winograd(kernel) if transformed => kernel.workspace(threads),
            Self::Winograd(kernel) => kernel.direct_workspace(threads),
        }
    }
}

impl ConvKernel {
    /// Blocks of the weights of a backward pass, if it does not swap inputs and outputs on the way.
    pub(crate) fn transposed_len(&self) -> usize {
        match self {
            Self::Direct(kernel) => kernel.geom().packed_len(),
            Self::Winograd(_) => 0,
        }
    }
}

impl GradientKernel {
    /// Its name, as in tables of plans.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Direct(kernel) => kernel.name(),
            Self::Winograd(kernel) => kernel.name(),
        }
    }

    /// Blocks of scratch memory.
    pub(crate) fn workspace(&self, threads: usize) -> usize {
        match self {
            Self::Direct(kernel) => kernel.workspace(usize::MAX),
            Self::Winograd(kernel) => kernel.workspace(threads),
        }
    }

    /// Writes the packed gradient of the weights to `dw`.
    pub(crate) fn run(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        dy: &[Block],
        work: &mut [Block],
        dw: &mut [Block],
    ) {
        match self {
            Self::Direct(kernel) => kernel.run(threads, n, Block::flat(x), dy, work, dw),
            Self::Winograd(kernel) => kernel.run(threads, n, x, dy, work, dw),
        }
    }
}
