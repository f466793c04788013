//! What the loop nests of convolutions multiply: floats, or pairs of bf16.
//!
//! Either way a vector of sixteen factors meets another, and sixteen products, or sums of two, are added to sixteen sums in
//! f32. What is written over [`Multiply`] serves both precisions.

use crate::bf16::{Bf16, SimdBf16};
use crate::block::{Block, LANES};
use crate::pixel::Pixel;
use crate::simd::Simd;

/// Sixteen multiplications at once.
pub(crate) trait Multiply: Copy {
    /// What inputs consist of.
    type Element: Copy;
    /// Sixteen factors.
    type Factors: Copy;
    /// The vectors of the sums.
    type Floats: Simd;

    /// Lanes of the input that are one factor.
    const DEPTH: usize;
    /// [`Simd::TILE`].
    const TILE: [usize; 2];

    /// The operations on sums.
    fn floats(self) -> Self::Floats;
    /// From memory: the floats, or the pairs that their bits are.
    fn load(self, w: &Block) -> Self::Factors;
    /// The same factor sixteen times: the float, or the pair that its bits are.
    fn splat(self, x: f32) -> Self::Factors;
    /// The same factor sixteen times: the one at `x`.
    ///
    /// # Safety
    /// There are [`Multiply::DEPTH`] elements.
    unsafe fn splat_at(self, x: *const Self::Element) -> Self::Factors;
    /// In every group of `group` of a pixel's channels, 4 or 8, its factor `i` for all of them.
    fn spread(self, x: &[Self::Element; LANES], group: usize, i: usize) -> Self::Factors;
    /// `c` and the products of `a` and `b`.
    fn mul_add(self, a: Self::Factors, b: Self::Factors, c: Sums<Self>) -> Sums<Self>;
    /// Sums to memory.
    fn store<P: Pixel>(self, y: &mut P, x: Sums<Self>);
}

/// Sixteen sums.
pub(crate) type Sums<M> = <<M as Multiply>::Floats as Simd>::V;

/// Products of floats.
#[derive(Clone, Copy)]
pub(crate) struct Floats<S>(pub(crate) S);

impl<S: Simd> Multiply for Floats<S> {
    type Element = f32;
    type Factors = S::V;
    type Floats = S;

    const DEPTH: usize = 1;
    const TILE: [usize; 2] = S::TILE;

    #[inline(always)]
    fn floats(self) -> S {
        self.0
    }

    #[inline(always)]
    fn load(self, w: &Block) -> S::V {
        self.0.load(w)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> S::V {
        self.0.splat(x)
    }

    #[inline(always)]
    unsafe fn splat_at(self, x: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        self.0.splat(unsafe { *x })
    }

    #[inline(always)]
    fn spread(self, x: &[f32; LANES], group: usize, i: usize) -> S::V {
        self.0.spread(self.0.load_floats(x), group, i)
    }

    #[inline(always)]
    fn mul_add(self, a: S::V, b: S::V, c: S::V) -> S::V {
        self.0.mul_add(a, b, c)
    }

    #[inline(always)]
    fn store<P: Pixel>(self, y: &mut P, x: S::V) {
        y.store(self.0, x);
    }
}

/// Products of pairs of bf16.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<D>(pub(crate) D);

impl<D: SimdBf16> Multiply for Pairs<D> {
    type Element = Bf16;
    type Factors = D::Pairs;
    type Floats = D::Floats;

    const DEPTH: usize = 2;
    const TILE: [usize; 2] = D::TILE;

    #[inline(always)]
    fn floats(self) -> D::Floats {
        self.0.floats()
    }

    #[inline(always)]
    fn load(self, w: &Block) -> D::Pairs {
        self.0.load(w)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> D::Pairs {
        self.0.splat(x.to_bits())
    }

    #[inline(always)]
    unsafe fn splat_at(self, x: *const Bf16) -> D::Pairs {
        // SAFETY: the caller's promise; all bits are valid.
        let bits = unsafe { x.cast::<u32>().read_unaligned() };
        self.0.splat(if cfg!(target_endian = "big") { bits.rotate_left(16) } else { bits })
    }

    #[inline(always)]
    fn spread(self, x: &[Bf16; LANES], group: usize, i: usize) -> D::Pairs {
        self.0.spread(x, group, i)
    }

    #[inline(always)]
    fn mul_add(self, a: D::Pairs, b: D::Pairs, c: Sums<Self>) -> Sums<Self> {
        self.0.dot(a, b, c)
    }

    #[inline(always)]
    fn store<P: Pixel>(self, y: &mut P, x: Sums<Self>) {
        y.store_bf16(self.0, x);
    }
}
