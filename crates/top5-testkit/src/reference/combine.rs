//! Ops that combine or move maps.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use top5_graph::GateRule;
use top5_graph::ops::{
    Add, Concat, Flatten, Input, MulConstant, PadChannels, Scale, SliceChannels, Subsample,
};

/// Adds `from`'s channels `start..start + len` to `to`'s channels that begin at `at`.
fn add_channels(from: &Array, start: usize, len: usize, to: &mut Array, at: usize) {
    for n in 0..from.n {
        for c in 0..len {
            let pairs = to.plane_mut(n, at + c).iter_mut().zip(from.plane(n, start + c));
            pairs.for_each(|(to, from)| *to += from);
        }
    }
}

impl Compute for Input {
    fn forward(&self, at: &At<'_>) -> Array {
        at.x().clone()
    }

    fn backward(&self, _at: &At<'_>, _dy: &Array, _to: Gradients<'_>) {}
}

impl Compute for Flatten {
    fn forward(&self, at: &At<'_>) -> Array {
        Array { data: at.x().data.clone(), ..at.zeros() }
    }

    fn backward(&self, _at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        to.inputs[0].data.clone_from(&dy.data);
    }
}

impl Compute for MulConstant {
    fn forward(&self, at: &At<'_>) -> Array {
        at.x().map(|x| x * f64::from(self.factor))
    }

    fn backward(&self, _at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        to.inputs[0] = dy.map(|dy| dy * f64::from(self.factor));
    }
}

impl Compute for Add {
    fn forward(&self, at: &At<'_>) -> Array {
        at.inputs.iter().fold(at.zeros(), |sum, x| sum.zip(x, |a, b| a + b))
    }

    fn backward(&self, _at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        to.inputs.fill(dy.clone());
    }
}

impl Compute for Concat {
    fn forward(&self, at: &At<'_>) -> Array {
        let (mut y, mut first) = (at.zeros(), 0);
        for x in at.inputs {
            add_channels(x, 0, x.c, &mut y, first);
            first += x.c;
        }
        y
    }

    fn backward(&self, _at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let mut first = 0;
        for dx in to.inputs {
            add_channels(dy, first, dx.c, dx, 0);
            first += dx.c;
        }
    }
}

impl Compute for Scale {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.x().clone();
        let area = y.area();
        for (y, factor) in y.data.chunks_exact_mut(area).zip(&at.inputs[1].data) {
            y.iter_mut().for_each(|y| *y *= factor);
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let (factors, area) = (at.inputs[1], dy.area());
        let planes = at.x().data.chunks_exact(area).zip(dy.data.chunks_exact(area));
        for (plane, (x, dy)) in planes.enumerate() {
            let dx = to.inputs[0].data[plane * area..][..area].iter_mut();
            dx.zip(dy).for_each(|(dx, dy)| *dx += dy * factors.data[plane]);
            if at.mode.rule.gates != GateRule::Held {
                to.inputs[1].data[plane] += x.iter().zip(dy).map(|(x, dy)| x * dy).sum::<f64>();
            }
        }
    }
}

impl Compute for SliceChannels {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        add_channels(at.x(), self.start, self.len, &mut y, 0);
        y
    }

    fn backward(&self, _at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        add_channels(dy, 0, self.len, &mut to.inputs[0], self.start);
    }
}

impl Compute for PadChannels {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        add_channels(at.x(), 0, at.x().c, &mut y, self.before);
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        add_channels(dy, self.before, at.x().c, &mut to.inputs[0], 0);
    }
}

/// (index in the small plane, index in the large one) of the rows and columns that are kept.
fn kept(op: &Subsample, large: &Array, small: &Array) -> Vec<(usize, usize)> {
    let cell = |(y, x): (usize, usize)| (y * small.w + x, (y * large.w + x) * op.stride);
    (0..small.h).flat_map(|y| (0..small.w).map(move |x| (y, x))).map(cell).collect()
}

impl Compute for Subsample {
    fn forward(&self, at: &At<'_>) -> Array {
        let (x, mut y) = (at.x(), at.zeros());
        let kept = kept(self, x, &y);
        for n in 0..x.n {
            for c in 0..x.c {
                kept.iter().for_each(|&(to, from)| y.plane_mut(n, c)[to] = x.plane(n, c)[from]);
            }
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let (kept, dx) = (kept(self, at.x(), dy), &mut to.inputs[0]);
        for n in 0..dy.n {
            for c in 0..dy.c {
                kept.iter().for_each(|&(from, to)| dx.plane_mut(n, c)[to] += dy.plane(n, c)[from]);
            }
        }
    }
}
