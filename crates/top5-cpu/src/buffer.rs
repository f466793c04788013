//! Buffers, the pieces of the arena that steps read and write, and where they lie in it.

use std::ops::{Deref, Range};
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

/// All buffers of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Buffers(pub(crate) Vec<Buffer>);

impl Deref for Buffers {
    type Target = [Buffer];

    fn deref(&self) -> &[Buffer] {
        &self.0
    }
}

impl Buffers {
    pub(crate) fn at(&self, id: BufferId) -> &Buffer {
        &self.0[id.0]
    }

    /// The buffer that this one is a part of, or itself, and the block of it at which this one starts.
    pub(crate) fn whole(&self, id: BufferId) -> (BufferId, usize) {
        let Extent::Part(of, first) = self.at(id).extent else { return (id, 0) };
        let (whole, start) = self.whole(of);
        (whole, start + first)
    }
}

/// The memory plan for one largest batch.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of the arena, of each buffer.
    pub(crate) offsets: Vec<usize>,
    /// Blocks of the arena.
    pub(crate) len: usize,
}

impl Plan {
    /// Where a buffer is in a run with `n` images.
    pub(crate) fn range(&self, buffers: &Buffers, id: BufferId, n: usize) -> Range<usize> {
        let (whole, first) = buffers.whole(id);
        let buffer = buffers.at(id);
        let start = self.offsets[whole.0] + buffer.blocks(first);
        start..start + buffer.len(n)
    }

    /// The same with a buffer elsewhere.
    #[cfg(test)]
    pub(crate) fn moved(&self, BufferId(id): BufferId, to: usize) -> Self {
        let mut plan = self.clone();
        plan.offsets[id] = to;
        plan
    }
}
