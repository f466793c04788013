//! Maximum and mean over windows, and their gradients.

use crate::packing::*;
use top5_graph::Window;
use top5_kernels::pool::{
    Divisor, PoolGeom, adaptive_average, adaptive_average_gradient, average, average_gradient, max,
    max_gradient,
};
use top5_testkit::enumerate::{PoolCase, pools};
use top5_testkit::fill::integers;

const N: usize = 2;

fn geometry(window: &Window) -> PoolGeom {
    let &Window { kernel, stride, pad, pad_end, dilation, .. } = window;
    PoolGeom { kernel, stride, pad, pad_end, dilation }
}

/// For every output of all planes, its input elements in row-major order, and how many an average that counts padding
/// divides by.
fn windows(case: &PoolCase) -> Vec<(Vec<usize>, usize)> {
    let &PoolCase { channels, input: [h, w], window, output: [p, q] } = case;
    let mut all = Vec::new();
    for plane in 0..N * channels {
        for i in 0..p * q {
            let start = [i / q * window.stride[0], i % q * window.stride[1]];
            let mut cells = Vec::new();
            let mut padded = 0;
            for r in 0..window.kernel[0] {
                for s in 0..window.kernel[1] {
                    // Counted from the first row and column of the padding.
                    let [y, x] =
                        [start[0] + r * window.dilation[0], start[1] + s * window.dilation[1]];
                    let inside = |at: usize, axis: usize, size: usize| {
                        at >= window.pad[axis] && at < window.pad[axis] + size
                    };
                    if inside(y, 0, h) && inside(x, 1, w) {
                        cells.push((plane * h + y - window.pad[0]) * w + x - window.pad[1]);
                    }
                    let end = [0, 1].map(|a| window.pad[a] + [h, w][a] + window.pad_end[a]);
                    padded += usize::from(y < end[0] && x < end[1]);
                }
            }
            all.push((cells, padded));
        }
    }
    all
}

#[test]
fn maximum_and_its_gradient_are_exact() {
    let runs = runs();
    for (i, case) in pools().iter().enumerate() {
        let halo = if i % 2 == 0 { [0, 0] } else { [1, 2] };
        let (xl, yl) = (
            part(layout(case.channels, case.input, halo)),
            part(layout(case.channels, case.output, halo)),
        );
        // Few values: equal maxima are common, and the first of them counts.
        let x = integers("x", elements(N, &xl));
        let dy = integers("dy", elements(N, &yl));
        let (relu, accumulate) = (i % 3 == 1, i % 4 < 2);
        let mut dwant = integers("dx", x.len());
        let start = if accumulate { pack(N, &xl, &dwant) } else { unwritten(N, &xl) };
        if !accumulate {
            dwant.fill(0.0);
        }
        let mut want = Vec::new();
        for ((cells, _), dy) in windows(case).iter().zip(&dy) {
            let best =
                cells.iter().copied().reduce(|a, b| if x[b] > x[a] { b } else { a }).unwrap();
            want.push(x[best]);
            dwant[best] += if relu && x[best] <= 0.0 { 0.0 } else { *dy };
        }
        let (x, dy) = (pack(N, &xl, &x), pack(N, &yl, &dy));
        for (isa, threads) in &runs {
            let what = format!("{isa} {case:?}");
            let mut y = unwritten(N, &yl);
            let geom = geometry(&case.window);
            max(*isa, threads, N, &geom, (&x, &xl), (&mut y, &yl));
            assert_same(&what, &unpack(&what, N, &yl, &y), &want);
            let mut dx = start.clone();
            let out = (&mut dx[..], &xl);
            let (xs, ys, dys) = ((&x[..], &xl), (&y[..], &yl), (&dy[..], &yl));
            max_gradient(*isa, threads, N, &geom, xs, ys, dys, out, relu, accumulate);
            assert_same(&format!("{what}, gradient"), &unpack(&what, N, &xl, &dx), &dwant);
        }
    }
}

#[test]
fn maximum_of_what_holds_nan_is_nan() {
    for (isa, threads) in runs() {
        for (kernel, stride) in [(2, 2), (3, 1), (3, 2), (4, 2)] {
            let window =
                Window { pad: [1, 1], pad_end: [1, 1], ..top5_graph::k(kernel).stride(stride) };
            let case = PoolCase {
                channels: 3,
                input: [9, 11],
                window,
                output: [9, 11].map(|size| (size + 2 - kernel) / stride + 1),
            };
            let xl = layout(case.channels, case.input, [0, 0]);
            let yl = layout(case.channels, case.output, [0, 0]);
            let mut x = integers("x", elements(N, &xl));
            x.iter_mut().step_by(13).for_each(|x| *x = f32::NAN);
            let mut y = unwritten(N, &yl);
            let packed = pack(N, &xl, &x);
            max(isa, &threads, N, &geometry(&window), (&packed, &xl), (&mut y, &yl));
            let mut count = 0;
            for (got, (cells, _)) in unpack("max", N, &yl, &y).iter().zip(windows(&case)) {
                let nan = cells.iter().any(|&cell| x[cell].is_nan());
                assert_eq!(got.is_nan(), nan, "{isa} {case:?}");
                count += usize::from(nan);
            }
            assert!(count > 0);
        }
    }
}

#[test]
fn mean_and_its_gradient_equal_plain_loops() {
    let runs = runs();
    for (i, case) in pools().iter().filter(|case| case.window.dilation == [1, 1]).enumerate() {
        let halo = if i % 2 == 0 { [0, 0] } else { [2, 1] };
        let (xl, yl) = (
            part(layout(case.channels, case.input, halo)),
            part(layout(case.channels, case.output, halo)),
        );
        let x = integers("x", elements(N, &xl));
        let dy = integers("dy", elements(N, &yl));
        let (packed, dpacked) = (pack(N, &xl, &x), pack(N, &yl, &dy));
        for divisor in [Divisor::One, Divisor::Inside, Divisor::Padded] {
            let mut dwant = vec![0.0; x.len()];
            let mut want = Vec::new();
            for ((cells, padded), dy) in windows(case).iter().zip(&dy) {
                let count = match divisor {
                    Divisor::One => 1,
                    Divisor::Inside => cells.len(),
                    Divisor::Padded => *padded,
                };
                let sum: f32 = cells.iter().map(|&cell| x[cell]).sum();
                want.push(sum * (1.0 / count as f32));
                cells.iter().for_each(|&cell| dwant[cell] += dy * (1.0 / count as f32));
            }
            for (isa, threads) in &runs {
                let what = format!("{isa} {divisor:?} {case:?}");
                let mut y = unwritten(N, &yl);
                let geom = geometry(&case.window);
                average(*isa, threads, N, &geom, divisor, (&packed, &xl), (&mut y, &yl));
                assert_same(&what, &unpack(&what, N, &yl, &y), &want);
                let mut dx = vec![top5_kernels::Block::ZERO; packed.len()];
                average_gradient(*isa, threads, N, &geom, divisor, (&dpacked, &yl), (&mut dx, &xl));
                let got = unpack(&what, N, &xl, &dx);
                top5_testkit::close::assert_close_abs(&what, &got, &dwant, 1e-5);
            }
        }
    }
}

/// The numbers are those of `torch.nn.functional.adaptive_avg_pool2d`, PyTorch 1.13, and of its backward pass.
#[test]
fn adaptive_means_are_pytorchs() {
    let x: Vec<f32> = (0..35).map(|i| (i * 7 % 13) as f32).collect();
    let down = [
        5.25,
        6.0,
        7.0,
        4.5,
        6.166_666_5,
        6.555_555_3,
        6.111_111,
        4.333_333_5,
        6.0,
        7.833_333_5,
        6.666_666_5,
        5.25,
    ];
    let corner = [0.0, 7.0, 1.0, 10.0, 4.0, 11.0];
    let up = [0.0, 3.5, 4.0, 1.0, 5.0, 5.25, 5.75, 6.0, 10.0, 7.0, 7.5, 11.0];
    let gradient = [
        0.25,
        0.583_333_4,
        0.333_333_34,
        0.833_333_4,
        0.5,
        1.5,
        1.0,
        1.083_333_3,
        2.083_333_5,
        1.0,
        2.277_777_7,
        1.277_777_7,
        3.611_111_2,
        2.333_333_3,
        0.833_333_3,
        1.5,
        0.666_666_7,
        1.444_444_4,
        0.777_777_7,
        2.111_111_2,
        1.333_333_4,
        3.083_333_3,
        5.416_666_5,
        2.333_333_3,
        4.944_444_7,
        2.611_111_2,
        6.944_444_7,
        4.333_333_5,
        2.25,
        3.916_666_5,
        1.666_666_6,
        3.5,
        1.833_333_4,
        4.833_333_5,
        3.0,
    ];
    let yl = layout(1, [3, 4], [0, 1]);
    let dy: Vec<f32> = (1..=12).map(|i| i as f32).collect();
    for (isa, threads) in &runs() {
        for (size, x, want) in [([5, 7], &x[..], &down[..]), ([2, 3], &corner[..], &up[..])] {
            let (what, xl) = (format!("{isa} {size:?}"), layout(1, size, [1, 0]));
            let mut y = unwritten(1, &yl);
            adaptive_average(*isa, threads, 1, (&pack(1, &xl, x), &xl), (&mut y, &yl));
            let got = unpack(&what, 1, &yl, &y);
            top5_testkit::close::assert_close_abs(&what, &got, want, 1e-6);
        }
        let xl = layout(1, [5, 7], [1, 0]);
        let mut dx = vec![top5_kernels::Block::ZERO; xl.len(1)];
        let dy = (&*pack(1, &yl, &dy), &yl);
        adaptive_average_gradient(*isa, threads, 1, dy, (&mut dx, &xl));
        let got = unpack("gradient", 1, &xl, &dx);
        top5_testkit::close::assert_close_abs("gradient", &got, &gradient, 1e-6);
    }
}
