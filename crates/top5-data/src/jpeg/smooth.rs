//! Progressive files that lack their last bits: coefficients that are not known yet are estimated from the means of 5×5
//! blocks, as libjpeg-turbo does, so that the blocks do not show (after T.81, K.8).

use super::frame::{Component, Frame};
use super::{Coefficients, ZIGZAG};

/// Weights of the means of the blocks around one.
type Weights = [[i64; 5]; 5];

/// For the coefficients 1, 4, 5, 6 and 7 of a file; the others that are estimated are theirs turned by 90 degrees. Where the
/// means are all that is known.
const FROM_MEANS: [Weights; 5] = [
    [
        [-1, -1, 0, 1, 1],
        [-3, 13, 0, -13, 3],
        [-3, 38, 0, -38, 3],
        [-3, 13, 0, -13, 3],
        [-1, -1, 0, 1, 1],
    ],
    [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], [0; 5], [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]],
    [[0; 5], [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], [0; 5]],
    [[0; 5], [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], [0; 5]],
    [[0; 5], [0, 1, -3, 1, 0], [0; 5], [0, -1, 3, -1, 0], [0; 5]],
];
/// The mean itself, likewise.
const MEAN: Weights = [
    [-2, -6, -8, -6, -2],
    [-6, 6, 42, 6, -6],
    [-8, 42, 152, 42, -8],
    [-6, 6, 42, 6, -6],
    [-2, -6, -8, -6, -2],
];
/// For the coefficients 1, 4 and 5, where more is known.
const FROM_MORE: [Weights; 3] = [
    [[0; 5], [0; 5], [-7, 50, 0, -50, 7], [0; 5], [0; 5]],
    [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], [0; 5], [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]],
    [[0; 5], [0; 5], [-1, 13, -24, 13, -1], [0; 5], [0; 5]],
];
/// For the coefficients from 1 on, which of the weights are theirs, and whether they are turned.
const CHOICE: [(usize, bool); 9] = [
    (0, false),
    (0, true),
    (2, true),
    (1, false),
    (2, false),
    (3, false),
    (4, false),
    (4, true),
    (3, true),
];

/// Whether there is something to estimate, and all means are known to begin with.
pub(super) fn is_useful(frame: &Frame) -> bool {
    let known = |component: &Component| {
        let quantisers = component.quantisers.unwrap_or([0; 64]);
        component.lacking[0] >= 0 && ZIGZAG[..10].iter().all(|&at| quantisers[usize::from(at)] != 0)
    };
    let lacks = |component: &Component| component.lacking[1..10].iter().any(|&bits| bits != 0);
    frame.progressive && frame.components.iter().all(known) && frame.components.iter().any(lacks)
}

/// The block of a component in this row and column, with estimates.
pub(super) fn block(
    frame: &Frame,
    component: &Component,
    row: usize,
    column: usize,
) -> Coefficients {
    // Rows that the last scan did not reach are as before it.
    let lacking = match row / component.v > frame.last_good {
        true if frame.scans == 1 => &[-1; 64],
        true => &component.lacking_before,
        false => &component.lacking,
    };
    let means_alone = lacking[1..10].iter().all(|&bits| bits < 0);
    let weights: &[Weights] = if means_alone { &FROM_MEANS } else { &FROM_MORE };
    let means = means_around(component, row, column);
    let turned = std::array::from_fn(|i| std::array::from_fn(|j| means[j][i]));
    let quantiser =
        |at: usize| i64::from(component.quantisers.map_or(1, |quantisers| quantisers[at] as u16));
    let weigh = |means: &Weights, weights: &Weights| {
        let terms = means.as_flattened().iter().zip(weights.as_flattened());
        quantiser(0) * terms.map(|(mean, weight)| mean * weight).sum::<i64>()
    };
    let mut block = component.blocks[row * component.columns + column];
    for (k, &(number, turn)) in CHOICE.iter().enumerate().map(|(i, choice)| (i + 1, choice)) {
        let at = usize::from(ZIGZAG[k]);
        if let Some(weights) = weights.get(number)
            && lacking[k] != 0
            && block[at] == 0
        {
            let sum = weigh(if turn { &turned } else { &means }, weights);
            block[at] = rounded(sum, quantiser(at), lacking[k]);
        }
    }
    if means_alone {
        block[0] = rounded(weigh(&means, &MEAN), quantiser(0), -1);
    }
    block
}

/// A 256th of a sum over its quantiser, less than what the bits that are lacking can say.
fn rounded(sum: i64, quantiser: i64, lacking: i8) -> i16 {
    let size = ((quantiser << 7) + sum.abs()) / (quantiser << 8);
    let size = if lacking > 0 { size.min((1 << lacking) - 1) } else { size };
    (if sum < 0 { -size } else { size }) as i16
}

/// The means of 5×5 blocks; beyond the edges, those of the nearest blocks.
fn means_around(component: &Component, row: usize, column: usize) -> Weights {
    let units = component.rows / component.v;
    let (unit, inside) = (row / component.v, row % component.v);
    // As libjpeg-turbo counts rows: in the last unit, as if all had as few as it.
    let last_rows = component.height.div_ceil(8) - (units - 1) * component.v;
    let per_unit = if unit + 1 == units { last_rows } else { component.v };
    let (at, all) = (unit * per_unit + inside, units * per_unit);
    let above = row - usize::from(at > 0);
    let below = row + usize::from(at + 1 < all);
    let rows = [above - usize::from(at > 1), above, row, below, below + usize::from(at + 2 < all)];
    let last = component.width.div_ceil(8) - 1;
    rows.map(|row| {
        std::array::from_fn(|i| {
            let column = (column + i).saturating_sub(2).min(last);
            i64::from(component.blocks[row * component.columns + column][0])
        })
    })
}
