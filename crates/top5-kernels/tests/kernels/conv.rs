//! Convolutions and the gradients of their inputs, weights and biases: every kernel of every table.

use crate::packing::*;
use crate::solve::*;
use std::collections::BTreeMap;
use top5_graph::{Window, k};
use top5_kernels::bias_gradient::sum_pixels;
use top5_kernels::conv::{Bound, ConvGeom, ConvNest, Epilogue, Group, Strides, Transposed};
use top5_kernels::table::{FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT};
use top5_kernels::{Block, Isa, LANES, Layout, Precision};
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
    let group = Group { inputs: in_channels / groups, outputs: out_channels / groups };
    let geom = ConvGeom::new(ConvNest {
        rows: output[0],
        cols: output[1],
        batch_is_row: false,
        out_channels,
        first: ranges.iter().map(|range| range.start).collect(),
        blocks: ranges.iter().map(|range| range.len()).max().unwrap(),
        lanes: LANES,
        depth: in_channels,
        group: (groups > 1).then_some(group),
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
    })
    .expect("a loop nest");
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

    /// Asserts that all kernels give the result, and those of the best instruction set the same bits with any number of
    /// threads; returns their names.
    fn check(&self, case: &ConvCase) -> Vec<String> {
        let mut best: BTreeMap<String, Vec<Block>> = BTreeMap::new();
        for (isa, threads) in &runs() {
            for training in [false, true] {
                for kernel in solvers(&FORWARD, *isa, &self.geom, N, training) {
                    if training && kernel.bound() == Bound::Sum {
                        // The same as in inference.
                        continue;
                    }
                    let (x, w, y) = (&self.x, &self.w, self.output());
                    let y = convolve(&*kernel, threads, N, x, w, self.epilogue(), y);
                    let what = format!("{} {case:?}, training: {training}", kernel.name());
                    let got = unpack(&what, N, &self.yl, &y);
                    assert_right(&what, kernel.bound(), &got, &self.want);
                    if *isa == Isa::detect(Precision::Bf16) {
                        let first =
                            best.entry(kernel.name().to_owned()).or_insert_with(|| y.clone());
                        assert!(
                            *first == y,
                            "{what}: depends on threads, or on when weights are packed"
                        );
                    }
                }
            }
        }
        best.into_keys().collect()
    }

    /// What the output holds before the run.
    pub(crate) fn output(&self) -> Vec<Block> {
        if self.accumulate { self.added.clone() } else { unwritten(N, &self.yl) }
    }
}

#[test]
fn convolution_is_right() {
    for (i, case) in convs().iter().chain(&winograd_cases()).enumerate() {
        Problem::new(case, i).check(case);
    }
}

/// Where there are few output channels, vectors may be of input channels.
#[test]
fn convolution_to_few_channels_is_right() {
    for (in_channels, out_channels, kernel) in
        [(16, 6, 5), (32, 8, 3), (48, 1, 1), (16, 5, 1), (32, 9, 3)]
    {
        let (input, window) = ([9, 10], top5_graph::k(kernel).pad(kernel / 2));
        let case = ConvCase { in_channels, out_channels, groups: 1, input, window, output: input };
        for turn in 0..3 {
            Problem::new(&case, turn).check(&case);
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
    // Several groups in a block, blocks that cut groups, more outputs than inputs, and blocks that are not full.
    let channels = [
        [16, 16, 4],
        [48, 48, 6],
        [24, 24, 24],
        [36, 36, 12],
        [48, 48, 4],
        [48, 48, 2],
        [24, 48, 12],
        [20, 30, 10],
        [35, 21, 7],
    ];
    let shapes = windows.into_iter().flat_map(|window| sizes.map(|input| (window, input)));
    let case = |(window, input): (Window, [usize; 2])| {
        let output = window.output(input).expect("the windows fit");
        channels.map(|[in_channels, out_channels, groups]| ConvCase {
            in_channels,
            out_channels,
            groups,
            input,
            window,
            output,
        })
    };
    shapes.flat_map(case).collect()
}

#[test]
fn grouped_convolution_is_right() {
    for (i, case) in grouped_cases().iter().enumerate() {
        let names = Problem::new(case, i).check(case);
        let method = format!("_conv_grouped_{}x", case.in_channels / case.groups);
        let direct =
            names.iter().filter(|name| !name.contains("winograd") && !name.contains("conv_amx"));
        assert!(direct.clone().count() > 0 && direct.clone().all(|name| name.contains(&method)));
    }
}

/// The taps of a backward pass descend.
#[test]
fn order_of_taps_does_not_matter() {
    for (i, case) in grouped_cases().iter().filter(|case| case.window.kernel == [3, 3]).enumerate()
    {
        let mut problem = Problem::new(case, i);
        let mut nest = problem.geom.clone().into_nest();
        nest.taps.reverse();
        let taps = nest.taps.len();
        let reversed = |i: usize| {
            let (block, tap, lane) = (i / (taps * LANES), i / LANES % taps, i % LANES);
            problem.w[(block * taps + taps - 1 - tap) * LANES + lane]
        };
        problem.w = (0..problem.w.len()).map(reversed).collect();
        problem.geom = ConvGeom::new(nest).expect("a loop nest");
        problem.check(case);
    }
}

/// Weights of a forward pass over all inputs of a loop nest `geom`, dense or with groups of whole blocks, whose taps the elements
/// of the result stand for, in falling order where each has one, and else the first ones of more.
fn swapped(case: &ConvCase, geom: &ConvGeom, w: &[Block]) -> (ConvGeom, Vec<Block>, Vec<usize>) {
    let taps = geom.taps.len();
    let more = if taps == 9 { 0 } else { 2 };
    // Blocks of inputs, and blocks of outputs of a group.
    let inputs = geom.first.iter().max().map_or(0, |first| first + geom.blocks);
    let outputs = geom.out_blocks() * geom.blocks / inputs;
    let forward = ConvGeom::new(ConvNest {
        out_channels: case.in_channels,
        first: (0..inputs).map(|b| b / geom.blocks * outputs).collect(),
        blocks: outputs,
        depth: case.out_channels,
        group: None,
        taps: vec![0; taps + more],
        ..geom.clone().into_nest()
    });
    let forward = forward.expect("a loop nest");
    let elements: Vec<usize> = (0..taps).rev().map(|tap| tap + more / 2).collect();
    let mut weights = vec![Block([7.0; LANES]); forward.packed_len()];
    for (k, b) in (0..geom.out_blocks()).flat_map(|k| (0..geom.blocks).map(move |b| (k, b))) {
        for (tap, &element) in elements.iter().enumerate() {
            for i in 0..LANES * LANES {
                let (o, l) = (i / LANES, i % LANES);
                let b = geom.first[k] + b;
                let from = geom.packed_index(k, b, tap, l).expect("it is read");
                let to = forward.packed_index(b, k, element, o).expect("it reads it");
                weights[to].0[l] = w[from].0[o];
            }
        }
    }
    (forward, weights, elements)
}

#[test]
fn input_gradient_is_right() {
    let dense = |case: &&ConvCase| case.groups == 1;
    let cases = [convs(), winograd_cases(), whole_groups()];
    let small = cases[0].iter().filter(dense);
    let cases = small.chain(&cases[1]).chain(&cases[2]);
    for (i, case) in cases.enumerate() {
        let accumulate = i % 2 == 1;
        let problem = Problem::new(case, if accumulate { 2 } else { 0 });
        let (forward, weights, elements) = swapped(case, &problem.geom, &problem.w);
        let weights = Transposed { forward: &forward, weights: &weights, elements: &elements };
        for (isa, threads) in &runs() {
            for kernel in solvers(&INPUT_GRADIENT, *isa, &problem.geom, N, true) {
                let (dy, dx) = (&problem.x, problem.output());
                let dx = input_gradient(&*kernel, threads, N, dy, &weights, accumulate, dx);
                let what = format!("{} {case:?}", kernel.name());
                let got = unpack(&what, N, &problem.yl, &dx);
                assert_right(&what, kernel.bound(), &got, &problem.want);
            }
        }
    }
}

/// A first layer reads plain planes: its blocks are the input channels, its taps the kernel's rows, its lanes the kernel's
/// columns. In bf16 these are paired, and an odd one is left over.
#[test]
fn first_layer_on_plain_planes_is_right() {
    let runs = runs();
    let first = |case: &&ConvCase| case.groups == 1 && case.window.dilation == [1, 1];
    for case in convs().iter().filter(first) {
        let (blocked, xl, yl) = geometry(case, [0, 0]);
        let [r, s] = case.window.kernel;
        // Space for the element that is read beside an odd last one.
        let image = (xl.channels * xl.plane() + 1).next_multiple_of(LANES);
        let scaled = |stride: usize| stride / LANES;
        let geom = ConvGeom::new(ConvNest {
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
            ..blocked.into_nest()
        });
        let geom = geom.expect("a loop nest");
        let x = integers("x", elements(N, &xl));
        let mut planes = vec![Block::ZERO; N * image / LANES];
        for (i, x) in x.iter().enumerate() {
            let (col, row) = (i % xl.width, i / xl.width % xl.height);
            let (plane, n) = (i / (xl.width * xl.height) % xl.channels, i / (elements(1, &xl)));
            let at = n * image + plane * xl.plane() + xl.start(row) + col;
            planes[at / LANES].0[at % LANES] = *x;
        }
        let w = integers("w", case.out_channels * xl.channels * r * s);
        let dy = integers("dy", elements(N, &yl));
        let (mut want, mut dwant) = (vec![0.0; dy.len()], vec![0.0; w.len()]);
        products(case, |y, xi, wi| {
            want[y] += x[xi] * w[wi];
            dwant[wi] += x[xi] * dy[y];
        });
        let place = |i: usize| {
            let (j, row, c, k) =
                (i % s, i / s % r, i / (s * r) % xl.channels, i / (s * r * xl.channels));
            let block = geom.packed_index(k / LANES, c, row, j).expect("it is read");
            (block, k % LANES)
        };
        let places: Vec<(usize, usize)> = (0..w.len()).map(place).collect();
        let mut weights = vec![Block::ZERO; geom.packed_len()];
        places.iter().zip(&w).for_each(|(&(block, lane), &w)| weights[block].0[lane] = w);
        let dy = pack(N, &yl, &dy);
        for (isa, threads) in &runs {
            for kernel in solvers(&FORWARD, *isa, &geom, N, false) {
                let (epilogue, y) = (Epilogue::default(), unwritten(N, &yl));
                let y = convolve(&*kernel, threads, N, &planes, &weights, epilogue, y);
                let what = format!("{} {case:?}", kernel.name());
                assert_same(&what, &unpack(&what, N, &yl, &y), &want);
            }
            for kernel in solvers(&WEIGHT_GRADIENT, *isa, &geom, N, true) {
                let dw = weight_gradient(&*kernel, threads, N, &planes, &dy);
                let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
                assert_same(&format!("{} {case:?}", kernel.name()), &got, &dwant);
            }
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

/// 3×3 convolutions of stride 1 in groups of whole blocks.
fn whole_groups() -> Vec<ConvCase> {
    let channels = [[32, 32, 2], [64, 64, 4], [64, 64, 2], [32, 64, 2]];
    let case = |input: [usize; 2]| {
        channels.map(|[in_channels, out_channels, groups]| ConvCase {
            in_channels,
            out_channels,
            groups,
            input,
            window: k(3).pad(1),
            output: input,
        })
    };
    [[5, 9], [31, 30]].into_iter().flat_map(case).collect()
}

/// Of groups of whole blocks only what belongs to a group is multiplied.
#[test]
fn convolution_in_groups_of_whole_blocks_is_right() {
    for (i, case) in whole_groups().iter().enumerate() {
        let names = Problem::new(case, i).check(case);
        let winograd = names.iter().filter(|name| name.contains("winograd")).count();
        let direct = names.iter().any(|name| name.contains("_conv_direct_"));
        assert!(winograd == 2 && direct, "{names:?}");
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
    convs().into_iter().chain(large).chain(grouped_cases()).collect()
}

/// Groups that are no whole blocks have a kernel of their own.
#[test]
fn weight_gradient_in_groups_is_chosen_where_blocks_are_mostly_zeros() {
    let plain = |case: &ConvCase| case.window.kernel == [3, 3] && case.window.dilation == [1, 1];
    for case in grouped_cases().iter().filter(|case| plain(case)) {
        let (geom, ..) = geometry(case, [1, 0]);
        let kernels = solvers(&WEIGHT_GRADIENT, Isa::detect(Precision::Bf16), &geom, N, true);
        let grouped = kernels.iter().find(|kernel| kernel.name().contains("grouped"));
        let cost = grouped.expect("it can solve these").cost();
        match (case.in_channels / case.groups, case.window.stride) {
            (..=4, [1, 1]) => assert!(cost < 0.6, "{case:?}: {cost}"),
            (24, _) => assert!(cost > 1.0, "{case:?}: {cost}"),
            _ => {}
        }
    }
}

/// Of as many images as were planned, and of fewer; those beyond are not read.
#[test]
fn weight_gradient_is_right() {
    let runs = runs();
    let mut cases = gradient_cases();
    cases.extend(winograd_cases());
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
    for (i, case) in cases.iter().enumerate() {
        let (n, most) = if case.input[0] > 20 { (N, N) } else { (1 + i % 5, 3 * N) };
        let images = if i % 2 == 0 { n } else { most };
        let (geom, xl, yl) = geometry(case, [1, 0]);
        let places = places(case, &geom);
        let mut x = integers("x", elements(most, &xl));
        let mut dy = integers("dy", elements(most, &yl));
        let mut want = vec![0.0; places.len()];
        for first in (0..n).step_by(N) {
            products(case, |yi, xi, wi| {
                if first + yi / elements(1, &yl) < n {
                    want[wi] += x[elements(first, &xl) + xi] * dy[elements(first, &yl) + yi];
                }
            });
        }
        x[elements(n, &xl)..].fill(f32::NAN);
        dy[elements(n, &yl)..].fill(f32::NAN);
        let (x, dy) = (pack(most, &xl, &x), pack(most, &yl, &dy));
        let mut best: BTreeMap<String, Vec<Block>> = BTreeMap::new();
        for (isa, threads) in &runs {
            for kernel in solvers(&WEIGHT_GRADIENT, *isa, &geom, images, true) {
                let dw = weight_gradient(&*kernel, threads, n, &x, &dy);
                let what = format!("{} {n} images {case:?}", kernel.name());
                let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
                assert_right(&what, kernel.bound(), &got, &want);
                if *isa == Isa::detect(Precision::Bf16) {
                    let first = best.entry(kernel.name().to_owned()).or_insert_with(|| dw.clone());
                    assert!(*first == dw, "{what}: depends on threads");
                }
            }
        }
    }
}

/// Plans ask for the memory of the largest batch.
#[test]
fn weight_gradient_of_fewer_images_needs_no_more_memory() {
    let case = |channels: [usize; 2], size| ConvCase {
        in_channels: channels[0],
        out_channels: channels[1],
        groups: 1,
        input: size,
        window: k(1),
        output: size,
    };
    let mut cases = gradient_cases();
    cases.extend([[7, 7], [4, 4], [2, 2], [1, 1]].map(|size| case([2048, 512], size)));
    for case in &cases {
        let (geom, ..) = geometry(case, [1, 0]);
        // A fully connected layer has one pixel.
        for batch_is_row in [false, case.input == [1, 1] && case.output == [1, 1]] {
            let geom = ConvGeom::new(ConvNest { batch_is_row, ..geom.clone().into_nest() })
                .expect("a loop nest");
            let kernels = |n: usize| solvers(&WEIGHT_GRADIENT, Isa::Scalar, &geom, n, true);
            let sums = (1..400).map(kernels).map(|mut kernels| {
                kernels.retain(|kernel| !matches!(kernel.bound(), Bound::Transforms { .. }));
                kernels.iter().map(|kernel| kernel.workspace(2)).collect::<Vec<_>>()
            });
            let sums: Vec<Vec<usize>> = sums.collect();
            for i in 0..2 {
                let needs: Vec<usize> = sums.iter().map(|sums| sums[i]).collect();
                assert!(needs.is_sorted(), "{case:?}, {batch_is_row}: {needs:?}");
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

/// The loop nest of a fully connected layer: the images of the batch are the pixels of one row.
fn fully_connected([inputs, outputs]: [usize; 2], x: &Layout, y: &Layout) -> ConvGeom {
    ConvGeom::new(ConvNest {
        rows: 1,
        cols: 1,
        batch_is_row: true,
        out_channels: outputs,
        first: vec![0; y.blocks()],
        blocks: x.blocks(),
        lanes: LANES,
        depth: inputs,
        group: None,
        taps: vec![0],
        x: Strides {
            image: x.image() * LANES,
            block: LANES,
            pixel: x.image() * LANES,
            ..Strides::default()
        },
        y: Strides { image: y.image(), block: 1, pixel: y.image(), ..Strides::default() },
    })
    .expect("a loop nest")
}

#[test]
fn fully_connected_layer_is_right() {
    for (isa, threads) in runs() {
        for (n, inputs, outputs) in [(1, 1, 1), (2, 16, 17), (5, 33, 40), (15, 20, 5), (31, 7, 32)]
        {
            let (xl, yl) = (Layout::new(inputs, 1, 1), Layout::new(outputs, 1, 1));
            let geom = fully_connected([inputs, outputs], &xl, &yl);
            let (x, w) = (integers("x", n * inputs), integers("w", outputs * inputs));
            let dy = integers("dy", n * outputs);
            let (mut want, mut dwant) = (vec![0.0; n * outputs], vec![0.0; outputs * inputs]);
            let mut dxwant = vec![0.0; n * inputs];
            for i in 0..n * outputs {
                for j in 0..inputs {
                    want[i] += x[i / outputs * inputs + j] * w[i % outputs * inputs + j];
                    dwant[i % outputs * inputs + j] += x[i / outputs * inputs + j] * dy[i];
                    dxwant[i / outputs * inputs + j] += w[i % outputs * inputs + j] * dy[i];
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
            for kernel in solvers(&FORWARD, isa, &geom, n, false) {
                let (epilogue, y) = (Epilogue::default(), unwritten(n, &yl));
                let y = convolve(&*kernel, &threads, n, &x, &packed, epilogue, y);
                let what = format!("{} {n} images, {inputs} to {outputs}", kernel.name());
                assert_same(&what, &unpack(&what, n, &yl, &y), &want);
            }
            let back = fully_connected([outputs, inputs], &yl, &xl);
            let weights = Transposed { forward: &geom, weights: &packed, elements: &[0] };
            for kernel in solvers(&INPUT_GRADIENT, isa, &back, n, true) {
                let what = format!("dx: {} {n} images, {inputs} to {outputs}", kernel.name());
                let dx = unwritten(n, &xl);
                let dx = input_gradient(&*kernel, &threads, n, &dy, &weights, false, dx);
                assert_same(&what, &unpack(&what, n, &xl, &dx), &dxwant);
                let twice = input_gradient(&*kernel, &threads, n, &dy, &weights, true, dx);
                let doubled: Vec<f32> = dxwant.iter().map(|dx| 2.0 * dx).collect();
                assert_same(&what, &unpack(&what, n, &xl, &twice), &doubled);
            }
            for kernel in solvers(&WEIGHT_GRADIENT, isa, &geom, n, true) {
                let dw = weight_gradient(&*kernel, &threads, n, &x, &dy);
                let places = (0..outputs * inputs).map(|i| place(i / inputs, i % inputs));
                let got: Vec<f32> = places.map(|(block, lane)| dw[block].0[lane]).collect();
                let what = format!("{} {n} images, {inputs} to {outputs}", kernel.name());
                assert_same(&what, &got, &dwant);
            }
        }
    }
}

/// Where there are many pixels, sums may wait in the output while all of them meet some of the weights.
#[test]
fn many_images_give_the_bits_of_each() {
    let (n, inputs, outputs) = (40, 640, 48);
    let (xl, yl) = (Layout::new(inputs, 1, 1), Layout::new(outputs, 1, 1));
    let geom = fully_connected([inputs, outputs], &xl, &yl);
    let fraction = |i: usize| (i * 7919 % 1009) as f32 / 1009.0 - 0.5;
    let x: Vec<f32> = (0..n * inputs).map(fraction).collect();
    let lanes = |i: usize| Block(std::array::from_fn(|lane| fraction(3 * (i * LANES + lane))));
    let w: Vec<Block> = (0..geom.packed_len()).map(lanes).collect();
    let bias: Vec<Block> = (0..yl.blocks()).map(lanes).collect();
    let epilogue = Epilogue { bias: Some(&bias), relu: true, ..Epilogue::default() };
    for (isa, threads) in runs() {
        let of = |n: usize, x: &[f32]| {
            let kernel = solvers(&FORWARD, isa, &geom, n, false);
            let kernel = kernel
                .into_iter()
                .find(|kernel| kernel.precision() == top5_kernels::Precision::F32);
            let kernel = kernel.expect("direct convolution");
            let y =
                convolve(&*kernel, &threads, n, &pack(n, &xl, x), &w, epilogue, unwritten(n, &yl));
            unpack(kernel.name(), n, &yl, &y)
        };
        let each: Vec<f32> = x.chunks(inputs).flat_map(|x| of(1, x)).collect();
        assert!(each.iter().any(|&y| y > 0.0));
        assert_eq!(of(n, &x), each, "{isa}");
    }
}

/// A gradient of weights that is so large that it is written past the caches.
#[test]
fn large_weight_gradient_is_right() {
    let (inputs, outputs) = (2064, 2048);
    let (xl, yl) = (Layout::new(inputs, 1, 1), Layout::new(outputs, 1, 1));
    let geom = fully_connected([inputs, outputs], &xl, &yl);
    let (x, dy) = (integers("x", inputs), integers("dy", outputs));
    let (xs, dys) = (pack(1, &xl, &x), pack(1, &yl, &dy));
    for (isa, threads) in runs() {
        for kernel in solvers(&WEIGHT_GRADIENT, isa, &geom, 1, true) {
            let dw = weight_gradient(&*kernel, &threads, 1, &xs, &dys);
            for (i, dw) in dw.iter().enumerate() {
                let (k, c) = (i / inputs, i % inputs);
                let want = Block(std::array::from_fn(|o| dy[k * LANES + o] * x[c]));
                assert_eq!(*dw, want, "{}: output block {k}, input {c}", kernel.name());
            }
        }
    }
}
