//! Strips: some pixels of some images, whose products a job adds at once.

use crate::conv::{ConvGeom, Strides};
use std::ops::Range;

/// Pixels of a strip.
const STRIP: usize = 160;

/// Some pixels of some images: a part of one, or several as a whole.
#[derive(Clone, Debug)]
pub(super) struct Strip {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) cols: Range<usize>,
}

/// The pixels of some images, as strips.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strips {
    /// Images, rows, columns.
    size: [usize; 3],
    /// Those of a strip.
    step: [usize; 3],
    /// What a strip may have at most, which unlike `step` is no less for fewer images.
    most: [usize; 3],
}

impl Strips {
    /// Of the geometry's rows.
    pub(super) fn new(geom: &ConvGeom, images: usize, cols: usize) -> Self {
        let linear = geom.x.row == cols * geom.x.pixel && geom.y.row == cols * geom.y.pixel;
        let (rows, cols) = if linear { (1, geom.rows * cols) } else { (geom.rows, cols) };
        let (down, across) =
            if rows == 1 { (1, STRIP) } else { (STRIP.div_ceil(cols.max(1)), cols) };
        let most = [STRIP / (rows * cols).max(1), down, across].map(|most| most.max(1));
        let size = [images, rows, cols];
        // As few as possible, of the same size.
        let step = |i: usize| size[i].div_ceil(size[i].div_ceil(most[i]).max(1)).max(1);
        Self { size, step: [0, 1, 2].map(step), most }
    }

    fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.size[i].div_ceil(self.step[i]))
    }

    pub(super) fn count(&self) -> usize {
        self.counts().into_iter().product()
    }

    /// No strip of as many or of fewer images has more images, rows or columns.
    pub(super) fn largest(&self) -> [usize; 3] {
        [0, 1, 2].map(|i| self.most[i].min(self.size[i]))
    }

    /// How far from a strip's elements those of the next one are, in most cases.
    pub(super) fn ahead(&self, s: &Strides) -> usize {
        let [images, rows, cols] = self.step;
        let distance = match self.counts() {
            [_, 1, 1] => [images, s.image],
            [_, _, 1] => [rows, s.row],
            _ => [cols, s.pixel],
        };
        distance[0].wrapping_mul(distance[1])
    }

    /// The strip with this number.
    pub(super) fn at(&self, number: usize) -> Strip {
        let [_, rows, cols] = self.counts();
        let range =
            |i: usize, at: usize| at * self.step[i]..((at + 1) * self.step[i]).min(self.size[i]);
        Strip {
            images: range(0, number / cols / rows),
            rows: range(1, number / cols % rows),
            cols: range(2, number % cols),
        }
    }
}
