//! Batch normalisation and local response normalisation against f64.

use crate::packing::*;
use top5_kernels::convert::{narrow, widen};
use top5_kernels::lrn::{self, LrnGeom};
use top5_kernels::norm::{Normal, gradient_sums, input_gradient, normalise, statistics, workspace};
use top5_kernels::{Block, BlockBf16, Isa, LANES, Layout};
use top5_testkit::close::assert_close;
use top5_testkit::enumerate::CHANNELS;
use top5_testkit::fill::signed;

const N: usize = 3;
const SIZE: [usize; 2] = [3, 5];
const AREA: usize = 15;

/// Values of each channel, as f64.
fn by_channel(x: &[f32], channels: usize) -> Vec<Vec<f64>> {
    let mut all = vec![Vec::new(); channels];
    x.iter().enumerate().for_each(|(i, &x)| all[i / AREA % channels].push(f64::from(x)));
    all
}

fn moments(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64)
}

#[test]
fn statistics_hold_for_a_mean_far_from_zero() {
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            let layout = layout(channels, SIZE, [1, 1]);
            let x: Vec<f32> =
                signed("x", elements(N, &layout)).into_iter().map(|x| 100.0 + 0.5 * x).collect();
            let mut out = vec![Block([f32::NAN; LANES]); 2 * layout.blocks()];
            let mut work = unwritten_blocks(N * workspace(layout.blocks()));
            statistics(isa, &threads, N, (&pack(N, &layout, &x), &layout), &mut work, &mut out);
            for (c, x) in by_channel(&x, channels).iter().enumerate() {
                let (mean, var) = moments(x);
                let got = [0, 1].map(|i| out[2 * (c / LANES) + i].0[c % LANES]);
                let what = format!("{isa} channel {c} of {channels}");
                assert_close(&what, &got[..1], &[mean], 1e-6);
                assert_close(&what, &got[1..], &[var], 1e-4);
            }
        }
    }
}

#[test]
fn batch_normalisation_and_its_gradient_equal_f64() {
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            for (relu, of_batch) in [(false, true), (true, true), (false, false), (true, false)] {
                for summed in [false, true] {
                    batch_norm(isa, &threads, channels, [relu, of_batch, summed]);
                }
            }
        }
    }
}

fn batch_norm(
    isa: Isa,
    threads: &top5_kernels::Threads,
    channels: usize,
    [relu, of_batch, summed]: [bool; 3],
) {
    let what =
        format!("{isa}, {channels} channels, relu {relu}, of the batch {of_batch}, sum {summed}");
    let (xl, yl) = (layout(channels, SIZE, [0, 1]), layout(channels, SIZE, [2, 0]));
    let len = elements(N, &xl);
    let (x, dy, start) = (signed("x", len), signed("dy", len), signed("dx", len));
    let (summand, sl) = (signed("summand", len), part(layout(channels, SIZE, [1, 0])));
    let (weight, bias) = (signed("weight", channels), signed("bias", channels));
    let eps = 1e-3;
    let planes = by_channel(&x, channels);
    let statistics: Vec<(f64, f64)> = planes.iter().map(|x| moments(x)).collect();
    let mut packed = vec![Block::ZERO; 2 * xl.blocks()];
    for (c, &(mean, var)) in statistics.iter().enumerate() {
        packed[2 * (c / LANES)].0[c % LANES] = mean as f32;
        packed[2 * (c / LANES) + 1].0[c % LANES] = var as f32;
    }
    let (wp, bp) = (pack_vector(&weight), pack_vector(&bias));
    let normal = Normal { statistics: &packed, weight: &wp, bias: &bp, eps, of_batch, relu };
    let of = |i: usize| {
        let c = i / AREA % channels;
        let (mean, var) = statistics[c];
        let deviation = (var + f64::from(eps)).sqrt();
        (c, (f64::from(x[i]) - mean) / deviation, f64::from(weight[c]) / deviation)
    };
    let out = |i: usize| {
        let (c, normal, _) = of(i);
        let summand = if summed { f64::from(summand[i]) } else { 0.0 };
        normal * f64::from(weight[c]) + f64::from(bias[c]) + summand
    };
    let want: Vec<f64> = (0..len).map(|i| if relu { out(i).max(0.0) } else { out(i) }).collect();
    let xb = pack(N, &xl, &x);
    let whole = part(yl);
    let mut y = unwritten(N, &whole);
    let summand = pack(N, &sl, &summand);
    let summand = summed.then_some((&summand[..], &sl));
    normalise(isa, threads, N, &normal, (&xb, &xl), summand, (&mut y, &whole));
    assert_close(&what, &unpack(&what, N, &whole, &y), &want, 1e-6);

    let passed = |i: usize| if relu && out(i) <= 0.0 { 0.0 } else { f64::from(dy[i]) };
    let mut sums = vec![[0.0; 2]; channels];
    for i in 0..len {
        let (c, normal, _) = of(i);
        sums[c][0] += passed(i);
        sums[c][1] += passed(i) * normal;
    }
    let share = if of_batch { 1.0 / (N * AREA) as f64 } else { 0.0 };
    let masked: Vec<f64> = (0..len).map(passed).collect();
    for way in [Way::InPlace, Way::Written, Way::Added] {
        let want: Vec<f64> = (0..len)
            .map(|i| {
                let (c, normal, factor) = of(i);
                let kept = if way == Way::Added { f64::from(start[i]) } else { 0.0 };
                kept + factor * (passed(i) - share * (sums[c][0] + normal * sums[c][1]))
            })
            .collect();
        let mut got = unwritten_blocks(2 * xl.blocks());
        let mut work = unwritten_blocks(N * workspace(xl.blocks()));
        let mut dx = if way == Way::Added { pack(N, &xl, &start) } else { unwritten(N, &xl) };
        let mut dyb = pack(N, &yl, &dy);
        let (x, masks) = ((&xb[..], &xl), summed && relu);
        let output = masks.then_some((&y[..], &whole));
        let at = (&mut dyb[..], &yl);
        gradient_sums(isa, threads, N, &normal, x, output, at, &mut work, &mut got);
        let count = (N * yl.height * yl.width) as f64;
        let at = (&mut dyb[..], &yl);
        let to = (way != Way::InPlace).then_some((&mut dx[..], &xl));
        let added = way == Way::Added;
        input_gradient(isa, threads, N, &normal, x, masks, at, &got, count, to, added);
        let what = format!("{what}, dx {way:?}");
        if way == Way::InPlace {
            assert_close(&what, &unpack(&what, N, &yl, &dyb), &want, 1e-5);
        } else {
            assert_close(&what, &unpack(&what, N, &xl, &dx), &want, 1e-5);
            if summed {
                assert_close(&what, &unpack(&what, N, &yl, &dyb), &masked, 0.0);
            }
        }
        for (i, name) in ["dbias", "dweight"].into_iter().enumerate() {
            let part: Vec<Block> = got.iter().skip(i).step_by(2).copied().collect();
            let part = unpack(&what, 1, &Layout::new(channels, 1, 1), &part);
            let want: Vec<f64> = sums.iter().map(|sums| sums[i]).collect();
            assert_close(&format!("{what}, {name}"), &part, &want, 1e-5);
        }
    }
}

/// Where the gradient of x goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    InPlace,
    Written,
    Added,
}

fn unwritten_blocks(len: usize) -> Vec<Block> {
    vec![Block([f32::NAN; LANES]); len]
}

#[test]
fn response_normalisation_and_its_gradient_equal_f64() {
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            for (size, beta) in [(1, 0.75), (5, 0.75), (3, 0.5), (31, 1.3), (63, 0.75)] {
                let geom = LrnGeom { size, alpha: 0.3, beta, k: 1.5 };
                response_norm(isa, &threads, (channels, SIZE), &geom);
            }
        }
        // More channels and wider rows than are computed at once.
        for (channels, map) in [(256, [1, 8]), (300, [2, 19]), (530, [1, 9])] {
            for size in [5, 63] {
                let geom = LrnGeom { size, alpha: 0.3, beta: 0.75, k: 1.5 };
                response_norm(isa, &threads, (channels, map), &geom);
            }
        }
    }
}

fn response_norm(
    isa: Isa,
    threads: &top5_kernels::Threads,
    (channels, map): (usize, [usize; 2]),
    geom: &LrnGeom,
) {
    let what = format!("{isa}, {channels} channels of {map:?}, {geom:?}");
    let area = map[0] * map[1];
    let (xl, yl) = (layout(channels, map, [1, 0]), part(layout(channels, map, [0, 2])));
    let len = elements(N, &xl);
    let (x, dy, start) = (signed("x", len), signed("dy", len), signed("dx", len));
    let [alpha, beta, k] = [geom.alpha, geom.beta, geom.k].map(f64::from);
    // Indices of the same pixel in the channels around that of `i`.
    let near = |i: usize| {
        let c = i / area % channels;
        let from = c.saturating_sub(geom.size / 2);
        (from..(c + geom.size / 2 + 1).min(channels)).map(move |j| i + j * area - c * area)
    };
    let base = |i: usize| k + alpha * near(i).map(|j| f64::from(x[j]).powi(2)).sum::<f64>();
    let bases: Vec<f64> = (0..len).map(base).collect();
    let want: Vec<f64> = (0..len).map(|i| f64::from(x[i]) * bases[i].powf(-beta)).collect();
    let term = |j: usize| f64::from(dy[j]) * f64::from(x[j]) * bases[j].powf(-beta - 1.0);
    let terms: Vec<f64> = (0..len).map(term).collect();
    let dwant: Vec<f64> = (0..len)
        .map(|i| {
            let through: f64 = near(i).map(|j| terms[j]).sum();
            f64::from(start[i]) + f64::from(dy[i]) * bases[i].powf(-beta)
                - 2.0 * alpha * beta * f64::from(x[i]) * through
        })
        .collect();
    let (xb, dyb) = (pack(N, &xl, &x), pack(N, &yl, &dy));
    let mut y = unwritten(N, &yl);
    lrn::forward(isa, threads, N, geom, (&xb, &xl), (&mut y, &yl));
    assert_close(&what, &unpack(&what, N, &yl, &y), &want, 1e-6);
    let mut dx = pack(N, &xl, &start);
    lrn::gradient(isa, threads, N, geom, (&xb, &xl), (&dyb, &yl), (&mut dx, &xl));
    assert_close(&format!("{what}, gradient"), &unpack(&what, N, &xl, &dx), &dwant, 1e-6);

    // In bf16 it is the same but for the rounding of what is read and written.
    let mut rounded = vec![BlockBf16::ZERO; xb.len()];
    narrow(Isa::Scalar, threads, &xb, &mut rounded);
    let mut wide = vec![Block::ZERO; xb.len()];
    widen(Isa::Scalar, threads, &rounded, &mut wide);
    let mut y = unwritten(N, &yl);
    lrn::forward(isa, threads, N, geom, (&wide, &xl), (&mut y, &yl));
    let mut want = vec![BlockBf16::ZERO; y.len()];
    narrow(Isa::Scalar, threads, &y, &mut want);
    let mut got = vec![BlockBf16::ZERO; y.len()];
    lrn::forward(isa, threads, N, geom, (&rounded, &xl), (&mut got, &yl));
    assert!(got == want, "{what} in bf16");
}
