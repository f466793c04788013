//! Small layers on vectors, in plain loops: the loss, softmax, LeNet-5's radial basis functions, dropout.

use top5_graph::Targets;
use top5_graph::ops::Dropout;
use top5_graph::random::Stream;
use top5_kernels::elementwise::Operand;
use top5_kernels::{Block, LANES, Layout, Threads};

/// The values of `n` vectors of `len`, one at a time.
fn rows(blocks: &[Block], n: usize, len: usize) -> impl Iterator<Item = &[f32]> {
    let image = len.div_ceil(LANES);
    blocks[..n * image].chunks_exact(image).map(move |row| &Block::flat(row)[..len])
}

fn rows_mut(blocks: &mut [Block], n: usize, len: usize) -> impl Iterator<Item = &mut [f32]> {
    let image = len.div_ceil(LANES);
    blocks[..n * image].chunks_exact_mut(image).map(Block::flat_mut)
}

/// What the loss compares the scores with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Of each image.
    pub(crate) targets: Targets<'a>,
    /// Share of the target that is spread over all classes.
    pub(crate) smoothing: f32,
    /// The weight of this loss.
    pub(crate) weight: f32,
    /// Factor of its gradient.
    pub(crate) scale: f32,
}

/// `weight` times the mean cross-entropy of `classes` scores for each of `n` images; its gradient is written to `dy`, or
/// added.
pub(crate) fn cross_entropy(
    n: usize,
    target: Target<'_>,
    classes: usize,
    scores: &[Block],
    dy: &mut [Block],
    accumulate: bool,
) -> f64 {
    let weight = f64::from(target.weight) / n as f64;
    let scale = weight * f64::from(target.scale);
    let smoothing = f64::from(target.smoothing);
    let spread = smoothing / classes as f64;
    let mut loss = 0.0;
    for (image, (scores, dy)) in rows(scores, n, classes).zip(rows_mut(dy, n, classes)).enumerate()
    {
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |score: f32| (f64::from(score) - f64::from(largest)).exp();
        let total: f64 = scores.iter().map(|&score| exp(score)).sum();
        let log_total = total.ln() + f64::from(largest);
        let right = match target.targets {
            Targets::Classes(labels) => f64::from(scores[labels[image] as usize]),
            Targets::Distributions(shares) => {
                // A class that is no target does not count, not even with a score of −∞.
                let shares = shares[image * classes..][..classes].iter().zip(scores);
                let counted = shares.filter(|(share, _)| **share != 0.0);
                counted.map(|(&share, &score)| f64::from(share) * f64::from(score)).sum()
            }
        };
        let all: f64 = scores.iter().map(|&score| f64::from(score)).sum();
        loss += weight * (log_total - (1.0 - smoothing) * right - spread * all);
        if !accumulate {
            dy.fill(0.0);
        }
        for (class, (dy, &score)) in dy.iter_mut().zip(scores).enumerate() {
            let share = f64::from(target.targets.share(image, class, classes));
            let wanted = spread + (1.0 - smoothing) * share;
            *dy += (scale * (exp(score) / total - wanted)) as f32;
        }
    }
    loss
}

/// `y_i = e^x_i / Σ e^x_j`
pub(crate) fn softmax(n: usize, len: usize, x: &[Block], y: &mut [Block]) {
    for (x, y) in rows(x, n, len).zip(rows_mut(y, n, len)) {
        let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp = |x: f32| f64::from(x - largest).exp();
        let total: f64 = x.iter().map(|&x| exp(x)).sum();
        y.fill(0.0);
        y.iter_mut().zip(x).for_each(|(y, &x)| *y = (exp(x) / total) as f32);
    }
}

/// `dx_i += y_i·(dy_i − Σ_j dy_j·y_j)`
pub(crate) fn softmax_gradient(n: usize, len: usize, y: &[Block], dy: &[Block], dx: &mut [Block]) {
    for ((y, dy), dx) in rows(y, n, len).zip(rows(dy, n, len)).zip(rows_mut(dx, n, len)) {
        let dot: f64 = y.iter().zip(dy).map(|(&y, &dy)| f64::from(y) * f64::from(dy)).sum();
        for ((dx, &y), &dy) in dx.iter_mut().zip(y).zip(dy) {
            *dx += (f64::from(y) * (f64::from(dy) - dot)) as f32;
        }
    }
}

/// `y_i = −Σ_j (x_j − codes_ij)²`
pub(crate) fn euclidean_rbf(
    n: usize,
    [len, classes]: [usize; 2],
    codes: &[f32],
    x: &[Block],
    y: &mut [Block],
) {
    for (x, y) in rows(x, n, len).zip(rows_mut(y, n, classes)) {
        y.fill(0.0);
        for (y, code) in y.iter_mut().zip(codes.chunks_exact(len)).take(classes) {
            let square = |(x, c): (&f32, &f32)| (f64::from(*x) - f64::from(*c)).powi(2);
            *y = -x.iter().zip(code).map(square).sum::<f64>() as f32;
        }
    }
}

/// `dx_j += Σ_i −2·dy_i·(x_j − codes_ij)`
pub(crate) fn euclidean_rbf_gradient(
    n: usize,
    [len, classes]: [usize; 2],
    codes: &[f32],
    x: &[Block],
    dy: &[Block],
    dx: &mut [Block],
) {
    for ((x, dy), dx) in rows(x, n, len).zip(rows(dy, n, classes)).zip(rows_mut(dx, n, len)) {
        for (j, dx) in dx.iter_mut().take(len).enumerate() {
            let term = |(i, &dy): (usize, &f32)| {
                -2.0 * f64::from(dy) * (f64::from(x[j]) - f64::from(codes[i * len + j]))
            };
            *dx += dy.iter().enumerate().map(term).sum::<f64>() as f32;
        }
    }
}

/// Pixels that make a job worth starting.
const JOB: usize = 256;

/// What is drawn for a dropout.
#[derive(Clone, Debug)]
pub(crate) struct Masks {
    pub(crate) op: Dropout,
    pub(crate) stream: Stream,
    /// The first image's place in the whole batch.
    pub(crate) first: usize,
}

/// `y ← factor·x` (or added) with the dropout factor of each element, drawn at its index in `[n, c, h, w]` of the whole batch.
pub(crate) fn dropout(
    threads: &Threads,
    n: usize,
    masks: &Masks,
    (x, from): Operand<'_>,
    (y, to): (&mut [Block], &Layout),
    accumulate: bool,
) {
    let planes = n * to.blocks();
    // A plane of a vector is one pixel: too little for a job.
    let per_job = JOB.div_ceil(to.plane());
    threads.chunks(&mut y[..planes * to.plane()], per_job * to.plane(), |job, y| {
        for (i, y) in y.chunks_exact_mut(to.plane()).enumerate() {
            let plane = job * per_job + i;
            let (image, block) = (plane / to.blocks(), plane % to.blocks());
            let x = &x[plane * from.plane()..][..from.plane()];
            for row in 0..to.height {
                let pixels = to.pixels_mut(y, row).iter_mut().zip(from.pixels(x, row));
                for (col, (y, x)) in pixels.enumerate() {
                    if !accumulate {
                        *y = Block::ZERO;
                    }
                    for lane in 0..to.lanes(block) {
                        let channel = (masks.first + image) * to.channels + block * LANES + lane;
                        let index = (channel * to.height + row) * to.width + col;
                        let uniform = masks.stream.uniform_at(index as u64);
                        y.0[lane] += x.0[lane] * masks.op.factor(uniform);
                    }
                }
            }
        }
    });
}
