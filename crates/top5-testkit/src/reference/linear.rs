//! Fully connected layers.

use super::array::Array;
use top5_graph::Shape;

/// Weight `[outputs, inputs]`, then perhaps a bias.
pub(crate) fn forward(params: &[Vec<f64>], x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    for n in 0..x.n {
        let x = x.sample(n);
        for (o, y) in y.sample_mut(n).iter_mut().enumerate() {
            let row = &params[0][o * x.len()..][..x.len()];
            *y = row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
                + params.get(1).map_or(0.0, |bias| bias[o]);
        }
    }
    y
}

/// Adds to `dx` and `dparams`.
pub(crate) fn backward(
    params: &[Vec<f64>],
    x: &Array,
    dy: &Array,
    dx: &mut Array,
    dparams: &mut [Vec<f64>],
) {
    for n in 0..x.n {
        let (x, dx) = (x.sample(n), dx.sample_mut(n));
        for (o, &dy) in dy.sample(n).iter().enumerate() {
            let range = o * x.len()..(o + 1) * x.len();
            let weight = &params[0][range.clone()];
            dx.iter_mut().zip(weight).for_each(|(dx, w)| *dx += w * dy);
            dparams[0][range].iter_mut().zip(x).for_each(|(dw, x)| *dw += x * dy);
            if let Some(dbias) = dparams.get_mut(1) {
                dbias[o] += dy;
            }
        }
    }
}

/// `y_i = −Σ_j (x_j − codes_ij)²`
pub(crate) fn euclidean_rbf(codes: &[f64], x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    for n in 0..x.n {
        let x = x.sample(n);
        for (y, code) in y.sample_mut(n).iter_mut().zip(codes.chunks_exact(x.len())) {
            *y = -x.iter().zip(code).map(|(x, code)| (x - code).powi(2)).sum::<f64>();
        }
    }
    y
}

pub(crate) fn euclidean_rbf_backward(codes: &[f64], x: &Array, dy: &Array, dx: &mut Array) {
    for n in 0..x.n {
        let (x, dx) = (x.sample(n), dx.sample_mut(n));
        for (dy, code) in dy.sample(n).iter().zip(codes.chunks_exact(x.len())) {
            let terms = x.iter().zip(code).map(|(x, code)| -2.0 * dy * (x - code));
            dx.iter_mut().zip(terms).for_each(|(dx, term)| *dx += term);
        }
    }
}
