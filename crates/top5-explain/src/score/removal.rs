//! Deletion and insertion (Petsiuk, Das & Saenko, BMVC 2018, "RISE", section 4.1): the class's probability while pixels go,
//! or come, in descending order of the map.

use serde::Serialize;

use super::order::descending;
use super::subject::set_pixel;
use super::{Readout, ScoreError, Subject};

/// What stands where pixels are missing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Substrate {
    /// Zero in the prepared image, which is the mean of the data where the preprocessing subtracts it.
    Zero,
    /// The image blurred by a Gaussian, cut off to `side` × `side` taps that sum to one; zeros beyond the edges, as in the
    /// authors' code.
    Blur {
        /// Taps in each direction, an odd number.
        side: usize,
        /// The Gaussian's deviation, in pixels.
        sigma: f64,
    },
}

/// How pixels are removed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Removal {
    /// Pixels at a time; a row of the image if 0.
    pub step: usize,
    /// What stands where pixels are missing.
    pub substrate: Substrate,
}

impl Removal {
    /// The paper's deletion: a row's number of pixels at a time, towards zero.
    pub fn deletion() -> Self {
        Self { step: 0, substrate: Substrate::Zero }
    }

    /// The paper's insertion: a row's number of pixels at a time, into a blurred image.
    pub fn insertion() -> Self {
        Self { step: 0, substrate: Substrate::Blur { side: 11, sigma: 5.0 } }
    }

    /// The same with its number of pixels, in an image of this width.
    #[must_use]
    pub fn at(self, width: usize) -> Self {
        Self { step: if self.step == 0 { width } else { self.step }, ..self }
    }
}

/// The probability of the class, step by step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The first is that of the image that is begun with, the last that of the one where all pixels are exchanged.
    pub scores: Vec<f64>,
    /// The area below: (Σ − first/2 − last/2)/(n − 1).
    pub auc: f64,
}

/// The curve while pixels are deleted: a good map's area is small.
pub fn deletion(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &Removal,
) -> Result<Curve, ScoreError> {
    curve(subject, map, options, true)
}

/// The curve while pixels are inserted: a good map's area is large.
pub fn insertion(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &Removal,
) -> Result<Curve, ScoreError> {
    curve(subject, map, options, false)
}

fn curve(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &Removal,
    deletes: bool,
) -> Result<Curve, ScoreError> {
    subject.check_map(map)?;
    let (shape, pixels) = (subject.shape(), subject.pixels());
    let step = options.at(shape[2]).step;
    let order = descending(map);
    let substrate = substrate(subject.image(), shape, options.substrate)?;
    let count = pixels.div_ceil(step) + 1;
    let scores = subject.ask(Readout::Probability, count, |number, image| {
        let (changed, kept) = order.split_at(pixels.min(number * step));
        let missing = if deletes { changed } else { kept };
        for &pixel in missing {
            set_pixel(image, pixels, pixel, |element| substrate[element]);
        }
    })?;
    Ok(Curve { auc: area(&scores), scores })
}

/// The trapezoid rule over a unit interval.
fn area(scores: &[f64]) -> f64 {
    let ends = (scores[0] + scores[scores.len() - 1]) / 2.0;
    (scores.iter().sum::<f64>() - ends) / (scores.len() - 1) as f64
}

fn substrate(
    image: &[f32],
    shape: [usize; 3],
    substrate: Substrate,
) -> Result<Vec<f32>, ScoreError> {
    match substrate {
        Substrate::Zero => Ok(vec![0.0; image.len()]),
        Substrate::Blur { side, sigma } if side % 2 == 1 && side < 1 << 16 && sigma > 0.0 => {
            let taps = gaussian(side, sigma);
            let across = convolved(image, shape[2], 1, &taps);
            Ok(convolved(&across, shape[1], shape[2], &taps))
        }
        Substrate::Blur { side, sigma } => Err(ScoreError::input(
            format!("blur of {side} taps and deviation {sigma}"),
            "an odd number of taps below 65536 and a positive deviation",
        )),
    }
}

/// The taps of a Gaussian, which sum to one.
pub(crate) fn gaussian(side: usize, sigma: f64) -> Vec<f64> {
    let half = (side / 2) as f64;
    let taps: Vec<f64> =
        (0..side).map(|i| (-0.5 * ((i as f64 - half) / sigma).powi(2)).exp()).collect();
    let sum: f64 = taps.iter().sum();
    taps.into_iter().map(|tap| tap / sum).collect()
}

/// Along lines of `length` values that lie `stride` apart, with zeros beyond their ends.
fn convolved(values: &[f32], length: usize, stride: usize, taps: &[f64]) -> Vec<f32> {
    let half = taps.len() / 2;
    let one = |index: usize| {
        let at = index / stride % length;
        let inside =
            taps.iter().enumerate().filter(|(tap, _)| (at + tap).wrapping_sub(half) < length);
        let sum = inside
            .map(|(tap, factor)| factor * f64::from(values[index + tap * stride - half * stride]));
        sum.sum::<f64>() as f32
    };
    (0..values.len()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn area_is_the_trapezoids() {
        assert_eq!(area(&[1.0, 1.0, 1.0]), 1.0);
        assert_eq!(area(&[1.0, 0.0]), 0.5);
        assert_eq!(area(&[1.0, 0.5, 0.0, 0.0]), 1.0 / 3.0);
    }

    #[test]
    fn blur_of_a_point_is_the_gaussian() {
        let taps = gaussian(3, 1.0);
        assert!((taps.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mut image = vec![0.0; 2 * 15];
        image[7] = 1.0; // the middle of 3 × 5
        image[15] = 1.0; // a corner of the second channel
        let blurred =
            substrate(&image, [2, 3, 5], Substrate::Blur { side: 3, sigma: 1.0 }).unwrap();
        for (y, x) in (0..3).flat_map(|y| (0..5).map(move |x| (y, x))) {
            let near = |a: usize, b: usize| if a.abs_diff(b) < 2 { taps[a + 1 - b] } else { 0.0 };
            let expected = [near(y, 1) * near(x, 2), near(y, 0) * near(x, 0)];
            for (channel, expected) in expected.into_iter().enumerate() {
                let got = f64::from(blurred[channel * 15 + y * 5 + x]);
                assert!((got - expected).abs() < 1e-6, "{channel} {y} {x}");
            }
        }
    }
}
