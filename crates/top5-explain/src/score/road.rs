//! ROAD, "remove and debias" (Rong et al., ICML 2022): removed pixels are imputed from their neighbours, so that their shape
//! tells nothing, and the most and the least relevant ones are compared.
//!
//! An imputed pixel is the mean of its neighbours, those at an edge with weight 1/6 and those at a corner with 1/12; beyond
//! the image there are none, and the weights of the others are scaled to one. That is a linear system, symmetric and positive
//! definite as long as one pixel is known; conjugate gradients solve it.

use serde::Serialize;
use top5_graph::random::{Stream, hash};

use super::order::descending;
use super::subject::set_pixel;
use super::{Readout, ScoreError, Subject};

/// How pixels are removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Road {
    /// Shares of the pixels that are removed, in percent, each above 0 and below 100.
    pub percentiles: Vec<f64>,
    /// Deviation of the normal noise that is added to imputed values.
    pub noise: f32,
    /// Seed of the noise.
    pub seed: u64,
}

impl Default for Road {
    /// 10 % to 90 % in steps of ten, noise 0.01.
    fn default() -> Self {
        Self {
            percentiles: (1..10).map(|tens| f64::from(tens) * 10.0).collect(),
            noise: 0.01,
            seed: 0,
        }
    }
}

/// The class's probability when pixels are removed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoadScore {
    /// Most relevant first, per percentile.
    pub morf: Vec<f64>,
    /// Least relevant first, per percentile.
    pub lerf: Vec<f64>,
    /// The mean of (LeRF − MoRF)/2: larger is better, a map that says nothing has about 0.
    pub score: f64,
}

/// ROAD of a map. LeRF removes in the reverse of MoRF's order.
pub fn road(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &Road,
) -> Result<RoadScore, ScoreError> {
    subject.check_map(map)?;
    let wrong = |percent: &f64| !(*percent > 0.0 && *percent < 100.0);
    if options.percentiles.is_empty() || options.percentiles.iter().any(wrong) {
        return Err(ScoreError::input("percentiles", "one or more above 0 and below 100"));
    }
    let (shape, pixels) = (subject.shape(), subject.pixels());
    let order = descending(map);
    let reversed: Vec<usize> = order.iter().rev().copied().collect();
    let per_order = options.percentiles.len();
    let stream = Stream::new(options.seed, hash("road"));
    let answers = subject.ask(Readout::Probability, 2 * per_order, |number, image| {
        let order = if number < per_order { &order } else { &reversed };
        let percent = options.percentiles[number % per_order];
        // One pixel stays at least, from which the others are imputed.
        let removed = ((percent / 100.0 * pixels as f64).round() as usize).min(pixels - 1);
        let mut noise = stream.substream(number as u64);
        let imputed = impute(image, shape, &order[..removed]);
        for &pixel in &order[..removed] {
            set_pixel(image, pixels, pixel, |element| imputed[element]);
            for element in (pixel..image.len()).step_by(pixels) {
                image[element] += options.noise * noise.normal();
            }
        }
    })?;
    let (morf, lerf) = answers.split_at(per_order);
    let sum: f64 = lerf.iter().zip(morf).map(|(lerf, morf)| (lerf - morf) / 2.0).sum();
    Ok(RoadScore { score: sum / per_order as f64, morf: morf.to_vec(), lerf: lerf.to_vec() })
}

/// Neighbours and their weights.
const NEIGHBOURS: [(isize, isize, f64); 8] = [
    (-1, -1, 1.0 / 12.0),
    (-1, 0, 1.0 / 6.0),
    (-1, 1, 1.0 / 12.0),
    (0, -1, 1.0 / 6.0),
    (0, 1, 1.0 / 6.0),
    (1, -1, 1.0 / 12.0),
    (1, 0, 1.0 / 6.0),
    (1, 1, 1.0 / 12.0),
];

/// Where the residual is this much smaller than the right-hand side, the system is solved: far below f32's precision of what
/// the noise leaves.
const TOLERANCE: f64 = 1e-9;

/// The image `[channels, height, width]` with the removed pixels imputed, without noise. At least one pixel must be left.
pub fn impute(image: &[f32], [_, height, width]: [usize; 3], removed: &[usize]) -> Vec<f32> {
    let system = System::new([height, width], removed);
    let mut imputed = image.to_vec();
    for channel in imputed.chunks_exact_mut(height * width) {
        let solution = system.solve(channel);
        for (&pixel, value) in removed.iter().zip(solution) {
            channel[pixel] = value as f32;
        }
    }
    imputed
}

/// The linear system of the removed pixels: (D − W) x = b, where D is the sum of the weights that a pixel has.
struct System<'a> {
    removed: &'a [usize],
    /// For each removed pixel the neighbours that are in the image: pixel, number among the removed ones if it is one, weight.
    neighbours: Vec<Vec<(usize, Option<usize>, f64)>>,
    diagonal: Vec<f64>,
}

impl<'a> System<'a> {
    fn new([height, width]: [usize; 2], removed: &'a [usize]) -> Self {
        let mut numbers = vec![None; height * width];
        removed.iter().enumerate().for_each(|(number, &pixel)| numbers[pixel] = Some(number));
        let of = |&pixel: &usize| -> Vec<(usize, Option<usize>, f64)> {
            let inside = NEIGHBOURS.iter().filter_map(|&(dy, dx, weight)| {
                let y = (pixel / width).checked_add_signed(dy).filter(|&y| y < height)?;
                let x = (pixel % width).checked_add_signed(dx).filter(|&x| x < width)?;
                Some((y * width + x, numbers[y * width + x], weight))
            });
            inside.collect()
        };
        let neighbours: Vec<_> = removed.iter().map(of).collect();
        let diagonal =
            neighbours.iter().map(|all| all.iter().map(|(_, _, weight)| weight).sum()).collect();
        Self { removed, neighbours, diagonal }
    }

    fn times(&self, x: &[f64], out: &mut [f64]) {
        for (i, out) in out.iter_mut().enumerate() {
            let others = self.neighbours[i].iter();
            let sum: f64 =
                others.filter_map(|&(_, number, weight)| Some(weight * x[number?])).sum();
            *out = self.diagonal[i] * x[i] - sum;
        }
    }

    /// Conjugate gradients, preconditioned by the diagonal, from the mean of the known pixels.
    fn solve(&self, channel: &[f32]) -> Vec<f64> {
        let n = self.removed.len();
        let known = |all: &Vec<(usize, Option<usize>, f64)>| -> f64 {
            let known = all.iter().filter(|(_, number, _)| number.is_none());
            known.map(|&(pixel, _, weight)| weight * f64::from(channel[pixel])).sum()
        };
        let b: Vec<f64> = self.neighbours.iter().map(known).collect();
        let mut is_known = vec![true; channel.len()];
        self.removed.iter().for_each(|&pixel| is_known[pixel] = false);
        let values = channel.iter().zip(&is_known).filter(|(_, known)| **known);
        let sum: f64 = values.map(|(&value, _)| f64::from(value)).sum();
        let mut x = vec![sum / (channel.len() - n).max(1) as f64; n];
        let mut product = vec![0.0; n];
        self.times(&x, &mut product);
        let mut residual: Vec<f64> = b.iter().zip(&product).map(|(b, p)| b - p).collect();
        let limit = TOLERANCE * dot(&b, &b).sqrt();
        let mut direction = vec![0.0; n];
        let mut before = 0.0;
        for iteration in 0..10 * n + 100 {
            if dot(&residual, &residual).sqrt() <= limit {
                break;
            }
            let scaled: Vec<f64> =
                residual.iter().zip(&self.diagonal).map(|(r, d)| r / d).collect();
            let now = dot(&residual, &scaled);
            let beta = if iteration == 0 { 0.0 } else { now / before };
            direction.iter_mut().zip(&scaled).for_each(|(d, s)| *d = s + beta * *d);
            before = now;
            self.times(&direction, &mut product);
            let alpha = now / dot(&direction, &product);
            for i in 0..n {
                x[i] += alpha * direction[i];
                residual[i] -= alpha * product[i];
            }
        }
        x
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gaussian elimination with row pivoting on the system written out from its definition.
    fn dense(image: &[f32], [height, width]: [usize; 2], removed: &[usize]) -> Vec<f64> {
        let n = removed.len();
        let mut rows = vec![vec![0.0; n + 1]; n];
        for (row, &pixel) in rows.iter_mut().zip(removed) {
            let (y, x) = (pixel / width, pixel % width);
            for (other, value) in image.iter().enumerate().take(height * width) {
                let (dy, dx) = ((other / width).abs_diff(y), (other % width).abs_diff(x));
                let weight = match (dy, dx) {
                    (0, 1) | (1, 0) => 1.0 / 6.0,
                    (1, 1) => 1.0 / 12.0,
                    _ => continue,
                };
                let own = removed.iter().position(|&removed| removed == pixel).unwrap();
                row[own] += weight;
                match removed.iter().position(|&removed| removed == other) {
                    Some(other) => row[other] -= weight,
                    None => row[n] += weight * f64::from(*value),
                }
            }
        }
        for i in 0..n {
            let pivot = (i..n).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs()));
            rows.swap(i, pivot.unwrap());
            let head = rows[i].clone();
            for row in rows.iter_mut().enumerate().filter(|(j, _)| *j != i).map(|(_, row)| row) {
                let factor = row[i] / head[i];
                row.iter_mut().zip(&head).for_each(|(a, b)| *a -= factor * b);
            }
        }
        (0..n).map(|i| rows[i][n] / rows[i][i]).collect()
    }

    #[test]
    fn imputed_values_solve_the_system() {
        let (shape, pixels) = ([2, 6, 5], 30);
        let mut stream = Stream::new(3, 1);
        let image: Vec<f32> = (0..60).map(|_| stream.normal()).collect();
        for count in [1, 10, 25, 29] {
            let order = stream.permutation(pixels);
            let removed = &order[..count];
            let imputed = impute(&image, shape, removed);
            for channel in 0..2 {
                let plane = &image[channel * pixels..][..pixels];
                let expected = dense(plane, [6, 5], removed);
                for (&pixel, expected) in removed.iter().zip(expected) {
                    let got = f64::from(imputed[channel * pixels + pixel]);
                    assert!((got - expected).abs() < 1e-6, "{count}: {got} {expected}");
                }
            }
            for pixel in order[count..].iter().flat_map(|pixel| [*pixel, pixels + pixel]) {
                assert_eq!(imputed[pixel], image[pixel]);
            }
        }
    }

    #[test]
    fn flat_image_is_imputed_flat() {
        let image = vec![0.5; 16];
        let imputed = impute(&image, [1, 4, 4], &[0, 1, 2, 5, 9, 15]);
        assert!(imputed.iter().all(|value| (value - 0.5).abs() < 1e-7), "{imputed:?}");
        assert_eq!(impute(&[0.0; 4], [1, 2, 2], &[0, 1, 2]), [0.0; 4]);
    }
}
