//! Pointwise operations and maps.

use crate::packing::*;
use top5_kernels::Block;
use top5_kernels::elementwise::{
    Accumulate, AccumulateTimes, Add, AddRelu, Copy1, MaskPositive, Pointwise, Relu, ReluGradient,
    SigmoidGradient, TanhGradient, Times, map, pointwise,
};
use top5_testkit::close::assert_close_abs;
use top5_testkit::enumerate::CHANNELS;
use top5_testkit::fill::{integers, signed};

const N: usize = 2;

/// Runs `op` everywhere and compares with `want(y, inputs)`; exactly, or within a tolerance on signed values.
fn check<const K: usize>(
    op: impl Pointwise<K> + std::fmt::Debug,
    tolerance: Option<f64>,
    want: impl Fn(f64, [f64; K]) -> f64,
) {
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            for halos in [[[0, 0]; 2], [[1, 2], [2, 0]]] {
                let [xl, yl] = halos.map(|halo| part(layout(channels, [5, 7], halo)));
                let fill = if tolerance.is_some() { signed } else { integers };
                let y = fill("y", elements(N, &yl));
                let x: [Vec<f32>; K] = std::array::from_fn(|i| fill(&format!("x{i}"), y.len()));
                let want: Vec<f32> = (0..y.len())
                    .map(|i| want(f64::from(y[i]), x.each_ref().map(|x| f64::from(x[i]))) as f32)
                    .collect();
                let x = x.map(|x| pack(N, &xl, &x));
                let mut y = pack(N, &yl, &y);
                let inputs = x.each_ref().map(|x| (&x[..], &xl));
                pointwise(isa, &threads, N, op, inputs, (&mut y, &yl));
                let what = format!("{op:?} {isa} {channels} channels, halo {halos:?}");
                let got = unpack(&what, N, &yl, &y);
                match tolerance {
                    None => assert_same(&what, &got, &want),
                    Some(tolerance) => assert_close_abs(&what, &got, &want, tolerance),
                }
            }
        }
    }
}

#[test]
fn pointwise_operations_are_exact() {
    check(Copy1, None, |_, [x]| x);
    check(Accumulate, None, |y, [x]| y + x);
    check(Add, None, |_, [a, b]| a + b);
    check(AddRelu, None, |_, [a, b]| (a + b).max(0.0));
    check(Relu, None, |_, [x]| x.max(0.0));
    check(Times(-1.5), None, |_, [x]| -1.5 * x);
    check(AccumulateTimes(0.5), None, |y, [x]| y + 0.5 * x);
    check(MaskPositive, None, |y, [out]| if out > 0.0 { y } else { 0.0 });
    check(ReluGradient, None, |dx, [out, dy]| if out > 0.0 { dx + dy } else { dx });
    check(SigmoidGradient, Some(1e-6), |dx, [y, dy]| dx + dy * y * (1.0 - y));
    let tanh = TanhGradient { amplitude: 1.7159, slope: 2.0 / 3.0 };
    check(tanh, Some(1e-6), |dx, [y, dy]| dx + dy * 2.0 / 3.0 * (1.7159 - y * y / 1.7159));
}

#[test]
fn relu_passes_nan_on() {
    for (isa, threads) in runs() {
        let layout = layout(20, [1, 1], [0, 0]);
        let x = pack(1, &layout, &[f32::NAN; 20]);
        let mut y = vec![Block::ZERO; 2];
        pointwise(isa, &threads, 1, Relu, [(&x, &layout)], (&mut y, &layout));
        assert!(unpack("relu", 1, &layout, &y).iter().all(|y| y.is_nan()), "{isa}");
    }
}

#[test]
fn map_leaves_unused_lanes_zero() {
    for (_, threads) in runs() {
        for channels in CHANNELS {
            let (xl, yl) = (layout(channels, [2, 3], [1, 0]), layout(channels, [2, 3], [0, 1]));
            let x = integers("x", elements(N, &xl));
            let want: Vec<f32> = x.iter().map(|x| x + 1.0).collect();
            let mut y = unwritten(N, &yl);
            map(&threads, N, |x| x + 1.0, (&pack(N, &xl, &x), &xl), (&mut y, &yl));
            assert_same("map", &unpack("map", N, &yl, &y), &want);
        }
    }
}
