//! Direct convolution, its weight gradient and its bias gradient.

use crate::packing::*;
use top5_graph::{Window, k};
use top5_kernels::conv::{ConvGeom, Direct, Epilogue, Strides};
use top5_kernels::transpose::transpose;
use top5_kernels::weight_gradient::{WeightGradient, sum_pixels};
use top5_kernels::winograd::{Source, Tile, Winograd, WinogradGradient};
use top5_kernels::{Block, Isa, LANES, Layout, Threads};
use top5_testkit::close::assert_close_abs;
use top5_testkit::enumerate::{ConvCase, convs};
use top5_testkit::fill::integers;

pub(crate) const N: usize = 2;

/// Calls `visit` with the indices in y `[n, k, p, q]`, x `[n, c, h, w]` and w `[k, c / groups, r, s]` of every product.
pub(crate) fn products(case: &ConvCase, mut visit: impl FnMut(usize, usize, usize)) {
    let &ConvCase { in_channels, out_channels, groups, input, window, output } = case;
    let per_group = in_channels / groups;
    let at = |axis: usize, out: usize, tap: usize| {
        (out * window.stride[axis] + tap * window.dilation[axis])
            .checked_sub(window.pad[axis])
            .filter(|&at| at < input[axis])
    };
    let [r, s] = window.kernel;
    for n in 0..N {
        for k in 0..out_channels {
            for p in 0..output[0] {
                for q in 0..output[1] {
                    let y = ((n * out_channels + k) * output[0] + p) * output[1] + q;
                    for i in 0..r {
                        for j in 0..s {
                            let (Some(row), Some(col)) = (at(0, p, i), at(1, q, j)) else {
                                continue;
                            };
                            for c in 0..per_group {
                                let channel = k / (out_channels / groups) * per_group + c;
                                let x = (n * in_channels + channel) * input[0] + row;
                                let w = ((k * per_group + c) * r + i) * s + j;
                                visit(y, x * input[1] + col, w);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The loop nest of a case, where the input's halo is as wide as the windows reach.
pub(crate) fn geometry(case: &ConvCase, y_halo: [usize; 2]) -> (ConvGeom, Layout, Layout) {
    let &ConvCase { in_channels, out_channels, groups, input, window, output } = case;
    let reach = [0, 1].map(|axis| {
        let end = (output[axis] - 1) * window.stride[axis] + window.span()[axis];
        window.pad[axis].max(end.saturating_sub(window.pad[axis] + input[axis]))
    });
    let x = layout(in_channels, input, reach);
    let y = part(layout(out_channels, output, y_halo));
    let ranges: Vec<_> = (0..y.blocks())
        .map(|k| {
            let outputs = k * LANES..((k + 1) * LANES).min(out_channels);
            let group = |o: usize| o / (out_channels / groups) * (in_channels / groups);
            let last = group(outputs.end - 1) + in_channels / groups;
            group(outputs.start) / LANES..last.div_ceil(LANES)
        })
        .collect();
    let floats = |row: usize, col: usize| (row * x.row() + col) * LANES;
    let per_group = in_channels / groups;
    let whole = in_channels == out_channels && in_channels.is_multiple_of(LANES);
    let geom = ConvGeom {
        rows: output[0],
        cols: output[1],
        batch_is_row: false,
        out_channels,
        first: ranges.iter().map(|range| range.start).collect(),
        blocks: ranges.iter().map(|range| range.len()).max().unwrap(),
        lanes: LANES,
        depth: in_channels,
        group: if whole && LANES.is_multiple_of(per_group) { per_group } else { LANES },
        taps: (0..window.kernel[0])
            .flat_map(|i| (0..window.kernel[1]).map(move |j| (i, j)))
            .map(|(i, j)| floats(i * window.dilation[0], j * window.dilation[1]))
            .collect(),
        x: Strides {
            offset: floats(reach[0] - window.pad[0], reach[1] - window.pad[1]),
            image: x.image() * LANES,
            block: x.plane() * LANES,
            row: floats(window.stride[0], 0),
            pixel: floats(0, window.stride[1]),
        },
        y: strides(&y),
    };
    (geom, x, y)
}

fn strides(y: &Layout) -> Strides {
    Strides { offset: y.start(0), image: y.image(), block: y.plane(), row: y.row(), pixel: 1 }
}

/// For every weight in `[k, c / groups, r, s]` order, its packed block and lane.
pub(crate) fn places(case: &ConvCase, geom: &ConvGeom) -> Vec<(usize, usize)> {
    let [r, s] = case.window.kernel;
    let (per_in, per_out) = (case.in_channels / case.groups, case.out_channels / case.groups);
    (0..case.out_channels * per_in * r * s)
        .map(|i| {
            let (tap, c, k) = (i % (r * s), i / (r * s) % per_in, i / (r * s * per_in));
            let channel = k / per_out * per_in + c;
            let block = geom.packed_index(k / LANES, channel / LANES, tap, channel % LANES);
            (block.expect("an output block reads the inputs of its groups"), k % LANES)
        })
        .collect()
}

/// Weights in the order of [`places`] as a kernel reads them.
pub(crate) fn packed(case: &ConvCase, geom: &ConvGeom, w: &[f32]) -> Vec<Block> {
    let mut packed = vec![Block::ZERO; geom.packed_len()];
    places(case, geom).iter().zip(w).for_each(|(&(block, lane), &w)| packed[block].0[lane] = w);
    packed
}

/// A convolution with operands, an epilogue, and the result.
pub(crate) struct Problem {
    pub(crate) geom: ConvGeom,
    pub(crate) yl: Layout,
    pub(crate) x: Vec<Block>,
    pub(crate) w: Vec<Block>,
    bias: Vec<Block>,
    added: Vec<Block>,
    everything: bool,
    accumulate: bool,
    pub(crate) want: Vec<f32>,
}

impl Problem {
    /// Of three epilogues in turn: plain, with everything, and accumulating.
    pub(crate) fn new(case: &ConvCase, turn: usize) -> Self {
        let (everything, accumulate) = (turn % 3 == 1, turn % 3 == 2);
        let (geom, xl, yl) = geometry(case, if everything { [1, 2] } else { [0, 0] });
        let (x, w) = (integers("x", elements(N, &xl)), integers("w", places(case, &geom).len()));
        let (bias, add) = (integers("b", case.out_channels), integers("add", elements(N, &yl)));
        let mut want = vec![0.0; elements(N, &yl)];
        products(case, |y, xi, wi| want[y] += x[xi] * w[wi]);
        let area = yl.height * yl.width;
        for (i, want) in want.iter_mut().enumerate() {
            if everything {
                *want = (*want + bias[i / area % yl.channels] + add[i]).max(0.0);
            }
            if accumulate {
                *want += add[i];
            }
        }
        let w = packed(case, &geom, &w);
        let (x, bias, added) = (pack(N, &xl, &x), pack_vector(&bias), pack(N, &yl, &add));
        Self { geom, yl, x, w, bias, added, everything, accumulate, want }
    }

    pub(crate) fn epilogue(&self) -> Epilogue<'_> {
        Epilogue {
            bias: self.everything.then_some(&self.bias[..]),
            add: self.everything.then_some((&self.added[..], strides(&self.yl))),
            relu: self.everything,
            accumulate: self.accumulate,
        }
    }

    /// Asserts that a direct convolution gives the result.
    fn check(&self, kernel: &Direct, threads: &Threads, case: &ConvCase) {
        let mut y = self.output();
        kernel.run(threads, N, Block::flat(&self.x), &self.w, &self.epilogue(), &mut y);
        let what = format!("{} {case:?}", kernel.name());
        assert_same(&what, &unpack(&what, N, &self.yl, &y), &self.want);
    }

    /// What the output holds before the run.
    pub(crate) fn output(&self) -> Vec<Block> {
        if self.accumulate { self.added.clone() } else { unwritten(N, &self.yl) }
    }
}

#[test]
fn direct_convolution_is_exact() {
    let runs = runs();
    for (i, case) in convs().iter().enumerate() {
        let problem = Problem::new(case, i);
        for (isa, threads) in &runs {
            let kernel = Direct::new(*isa, problem.geom.clone());
            problem.check(&kernel, threads, case);
        }
    }
}

/// Where there are few output channels, vectors may be of input channels.
#[test]
fn direct_convolution_to_few_channels_is_exact() {
    let runs = runs();
    let shapes = [(16, 6, 5), (32, 8, 3), (48, 1, 1), (16, 5, 1), (32, 9, 3)];
    for (in_channels, out_channels, kernel) in shapes {
        let (input, window) = ([9, 10], top5_graph::k(kernel).pad(kernel / 2));
        let case = ConvCase { in_channels, out_channels, groups: 1, input, window, output: input };
        for turn in 0..3 {
            let problem = Problem::new(&case, turn);
            for (isa, threads) in &runs {
                let kernel = Direct::new(*isa, problem.geom.clone());
                problem.check(&kernel, threads, &case);
            }
        }
    }
}

/// Convolutions in groups of 4 and of 8 channels that share blocks, some wider than a tile, with runs of taps and without.
pub(crate) fn grouped_cases() -> Vec<ConvCase> {
    let windows = [
        k(3).pad(1),
        k(3).pad(1).stride(2),
        k(3).pad(2).dilation(2),
        k([1, 3]).stride([2, 1]),
        k(2),
        k([2, 3]).pad([0, 1]).dilation([2, 1]),
    ];
    let sizes = [[5, 31], [6, 9]];
    let channels = [(16, 4), (32, 8), (48, 12), (16, 2), (32, 4), (48, 6)];
    let shapes = windows.into_iter().flat_map(|window| sizes.map(|input| (window, input)));
    let case = |(window, input): (Window, [usize; 2])| {
        let output = window.output(input).expect("the windows fit");
        channels.map(|(channels, groups)| {
            let [in_channels, out_channels] = [channels; 2];
            ConvCase { in_channels, out_channels, groups, input, window, output }
        })
    };
    shapes.flat_map(case).collect()
}

#[test]
fn grouped_convolution_is_exact() {
    let runs = runs();
    for (i, case) in grouped_cases().iter().enumerate() {
        for turn in 0..3 {
            let problem = Problem::new(case, turn);
            let (isa, threads) = &runs[(i + turn) % runs.len()];
            let kernel = Direct::new(*isa, problem.geom.clone());
            let method = format!("f32_conv_grouped_{}x", case.in_channels / case.groups);
            assert!(kernel.name().starts_with(&method), "{}", kernel.name());
            problem.check(&kernel, threads, case);
        }
    }
}

/// The taps of a backward pass descend.
#[test]
fn order_of_taps_does_not_matter() {
    for case in grouped_cases().iter().filter(|case| case.window.kernel == [3, 3]) {
        let problem = Problem::new(case, 0);
        let mut geom = problem.geom.clone();
        geom.taps.reverse();
        let taps = geom.taps.len();
        let reversed = |i: usize| {
            let (block, tap, lane) = (i / (taps * LANES), i / LANES % taps, i % LANES);
            problem.w[(block * taps + taps - 1 - tap) * LANES + lane]
        };
        let w: Vec<Block> = (0..problem.w.len()).map(reversed).collect();
        for (isa, threads) in runs() {
            let kernel = Direct::new(isa, geom.clone());
            let mut y = problem.output();
            kernel.run(&threads, N, Block::flat(&problem.x), &w, &problem.epilogue(), &mut y);
            let what = format!("{} {case:?}", kernel.name());
            assert_same(&what, &unpack(&what, N, &problem.yl, &y), &problem.want);
        }
    }
}

/// A first layer reads plain planes: its blocks are the channels, its taps the kernel's rows, its lanes the kernel's
/// columns.
#[test]
fn first_layer_on_plain_planes_is_exact() {
    let runs = runs();
    let first = |case: &&ConvCase| case.groups == 1 && case.window.dilation == [1, 1];
    for case in convs().iter().filter(first) {
        let (blocked, xl, yl) = geometry(case, [0, 0]);
        let [r, s] = case.window.kernel;
        let image = xl.channels * xl.plane();
        let scaled = |stride: usize| stride / LANES;
        let geom = ConvGeom {
            first: vec![0; yl.blocks()],
            blocks: xl.channels,
            lanes: s,
            depth: xl.channels * s,
            taps: (0..r).map(|i| i * xl.row()).collect(),
            x: Strides {
                offset: scaled(blocked.x.offset),
                image,
                block: xl.plane(),
                row: scaled(blocked.x.row),
                pixel: scaled(blocked.x.pixel),
            },
            ..blocked
        };
        let x = integers("x", elements(N, &xl));
        let mut planes = vec![0.0; N * image];
        for (i, x) in x.iter().enumerate() {
            let (col, row) = (i % xl.width, i / xl.width % xl.height);
            planes[i / (xl.width * xl.height) * xl.plane() + xl.start(row) + col] = *x;
        }
        let w = integers("w", case.out_channels * xl.channels * r * s);
        let dy = integers("dy", elements(N, &yl));
        let (mut want, mut dwant) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
        products(case, |y, xi, wi| {
            want[y] += x[xi] * w[wi];
            dwant[wi] += x[xi] * dy[y];
        });
        let places: Vec<(usize, usize)> = (0..w.len())
            .map(|i| {
                let (j, i_row, c) = (i % s, i / s % r, i / (s * r) % xl.channels);
                let k = i / (s * r * xl.channels);
                (geom.packed_index(k / LANES, c, i_row, j).unwrap(), k % LANES)
            })
            .collect();
        let mut packed = vec![Block::ZERO; geom.packed_len()];
        places.iter().zip(&w).for_each(|(&(block, lane), &w)| packed[block].0[lane] = w);
        let dy = pack(N, &yl, &dy);
        for (isa, threads) in &runs {
            let what = format!("{isa} {case:?}");
            let mut y = unwritten(N, &yl);
            let kernel = Direct::new(*isa, geom.clone());
            kernel.run(threads, N, &planes, &packed, &Epilogue::default(), &mut y);
            assert_same(&what, &unpack(&what, N, &yl, &y), &want);
            let kernel = WeightGradient::new(*isa, geom.clone());
            let mut work = vec![Block([f32::NAN; LANES]); kernel.workspace(N)];
            let mut dw = vec![Block([f32::NAN; LANES]); geom.packed_len()];
            kernel.run(threads, N, &planes, &dy, &mut work, &mut dw);
            let got: Vec<f32> = places.iter().map(|&(block, lane)| dw[block].0[lane]).collect();
            assert_same(&format!("{what}, gradient"), &got, &dwant);
        }
    }
}

/// Dense 3×3 convolutions of stride 1: the small ones, one of many channels, and some of many tiles.
pub(crate) fn winograd_cases() -> Vec<ConvCase> {
    let plain = |case: &ConvCase| {
        let window = &case.window;
        case.groups == 1
            && window.kernel == [3, 3]
            && window.stride == [1, 1]
            && window.dilation == [1, 1]
    };
    let mut cases: Vec<ConvCase> = convs().into_iter().filter(plain).collect();
    let more = [([2, 2], 33, 48), ([13, 17], 40, 33), ([31, 30], 20, 48), ([40, 37], 17, 16)];
    cases.extend(more.map(|(input, in_channels, out_channels)| ConvCase {
        in_channels,
        out_channels,
        groups: 1,
        input,
        window: k(3).pad(1),
        output: input,
    }));
    cases
}

/// Every run with both sizes of Winograd's tiles.
pub(crate) fn each_tile(runs: &[(Isa, Threads)]) -> impl Iterator<Item = (&(Isa, Threads), Tile)> {
    runs.iter().flat_map(|run| Tile::ALL.map(|tile| (run, tile)))
}

/// Winograd's transform rounds: relative to the largest result, by a few units of f32's precision.
#[test]
fn winograd_convolution_is_close() {
    let runs = runs();
    for (i, case) in winograd_cases().iter().enumerate() {
        let problem = Problem::new(case, i);
        let largest = problem.want.iter().fold(1.0, |m: f32, v| m.max(v.abs()));
        for ((isa, threads), tile) in each_tile(&runs) {
            let geom = problem.geom.clone();
            let kernel = Winograd::new(*isa, geom, N, tile).expect("3×3, stride 1");
            let mut u = vec![Block([f32::NAN; LANES]); kernel.packed_len()];
            kernel.pack(threads, &problem.w, &mut u);
            let mut work = vec![Block([f32::NAN; LANES]); kernel.workspace(threads.count())];
            let mut y = problem.output();
            kernel.run(threads, N, &problem.x, &u, &problem.epilogue(), &mut work, &mut y);
            let what = format!("{} {case:?}", kernel.name());
            let got = unpack(&what, N, &problem.yl, &y);
            assert_close_abs(&what, &got, &problem.want, 2e-6 * f64::from(largest));
            // The same from weights that are transformed on the way.
            let mut work = vec![Block([f32::NAN; LANES]); kernel.direct_workspace(threads.count())];
            let mut y = problem.output();
            let (x, w) = (&problem.x, &problem.w);
            let source = Source::Packed(w);
            kernel.run_direct(threads, N, x, source, &problem.epilogue(), &mut work, &mut y);
            assert_same(&what, &unpack(&what, N, &problem.yl, &y), &got);
            // And from weights whose inputs and outputs are swapped.
            let geom = &problem.geom;
            let forward = ConvGeom {
                out_channels: case.in_channels,
                first: vec![0; geom.blocks],
                blocks: geom.out_blocks(),
                depth: case.out_channels,
                ..geom.clone()
            };
            let elements: Vec<usize> = (0..9).rev().collect();
            let mut weights = vec![Block::ZERO; forward.packed_len()];
            transpose(*isa, threads, geom, w, &forward, &elements, &mut weights);
            let source =
                Source::Transposed { forward: &forward, weights: &weights, elements: &elements };
            let mut y = problem.output();
            kernel.run_direct(threads, N, x, source, &problem.epilogue(), &mut work, &mut y);
            assert_same(&what, &unpack(&what, N, &problem.yl, &y), &got);
        }
    }
}

/// Small convolutions, and some with maps of several strips or blocks for several jobs.
pub(crate) fn gradient_cases() -> Vec<ConvCase> {
    let large = [
        (17, 40, [19, 23], k(1)),
        (40, 17, [19, 24], k(1).stride(2)),
        (17, 33, [23, 19], k(3).pad(1)),
        (16, 16, [21, 31], k(3).stride(2).pad(1)),
        (150, 300, [4, 5], k(1)),
        (150, 300, [4, 5], k([1, 2]).dilation([1, 2])),
    ];
    let large = large.map(|(in_channels, out_channels, input, window)| {
        let output = window.output(input).expect("the windows fit");
        ConvCase { in_channels, out_channels, groups: 1, input, window, output }
    });
    convs().into_iter().chain(large).collect()
}

#[test]
fn weight_gradient_is_exact() {
    let runs = runs();
    for case in &gradient_cases() {
        let (geom, xl, yl) = geometry(case, [1, 0]);
        let (x, dy) = (integers("x", elements(N, &xl)), integers("dy", elements(N, &yl)));
        let places = places(case, &geom);
        let mut want = vec![0.0; places.len()];
        products(case, |y, xi, wi| want[wi] += x[xi] * dy[y]);
        let (x, dy) = (pack(N, &xl, &x), pack(N, &yl, &dy));
        for (isa, threads) in &runs {
            let kernel = WeightGradient::new(*isa, geom.clone());
            let mut work = vec![Block([f32::NAN; LANES]); kernel.workspace(N)];
            let mut dw = vec![Block([f32::NAN; LANES]); geom.packed_len()];
            kernel.run(threads, N, Block::flat(&x), &dy, &mut work, &mut dw);
            let what = format!("{} {case:?}", kernel.name());
            let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
            assert_same(&what, &got, &want);
            assert!(
                dw.iter().all(|b| b.0.iter().all(|v| v.is_finite())),
                "{what}: not all written"
            );
        }
    }
}

/// As the forward transform: relative to the largest result, by a few units of f32's precision.
#[test]
fn winograd_weight_gradient_is_close() {
    let runs = runs();
    let mut cases = winograd_cases();
    // Enough tiles, or enough channels, for every way to split the work.
    let large = [([46, 45], 3, 17), ([63, 64], 33, 16), ([5, 6], 150, 70)];
    cases.extend(large.map(|(input, in_channels, out_channels)| ConvCase {
        in_channels,
        out_channels,
        groups: 1,
        input,
        window: k(3).pad(1),
        output: input,
    }));
    for case in &cases {
        let (geom, xl, yl) = geometry(case, [1, 0]);
        let (x, dy) = (integers("x", elements(N, &xl)), integers("dy", elements(N, &yl)));
        let places = places(case, &geom);
        let mut want = vec![0.0; places.len()];
        products(case, |y, xi, wi| want[wi] += x[xi] * dy[y]);
        let largest = want.iter().fold(1.0, |m: f32, v| m.max(v.abs()));
        let (x, dy) = (pack(N, &xl, &x), pack(N, &yl, &dy));
        let mut first = [None, None];
        for ((isa, threads), tile) in each_tile(&runs) {
            let kernel = WinogradGradient::new(*isa, geom.clone(), N, tile).expect("3×3, stride 1");
            let mut work = vec![Block([f32::NAN; LANES]); kernel.workspace(threads.count())];
            let mut dw = vec![Block([f32::NAN; LANES]); geom.packed_len()];
            kernel.run(threads, N, &x, &dy, &mut work, &mut dw);
            let what = format!("{} {case:?}", kernel.name());
            let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
            assert_close_abs(&what, &got, &want, 2e-6 * f64::from(largest));
            assert!(
                dw.iter().all(|b| b.0.iter().all(|v| v.is_finite())),
                "{what}: not all written"
            );
            if *isa == Isa::detect() {
                assert!(
                    *first[tile.side() / 4].get_or_insert_with(|| dw.clone()) == dw,
                    "{what}: depends on threads"
                );
            }
        }
    }
}

#[test]
fn transposed_weights_swap_inputs_and_outputs() {
    for (isa, threads) in runs() {
        for case in convs().iter().filter(|case| case.groups == 1) {
            let (geom, xl, _) = geometry(case, [0, 0]);
            let w = integers("w", places(case, &geom).len());
            let packed = packed(case, &geom, &w);
            let elements: Vec<usize> = (0..geom.taps.len()).rev().step_by(2).collect();
            let back = ConvGeom {
                out_channels: case.in_channels,
                first: vec![0; xl.blocks()],
                blocks: geom.out_blocks(),
                depth: case.out_channels,
                taps: vec![0; elements.len()],
                ..geom.clone()
            };
            let mut swapped = vec![Block([f32::NAN; LANES]); back.packed_len()];
            transpose(isa, &threads, &geom, &packed, &back, &elements, &mut swapped);
            for (i, &(block, lane)) in places(case, &geom).iter().enumerate() {
                let taps = geom.taps.len();
                let (element, c) = (i % taps, i / taps % case.in_channels);
                let k = i / (taps * case.in_channels);
                let Some(tap) = elements.iter().position(|&e| e == element) else { continue };
                let at = back.packed_index(c / LANES, k / LANES, tap, k % LANES).unwrap();
                assert_eq!(swapped[at].0[c % LANES], packed[block].0[lane], "{isa} {case:?} {i}");
            }
        }
    }
}

#[test]
fn bias_gradient_is_exact() {
    for (isa, threads) in runs() {
        for channels in top5_testkit::enumerate::CHANNELS {
            let layout = layout(channels, [3, 5], [1, 2]);
            let dy = integers("dy", elements(3, &layout));
            let mut want = vec![0.0; channels];
            dy.iter().enumerate().for_each(|(i, dy)| want[i / 15 % channels] += dy);
            let mut db = vec![Block([f32::NAN; LANES]); layout.blocks()];
            let mut work = vec![Block([f32::NAN; LANES]); 3 * layout.blocks()];
            sum_pixels(isa, &threads, 3, &layout, &pack(3, &layout, &dy), &mut work, &mut db);
            let what = format!("{isa} {channels} channels");
            let got = unpack(&what, 1, &Layout::new(channels, 1, 1), &db);
            assert_same(&what, &got, &want);
        }
    }
}

/// A fully connected layer: the images of the batch are the pixels of one row.
#[test]
fn fully_connected_layer_is_exact() {
    for (isa, threads) in runs() {
        for (n, inputs, outputs) in [(1, 1, 1), (2, 16, 17), (5, 33, 40), (15, 20, 5), (31, 7, 32)]
        {
            let (xl, yl) = (Layout::new(inputs, 1, 1), Layout::new(outputs, 1, 1));
            let geom = ConvGeom {
                rows: 1,
                cols: 1,
                batch_is_row: true,
                out_channels: outputs,
                first: vec![0; yl.blocks()],
                blocks: xl.blocks(),
                lanes: LANES,
                depth: inputs,
                group: LANES,
                taps: vec![0],
                x: Strides {
                    image: xl.image() * LANES,
                    block: LANES,
                    pixel: xl.image() * LANES,
                    ..Strides::default()
                },
                y: Strides { image: yl.image(), block: 1, pixel: yl.image(), ..Strides::default() },
            };
            let (x, w) = (integers("x", n * inputs), integers("w", outputs * inputs));
            let dy = integers("dy", n * outputs);
            let (mut want, mut dwant) = (vec![0.0; n * outputs], vec![0.0; outputs * inputs]);
            for i in 0..n * outputs {
                for j in 0..inputs {
                    want[i] += x[i / outputs * inputs + j] * w[i % outputs * inputs + j];
                    dwant[i % outputs * inputs + j] += x[i / outputs * inputs + j] * dy[i];
                }
            }
            let place = |k: usize, c: usize| {
                (geom.packed_index(k / LANES, c / LANES, 0, c % LANES).unwrap(), k % LANES)
            };
            let mut packed = vec![Block::ZERO; geom.packed_len()];
            for (i, w) in w.iter().enumerate() {
                let (block, lane) = place(i / inputs, i % inputs);
                packed[block].0[lane] = *w;
            }
            let (x, dy) = (pack(n, &xl, &x), pack(n, &yl, &dy));
            let what = format!("{isa} {n} images, {inputs} to {outputs}");
            let mut y = unwritten(n, &yl);
            let kernel = Direct::new(isa, geom.clone());
            kernel.run(&threads, n, Block::flat(&x), &packed, &Epilogue::default(), &mut y);
            assert_same(&what, &unpack(&what, n, &yl, &y), &want);
            let kernel = WeightGradient::new(isa, geom.clone());
            let mut work = vec![Block::ZERO; kernel.workspace(n)];
            let mut dw = vec![Block::ZERO; geom.packed_len()];
            kernel.run(&threads, n, Block::flat(&x), &dy, &mut work, &mut dw);
            let got: Vec<f32> = (0..outputs * inputs)
                .map(|i| place(i / inputs, i % inputs))
                .map(|(block, lane)| dw[block].0[lane])
                .collect();
            assert_same(&what, &got, &dwant);
        }
    }
}
