//! The geometry of a convolution-like loop nest, and the one place where its sizes are computed.
//!
//! A [`ConvNest`] is only numbers. A [`ConvGeom`] is one whose sizes have been computed without an overflow: kernels take
//! nothing else, and multiply no numbers of a geometry but those whose product has been checked here. What a run with `n`
//! images touches is compared with the lengths of its operands by [`ConvGeom::check`].

use crate::block::LANES;
use std::fmt;
use std::ops::{Deref, Range};

/// Where the operand of a loop nest is: an offset and the distances between neighbours. In floats for the input, in
/// blocks for the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strides {
    /// Position of the first element.
    pub offset: usize,
    /// From image to image.
    pub image: usize,
    /// From channel block to channel block.
    pub block: usize,
    /// From row to row.
    pub row: usize,
    /// From pixel to pixel.
    pub pixel: usize,
}

/// Most vectors of weights for one output block of groups, where their zeros are skipped: the vectors are summed once for each
/// piece, onto the stack.
pub(crate) const MOST_GROUPED: usize = 288;

/// Most inputs of such a group.
pub(crate) const MOST_INPUTS: usize = 32;

/// Most blocks of inputs that an output block of such groups reads.
pub(crate) const MOST_SOURCES: usize = 4;

/// The channels of one of several groups: outputs with the numbers `outputs·g` … read the inputs `inputs·g` ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
}

/// A convolution-like loop nest, as [`ConvGeom::new`] takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvNest {
    /// Output rows.
    pub rows: usize,
    /// Output columns; ignored when the batch is the row.
    pub cols: usize,
    /// The pixels of the only row are the images of the batch (fully connected layers).
    pub batch_is_row: bool,
    /// Output channels in all.
    pub out_channels: usize,
    /// For each output block, the first input block that it reads.
    pub first: Vec<usize>,
    /// Number of input blocks that an output block reads.
    pub blocks: usize,
    /// Channel-like elements of a whole block in the packed weights.
    pub lanes: usize,
    /// Channel-like elements of the input in all; the last block may be cut short.
    pub depth: usize,
    /// If there are groups: the channels of one. Weights of other channels of the blocks that an output block reads are zeros.
    pub group: Option<Group>,
    /// For each tap, the offset of its element from the pixel, in floats.
    pub taps: Vec<usize>,
    /// Where the input is, in floats.
    pub x: Strides,
    /// Where the output is, in blocks.
    pub y: Strides,
}

/// A loop nest whose sizes fit the address space, many times over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvGeom(ConvNest);

/// Why numbers are no loop nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeomError {
    /// This one must not be zero, or not empty.
    Empty(&'static str),
    /// This one is larger than any memory.
    TooLarge(&'static str),
    /// These contradict each other.
    Mismatch(&'static str),
}

impl fmt::Display for GeomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty(what) => write!(f, "a loop nest has at least one of its {what}"),
            Self::TooLarge(what) => write!(f, "the {what} of a loop nest are too large"),
            Self::Mismatch(what) => write!(f, "a loop nest whose {what}"),
        }
    }
}

impl std::error::Error for GeomError {}

/// No size of a geometry is larger, in floats or in blocks, so that a kernel's few multiples of one are no overflow. The sizes
/// are at most 16 times as large as the activations, those of small maps, which tiles do not fit.
pub const LARGEST: usize = if usize::BITS < 64 { 1 << 26 } else { 1_usize.rotate_left(52) };

/// Rows and columns are rounded up to a whole number of the largest tiles.
const TILE: usize = 4;

/// The product, if it is a size.
fn product(factors: &[usize]) -> Option<usize> {
    let product = factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor));
    product.filter(|&product| product <= LARGEST)
}

impl Strides {
    /// The position after the last of so many images, blocks, rows and pixels, if it is a size, and all distances are.
    fn end(&self, counts: [usize; 4]) -> Option<usize> {
        let distances = [self.image, self.block, self.row, self.pixel];
        if distances.iter().any(|&distance| distance > LARGEST) {
            return None;
        }
        let steps = distances.into_iter().zip(counts);
        let end =
            steps.into_iter().try_fold(self.offset.checked_add(1)?, |end, (distance, count)| {
                end.checked_add(distance.checked_mul(count.saturating_sub(1))?)
            });
        end.filter(|&end| end <= LARGEST)
    }
}

impl Deref for ConvGeom {
    type Target = ConvNest;

    fn deref(&self) -> &ConvNest {
        &self.0
    }
}

impl ConvGeom {
    /// The geometry of this loop nest, if its sizes can be computed and its numbers agree.
    pub fn new(nest: ConvNest) -> Result<Self, GeomError> {
        use GeomError::{Empty, Mismatch, TooLarge};
        let ConvNest { rows, cols, blocks, lanes, depth, group, out_channels, .. } = nest;
        let (outputs, taps) = (nest.first.len(), nest.taps.len());
        for (what, number) in [
            ("output blocks", outputs),
            ("input blocks", blocks),
            ("lanes", lanes),
            ("taps", taps),
            ("groups' channels", group.map_or(1, |group| group.inputs.min(group.outputs))),
        ] {
            if number == 0 {
                return Err(Empty(what));
            }
        }
        let last = nest.first.iter().max().map_or(0, |&first| first).checked_add(blocks);
        let last = last.filter(|&last| product(&[last, lanes.max(LANES)]).is_some());
        let last = last.ok_or(TooLarge("input blocks"))?;
        if depth > LARGEST {
            return Err(TooLarge("input channels"));
        }
        product(&[outputs, blocks, taps, lanes]).ok_or(TooLarge("weights"))?;
        let padded = |size: usize| size.checked_next_multiple_of(TILE);
        let area = padded(rows).zip(padded(cols)).and_then(|(rows, cols)| product(&[rows, cols]));
        area.and_then(|area| product(&[area, outputs.max(last)])).ok_or(TooLarge("outputs"))?;
        let tap = nest.taps.iter().max().map_or(0, |&tap| tap);
        let input = nest.x.end([1, last, rows, cols]).and_then(|end| end.checked_add(tap));
        let input = input.and_then(|end| end.checked_add(lanes)).filter(|&end| end <= LARGEST);
        input.ok_or(TooLarge("distances of inputs"))?;
        nest.y.end([1, outputs, rows, cols]).ok_or(TooLarge("distances of outputs"))?;
        if out_channels.div_ceil(LANES) != outputs {
            return Err(Mismatch("output channels are not those of its output blocks"));
        }
        if nest.batch_is_row && rows > 1 {
            return Err(Mismatch("batch is a row has one row"));
        }
        let geom = Self(nest);
        if geom.group.is_some_and(|group| lanes != LANES || !geom.has_groups(group)) {
            return Err(Mismatch("groups have channels that their output blocks do not read"));
        }
        Ok(geom)
    }

    /// Whether every output block reads the inputs of its groups, and these exist.
    fn has_groups(&self, group: Group) -> bool {
        (0..self.out_blocks()).all(|k| {
            let groups = self.groups_of(group, k);
            let channel = |g: usize| g.checked_mul(group.inputs);
            let ends = channel(groups.start).zip(channel(groups.end));
            ends.is_some_and(|(start, end)| {
                let first = self.first[k];
                first * LANES <= start && end <= self.depth.min((first + self.blocks) * LANES)
            })
        })
    }

    /// The groups that have outputs in output block `k`.
    pub(crate) fn groups_of(&self, group: Group, k: usize) -> Range<usize> {
        let end = ((k + 1) * LANES).min(self.out_channels);
        k * LANES / group.outputs..end.div_ceil(group.outputs)
    }

    /// The loop nest, to be changed.
    pub fn into_nest(self) -> ConvNest {
        self.0
    }

    /// The number after the last input block that is read.
    pub(crate) fn in_blocks(&self) -> usize {
        self.first.iter().max().map_or(0, |&first| first) + self.blocks
    }

    /// Blocks of output channels.
    pub fn out_blocks(&self) -> usize {
        self.first.len()
    }

    /// Packed blocks of one output block.
    pub fn weight_stride(&self) -> usize {
        self.blocks * self.taps.len() * self.lanes
    }

    /// Packed blocks in all.
    pub fn packed_len(&self) -> usize {
        self.out_blocks() * self.weight_stride()
    }

    /// The packed block that holds, for the 16 channels of output block `k`, the weights of input block `b` (an absolute
    /// number), tap `t`, lane `l`. `None` if `k` does not read `b`.
    pub fn packed_index(&self, k: usize, b: usize, t: usize, l: usize) -> Option<usize> {
        let relative = b.checked_sub(self.first[k]).filter(|&r| r < self.blocks)?;
        Some(((k * self.blocks + relative) * self.taps.len() + t) * self.lanes + l)
    }

    /// Elements of input block `b`, one of those that are read, that are there.
    #[inline(always)]
    pub fn lanes_of(&self, b: usize) -> usize {
        self.depth.saturating_sub(b * self.lanes).min(self.lanes)
    }

    /// The channels of a group, where the kernels skip the zeros between groups.
    pub(crate) fn grouped(&self) -> Option<Group> {
        self.group.filter(|group| {
            let zeros = group.inputs < self.blocks * LANES;
            let few = group.inputs <= MOST_INPUTS && self.blocks <= MOST_SOURCES;
            // Blocks are read as a whole.
            let whole = self.depth >= LANES;
            zeros && few && whole && self.taps.len() * group.inputs <= MOST_GROUPED
        })
    }

    /// (images, columns) of a run with `n` images.
    pub(crate) fn extent(&self, n: usize) -> (usize, usize) {
        if self.batch_is_row { (1, n) } else { (n, self.cols) }
    }

    /// Whether rows follow each other without a gap at these strides, so that all pixels are one row.
    pub(crate) fn is_one_row(&self, strides: &Strides) -> bool {
        !self.batch_is_row && self.cols.checked_mul(strides.pixel) == Some(strides.row)
    }

    /// Whether the sizes of a run with so many images can be computed: those of activations, and of tiles in their place.
    pub(crate) fn allows(&self, images: usize) -> bool {
        let (images, cols) = self.extent(images);
        let blocks = self.out_blocks().max(self.in_blocks());
        let rows = self.rows.next_multiple_of(TILE);
        let cols = cols.checked_next_multiple_of(TILE);
        let pixels = cols.and_then(|cols| product(&[images, rows, cols]));
        pixels.is_some_and(|pixels| product(&[pixels, blocks]).is_some())
    }

    /// Multiply-accumulates of one image, as executed.
    pub fn macs(&self) -> u64 {
        let cols = if self.batch_is_row { 1 } else { self.cols };
        let lanes = match self.grouped() {
            Some(group) => group.inputs,
            None => {
                let until = |b: usize| self.depth.min(b * self.lanes);
                until(self.first[0] + self.blocks) - until(self.first[0])
            }
        };
        let factors = [self.rows, cols, self.taps.len(), lanes, self.out_blocks(), LANES];
        factors.into_iter().fold(1, |product, factor| product.saturating_mul(factor as u64))
    }

    /// Asserts that every element a run with `n` images touches is within `x` floats and `y` blocks, and that no two
    /// outputs have one place. Sums that overflow are too large.
    pub(crate) fn check(&self, n: usize, x: usize, y: usize) {
        let (images, cols) = self.extent(n);
        if [images, self.rows, cols].contains(&0) {
            return;
        }
        let read = self.in_blocks().min(self.depth.div_ceil(self.lanes)).max(1);
        self.check_input(n, read, self.lanes.min(self.depth), x);
        self.check_output(n, &self.y, y);
    }

    /// As [`ConvGeom::check`], where all lanes of all input blocks are read, also those that hold no channel, and one more
    /// if they are odd in number.
    pub(crate) fn check_whole_input(&self, n: usize, x: usize) {
        if !self.axes(&self.x, 1, n).iter().any(|&(_, count)| count == 0) {
            self.check_input(n, self.in_blocks(), self.lanes.next_multiple_of(2), x);
        }
    }

    /// Asserts that so many lanes of so many blocks are within `x` floats for every pixel, of which there are some.
    fn check_input(&self, n: usize, blocks: usize, lanes: usize, x: usize) {
        let tap = self.taps.iter().max().map_or(0, |&t| t);
        let input = self.axes(&self.x, blocks, n).into_iter().fold(self.x.offset, reach);
        let input = input.saturating_add(tap).saturating_add(lanes);
        assert!(input <= x, "the input is too short");
    }

    /// (distance, count) of images, blocks, rows and columns.
    fn axes(&self, s: &Strides, blocks: usize, n: usize) -> [(usize, usize); 4] {
        let (images, cols) = self.extent(n);
        [(s.image, images), (s.block, blocks), (s.row, self.rows), (s.pixel, cols)]
    }

    /// Asserts that all outputs are within `y` blocks at these strides, each in its own place.
    pub(super) fn check_output(&self, n: usize, at: &Strides, y: usize) {
        let mut axes = self.axes(at, self.out_blocks(), n);
        if axes.iter().any(|&(_, count)| count == 0) {
            return;
        }
        assert!(axes.into_iter().fold(at.offset, reach) < y, "the output is too short");
        axes.sort_unstable();
        axes.into_iter().filter(|&(_, count)| count > 1).fold(0, |within, (stride, count)| {
            assert!(stride > within, "two outputs have one place");
            within + stride * (count - 1)
        });
    }
}

/// The last position along one more axis.
fn reach(at: usize, (stride, count): (usize, usize)) -> usize {
    at.saturating_add(stride.saturating_mul(count - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nest() -> ConvNest {
        ConvNest {
            rows: 3,
            cols: 3,
            batch_is_row: false,
            out_channels: 16,
            first: vec![0],
            blocks: 1,
            lanes: LANES,
            depth: LANES,
            group: None,
            taps: vec![0],
            x: Strides { image: 144, block: 144, row: 48, pixel: 16, ..Strides::default() },
            y: Strides { image: 9, block: 9, row: 3, pixel: 1, ..Strides::default() },
        }
    }

    #[test]
    fn numbers_that_are_no_loop_nest_are_refused() {
        use GeomError::{Empty, Mismatch, TooLarge};
        let huge = usize::MAX / 2 + 1;
        let refused = |change: &dyn Fn(&mut ConvNest)| {
            let mut nest = nest();
            change(&mut nest);
            ConvGeom::new(nest).unwrap_err()
        };
        assert_eq!(refused(&|nest| nest.first.clear()), Empty("output blocks"));
        assert_eq!(refused(&|nest| nest.blocks = 0), Empty("input blocks"));
        assert_eq!(refused(&|nest| nest.lanes = 0), Empty("lanes"));
        assert_eq!(refused(&|nest| nest.taps.clear()), Empty("taps"));
        let group = |inputs: usize, outputs: usize| Some(Group { inputs, outputs });
        assert_eq!(refused(&|nest| nest.group = group(0, 4)), Empty("groups' channels"));
        assert_eq!(refused(&|nest| nest.group = group(4, 0)), Empty("groups' channels"));
        assert_eq!(refused(&|nest| nest.first = vec![huge / 8]), TooLarge("input blocks"));
        assert_eq!(refused(&|nest| nest.blocks = huge), TooLarge("input blocks"));
        assert_eq!(refused(&|nest| nest.lanes = huge), TooLarge("input blocks"));
        assert_eq!(refused(&|nest| nest.depth = huge), TooLarge("input channels"));
        assert_eq!(refused(&|nest| nest.rows = huge), TooLarge("outputs"));
        assert_eq!(refused(&|nest| nest.cols = usize::MAX), TooLarge("outputs"));
        let weights = |nest: &mut ConvNest| {
            (nest.blocks, nest.taps) = (LARGEST / LANES / LANES, vec![0; 2 * LANES]);
        };
        assert_eq!(refused(&weights), TooLarge("weights"));
        for at in 0..6 {
            let change = |nest: &mut ConvNest| {
                let Strides { offset, image, block, row, pixel } = &mut nest.x;
                *[&mut nest.taps[0], offset, image, block, row, pixel][at] = huge;
            };
            assert_eq!(refused(&change), TooLarge("distances of inputs"), "{at}");
            let change = |nest: &mut ConvNest| {
                let Strides { offset, image, block, row, pixel } = &mut nest.y;
                *[offset, image, block, row, pixel][at.min(4)] = huge;
            };
            assert_eq!(refused(&change), TooLarge("distances of outputs"), "{at}");
        }
        let is_mismatch = |error| matches!(error, Mismatch(_));
        assert!(is_mismatch(refused(&|nest| nest.out_channels = 17)));
        assert!(is_mismatch(refused(&|nest| nest.batch_is_row = true)));
        assert!(is_mismatch(refused(&|nest| (nest.group, nest.depth) = (group(4, 4), 15))));
        assert!(is_mismatch(refused(&|nest| nest.group = group(17, 16))));
        assert!(is_mismatch(refused(&|nest| nest.group = group(usize::MAX, 1))));
    }

    #[test]
    fn sizes_of_a_loop_nest() {
        let geom = ConvGeom::new(nest()).unwrap();
        assert_eq!((geom.packed_len(), geom.weight_stride(), geom.macs()), (16, 16, 9 * 256));
        assert!(geom.allows(1000) && !geom.allows(usize::MAX) && !geom.allows(LARGEST));
    }
}
