//! Kernels that take activations in either precision: on bf16 they compute what they compute on f32 from the same numbers,
//! and round it once.

use crate::conv::{N, Problem, winograd_cases};
use crate::packing::*;
use crate::solve::{narrowed, solvers};
use std::fmt::Debug;
use top5_kernels::channels::{ScaleEpilogue, copy, flatten, scale, subsample};
use top5_kernels::conv::{Epilogue, Input, Output};
use top5_kernels::elementwise::{AddRelu, pointwise};
use top5_kernels::lrn::{self, LrnGeom};
use top5_kernels::norm::{Normal, normalise};
use top5_kernels::pool::{Divisor, PoolGeom, average, max};
use top5_kernels::table::FORWARD;
use top5_kernels::{Bf16, Block, BlockBf16, Isa, LANES, Layout, Precision};
use top5_testkit::enumerate::{CHANNELS, convs};
use top5_testkit::fill::{integers, signed};

/// Asserts that `got` is `want` rounded; what neither kernel wrote is NaN in both.
fn assert_rounded(what: &dyn Debug, isa: Isa, got: &[BlockBf16], want: &[Block]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(narrowed(isa, want)).enumerate() {
        for lane in 0..LANES {
            let (got, want) = (got.0[lane], want.0[lane]);
            let same = got == want || got.to_f32().is_nan() && want.to_f32().is_nan();
            assert!(same, "{isa} {what:?}: block {i}, lane {lane}: {got:?}, not {want:?}");
        }
    }
}

#[test]
fn kernels_round_once_what_they_compute() {
    const SIZE: [usize; 2] = [6, 7];
    let geom =
        PoolGeom { kernel: [3, 3], stride: [2, 2], pad: [1, 1], pad_end: [1, 1], dilation: [1, 1] };
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            let xl = part(layout(channels, SIZE, [1, 2]));
            let al = layout(channels, SIZE, [0, 0]);
            let pooled = part(layout(channels, [3, 4], [0, 1]));
            let whole = layout(channels + 5, SIZE, [2, 0]);
            let vector = Layout::new(channels, 1, 1);
            let flat = Layout::new(channels * SIZE[0] * SIZE[1], 1, 1);
            // Operands that bf16 has.
            let operand = |name: &str, layout: &Layout| {
                let values = signed(name, elements(N, layout));
                let round = |x: f32| Bf16::from_f32(x).to_f32();
                pack(N, layout, &values.into_iter().map(round).collect::<Vec<_>>())
            };
            let (x, a, factors) = (operand("x", &xl), operand("a", &al), operand("f", &vector));
            let [x16, a16] = [&x, &a].map(|x| narrowed(isa, x));
            /// Runs a kernel in both precisions.
            macro_rules! same {
                ($what:literal, $layout:expr, |$x:ident, $a:ident, $y:ident| $body:expr) => {{
                    let layout: &Layout = &$layout;
                    let mut y = unwritten(N, layout);
                    let mut y16 = narrowed(isa, &y);
                    {
                        let ($x, $a, $y) = ((&x[..], &xl), (&a[..], &al), (&mut y[..], layout));
                        $body;
                    }
                    {
                        let ($x, $a, $y) =
                            ((&x16[..], &xl), (&a16[..], &al), (&mut y16[..], layout));
                        $body;
                    }
                    assert_rounded(&($what, channels), isa, &y16, &y);
                }};
            }
            let t = &threads;
            same!("max", pooled, |x, _a, y| max(isa, t, N, &geom, x, y));
            same!("mean", pooled, |x, _a, y| average(isa, t, N, &geom, Divisor::Inside, x, y));
            same!("sum", al, |x, a, y| pointwise(isa, t, N, AddRelu, [x, a], y));
            same!("scale", al, |x, a, y| {
                let epilogue = ScaleEpilogue { add: Some(a), accumulate: false, relu: true };
                scale(isa, t, N, x, &factors, &epilogue, y);
            });
            same!("copy", whole, |x, _a, y| copy(isa, t, N, x, 0, y, 3, channels, false));
            let statistics = [Block([0.5; LANES]), Block([2.0; LANES])].repeat(al.blocks());
            let [weight, bias] = [1.5, -0.25].map(|v| vec![Block([v; LANES]); al.blocks()]);
            let normal = Normal {
                statistics: &statistics,
                weight: &weight,
                bias: &bias,
                eps: 1e-3,
                of_batch: false,
                relu: true,
            };
            same!("normalise", al, |x, _a, y| normalise(isa, t, N, &normal, x, None, y));
            same!("sum of normal", al, |x, a, y| normalise(isa, t, N, &normal, x, Some(a), y));
            let response = LrnGeom { size: 5, alpha: 0.1, beta: 0.75, k: 2.0 };
            same!("responses", al, |x, _a, y| lrn::forward(isa, t, N, &response, x, y));
            same!("subsample", pooled, |x, _a, y| subsample(t, N, 2, x, y));
            same!("flatten", flat, |x, _a, y| flatten(t, N, x, y.0));
        }
    }
}

/// Kernels that read or write bf16: from the same numbers the same results, rounded once.
#[test]
fn convolutions_take_and_make_bf16() {
    let cases: Vec<_> = convs().into_iter().chain(winograd_cases()).collect();
    for (isa, threads) in &runs() {
        for (i, case) in cases.iter().enumerate() {
            let problem = Problem::new(case, i);
            let x = narrowed(*isa, &problem.x);
            let kernels = solvers(&FORWARD, *isa, &problem.geom, N, false);
            for kernel in kernels.iter().filter(|kernel| kernel.writes(Precision::Bf16)) {
                let mut own = vec![Block::ZERO; kernel.packed_len()];
                kernel.pack(threads, &problem.w, &mut own);
                let mut work = vec![Block([f32::NAN; LANES]); kernel.workspace(threads.count())];
                let what = format!("{} {case:?}", kernel.name());
                let mut y = problem.output();
                let output = Output::F32(&mut y, problem.epilogue());
                kernel.run(threads, N, Input::Bf16(&x), &own, &mut work, output);
                if kernel.reads(Precision::F32) {
                    let mut again = problem.output();
                    let output = Output::F32(&mut again, problem.epilogue());
                    kernel.run(threads, N, Input::F32(&problem.x), &own, &mut work, output);
                    let [from_f32, from_bf16] =
                        [&again, &y].map(|y| unpack(&what, N, &problem.yl, y));
                    assert_same(&what, &from_bf16, &from_f32);
                }
                let mut y16 = narrowed(*isa, &problem.output());
                let add = problem.epilogue().add.map(|(add, at)| (narrowed(*isa, add), at));
                let add = add.as_ref().map(|(add, at)| (&add[..], *at));
                let Epilogue { bias, relu, accumulate, .. } = problem.epilogue();
                let output = Output::Bf16(&mut y16, Epilogue { bias, add, relu, accumulate });
                kernel.run(threads, N, Input::Bf16(&x), &own, &mut work, output);
                assert_rounded(&what, *isa, &y16, &y);
            }
        }
    }
}

#[test]
fn integers_survive_bf16() {
    let values = integers("x", 1000);
    assert!(values.iter().all(|&x| Bf16::from_f32(x).to_f32() == x));
}
