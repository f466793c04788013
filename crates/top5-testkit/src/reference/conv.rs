//! Convolutions as a list of connections: (output map, input map), each with a kernel of its own.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use std::ops::Range;
use top5_graph::Window;
use top5_graph::ops::{Conv2d, TableConv2d};

impl Compute for Conv2d {
    fn forward(&self, at: &At<'_>) -> Array {
        forward(&self.window, &grouped(at.x().c, self.out_channels, self.groups), at)
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        backward(&self.window, &grouped(at.x().c, self.out_channels, self.groups), at, dy, to);
    }
}

impl Compute for TableConv2d {
    fn forward(&self, at: &At<'_>) -> Array {
        forward(&self.window, &self.connections().collect::<Vec<_>>(), at)
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        backward(&self.window, &self.connections().collect::<Vec<_>>(), at, dy, to);
    }
}

/// The connections of a convolution in groups, in the order of its weight's first two dimensions.
fn grouped(inputs: usize, outputs: usize, groups: usize) -> Vec<(usize, usize)> {
    let (per_in, per_out) = (inputs / groups, outputs / groups);
    let group = |o: usize| (o / per_out * per_in..).take(per_in);
    (0..outputs).flat_map(|o| group(o).map(move |i| (o, i))).collect()
}

/// Output positions (along one dimension) at which the kernel element `offset` past the window's start lies on the
/// input, where the window of output 0 starts `pad` before it.
fn valid(outputs: usize, input: usize, stride: usize, pad: usize, offset: usize) -> Range<usize> {
    let start = pad.saturating_sub(offset).div_ceil(stride);
    let end = (input + pad).saturating_sub(offset).div_ceil(stride).min(outputs);
    start.min(end)..end
}

/// Calls `visit` with (kernel index, start in the output plane, start in the input plane, length) for every row of
/// products between an output plane `[p, q]` and an input plane `[h, w]`; elements are 1 apart in the output and the
/// window's horizontal stride apart in the input.
fn rows(
    window: &Window,
    [h, w]: [usize; 2],
    [p, q]: [usize; 2],
    mut visit: impl FnMut(usize, usize, usize, usize),
) {
    let &Window { kernel: [r, s], stride, pad, dilation, .. } = window;
    for i in 0..r {
        let row = i * dilation[0];
        let across = valid(p, h, stride[0], pad[0], row);
        for j in 0..s {
            let col = j * dilation[1];
            let along = valid(q, w, stride[1], pad[1], col);
            if along.is_empty() {
                continue;
            }
            for y in across.clone() {
                let input =
                    (y * stride[0] + row - pad[0]) * w + along.start * stride[1] + col - pad[1];
                visit(i * s + j, y * q + along.start, input, along.len());
            }
        }
    }
}

/// `y_o = bias_o + Σ_(o,i) weight_(o,i) ⋆ x_i`
fn forward(window: &Window, connections: &[(usize, usize)], at: &At<'_>) -> Array {
    let (weight, bias) = (&at.params[0], at.params.get(1));
    let area = window.kernel[0] * window.kernel[1];
    let step = window.stride[1];
    let (x, mut y) = (at.x(), at.zeros());
    let (from, to) = ([x.h, x.w], [y.h, y.w]);
    for n in 0..x.n {
        for (o, bias) in bias.into_iter().flatten().enumerate() {
            y.plane_mut(n, o).fill(*bias);
        }
        for (&(o, i), kernel) in connections.iter().zip(weight.chunks_exact(area)) {
            let (x, y) = (x.plane(n, i), y.plane_mut(n, o));
            rows(window, from, to, |tap, out, input, len| {
                let x = x[input..].iter().step_by(step);
                y[out..][..len].iter_mut().zip(x).for_each(|(y, x)| *y += kernel[tap] * x);
            });
        }
    }
    y
}

fn backward(
    window: &Window,
    connections: &[(usize, usize)],
    at: &At<'_>,
    dy: &Array,
    to: Gradients<'_>,
) {
    let (x, dx, dparams) = (at.x(), &mut to.inputs[0], to.params);
    let area = window.kernel[0] * window.kernel[1];
    let step = window.stride[1];
    let (from, to) = ([x.h, x.w], [dy.h, dy.w]);
    for n in 0..x.n {
        if let [_, dbias] = dparams {
            for (o, dbias) in dbias.iter_mut().enumerate() {
                *dbias += dy.plane(n, o).iter().sum::<f64>();
            }
        }
        let kernels = at.params[0].chunks_exact(area).zip(dparams[0].chunks_exact_mut(area));
        for (&(o, i), (kernel, dkernel)) in connections.iter().zip(kernels) {
            let (x, dx, dy) = (x.plane(n, i), dx.plane_mut(n, i), dy.plane(n, o));
            rows(window, from, to, |tap, out, input, len| {
                let dy = &dy[out..][..len];
                let x = x[input..].iter().step_by(step);
                dkernel[tap] += dy.iter().zip(x).map(|(dy, x)| dy * x).sum::<f64>();
                let dx = dx[input..].iter_mut().step_by(step);
                dx.zip(dy).for_each(|(dx, dy)| *dx += kernel[tap] * dy);
            });
        }
    }
}
