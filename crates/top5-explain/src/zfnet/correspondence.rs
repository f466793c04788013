//! Whether a network sees that parts correspond (section 4.4 and table 1): the same part is hidden in several images, and the
//! signs of the changes of a layer's features are compared between the images. A network that has an idea of the part changes
//! alike.

use serde::Serialize;
use top5_data::Image;

use super::field::Rectangle;

/// How alike features change when a part is hidden: lower is more alike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Hamming distance of the signs per feature, its mean over all ordered pairs of images.
    pub mean: f64,
    /// Standard deviation over the pairs.
    pub deviation: f64,
    /// Ordered pairs.
    pub pairs: usize,
}

/// The changes of features `x − x̃` of each image. Panics for fewer than two images, or features that are not as many.
pub fn score(changes: &[Vec<f32>]) -> Score {
    assert!(changes.len() > 1, "a pair of images");
    let mut distances = Vec::new();
    for (i, a) in changes.iter().enumerate() {
        for b in changes.iter().enumerate().filter(|&(j, _)| j != i).map(|(_, b)| b) {
            assert_eq!(a.len(), b.len(), "as many features");
            let differ = a.iter().zip(b).filter(|&(&a, &b)| sign(a) != sign(b)).count();
            distances.push(differ as f64 / a.len().max(1) as f64);
        }
    }
    let pairs = distances.len();
    let mean = distances.iter().sum::<f64>() / pairs as f64;
    let variance = distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / pairs as f64;
    Score { mean, deviation: variance.sqrt(), pairs }
}

/// Minus one, zero or one: zero is a third sign, as in the paper.
fn sign(value: f32) -> i8 {
    i8::from(value > 0.0) - i8::from(value < 0.0)
}

/// An image with a rectangle of it filled with one colour. What of it is outside the image is ignored.
pub fn hidden(image: &Image, part: Rectangle, colour: [u8; 3]) -> Image {
    let mut hidden = image.clone();
    let end = |from: usize, length: usize, side: usize| from.saturating_add(length).min(side);
    for y in part.top..end(part.top, part.height, image.height) {
        for x in part.left..end(part.left, part.width, image.width) {
            let at = (y * image.width + x) * image.channels;
            hidden.pixels[at..at + image.channels].copy_from_slice(&colour[..image.channels]);
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_counted_by_hand() {
        let changes =
            [vec![1.0, -1.0, 0.0, 2.0], vec![3.0, 1.0, 0.0, 0.0], vec![1.0, 0.0, 0.0, 1.0]];
        // 2, 1 and 2 of four signs differ.
        let score = score(&changes);
        assert_eq!(score.pairs, 6);
        assert!((score.mean - 5.0 / 12.0).abs() < 1e-12);
        let variance =
            (2.0 * (0.5 - 5.0 / 12.0_f64).powi(2) + (0.25 - 5.0 / 12.0_f64).powi(2)) / 3.0;
        assert!((score.deviation - variance.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_hidden_part_is_filled_as_far_as_the_image_goes() {
        let image = Image::filled(3, 3, 4, 9);
        let part = Rectangle { top: 1, left: 2, height: usize::MAX, width: 5 };
        let got = hidden(&image, part, [1, 2, 3]);
        assert_eq!(got.row(0), [9; 12]);
        for y in [1, 2] {
            assert_eq!(got.row(y), [9, 9, 9, 9, 9, 9, 1, 2, 3, 1, 2, 3]);
        }
    }
}
