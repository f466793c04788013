//! Batch normalisation and local response normalisation.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use super::moments::{Moments, Synchronise, channel};
use top5_graph::ops::{AlphaOver, BatchNorm2d, LocalResponseNorm};
use top5_graph::{EngineError, LrnRule};

impl Compute for BatchNorm2d {
    fn forward(&self, at: &At<'_>) -> Array {
        let moments = at.moments.expect("a batch normalisation has statistics");
        let [weight, bias] = [&at.params[0], &at.params[1]];
        let mut y = at.x().clone();
        for n in 0..y.n {
            for (c, &(mean, inverse)) in moments.constants(self).iter().enumerate() {
                let factor = weight[c] * inverse;
                y.plane_mut(n, c).iter_mut().for_each(|v| *v = (*v - mean) * factor + bias[c]);
            }
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        batch_backward(self, at, dy, to, &mut None).expect("only other processes fail");
    }
}

/// Lets the running statistics in `params` follow. The variance of one value is 0.
pub(super) fn follow(op: &BatchNorm2d, params: &mut [Vec<f64>], moments: &Moments) {
    let Some(count) = moments.count else { return };
    let unbiased = count / (count.max(2.0) - 1.0);
    let momentum = f64::from(op.momentum);
    for (c, &(mean, var)) in moments.channels.iter().enumerate() {
        params[2][c] += momentum * (mean - params[2][c]);
        params[3][c] += momentum * (var * unbiased - params[3][c]);
    }
}

/// Where the statistics are the batch's they depend on `x`, and the sums that this takes are over all processes. The
/// gradients of the parameters are of this process's images.
pub(super) fn batch_backward(
    op: &BatchNorm2d,
    at: &At<'_>,
    dy: &Array,
    to: Gradients<'_>,
    synchronise: &mut Synchronise<'_>,
) -> Result<(), EngineError> {
    let moments = at.moments.expect("a batch normalisation has statistics");
    let (x, dx, constants) = (at.x(), &mut to.inputs[0], moments.constants(op));
    let sum = |c: usize| channel(dy, c).sum::<f64>();
    let dot = |c: usize| {
        let (mean, inverse) = constants[c];
        channel(dy, c).zip(channel(x, c)).map(|(d, v)| d * (v - mean) * inverse).sum::<f64>()
    };
    let mut sums = vec![(x.n * x.area()) as f64];
    sums.extend((0..x.c).map(sum).chain((0..x.c).map(dot)));
    to.params[1].iter_mut().zip(&sums[1..]).for_each(|(d, sum)| *d += sum);
    to.params[0].iter_mut().zip(&sums[1 + x.c..]).for_each(|(d, dot)| *d += dot);
    if moments.count.is_none() {
        sums[1..].fill(0.0);
    } else if let Some(synchronise) = synchronise {
        synchronise(at.node.id, &mut sums)?;
    }
    for (c, &(mean, inverse)) in constants.iter().enumerate() {
        let (count, sum, dot) = (sums[0], sums[1 + c], sums[1 + x.c + c]);
        let factor = at.params[0][c] * inverse;
        for n in 0..x.n {
            let pairs = dy.plane(n, c).iter().zip(x.plane(n, c));
            for (dx, (&d, &v)) in dx.plane_mut(n, c).iter_mut().zip(pairs) {
                *dx += factor * (d - (sum + (v - mean) * inverse * dot) / count);
            }
        }
    }
    Ok(())
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

impl Compute for LocalResponseNorm {
    fn forward(&self, at: &At<'_>) -> Array {
        let beta = f64::from(self.beta);
        at.x().zip(&denominators(self, at.x()), |x, s| x * s.powf(-beta))
    }

    /// `dx_j = dy_j·s_j^−β − 2αβ·x_j·Σ_c dy_c·x_c·s_c^(−β−1)`, over the channels `c` that have `j` as a neighbour.
    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let (x, dx) = (at.x(), &mut to.inputs[0]);
        if at.mode.rule.lrn == LrnRule::Identity {
            *dx = dy.clone();
            return;
        }
        let beta = f64::from(self.beta);
        let (alpha, near) = neighbourhood(self, x.c);
        let s = denominators(self, x);
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
}
