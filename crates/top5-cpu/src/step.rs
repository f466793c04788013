//! What a plan consists of: steps that read and write buffers.

use crate::bank::SlotId;
use std::sync::Arc;
use top5_graph::NodeId;
use top5_kernels::conv::{ConvGeom, Forward, InputGradient, WeightGradient};
use top5_kernels::lrn::LrnGeom;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{Block, BlockBf16, Layout, Pixel};

/// The number of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BufferId(pub(crate) usize);

/// A piece of the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    /// Where pixels are, for activations and their gradients.
    pub(crate) layout: Layout,
    pub(crate) extent: Extent,
    /// Its pixels are in bf16, two to a block of memory.
    pub(crate) bf16: bool,
}

/// The size of a buffer, in pixels of sixteen channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// For each image.
    PerImage(usize),
    /// Whatever the batch.
    Fixed(usize),
    /// Some channels of another buffer, from this pixel of each image on; an even one where they are in bf16.
    Part(BufferId, usize),
}

impl Buffer {
    /// Blocks of memory for a batch of `n`; the largest number where there is none for so many.
    pub(crate) fn len(&self, n: usize) -> usize {
        self.blocks(match self.extent {
            Extent::PerImage(pixels) => n.saturating_mul(pixels),
            Extent::Fixed(pixels) => pixels,
            Extent::Part(..) => self.layout.len(n),
        })
    }

    /// Blocks of memory for some pixels.
    pub(crate) fn blocks(&self, pixels: usize) -> usize {
        if self.bf16 { pixels.div_ceil(BlockBf16::PER_BLOCK) } else { pixels }
    }
}

/// One call of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The layer it belongs to.
    pub(crate) node: NodeId,
    pub(crate) what: What,
    pub(crate) reads: Vec<BufferId>,
    /// The first is the result, the others are scratch.
    pub(crate) writes: Vec<BufferId>,
    /// Nothing has been written to the result before: it is overwritten. Otherwise it is added to.
    pub(crate) fresh: bool,
}

/// Which kernel, with everything but the buffers. Comments name reads and writes.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The images to channel blocks: → x
    Pack,
    /// The images to plain planes with a halo: → x
    PadPlanes,
    /// x → the same in bf16
    Narrow,
    /// x in bf16 → the same
    Widen,
    /// x (in a precision that the kernel reads) (, sum in y's precision) → y, scratch
    Conv { kernel: Arc<dyn Forward>, weight: SlotId, bias: Option<SlotId>, relu: bool },
    /// x → y
    MaxPool(PoolGeom),
    /// x → y
    Average(PoolGeom, Divisor),
    /// x → statistics, scratch; the running ones follow
    BatchStatistics { running: SlotId, momentum: f32 },
    /// x (, statistics unless they are in a slot) (, summand) → y
    Normalise(Normalisation),
    /// x → y
    Lrn(LrnGeom),
    /// x → y
    Relu,
    /// x → y
    Sigmoid,
    /// x → y
    ScaledTanh,
    /// x → y
    Dropout { p: f32 },
    /// a, b → y
    Add { relu: bool },
    /// x → y, also added
    Times(f32),
    /// x, factors (, sum) → y, also added
    Scale { relu: bool },
    /// x → a range of channels of y, also added. `zero`: what is not written becomes zero.
    CopyChannels { from: usize, to: usize, count: usize, zero: bool },
    /// x → a range of channels of y, whose other channels stay
    PlaceChannels { to: usize, count: usize },
    /// x → y
    Subsample(usize),
    /// x → y
    Flatten,
    /// x → y
    Softmax,
    /// x → y
    EuclideanRbf { codes: SlotId },

    /// logits → their gradient; adds `weight` times the loss
    Loss { weight: f32 },
    /// dy (, dy in bf16 if a kernel reads that) → dx, scratch, transposed weights (for direct convolution)
    ConvInput { nests: Vec<Nest>, forward: ConvGeom, weight: SlotId, covers: bool },
    /// x, dy → scratch; the gradient of a slot
    ConvWeights { kernel: Arc<dyn WeightGradient>, weight: SlotId, mask: Option<Vec<Block>> },
    /// dy → scratch; the gradient of a slot
    ConvBias { bias: SlotId },
    /// y → dy, in place: zero where y is not positive
    MaskPositive,
    /// y, dy → dx, added
    ReluGradient,
    /// y, dy → dx, added
    SigmoidGradient,
    /// y, dy → dx, added
    ScaledTanhGradient,
    /// x, y, dy → dx, also added. `relu`: x is the output of a ReLU, which is undone as well.
    MaxPoolGradient { geom: PoolGeom, relu: bool },
    /// dy → dx, added
    AverageGradient(PoolGeom, Divisor),
    /// x (, statistics unless they are in a slot) (, y if a ReLU followed a sum) → dx (also added), sums, scratch, dy; or in
    /// the place of dy → dy, sums, scratch. The gradients of two slots
    NormaliseGradient(Normalisation),
    /// x, dy → dx, added
    LrnGradient(LrnGeom),
    /// dy → dx, added
    DropoutGradient { p: f32 },
    /// x, dy → d factors, also added
    ScaleFactorGradient,
    /// dy → dx, also added
    SubsampleGradient(usize),
    /// dy → dx, also added
    Unflatten,
    /// y, dy → dx, added
    SoftmaxGradient,
    /// x, dy → dx, added
    EuclideanRbfGradient { codes: SlotId },
}

/// A batch normalisation, or another affine map per channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normalisation {
    pub(crate) weight: SlotId,
    pub(crate) bias: SlotId,
    /// Where mean and variance are, unless they are the batch's and in a buffer.
    pub(crate) statistics: Option<SlotId>,
    pub(crate) eps: f32,
    /// Another activation is added.
    pub(crate) sum: bool,
    pub(crate) relu: bool,
}

/// One loop nest of the gradient with respect to a convolution's input.
#[derive(Clone, Debug)]
pub(crate) struct Nest {
    pub(crate) kernel: Arc<dyn InputGradient>,
    /// The kernel element of each of its taps.
    pub(crate) elements: Vec<usize>,
}

/// What must become of the memory of a result before a step is the first to write to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Preparation {
    /// Nothing: the kernel writes all of it.
    None,
    /// Zeros around the planes.
    Halo,
    /// Zeros everywhere: the kernel only adds, or leaves gaps.
    Zero,
}

impl What {
    /// What the kernel relies on.
    pub(crate) fn preparation(&self) -> Preparation {
        let partial = matches!(
            self,
            Self::AverageGradient(..)
                | Self::LrnGradient(_)
                | Self::ReluGradient
                | Self::SigmoidGradient
                | Self::ScaledTanhGradient
                | Self::SoftmaxGradient
                | Self::EuclideanRbfGradient { .. }
                | Self::CopyChannels { zero: true, .. }
                | Self::ConvInput { covers: false, .. }
        );
        let whole = matches!(
            self,
            Self::PadPlanes
                | Self::Narrow
                | Self::Widen
                | Self::ConvWeights { .. }
                | Self::ConvBias { .. }
        );
        match (partial, whole) {
            (true, _) => Preparation::Zero,
            (false, true) => Preparation::None,
            (false, false) => Preparation::Halo,
        }
    }
}

impl Step {
    /// The name of what runs, for people.
    pub(crate) fn kernel(&self) -> String {
        if let What::Conv { kernel, .. } = &self.what {
            return kernel.name().to_owned();
        }
        if let What::ConvInput { nests, .. } = &self.what {
            let name = nests.first().map_or("none", |nest| nest.kernel.name());
            return format!("{}× {name}", nests.len());
        }
        if let What::ConvWeights { kernel, .. } = &self.what {
            return kernel.name().to_owned();
        }
        let text = format!("{:?}", self.what);
        let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
        text[..end].to_owned()
    }

    /// Whether it compares scores with what they should be.
    #[cfg(test)]
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self.what, What::Loss { .. })
    }

    /// The slots whose gradients it writes.
    pub(crate) fn gradients(&self) -> Vec<SlotId> {
        if let What::ConvWeights { weight, .. } = &self.what {
            return vec![*weight];
        }
        if let What::ConvBias { bias } = &self.what {
            return vec![*bias];
        }
        if let What::NormaliseGradient(normal) = &self.what {
            return vec![normal.weight, normal.bias];
        }
        Vec::new()
    }

    /// Whether it does a layer's multiply-accumulates, forward or backward.
    pub(crate) fn multiplies(&self) -> bool {
        matches!(self.what, What::Conv { .. } | What::ConvInput { .. } | What::ConvWeights { .. })
    }

    /// What was fused into it: `+bias +sum +relu`.
    pub(crate) fn fused(&self) -> String {
        let mut fused = Vec::new();
        if let What::Conv { bias, relu, .. } = &self.what {
            fused.extend(bias.map(|_| "bias"));
            fused.extend((self.reads.len() > 1).then_some("sum"));
            fused.extend(relu.then_some("relu"));
        } else if let What::Normalise(normal) | What::NormaliseGradient(normal) = &self.what {
            fused.extend(normal.sum.then_some("sum"));
            fused.extend(normal.relu.then_some("relu"));
        } else if let What::Scale { relu } = &self.what {
            fused.extend((self.reads.len() > 2).then_some("sum"));
            fused.extend(relu.then_some("relu"));
        } else if let What::Add { relu: true } = &self.what {
            fused.push("relu");
        }
        fused.iter().map(|f| format!("+{f}")).collect::<Vec<_>>().join(" ")
    }
}
