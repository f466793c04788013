//! Softmax regression with an L2 penalty, solved by L-BFGS (Liu & Nocedal, Mathematical Programming 1989): a convex problem,
//! begun at zero, in f64, in one order.

use std::collections::VecDeque;

use serde::Serialize;
use top5_eval::metric::{cross_entropy, softmax};

/// How the classifier is fitted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Regression {
    /// The penalty: l2/2 times the sum of the squared weights, beside the mean cross-entropy. Biases are free.
    pub l2: f64,
    /// Most iterations.
    pub iterations: usize,
    /// The solution is found when no element of the gradient is greater.
    pub tolerance: f64,
}

impl Default for Regression {
    /// l2 0.01, at most 200 iterations to a gradient of 1e-4.
    fn default() -> Self {
        Self { l2: 0.01, iterations: 200, tolerance: 1e-4 }
    }
}

/// A fitted classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Per class its weights, then its bias.
    weights: Vec<f64>,
    width: usize,
    /// Mean cross-entropy and penalty.
    pub loss: f64,
    /// Iterations that were made.
    pub iterations: usize,
    /// Whether the gradient is as small as was asked for.
    pub converged: bool,
}

impl Fitted {
    /// The most probable class of each row of `[n, width]` features; of equal ones the first.
    pub fn predict(&self, features: &[f32]) -> Vec<u32> {
        let classes = self.weights.len() / (self.width + 1);
        let mut logits = vec![0.0; ROWS * classes];
        let best = |logits: &[f64]| {
            let best = (0..classes).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            best.unwrap_or(0) as u32
        };
        let mut predicted = Vec::with_capacity(features.len() / self.width);
        for rows in features.chunks(ROWS * self.width) {
            scores(&self.weights, rows, self.width, &mut logits);
            predicted.extend(logits.chunks_exact(classes).take(rows.len() / self.width).map(best));
        }
        predicted
    }

    /// How many rows have these labels.
    pub fn right(&self, features: &[f32], labels: &[u32]) -> usize {
        self.predict(features).iter().zip(labels).filter(|(a, b)| a == b).count()
    }
}

/// Fits a classifier to `[n, width]` features and a label below `classes` for each.
pub fn fit(
    features: &[f32],
    width: usize,
    labels: &[u32],
    classes: usize,
    options: &Regression,
) -> Fitted {
    let problem = Problem { features, width, labels, l2: options.l2 };
    let mut x = vec![0.0; classes * (width + 1)];
    let (mut loss, mut gradient) = problem.at(&x);
    let mut memory: VecDeque<[Vec<f64>; 2]> = VecDeque::new();
    let small = |gradient: &[f64]| gradient.iter().all(|g| g.abs() <= options.tolerance);
    let mut iterations = 0;
    while iterations < options.iterations && !small(&gradient) {
        let direction = direction(&gradient, &memory);
        let slope = dot(&direction, &gradient);
        // Armijo's rule, from a full step; the very first one is of length one.
        let mut step = match memory.is_empty() {
            true => 1.0 / dot(&gradient, &gradient).sqrt().max(1.0),
            false => 1.0,
        };
        let mut next = None;
        for _ in 0..40 {
            let trial: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let (value, slopes) = problem.at(&trial);
            if value <= loss + 1e-4 * step * slope {
                next = Some((trial, value, slopes));
                break;
            }
            step /= 2.0;
        }
        // Rounding hides any further descent.
        let Some((trial, value, slopes)) = next else { break };
        let s: Vec<f64> = trial.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = slopes.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        if dot(&s, &y) > 1e-12 * dot(&y, &y) {
            memory.push_back([s, y]);
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (x, loss, gradient) = (trial, value, slopes);
        iterations += 1;
    }
    Fitted { converged: small(&gradient), weights: x, width, loss, iterations }
}

/// Steps that the approximation of the second derivative is made of.
const MEMORY: usize = 10;

/// Bytes that [`fit`] takes beside the features: two vectors for each remembered step, and those of the step that is tried.
pub fn memory(width: usize, classes: usize) -> u64 {
    let vectors = 2 * MEMORY as u64 + 10;
    vectors.saturating_mul(8).saturating_mul(classes as u64).saturating_mul(width as u64 + 1)
}

/// Down the gradient, bent by the remembered steps (Nocedal & Wright, algorithm 7.4).
fn direction(gradient: &[f64], memory: &VecDeque<[Vec<f64>; 2]>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let add = |q: &mut [f64], factor: f64, v: &[f64]| {
        q.iter_mut().zip(v).for_each(|(q, v)| *q += factor * v);
    };
    let mut alphas = Vec::new();
    for [s, y] in memory.iter().rev() {
        let alpha = dot(s, &q) / dot(s, y);
        add(&mut q, -alpha, y);
        alphas.push(alpha);
    }
    if let Some([s, y]) = memory.back() {
        let factor = dot(s, y) / dot(y, y);
        q.iter_mut().for_each(|q| *q *= factor);
    }
    for ([s, y], alpha) in memory.iter().zip(alphas.iter().rev()) {
        let beta = dot(y, &q) / dot(s, y);
        add(&mut q, alpha - beta, s);
    }
    q
}

struct Problem<'a> {
    features: &'a [f32],
    width: usize,
    labels: &'a [u32],
    l2: f64,
}

impl Problem<'_> {
    /// The loss at these weights, and its gradient.
    fn at(&self, weights: &[f64]) -> (f64, Vec<f64>) {
        let per_class = self.width + 1;
        let classes = weights.len() / per_class;
        let share = 1.0 / self.labels.len().max(1) as f64;
        let mut gradient = vec![0.0; weights.len()];
        let mut logits = vec![0.0; ROWS * classes];
        let mut loss = 0.0;
        let rows = self.features.chunks(ROWS * self.width).zip(self.labels.chunks(ROWS));
        for (rows, labels) in rows {
            scores(weights, rows, self.width, &mut logits);
            for (logits, &label) in logits.chunks_exact_mut(classes).zip(labels) {
                loss += share * cross_entropy(logits, label as usize);
                let probabilities = softmax(logits);
                logits.copy_from_slice(&probabilities);
                logits[label as usize] -= 1.0;
            }
            for (class, slopes) in gradient.chunks_exact_mut(per_class).enumerate() {
                let (bias, slopes) = slopes.split_last_mut().expect("a bias follows the weights");
                let errors = logits.iter().skip(class).step_by(classes);
                for (row, error) in rows.chunks_exact(self.width).zip(errors) {
                    let slope = share * error;
                    *bias += slope;
                    slopes.iter_mut().zip(row).for_each(|(g, &x)| *g += slope * f64::from(x));
                }
            }
        }
        let rows = gradient.chunks_exact_mut(per_class).zip(weights.chunks_exact(per_class));
        for (slopes, weights) in rows {
            for (g, w) in slopes.iter_mut().zip(weights).take(self.width) {
                *g += self.l2 * w;
                loss += self.l2 / 2.0 * w * w;
            }
        }
        (loss, gradient)
    }
}

/// Rows of features that are looked at together, so that a class's weights are read once for all of them.
const ROWS: usize = 16;

/// Each class's score of each of some rows, `[n, classes]`.
fn scores(weights: &[f64], rows: &[f32], width: usize, logits: &mut [f64]) {
    let classes = weights.len() / (width + 1);
    for (class, weights) in weights.chunks_exact(width + 1).enumerate() {
        let logits = logits.iter_mut().skip(class).step_by(classes);
        for (row, logit) in rows.chunks_exact(width).zip(logits) {
            *logit = product(&weights[..width], row) + weights[width];
        }
    }
}

/// A sum of products, in eight sums that do not wait for each other.
fn product(weights: &[f64], row: &[f32]) -> f64 {
    let ((weights, last_weights), (row, last)) = (weights.as_chunks::<8>(), row.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (weights, row) in weights.iter().zip(row) {
        for ((sum, weight), &x) in sums.iter_mut().zip(weights).zip(row) {
            *sum += weight * f64::from(x);
        }
    }
    let rest = last_weights.iter().zip(last).map(|(weight, &x)| weight * f64::from(x));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::random::Stream;

    #[test]
    fn solution_satisfies_its_equation() {
        // One feature ±1, two classes, symmetric: with weights ±w, w·l2 = 1/(1 + exp(2w))·1.
        let options = Regression { l2: 0.1, iterations: 100, tolerance: 1e-10 };
        let fitted = fit(&[1.0, -1.0], 1, &[0, 1], 2, &options);
        assert!(fitted.converged, "{fitted:?}");
        let w = fitted.weights[0];
        assert!((w * 0.1 - 1.0 / (1.0 + (2.0 * w).exp())).abs() < 1e-8, "{fitted:?}");
        assert!((fitted.weights[2] + w).abs() < 1e-8);
        assert!(fitted.weights[1].abs() < 1e-8 && fitted.weights[3].abs() < 1e-8);
        assert_eq!(fitted.predict(&[0.5, -0.1, 0.0]), [0, 1, 0]);
    }

    #[test]
    fn gradient_is_the_slope_of_the_loss_over_any_number_of_rows() {
        let mut stream = Stream::new(3, 0);
        let width = 11;
        for count in [1, ROWS, 2 * ROWS + 3] {
            let features: Vec<f32> = (0..count * width).map(|_| stream.normal()).collect();
            let labels: Vec<u32> = (0..count as u32).map(|i| i % 3).collect();
            let problem = Problem { features: &features, width, labels: &labels, l2: 0.1 };
            let weights: Vec<f64> = (0..36).map(|_| f64::from(stream.normal())).collect();
            let (_, gradient) = problem.at(&weights);
            for at in [0, 11, 20, 35] {
                let moved = |by: f64| {
                    let mut weights = weights.clone();
                    weights[at] += by;
                    problem.at(&weights).0
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((slope - gradient[at]).abs() < 1e-7, "{count} rows, {at}: {slope}");
            }
        }
    }

    #[test]
    fn bias_alone_gives_the_classes_shares() {
        let options = Regression { tolerance: 1e-9, ..Regression::default() };
        let fitted = fit(&[0.0; 4], 1, &[1, 1, 1, 0], 2, &options);
        let difference = fitted.weights[3] - fitted.weights[1];
        assert!((difference - 3.0_f64.ln()).abs() < 1e-6, "{fitted:?}");
        assert_eq!(fitted.right(&[0.0; 4], &[1, 1, 1, 0]), 3);
    }

    #[test]
    fn separable_clusters_are_separated_and_fits_repeat() {
        let mut stream = Stream::new(2, 0);
        let labels: Vec<u32> = (0..90).map(|i| i % 3).collect();
        let features: Vec<f32> = labels
            .iter()
            .flat_map(|&label| (0..20).map(move |i| if i == label { 3.0 } else { 0.0 }))
            .map(|mean| mean + stream.normal() * 0.5)
            .collect();
        let options = Regression::default();
        let fitted = fit(&features, 20, &labels, 3, &options);
        assert!(fitted.converged && fitted.iterations < 100, "{}", fitted.iterations);
        assert_eq!(fitted.right(&features, &labels), 90);
        assert_eq!(fitted, fit(&features, 20, &labels, 3, &options));
        let stopped = fit(&features, 20, &labels, 3, &Regression { iterations: 2, ..options });
        assert_eq!((stopped.iterations, stopped.converged), (2, false));
    }
}
