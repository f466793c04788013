//! Which convolution kernel runs where.

use crate::purpose::Mode;
use crate::tuning::{LayerShape, Tuning};
use top5_kernels::bf16::{Bf16Isa, DirectBf16, WeightGradientBf16};
use top5_kernels::conv::{ConvGeom, Direct};
use top5_kernels::weight_gradient::WeightGradient;
use top5_kernels::winograd::{Tile, Winograd, WinogradGradient};
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
    /// No weights are kept in a form that is much larger.
    pub(crate) compact: bool,
    /// Who multiplies bf16, if plans may use it.
    pub(crate) bf16: Option<Bf16Isa>,
    /// Choices that go before ours in inference, which transforms its weights beforehand.
    pub(crate) tuning: Tuning,
    /// Training keeps activations in f32, and changes weights from run to run.
    pub(crate) mode: Mode,
}

/// A convolution kernel.
#[derive(Clone, Debug)]
pub(crate) enum ConvKernel {
    Direct(Direct),
    Winograd(Winograd),
    /// Reads its input in bf16.
    Bf16(DirectBf16),
}

/// A kernel for the gradient of a convolution's weights.
#[derive(Clone, Debug)]
pub(crate) enum GradientKernel {
    Direct(WeightGradient),
    Winograd(WinogradGradient),
    Bf16(WeightGradientBf16),
}

impl Machinery {
    /// The same for plans of this mode and batch.
    pub(crate) fn for_plan(&self, batch: usize, mode: Mode) -> Self {
        Self { batch: batch.max(1), mode, ..self.clone() }
    }

    /// The kernel for a loop nest.
    pub(crate) fn choose(&self, geom: &ConvGeom) -> ConvKernel {
        self.consider(geom).0
    }

    /// The kernel for a loop nest, and why.
    pub(crate) fn consider(&self, geom: &ConvGeom) -> (ConvKernel, String) {
        let mut candidates = self.candidates(geom);
        let tuned = match self.mode {
            Mode::Inference => self.tuning.kernel(&LayerShape::new(geom, self.batch)),
            Mode::Training => None,
        };
        if let Some(kernel) = candidates.iter().find(|kernel| tuned == Some(kernel.name())) {
            return (kernel.clone(), "measured".to_owned());
        }
        if candidates.len() == 1 {
            let only = candidates.remove(0);
            return (only, if self.exact { "exact" } else { "the only one" }.to_owned());
        }
        let costs: Vec<f64> = candidates.iter().map(|kernel| self.cost(kernel)).collect();
        let cost =
            |(kernel, cost): (&ConvKernel, &f64)| format!("{} costs {cost:.2}", kernel.method());
        let others: Vec<String> = candidates.iter().zip(&costs).skip(1).map(cost).collect();
        let best = (0..costs.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b])).unwrap_or(0);
        (candidates.swap_remove(best), format!("{} of direct", others.join(", ")))
    }

    /// The cost of a kernel relative to that of direct convolution. In bf16 two products cost as much as one, but while
    /// training the input is rounded first. Winograd's algorithm has no groups.
    fn cost(&self, kernel: &ConvKernel) -> f64 {
        let geom = kernel.geom();
        match kernel {
            ConvKernel::Direct(_) => 1.0,
            ConvKernel::Winograd(kernel) => {
                self.winograd_cost(geom, kernel.tile()) * (LANES / geom.group) as f64
            }
            ConvKernel::Bf16(_) => {
                let pairs = geom.lanes.div_ceil(2) as f64 / geom.lanes as f64;
                let rounded = match self.mode {
                    Mode::Inference => 0,
                    Mode::Training => geom.x.image,
                };
                pairs + 6.0 * rounded as f64 / geom.macs() as f64
            }
        }
    }

    /// The kernels that can run a loop nest, the direct one first.
    pub(crate) fn candidates(&self, geom: &ConvGeom) -> Vec<ConvKernel> {
        let mut kernels = vec![ConvKernel::Direct(Direct::new(self.isa, geom.clone()))];
        if !self.exact {
            for tile in Tile::ALL {
                let winograd = Winograd::new(self.isa, geom.clone(), self.batch, tile);
                kernels.extend(winograd.map(ConvKernel::Winograd));
            }
            let bf16 = self.bf16.map(|isa| DirectBf16::new(isa, geom.clone()));
            let bf16 = bf16.filter(DirectBf16::stays_within_image);
            kernels.extend(bf16.map(ConvKernel::Bf16));
        }
        kernels
    }

    /// The kernel for the gradient of a convolution's weights.
    pub(crate) fn choose_gradient(&self, geom: ConvGeom) -> GradientKernel {
        let direct = WeightGradient::new(self.isa, geom.clone());
        let mut kernels = vec![(1.0, GradientKernel::Direct(direct))];
        if !self.exact {
            for tile in Tile::ALL {
                let cost = self.winograd_cost(&geom, tile);
                let kernel = WinogradGradient::new(self.isa, geom.clone(), self.batch, tile);
                kernels.extend(kernel.map(|kernel| (cost, GradientKernel::Winograd(kernel))));
            }
            let bf16 = self.bf16.map(|isa| WeightGradientBf16::new(isa, geom));
            kernels.extend(
                bf16.map(|kernel| (self.paired_cost(&kernel), GradientKernel::Bf16(kernel))),
            );
        }
        kernels.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        kernels.swap_remove(0).1
    }

    /// The cost of a weight gradient in bf16 relative to that of one in f32: images are multiplied in pairs, which are
    /// rounded first.
    fn paired_cost(&self, kernel: &WeightGradientBf16) -> f64 {
        let pairs = self.batch.div_ceil(2) as f64 / self.batch as f64;
        pairs + ROUNDING * kernel.roundings()
    }

    /// The cost of Winograd's algorithm relative to that of direct convolution.
    ///
    /// The transforms cost a fixed number of operations per channel of input and output, the products one per position,
    /// channel pair and tile, of which ragged edges use a part; the direct kernel needs 9 per channel pair and output.
    /// Transformed weights are larger, and all weights come from memory once: for a few tiles that is most of the time.
    fn winograd_cost(&self, geom: &ConvGeom, tile: Tile) -> f64 {
        let [down, across] = [geom.rows, geom.cols].map(|size| size.div_ceil(tile.side()));
        let batch = self.batch as f64;
        let tiles = (down * across) as f64 * batch;
        let positions = tile.positions() as f64;
        let [inputs, outputs] = [geom.blocks, geom.out_blocks()].map(|b| (b * LANES) as f64);
        let pairs = inputs * outputs;
        let direct = (9 * geom.rows * geom.cols) as f64 * batch * pairs;
        let transforms = TRANSFORM * positions * tiles * (inputs + outputs);
        let winograd = positions * tiles * pairs + transforms;
        (winograd + positions * WEIGHT * pairs) / (direct + 9.0 * WEIGHT * pairs)
    }
}

/// Multiply-accumulates in the time that a weight takes to come from memory, on two cores with AVX-512.
const WEIGHT: f64 = 12.0;

/// Multiply-accumulates in the time that an element of a transformed tile takes to be made, written, and read again.
const TRANSFORM: f64 = 16.0;

/// Multiply-adds of f32 in the time that a vector takes to be rounded, stored and read again.
const ROUNDING: f64 = 8.0;

impl ConvKernel {
    /// The method, in explanations.
    pub(crate) fn method(&self) -> &'static str {
        match self {
            Self::Direct(_) => "direct",
            Self::Winograd(kernel) => match kernel.tile() {
                Tile::Two => "F(2×2, 3×3)",
                Tile::Four => "F(4×4, 3×3)",
            },
            Self::Bf16(_) => "bf16",
        }
    }

    /// Whether its own form is so much larger that a compact plan does without.
    pub(crate) fn inflates(&self) -> bool {
        self.transformed_len() > 2 * self.geom().packed_len()
    }

    /// Its name, as in tables of plans.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Direct(kernel) => kernel.name(),
            Self::Winograd(kernel) => kernel.name(),
            Self::Bf16(kernel) => kernel.name(),
        }
    }

    pub(crate) fn geom(&self) -> &ConvGeom {
        match self {
            Self::Direct(kernel) => kernel.geom(),
            Self::Winograd(kernel) => kernel.geom(),
            Self::Bf16(kernel) => kernel.geom(),
        }
    }

    /// Blocks of scratch memory, with weights in a form of its own or packed for direct convolution.
    pub(crate) fn workspace(&self, threads: usize, transformed: bool) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Winograd(kernel) if transformed => kernel.workspace(threads),
            Self::Winograd(kernel) => kernel.direct_workspace(threads),
            Self::Bf16(_) if transformed => 0,
            Self::Bf16(kernel) => kernel.packed_len(),
        }
    }

    /// Blocks of weights in a form of its own; 0 if it reads those packed for direct convolution.
    pub(crate) fn transformed_len(&self) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Winograd(kernel) => kernel.packed_len(),
            Self::Bf16(kernel) => kernel.packed_len(),
        }
    }

    /// From weights packed for direct convolution to that form.
    pub(crate) fn transform(&self, threads: &Threads, weights: &[Block], own: &mut [Block]) {
        match self {
            Self::Direct(_) => {}
            Self::Winograd(kernel) => kernel.pack(threads, weights, own),
            Self::Bf16(kernel) => kernel.pack(threads, weights, own),
        }
    }

    /// Blocks of the weights of a backward pass, if it does not swap inputs and outputs on the way.
    pub(crate) fn transposed_len(&self) -> usize {
        match self {
            Self::Direct(_) | Self::Bf16(_) => self.geom().packed_len(),
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
            Self::Bf16(kernel) => kernel.name(),
        }
    }

    /// Blocks of scratch memory for at most `batch` images.
    pub(crate) fn workspace(&self, batch: usize, threads: usize) -> usize {
        match self {
            Self::Direct(kernel) => kernel.workspace(batch),
            Self::Winograd(kernel) => kernel.workspace(threads),
            Self::Bf16(kernel) => kernel.workspace(batch, threads),
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
            Self::Bf16(kernel) => kernel.run(threads, n, Block::flat(x), dy, work, dw),
        }
    }
}
