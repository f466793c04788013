//! The optimiser's tensors, laid out like the parameters, and the numbers of an update for the kernels.

use crate::buckets::Gradients;
use crate::packed::{PackedParam, PackedParams};
use std::collections::BTreeMap;
use std::ops::Range;
use top5_graph::{
    Adam, Clip, EmaBuffers, Graph, Lars, Optimizer, RmsProp, RmsPropForm, Scales, Sgd, StateName,
    Update, Weights,
};
use top5_kernels::optimizer::{self, Gradient, Rule, Segment, follow, squares};
use top5_kernels::{Arena, Block, Isa, LANES, Threads};

/// What is kept from one update to the next: for each name an arena like that of the learned parameters, or for the average
/// like that of all of them.
#[derive(Debug, Default)]
pub(crate) struct State {
    tensors: BTreeMap<StateName, Arena>,
}

/// A learned parameter's place, and what the groups say of it.
struct Place {
    blocks: Range<usize>,
    scales: Scales,
}

/// What an update works on and with.
pub(crate) struct Parameters<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) packed: &'a PackedParams,
    /// Parameters and buffers, laid out by the packed parameters.
    pub(crate) values: &'a mut [Block],
    pub(crate) gradients: &'a Gradients,
    /// Blocks of the learned parameters, which are the first.
    pub(crate) learned: usize,
    pub(crate) isa: Isa,
    pub(crate) threads: &'a Threads,
}

impl State {
    /// Changes the parameters.
    pub(crate) fn update(&mut self, update: &Update, parameters: &mut Parameters<'_>) {
        let learned = parameters.learned;
        let states = update.states();
        let ema = update.ema.map(|_| StateName::Ema);
        let names = || states.iter().map(|state| state.name).chain(ema);
        self.tensors.retain(|name, _| names().any(|wanted| wanted == *name));
        for state in &states {
            self.tensors.entry(state.name).or_insert_with(|| filled(learned, state.init));
        }
        let places = parameters.places(update);
        let segments = parameters.segments(update, &places);
        // The order of the rule's tensors is not that of their names.
        let mut kept: Vec<Option<&mut Arena>> = states.iter().map(|_| None).collect();
        for (name, arena) in &mut self.tensors {
            if let Some(at) = states.iter().position(|state| state.name == *name) {
                kept[at] = Some(arena);
            }
        }
        let mut kept: Vec<&mut [Block]> =
            kept.into_iter().flatten().map(|arena| &mut **arena).collect();
        let Parameters { values, gradients, isa, threads, .. } = parameters;
        for (range, gradients) in gradients.pieces() {
            let segments = within(&segments, &range);
            let mut kept: Vec<&mut [Block]> =
                kept.iter_mut().map(|kept| &mut kept[range.clone()]).collect();
            let weights = &mut values[range];
            optimizer::update(*isa, threads, &segments, weights, gradients, &mut kept);
        }
        if let Some(ema) = &update.ema {
            let share = 1.0 - ema.decay_at(update.step);
            let new = !self.tensors.contains_key(&StateName::Ema);
            let average = self.tensors.entry(StateName::Ema);
            let average = average.or_insert_with(|| Arena::new(values.len()));
            let share = if new { 1.0 } else { share as f32 };
            let (learned, others) = average.split_at_mut(learned);
            let (weights, statistics) = values.split_at(learned.len());
            follow(*isa, threads, learned, weights, share);
            let share = match ema.buffers {
                EmaBuffers::Average => share,
                EmaBuffers::Copy => 1.0,
            };
            follow(*isa, threads, others, statistics, share);
        }
    }

    /// By name, for packed parameters and the shapes of all parameters and of the learned ones.
    pub(crate) fn store(
        &self,
        packed: &PackedParams,
        all: &BTreeMap<String, &[usize]>,
        learned: &BTreeMap<String, &[usize]>,
    ) -> Weights {
        let tensors = self.tensors.iter().flat_map(|(name, arena)| {
            let shapes = if name.has_buffers() { all } else { learned };
            name.label(packed.store(arena, shapes))
        });
        tensors.collect()
    }

    /// The state of these tensors, which were checked.
    pub(crate) fn load(
        threads: &Threads,
        state: &Weights,
        packed: &PackedParams,
        learned: usize,
    ) -> Self {
        let mut tensors = BTreeMap::new();
        for name in StateName::ALL {
            let Some(weights) = name.select(state) else { continue };
            let arena = if name.has_buffers() {
                let mut arena = Arena::new(packed.len);
                packed.load(threads, &weights, &mut arena);
                arena
            } else {
                let mut arena = Arena::new(learned);
                packed.pack_into(threads, &weights, &mut arena);
                arena
            };
            tensors.insert(name, arena);
        }
        Self { tensors }
    }
}

/// The parts of the segments that lie in a range, counted from its start.
fn within(segments: &[Segment], range: &Range<usize>) -> Vec<Segment> {
    let part = |segment: &Segment| {
        let start = segment.blocks.start.max(range.start);
        let end = segment.blocks.end.min(range.end);
        let blocks = (start < end).then(|| start - range.start..end - range.start)?;
        Some(Segment { blocks, ..segment.clone() })
    };
    segments.iter().filter_map(part).collect()
}

fn filled(blocks: usize, value: f32) -> Arena {
    let mut arena = Arena::new(blocks);
    if value != 0.0 {
        arena.fill(Block([value; LANES]));
    }
    arena
}

impl Parameters<'_> {
    /// The learned parameters that are not frozen, in the order of the packed parameters.
    fn places(&self, update: &Update) -> Vec<Place> {
        let scales: BTreeMap<_, _> =
            Scales::of_all(self.graph, &update.groups).into_iter().collect();
        let place = |PackedParam { content, range }: &PackedParam| {
            let scales = *scales.get(content.name()?)?;
            (!scales.frozen).then_some(Place { blocks: range.clone(), scales })
        };
        self.packed.list.iter().filter_map(place).collect()
    }

    /// The norm of the gradient of each place.
    fn gradient_norms(&self, places: &[Place], bound: Option<f32>) -> Vec<f64> {
        let mut norms = Vec::with_capacity(places.len());
        for (range, gradients) in self.gradients.pieces() {
            // A parameter lies in one bucket.
            let own = places.iter().map(|place| &place.blocks);
            let own = own.filter(|blocks| range.start <= blocks.start && blocks.end <= range.end);
            let own: Vec<_> =
                own.map(|blocks| blocks.start - range.start..blocks.end - range.start).collect();
            norms.extend(squares(self.isa, self.threads, &own, bound, gradients));
        }
        norms.into_iter().map(f64::sqrt).collect()
    }

    /// The numbers of each part; neighbours with equal numbers are one.
    fn segments(&self, update: &Update, places: &[Place]) -> Vec<Segment> {
        let bound = match update.clip {
            Some(Clip::Value(limit)) => Some(limit as f32),
            Some(Clip::Norm(_)) | None => None,
        };
        let factor = match update.clip {
            Some(clip @ Clip::Norm(_)) => {
                let norms = self.gradient_norms(places, None);
                clip.factor(norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt())
            }
            Some(Clip::Value(_)) | None => 1.0,
        };
        let mut trusts = vec![1.0; places.len()];
        if let Optimizer::Lars(lars) = &update.optimizer {
            let gradients = self.gradient_norms(places, bound);
            let ranges: Vec<_> = places.iter().map(|place| place.blocks.clone()).collect();
            let weights = squares(self.isa, self.threads, &ranges, None, self.values);
            for (i, place) in places.iter().enumerate() {
                let decay = update.weight_decay * place.scales.decay;
                trusts[i] = trust(lars, decay, weights[i].sqrt(), factor * gradients[i]);
            }
        }
        let mut segments: Vec<Segment> = Vec::new();
        for (Place { blocks, scales }, trust) in places.iter().zip(trusts) {
            let decay = update.weight_decay * scales.decay;
            let apart = update.optimizer.decay_is_apart();
            let gradient = Gradient {
                bound,
                factor: factor as f32,
                decay: if apart { 0.0 } else { decay as f32 },
                trust: trust as f32,
            };
            let lr = (f64::from(update.lr) * scales.lr) as f32;
            let rule = rule(&update.optimizer, update.step, lr, if apart { decay } else { 0.0 });
            match segments.last_mut() {
                Some(last)
                    if last.blocks.end == blocks.start
                        && (last.gradient, last.rule) == (gradient, rule) =>
                {
                    last.blocks.end = blocks.end;
                }
                Some(_) | None => segments.push(Segment { blocks: blocks.clone(), gradient, rule }),
            }
        }
        segments
    }
}

/// The factor of a tensor's gradient in LARS.
fn trust(lars: &Lars, decay: f64, weight: f64, gradient: f64) -> f64 {
    if decay == 0.0 || weight == 0.0 || gradient == 0.0 {
        return 1.0;
    }
    lars.coefficient * weight / (gradient + weight * decay + lars.eps)
}

/// The rule of a step, and of a rate and a decay apart from the gradient.
fn rule(optimizer: &Optimizer, step: u64, lr: f32, decay: f64) -> Rule {
    let shares = |stay: f64| [stay as f32, (1.0 - stay) as f32];
    match optimizer {
        Optimizer::Sgd(sgd) | Optimizer::Lars(Lars { sgd, .. }) => {
            let &Sgd { momentum, dampening, nesterov } = sgd;
            if momentum == 0.0 {
                return Rule::Descent { lr };
            }
            let intake = if step <= 1 { 1.0 } else { 1.0 - dampening } as f32;
            Rule::Momentum { lr, momentum: momentum as f32, intake, nesterov }
        }
        &Optimizer::RmsProp(RmsProp { form, alpha, eps, momentum, centered }) => {
            Rule::RmsProp(optimizer::RmsProp {
                lr,
                alpha: shares(alpha),
                eps: eps as f32,
                momentum: (momentum > 0.0).then_some(momentum as f32),
                centered,
                inside: form == RmsPropForm::TensorFlow,
            })
        }
        Optimizer::Adam(adam) | Optimizer::AdamW(adam) => {
            let &Adam { beta1, beta2, eps } = adam;
            let missing = |beta: f64| 1.0 - beta.powf(step.max(1) as f64);
            Rule::Adam {
                mean: shares(beta1),
                square: shares(beta2),
                keep: (1.0 - f64::from(lr) * decay) as f32,
                rate: (f64::from(lr) / missing(beta1)) as f32,
                root: (1.0 / missing(beta2).sqrt()) as f32,
                eps: eps as f32,
            }
        }
    }
}
