//! The checker on the zoo, on random graphs, and on plans that were broken on purpose.

use super::check;
use crate::buffer::{BufferId, Plan};
use crate::choose::Machinery;
use crate::ir::{Program, Step};
use crate::memory::lifetimes;
use crate::pass::lower;
use crate::purpose::Mode;
use crate::step::conv::{Conv, ConvInput, ConvWeights};
use crate::step::moves::{CopyChannels, PlaceChannels};
use crate::step::norm::{LrnGradient, Normalise, NormaliseGradient};
use crate::step::pointwise::{
    MaskPositive, ReluGradient, Scale, ScaleFactorGradient, ScaledTanh, ScaledTanhGradient,
    Sigmoid, SigmoidGradient,
};
use crate::step::pool::MaxPoolGradient;
use crate::step::{Kernel, Zeros};
use crate::tuning::Tuning;
use top5_graph::ops::{AlphaOver, Conv2d};
use top5_graph::random::Stream;
use top5_graph::{Graph, GraphError, NodeId, Rule, Signals, Var, Window, concat, k, net};
use top5_kernels::{Isa, Precision};

/// Modes and precisions.
const WAYS: [(Mode, bool); 4] = [
    (Mode::Inference, false),
    (Mode::Training, false),
    (Mode::Inference, true),
    (Mode::Training, true),
];

fn exhaustive() -> bool {
    std::env::var_os("TOP5_EXHAUSTIVE").is_some()
}

fn machinery((mode, bf16): (Mode, bool), batch: usize) -> Machinery {
    let isa = Isa::Scalar;
    let precision = if bf16 { Precision::Bf16 } else { Precision::F32 };
    Machinery {
        isa,
        threads: 2,
        batch,
        exact: false,
        compact: false,
        precision,
        tuning: Tuning::default(),
        mode,
    }
}

/// Checks the plan for a graph that keeps these activations. Returns whether there is one.
fn is_planned(graph: &Graph, way: (Mode, bool), batch: usize, kept: &[NodeId]) -> bool {
    let inference = graph.inference();
    let graph = if way.0 == Mode::Training { graph } else { &inference };
    let Ok(program) = lower(graph, &machinery(way, batch), kept, None) else { return false };
    let plan = Plan::new(&program, batch);
    for n in [1, batch] {
        let result = check(graph, way.0, None, &program, &plan, n);
        assert_eq!(result, Ok(()), "{}, {way:?}, {n} images of {batch}", graph.name());
    }
    true
}

#[test]
fn exhaustive_plans_of_the_zoo_are_sound() {
    for (i, network) in top5_zoo::networks().enumerate() {
        let graph = network.graph().unwrap();
        let sample = if exhaustive() { &WAYS[..] } else { &WAYS[i % 4..][..1] };
        for &way in sample {
            assert!(is_planned(&graph, way, 2 + i % 3, &[]), "{}", network.name);
        }
    }
}

#[test]
fn plans_of_the_conformance_cases_are_sound() {
    for case in top5_testkit::cases::cases() {
        let graph = &case.graph;
        let all: Vec<NodeId> = graph.inference().nodes().iter().map(|node| node.id).collect();
        for way in [(Mode::Inference, false), (Mode::Inference, true)] {
            assert!([1, 3].map(|n| is_planned(graph, way, n, &[])) == [true; 2], "{}", case.name());
            assert!(is_planned(graph, way, 2, &all) == is_planned(graph, way, 2, &all[..1]));
        }
        let maps = graph.logits().shape().size() != [1, 1];
        for way in [(Mode::Training, false), (Mode::Training, true)] {
            assert_ne!(is_planned(graph, way, 3, &[]), maps, "{}", case.name());
        }
    }
}

/// Checks the plan that sends signals from a node to others.
fn signals_are_sound(graph: &Graph, from: NodeId, to: &[NodeId], rule: Rule) {
    let signals = Signals { from, to: to.to_vec(), rule };
    let pinned = [&[from], to].concat();
    let machinery = machinery((Mode::Inference, false), 3);
    let program = lower(graph, &machinery, &pinned, Some(&signals)).unwrap();
    let plan = Plan::new(&program, 3);
    for n in [1, 3] {
        let result = check(graph, Mode::Inference, Some(&signals), &program, &plan, n);
        assert_eq!(result, Ok(()), "{} from {}, {rule:?}", graph.name(), graph.node(from).name);
    }
}

#[test]
fn signals_of_the_conformance_cases_are_sound() {
    for case in top5_testkit::cases::cases() {
        let graph = case.graph.inference();
        let all: Vec<NodeId> = graph.nodes().iter().map(|node| node.id).collect();
        for rule in [Rule::gradient(), Rule::guided(), Rule::deconvnet()] {
            signals_are_sound(&graph, graph.logits().id, &all, rule);
            for (i, &from) in all.iter().enumerate() {
                signals_are_sound(&graph, from, &[all[0], all[i / 2]], rule);
            }
        }
    }
}

/// A network of random layers, if they fit each other.
fn random_graph(seed: u64) -> Result<Graph, GraphError> {
    let mut random = Stream::new(seed, 0);
    let input = [1 + random.below(20), 1 + random.below(9), 1 + random.below(9)];
    net(&format!("random {seed}"), input, |x| {
        let mut vars = vec![x];
        for _ in 0..2 + random.below(14) {
            // Mostly the last one, so that networks are deep.
            let back = if random.below(3) == 0 { random.below(vars.len()) } else { 0 };
            let x = vars[vars.len() - 1 - back];
            let y = random_layer(&mut random, &vars, x);
            vars.push(y);
            if random.below(12) == 0 {
                y.global_avg_pool().linear(4).output(&format!("aux{}", vars.len()), 0.5);
            }
        }
        let last = vars[vars.len() - 1];
        match random.below(3) {
            0 => last.global_avg_pool().linear(5),
            1 => last.flatten().linear(5),
            _ => last.global_avg_pool(),
        }
    })
}

fn random_layer<'g>(random: &mut Stream, vars: &[Var<'g>], x: Var<'g>) -> Var<'g> {
    let [h, w] = x.shape().size();
    let channels = x.channels();
    let side = (1 + random.below(3)).min(h).min(w);
    let window = Window { ceil: random.below(2) == 0, ..k(side).stride(1 + random.below(2)) };
    let pad = random.below(side.div_ceil(2));
    let wide = [1 + random.below(40), 16 * (1 + random.below(3))][random.below(2)];
    let others: Vec<Var<'g>> = vars.iter().copied().filter(|v| v.shape() == x.shape()).collect();
    let other = others[random.below(others.len())];
    let sized: Vec<Var<'g>> = vars.iter().copied().filter(|v| v.shape().size() == [h, w]).collect();
    let neighbour = sized[random.below(sized.len())];
    match random.below(27) {
        0 | 1 => x.conv(wide, k(side).pad(random.below(3))),
        2 | 3 => x.conv_bn(wide, k(side).pad(pad)).relu(),
        4 => x.conv_bn(channels, k(3).pad(1)) + other,
        5 => (x.conv(channels, k(3).pad(1)) + other).relu(),
        6 => (other + x.conv_bn(channels, 1)).relu(),
        7 => x.apply(Conv2d::new(2 * channels, k(side).stride(2)).groups(channels)),
        8 => x.relu(),
        9 => x.sigmoid(),
        10 => x.scaled_tanh(),
        11 => x.max_pool(window.pad(pad)),
        12 => x.avg_pool(window.pad(pad)),
        13 => x.avg_pool_no_pad(window.pad(pad)),
        14 => x.lrn(3, 0.5, 0.75, 1.0, AlphaOver::Sum),
        15 => x.dropout(0.5),
        16 => (x + other).relu(),
        17 => top5_graph::sum([x, other, x]),
        18 | 19 => concat([x, neighbour]),
        20 => concat([x.conv(16, 1).relu(), neighbour.conv_bn(32, 1), x.max_pool(k(3).pad(1))]),
        21 => x.slice(random.below(channels), 1),
        22 => x.pad_channels(random.below(5), random.below(20)),
        23 => x.subsample(1 + random.below(2)),
        24 => x.times([1.0, -0.5][random.below(2)]),
        25 => x.batch_norm(),
        _ => {
            let factors = x.global_avg_pool().linear(channels).sigmoid();
            (x.scale(factors) + other).relu()
        }
    }
}

#[test]
fn exhaustive_plans_of_random_graphs_are_sound() {
    let wanted = if exhaustive() { 10_000 } else { 400 };
    let mut random = Stream::new(1, 1);
    let mut planned = 0;
    let mut seed = 0;
    while planned < wanted {
        seed += 1;
        assert!(seed < 10 * wanted as u64, "{planned} of {seed} networks are valid");
        let Ok(graph) = random_graph(seed) else { continue };
        let kept = graph.inference().nodes()[random.below(graph.inference().nodes().len())].id;
        let batch = 1 + random.below(4);
        let trained = is_planned(&graph, WAYS[1 + 2 * random.below(2)], batch, &[]);
        let run = is_planned(&graph, WAYS[2 * random.below(2)], batch, &[kept]);
        let form = graph.inference();
        let (image, logits) = (form.nodes()[0].id, form.logits().id);
        signals_are_sound(&form, logits, &[image, kept], Rule::guided());
        planned += usize::from(trained && run);
    }
}

/// A graph with everything that can be broken: residuals, a concatenation with a ragged part, pools, gates.
fn victim() -> Graph {
    net("victim", [3, 12, 12], |x| {
        let x = x.conv_bn(32, k(3).pad(1)).relu();
        let y = x.conv_bn(32, k(3).pad(1)).relu().conv_bn(32, k(3).pad(1));
        let x = (y + x).relu();
        let a = x.conv(16, 1).relu();
        let b = x.conv(5, k(3).pad(1)).relu().lrn(3, 0.1, 0.75, 1.0, AlphaOver::Sum);
        let c = x.max_pool(k(3).pad(1)).conv(20, 1).sigmoid();
        let x = concat([a, b, c]).avg_pool(k(2).stride(2));
        let x = x.conv(24, k(1).stride(2)).relu().max_pool(k(2).stride(1));
        let factors = x.global_avg_pool().linear(24).sigmoid();
        (x.scale(factors) + x).relu().flatten().linear(7)
    })
    .unwrap()
}

struct Victim {
    graph: Graph,
    mode: Mode,
    program: Program,
    batch: usize,
}

impl Victim {
    fn all() -> Vec<Self> {
        let make = |way: (Mode, bool)| {
            let graph = victim();
            let (batch, mode) = (3, way.0);
            let program = lower(&graph, &machinery(way, batch), &[], None).unwrap();
            Self { graph, mode, program, batch }
        };
        WAYS.map(make).into()
    }

    fn with(&self, change: impl FnOnce(&mut Vec<Step>)) -> Result<(), String> {
        let mut program = self.program.clone();
        change(&mut program.steps);
        let plan = Plan::new(&program, self.batch);
        check(&self.graph, self.mode, None, &program, &plan, self.batch)
    }
}

#[test]
fn the_victim_is_sound() {
    for victim in Victim::all() {
        assert_eq!(victim.with(|_| ()), Ok(()));
    }
}

#[test]
fn dropped_and_repeated_steps_are_found() {
    for victim in Victim::all() {
        for at in 0..victim.program.steps.len() {
            let step = &victim.program.steps[at];
            let dropped = victim.with(|steps| drop(steps.remove(at)));
            assert!(dropped.is_err(), "without {step:?}");
            let repeated = victim.with(|steps| steps.insert(at, steps[at].clone()));
            assert!(repeated.is_err(), "twice {step:?}");
        }
    }
}

/// The step with two of its operands swapped, for each two.
fn swapped(kernel: &Kernel) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    macro_rules! swap {
        ($kind:ident: $(($a:ident, $b:ident)),*) => {
            if let Some(step) = kernel.get::<$kind>() {
                $(if step.$a != step.$b {
                    let mut other = step.clone();
                    std::mem::swap(&mut other.$a, &mut other.$b);
                    kernels.push(other.into());
                })*
            }
        };
    }
    swap!(MaxPoolGradient: (x, y), (y, dy), (x, dy));
    swap!(ReluGradient: (y, dy));
    swap!(SigmoidGradient: (y, dy));
    swap!(LrnGradient: (x, dy));
    swap!(ConvWeights: (x, dy));
    swap!(ScaleFactorGradient: (x, dy));
    swap!(MaskPositive: (y, dy));
    swap!(Scale: (x, factors));
    macro_rules! swap_summand {
        ($kind:ident) => {
            if let Some(step) = kernel.get::<$kind>()
                && let Some(sum) = step.sum.filter(|&sum| sum != step.x)
            {
                let mut other = step.clone();
                (other.x, other.sum) = (sum, Some(step.x));
                kernels.push(other.into());
            }
        };
    }
    swap_summand!(Conv);
    swap_summand!(Normalise);
    swap_summand!(Scale);
    kernels
}

#[test]
fn swapped_operands_are_found() {
    let mut tried = 0;
    for victim in Victim::all() {
        for (at, step) in victim.program.steps.iter().enumerate() {
            for kernel in swapped(&step.kernel) {
                tried += 1;
                let result = victim.with(|steps| steps[at].kernel = kernel.clone());
                assert!(result.is_err(), "{kernel:?}");
            }
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn step_of_another_op_is_found() {
    let mut tried = 0;
    for victim in Victim::all() {
        for (at, step) in victim.program.steps.iter().enumerate() {
            let forward = step.kernel.get::<Sigmoid>();
            let forward = forward.map(|&Sigmoid { x, y }| ScaledTanh { x, y }.into());
            let backward = step.kernel.get::<SigmoidGradient>();
            let backward = backward
                .map(|&SigmoidGradient { y, dy, dx }| ScaledTanhGradient { y, dy, dx }.into());
            let Some(other) = forward.or(backward) else { continue };
            tried += 1;
            let result = victim.with(|steps| steps[at].kernel = Kernel::clone(&other));
            let why = result.unwrap_err();
            assert!(why.contains("is another op's step"), "{other:?}: {why}");
        }
    }
    assert!(tried > 2, "{tried}");
}

#[test]
fn another_order_of_steps_that_need_each_other_is_found() {
    for victim in Victim::all() {
        for at in 1..victim.program.steps.len() {
            let [first, second] = [at - 1, at].map(|at| &victim.program.steps[at]);
            let written = first.kernel.writes().next();
            let reads = second.kernel.reads().any(|id| Some(id) == written);
            if reads && second.kernel.writes().all(|id| Some(id) != written) {
                let swapped = victim.with(|steps| steps.swap(at - 1, at));
                assert!(swapped.is_err(), "{second:?} before {first:?}");
            }
        }
    }
}

#[test]
fn missing_zeros_are_found() {
    let mut tried = 0;
    for victim in Victim::all() {
        for (at, step) in victim.program.steps.iter().enumerate() {
            if !step.fresh || step.kernel.needs_zero() != Zeros::Everywhere {
                continue;
            }
            tried += 1;
            let unzeroed = victim.with(|steps| {
                let Step { kernel, fresh, .. } = &mut steps[at];
                if let Some(copy) = kernel.get::<CopyChannels>() {
                    *kernel = CopyChannels { zero: false, ..copy.clone() }.into();
                } else if let Some(gradient) = kernel.get::<ConvInput>() {
                    *kernel = ConvInput { covers: true, ..gradient.clone() }.into();
                } else {
                    *fresh = false;
                }
            });
            assert!(unzeroed.is_err(), "{step:?}");
        }
    }
    assert!(tried > 8, "{tried}");
}

#[test]
fn wrong_accumulation_is_found() {
    for victim in Victim::all() {
        for (at, step) in victim.program.steps.iter().enumerate() {
            let accumulates = !step.fresh;
            let kernel = &step.kernel;
            let in_place = kernel.is::<MaskPositive>()
                || kernel.is::<NormaliseGradient>()
                || kernel.is::<PlaceChannels>();
            if accumulates && !in_place {
                let overwritten = victim.with(|steps| steps[at].fresh = true);
                assert!(overwritten.is_err(), "{step:?}");
            }
        }
    }
}

#[test]
fn lifetimes_that_end_early_are_found() {
    let mut tried = 0;
    for victim in Victim::all() {
        let lives = lifetimes(&victim.program);
        for (i, live) in lives.iter().enumerate() {
            let Some(live) = live.clone().filter(|live| live.start() < live.end()) else {
                continue;
            };
            let mut short = lives.clone();
            short[i] = Some(*live.start()..=live.end() - 1);
            let plan = Plan::of_lifetimes(&victim.program, victim.batch, &short);
            // Only where another buffer takes the memory does it matter.
            let range =
                |plan: &Plan, i| plan.range(&victim.program.buffers, BufferId(i), victim.batch);
            let taken = (0..lives.len()).any(|j| {
                let (a, b) = (range(&plan, i), range(&plan, j));
                let other = lives[j].as_ref();
                j != i
                    && other.is_some_and(|other| other.contains(live.end()))
                    && a.start.max(b.start) < a.end.min(b.end)
                    && victim.program.buffers.whole(BufferId(j)).0 == BufferId(j)
            });
            if taken {
                tried += 1;
                let result =
                    check(&victim.graph, victim.mode, None, &victim.program, &plan, victim.batch);
                assert!(result.is_err(), "{i}: {live:?}");
            }
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn an_overlap_of_one_block_is_found() {
    let mut tried = 0;
    for victim in Victim::all() {
        let lives = lifetimes(&victim.program);
        let plan = Plan::new(&victim.program, victim.batch);
        let range = |i| plan.range(&victim.program.buffers, BufferId(i), victim.batch);
        for i in (0..lives.len()).filter(|&i| lives[i].is_some()) {
            for j in (0..lives.len()).filter(|&j| lives[j].is_some()) {
                let [a, b] = [&lives[i], &lives[j]].map(|live| live.clone().unwrap());
                let meet = a.start() <= b.end() && b.start() <= a.end();
                let whole = |i| victim.program.buffers.whole(BufferId(i)).0 == BufferId(i);
                if i == j || !meet || !whole(i) || !whole(j) || range(i).end != range(j).start {
                    continue;
                }
                if range(i).is_empty() || range(j).is_empty() {
                    continue;
                }
                tried += 1;
                let moved = plan.moved(BufferId(j), range(j).start - 1);
                let result =
                    check(&victim.graph, victim.mode, None, &victim.program, &moved, victim.batch);
                assert!(result.is_err(), "{j} over the end of {i}");
            }
        }
    }
    assert!(tried > 40, "{tried}");
}
