//! Steps that move numbers: into the arena, between precisions, channels and positions.

use super::{At, Done, Memory, Operate, Zeros, call, either, operands_of};
use crate::buffer::BufferId;
use crate::geometry::plain_image;
use top5_kernels::convert::{narrow, widen};
use top5_kernels::{Block, BlockBf16, LANES, Layout, Pixel, channels};

/// The images as channel blocks.
#[derive(Clone, Debug)]
pub(crate) struct Pack {
    pub(crate) y: BufferId,
}

impl Operate for Pack {
    operands_of!([] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), y) = (at.batch(), &mut memory.arena[at.range(self.y)]);
        channels::pack(threads, n, at.run.images, y, at.layout(self.y));
        Ok(0.0)
    }
}

/// The seed of a backward pass from a node, which comes as images do, as channel blocks.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) dy: BufferId,
}

impl Operate for Seed {
    operands_of!([] -> [dy]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let ((threads, n), dy) = (at.batch(), &mut memory.arena[at.range(self.dy)]);
        channels::pack(threads, n, at.run.images, dy, at.layout(self.dy));
        Ok(0.0)
    }
}

/// The images as plain planes, each at its place in the halo.
#[derive(Clone, Debug)]
pub(crate) struct PadPlanes {
    pub(crate) y: BufferId,
}

impl Operate for PadPlanes {
    operands_of!([] -> [y]);

    fn needs_zero(&self) -> Zeros {
        Zeros::None
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let y = &mut memory.arena[at.range(self.y)];
        let layout = at.layout(self.y);
        let Layout { channels, height, width, halo, .. } = *layout;
        let image = channels * height * width;
        let padded = [height + 2 * halo[0], width + 2 * halo[1]];
        let blocks = plain_image(layout) / LANES;
        threads.chunks(&mut y[..n * blocks], blocks, |i, y| {
            let images = &at.run.images[i * image..][..image];
            let planes = [channels, height, width];
            channels::pad_planes(images, planes, Block::flat_mut(y), padded, halo);
        });
        Ok(0.0)
    }
}

/// x in bf16.
#[derive(Clone, Debug)]
pub(crate) struct Narrow {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Narrow {
    operands_of!([x] -> [y]);

    fn needs_zero(&self) -> Zeros {
        Zeros::None
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        call!(at, memory, [x: self.x], y: self.y => {
            narrow(at.isa, at.run.threads, x.0, BlockBf16::of_mut(y.0));
        });
        Ok(0.0)
    }
}

/// x, which is in bf16, in f32.
#[derive(Clone, Debug)]
pub(crate) struct Widen {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Widen {
    operands_of!([x] -> [y]);

    fn needs_zero(&self) -> Zeros {
        Zeros::None
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        call!(at, memory, [x: self.x], y: self.y => {
            widen(at.isa, at.run.threads, &BlockBf16::of(x.0)[..y.0.len()], y.0);
        });
        Ok(0.0)
    }
}

/// `count` channels of x from `from` on, at those of y from `to` on; also added. `zero`: what is not written is to be zero.
#[derive(Clone, Debug)]
pub(crate) struct CopyChannels {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) count: usize,
    pub(crate) zero: bool,
}

impl Operate for CopyChannels {
    operands_of!([x] -> [y]);

    fn needs_zero(&self) -> Zeros {
        if self.zero { Zeros::Everywhere } else { Zeros::Around }
    }

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let &Self { from, to, count, .. } = self;
        either!(at, memory, [x: self.x], y: self.y => {
            channels::copy(at.isa, threads, n, x, from, y, to, count, at.accumulate);
        });
        Ok(0.0)
    }
}

/// x at the channels of y from `to` on; the others stay.
#[derive(Clone, Debug)]
pub(crate) struct PlaceChannels {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
    pub(crate) to: usize,
    pub(crate) count: usize,
}

impl Operate for PlaceChannels {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        let &Self { to, count, .. } = self;
        either!(at, memory, [x: self.x], y: self.y => {
            channels::copy(at.isa, threads, n, x, 0, y, to, count, false);
        });
        Ok(0.0)
    }
}

/// Every `stride`-th row and column of x.
#[derive(Clone, Debug)]
pub(crate) struct Subsample {
    pub(crate) stride: usize,
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Subsample {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => {
            channels::subsample(threads, n, self.stride, x, y);
        });
        Ok(0.0)
    }
}

/// The gradient of [`Subsample`]; also added.
#[derive(Clone, Debug)]
pub(crate) struct SubsampleGradient {
    pub(crate) stride: usize,
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for SubsampleGradient {
    operands_of!([dy] -> [dx]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [dy: self.dy], dx: self.dx => {
            channels::subsample_gradient(threads, n, self.stride, dy, dx, at.accumulate);
        });
        Ok(0.0)
    }
}

/// A map as a vector.
#[derive(Clone, Debug)]
pub(crate) struct Flatten {
    pub(crate) x: BufferId,
    pub(crate) y: BufferId,
}

impl Operate for Flatten {
    operands_of!([x] -> [y]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        either!(at, memory, [x: self.x], y: self.y => channels::flatten(threads, n, x, y.0));
        Ok(0.0)
    }
}

/// A vector as a map; also added.
#[derive(Clone, Debug)]
pub(crate) struct Unflatten {
    pub(crate) dy: BufferId,
    pub(crate) dx: BufferId,
}

impl Operate for Unflatten {
    operands_of!([dy] -> [dx]);

    fn run(&self, at: &At<'_>, memory: &mut Memory<'_, '_, '_>) -> Done {
        let (threads, n) = at.batch();
        call!(at, memory, [dy: self.dy], dx: self.dx => {
            channels::unflatten(threads, n, dy.0, dx, at.accumulate);
        });
        Ok(0.0)
    }
}
