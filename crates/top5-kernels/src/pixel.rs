//! What the sixteen channels of a pixel are stored as: f32, or bf16 in half the memory. Kernels compute in f32 either way.

use crate::bf16::Bf16;
use crate::block::{Block, BlockBf16};
use crate::simd::Simd;

/// Sixteen channels of one pixel.
pub trait Pixel: Copy + Default + Send + Sync {
    /// Sixteen zeros.
    const ZERO: Self;
    /// Number of them in the memory of a [`Block`].
    const PER_BLOCK: usize;

    /// Memory for activations as pixels of this kind.
    fn of(memory: &[Block]) -> &[Self];
    /// Memory for activations as pixels of this kind, to be changed in place.
    fn of_mut(memory: &mut [Block]) -> &mut [Self];
    /// One channel.
    fn lane(&self, lane: usize) -> f32;
    /// Changes one channel to the nearest number there is.
    fn set_lane(&mut self, lane: usize, x: f32);
    /// All channels.
    fn load<S: Simd>(&self, simd: S) -> S::V;
    /// Changes all channels to the nearest numbers there are.
    fn store<S: Simd>(&mut self, simd: S, x: S::V);
}

impl Pixel for Block {
    const ZERO: Self = Self::ZERO;
    const PER_BLOCK: usize = 1;

    fn of(memory: &[Block]) -> &[Self] {
        memory
    }

    fn of_mut(memory: &mut [Block]) -> &mut [Self] {
        memory
    }

    #[inline(always)]
    fn lane(&self, lane: usize) -> f32 {
        self.0[lane]
    }

    #[inline(always)]
    fn set_lane(&mut self, lane: usize, x: f32) {
        self.0[lane] = x;
    }

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> S::V {
        simd.load(self)
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, simd: S, x: S::V) {
        simd.store(self, x);
    }
}

impl Pixel for BlockBf16 {
    const ZERO: Self = Self::ZERO;
    const PER_BLOCK: usize = 2;

    fn of(memory: &[Block]) -> &[Self] {
        // SAFETY: a Block is as large as two of these (the assertion above) and aligned more strictly, and all bits are
        // valid u16; the slice covers exactly these bytes, borrowed for as long.
        unsafe { std::slice::from_raw_parts(memory.as_ptr().cast(), memory.len() * 2) }
    }

    fn of_mut(memory: &mut [Block]) -> &mut [Self] {
        // SAFETY: as in `of`, and the borrow is exclusive; all bits are valid floats.
        unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast(), memory.len() * 2) }
    }

    #[inline(always)]
    fn lane(&self, lane: usize) -> f32 {
        self.0[lane].to_f32()
    }

    #[inline(always)]
    fn set_lane(&mut self, lane: usize, x: f32) {
        self.0[lane] = Bf16::from_f32(x);
    }

    #[inline(always)]
    fn load<S: Simd>(&self, simd: S) -> S::V {
        simd.widen(self)
    }

    #[inline(always)]
    fn store<S: Simd>(&mut self, simd: S, x: S::V) {
        *self = simd.narrow(x);
    }
}
