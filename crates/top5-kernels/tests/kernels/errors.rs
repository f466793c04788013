//! The errors that the kernels' documentation allows, on signed inputs, against f64. u is 2⁻²⁴, the rounding of an f32.

use crate::conv::{N, geometry, gradient_cases, packed, places, products, winograd_cases};
use crate::packing::*;
use crate::solve::*;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};
use top5_kernels::Bf16;
use top5_kernels::conv::{Bound, Epilogue};
use top5_kernels::pool::{Divisor, PoolGeom, average};
use top5_kernels::table::{FORWARD, WEIGHT_GRADIENT};
use top5_testkit::enumerate::ConvCase;
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

type Matrix = Vec<Vec<f64>>;

/// The sizes of the entries of Aᵀ, G and Bᵀ.
fn sizes(side: usize) -> [Matrix; 3] {
    let (a, b, third) = (FRAC_1_SQRT_2, SQRT_2, 1.0 / 3.0);
    let rows = |rows: &[&[f64]]| rows.iter().map(|row| row.to_vec()).collect();
    if side == 2 {
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
fn winograd_bounds(
    [side, rounds]: [usize; 2],
    case: &ConvCase,
    x: &[f32],
    w: &[f32],
    dy: &[f32],
) -> [Vec<f64>; 2] {
    let ([at, g, bt], rounds) = (sizes(side), rounds as f64);
    let (a, gt) = (transposed(&at), transposed(&g));
    let &ConvCase { in_channels, out_channels, groups, input, output, window: ref op } = case;
    let (x_area, y_area) = (input[0] * input[1], output[0] * output[1]);
    let tiles = output.map(|size| size.div_ceil(side));
    let mut y_bounds = vec![0.0; dy.len()];
    let mut sums = vec![vec![vec![0.0; side + 2]; side + 2]; out_channels * in_channels];
    let [per_in, per_out] = [in_channels, out_channels].map(|channels| channels / groups);
    let of_group = |k: usize, c: usize| k / per_out == c / per_in;
    let transformed: Vec<Matrix> =
        w.chunks(9).map(|w| both(&g, &window(w, [3, 3], [0, 0], 3))).collect();
    let none = vec![vec![0.0; side + 2]; side + 2];
    let weight = |k: usize, c: usize| {
        if of_group(k, c) { &transformed[k * per_in + c % per_in] } else { &none }
    };
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
                        m[r][s] += weight(k, c)[r][s] * inputs[c][r][s];
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
    let pairs = sums.iter().enumerate();
    let dw_bounds = pairs
        .filter(|(pair, _)| of_group(pair / in_channels, pair % in_channels))
        .flat_map(|(_, m)| both(&gt, m).concat())
        .map(|b| (count + rounds) * U * b)
        .collect();
    [y_bounds, dw_bounds]
}

/// Exact results of a case and what kernels may be off by, of outputs and of weights' gradients.
struct Exact<'a> {
    case: &'a ConvCase,
    x: &'a [f32],
    w: &'a [f32],
    dy: &'a [f32],
}

impl Exact<'_> {
    /// Results from operands as this makes them, and bounds for sums.
    fn sums(&self, operand: impl Fn(f32) -> f32) -> [[Vec<f64>; 2]; 2] {
        let mut sums = [self.dy, self.w].map(|values| vec![Sum::default(); values.len()]);
        products(self.case, |yi, xi, wi| {
            let x = operand(self.x[xi]);
            sums[0][yi].add(x, operand(self.w[wi]));
            sums[1][wi].add(x, operand(self.dy[yi]));
        });
        sums.map(|sums| {
            [sums.iter().map(|s| s.exact).collect(), sums.iter().map(Sum::bound).collect()]
        })
    }

    fn of(&self, bound: Bound) -> [[Vec<f64>; 2]; 2] {
        match bound {
            Bound::Sum => self.sums(|x| x),
            Bound::RoundedSum => self.sums(|x| Bf16::from_f32(x).to_f32()),
            Bound::Transforms { side, roundings } => {
                let bounds = winograd_bounds([side, roundings], self.case, self.x, self.w, self.dy);
                let [[y, _], [dw, _]] = self.sums(|x| x);
                let [y_bounds, dw_bounds] = bounds;
                [[y, y_bounds], [dw, dw_bounds]]
            }
        }
    }
}

#[test]
fn convolutions_and_weight_gradients_keep_their_bounds() {
    let runs = runs();
    // By bound and kind, the largest share of a bound that was used.
    let mut most: Vec<(Bound, [f64; 2])> = Vec::new();
    for case in gradient_cases().iter().chain(&winograd_cases()) {
        let (geom, xl, yl) = geometry(case, [1, 0]);
        let places = places(case, &geom);
        let (x, w) = (signed("x", elements(N, &xl)), signed("w", places.len()));
        let dy = signed("dy", elements(N, &yl));
        let exact = Exact { case, x: &x, w: &w, dy: &dy };
        let mut known: Vec<(Bound, [[Vec<f64>; 2]; 2])> = Vec::new();
        let (weights, bx, bdy) = (packed(case, &geom, &w), pack(N, &xl, &x), pack(N, &yl, &dy));
        let mut check = |bound: Bound, kind: usize, what: &str, got: &[f32]| {
            if !known.iter().any(|(of, _)| *of == bound) {
                known.push((bound, exact.of(bound)));
            }
            let (_, results) = known.iter().find(|(of, _)| *of == bound).expect("made above");
            let [values, bounds] = &results[kind];
            let share = within(what, got, values, bounds);
            match most.iter_mut().find(|(of, _)| *of == bound) {
                Some((_, most)) => most[kind] = most[kind].max(share),
                None => most.push((bound, [share, share])),
            }
        };
        for (isa, threads) in &runs {
            for kernel in solvers(&FORWARD, *isa, &geom, N, false) {
                let (epilogue, y) = (Epilogue::default(), unwritten(N, &yl));
                let y = convolve(&*kernel, threads, N, &bx, &weights, epilogue, y);
                let what = format!("{} {case:?}", kernel.name());
                check(kernel.bound(), 0, &what, &unpack(&what, N, &yl, &y));
            }
            for kernel in solvers(&WEIGHT_GRADIENT, *isa, &geom, N, true) {
                let dw = weight_gradient(&*kernel, threads, N, &bx, &bdy);
                let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
                check(kernel.bound(), 1, &format!("{} {case:?}", kernel.name()), &got);
            }
        }
    }
    // A bound that nothing comes near to would find no mistake.
    let shares: Vec<f64> = most.iter().flat_map(|(_, shares)| *shares).collect();
    assert!(most.len() == 4 && shares.iter().all(|&share| share > 1e-3), "{most:?}");
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
