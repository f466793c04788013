//! Pooling, window by window.

use super::array::Array;
use super::compute::{At, Compute, Gradients};
use top5_graph::ops::{
    AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool, MaxPool2d, Subsampling, adaptive_window,
};
use top5_graph::{NO_SWITCH, Window};

/// Calls `visit` with the index in the output plane and the indices in the input plane of every window, those outside
/// the input left out, in row-major order.
fn windows(
    window: &Window,
    [h, w]: [usize; 2],
    [p, q]: [usize; 2],
    mut visit: impl FnMut(usize, &[usize]),
) {
    let inside = |out: usize, axis: usize, size: usize| {
        let start = out * window.stride[axis];
        let taps = (0..window.kernel[axis]).map(move |tap| start + tap * window.dilation[axis]);
        taps.filter_map(move |at| at.checked_sub(window.pad[axis])).filter(move |&at| at < size)
    };
    for y in 0..p {
        for x in 0..q {
            let cells: Vec<usize> = inside(y, 0, h)
                .flat_map(|row| inside(x, 1, w).map(move |col| row * w + col))
                .collect();
            visit(y * q + x, &cells);
        }
    }
}

/// The first maximum of a window, or its last NaN (PyTorch's rule). A dilated window may pass over a small input without
/// touching it.
fn argmax(x: &[f64], cells: &[usize]) -> Option<usize> {
    let larger = |a: usize, b: usize| if x[b] > x[a] || x[b].is_nan() { b } else { a };
    cells.iter().copied().reduce(larger)
}

/// Visits the windows of every plane of a batch: (plane, output index, input indices).
fn planes(
    window: &Window,
    x: &Array,
    y: &Array,
    mut visit: impl FnMut(usize, usize, usize, &[usize]),
) {
    windows(window, [x.h, x.w], [y.h, y.w], |out, cells| {
        for n in 0..x.n {
            for c in 0..x.c {
                visit(n, c, out, cells);
            }
        }
    });
}

impl Compute for MaxPool2d {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        planes(&self.window, at.x(), &at.zeros(), |n, c, out, cells| {
            let x = at.x().plane(n, c);
            y.plane_mut(n, c)[out] = argmax(x, cells).map_or(f64::NEG_INFINITY, |cell| x[cell]);
        });
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        planes(&self.window, at.x(), dy, |n, c, out, cells| {
            if let Some(cell) = argmax(at.x().plane(n, c), cells) {
                to.inputs[0].plane_mut(n, c)[cell] += dy.plane(n, c)[out];
            }
        });
    }
}

/// For each output of the pooling of `x` to `y`, the index of its maximum in its input plane.
pub(crate) fn switches(op: &MaxPool2d, x: &Array, y: &Array) -> Vec<u32> {
    let area = y.area();
    let mut switches = vec![NO_SWITCH; y.data.len()];
    planes(&op.window, x, y, |n, c, out, cells| {
        if let Some(cell) = argmax(x.plane(n, c), cells) {
            switches[(n * y.c + c) * area + out] = cell as u32;
        }
    });
    switches
}

/// What the sum over the window at `(y, x)` is divided by, given the number of its elements on the input.
fn divisor(op: &AvgPool2d, size: [usize; 2], [y, x]: [usize; 2], inside: usize) -> f64 {
    if !op.count_include_pad {
        return inside as f64;
    }
    let &Window { kernel, stride, pad, pad_end, .. } = &op.window;
    // Padding counts, but not what rounding up adds beyond it.
    let extent = |axis: usize, out: usize| {
        let start = out * stride[axis];
        let end = (start + kernel[axis]).min(size[axis] + pad[axis] + pad_end[axis]);
        (end - start) as f64
    };
    extent(0, y) * extent(1, x)
}

impl Compute for AvgPool2d {
    fn forward(&self, at: &At<'_>) -> Array {
        let (x, mut y) = (at.x(), at.zeros());
        planes(&self.window, x, &at.zeros(), |n, c, out, cells| {
            let sum: f64 = cells.iter().map(|&cell| x.plane(n, c)[cell]).sum();
            let place = [out / y.w, out % y.w];
            y.plane_mut(n, c)[out] = sum / divisor(self, [x.h, x.w], place, cells.len());
        });
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let size = [at.x().h, at.x().w];
        planes(&self.window, at.x(), dy, |n, c, out, cells| {
            let place = [out / dy.w, out % dy.w];
            let share = dy.plane(n, c)[out] / divisor(self, size, place, cells.len());
            cells.iter().for_each(|&cell| to.inputs[0].plane_mut(n, c)[cell] += share);
        });
    }
}

/// Calls `visit` with the output index and the input indices of each adaptive window.
fn adaptive_windows(x: &Array, y: &Array, mut visit: impl FnMut(usize, usize, usize, &[usize])) {
    for out in 0..y.area() {
        let rows = adaptive_window(out / y.w, y.h, x.h);
        let cells = rows
            .flat_map(|row| adaptive_window(out % y.w, y.w, x.w).map(move |col| row * x.w + col));
        let cells: Vec<usize> = cells.collect();
        for (n, c) in (0..x.n).flat_map(|n| (0..x.c).map(move |c| (n, c))) {
            visit(n, c, out, &cells);
        }
    }
}

impl Compute for AdaptiveAvgPool2d {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        adaptive_windows(at.x(), &at.zeros(), |n, c, out, cells| {
            let sum: f64 = cells.iter().map(|&cell| at.x().plane(n, c)[cell]).sum();
            y.plane_mut(n, c)[out] = sum / cells.len() as f64;
        });
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        adaptive_windows(at.x(), dy, |n, c, out, cells| {
            let share = dy.plane(n, c)[out] / cells.len() as f64;
            cells.iter().for_each(|&cell| to.inputs[0].plane_mut(n, c)[cell] += share);
        });
    }
}

impl Compute for GlobalAvgPool {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        for (y, x) in y.data.iter_mut().zip(at.x().data.chunks_exact(at.x().area())) {
            *y = x.iter().sum::<f64>() / x.len() as f64;
        }
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        let area = at.x().area();
        for (dx, dy) in to.inputs[0].data.chunks_exact_mut(area).zip(&dy.data) {
            dx.iter_mut().for_each(|dx| *dx += dy / area as f64);
        }
    }
}

impl Compute for Subsampling {
    fn forward(&self, at: &At<'_>) -> Array {
        let mut y = at.zeros();
        planes(&self.window, at.x(), &at.zeros(), |n, c, out, cells| {
            let sum: f64 = cells.iter().map(|&cell| at.x().plane(n, c)[cell]).sum();
            y.plane_mut(n, c)[out] = at.params[0][c] * sum + at.params[1][c];
        });
        y
    }

    fn backward(&self, at: &At<'_>, dy: &Array, to: Gradients<'_>) {
        planes(&self.window, at.x(), dy, |n, c, out, cells| {
            let dy = dy.plane(n, c)[out];
            let sum: f64 = cells.iter().map(|&cell| at.x().plane(n, c)[cell]).sum();
            to.params[0][c] += dy * sum;
            to.params[1][c] += dy;
            let dx = to.inputs[0].plane_mut(n, c);
            cells.iter().for_each(|&cell| dx[cell] += dy * at.params[0][c]);
        });
    }
}
