//! M, the products of a forward pass.

use super::Winograd;
use super::places::apart;
use crate::block::{Block, LANES};
use crate::direct::AHEAD;
use crate::simd::{Kernel, Simd};
use std::ops::Range;

/// The products of one group for a chunk.
pub(super) struct Products<'a> {
    pub(super) kernel: &'a Winograd,
    pub(super) v: &'a [Block],
    /// The group's own, of some input blocks; M is made when they are the first, and complete when they are the last.
    pub(super) u: &'a [Block],
    pub(super) bs: Range<usize>,
    pub(super) m: &'a mut [Block],
    /// Number of tiles.
    pub(super) tiles: usize,
    pub(super) g: usize,
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        // Groups are of one block there (`Winograd::new`), and the other form is not compiled.
        if const { S::SCARCE } || self.kernel.group_range(self.g).len() == 1 {
            self.multiply::<S, 1>(s);
        } else {
            self.multiply::<S, 2>(s);
        }
    }
}

impl Products<'_> {
    /// M of all positions.
    #[inline(always)]
    fn multiply<S: Simd, const OB: usize>(&mut self, s: S) {
        let kernel = self.kernel;
        let count = self.tiles;
        let passes = count.div_ceil(S::TILE[OB - 1]);
        let positions = kernel.tile.positions();
        assert!(
            self.bs.end <= kernel.geom().blocks
                && self.m.len() >= positions * apart(OB * kernel.chunk)
        );
        assert!(self.v.len() >= kernel.v_len());
        let len = self.bs.len() * LANES * OB;
        for position in 0..positions {
            let u = &self.u[position * apart(len)..][..len];
            let mut t = 0;
            for pass in 0..passes {
                let width = (count - t).div_ceil(passes - pass);
                macro_rules! by_width {
                    ($($p:literal)*) => {
                        match width {
                            // SAFETY: tiles t .. t + p are within the chunk, so all reads are within V (`v_len`, asserted
                            // above) and U (sliced above); all writes are within M (asserted above).
                            $($p if const { $p <= S::TILE[OB - 1] } => unsafe { self.product::<S, OB, $p>(s, u, position, t) },)*
                            _ => unreachable!("no tile is wider than the instruction set's"),
                        }
                    };
                }
                by_width!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
                t += width;
            }
        }
    }

    /// M of P tiles at one position.
    ///
    /// # Safety
    /// V has `v_len` blocks, M `apart(OB·chunk)` for each position, `u` `OB·16` for each of bs, bs are blocks of the
    /// geometry, and `t + P` is at most `chunk`.
    #[inline(always)]
    unsafe fn product<S: Simd, const OB: usize, const P: usize>(
        &mut self,
        s: S,
        u: &[Block],
        position: usize,
        t: usize,
    ) {
        let (blocks, chunk, bs) = (self.kernel.v_blocks(), self.kernel.chunk, self.bs.clone());
        // Where the group's inputs begin in V.
        let first = if self.kernel.split { self.kernel.first(self.g) } else { 0 };
        let mut acc = [[s.zero(); P]; OB];
        if bs.start > 0 {
            for ob in 0..OB {
                let m = &self.m[position * apart(OB * chunk) + ob * chunk + t..][..P];
                for p in 0..P {
                    acc[ob][p] = s.load(&m[p]);
                }
            }
        }
        // SAFETY: position is one of the tile's, first + b < blocks for the b of bs, and t + p < chunk, so
        // position·apart(blocks·chunk) + (first + b)·chunk + t + p < v_len; the weights are read in order, OB·16 for each b.
        unsafe {
            let from = position * apart(blocks * chunk) + (first + bs.start) * chunk + t;
            let mut v = self.v.as_ptr().add(from).cast::<f32>();
            let mut u = u.as_ptr();
            for _ in bs {
                for lane in 0..LANES {
                    let mut weights = [s.zero(); OB];
                    for ob in 0..OB {
                        weights[ob] = s.load(&*u.add(ob));
                        s.prefetch(u.wrapping_add(ob + AHEAD * OB));
                    }
                    for p in 0..P {
                        let value = s.splat(*v.add(p * LANES + lane));
                        for ob in 0..OB {
                            acc[ob][p] = s.mul_add(value, weights[ob], acc[ob][p]);
                        }
                    }
                    u = u.add(OB);
                }
                v = v.wrapping_add(chunk * LANES);
            }
        }
        for ob in 0..OB {
            let m = &mut self.m[position * apart(OB * chunk) + ob * chunk + t..][..P];
            for p in 0..P {
                s.store(&mut m[p], acc[ob][p]);
            }
        }
    }
}
