//! bfloat16: rounding, direct convolution and its weight gradient. Small integers are exact in bf16; other operands are
//! rounded first, and compared with f64 within the bound that the kernel states.

use crate::conv::{N, Problem, geometry, gradient_cases, grouped_cases, packed, places, products};
use crate::packing::*;
use top5_graph::k;
use top5_kernels::bf16::{Bf16, Bf16Isa, DirectBf16, WeightGradientBf16, narrow, widen};
use top5_kernels::conv::{ConvGeom, Epilogue, Strides};
use top5_kernels::{Block, BlockBf16, Isa, Kernel, LANES, Layout, Pixel, Simd, Threads};
use top5_testkit::enumerate::{ConvCase, convs};
use top5_testkit::fill::{integers, signed};

/// Everyone here who multiplies pairs with one thread, and the best with three.
pub(crate) fn bf16_runs() -> Vec<(Bf16Isa, Threads)> {
    let isas = Isa::available().into_iter().filter_map(Bf16Isa::of);
    let isas = isas.filter(|isa| isa.is_available());
    let mut runs: Vec<_> = isas.map(|isa| (isa, Threads::new(1))).collect();
    let best = runs.last().expect("the portable one is always there").0;
    runs.push((best, Threads::new(3)));
    runs
}

pub(crate) fn narrowed(isa: Bf16Isa, x: &[Block]) -> Vec<BlockBf16> {
    let mut y = vec![BlockBf16::ZERO; x.len()];
    narrow(isa, &Threads::new(1), x, &mut y);
    y
}

/// Rounded by the kernels that compute in f32.
fn copied(isa: Isa, threads: &Threads, x: &[Block]) -> Vec<BlockBf16> {
    struct Copy<'a>(&'a [Block], &'a mut [BlockBf16]);
    impl Kernel for Copy<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            self.0.iter().zip(self.1).for_each(|(x, y)| y.store(s, x.load(s)));
        }
    }
    let mut y = vec![BlockBf16::ZERO; x.len()];
    threads.chunks(&mut y, 100, |i, y| isa.run(Copy(&x[100 * i..], y)));
    y
}

#[test]
fn every_bf16_survives_the_way_through_f32() {
    for bits in 0..=u16::MAX {
        let x = Bf16(bits).to_f32();
        let back = Bf16::from_f32(x);
        if x.is_nan() {
            assert!(back.to_f32().is_nan(), "{bits:#06x}");
        } else if x.is_subnormal() {
            assert_eq!(back.to_f32().to_bits(), (0.0f32).copysign(x).to_bits(), "{bits:#06x}");
        } else {
            assert_eq!(back, Bf16(bits));
        }
    }
}

/// Between two neighbours the nearer one is taken, and in the middle the even one.
#[test]
fn rounding_is_to_the_nearest_even() {
    for bits in (0x0080..0x7f7f).chain(0x8080..0xff7f) {
        let at = |fraction: u32| f32::from_bits((u32::from(bits) << 16) + fraction);
        let even = bits + bits % 2;
        for (fraction, want) in [(1, bits), (0x7fff, bits), (0x8000, even), (0x8001, bits + 1)] {
            assert_eq!(Bf16::from_f32(at(fraction)), Bf16(want), "{bits:#06x} + {fraction:#06x}");
        }
    }
}

#[test]
fn vectors_round_as_the_numbers_do() {
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN];
    let mut values: Vec<f32> = special.iter().flat_map(|&x| [x, -x]).collect();
    values.extend((0..40_000u32).map(|i| f32::from_bits(i.wrapping_mul(0x0001_0dcd))));
    values.resize(values.len().next_multiple_of(LANES), 0.0);
    let x: Vec<Block> =
        values.chunks_exact(LANES).map(|x| Block(x.try_into().expect("16 values"))).collect();
    for (isa, threads) in bf16_runs() {
        let mut y = vec![BlockBf16::ZERO; x.len()];
        narrow(isa, &threads, &x, &mut y);
        let same = |got: &BlockBf16, want: &BlockBf16| {
            let bits = |b: Bf16| if b.to_f32().is_nan() { None } else { Some(b.0) };
            got.0.map(bits) == want.0.map(bits)
        };
        let floats = if isa == Bf16Isa::Portable { Isa::Scalar } else { Isa::Avx512 };
        let copied = copied(floats, &threads, &x);
        assert!(copied.iter().zip(&y).all(|(got, want)| same(got, want)), "{floats} and {isa}");
        let mut back = vec![Block::ZERO; x.len()];
        widen(floats, &threads, &y, &mut back);
        let exact =
            |(y, back): (&BlockBf16, &Block)| same(&BlockBf16(back.0.map(Bf16::from_f32)), y);
        assert!(y.iter().zip(&back).all(exact), "{floats} from bf16");
        for (x, y) in values.iter().zip(Bf16::flat(&y)) {
            let want = Bf16::from_f32(*x);
            let same = want == *y || x.is_nan() && y.to_f32().is_nan();
            assert!(same, "{isa}: {x:e} became {y:?}, expected {want:?}");
        }
    }
}

/// Computes it in bf16.
fn assert_exact(isa: Bf16Isa, threads: &Threads, case: &ConvCase, problem: &Problem) -> String {
    let kernel = DirectBf16::new(isa, problem.geom.clone());
    let x = narrowed(isa, &problem.x);
    let mut w = vec![Block([f32::NAN; LANES]); kernel.packed_len()];
    kernel.pack(threads, &problem.w, &mut w);
    let mut y = problem.output();
    kernel.run(threads, N, Bf16::flat(&x), &w, &problem.epilogue(), &mut y);
    let what = format!("{} {case:?}", kernel.name());
    assert_same(&what, &unpack(&what, N, &problem.yl, &y), &problem.want);
    kernel.name().to_owned()
}

#[test]
fn bf16_convolution_of_integers_is_exact() {
    let runs = bf16_runs();
    for (i, case) in convs().iter().enumerate() {
        let problem = Problem::new(case, i);
        for (isa, threads) in &runs {
            assert_exact(*isa, threads, case, &problem);
        }
    }
}

#[test]
fn bf16_grouped_convolution_of_integers_is_exact() {
    let runs = bf16_runs();
    for case in grouped_cases() {
        for turn in 0..3 {
            let problem = Problem::new(&case, turn);
            for (isa, threads) in &runs {
                let name = assert_exact(*isa, threads, &case, &problem);
                let method = format!("bf16_conv_grouped_{}x", case.in_channels / case.groups);
                assert!(name.starts_with(&method), "{name}");
            }
        }
    }
}

/// The packed weight gradient of `n` images.
fn weight_gradient(
    (isa, threads): &(Bf16Isa, Threads),
    n: usize,
    geom: &ConvGeom,
    x: &[f32],
    dy: &[Block],
) -> Vec<Block> {
    let kernel = WeightGradientBf16::new(*isa, geom.clone());
    let nan = Block([f32::NAN; LANES]);
    let mut work = vec![nan; kernel.workspace(n, threads.count())];
    let mut dw = vec![nan; geom.packed_len()];
    kernel.run(threads, n, x, dy, &mut work, &mut dw);
    let written = dw.iter().all(|block| block.0.iter().all(|v| v.is_finite()));
    assert!(written, "{}, {n} images: not all written", kernel.name());
    dw
}

/// Plans ask for the memory of the largest batch.
#[test]
fn bf16_weight_gradient_of_fewer_images_needs_no_more_memory() {
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
            let geom = ConvGeom { batch_is_row, ..geom.clone() };
            let kernel = WeightGradientBf16::new(Bf16Isa::Portable, geom);
            let needs: Vec<usize> = (1..400).map(|n| kernel.workspace(n, 2)).collect();
            assert!(needs.is_sorted(), "{case:?}, {batch_is_row}: {needs:?}");
        }
    }
}

/// Of even and odd numbers of images; those beyond are not read.
#[test]
fn bf16_weight_gradient_of_integers_is_exact() {
    let runs = bf16_runs();
    for (i, case) in gradient_cases().iter().enumerate() {
        let (n, most) = (1 + i % 5, 3 * N);
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
        for run in &runs {
            let dw = weight_gradient(run, n, &geom, Block::flat(&x), &dy);
            let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
            assert_same(&format!("{} {n} images {case:?}", run.0), &got, &want);
        }
    }
}

/// A first layer reads plain planes; its kernel's columns are paired, and an odd one is left over.
#[test]
fn bf16_first_layer_on_plain_planes_is_exact() {
    let first = |case: &&ConvCase| case.groups == 1 && case.window.dilation == [1, 1];
    let runs = bf16_runs();
    for case in convs().iter().filter(first) {
        let (blocked, xl, yl) = geometry(case, [0, 0]);
        let [r, s] = case.window.kernel;
        // Space for the element that is read beside an odd last one.
        let image = (xl.channels * xl.plane() + 1).next_multiple_of(LANES);
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
        for run in &runs {
            let (isa, threads) = run;
            let kernel = DirectBf16::new(*isa, geom.clone());
            let x = narrowed(*isa, &planes);
            let mut w = vec![Block([f32::NAN; LANES]); kernel.packed_len()];
            kernel.pack(threads, &weights, &mut w);
            let mut y = unwritten(N, &yl);
            kernel.run(threads, N, Bf16::flat(&x), &w, &Epilogue::default(), &mut y);
            let what = format!("{} {case:?}", kernel.name());
            assert_same(&what, &unpack(&what, N, &yl, &y), &want);
            let dw = weight_gradient(run, N, &geom, Block::flat(&planes), &dy);
            let got: Vec<f32> = places.iter().map(|&(b, lane)| dw[b].0[lane]).collect();
            assert_same(&format!("{what}, gradient"), &got, &dwant);
        }
    }
}

#[test]
fn bf16_fully_connected_layer_is_exact() {
    for run in bf16_runs() {
        let (isa, threads) = &run;
        for (n, inputs, outputs) in [(1, 1, 1), (2, 16, 17), (5, 33, 40), (15, 20, 5), (31, 7, 64)]
        {
            let (xl, yl) = (Layout::new(inputs, 1, 1), Layout::new(outputs, 1, 1));
            let image = xl.image() * LANES;
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
                x: Strides { image, block: LANES, pixel: image, ..Strides::default() },
                y: Strides { image: yl.image(), block: 1, pixel: yl.image(), ..Strides::default() },
            };
            let (x, w) = (integers("x", n * inputs), integers("w", outputs * inputs));
            let dy = integers("dy", n * outputs);
            let mut weights = vec![Block::ZERO; geom.packed_len()];
            let (mut want, mut dwant) = (vec![0.0; n * outputs], vec![0.0; w.len()]);
            let place = |i: usize| {
                let (k, c) = (i / inputs, i % inputs);
                (geom.packed_index(k / LANES, c / LANES, 0, c % LANES).unwrap(), k % LANES)
            };
            for (i, w) in w.iter().enumerate() {
                let (block, lane) = place(i);
                weights[block].0[lane] = *w;
                for image in 0..n {
                    let (x, y) = (x[image * inputs + i % inputs], image * outputs + i / inputs);
                    want[y] += x * w;
                    dwant[i] += x * dy[y];
                }
            }
            let (planes, dy) = (pack(n, &xl, &x), pack(n, &yl, &dy));
            let kernel = DirectBf16::new(*isa, geom.clone());
            let mut w = vec![Block::ZERO; kernel.packed_len()];
            kernel.pack(threads, &weights, &mut w);
            let x = narrowed(*isa, &planes);
            let mut y = unwritten(n, &yl);
            kernel.run(threads, n, Bf16::flat(&x), &w, &Epilogue::default(), &mut y);
            let what = format!("{isa} {n} images, {inputs} to {outputs}");
            assert_same(&what, &unpack(&what, n, &yl, &y), &want);
            let dw = weight_gradient(&run, n, &geom, Block::flat(&planes), &dy);
            let got: Vec<f32> =
                (0..dwant.len()).map(place).map(|(b, lane)| dw[b].0[lane]).collect();
            assert_same(&format!("{what}, gradient"), &got, &dwant);
        }
    }
}

/// The bound of the kernel's documentation, against f64 on the rounded operands.
#[test]
fn bf16_convolution_keeps_its_error_bound() {
    let runs = bf16_runs();
    for case in convs() {
        let (geom, xl, yl) = geometry(&case, [0, 0]);
        let places = places(&case, &geom);
        let (x, w) = (signed("x", elements(N, &xl)), signed("w", places.len()));
        let [rx, rw] = [&x, &w].map(|v| {
            v.iter().map(|&v| f64::from(Bf16::from_f32(v).to_f32())).collect::<Vec<f64>>()
        });
        let mut exact = vec![(0.0, 0.0, 0.0); elements(N, &yl)];
        products(&case, |y, xi, wi| {
            let product = rx[xi] * rw[wi];
            let (sum, size, count) = &mut exact[y];
            (*sum, *size, *count) = (*sum + product, *size + product.abs(), *count + 1.0);
        });
        let weights = packed(&case, &geom, &w);
        let x = pack(N, &xl, &x);
        for (isa, threads) in &runs {
            let kernel = DirectBf16::new(*isa, geom.clone());
            let x = narrowed(*isa, &x);
            let mut w = vec![Block::ZERO; kernel.packed_len()];
            kernel.pack(threads, &weights, &mut w);
            let mut y = unwritten(N, &yl);
            kernel.run(threads, N, Bf16::flat(&x), &w, &Epilogue::default(), &mut y);
            let what = format!("{} {case:?}", kernel.name());
            for (got, (sum, size, count)) in unpack(&what, N, &yl, &y).iter().zip(&exact) {
                let bound = (count + 2.0) * 2f64.powi(-24) * size;
                let error = (f64::from(*got) - sum).abs();
                assert!(error <= bound, "{what}: off by {error:e}, allowed {bound:e}");
            }
        }
    }
}
