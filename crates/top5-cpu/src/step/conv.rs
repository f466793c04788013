//! Steps of convolutions: forward, and the gradients of input, weights and bias. All that runs a convolution's kernels is
//! here.

use super::{At, Done, Memory, Operands, Operate, Zeros, call, operands, operands_of};
use crate::bank::SlotId;
use crate::choose::{ConvKernel, GradientKernel};
use crate::ir::BufferId;
use top5_kernels::bf16::Bf16;
use top5_kernels::conv::{ConvGeom, Epilogue, Strides};
use top5_kernels::transpose::transpose;
use top5_kernels::weight_gradient::sum_pixels;
use top5_kernels::winograd::Source;
use top5_kernels::{Block, BlockBf16, Layout, Pixel};

/// A convolution of x, then its bias, another map and the ReLU, where there are such.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) kernel: ConvKernel,
    pub(crate) weight: SlotId,
    pub(crate) bias: Option<SlotId>,
    pub(crate) relu: bool,
    /// The weights are in the kernel's own form, and else packed for direct convolution.
    pub(crate) transformed: bool,
    /// In bf16 if the kernel reads that, or if it is.
    pub(crate) x: BufferId,
    /// In y's precision.
    pub(crate) sum: Option<BufferId>,
    pub(crate) y: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for Conv {
    fn reads(&self) -> Operands {
        operands([Some(self.x), self.sum])
    }

    fn writes(&self) -> Operands {
        operands([Some(self.y), Some(self.work)])
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let Self { kernel, relu, .. } = self;
        let writes = [at.range(self.y), at.range(self.work)];
        let reads = [at.range(self.x), at.range(self.sum)];
        let ([y, work], [x, sum]) = memory.arena.lend(writes, reads);
        let weights = at.params.slot(self.weight);
        let bias = self.bias.map(|id| at.params.slot(id));
        let place = |id| strides_of(at.layout(id), kernel.geom().batch_is_row);
        macro_rules! epilogue {
            ($p:ty) => {{
                let add = self.sum.map(|id| (<$p>::of(sum), place(id)));
                Epilogue { bias, add, relu: *relu, accumulate: false }
            }};
        }
        let from = (x, at.is_bf16(self.x));
        if !self.transformed {
            convolve(at, kernel, x, weights, &epilogue!(Block), y, work);
        } else if at.is_bf16(self.y) {
            let y = BlockBf16::of_mut(y);
            convolve_transformed(at, kernel, from, weights, &epilogue!(BlockBf16), y, work);
        } else {
            convolve_transformed(at, kernel, from, weights, &epilogue!(Block), y, work);
        }
        Ok(0.0)
    }

    fn chosen(&self) -> Option<String> {
        Some(self.kernel.name().to_owned())
    }

    fn fused(&self) -> [bool; 3] {
        [self.bias.is_some(), self.sum.is_some(), self.relu]
    }
}

/// One loop nest of the gradient with respect to a convolution's input.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    pub(crate) kernel: ConvKernel,
    /// The kernel element of each of its taps.
    pub(crate) elements: Vec<usize>,
}

impl Nest {
    /// Whether it reads dy in bf16.
    pub(crate) fn rounds(&self) -> bool {
        matches!(self.kernel, ConvKernel::Bf16(_))
    }
}

/// The gradient with respect to the input; also added.
#[derive(Clone, Debug)]
pub(crate) struct ConvInput {
    pub(crate) nests: Vec<Nest>,
    /// The weights are packed for this.
    pub(crate) forward: ConvGeom,
    pub(crate) weight: SlotId,
    /// The loop nests write every pixel.
    pub(crate) covers: bool,
    pub(crate) dy: BufferId,
    /// dy in bf16, if a kernel reads that.
    pub(crate) rounded: Option<BufferId>,
    pub(crate) dx: BufferId,
    pub(crate) work: BufferId,
    /// The weights with inputs and outputs swapped, for kernels that do not do so on the way.
    pub(crate) transposed: BufferId,
}

impl Operate for ConvInput {
    fn reads(&self) -> Operands {
        operands([Some(self.dy), self.rounded])
    }

    fn writes(&self) -> Operands {
        operands([self.dx, self.work, self.transposed].map(Some))
    }

    fn needs_zero(&self) -> Zeros {
        if self.covers { Zeros::Around } else { Zeros::Everywhere }
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), forward) = (at.batch(), &self.forward);
        let writes = [self.dx, self.work, self.transposed].map(|id| at.range(id));
        let reads = [at.range(self.dy), at.range(self.rounded)];
        let ([dx, work, packed], [dy, rounded]) = memory.arena.lend(writes, reads);
        let weights = at.params.slot(self.weight);
        let epilogue = Epilogue { accumulate: at.accumulate, ..Epilogue::default() };
        for nest in &self.nests {
            let Nest { kernel, elements } = nest;
            if let ConvKernel::Winograd(kernel) = kernel {
                let source = Source::Transposed { forward, weights, elements };
                kernel.run_direct(threads, n, dy, source, &epilogue, work, dx);
                continue;
            }
            let packed = &mut packed[..kernel.geom().packed_len()];
            transpose(at.isa, threads, forward, weights, kernel.geom(), elements, packed);
            let dy = if nest.rounds() { rounded } else { dy };
            convolve(at, kernel, dy, packed, &epilogue, dx, work);
        }
        Ok(0.0)
    }

    fn chosen(&self) -> Option<String> {
        let name = self.nests.first().map_or("none", |nest| nest.kernel.name());
        Some(format!("{}× {name}", self.nests.len()))
    }
}

/// The gradient of the weights, to their slot.
#[derive(Clone, Debug)]
pub(crate) struct ConvWeights {
    pub(crate) kernel: GradientKernel,
    pub(crate) weight: SlotId,
    /// Zeros where the packed form holds no weight, if there are such places.
    pub(crate) mask: Option<Vec<Block>>,
    pub(crate) x: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for ConvWeights {
    fn gradients(&self) -> [Option<SlotId>; 2] {
        [Some(self.weight), None]
    }

    operands_of!([x, dy] -> [work]);

    fn needs_zero(&self) -> Zeros {
        Zeros::None
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let dw = at.gradient(&mut memory.outside.gradients, self.weight);
        call!(at, memory, [x: self.x, dy: self.dy], work: self.work => {
            self.kernel.run(threads, n, x.0, dy.0, work.0, dw);
        });
        for (dw, mask) in dw.iter_mut().zip(self.mask.iter().flatten()) {
            dw.0.iter_mut().zip(mask.0).for_each(|(dw, mask)| *dw *= mask);
        }
        Ok(0.0)
    }

    fn chosen(&self) -> Option<String> {
        Some(self.kernel.name())
    }
}

/// The gradient of the bias, to its slot.
#[derive(Clone, Debug)]
pub(crate) struct ConvBias {
    pub(crate) bias: SlotId,
    pub(crate) dy: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for ConvBias {
    fn gradients(&self) -> [Option<SlotId>; 2] {
        [Some(self.bias), None]
    }

    operands_of!([dy] -> [work]);

    fn needs_zero(&self) -> Zeros {
        Zeros::None
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let db = at.gradient(&mut memory.outside.gradients, self.bias);
        call!(at, memory, [dy: self.dy], work: self.work => {
            sum_pixels(at.isa, threads, n, dy.1, dy.0, work.0, db);
        });
        Ok(0.0)
    }
}

/// A convolution of `x` (in bf16 if the kernel reads that) with weights packed for direct convolution.
fn convolve(
    at: &At<'_>,
    kernel: &ConvKernel,
    x: &[Block],
    weights: &[Block],
    epilogue: &Epilogue<'_>,
    y: &mut [Block],
    work: &mut [Block],
) {
    let (threads, n) = at.batch();
    match kernel {
        ConvKernel::Direct(kernel) => kernel.run(threads, n, Block::flat(x), weights, epilogue, y),
        ConvKernel::Winograd(kernel) => {
            let source = Source::Packed(weights);
            kernel.run_direct(threads, n, x, source, epilogue, work, y);
        }
        ConvKernel::Bf16(kernel) => {
            let own = &mut work[..kernel.packed_len()];
            kernel.pack(threads, weights, own);
            kernel.run(threads, n, Bf16::flat(BlockBf16::of(x)), own, epilogue, y);
        }
    }
}

/// A convolution of `x` (in bf16, or else in f32) with weights in the kernel's own form.
fn convolve_transformed<Y: Pixel>(
    at: &At<'_>,
    kernel: &ConvKernel,
    (x, bf16): (&[Block], bool),
    weights: &[Block],
    epilogue: &Epilogue<'_, Y>,
    y: &mut [Y],
    work: &mut [Block],
) {
    let (threads, n) = at.batch();
    match kernel {
        ConvKernel::Bf16(kernel) => {
            kernel.run(threads, n, Bf16::flat(BlockBf16::of(x)), weights, epilogue, y);
        }
        ConvKernel::Winograd(kernel) if bf16 => {
            kernel.run(threads, n, BlockBf16::of(x), weights, epilogue, work, y);
        }
        ConvKernel::Winograd(kernel) => kernel.run(threads, n, x, weights, epilogue, work, y),
        ConvKernel::Direct(_) => unreachable!("it has no form of its own"),
    }
}

/// The place of the pixels of a summand.
fn strides_of(layout: &Layout, batch_is_row: bool) -> Strides {
    Strides {
        offset: layout.start(0),
        image: layout.image(),
        block: layout.plane(),
        row: layout.row(),
        pixel: if batch_is_row { layout.image() } else { 1 },
    }
}
