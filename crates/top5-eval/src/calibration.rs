//! Whether a probability of 0.8 is right in 80 of 100 cases (Guo et al., ICML 2017).

use serde::{Deserialize, Deserializer, Serialize};

use crate::judge::Judged;
use crate::metric::softmax;

/// Bins of equal width.
pub const BINS: usize = 15;

/// How probabilities compare with what came true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The expected calibration error: Σ |B|/N · |accuracy − confidence| over the bins.
    pub ece: f64,
    /// The mean cross-entropy of the right class: infinite where one was held to be impossible, which is null in JSON.
    #[serde(deserialize_with = "null_is_infinite")]
    pub nll: f64,
    /// The mean Brier score.
    pub brier: f64,
    /// The bins of the reliability diagram.
    pub bins: Vec<Bin>,
}

/// A number as JSON has it, which knows no infinity.
pub fn null_is_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// Images whose first class has a probability in the same range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub images: usize,
    /// Those that were classified right.
    pub right: usize,
    /// The mean probability of their first class.
    pub confidence: f64,
}

impl Calibration {
    /// Of some answers; of none, all is zero. Those with a NaN are in no bin.
    pub fn new(judged: &[Judged]) -> Self {
        let mut bins = vec![Bin::default(); BINS];
        let n = judged.len().max(1) as f64;
        for one in judged.iter().filter(|one| one.confidence().is_finite()) {
            let confidence = one.confidence();
            // A bin holds its upper border.
            let at = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            bins[at].images += 1;
            bins[at].right += usize::from(one.is_among(1));
            bins[at].confidence += confidence;
        }
        let gap = |bin: &Bin| (bin.right as f64 - bin.confidence).abs() / n;
        let ece = bins.iter().map(gap).sum();
        for bin in &mut bins {
            bin.confidence /= bin.images.max(1) as f64;
        }
        // The sum of none is −0 in Rust.
        let mean = |of: fn(&Judged) -> f64| (judged.iter().map(of).sum::<f64>() + 0.0) / n;
        Self { ece, nll: mean(|one| one.loss), brier: mean(|one| one.brier), bins }
    }
}

/// The least and the greatest temperature that is fitted.
pub const TEMPERATURES: [f64; 2] = [0.05, 20.0];

/// The temperature T at which the probabilities pᵀ⁻¹/Σ have the smallest cross-entropy, from rows of their logarithms and the
/// right class of each; within [`TEMPERATURES`]. It must be fitted on other images than those that a result is reported on.
pub fn temperature<'a>(rows: impl Fn() -> Box<dyn Iterator<Item = (&'a [f32], u32)> + 'a>) -> f64 {
    // What is held to be impossible is that at every temperature.
    let possible = |&(row, label): &(&[f32], u32)| row[label as usize] > f32::NEG_INFINITY;
    let nll = |ln_t: f64| -> f64 {
        let t = ln_t.exp();
        let loss = |(row, label): (&[f32], u32)| {
            let scaled: Vec<f64> = row.iter().map(|&x| f64::from(x) / t).collect();
            let greatest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scaled.iter().map(|x| (x - greatest).exp()).sum();
            sum.ln() + greatest - scaled[label as usize]
        };
        rows().filter(possible).map(loss).sum()
    };
    // The cross-entropy is convex in 1/T, so it has one minimum in ln T: golden sections.
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    let [mut low, mut high] = TEMPERATURES.map(f64::ln);
    let [mut left, mut right] = [high - golden * (high - low), low + golden * (high - low)];
    let [mut at_left, mut at_right] = [nll(left), nll(right)];
    for _ in 0..40 {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - golden * (high - low);
            at_left = nll(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + golden * (high - low);
            at_right = nll(right);
        }
    }
    ((low + high) / 2.0).exp()
}

/// Probabilities at a temperature, from their logarithms.
pub fn at_temperature(log_probabilities: &[f32], temperature: f64) -> Vec<f64> {
    let scaled: Vec<f64> =
        log_probabilities.iter().map(|&log| f64::from(log) / temperature).collect();
    softmax(&scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_known_answers() {
        // Two of confidence 0.8, one right; one of 0.6, right.
        let judged = [
            Judged::new(0, &[0.8, 0.2], 0),
            Judged::new(1, &[0.8, 0.2], 1),
            Judged::new(2, &[0.4, 0.6], 1),
        ];
        let calibration = Calibration::new(&judged);
        let ece = (2.0 * (0.5f64 - 0.8).abs() + (1.0f64 - 0.6).abs()) / 3.0;
        assert!((calibration.ece - ece).abs() < 1e-12);
        let nll = -(0.8f64.ln() + 0.2f64.ln() + 0.6f64.ln()) / 3.0;
        assert!((calibration.nll - nll).abs() < 1e-12);
        assert!((calibration.brier - (0.08 + 1.28 + 0.32) / 3.0).abs() < 1e-12);
        let bin = calibration.bins[11];
        assert_eq!((bin.images, bin.right), (2, 1));
        assert_eq!(calibration.bins.iter().map(|bin| bin.images).sum::<usize>(), 3);
        let none = Calibration::new(&[]);
        assert_eq!(none.ece, 0.0);
        assert!(none.nll.is_sign_positive() && none.brier.is_sign_positive());
    }

    #[test]
    fn temperature_takes_back_what_was_added() {
        // Three of four are right at a confidence of 0.98: the best temperature makes it 0.75.
        let row = [0.98f32.ln(), 0.02f32.ln()];
        let rows = [(row, 0u32), (row, 0), (row, 0), (row, 1)];
        let t = temperature(|| Box::new(rows.iter().map(|(row, label)| (row.as_slice(), *label))));
        let scaled = at_temperature(&row, t);
        assert!((scaled[0] - 0.75).abs() < 1e-4, "{t} {scaled:?}");
        assert!((at_temperature(&[0.3f32.ln(), 0.7f32.ln()], 1.0)[1] - 0.7).abs() < 1e-7);
        // An answer whose right class is held to be impossible at every temperature says nothing.
        let never = ([f32::NEG_INFINITY, 0.0], 0);
        let more = || rows.iter().chain([&never]).map(|(row, label)| (row.as_slice(), *label));
        assert_eq!(temperature(|| Box::new(more())), t);
        // What is beyond the least probability comes back.
        assert!((at_temperature(&[0.0, -1000.0], 1000.0)[1] - 0.2689).abs() < 1e-4);
    }
}
