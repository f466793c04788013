//! Batch normalisation and local response normalisation.

use super::array::Array;
use top5_graph::ops::{AlphaOver, BatchNorm2d, LocalResponseNorm};

/// The values of channel `c`, sample after sample.
fn channel(x: &Array, c: usize) -> impl Iterator<Item = f64> {
    (0..x.n).flat_map(move |n| x.plane(n, c).iter().copied())
}

/// Mean and biased variance of each channel over the batch and all positions.
fn statistics(x: &Array) -> Vec<(f64, f64)> {
    let count = (x.n * x.area()) as f64;
    (0..x.c)
        .map(|c| {
            let mean = channel(x, c).sum::<f64>() / count;
            (mean, channel(x, c).map(|v| (v - mean).powi(2)).sum::<f64>() / count)
        })
        .collect()
}

/// `params`: weight, bias, running mean, running variance. In training the batch's statistics are used.
pub(crate) fn batch(op: &BatchNorm2d, params: &[Vec<f64>], x: &Array, training: bool) -> Array {
    let statistics = if training {
        statistics(x)
    } else {
        params[2].iter().copied().zip(params[3].iter().copied()).collect()
    };
    let mut y = x.clone();
    for n in 0..x.n {
        for (c, &(mean, var)) in statistics.iter().enumerate() {
            let factor = params[0][c] / (var + f64::from(op.eps)).sqrt();
            y.plane_mut(n, c).iter_mut().for_each(|v| *v = (*v - mean) * factor + params[1][c]);
        }
    }
    y
}

/// Lets the running statistics in `params` follow those of the batch `x`. The variance of one value is 0.
pub(crate) fn follow(op: &BatchNorm2d, params: &mut [Vec<f64>], x: &Array) {
    let count = x.n * x.area();
    let unbiased = count as f64 / (count.max(2) - 1) as f64;
    let momentum = f64::from(op.momentum);
    for (c, (mean, var)) in statistics(x).into_iter().enumerate() {
        params[2][c] += momentum * (mean - params[2][c]);
        params[3][c] += momentum * (var * unbiased - params[3][c]);
    }
}

/// Of the training form: the batch's statistics depend on `x`.
pub(crate) fn batch_backward(
    op: &BatchNorm2d,
    params: &[Vec<f64>],
    x: &Array,
    dy: &Array,
    dx: &mut Array,
    dparams: &mut [Vec<f64>],
) {
    let count = (x.n * x.area()) as f64;
    for (c, (mean, var)) in statistics(x).into_iter().enumerate() {
        let inverse = 1.0 / (var + f64::from(op.eps)).sqrt();
        let normal = |v: f64| (v - mean) * inverse;
        let sum: f64 = channel(dy, c).sum();
        let dot: f64 = channel(dy, c).zip(channel(x, c)).map(|(d, v)| d * normal(v)).sum();
        dparams[0][c] += dot;
        dparams[1][c] += sum;
        for n in 0..x.n {
            let pairs = dy.plane(n, c).iter().zip(x.plane(n, c));
            for (dx, (&d, &v)) in dx.plane_mut(n, c).iter_mut().zip(pairs) {
                *dx += params[0][c] * inverse * (d - (sum + normal(v) * dot) / count);
            }
        }
    }
}

/// The factor of the sum of squares, and the neighbours of channel `c`.
fn neighbourhood(op: &LocalResponseNorm, channels: usize) -> (f64, impl Fn(usize) -> Vec<usize>) {
    let alpha = match op.over {
        AlphaOver::Sum => f64::from(op.alpha),
        AlphaOver::Mean => f64::from(op.alpha) / op.size as f64,
    };
    let half = op.size / 2;
    (alpha, move |c: usize| (c.saturating_sub(half)..(c + half + 1).min(channels)).collect())
}

/// `k + α·Σ x_j²` of every element.
fn denominators(op: &LocalResponseNorm, x: &Array) -> Array {
    let (alpha, near) = neighbourhood(op, x.c);
    let mut s = x.map(|_| f64::from(op.k));
    for n in 0..x.n {
        for c in 0..x.c {
            for j in near(c) {
                let squares = x.plane(n, j).iter().map(|v| alpha * v * v);
                s.plane_mut(n, c).iter_mut().zip(squares).for_each(|(s, square)| *s += square);
            }
        }
    }
    s
}

pub(crate) fn local_response(op: &LocalResponseNorm, x: &Array) -> Array {
    let beta = f64::from(op.beta);
    x.zip(&denominators(op, x), |x, s| x * s.powf(-beta))
}

/// `dx_j = dy_j·s_j^−β − 2αβ·x_j·Σ_c dy_c·x_c·s_c^(−β−1)`, over the channels `c` that have `j` as a neighbour.
pub(crate) fn local_response_backward(
    op: &LocalResponseNorm,
    x: &Array,
    dy: &Array,
    dx: &mut Array,
) {
    let beta = f64::from(op.beta);
    let (alpha, near) = neighbourhood(op, x.c);
    let s = denominators(op, x);
    let direct = dy.zip(&s, |dy, s| dy * s.powf(-beta));
    dx.data.iter_mut().zip(&direct.data).for_each(|(dx, d)| *dx += d);
    let through = dy.zip(x, |dy, x| dy * x).zip(&s, |dyx, s| dyx * s.powf(-beta - 1.0));
    for n in 0..x.n {
        for j in 0..x.c {
            for c in near(j) {
                let terms = through.plane(n, c).iter().zip(x.plane(n, j));
                let dx = dx.plane_mut(n, j).iter_mut();
                dx.zip(terms).for_each(|(dx, (t, x))| *dx -= 2.0 * alpha * beta * x * t);
            }
        }
    }
}
