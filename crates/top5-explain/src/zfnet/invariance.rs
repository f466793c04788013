//! What a network ignores (figure 5): how far its features move, and what becomes of the class's probability, when the image
//! is translated, scaled and rotated.

use serde::Serialize;
use top5_eval::metric::softmax;
use top5_graph::{EngineError, Session};

/// A change of an image, about its centre. What comes from outside is zero, the mean of prepared images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transform {
    /// Downwards, by pixels.
    Translation,
    /// Larger, by a factor.
    Scale,
    /// Against the clock, by degrees.
    Rotation,
}

impl Transform {
    /// In the order of the figure's rows.
    pub const ALL: [Self; 3] = [Self::Translation, Self::Scale, Self::Rotation];

    /// `translation`, `scale`, `rotation`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Translation => "translation",
            Self::Scale => "scale",
            Self::Rotation => "rotation",
        }
    }

    /// What the amounts are in.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Translation => "vertical translation, pixels",
            Self::Scale => "scale, ratio",
            Self::Rotation => "rotation, degrees",
        }
    }

    /// The amount that changes nothing.
    pub fn nothing(self) -> f64 {
        if self == Self::Scale { 1.0 } else { 0.0 }
    }

    /// The figure's axes with `steps` steps (at least one): −60 … 60 pixels of 224, in proportion for other heights; 1 …
    /// 1.8; 0 … 350 degrees. The paper does not print its steps.
    pub fn amounts(self, height: usize, steps: usize) -> Vec<f64> {
        let steps = steps.max(1);
        let most = (60.0 * height as f64 / 224.0).round().max(1.0);
        let along = |from: f64, to: f64| -> Vec<f64> {
            let step = (to - from) / steps as f64;
            (0..=steps).map(|i| from + step * i as f64).collect()
        };
        match self {
            Self::Translation => {
                let mut pixels: Vec<f64> = along(-most, most).into_iter().map(f64::round).collect();
                pixels.dedup();
                pixels
            }
            Self::Scale => along(1.0, 1.8),
            Self::Rotation => along(0.0, 350.0),
        }
    }

    /// A prepared image `[channels, height, width]` changed by this amount, bilinearly. Whole pixels and quarter turns of
    /// squares are exact.
    pub fn apply(self, image: &[f32], shape: [usize; 3], amount: f64) -> Vec<f32> {
        let [channels, height, width] = shape;
        let centre = [height, width].map(|side| (side as f64 - 1.0) / 2.0);
        let (sin, cos) = sin_cos(amount);
        let mut out = Vec::with_capacity(image.len());
        for plane in image.chunks_exact(height * width).take(channels) {
            for (y, x) in (0..height * width).map(|i| (i / width, i % width)) {
                let [dy, dx] = [y as f64 - centre[0], x as f64 - centre[1]];
                let [dy, dx] = match self {
                    Self::Translation => [dy - amount, dx],
                    Self::Scale => [dy / amount, dx / amount],
                    Self::Rotation => [dy * cos + dx * sin, dx * cos - dy * sin],
                };
                out.push(sample(plane, [height, width], [centre[0] + dy, centre[1] + dx]));
            }
        }
        out
    }
}

/// Sine and cosine of degrees, exact at quarter turns.
fn sin_cos(degrees: f64) -> (f64, f64) {
    match degrees.rem_euclid(360.0) {
        0.0 => (0.0, 1.0),
        90.0 => (1.0, 0.0),
        180.0 => (0.0, -1.0),
        270.0 => (-1.0, 0.0),
        other => other.to_radians().sin_cos(),
    }
}

/// A plane between its pixels; zero outside.
fn sample(plane: &[f32], [height, width]: [usize; 2], [y, x]: [f64; 2]) -> f32 {
    let (top, left) = (y.floor(), x.floor());
    let mut value = 0.0;
    for (i, weight_y) in [(0.0, top + 1.0 - y), (1.0, y - top)] {
        for (j, weight_x) in [(0.0, left + 1.0 - x), (1.0, x - left)] {
            let (row, column) = (top + i, left + j);
            let inside =
                row >= 0.0 && column >= 0.0 && row < height as f64 && column < width as f64;
            if inside && weight_y * weight_x > 0.0 {
                let pixel = plane[row as usize * width + column as usize];
                value += weight_y * weight_x * f64::from(pixel);
            }
        }
    }
    value as f32
}

/// One image under one change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// By how much it was changed.
    pub amount: f64,
    /// Euclidean distance of each layer's features to those of the image as it was.
    pub distances: Vec<f64>,
    /// Probability of the class.
    pub probability: f64,
}

/// What becomes of an image that is changed by each of these amounts. The session keeps the layers whose features are
/// compared; `class` indexes its logits.
pub fn measure(
    session: &mut dyn Session,
    image: &[f32],
    transform: Transform,
    amounts: &[f64],
    class: usize,
) -> Result<Vec<Point>, EngineError> {
    let shape = session.graph().input();
    let base: Vec<Vec<f32>> =
        session.forward(image)?.kept.into_iter().map(top5_graph::Tensor::into_data).collect();
    let mut points = Vec::with_capacity(amounts.len());
    for amounts in amounts.chunks(session.batch()) {
        let images: Vec<f32> =
            amounts.iter().flat_map(|&amount| transform.apply(image, shape, amount)).collect();
        let forward = session.forward(&images)?;
        let classes = forward.logits.data().len() / amounts.len();
        for (i, &amount) in amounts.iter().enumerate() {
            let distance = |(kept, base): (&top5_graph::Tensor, &Vec<f32>)| {
                euclidean(&kept.data()[i * base.len()..(i + 1) * base.len()], base)
            };
            let logits = &forward.logits.data()[i * classes..(i + 1) * classes];
            points.push(Point {
                amount,
                distances: forward.kept.iter().zip(&base).map(distance).collect(),
                probability: softmax(logits)[class],
            });
        }
    }
    Ok(points)
}

fn euclidean(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: [f32; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

    fn changed(transform: Transform, amount: f64) -> Vec<f32> {
        transform.apply(&IMAGE, [1, 3, 3], amount)
    }

    #[test]
    fn changes_are_those_of_the_figure() {
        for transform in Transform::ALL {
            assert_eq!(changed(transform, transform.nothing()), IMAGE);
        }
        let down = [0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(changed(Transform::Translation, 1.0), down);
        let turned = [3.0, 6.0, 9.0, 2.0, 5.0, 8.0, 1.0, 4.0, 7.0];
        assert_eq!(changed(Transform::Rotation, 90.0), turned);
        // At twice the size a neighbour shows what was half a pixel from the centre.
        let larger = [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0];
        assert_eq!(changed(Transform::Scale, 2.0), larger);
    }

    #[test]
    fn axes_are_those_of_the_figure() {
        let ends = |transform: Transform, height| {
            let amounts = transform.amounts(height, 10);
            (amounts.len(), amounts[0], amounts[amounts.len() - 1])
        };
        assert_eq!(ends(Transform::Translation, 224), (11, -60.0, 60.0));
        assert_eq!(ends(Transform::Scale, 224), (11, 1.0, 1.8));
        assert_eq!(ends(Transform::Rotation, 224), (11, 0.0, 350.0));
        // 60/224 of 28 pixels, whole ones.
        assert_eq!(Transform::Translation.amounts(28, 40).len(), 17);
    }

    #[test]
    fn distances_are_euclidean() {
        assert_eq!(euclidean(&[1.0, 2.0], &[4.0, 6.0]), 5.0);
    }
}
