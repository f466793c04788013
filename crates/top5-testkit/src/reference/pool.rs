//! Pooling, window by window.

use super::array::Array;
use top5_graph::ops::{AvgPool2d, MaxPool2d, Subsampling, adaptive_window};
use top5_graph::{NO_SWITCH, Shape, Window};

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

pub(crate) fn max(op: &MaxPool2d, x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    let dims = y.zeros_like();
    planes(&op.window, x, &dims, |n, c, out, cells| {
        let x = x.plane(n, c);
        y.plane_mut(n, c)[out] = argmax(x, cells).map_or(f64::NEG_INFINITY, |cell| x[cell]);
    });
    y
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

pub(crate) fn max_backward(op: &MaxPool2d, x: &Array, dy: &Array, dx: &mut Array) {
    planes(&op.window, x, dy, |n, c, out, cells| {
        if let Some(cell) = argmax(x.plane(n, c), cells) {
            dx.plane_mut(n, c)[cell] += dy.plane(n, c)[out];
        }
    });
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

pub(crate) fn avg(op: &AvgPool2d, x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    let dims = y.zeros_like();
    planes(&op.window, x, &dims, |n, c, out, cells| {
        let sum: f64 = cells.iter().map(|&cell| x.plane(n, c)[cell]).sum();
        let at = [out / dims.w, out % dims.w];
        y.plane_mut(n, c)[out] = sum / divisor(op, [x.h, x.w], at, cells.len());
    });
    y
}

pub(crate) fn avg_backward(op: &AvgPool2d, x: &Array, dy: &Array, dx: &mut Array) {
    planes(&op.window, x, dy, |n, c, out, cells| {
        let at = [out / dy.w, out % dy.w];
        let share = dy.plane(n, c)[out] / divisor(op, [x.h, x.w], at, cells.len());
        cells.iter().for_each(|&cell| dx.plane_mut(n, c)[cell] += share);
    });
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

pub(crate) fn adaptive(x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    let dims = y.zeros_like();
    adaptive_windows(x, &dims, |n, c, out, cells| {
        let sum: f64 = cells.iter().map(|&cell| x.plane(n, c)[cell]).sum();
        y.plane_mut(n, c)[out] = sum / cells.len() as f64;
    });
    y
}

pub(crate) fn adaptive_backward(dy: &Array, dx: &mut Array) {
    let dims = dx.zeros_like();
    adaptive_windows(&dims, dy, |n, c, out, cells| {
        let share = dy.plane(n, c)[out] / cells.len() as f64;
        cells.iter().for_each(|&cell| dx.plane_mut(n, c)[cell] += share);
    });
}

pub(crate) fn global(x: &Array, output: Shape) -> Array {
    let mut y = Array::zeros(x.n, output);
    for (y, x) in y.data.iter_mut().zip(x.data.chunks_exact(x.area())) {
        *y = x.iter().sum::<f64>() / x.len() as f64;
    }
    y
}

pub(crate) fn global_backward(dy: &Array, dx: &mut Array) {
    let area = dx.area();
    for (dx, dy) in dx.data.chunks_exact_mut(area).zip(&dy.data) {
        dx.iter_mut().for_each(|dx| *dx += dy / area as f64);
    }
}

pub(crate) fn subsampling(
    op: &Subsampling,
    params: &[Vec<f64>],
    x: &Array,
    output: Shape,
) -> Array {
    let mut y = Array::zeros(x.n, output);
    let dims = y.zeros_like();
    planes(&op.window, x, &dims, |n, c, out, cells| {
        let sum: f64 = cells.iter().map(|&cell| x.plane(n, c)[cell]).sum();
        y.plane_mut(n, c)[out] = params[0][c] * sum + params[1][c];
    });
    y
}

pub(crate) fn subsampling_backward(
    op: &Subsampling,
    params: &[Vec<f64>],
    x: &Array,
    dy: &Array,
    dx: &mut Array,
    dparams: &mut [Vec<f64>],
) {
    planes(&op.window, x, dy, |n, c, out, cells| {
        let dy = dy.plane(n, c)[out];
        let sum: f64 = cells.iter().map(|&cell| x.plane(n, c)[cell]).sum();
        dparams[0][c] += dy * sum;
        dparams[1][c] += dy;
        cells.iter().for_each(|&cell| dx.plane_mut(n, c)[cell] += dy * params[0][c]);
    });
}
