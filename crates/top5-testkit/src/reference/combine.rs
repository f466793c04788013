//! Ops that combine or move maps.

use super::array::Array;
use top5_graph::Shape;
use top5_graph::ops::{PadChannels, SliceChannels, Subsample};

/// Adds `from`'s channels `start..start + len` to `to`'s channels that begin at `at`.
fn add_channels(from: &Array, start: usize, len: usize, to: &mut Array, at: usize) {
    for n in 0..from.n {
        for c in 0..len {
            let pairs = to.plane_mut(n, at + c).iter_mut().zip(from.plane(n, start + c));
            pairs.for_each(|(to, from)| *to += from);
        }
    }
}

pub(crate) fn add(inputs: &[&Array], output: Shape) -> Array {
    let zero = Array::zeros(inputs[0].n, output);
    inputs.iter().fold(zero, |sum, x| sum.zip(x, |a, b| a + b))
}

pub(crate) fn concat(inputs: &[&Array], output: Shape) -> Array {
    let mut y = Array::zeros(inputs[0].n, output);
    let mut at = 0;
    for x in inputs {
        add_channels(x, 0, x.c, &mut y, at);
        at += x.c;
    }
    y
}

pub(crate) fn concat_backward(dy: &Array, dinputs: &mut [Array]) {
    let mut at = 0;
    for dx in dinputs {
        add_channels(dy, at, dx.c, dx, 0);
        at += dx.c;
    }
}

pub(crate) fn scale(x: &Array, factors: &Array) -> Array {
    let mut y = x.clone();
    let area = x.area();
    for (y, factor) in y.data.chunks_exact_mut(area).zip(&factors.data) {
        y.iter_mut().for_each(|y| *y *= factor);
    }
    y
}

pub(crate) fn scale_backward(x: &Array, factors: &Array, dy: &Array, dinputs: &mut [Array]) {
    let area = x.area();
    let planes = x.data.chunks_exact(area).zip(dy.data.chunks_exact(area));
    for (plane, (x, dy)) in planes.enumerate() {
        let dx = dinputs[0].data[plane * area..][..area].iter_mut();
        dx.zip(dy).for_each(|(dx, dy)| *dx += dy * factors.data[plane]);
        dinputs[1].data[plane] += x.iter().zip(dy).map(|(x, dy)| x * dy).sum::<f64>();
    }
}

pub(crate) fn slice(op: &SliceChannels, x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    add_channels(x, op.start, op.len, &mut y, 0);
    y
}

pub(crate) fn slice_backward(op: &SliceChannels, dy: &Array, dx: &mut Array) {
    add_channels(dy, 0, op.len, dx, op.start);
}

pub(crate) fn pad(op: &PadChannels, x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    add_channels(x, 0, x.c, &mut y, op.before);
    y
}

pub(crate) fn pad_backward(op: &PadChannels, dy: &Array, dx: &mut Array) {
    add_channels(dy, op.before, dx.c, dx, 0);
}

/// (index in the small plane, index in the large one) of the rows and columns that are kept.
fn kept(op: &Subsample, large: &Array, small: &Array) -> Vec<(usize, usize)> {
    let cell = |(y, x): (usize, usize)| (y * small.w + x, (y * large.w + x) * op.stride);
    (0..small.h).flat_map(|y| (0..small.w).map(move |x| (y, x))).map(cell).collect()
}

pub(crate) fn subsample(op: &Subsample, x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    let kept = kept(op, x, &y);
    for n in 0..x.n {
        for c in 0..x.c {
            kept.iter().for_each(|&(to, from)| y.plane_mut(n, c)[to] = x.plane(n, c)[from]);
        }
    }
    y
}

pub(crate) fn subsample_backward(op: &Subsample, dy: &Array, dx: &mut Array) {
    let kept = kept(op, dx, dy);
    for n in 0..dy.n {
        for c in 0..dy.c {
            kept.iter().for_each(|&(from, to)| dx.plane_mut(n, c)[to] += dy.plane(n, c)[from]);
        }
    }
}
