//! The shape of one sample's activation: a stack of feature maps, or a flat vector.

use std::fmt;

/// The shape of one sample; the batch is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Channels, height, width.
    Map([usize; 3]),
    /// Features.
    Flat(usize),
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
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Map([c, h, w]) => write!(f, "{c}×{h}×{w}"),
            Self::Flat(n) => write!(f, "{n}"),
        }
    }
}
