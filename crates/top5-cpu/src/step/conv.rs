//! Steps of convolutions: forward, and the gradients of input, weights and bias. All that runs a convolution's kernels is
//! here.

use super::{At, Done, Memory, Operands, Operate, Zeros, call, operands, operands_of};
use crate::buffer::BufferId;
use crate::packed::ParamId;
use std::sync::Arc;
use top5_kernels::bias_gradient::sum_pixels;
use top5_kernels::conv::{
    ConvGeom, Epilogue, Forward, Input, InputGradient, Output, Strides, Transposed, WeightGradient,
};
use top5_kernels::elementwise::Operand;
use top5_kernels::{Block, BlockBf16, LANES, Layout, Pixel, Precision, Threads};

/// A convolution of x, then its bias, another map and the ReLU, where there are such.
#[derive(Clone, Debug)]
pub(crate) struct Conv {
    pub(crate) kernel: Arc<dyn Forward>,
    pub(crate) weight: ParamId,
    pub(crate) bias: Option<ParamId>,
    pub(crate) relu: bool,
    /// In a precision that the kernel reads.
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
        let (threads, n) = at.batch();
        let writes = [at.range(self.y), at.range(self.work)];
        let reads = [at.range(self.x), at.range(self.sum)];
        let ([y, work], [x, sum]) = memory.arena.lend(writes, reads);
        let weights = at.params.of(self.weight);
        let bias = self.bias.map(|id| at.params.of(id));
        let place = |id| strides_of(at.layout(id), self.kernel.problem().geom().batch_is_row);
        macro_rules! epilogue {
            ($p:ty) => {{
                let add = self.sum.map(|id| (<$p>::of(sum), place(id)));
                Epilogue { bias, add, relu: self.relu, accumulate: false }
            }};
        }
        let y = if at.is_bf16(self.y) {
            Output::Bf16(BlockBf16::of_mut(y), epilogue!(BlockBf16))
        } else {
            Output::F32(y, epilogue!(Block))
        };
        self.kernel.run(threads, n, input(x, at.is_bf16(self.x)), weights, work, y);
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
    pub(crate) kernel: Arc<dyn InputGradient>,
    /// The kernel element of each of its taps.
    pub(crate) elements: Vec<usize>,
}

impl Nest {
    /// Whether it reads dy in bf16.
    pub(crate) fn rounds(&self) -> bool {
        self.kernel.reads() == Precision::Bf16
    }
}

/// The gradient with respect to the input; also added.
#[derive(Clone, Debug)]
pub(crate) struct ConvInput {
    pub(crate) nests: Vec<Nest>,
    /// The weights are packed for this.
    pub(crate) forward: ConvGeom,
    pub(crate) weight: ParamId,
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
        let ([dx, work, transposed], [dy, rounded]) = memory.arena.lend(writes, reads);
        let weights = at.params.of(self.weight);
        for nest in &self.nests {
            let weights = Transposed { forward, weights, elements: &nest.elements };
            let dy = input(if nest.rounds() { rounded } else { dy }, nest.rounds());
            nest.kernel.run(threads, n, dy, &weights, at.accumulate, work, transposed, dx);
        }
        Ok(0.0)
    }

    fn chosen(&self) -> Option<String> {
        let name = self.nests.first().map_or("none", |nest| nest.kernel.name());
        Some(format!("{}× {name}", self.nests.len()))
    }
}

/// A loop nest that takes a signal backward through weights that stay.
#[derive(Clone, Debug)]
pub(crate) struct SignalNest {
    pub(crate) kernel: Arc<dyn Forward>,
    /// Packed for it, with inputs and outputs swapped.
    pub(crate) weight: ParamId,
}

/// As [`ConvInput`], where weights stay from run to run: each loop nest is a convolution by weights of its own; also added.
#[derive(Clone, Debug)]
pub(crate) struct ConvSignal {
    pub(crate) nests: Vec<SignalNest>,
    /// The loop nests write every pixel.
    pub(crate) covers: bool,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
    pub(crate) work: BufferId,
    /// Where one loop nest writes the pixels of all residues of this stride, each in channels of its own.
    pub(crate) apart: Option<(BufferId, [usize; 2])>,
}

impl Operate for ConvSignal {
    fn reads(&self) -> Operands {
        operands([Some(self.dy)])
    }

    fn writes(&self) -> Operands {
        operands([Some(self.dx), Some(self.work), self.apart.map(|(id, _)| id)])
    }

    fn needs_zero(&self) -> Zeros {
        if self.covers { Zeros::Around } else { Zeros::Everywhere }
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let apart = self.apart.map(|(id, _)| id);
        let writes = [at.range(self.dx), at.range(self.work), at.range(apart)];
        let ([dx, work, pieces], [dy]) = memory.arena.lend(writes, [at.range(self.dy)]);
        for SignalNest { kernel, weight } in &self.nests {
            let weights = at.params.of(*weight);
            let (y, accumulate) = match apart {
                Some(_) => (&mut *pieces, false),
                None => (&mut *dx, at.accumulate),
            };
            let epilogue = Epilogue { accumulate, ..Epilogue::default() };
            kernel.run(threads, n, Input::F32(dy), weights, work, Output::F32(y, epilogue));
        }
        if let Some((id, stride)) = self.apart {
            let (from, to) = ((&*pieces, at.layout(id)), (dx, at.layout(self.dx)));
            interleave(threads, n, stride, from, to, at.accumulate);
        }
        Ok(0.0)
    }

    fn chosen(&self) -> Option<String> {
        let name = self.nests.first().map_or("none", |nest| nest.kernel.name());
        Some(format!("{}× {name}", self.nests.len()))
    }
}

/// Puts the pixels of each residue of a stride, which are in channels of their own, between each other, or adds them there.
fn interleave(
    threads: &Threads,
    n: usize,
    [down, across]: [usize; 2],
    (x, xl): Operand<'_>,
    (y, yl): (&mut [Block], &Layout),
    accumulate: bool,
) {
    threads.planes((y, yl), n, 1, |plane, y| {
        let (image, block) = (plane / yl.blocks(), plane % yl.blocks());
        for row in 0..yl.height {
            let line = &mut y[yl.start(row)..][..yl.width];
            if !accumulate {
                line.fill(Block::ZERO);
            }
            for (start, lane) in (0..across).flat_map(|c| (0..yl.lanes(block)).map(move |l| (c, l)))
            {
                let residue = row % down * across + start;
                let channel = residue * yl.channels + block * LANES + lane;
                let from = &x[xl.plane_at(image * xl.blocks() + channel / LANES)];
                let pixels = line.iter_mut().skip(start).step_by(across);
                for (y, x) in pixels.zip(xl.pixels(from, row / down)) {
                    y.0[lane] += x.0[channel % LANES];
                }
            }
        }
    });
}

/// The gradient of the weights, to their parameter.
#[derive(Clone, Debug)]
pub(crate) struct ConvWeights {
    pub(crate) kernel: Arc<dyn WeightGradient>,
    pub(crate) weight: ParamId,
    /// Zeros where the packed form holds no weight, if there are such places.
    pub(crate) mask: Option<Vec<Block>>,
    pub(crate) x: BufferId,
    pub(crate) dy: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for ConvWeights {
    fn gradients(&self) -> [Option<ParamId>; 2] {
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
        Some(self.kernel.name().to_owned())
    }
}

/// The gradient of the bias, to its parameter.
#[derive(Clone, Debug)]
pub(crate) struct ConvBias {
    pub(crate) bias: ParamId,
    pub(crate) dy: BufferId,
    pub(crate) work: BufferId,
}

impl Operate for ConvBias {
    fn gradients(&self) -> [Option<ParamId>; 2] {
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

/// Memory of an activation in bf16, or else in f32.
fn input(x: &[Block], bf16: bool) -> Input<'_> {
    if bf16 { Input::Bf16(BlockBf16::of(x)) } else { Input::F32(x) }
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
