//! What a convolution reads, and what happens to its sums before they are stored.

use super::geometry::{ConvGeom, Strides};
use crate::block::{Block, BlockBf16};
use crate::precision::Precision;

/// An activation to read, in either precision.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// In f32.
    F32(&'a [Block]),
    /// In bf16.
    Bf16(&'a [BlockBf16]),
}

impl Input<'_> {
    /// Its precision.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::Bf16(_) => Precision::Bf16,
        }
    }
}

/// Where the result goes, in either precision, and how.
#[derive(Debug)]
pub enum Output<'a> {
    /// In f32.
    F32(&'a mut [Block], Epilogue<'a>),
    /// In bf16.
    Bf16(&'a mut [BlockBf16], Epilogue<'a, BlockBf16>),
}

/// What happens to a tile before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a, P = Block> {
    /// Added first; one block per output block.
    pub bias: Option<&'a [Block]>,
    /// Added next: another activation, and where it is.
    pub add: Option<(&'a [P], Strides)>,
    /// Then `max(0, ·)`.
    pub relu: bool,
    /// The result is added to what the output holds.
    pub accumulate: bool,
}

impl<P> Epilogue<'_, P> {
    /// Asserts that the operands are there for a run of this geometry with `n` images.
    pub(crate) fn check(&self, geom: &ConvGeom, n: usize) {
        assert!(
            self.bias.is_none_or(|bias| bias.len() >= geom.out_blocks()),
            "the bias is too short"
        );
        if let Some((add, at)) = self.add {
            geom.check_output(n, &at, add.len());
        }
    }
}
