//! Updates in f64, parameter by parameter, as the definitions of `top5_graph::Optimizer` say.

use super::{Values, tensor, wide};
use std::collections::BTreeMap;
use top5_graph::{
    Adam, Clip, EmaBuffers, Graph, Lars, Optimizer, RmsProp, RmsPropForm, Scales, Sgd, StateName,
    Update, Weights,
};

/// Of each parameter, in the graph's order.
type PerParam = Vec<Vec<f64>>;

/// What is kept from one update to the next: by name, per parameter; empty for running statistics that have none.
#[derive(Clone, Default)]
pub(super) struct State {
    tensors: BTreeMap<StateName, PerParam>,
}

impl State {
    /// Changes `params` by `gradients`, which are empty for running statistics.
    pub(super) fn update(
        &mut self,
        update: &Update,
        graph: &Graph,
        params: &mut Values,
        mut gradients: PerParam,
    ) {
        let states = update.states();
        let ema = update.ema.map(|_| StateName::Ema);
        let names: Vec<StateName> = states.iter().map(|state| state.name).chain(ema).collect();
        self.tensors.retain(|name, _| names.contains(name));
        for state in &states {
            let init = f64::from(state.init);
            let begin = || gradients.iter().map(|g| vec![init; g.len()]).collect();
            self.tensors.entry(state.name).or_insert_with(begin);
        }
        let mut scales =
            Scales::of_all(graph, &update.groups).into_iter().map(|(_, scales)| scales);
        let learned = graph.params().map(|(_, param)| param.learned);
        let scales: Vec<Option<Scales>> =
            learned.map(|learned| if learned { scales.next() } else { None }).collect();
        let moving = |i: usize| scales[i].filter(|scales| !scales.frozen);
        clip(update.clip, &mut gradients, &|i| moving(i).is_some());
        for (i, w) in params.iter_mut().flatten().enumerate() {
            let Some(scales) = moving(i) else { continue };
            let lr = f64::from(update.lr) * scales.lr;
            let decay = update.weight_decay * scales.decay;
            let g = &mut gradients[i];
            let mut kept = Kept { tensors: &mut self.tensors, param: i };
            change(&update.optimizer, update.step, [lr, decay], (w, g), &mut kept);
        }
        if let Some(ema) = &update.ema {
            let values: PerParam = params.iter().flatten().cloned().collect();
            let new = !self.tensors.contains_key(&StateName::Ema);
            let average = self.tensors.entry(StateName::Ema).or_insert_with(|| values.clone());
            let decay = if new { 0.0 } else { ema.decay_at(update.step) };
            for ((average, values), scales) in average.iter_mut().zip(&values).zip(&scales) {
                let copied = scales.is_none() && ema.buffers == EmaBuffers::Copy;
                let decay = if copied { 0.0 } else { decay };
                average
                    .iter_mut()
                    .zip(values)
                    .for_each(|(e, w)| *e = decay * *e + (1.0 - decay) * w);
            }
        }
    }

    /// By name.
    pub(super) fn store(&self, graph: &Graph) -> Weights {
        let tensors = self.tensors.iter().flat_map(|(name, tensors)| {
            let kept = graph.params().zip(tensors);
            let kept = kept.filter(|((_, param), _)| param.learned || name.has_buffers());
            kept.map(|((param, spec), values)| {
                (name.of(&param), tensor(spec.shape.clone(), values))
            })
        });
        tensors.collect()
    }

    /// From tensors that were checked.
    pub(super) fn load(graph: &Graph, state: &Weights) -> Self {
        let named = |name: StateName| {
            let of = |param: &str| state.tensor(&name.of(param)).map(|t| wide(t.data()));
            let values = graph.params().map(|(param, _)| of(&param).unwrap_or_default());
            name.select(state).map(|_| (name, values.collect()))
        };
        Self { tensors: StateName::ALL.into_iter().filter_map(named).collect() }
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn clip(clip: Option<Clip>, gradients: &mut PerParam, counts: &dyn Fn(usize) -> bool) {
    match clip {
        None => {}
        Some(Clip::Value(limit)) => {
            gradients.iter_mut().flatten().for_each(|g| *g = g.clamp(-limit, limit));
        }
        Some(Clip::Norm(limit)) => {
            let counted = gradients.iter().enumerate().filter(|(i, _)| counts(*i));
            let total = counted.map(|(_, g)| norm(g).powi(2)).sum::<f64>().sqrt();
            let factor = (limit / (total + 1e-6)).min(1.0);
            gradients.iter_mut().flatten().for_each(|g| *g *= factor);
        }
    }
}

/// The tensors of one parameter.
struct Kept<'a> {
    tensors: &'a mut BTreeMap<StateName, PerParam>,
    param: usize,
}

impl Kept<'_> {
    /// The value at `at` of a tensor after `value ← stay·value + intake·x`; `None` where the optimiser keeps no such tensor.
    fn follow(
        &mut self,
        name: StateName,
        at: usize,
        [stay, intake]: [f64; 2],
        x: f64,
    ) -> Option<f64> {
        let value = &mut self.tensors.get_mut(&name)?[self.param][at];
        *value = stay * *value + intake * x;
        Some(*value)
    }
}

/// One parameter's update.
fn change(
    optimizer: &Optimizer,
    step: u64,
    [lr, decay]: [f64; 2],
    (w, g): (&mut [f64], &mut [f64]),
    kept: &mut Kept<'_>,
) {
    if let Optimizer::AdamW(_) = optimizer {
        w.iter_mut().for_each(|w| *w -= lr * decay * *w);
    } else {
        let [w_norm, g_norm] = [norm(w), norm(g)];
        g.iter_mut().zip(&*w).for_each(|(g, w)| *g += decay * w);
        if let Optimizer::Lars(Lars { coefficient, eps, .. }) = optimizer
            && decay > 0.0
            && w_norm > 0.0
            && g_norm > 0.0
        {
            let ratio = coefficient * w_norm / (g_norm + w_norm * decay + eps);
            g.iter_mut().for_each(|g| *g *= ratio);
        }
    }
    for (at, (w, &mut g)) in w.iter_mut().zip(g).enumerate() {
        *w -= match optimizer {
            Optimizer::Sgd(sgd) | Optimizer::Lars(Lars { sgd, .. }) => {
                let Sgd { momentum, dampening, nesterov } = *sgd;
                let intake = if step == 1 { 1.0 } else { 1.0 - dampening };
                let v = kept.follow(StateName::MomentumBuffer, at, [momentum, intake], g);
                lr * v.map_or(g, |v| if nesterov { g + momentum * v } else { v })
            }
            Optimizer::RmsProp(rms) => rms_prop(rms, lr, g, at, kept),
            Optimizer::Adam(adam) | Optimizer::AdamW(adam) => {
                let Adam { beta1, beta2, eps } = *adam;
                let mut average = |name, beta: f64, x: f64| {
                    let value = kept.follow(name, at, [beta, 1.0 - beta], x).unwrap_or_default();
                    value / (1.0 - beta.powf(step as f64))
                };
                let mean = average(StateName::ExpAvg, beta1, g);
                let square = average(StateName::ExpAvgSq, beta2, g * g);
                lr * mean / (square.sqrt() + eps)
            }
        };
    }
}

/// What one weight loses.
fn rms_prop(rms: &RmsProp, lr: f64, g: f64, at: usize, kept: &mut Kept<'_>) -> f64 {
    let RmsProp { form, alpha, eps, momentum, .. } = *rms;
    let shares = [alpha, 1.0 - alpha];
    let square = kept.follow(StateName::SquareAvg, at, shares, g * g).unwrap_or_default();
    let mean = kept.follow(StateName::GradAvg, at, shares, g).unwrap_or_default();
    let spread = (square - mean * mean).max(0.0);
    let step = match form {
        RmsPropForm::PyTorch => g / (spread.sqrt() + eps),
        RmsPropForm::TensorFlow => lr * g / (spread + eps).sqrt(),
    };
    let step = kept.follow(StateName::MomentumBuffer, at, [momentum, 1.0], step).unwrap_or(step);
    match form {
        RmsPropForm::PyTorch => lr * step,
        RmsPropForm::TensorFlow => step,
    }
}
