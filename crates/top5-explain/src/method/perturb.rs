//! Methods that only ask the network: what happens to its score when parts of the image are hidden. Hidden is zero, the mean
//! of the training images where they are standardised: gray.

use top5_eval::metric::softmax;
use top5_graph::random::{Stream, hash};

use super::explainer::Explainer;
use super::{Explanation, Target};
use crate::error::ExplainError;
use crate::map::Map;

/// Where a square is, in the order in which grids grow finer: every fourth place first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Rows and columns of places.
    pub places: [usize; 2],
    /// Side of the square, at most the image's.
    pub size: usize,
    /// Pixels between places.
    pub stride: usize,
    image: [usize; 2],
}

impl Grid {
    /// The places of a square: from the upper left corner in steps of `stride` until the image is covered; the last ones are cut
    /// off at its edge. Fails unless `1 <= stride <= size` and the square fits.
    pub fn new(image: [usize; 2], size: usize, stride: usize) -> Result<Self, ExplainError> {
        let side = image[0].min(image[1]);
        if !(1..=side).contains(&size) {
            let expected = format!("1 to {side} pixels, the image's shorter side");
            return Err(ExplainError::Setting { key: "size", expected });
        }
        if !(1..=size).contains(&stride) {
            let expected = format!("1 to {size} pixels, so that every pixel is hidden once");
            return Err(ExplainError::Setting { key: "stride", expected });
        }
        let places = image.map(|side| 1 + (side - size).div_ceil(stride));
        Ok(Self { places, size, stride, image })
    }

    /// Number of places.
    pub fn count(&self) -> usize {
        self.places[0] * self.places[1]
    }

    /// All places by row-major index, coarse before fine.
    pub fn order(&self) -> Vec<usize> {
        let level = |place: usize| {
            let at = [place / self.places[1], place % self.places[1]];
            let on = |step: usize| at.iter().all(|v| v % step == 0);
            if on(4) {
                0
            } else if on(2) {
                1
            } else {
                2
            }
        };
        let mut order: Vec<usize> = (0..self.count()).collect();
        order.sort_by_key(|&place| level(place));
        order
    }

    /// Rows and columns `[top, left, bottom, right]`, ends excluded.
    pub fn rectangle(&self, place: usize) -> [usize; 4] {
        let [top, left] =
            [place / self.places[1] * self.stride, place % self.places[1] * self.stride];
        [top, left, (top + self.size).min(self.image[0]), (left + self.size).min(self.image[1])]
    }

    /// For each pixel the mean of the values of the squares that hide it.
    pub fn spread(&self, values: &[f32], signed: bool) -> Result<Map, ExplainError> {
        let [height, width] = self.image;
        let mut sums = vec![(0.0f64, 0u32); height * width];
        for (place, &value) in values.iter().enumerate() {
            let [top, left, bottom, right] = self.rectangle(place);
            for y in top..bottom {
                for (sum, count) in &mut sums[y * width + left..y * width + right] {
                    *sum += f64::from(value);
                    *count += 1;
                }
            }
        }
        let mean = |(sum, count): (f64, u32)| (sum / f64::from(count.max(1))) as f32;
        Map::new(sums.into_iter().map(mean).collect(), height, width, signed)
    }

    /// The image with the square at a place hidden.
    pub fn hide(&self, image: &[f32], place: usize, out: &mut [f32]) {
        out.copy_from_slice(image);
        let [height, width] = self.image;
        let [top, left, bottom, right] = self.rectangle(place);
        for plane in out.chunks_exact_mut(height * width) {
            for y in top..bottom {
                plane[y * width + left..y * width + right].fill(0.0);
            }
        }
    }
}

/// Each pixel's value is the mean fall of the score over the squares that hide it.
pub(super) fn occlusion(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    size: usize,
    stride: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let [_, height, width] = explainer.graph().input();
    let grid = Grid::new([height, width], size, stride)?;
    let whole = target.score(explainer.logits(image)?.data());
    let order = grid.order();
    let mut falls = vec![0.0; grid.count()];
    let hide = |i: usize, out: &mut [f32]| grid.hide(image, order[i], out);
    let mut take =
        |i: usize, logits: &[f32]| falls[order[i]] = (whole - target.score(logits)) as f32;
    each(explainer, image.len(), order.len(), &hide, &mut take, progress)?;
    let [rows, columns] = grid.places;
    Ok(Explanation {
        map: grid.spread(&falls, true)?,
        signal: None,
        cells: Some(Map::new(falls, rows, columns, true)?),
        notes: Vec::new(),
    })
}

pub(super) fn tiles(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let [_, height, width] = explainer.graph().input();
    let across = width.div_ceil(size);
    let feature = |at: usize| (at / width / size * across + at % width / size) as u32;
    let features: Vec<u32> = (0..height * width).map(feature).collect();
    ablate(explainer, image, target, &features, progress)
}

/// By how much the score falls when all pixels of one feature are hidden, for the features that `features` numbers from 0 at
/// each pixel: a segmentation, a grid. A pixel gets its feature's fall.
pub fn ablate(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    features: &[u32],
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let [channels, height, width] = explainer.graph().input();
    for (what, expected, got) in [
        ("numbers of features", height * width, features.len()),
        ("the prepared image", channels * height * width, image.len()),
    ] {
        if expected != got {
            return Err(ExplainError::Shape { what, expected, got });
        }
    }
    let count = features.iter().max().map_or(0, |&most| most as usize + 1);
    if count > features.len() {
        let expected = "features numbered from 0 without gaps".to_owned();
        return Err(ExplainError::Setting { key: "features", expected });
    }
    let whole = target.score(explainer.logits(image)?.data());
    let mut falls = vec![0.0; count];
    let hide = |feature: usize, out: &mut [f32]| {
        out.copy_from_slice(image);
        for plane in out.chunks_exact_mut(features.len()) {
            for (value, &of) in plane.iter_mut().zip(features) {
                if of as usize == feature {
                    *value = 0.0;
                }
            }
        }
    };
    let mut take = |i: usize, logits: &[f32]| falls[i] = (whole - target.score(logits)) as f32;
    each(explainer, image.len(), count, &hide, &mut take, progress)?;
    let values = features.iter().map(|&feature| falls[feature as usize]).collect();
    let map = Map::new(values, height, width, true)?;
    Ok(Explanation { map, signal: None, cells: None, notes: Vec::new() })
}

/// Masks as in the paper, section 3.2: a grid of `cells` by `cells` zeros and ones, enlarged bilinearly to one cell more than the
/// image and cut out at a random place within that. A cell is rounded up, as by the paper's program. Mask `i` is the stream `rise`'s substream `i`.
pub(super) fn rise(
    explainer: &mut Explainer,
    image: &[f32],
    target: Target,
    [masks, cells]: [usize; 2],
    share: f32,
    seed: u64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Explanation, ExplainError> {
    let [_, height, width] = explainer.graph().input();
    let stream = Stream::new(seed, hash("rise"));
    let mask = |i: usize| mask(stream.substream(i as u64), [height, width], cells, share);
    let hide = |i: usize, out: &mut [f32]| {
        let mask = mask(i);
        for (out, image) in out.chunks_exact_mut(mask.len()).zip(image.chunks_exact(mask.len())) {
            let seen = out.iter_mut().zip(image).zip(&mask);
            seen.for_each(|((out, value), mask)| *out = value * mask);
        }
    };
    let mut sums = vec![0.0f64; height * width];
    let mut take = |i: usize, logits: &[f32]| {
        let score = target.score(&softmax(logits));
        sums.iter_mut().zip(mask(i)).for_each(|(sum, mask)| *sum += score * f64::from(mask));
    };
    each(explainer, image.len(), masks, &hide, &mut take, progress)?;
    let norm = masks as f64 * f64::from(share);
    let values = sums.into_iter().map(|sum| (sum / norm) as f32).collect();
    let map = Map::new(values, height, width, target.against.is_some())?;
    Ok(Explanation { map, signal: None, cells: None, notes: Vec::new() })
}

fn mask(mut stream: Stream, image: [usize; 2], cells: usize, share: f32) -> Vec<f32> {
    let bits: Vec<f32> =
        (0..cells * cells).map(|_| f32::from(u8::from(stream.uniform() < share))).collect();
    let grid = Map::new(bits, cells, cells, false).expect("zeros and ones");
    let axis = |i: usize, shift: usize, cell: usize| -> Vec<f64> {
        let scale = cells as f64 / ((cells + 1) * cell) as f64;
        (0..image[i]).map(|at| ((at + shift) as f64 + 0.5) * scale - 0.5).collect()
    };
    let cell = image.map(|side| side.div_ceil(cells));
    let shift = cell.map(|cell| stream.below(cell));
    let enlarged = grid.sampled(&axis(0, shift[0], cell[0]), &axis(1, shift[1], cell[1]));
    enlarged.values().to_vec()
}

/// Asks the network of `count` images that `make` writes, in batches; `take` gets the logits of each.
fn each(
    explainer: &mut Explainer,
    size: usize,
    count: usize,
    make: &dyn Fn(usize, &mut [f32]),
    take: &mut dyn FnMut(usize, &[f32]),
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(), ExplainError> {
    let classes = explainer.graph().classes();
    let (mut images, mut first) = (Vec::new(), 0);
    while first < count {
        let n = explainer.next(count - first);
        images.resize(n * size, 0.0);
        for (i, image) in images.chunks_exact_mut(size).enumerate() {
            make(first + i, image);
        }
        let logits = explainer.logits(&images)?;
        for (i, logits) in logits.data().chunks_exact(classes).enumerate() {
            take(first + i, logits);
        }
        first += n;
        progress(first, count);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between two cells a row of a mask only rises or only falls, wherever it was cut out.
    #[test]
    fn masks_have_as_many_cells_as_they_are_asked_for() {
        let stream = Stream::new(0, hash("rise"));
        for i in 0..200 {
            let mask = mask(stream.substream(i), [9, 31], 2, 0.5);
            assert_eq!(mask.len(), 9 * 31);
            for row in mask.chunks_exact(31) {
                let falls = row.is_sorted_by(|a, b| a >= b);
                assert!(falls || row.is_sorted(), "mask {i}: {row:?}");
            }
        }
    }
}
