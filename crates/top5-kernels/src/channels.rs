//! Moving elements: between layouts, between ranges of channels, between strides; and the channel-wise scale.

use crate::block::{Block, LANES, Layout};
use crate::elementwise::Operand;
use crate::isa::Isa;
use crate::pixel::Pixel;
use crate::simd::{Kernel, Simd};
use crate::threads::Threads;

/// Copies images from `[n, c, h, w]` to the layout; its halo is left alone.
pub fn pack(threads: &Threads, n: usize, images: &[f32], y: &mut [Block], layout: &Layout) {
    let (h, w, c) = (layout.height, layout.width, layout.channels);
    assert!(images.len() >= n * c * h * w);
    threads.planes((y, layout), n, 1, |plane, y| {
        let (image, block) = (plane / layout.blocks(), plane % layout.blocks());
        let lanes = layout.lanes(block);
        for row in 0..h {
            for (col, y) in layout.pixels_mut(y, row).iter_mut().enumerate() {
                *y = Block::ZERO;
                for lane in 0..lanes {
                    let channel = image * c + block * LANES + lane;
                    y.0[lane] = images[(channel * h + row) * w + col];
                }
            }
        }
    });
}

/// Copies from the layout to `[n, c, h, w]`.
pub fn unpack<P: Pixel>(n: usize, (x, layout): Operand<'_, P>, images: &mut [f32]) {
    let (h, w, c) = (layout.height, layout.width, layout.channels);
    for image in 0..n {
        for channel in 0..c {
            let plane = &x[layout.plane_at(image * layout.blocks() + channel / LANES)];
            for row in 0..h {
                let line = &mut images[((image * c + channel) * h + row) * w..][..w];
                let pixels = layout.pixels(plane, row);
                line.iter_mut()
                    .zip(pixels)
                    .for_each(|(value, pixel)| *value = pixel.lane(channel % LANES));
            }
        }
    }
}

/// Copies images from `[n, c, h, w]` into plain planes of `rows × cols` floats, at (`top`, `left`); the rest is zero.
pub fn pad_planes(
    images: &[f32],
    [planes, h, w]: [usize; 3],
    y: &mut [f32],
    [rows, cols]: [usize; 2],
    [top, left]: [usize; 2],
) {
    assert!(images.len() >= planes * h * w && y.len() >= planes * rows * cols);
    assert!(top + h <= rows && left + w <= cols);
    y[planes * rows * cols..].fill(0.0);
    for (plane, y) in y.chunks_exact_mut(rows * cols).take(planes).enumerate() {
        y.fill(0.0);
        for row in 0..h {
            let line = &images[(plane * h + row) * w..][..w];
            y[(top + row) * cols + left..][..w].copy_from_slice(line);
        }
    }
}

/// Copies (or adds) `count` channels from `from` on of `x` to those from `to` on of `y`, for `n` images of one size.
/// Where whole blocks meet, whole blocks are copied; elsewhere a block is picked from one or two.
pub fn copy<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    (x, xl): Operand<'_, P>,
    from: usize,
    (y, yl): (&mut [P], &Layout),
    to: usize,
    count: usize,
    accumulate: bool,
) {
    assert!(from + count <= xl.channels && to + count <= yl.channels);
    let blocks = to / LANES..(to + count).div_ceil(LANES);
    threads.planes((y, yl), n, 1, |plane, y| {
        let (image, block) = (plane / yl.blocks(), plane % yl.blocks());
        if !blocks.contains(&block) {
            return;
        }
        // The channels of this block of y that are in the range, and their lanes in x.
        let lanes = to.max(block * LANES)..(to + count).min((block + 1) * LANES);
        let source = from + lanes.start - to;
        let aligned = source.is_multiple_of(LANES) && lanes.len() == LANES;
        let plane = |block: usize| (&x[xl.plane_at(image * xl.blocks() + block)], xl);
        if aligned && !accumulate {
            let (x, _) = plane(source / LANES);
            for row in 0..yl.height {
                yl.pixels_mut(y, row).copy_from_slice(xl.pixels(x, row));
            }
            return;
        }
        for block in source / LANES..(source + lanes.len()).div_ceil(LANES) {
            let mut picks = [-1; LANES];
            for (i, channel) in lanes.clone().enumerate() {
                if (source + i) / LANES == block {
                    picks[channel % LANES] = ((source + i) % LANES) as i32;
                }
            }
            isa.run(PickPlane { x: plane(block), y, layout: yl, picks, accumulate });
        }
    });
}

/// Some lanes of a plane as lanes of another one, copied or added.
struct PickPlane<'a, P> {
    x: Operand<'a, P>,
    y: &'a mut [P],
    layout: &'a Layout,
    picks: [i32; LANES],
    accumulate: bool,
}

impl<P: Pixel> Kernel for PickPlane<'_, P> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x: (x, from), y, layout, picks, accumulate } = self;
        for row in 0..layout.height {
            for (y, x) in layout.pixels_mut(y, row).iter_mut().zip(from.pixels(x, row)) {
                let (kept, x) = (y.load(s), x.load(s));
                if accumulate {
                    y.store(s, s.add(kept, s.pick(s.zero(), x, &picks)));
                } else {
                    y.store(s, s.pick(kept, x, &picks));
                }
            }
        }
    }
}

/// A map as a vector in (channel, row, column) order.
pub fn flatten<P: Pixel>(threads: &Threads, n: usize, (x, map): Operand<'_, P>, y: &mut [P]) {
    let [c, h, w] = [map.channels, map.height, map.width];
    let blocks = (c * h * w).div_ceil(LANES);
    threads.chunks(&mut y[..n * blocks], blocks, |image, y| {
        y[blocks - 1] = P::ZERO;
        for channel in 0..c {
            let plane = &x[map.plane_at(image * map.blocks() + channel / LANES)];
            for row in 0..h {
                for (col, pixel) in map.pixels(plane, row).iter().enumerate() {
                    let at = (channel * h + row) * w + col;
                    y[at / LANES].set_lane(at % LANES, pixel.lane(channel % LANES));
                }
            }
        }
    });
}

/// The gradient of [`flatten`]: a vector as a map, written or added.
pub fn unflatten(
    threads: &Threads,
    n: usize,
    dy: &[Block],
    (dx, map): (&mut [Block], &Layout),
    accumulate: bool,
) {
    let [c, h, w] = [map.channels, map.height, map.width];
    let blocks = (c * h * w).div_ceil(LANES);
    threads.chunks(&mut dx[..n * map.image()], map.image(), |image, dx| {
        let dy = Block::flat(&dy[image * blocks..][..blocks]);
        for channel in 0..c {
            let plane = &mut dx[channel / LANES * map.plane()..][..map.plane()];
            for row in 0..h {
                let line = &dy[(channel * h + row) * w..][..w];
                for (dx, dy) in map.pixels_mut(plane, row).iter_mut().zip(line) {
                    let kept = if accumulate { dx.0[channel % LANES] } else { 0.0 };
                    dx.0[channel % LANES] = kept + dy;
                }
            }
        }
        if !accumulate {
            clear_unused_lanes(dx, map);
        }
    });
}

/// Zeroes the unused lanes of one image's last block.
fn clear_unused_lanes(x: &mut [Block], layout: &Layout) {
    let last = layout.blocks() - 1;
    let lanes = layout.lanes(last);
    x[last * layout.plane()..].iter_mut().for_each(|pixel| pixel.0[lanes..].fill(0.0));
}

/// Every `stride`-th row and column.
pub fn subsample<P: Pixel>(
    threads: &Threads,
    n: usize,
    stride: usize,
    (x, xl): Operand<'_, P>,
    (y, yl): (&mut [P], &Layout),
) {
    threads.planes((y, yl), n, 1, |plane, y| {
        let x = &x[xl.plane_at(plane)];
        for row in 0..yl.height {
            let line = xl.pixels(x, row * stride);
            for (col, y) in yl.pixels_mut(y, row).iter_mut().enumerate() {
                *y = line[col * stride];
            }
        }
    });
}

/// The gradient of [`subsample`], written (zero between) or added.
pub fn subsample_gradient(
    threads: &Threads,
    n: usize,
    stride: usize,
    (dy, yl): Operand<'_>,
    (dx, xl): (&mut [Block], &Layout),
    accumulate: bool,
) {
    threads.planes((dx, xl), n, 1, |plane, dx| {
        let dy = &dy[yl.plane_at(plane)];
        if !accumulate {
            dx.fill(Block::ZERO);
        }
        for row in 0..yl.height {
            let line = xl.pixels_mut(dx, row * stride);
            for (col, dy) in yl.pixels(dy, row).iter().enumerate() {
                let dx = &mut line[col * stride].0;
                dx.iter_mut().zip(&dy.0).for_each(|(dx, dy)| *dx += dy);
            }
        }
    });
}

/// What [`scale`] adds to the product, and whether `max(0, ·)` follows.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScaleEpilogue<'a, P = Block> {
    /// Another map.
    pub add: Option<Operand<'a, P>>,
    /// The output's old value.
    pub accumulate: bool,
    /// Whether `max(0, ·)` comes last.
    pub relu: bool,
}

/// `y ← x·factor`, one factor per image and channel, and the epilogue: the scale of SENet with the residual sum after it,
/// and its gradient with respect to the map.
pub fn scale<P: Pixel>(
    isa: Isa,
    threads: &Threads,
    n: usize,
    (x, xl): Operand<'_, P>,
    factors: &[Block],
    epilogue: &ScaleEpilogue<'_, P>,
    (y, yl): (&mut [P], &Layout),
) {
    struct Plane<'a, P> {
        x: Operand<'a, P>,
        factor: &'a Block,
        epilogue: ScaleEpilogue<'a, P>,
        y: &'a mut [P],
        yl: &'a Layout,
    }
    impl<P: Pixel> Kernel for Plane<'_, P> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let ScaleEpilogue { add, accumulate, relu } = self.epilogue;
            let factor = s.load(self.factor);
            for row in 0..self.yl.height {
                let x = self.x.1.pixels(self.x.0, row);
                let add = add.map(|(add, al)| al.pixels(add, row));
                for (i, y) in self.yl.pixels_mut(self.y, row).iter_mut().enumerate() {
                    let mut value = s.mul(x[i].load(s), factor);
                    if let Some(add) = add {
                        value = s.add(value, add[i].load(s));
                    }
                    if accumulate {
                        value = s.add(value, y.load(s));
                    }
                    if relu {
                        value = s.relu(value);
                    }
                    y.store(s, value);
                }
            }
        }
    }
    threads.planes((y, yl), n, 1, |i, y| {
        let x = (&x[xl.plane_at(i)], xl);
        let add = epilogue.add.map(|(add, al)| (&add[al.plane_at(i)], al));
        let epilogue = ScaleEpilogue { add, ..*epilogue };
        isa.run(Plane { x, factor: &factors[i], epilogue, y, yl });
    });
}

/// `d_factor ← Σ x·dy` over the pixels of each image and channel (or added): the gradient of [`scale`] with respect to
/// its factors.
pub fn scale_factor_gradient(
    isa: Isa,
    threads: &Threads,
    n: usize,
    (x, xl): Operand<'_>,
    (dy, yl): Operand<'_>,
    df: &mut [Block],
    accumulate: bool,
) {
    struct Plane<'a>(Operand<'a>, Operand<'a>);
    impl Kernel for Plane<'_> {
        type Output = Block;
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Block {
            let Self((x, xl), (dy, yl)) = self;
            let mut sum = s.zero();
            for row in 0..xl.height {
                for (x, dy) in xl.pixels(x, row).iter().zip(yl.pixels(dy, row)) {
                    sum = s.mul_add(s.load(x), s.load(dy), sum);
                }
            }
            let mut out = Block::ZERO;
            s.store(&mut out, sum);
            out
        }
    }
    let planes = n * xl.blocks();
    threads.chunks(&mut df[..planes], 1, |plane, df| {
        let x = (&x[xl.plane_at(plane)], xl);
        let dy = (&dy[yl.plane_at(plane)], yl);
        let sum = isa.run(Plane(x, dy));
        let kept = if accumulate { df[0] } else { Block::ZERO };
        df[0] = Block(std::array::from_fn(|lane| kept.0[lane] + sum.0[lane]));
    });
}
