//! The shape of one sample's activation: a stack of feature maps, or a flat vector.

use crate::error::ShapeError;
use std::fmt;

/// The shape of one sample; the batch is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Channels, height, width.
    Map([usize; 3]),
    /// Features.
    Flat(usize),
}

/// No activation of one sample, and no parameter tensor, may hold more elements than this (4 TiB of f32).
pub(crate) const MAX_ELEMENTS: usize =
    if usize::BITS < 64 { 1 << 28 } else { 1_usize.rotate_left(40) };

/// The product of `dims`, or an error when it is zero or beyond [`MAX_ELEMENTS`].
pub(crate) fn volume(dims: &[usize]) -> Result<usize, ShapeError> {
    let product = dims.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
    match product {
        Some(0) => Err(ShapeError::Empty { dims: dims.to_vec() }),
        Some(n) if n <= MAX_ELEMENTS => Ok(n),
        Some(_) | None => Err(ShapeError::TooLarge { dims: dims.to_vec() }),
    }
}

impl Shape {
    /// Number of elements of one sample.
    pub fn elements(&self) -> usize {
        match *self {
            Self::Map([c, h, w]) => c * h * w,
            Self::Flat(n) => n,
        }
    }

    /// Channels of a map, features of a vector.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Map([c, ..]) => c,
            Self::Flat(n) => n,
        }
    }

    /// Height and width; a vector counts as 1 by 1.
    pub fn size(&self) -> [usize; 2] {
        match *self {
            Self::Map([_, h, w]) => [h, w],
            Self::Flat(_) => [1, 1],
        }
    }

    /// The dimensions, without the batch: `[c, h, w]` or `[n]`.
    pub fn dims(&self) -> Vec<usize> {
        match *self {
            Self::Map(chw) => chw.to_vec(),
            Self::Flat(n) => vec![n],
        }
    }

    /// `[c, h, w]`, or an error for a flat vector.
    pub fn chw(&self) -> Result<[usize; 3], ShapeError> {
        match *self {
            Self::Map(chw) => Ok(chw),
            Self::Flat(n) => Err(ShapeError::NotAMap { features: n }),
        }
    }

    /// The number of features, or an error for a map that was not flattened.
    pub fn flat(&self) -> Result<usize, ShapeError> {
        match *self {
            Self::Flat(n) => Ok(n),
            Self::Map(chw) => Err(ShapeError::NotFlat { chw }),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Map([c, h, w]) => write!(f, "{c}×{h}×{w}"),
            Self::Flat(n) => write!(f, "{n}"),
        }
    }
}
