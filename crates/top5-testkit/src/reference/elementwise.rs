//! Activations, dropout, softmax, and the loss.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use top5_graph::ops::{Activation, Dropout, Softmax};
use top5_graph::random::Stream;
use top5_graph::{ReluRule, Targets};

impl Compute for Activation {
    fn forward(&self, at: &At<'_>) -> Array {
        match self {
            // f64::max would turn a NaN into 0.
            Self::Relu => at.x().map(|x| if x < 0.0 { 0.0 } else { x }),
            Self::Sigmoid => at.x().map(|x| 1.0 / (1.0 + (-x).exp())),
            Self::ScaledTanh => {
                let (amplitude, slope) = tanh_constants();
                at.x().map(|x| amplitude * (slope * x).tanh())
            }
        }
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        to.inputs[0] = match self {
            Self::Relu => at.x().zip(dy, |x, dy| {
                let stopped = match at.mode.rule.relu {
                    ReluRule::Plain => x <= 0.0,
                    ReluRule::Guided => x <= 0.0 || dy <= 0.0,
                    ReluRule::Deconvnet => dy <= 0.0,
                };
                if stopped { 0.0 } else { dy }
            }),
            Self::Sigmoid => self.forward(at).zip(dy, |y, dy| dy * y * (1.0 - y)),
            Self::ScaledTanh => {
                let (amplitude, slope) = tanh_constants();
                let derivative = |x: f64| amplitude * slope * (1.0 - (slope * x).tanh().powi(2));
                at.x().zip(dy, |x, dy| dy * derivative(x))
            }
        };
    }
}

fn tanh_constants() -> (f64, f64) {
    (f64::from(Activation::TANH_AMPLITUDE), f64::from(Activation::TANH_SLOPE))
}

/// The mask of the draws of a stream, applied to activations or to their gradients; without one nothing is dropped. Images are
/// counted from `first`.
fn drop_out(op: &Dropout, stream: Option<Stream>, first: usize, x: &Array) -> Array {
    let Some(stream) = stream else { return x.clone() };
    let mut index = first as u64 * (x.data.len() / x.n.max(1)) as u64;
    x.map(|x| {
        let factor = f64::from(op.factor(stream.uniform_at(index)));
        index += 1;
        x * factor
    })
}

impl Compute for Dropout {
    fn forward(&self, at: &At<'_>) -> Array {
        drop_out(self, at.stream(), at.mode.first, at.x())
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        to.inputs[0] = drop_out(self, at.stream(), at.mode.first, dy);
    }
}

fn softmax(x: &Array) -> Array {
    let mut y = x.clone();
    for n in 0..x.n {
        let largest = x.sample(n).iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let y = y.sample_mut(n);
        y.iter_mut().for_each(|y| *y = (*y - largest).exp());
        let total: f64 = y.iter().sum();
        y.iter_mut().for_each(|y| *y /= total);
    }
    y
}

impl Compute for Softmax {
    fn forward(&self, at: &At<'_>) -> Array {
        softmax(at.x())
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let mut dx = softmax(at.x());
        for n in 0..dx.n {
            let dot: f64 = dx.sample(n).iter().zip(dy.sample(n)).map(|(y, dy)| y * dy).sum();
            dx.sample_mut(n).iter_mut().zip(dy.sample(n)).for_each(|(y, dy)| *y *= dy - dot);
        }
        to.inputs[0] = dx;
    }
}

/// Mean cross-entropy of `scores` over the batch against smoothed targets, times `weight`, and its gradient.
pub(crate) fn cross_entropy(
    scores: &Array,
    targets: Targets<'_>,
    smoothing: f64,
    weight: f64,
) -> (f64, Array) {
    let share = weight / scores.n as f64;
    let classes = scores.c;
    let mut gradient = softmax(scores);
    let mut loss = 0.0;
    for n in 0..scores.n {
        let scores = scores.sample(n);
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_total = largest + scores.iter().map(|s| (s - largest).exp()).sum::<f64>().ln();
        for (class, (score, gradient)) in scores.iter().zip(gradient.sample_mut(n)).enumerate() {
            let hard = f64::from(targets.share(n, class, classes));
            let target = (1.0 - smoothing) * hard + smoothing / classes as f64;
            // A class that is no target does not count, not even with a score of −∞.
            if target != 0.0 {
                loss += share * target * (log_total - score);
            }
            *gradient = share * (*gradient - target);
        }
    }
    (loss, gradient)
}
