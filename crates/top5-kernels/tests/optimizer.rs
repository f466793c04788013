//! Updates of weights on every instruction set of the machine: against their formulas in f64, the rounding of plain descent,
//! segments, and the sums of squares.

use std::ops::Range;
use top5_kernels::optimizer::{Gradient, RmsProp, Rule, Segment, follow, squares, update};
use top5_kernels::{Block, Isa, LANES, Precision, Threads};
use top5_testkit::close::assert_close_abs;
use top5_testkit::fill::signed;

/// More than one job's worth, and not a multiple of it.
const LEN: usize = 2 * 1024 + 37;

const MOMENTUM: Rule = Rule::Momentum { lr: 0.1, momentum: 0.9, intake: 1.0, nesterov: true };
const ADAM: Rule = Rule::Adam {
    mean: [0.9, 0.1],
    square: [0.99, 0.01],
    keep: 0.999,
    rate: 0.05,
    root: 1.25,
    eps: 1e-3,
};
const RMS: RmsProp = RmsProp {
    lr: 0.1,
    alpha: [0.9, 0.1],
    eps: 0.1,
    momentum: Some(0.9),
    centered: true,
    inside: true,
};

/// Every instruction set with one thread, and the best with two and three.
fn runs() -> Vec<(Isa, Threads)> {
    let alone = Isa::available().into_iter().map(|isa| (isa, Threads::new(1)));
    alone
        .chain([2, 3].map(|threads| (Isa::detect(Precision::F32), Threads::new(threads))))
        .collect()
}

fn blocks(name: &str) -> Vec<Block> {
    let values = signed(name, LEN * LANES);
    values.chunks(LANES).map(|row| Block(row.try_into().unwrap())).collect()
}

/// Positive for a mean square, and larger than the square of any mean by more than 1.
fn kept(rule: &Rule) -> Vec<Vec<Block>> {
    let mut kept: Vec<Vec<Block>> =
        (0..rule.states()).map(|i| blocks(&format!("kept{i}"))).collect();
    let squares = match rule {
        Rule::Descent { .. } | Rule::Momentum { .. } => None,
        Rule::RmsProp(_) => Some(0),
        Rule::Adam { .. } => Some(1),
    };
    if let Some(squares) = squares {
        Block::flat_mut(&mut kept[squares]).iter_mut().for_each(|v| *v = 2.5 + 0.5 * *v);
    }
    kept
}

fn whole(gradient: Gradient, rule: Rule) -> Segment {
    Segment { blocks: 0..LEN, gradient, rule }
}

/// Weights and kept tensors after an update.
fn run(isa: Isa, threads: &Threads, segments: &[Segment]) -> (Vec<Block>, Vec<Vec<Block>>) {
    let (mut w, mut kept) = (blocks("w"), kept(&segments[0].rule));
    let mut slices: Vec<&mut [Block]> = kept.iter_mut().map(Vec::as_mut_slice).collect();
    update(isa, threads, segments, &mut w, &blocks("g"), &mut slices);
    (w, kept)
}

/// The rule in f64: the new weight, and the kept values in place.
fn formula(gradient: &Gradient, rule: &Rule, w: f64, g: f64, kept: &mut [f64]) -> f64 {
    let wide = f64::from;
    let g = gradient.bound.map_or(g, |bound| g.clamp(-wide(bound), wide(bound)));
    let g = wide(gradient.trust) * (wide(gradient.factor) * g + wide(gradient.decay) * w);
    match *rule {
        Rule::Descent { lr } => w - wide(lr) * g,
        Rule::Momentum { lr, momentum, intake, nesterov } => {
            kept[0] = wide(momentum) * kept[0] + wide(intake) * g;
            w - wide(lr) * if nesterov { g + wide(momentum) * kept[0] } else { kept[0] }
        }
        Rule::Adam { mean, square, keep, rate, root, eps } => {
            kept[0] = wide(mean[0]) * kept[0] + wide(mean[1]) * g;
            kept[1] = wide(square[0]) * kept[1] + wide(square[1]) * g * g;
            wide(keep) * w - wide(rate) * kept[0] / (wide(root) * kept[1].sqrt() + wide(eps))
        }
        Rule::RmsProp(rms) => {
            let [stay, intake] = rms.alpha.map(wide);
            kept[0] = stay * kept[0] + intake * g * g;
            let mut spread = kept[0];
            if rms.centered {
                kept[1] = stay * kept[1] + intake * g;
                spread -= kept[1] * kept[1];
            }
            let (lr, eps) = (wide(rms.lr), wide(rms.eps));
            let mut step = match rms.inside {
                true => lr * g / (spread + eps).sqrt(),
                false => g / (spread.sqrt() + eps),
            };
            if let Some(momentum) = rms.momentum {
                let buffer = kept.last_mut().unwrap();
                *buffer = wide(momentum) * *buffer + step;
                step = *buffer;
            }
            w - if rms.inside { step } else { lr * step }
        }
    }
}

#[test]
fn every_rule_follows_its_formula() {
    let changed = Gradient { bound: Some(0.5), factor: 0.75, decay: 0.01, trust: 1.5 };
    let mut rules = vec![Rule::Descent { lr: 0.1 }, MOMENTUM, ADAM];
    rules.push(Rule::Momentum { lr: 0.1, momentum: 0.5, intake: 0.25, nesterov: false });
    for centered in [false, true] {
        for momentum in [None, Some(0.9)] {
            for inside in [false, true] {
                rules.push(Rule::RmsProp(RmsProp { momentum, centered, inside, ..RMS }));
            }
        }
    }
    for (isa, threads) in runs() {
        for (rule, gradient) in rules.iter().flat_map(|r| [(r, Gradient::PLAIN), (r, changed)]) {
            let what = format!("{isa} {gradient:?} {rule:?}");
            let (w, got) = run(isa, &threads, &[whole(gradient, *rule)]);
            let (g, before) = (blocks("g"), kept(rule));
            let mut want: Vec<Vec<f64>> = vec![Vec::new(); 1 + rule.states()];
            for (i, (&w, &g)) in Block::flat(&blocks("w")).iter().zip(Block::flat(&g)).enumerate() {
                let mut kept: Vec<f64> =
                    before.iter().map(|kept| f64::from(Block::flat(kept)[i])).collect();
                want[0].push(formula(&gradient, rule, f64::from(w), f64::from(g), &mut kept));
                kept.into_iter().zip(&mut want[1..]).for_each(|(kept, want)| want.push(kept));
            }
            for (got, want) in [&w].into_iter().chain(&got).zip(&want) {
                assert_close_abs(&what, Block::flat(got), want, 1e-6);
            }
        }
    }
}

/// Two roundings of the gradient and the momentum, one of the weight, as a fused multiply-add has it: what runs were trained
/// with before there were other rules.
#[test]
fn descent_with_momentum_rounds_as_it_always_did() {
    let decay = 0.01f32;
    let gradient = Gradient { decay, ..Gradient::PLAIN };
    for (isa, threads) in runs() {
        if !matches!(isa, Isa::Avx2 | Isa::Avx512 | Isa::Amx | Isa::Neon) {
            continue;
        }
        for nesterov in [false, true] {
            let rule = Rule::Momentum { lr: 0.1, momentum: 0.9, intake: 1.0, nesterov };
            let (w, kept) = run(isa, &threads, &[whole(gradient, rule)]);
            let before = [blocks("w"), blocks("kept0"), blocks("g")];
            let [w0, v0, g0] = before.each_ref().map(|blocks| Block::flat(blocks));
            for i in 0..w0.len() {
                let g = decay.mul_add(w0[i], g0[i]);
                let v = 0.9f32.mul_add(v0[i], g);
                let step = if nesterov { 0.9f32.mul_add(v, g) } else { v };
                assert_eq!(Block::flat(&kept[0])[i].to_bits(), v.to_bits());
                let want = (-0.1f32).mul_add(step, w0[i]);
                assert_eq!(Block::flat(&w)[i].to_bits(), want.to_bits());
            }
        }
    }
}

#[test]
fn segments_change_what_is_theirs_and_cuts_change_nothing() {
    for rule in [Rule::Descent { lr: 0.1 }, MOMENTUM, ADAM, Rule::RmsProp(RMS)] {
        for (isa, threads) in runs() {
            let whole = run(isa, &threads, &[whole(Gradient::PLAIN, rule)]);
            let cut = |blocks: Range<usize>| Segment { blocks, gradient: Gradient::PLAIN, rule };
            let pieces = [0..1, 1..1, 1..1024, 1024..1025, 1025..LEN].map(cut);
            assert_eq!(run(isa, &threads, &pieces), whole, "{isa} {rule:?}");

            let gap = 1000..1500;
            let (w, got) = run(isa, &threads, &[cut(0..gap.start), cut(gap.end..LEN)]);
            let mut want = (blocks("w"), kept(&rule));
            let tensors = [&mut want.0].into_iter().chain(&mut want.1);
            for (want, whole) in tensors.zip([&whole.0].into_iter().chain(&whole.1)) {
                want[..gap.start].copy_from_slice(&whole[..gap.start]);
                want[gap.end..].copy_from_slice(&whole[gap.end..]);
            }
            assert_eq!((w, got), want, "{isa} {rule:?}");
        }
    }
}

#[test]
fn squares_are_summed_alike_by_any_threads() {
    let x = blocks("x");
    let ranges = [0..0, 0..3, 3..2000, 2000..LEN];
    for bound in [None, Some(0.25)] {
        let want = |range: &Range<usize>| -> f64 {
            let values = Block::flat(&x[range.clone()]).iter().map(|&x| f64::from(x));
            values
                .map(|x| bound.map_or(x, |b: f32| x.clamp(-f64::from(b), f64::from(b))).powi(2))
                .sum()
        };
        for isa in Isa::available() {
            let alone = squares(isa, &Threads::new(1), &ranges, bound, &x);
            for (got, range) in alone.iter().zip(&ranges) {
                assert!((got - want(range)).abs() <= 1e-9 * want(range), "{isa} {range:?} {got}");
            }
            for threads in [2, 3, 5] {
                assert_eq!(squares(isa, &Threads::new(threads), &ranges, bound, &x), alone);
            }
        }
    }
}

#[test]
fn average_follows_and_copies() {
    for (isa, threads) in runs() {
        let (mut average, x) = (blocks("average"), blocks("x"));
        follow(isa, &threads, &mut average, &x, 0.25);
        let want = |(&a, &x): (&f32, &f32)| 0.75 * f64::from(a) + 0.25 * f64::from(x);
        let want: Vec<f64> =
            Block::flat(&blocks("average")).iter().zip(Block::flat(&x)).map(want).collect();
        assert_close_abs(&format!("{isa}"), Block::flat(&average), &want, 1e-6);
        follow(isa, &threads, &mut average, &x, 1.0);
        assert_eq!(average, x, "{isa}");
    }
}

#[cfg(panic = "unwind")]
#[test]
fn segments_that_do_not_fit_are_refused() {
    use std::panic::catch_unwind;
    let refused = |segments: &[Segment], g: usize, kept: usize| {
        let run = || {
            let (mut w, g) = (vec![Block::ZERO; 4], vec![Block::ZERO; g]);
            let mut kept = vec![vec![Block::ZERO; 4]; kept];
            let mut kept: Vec<&mut [Block]> = kept.iter_mut().map(Vec::as_mut_slice).collect();
            update(Isa::Scalar, &Threads::new(1), segments, &mut w, &g, &mut kept);
        };
        catch_unwind(run).is_err()
    };
    let of = |blocks| Segment { blocks, gradient: Gradient::PLAIN, rule: MOMENTUM };
    assert!(!refused(&[of(0..2), of(2..4)], 4, 1));
    assert!(refused(&[of(0..2), of(1..4)], 4, 1), "overlap");
    assert!(refused(&[of(0..5)], 4, 1), "beyond the end");
    assert!(refused(&[of(0..4)], 3, 1), "fewer gradients");
    assert!(refused(&[of(0..4)], 4, 2), "another number of tensors");
}
