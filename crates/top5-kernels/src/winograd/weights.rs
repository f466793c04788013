//! U, the transform of the weights.
//!
//! Training computes it anew in each step, for the forward pass and, from transposed weights, for the backward pass.

use super::{POSITIONS, T, Winograd};
use crate::block::{Block, LANES};
use crate::conv::Epilogue;
use crate::isa::Kernel;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::Range;

/// Blocks of U above which it is written past the caches: half of a last-level cache.
const STREAMED: usize = 1 << 18;
/// Input blocks of a piece of U that is used at once: with M, it stays in a second-level cache.
const PIECE: usize = 4;

impl Winograd {
    /// Transforms weights that are packed for direct convolution of the same geometry.
    pub fn pack(&self, threads: &Threads, direct: &[Block], packed: &mut [Block]) {
        let geom = &self.geom;
        assert_eq!(direct.len(), geom.packed_len(), "the weights are packed for another geometry");
        assert_eq!(packed.len(), self.packed_len(), "the transform has another length");
        let u = Shore(packed.as_mut_ptr());
        let stream = packed.len() > STREAMED;
        // Jobs: an input block of a group of outputs. Each writes pieces that interleave with the others'.
        threads.run(self.groups() * geom.blocks, |job| {
            let (g, b) = (job / geom.blocks, job % geom.blocks);
            // The groups before this one are whole, so this is within `packed` (its length is asserted above).
            let u = Shore(u.pointer().wrapping_add(g * self.group_len()));
            let bs = 0..geom.blocks;
            self.isa.run(Weights { kernel: self, direct, u, bs, g, b, stream });
        });
    }

    /// Blocks of scratch memory for [`Winograd::run_direct`].
    pub fn direct_workspace(&self, threads: usize) -> usize {
        let own = if self.split { threads * self.piece_len() } else { self.packed_len() };
        self.workspace(threads) + own
    }

    /// As [`Winograd::run`], with weights that are packed for direct convolution. Where the threads share V, U is never in
    /// memory as a whole: each group transforms what it needs, some input blocks at a time.
    pub fn run_direct(
        &self,
        threads: &Threads,
        n: usize,
        x: &[Block],
        direct: &[Block],
        epilogue: &Epilogue<'_>,
        work: &mut [Block],
        y: &mut [Block],
    ) {
        let len = self.geom.packed_len();
        assert_eq!(direct.len(), len, "the weights are packed for another geometry");
        if !self.split {
            let (u, work) = work.split_at_mut(self.packed_len());
            self.pack(threads, direct, u);
            return self.run(threads, n, x, u, epilogue, work, y);
        }
        self.check(n, x, epilogue, y);
        let own = self.piece_len();
        self.run_split(threads, n, x, epilogue, (work, own), y, |g, u, each| {
            for start in (0..self.geom.blocks).step_by(PIECE) {
                let bs = start..(start + PIECE).min(self.geom.blocks);
                let to = Shore(u.as_mut_ptr());
                for b in bs.clone() {
                    let (bs, u) = (bs.clone(), to);
                    self.isa.run(Weights { kernel: self, direct, u, bs, g, b, stream: false });
                }
                each(u, bs);
            }
        });
    }

    /// Blocks of a piece of U.
    fn piece_len(&self) -> usize {
        POSITIONS * PIECE.min(self.geom.blocks) * LANES * self.group
    }
}

/// U of one input block of a group of outputs.
struct Weights<'a> {
    kernel: &'a Winograd,
    direct: &'a [Block],
    /// Where the piece for the input blocks `bs` begins; it has 36·16 blocks for each of them and of the group's outputs.
    u: Shore,
    bs: Range<usize>,
    g: usize,
    b: usize,
    /// Write past the caches.
    stream: bool,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { kernel, direct, u, bs, g, b, stream } = self;
        let blocks = kernel.geom.blocks;
        let range = kernel.group_range(g);
        let len = range.len();
        assert!(bs.contains(&b));
        for lane in 0..LANES {
            for (i, k) in range.clone().enumerate() {
                let element = &direct[(k * blocks + b) * 9 * LANES + lane..];
                let mut half = [[s.zero(); 3]; T];
                for c in 0..3 {
                    let mut column = [s.zero(); 3];
                    for r in 0..3 {
                        column[r] = s.load(&element[kernel.taps[r * 3 + c] * LANES]);
                    }
                    let column = weight_line(s, column);
                    for r in 0..T {
                        half[r][c] = column[r];
                    }
                }
                for r in 0..T {
                    let line = weight_line(s, half[r]);
                    for c in 0..T {
                        let at = ((r * T + c) * bs.len() + b - bs.start) * LANES + lane;
                        // SAFETY: at < 36·bs·16 (b is asserted above) and i < len, so this is within the piece; only
                        // this job writes its input block b.
                        let u = unsafe { &mut *u.pointer().add(at * len + i) };
                        if stream {
                            s.stream(u, line[c]);
                        } else {
                            s.store(u, line[c]);
                        }
                    }
                }
            }
        }
        s.fence();
    }
}

/// `G g` for three vectors.
#[inline(always)]
fn weight_line<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; T] {
    let [two_thirds, third, sixth] = [-2.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0].map(|x: f32| s.splat(x));
    let [a, b] = [2.0 * FRAC_1_SQRT_2 / 3.0, SQRT_2 / 6.0].map(|x| s.splat(x as f32));
    let last = s.mul(third, g[2]);
    let near = s.sub(s.mul(two_thirds, g[0]), last);
    let near_odd = s.mul(a, g[1]);
    let far = s.mul_add(sixth, g[0], last);
    let far_odd = s.mul(b, g[1]);
    [
        g[0],
        s.sub(near, near_odd),
        s.add(near, near_odd),
        s.add(far, far_odd),
        s.sub(far, far_odd),
        g[2],
    ]
}
