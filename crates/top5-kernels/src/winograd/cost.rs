//! What Winograd's algorithm costs.

use super::filter::Tile;
use crate::block::LANES;
use crate::conv::Problem;

/// Multiply-accumulates in the time that a weight takes to come from memory, on two cores with AVX-512.
const WEIGHT: f64 = 12.0;

/// Multiply-accumulates in the time that an element of a transformed tile takes to be made, written, and read again.
const TRANSFORM: f64 = 16.0;

/// The time as a share of that of direct convolution, of a forward pass or of a gradient.
///
/// The transforms cost a fixed number of operations per channel of input and output, the products one per position,
/// channel pair and tile, of which ragged edges use a part; the direct kernel needs 9 per channel pair and output.
/// Transformed weights are larger, and all weights come from memory once: for a few tiles that is most of the time.
pub(super) fn cost(problem: &Problem, tile: Tile) -> f64 {
    let geom = problem.geom();
    let [down, across] = [geom.rows, geom.cols].map(|size| size.div_ceil(tile.side()));
    let batch = problem.images() as f64;
    let tiles = (down * across) as f64 * batch;
    let positions = tile.positions() as f64;
    let [inputs, outputs] = [geom.blocks, geom.out_blocks()].map(|b| (b * LANES) as f64);
    let pairs = inputs * outputs;
    // Inputs are transformed for each of several groups.
    let groups = 1 + geom.first.windows(2).filter(|firsts| firsts[0] != firsts[1]).count();
    let direct = (9 * geom.rows * geom.cols) as f64 * batch * pairs;
    let transforms = TRANSFORM * positions * tiles * (groups as f64 * inputs + outputs);
    let winograd = positions * tiles * pairs + transforms;
    (winograd + positions * WEIGHT * pairs) / (direct + 9.0 * WEIGHT * pairs)
}
