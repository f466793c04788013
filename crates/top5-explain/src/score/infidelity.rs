//! Infidelity (Yeh et al., NeurIPS 2019, equation 1): the mean square of what a map says about a change of the image, less
//! what the change does.
//!
//! The paper's Φ is per unit of the input. A map of ours is in units of the output, the Φ of section 2.2 times the input: the
//! perturbation I = m·x takes a share m of the pixels away, and I·Φ is the sum of the map over the mask m. Masks here are
//! squares at random places (the paper's "square removal").

use serde::Serialize;
use top5_graph::random::{Stream, hash};

use super::subject::set_pixel;
use super::{Readout, ScoreError, Subject};

/// How the image is perturbed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Infidelity {
    /// Side of the squares, in pixels; an eighth of the shorter side if 0.
    pub side: usize,
    /// Number of squares.
    pub samples: usize,
    /// Seed of their places.
    pub seed: u64,
}

impl Default for Infidelity {
    /// 200 squares of an eighth of the side.
    fn default() -> Self {
        Self { side: 0, samples: 200, seed: 0 }
    }
}

impl Infidelity {
    /// The same with its side, in an image of this height and width.
    #[must_use]
    pub fn at(self, [height, width]: [usize; 2]) -> Self {
        let usual = height.min(width).div_ceil(8);
        Self { side: if self.side == 0 { usual } else { self.side }, ..self }
    }
}

/// Infidelity of one map: smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InfidelityScore {
    /// E[(I·Φ − (f(x) − f(x − I)))²], in squares of logits. It depends on the map's scale.
    pub raw: f64,
    /// The same for the map times the factor that makes it smallest, over E[(f(x) − f(x − I))²]: from 0 to 1, whatever
    /// the map's scale; none where no square changes the output.
    pub scaled: Option<f64>,
    /// That factor: E[I·Φ (f(x) − f(x − I))]/E[(I·Φ)²]; 0 where the map is zero on all squares.
    pub factor: f64,
}

/// Infidelity of a map: f is the logit, and what is taken away is zero in the prepared image.
pub fn infidelity(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &Infidelity,
) -> Result<InfidelityScore, ScoreError> {
    subject.check_map(map)?;
    let [_, height, width] = subject.shape();
    let (shorter, side) = (height.min(width), options.at([height, width]).side);
    if side > shorter || options.samples == 0 {
        let what = format!("infidelity with {} squares of side {side}", options.samples);
        return Err(ScoreError::input(what, format!("one or more of a side up to {shorter}")));
    }
    let whole = subject.answer(Readout::Logit);
    let stream = Stream::new(options.seed, hash("infidelity"));
    let mut said = Vec::new();
    let answers = subject.ask(Readout::Logit, options.samples, |index, image| {
        let mut stream = stream.substream(index as u64);
        let (top, left) = (stream.below(height - side + 1), stream.below(width - side + 1));
        let square = (0..side * side).map(|i| (top + i / side) * width + left + i % side);
        said.push(square.clone().map(|pixel| f64::from(map[pixel])).sum::<f64>());
        square.for_each(|pixel| set_pixel(image, height * width, pixel, |_| 0.0));
    })?;
    let done: Vec<f64> = answers.into_iter().map(|answer| whole - answer).collect();
    Ok(compare(&said, &done))
}

fn compare(said: &[f64], done: &[f64]) -> InfidelityScore {
    let mean = |value: &dyn Fn(f64, f64) -> f64| -> f64 {
        said.iter().zip(done).map(|(&said, &done)| value(said, done)).sum::<f64>()
            / said.len() as f64
    };
    let of_map = mean(&|said, _| said * said);
    let factor = if of_map > 0.0 { mean(&|said, done| said * done) / of_map } else { 0.0 };
    let of_output = mean(&|_, done| done * done);
    let best = mean(&|said, done| (factor * said - done).powi(2));
    InfidelityScore {
        raw: mean(&|said, done| (said - done).powi(2)),
        scaled: (of_output > 0.0).then(|| best / of_output),
        factor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infidelity_by_hand() {
        let score = compare(&[1.0, 2.0], &[2.0, 4.0]);
        assert_eq!(score, InfidelityScore { raw: 2.5, scaled: Some(0.0), factor: 2.0 });
        let score = compare(&[1.0, 1.0], &[1.0, -1.0]);
        assert_eq!(score, InfidelityScore { raw: 2.0, scaled: Some(1.0), factor: 0.0 });
        let score = compare(&[0.0, 0.0], &[0.0, 0.0]);
        assert_eq!(score, InfidelityScore { raw: 0.0, scaled: None, factor: 0.0 });
    }
}
