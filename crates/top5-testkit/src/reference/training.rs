//! Training of the reference.

use super::array::Array;
use super::compute::Mode;
use super::moments::Synchronise;
use super::network::ReferenceNetwork;
use super::pass::{Run, run, run_back};
use super::{Values, count, elementwise, named, norm, optimizer, read, tensor, wide, zeros};
use std::sync::Arc;
use top5_graph::{
    Bucket, EngineError, Graph, Loss, Network, NodeId, Op, Reducer, Rule, Statistics, StepOptions,
    Stop, Targets, Training, TrainingOptions, Update, Weights, check_state,
};

/// Training in f64.
pub(super) struct ReferenceTraining {
    graph: Graph,
    options: TrainingOptions,
    params: Values,
    gradients: Values,
    state: optimizer::State,
    published: Option<Arc<ReferenceNetwork>>,
}

impl ReferenceTraining {
    pub(super) fn new(
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Self, EngineError> {
        for output in graph.outputs() {
            let node = graph.node(output.node);
            if node.shape().size() != [1, 1] {
                let why = "the loss is defined for one vector of scores; pool the map first";
                let (node, why) = (node.name.clone(), why.to_owned());
                return Err(EngineError::Unsupported { node, why });
            }
        }
        let mut training = Self {
            graph: graph.clone(),
            options: TrainingOptions { batch: options.batch.max(1), ..options.clone() },
            params: zeros(graph, false),
            gradients: zeros(graph, true),
            state: optimizer::State::default(),
            published: None,
        };
        training.load(weights)?;
        Ok(training)
    }

    /// Hands the gradients out in buckets, the last first, and takes them back.
    fn reduce(&self, gradients: &mut Values, reducer: &mut dyn Reducer) -> Result<(), EngineError> {
        let mut flat: Vec<&mut Vec<f64>> = gradients.iter_mut().flatten().collect();
        let mut starts = Vec::new();
        let mut room = 0;
        for (i, values) in flat.iter().enumerate() {
            if room < 4 * values.len() {
                starts.push(i);
                room = self.options.bucket;
            }
            room = room.saturating_sub(4 * values.len());
        }
        let end = |bucket: usize| starts.get(bucket + 1).copied().unwrap_or(flat.len());
        let ranges: Vec<_> = (0..starts.len()).map(|b| starts[b]..end(b)).collect();
        for (index, range) in ranges.iter().enumerate().rev() {
            let values: Vec<f32> =
                flat[range.clone()].iter().flat_map(|v| v.iter()).map(|&g| g as f32).collect();
            reducer.ready(Bucket { index, values: Box::new(values) })?;
            if self.options.stop.as_ref().is_some_and(Stop::is_set) {
                return Err(EngineError::Stopped);
            }
        }
        for bucket in reducer.finish()? {
            let mut seen = bucket.values.values().iter();
            for exact in flat[ranges[bucket.index].clone()].iter_mut().flat_map(|v| v.iter_mut()) {
                let &seen = seen.next().expect("as many as were handed out");
                // What came back as it was keeps its precision.
                *exact = if *exact as f32 == seen { *exact } else { f64::from(seen) };
            }
        }
        Ok(())
    }
}

/// The loss, and its gradient with respect to every output of the network.
pub(super) fn loss(
    graph: &Graph,
    outputs: &[Array],
    targets: Targets<'_>,
    smoothing: f64,
) -> (f64, Vec<(NodeId, Array)>) {
    let mut total = 0.0;
    let mut starts = Vec::new();
    for head in graph.outputs() {
        let scores = &outputs[head.node.index()];
        let weight = f64::from(head.weight);
        let (loss, start) = elementwise::cross_entropy(scores, targets, smoothing, weight);
        total += loss;
        starts.push((head.node, start));
    }
    (total, starts)
}

impl Training for ReferenceTraining {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.options.batch
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        read(&self.graph, weights, &mut self.params);
        self.state = optimizer::State::default();
        Ok(())
    }

    fn weights(&self) -> Weights {
        named(&self.graph, &self.params, false)
    }

    fn gradients(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        mut reducer: Option<&mut dyn Reducer>,
    ) -> Result<Loss, EngineError> {
        let n = count(&self.graph, self.options.batch, images)?;
        targets.check(n, &self.graph)?;
        let mode = Mode {
            statistics: Statistics::Batch,
            seed: Some(options.seed),
            first: options.first,
            rule: Rule::gradient(),
            stop: self.options.stop.as_ref(),
        };
        let (graph, params, images) = (&self.graph, &self.params, wide(images));
        let smoothing = f64::from(options.label_smoothing);
        let passes = |mut synchronise: Synchronise<'_>| -> Result<(Run, f64, Values), EngineError> {
            let forward: Synchronise<'_> = match &mut synchronise {
                Some(call) => Some(&mut **call),
                None => None,
            };
            let run = run(graph, params, &images, &mode, forward)?;
            let (value, mut starts) = loss(graph, &run.outputs, targets, smoothing);
            for (_, start) in &mut starts {
                *start = start.map(|g| g * f64::from(options.scale));
            }
            let (_, gradients) = run_back(graph, params, &run, starts, &mode, synchronise)?;
            Ok((run, value, gradients))
        };
        let (run, value, mut gradients) = match &mut reducer {
            Some(reducer) if reducer.synchronises() => {
                passes(Some(&mut |node, sums| reducer.statistics(node, sums)))?
            }
            Some(_) | None => passes(None)?,
        };
        if options.accumulate {
            let before = self.gradients.iter().flatten().flatten();
            gradients.iter_mut().flatten().flatten().zip(before).for_each(|(g, b)| *g += b);
        }
        if let Some(reducer) = reducer {
            self.reduce(&mut gradients, reducer)?;
        }
        self.gradients = gradients;
        for (node, moments) in self.graph.nodes().iter().zip(&run.moments) {
            if let (Op::BatchNorm2d(op), Some(moments)) = (&node.op, moments) {
                norm::follow(op, &mut self.params[node.id.index()], moments);
            }
        }
        let logits = &run.outputs[self.graph.logits().id.index()];
        let mut all = self.gradients.iter().flatten().flatten();
        let finite = value.is_finite() && all.all(|g| (*g as f32).is_finite());
        let logits = tensor(vec![n, self.graph.classes()], &logits.data);
        Ok(Loss { value, logits, finite })
    }

    fn gradient_tensors(&self) -> Weights {
        named(&self.graph, &self.gradients, true)
    }

    fn update(&mut self, update: &Update) {
        let gradients = self.gradients.iter().flatten().cloned().collect();
        self.state.update(update, &self.graph, &mut self.params, gradients);
    }

    fn state(&self) -> Weights {
        self.state.store(&self.graph)
    }

    fn load_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        check_state(state, &self.graph)?;
        self.state = optimizer::State::load(&self.graph, state);
        Ok(())
    }

    fn publish(&mut self) -> Result<Arc<dyn Network>, EngineError> {
        let network = match &self.published {
            Some(network) => {
                network.replace(&self.params);
                Arc::clone(network)
            }
            None => Arc::new(ReferenceNetwork::of(&self.graph, &self.params)),
        };
        self.published = Some(Arc::clone(&network));
        Ok(network)
    }
}
