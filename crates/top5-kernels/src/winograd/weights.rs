//! U, the transform of the weights.
//!
//! Training computes it anew in each step, for the forward pass and, from transposed weights, for the backward pass.

use super::{POSITIONS, T, Winograd};
use crate::block::{Block, LANES};
use crate::isa::Kernel;
use crate::simd::Simd;
use crate::threads::{Shore, Threads};
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Blocks of U above which it is written past the caches: half of a last-level cache.
const STREAMED: usize = 1 << 18;

impl Winograd {
    /// Transforms weights that are packed for direct convolution of the same geometry.
    pub fn pack(&self, threads: &Threads, direct: &[Block], packed: &mut [Block]) {
        let geom = &self.geom;
        assert_eq!(direct.len(), geom.packed_len(), "the weights are packed for another geometry");
        assert_eq!(packed.len(), self.packed_len(), "the transform has another length");
        let u = Shore(packed.as_mut_ptr());
        // Jobs: an input block of a group of outputs. Each writes pieces that interleave with the others'.
        threads.run(self.groups() * geom.blocks, |job| {
            let (g, b) = (job / geom.blocks, job % geom.blocks);
            self.isa.run(Weights { kernel: self, direct, u, g, b });
        });
    }
}

/// U of one input block of a group of outputs.
struct Weights<'a> {
    kernel: &'a Winograd,
    direct: &'a [Block],
    u: Shore,
    g: usize,
    b: usize,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { kernel, direct, u, g, b } = self;
        let blocks = kernel.geom.blocks;
        let range = kernel.group_range(g);
        let len = range.len();
        let start = g * kernel.group * POSITIONS * blocks * LANES;
        assert!(start + POSITIONS * blocks * LANES * len <= kernel.packed_len() && b < blocks);
        let streams = kernel.packed_len() > STREAMED;
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
                        let at = ((r * T + c) * blocks + b) * LANES + lane;
                        // SAFETY: at < 36·blocks·16 and i < len, so this is within U, which has `packed_len` blocks
                        // (asserted in `Winograd::pack`, and above for this group); only this job writes input block b
                        // of the group.
                        let u = unsafe { &mut *u.pointer().add(start + at * len + i) };
                        if streams {
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
