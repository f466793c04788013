//! The errors that the kernels' documentation allows, on signed inputs, against f64. u is 2⁻²⁴, the rounding of an f32.

use crate::bf16::bf16_runs;
use crate::conv::{
    N, each_tile, geometry, gradient_cases, packed, places, products, winograd_cases,
};
use crate::packing::*;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
use top5_kernels::Block;
use top5_kernels::bf16::{Bf16, WeightGradientBf16};
use top5_kernels::conv::{Direct, Epilogue};
use top5_kernels::pool::{Divisor, PoolGeom, average};
use top5_kernels::weight_gradient::WeightGradient;
use top5_kernels::winograd::{Tile, Winograd, WinogradGradient};
use top5_testkit::enumerate::{ConvCase, convs};
use top5_testkit::fill::signed;

const U: f64 = 1.0 / (1 << 24) as f64;

/// A sum of products in f64, the sum of their sizes, and their number.
#[derive(Clone, Copy, Default)]
struct Sum {
    exact: f64,
    size: f64,
    count: f64,
}

impl Sum {
    fn add(&mut self, a: f32, b: f32) {
        let product = f64::from(a) * f64::from(b);
        self.exact += product;
        self.size += product.abs();
        self.count += 1.0;
    }

    /// What a kernel that sums in any order may be off by.
    fn bound(&self) -> f64 {
        (self.count + 2.0) * U * self.size
    }
}

/// Asserts that no value is off by more than is allowed; returns the largest share of it that was used.
fn within(what: &str, got: &[f32], exact: &[f64], bounds: &[f64]) -> f64 {
    assert!(got.len() == exact.len() && got.len() == bounds.len());
    let mut most = 0.0f64;
    for (i, ((got, exact), bound)) in got.iter().zip(exact).zip(bounds).enumerate() {
        let error = (f64::from(*got) - exact).abs();
        assert!(error <= *bound, "{what}: element {i} is off by {error:e}, allowed {bound:e}");
        most = most.max(if *bound > 0.0 { error / bound } else { 0.0 });
    }
    most
}

#[test]
fn direct_convolution_and_weight_gradient_keep_their_bounds() {
    let runs = runs();
    for case in convs() {
        let (geom, xl, yl) = geometry(&case, [0, 0]);
        let places = places(&case, &geom);
        let (x, w) = (signed("x", elements(N, &xl)), signed("w", places.len()));
        let dy = signed("dy", elements(N, &yl));
        let mut ys = vec![Sum::default(); dy.len()];
        let mut dws = vec![Sum::default(); w.len()];
        products(&case, |yi, xi, wi| {
            ys[yi].add(x[xi], w[wi]);
            dws[wi].add(x[xi], dy[yi]);
        });
        let of = |sums: &[Sum]| -> [Vec<f64>; 2] {
            [sums.iter().map(|s| s.exact).collect(), sums.iter().map(Sum::bound).collect()]
        };
        let ([y_exact, y_bounds], [dw_exact, dw_bounds]) = (of(&ys), of(&dws));
        let (weights, x, dy) = (packed(&case, &geom, &w), pack(N, &xl, &x), pack(N, &yl, &dy));
        for (isa, threads) in &runs {
            let kernel = Direct::new(*isa, geom.clone());
            let mut y = unwritten(N, &yl);
            let epilogue = Epilogue::default();
            kernel.run(threads, N, Block::flat(&x), &weights, &epilogue, &mut y);
            let what = format!("{} {case:?}", kernel.name());
            within(&what, &unpack(&what, N, &yl, &y), &y_exact, &y_bounds);
            let kernel = WeightGradient::new(*isa, geom.clone());
            let mut work = vec![Block::ZERO; kernel.workspace(N)];
            let mut dw = vec![Block::ZERO; geom.packed_len()];
            kernel.run(threads, N, Block::flat(&x), &dy, &mut work, &mut dw);
            let got: Vec<f32> = places.iter().map(|&(block, lane)| dw[block].0[lane]).collect();
            within(&format!("{} {case:?}", kernel.name()), &got, &dw_exact, &dw_bounds);
        }
    }
}

#[test]
fn bf16_weight_gradient_keeps_its_bound() {
    let runs = bf16_runs();
    let rounded = |x: f32| Bf16::from_f32(x).to_f32();
    for case in gradient_cases() {
        let (geom, xl, yl) = geometry(&case, [0, 0]);
        let places = places(&case, &geom);
        let (x, dy) = (signed("x", elements(N, &xl)), signed("dy", elements(N, &yl)));
        let mut sums = vec![Sum::default(); places.len()];
        products(&case, |yi, xi, wi| sums[wi].add(rounded(x[xi]), rounded(dy[yi])));
        let exact: Vec<f64> = sums.iter().map(|s| s.exact).collect();
        let bounds: Vec<f64> = sums.iter().map(Sum::bound).collect();
        let (x, dy) = (pack(N, &xl, &x), pack(N, &yl, &dy));
        for (isa, threads) in &runs {
            let kernel = WeightGradientBf16::new(*isa, geom.clone());
            let mut work = vec![Block::ZERO; kernel.workspace(N, threads.count())];
            let mut dw = vec![Block::ZERO; geom.packed_len()];
            kernel.run(threads, N, Block::flat(&x), &dy, &mut work, &mut dw);
            let got: Vec<f32> = places.iter().map(|&(block, lane)| dw[block].0[lane]).collect();
            within(&format!("{} {case:?}", kernel.name()), &got, &exact, &bounds);
        }
    }
}

type Matrix = Vec<Vec<f64>>;

/// The sizes of the entries of Aᵀ, G and Bᵀ.
fn sizes(tile: Tile) -> [Matrix; 3] {
    let (a, b, third) = (FRAC_1_SQRT_2, SQRT_2, 1.0 / 3.0);
    let rows = |rows: &[&[f64]]| rows.iter().map(|row| row.to_vec()).collect();
    if tile == Tile::Two {
        return [
            rows(&[&[1.0, 1.0, 1.0, 0.0], &[0.0, 1.0, 1.0, 1.0]]),
            rows(&[&[1.0, 0.0, 0.0], &[0.5, 0.5, 0.5], &[0.5, 0.5, 0.5], &[0.0, 0.0, 1.0]]),
            rows(&[
                &[1.0, 0.0, 1.0, 0.0],
                &[0.0, 1.0, 1.0, 0.0],
                &[0.0, 1.0, 1.0, 0.0],
                &[0.0, 1.0, 0.0, 1.0],
            ]),
        ];
    }
    [
        rows(&[
            &[1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
            &[0.0, a, a, b, b, 0.0],
            &[0.0, 0.5, 0.5, 2.0, 2.0, 0.0],
            &[0.0, a / 2.0, a / 2.0, 2.0 * b, 2.0 * b, 1.0],
        ]),
        rows(&[
            &[1.0, 0.0, 0.0],
            &[2.0 * third, 2.0 * third * a, third],
            &[2.0 * third, 2.0 * third * a, third],
            &[third / 2.0, third / 2.0 * b, third],
            &[third / 2.0, third / 2.0 * b, third],
            &[0.0, 0.0, 1.0],
        ]),
        rows(&[
            &[1.0, 0.0, 2.5, 0.0, 1.0, 0.0],
            &[0.0, 2.0 * a, 2.0, a, 1.0, 0.0],
            &[0.0, 2.0 * a, 2.0, a, 1.0, 0.0],
            &[0.0, b / 2.0, 0.5, b, 1.0, 0.0],
            &[0.0, b / 2.0, 0.5, b, 1.0, 0.0],
            &[0.0, 1.0, 0.0, 2.5, 0.0, 1.0],
        ]),
    ]
}

fn transposed(m: &Matrix) -> Matrix {
    (0..m[0].len()).map(|j| m.iter().map(|row| row[j]).collect()).collect()
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let dot = |row: &[f64], j: usize| row.iter().zip(b).map(|(x, line)| x * line[j]).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| dot(row, j)).collect()).collect()
}

/// `m x mᵀ`
fn both(m: &Matrix, x: &Matrix) -> Matrix {
    product(&product(m, x), &transposed(m))
}

/// `side × side` sizes of a plane of `height × width` values from (`row`, `col`) on; zero outside.
fn window(
    plane: &[f32],
    [height, width]: [usize; 2],
    [row, col]: [isize; 2],
    side: usize,
) -> Matrix {
    let value = |r: isize, c: isize| {
        let inside = (0..height as isize).contains(&r) && (0..width as isize).contains(&c);
        if inside { f64::from(plane[r as usize * width + c as usize]).abs() } else { 0.0 }
    };
    let line = |r: isize| (0..side as isize).map(|c| value(row + r, col + c)).collect();
    (0..side as isize).map(line).collect()
}

/// What the documentation of Winograd's kernels allows: the transforms of sizes, summed like the values, times u and the
/// number of roundings. For every output, and for every weight of the gradient.
fn winograd_bounds(tile: Tile, case: &ConvCase, x: &[f32], w: &[f32], dy: &[f32]) -> [Vec<f64>; 2] {
    let [at, g, bt] = sizes(tile);
    let (side, rounds) = (tile.side(), tile.roundings() as f64);
    let (a, gt) = (transposed(&at), transposed(&g));
    let &ConvCase { in_channels, out_channels, input, output, window: ref op, .. } = case;
    let (x_area, y_area) = (input[0] * input[1], output[0] * output[1]);
    let tiles = output.map(|size| size.div_ceil(side));
    let mut y_bounds = vec![0.0; dy.len()];
    let mut sums = vec![vec![vec![0.0; side + 2]; side + 2]; out_channels * in_channels];
    let weights: Vec<Matrix> =
        w.chunks(9).map(|w| both(&g, &window(w, [3, 3], [0, 0], 3))).collect();
    for n in 0..N {
        for tile in 0..tiles[0] * tiles[1] {
            let place = [tile / tiles[1], tile % tiles[1]].map(|at| (at * side) as isize);
            let from = [0, 1].map(|axis| place[axis] - op.pad[axis] as isize);
            let inputs: Vec<Matrix> = (0..in_channels)
                .map(|c| &x[(n * in_channels + c) * x_area..][..x_area])
                .map(|plane| both(&bt, &window(plane, input, from, side + 2)))
                .collect();
            for k in 0..out_channels {
                let at_plane = (n * out_channels + k) * y_area;
                let gradient = both(&a, &window(&dy[at_plane..][..y_area], output, place, side));
                let mut m = vec![vec![0.0; side + 2]; side + 2];
                for c in 0..in_channels {
                    let pair = k * in_channels + c;
                    for i in 0..(side + 2) * (side + 2) {
                        let (r, s) = (i / (side + 2), i % (side + 2));
                        m[r][s] += weights[pair][r][s] * inputs[c][r][s];
                        sums[pair][r][s] += gradient[r][s] * inputs[c][r][s];
                    }
                }
                for (r, line) in both(&at, &m).iter().enumerate() {
                    for (s, bound) in line.iter().enumerate() {
                        let [row, col] = [place[0] as usize + r, place[1] as usize + s];
                        if row < output[0] && col < output[1] {
                            y_bounds[at_plane + row * output[1] + col] =
                                (in_channels as f64 + rounds) * U * bound;
                        }
                    }
                }
            }
        }
    }
    let count = (N * tiles[0] * tiles[1]) as f64;
    let dw_bounds =
        sums.iter().flat_map(|m| both(&gt, m).concat()).map(|b| (count + rounds) * U * b).collect();
    [y_bounds, dw_bounds]
}

#[test]
fn winograd_convolution_and_weight_gradient_keep_their_bounds() {
    let runs = runs();
    let mut most = [[0.0f64; 2]; 2];
    for case in winograd_cases() {
        let (geom, xl, yl) = geometry(&case, [1, 0]);
        let places = places(&case, &geom);
        let (x, w) = (signed("x", elements(N, &xl)), signed("w", places.len()));
        let dy = signed("dy", elements(N, &yl));
        let bounds = Tile::ALL.map(|tile| winograd_bounds(tile, &case, &x, &w, &dy));
        let mut y_exact = vec![0.0; dy.len()];
        let mut dw_exact = vec![0.0; w.len()];
        products(&case, |yi, xi, wi| {
            y_exact[yi] += f64::from(x[xi]) * f64::from(w[wi]);
            dw_exact[wi] += f64::from(x[xi]) * f64::from(dy[yi]);
        });
        let (weights, x, dy) = (packed(&case, &geom, &w), pack(N, &xl, &x), pack(N, &yl, &dy));
        for ((isa, threads), tile) in each_tile(&runs) {
            let most = &mut most[tile.side() / 4];
            let [y_bounds, dw_bounds] = &bounds[tile.side() / 4];
            let kernel = Winograd::new(*isa, geom.clone(), N, tile).expect("3×3, stride 1");
            let mut u = vec![Block::ZERO; kernel.packed_len()];
            kernel.pack(threads, &weights, &mut u);
            let mut work = vec![Block::ZERO; kernel.workspace(threads.count())];
            let mut y = unwritten(N, &yl);
            let epilogue = Epilogue::<Block>::default();
            kernel.run(threads, N, &x, &u, &epilogue, &mut work, &mut y);
            let what = format!("{} {case:?}", kernel.name());
            let share = within(&what, &unpack(&what, N, &yl, &y), &y_exact, y_bounds);
            most[0] = most[0].max(share);
            let kernel = WinogradGradient::new(*isa, geom.clone(), N, tile).expect("3×3, stride 1");
            let mut work = vec![Block::ZERO; kernel.workspace(threads.count())];
            let mut dw = vec![Block::ZERO; geom.packed_len()];
            kernel.run(threads, N, &x, &dy, &mut work, &mut dw);
            let got: Vec<f32> = places.iter().map(|&(block, lane)| dw[block].0[lane]).collect();
            let share = within(&format!("{} {case:?}", kernel.name()), &got, &dw_exact, dw_bounds);
            most[1] = most[1].max(share);
        }
    }
    // A bound that nothing comes near to would find no mistake.
    assert!(most.as_flattened().iter().all(|&share| share > 1e-3), "{most:?}");
}

#[test]
fn mean_keeps_its_bound() {
    let geom =
        PoolGeom { kernel: [5, 7], stride: [2, 3], pad: [2, 3], pad_end: [2, 3], dilation: [1, 1] };
    for (isa, threads) in runs() {
        let (xl, yl) = (layout(19, [11, 13], [1, 0]), layout(19, [6, 5], [0, 1]));
        let x = signed("x", elements(N, &xl));
        let mut y = unwritten(N, &yl);
        average(isa, &threads, N, &geom, Divisor::Inside, (&pack(N, &xl, &x), &xl), (&mut y, &yl));
        let (mut exact, mut bounds) = (Vec::new(), Vec::new());
        for i in 0..elements(N, &yl) {
            let (plane, row, col) = (i / 30, i / 5 % 6, i % 5);
            let cells = |axis: usize, at: usize, size: usize| {
                let start = at * geom.stride[axis];
                (start..start + geom.kernel[axis])
                    .filter_map(move |p| p.checked_sub(geom.pad[axis]).filter(|&p| p < size))
            };
            let mut sum = Sum::default();
            for r in cells(0, row, 11) {
                cells(1, col, 13).for_each(|c| sum.add(x[(plane * 11 + r) * 13 + c], 1.0));
            }
            exact.push(sum.exact / sum.count);
            bounds.push(sum.bound() / sum.count);
        }
        within(&format!("mean, {isa}"), &unpack("mean", N, &yl, &y), &exact, &bounds);
    }
}
