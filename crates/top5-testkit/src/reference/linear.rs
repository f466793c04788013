//! Fully connected layers.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use top5_graph::ops::{EuclideanRbf, Linear};

/// Weight `[outputs, inputs]`, then perhaps a bias.
impl Compute for Linear {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        for n in 0..y.n {
            let x = at.x().sample(n);
            for (o, y) in y.sample_mut(n).iter_mut().enumerate() {
                let row = &at.params[0][o * x.len()..][..x.len()];
                *y = row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()
                    + at.params.get(1).map_or(0.0, |bias| bias[o]);
            }
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        for n in 0..dy.n {
            let (x, dx) = (at.x().sample(n), to.inputs[0].sample_mut(n));
            for (o, &dy) in dy.sample(n).iter().enumerate() {
                let range = o * x.len()..(o + 1) * x.len();
                let weight = &at.params[0][range.clone()];
                dx.iter_mut().zip(weight).for_each(|(dx, w)| *dx += w * dy);
                to.params[0][range].iter_mut().zip(x).for_each(|(dw, x)| *dw += x * dy);
                if let Some(dbias) = to.params.get_mut(1) {
                    dbias[o] += dy;
                }
            }
        }
    }
}

/// `y_i = −Σ_j (x_j − codes_ij)²`
impl Compute for EuclideanRbf {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        for n in 0..y.n {
            let x = at.x().sample(n);
            for (y, code) in y.sample_mut(n).iter_mut().zip(at.params[0].chunks_exact(x.len())) {
                *y = -x.iter().zip(code).map(|(x, code)| (x - code).powi(2)).sum::<f64>();
            }
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        for n in 0..dy.n {
            let (x, dx) = (at.x().sample(n), to.inputs[0].sample_mut(n));
            for (dy, code) in dy.sample(n).iter().zip(at.params[0].chunks_exact(x.len())) {
                let terms = x.iter().zip(code).map(|(x, code)| -2.0 * dy * (x - code));
                dx.iter_mut().zip(terms).for_each(|(dx, term)| *dx += term);
            }
        }
    }
}
