//! What a plan consists of: buffers, and steps that read and write them.

use crate::bank::BankPlan;
use crate::step::Kernel;
use top5_graph::NodeId;
use top5_kernels::{BlockBf16, Layout, Pixel};

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
    pub(crate) kernel: Kernel,
    /// Nothing has been written to the result before: it is overwritten. Otherwise it is added to, or changed in place.
    pub(crate) fresh: bool,
}

/// A plan without addresses.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step>,
    pub(crate) bank: BankPlan,
    /// Blocks of the bank that are learned: its first part.
    pub(crate) learned: usize,
    /// The activations that are shown and the outputs: what is read when the steps are done.
    pub(crate) results: Vec<(NodeId, BufferId)>,
    /// The first steps, which one run is: all, but for those backward from a node, which are run apart.
    pub(crate) forward: usize,
    /// What those end in, for each node that they go to; nothing where no path leads there.
    pub(crate) signals: Vec<Option<BufferId>>,
}

impl Program {
    pub(crate) fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// The buffer that this one is a part of, or itself, and the block of it at which this one starts.
    pub(crate) fn whole(&self, id: BufferId) -> (BufferId, usize) {
        let Extent::Part(of, first) = self.buffer(id).extent else { return (id, 0) };
        let (whole, start) = self.whole(of);
        (whole, start + first)
    }
}
