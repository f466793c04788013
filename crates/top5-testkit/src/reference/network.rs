//! Networks and sessions of the reference.

use super::array::Array;
use super::compute::Mode;
use super::pass::{Run, run, run_back};
use super::{Values, count, pool, read, tensor, wide, zeros};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use top5_graph::{
    Backward, EngineError, Forward, Graph, Network, NodeId, Op, Purpose, Session, SessionOptions,
    Statistics, Tensor, Weights, check_form,
};

/// Values by the names of their parameters.
type Named = Arc<BTreeMap<String, Vec<f64>>>;

/// A graph with its parameters.
pub(super) struct ReferenceNetwork {
    graph: Graph,
    values: Arc<RwLock<Named>>,
}

impl ReferenceNetwork {
    pub(super) fn new(graph: &Graph, weights: &Weights) -> Result<Self, EngineError> {
        weights.check(graph)?;
        let mut values = zeros(graph, false);
        read(graph, weights, &mut values);
        Ok(Self::of(graph, &values))
    }

    /// A network of these values.
    pub(super) fn of(graph: &Graph, values: &Values) -> Self {
        let values = Arc::new(RwLock::new(by_name(graph, values)));
        Self { graph: graph.clone(), values }
    }

    pub(super) fn replace(&self, values: &Values) {
        *self.values.write().unwrap_or_else(PoisonError::into_inner) = by_name(&self.graph, values);
    }
}

fn by_name(graph: &Graph, values: &Values) -> Named {
    let names = graph.params().map(|(name, _)| name);
    Arc::new(names.zip(values.iter().flatten().cloned()).collect())
}

impl Network for ReferenceNetwork {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn load(&self, weights: Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        let mut values = zeros(&self.graph, false);
        read(&self.graph, &weights, &mut values);
        self.replace(&values);
        Ok(())
    }

    fn session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        check_form(&self.graph, form)?;
        let Purpose { statistics, dropout, backward } = &options.purpose;
        if *statistics != Statistics::Running || *dropout || *backward == Backward::Parameters {
            let why = "a session computes as at inference; training is Device::training";
            return Err(EngineError::Purpose { why: why.to_owned() });
        }
        let mut nodes = options.keep.clone();
        if let Backward::From(signals) = backward {
            nodes.push(signals.from);
            nodes.extend(&signals.to);
        }
        let len = form.nodes().len();
        if let Some(id) = nodes.into_iter().find(|id| id.index() >= len) {
            return Err(EngineError::Node { index: id.index(), nodes: len });
        }
        Ok(Box::new(ReferenceSession {
            graph: form.clone(),
            options: SessionOptions { batch: options.batch.max(1), ..options.clone() },
            values: Arc::clone(&self.values),
            last: None,
        }))
    }
}

/// Runs a network in f64.
pub(super) struct ReferenceSession {
    graph: Graph,
    options: SessionOptions,
    values: Arc<RwLock<Named>>,
    /// The last forward pass and its parameters.
    last: Option<(Run, Values)>,
}

impl ReferenceSession {
    fn tensor_of(&self, output: &Array, id: NodeId) -> Tensor {
        tensor([vec![output.n], self.graph.node(id).shape().dims()].concat(), &output.data)
    }

    fn last(&self) -> Result<&(Run, Values), EngineError> {
        let why = "no forward pass went before";
        self.last.as_ref().ok_or_else(|| EngineError::Purpose { why: why.to_owned() })
    }
}

impl Session for ReferenceSession {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.options.batch
    }

    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError> {
        count(&self.graph, self.options.batch, images)?;
        let named = Arc::clone(&self.values.read().unwrap_or_else(PoisonError::into_inner));
        let values: Values = self
            .graph
            .nodes()
            .iter()
            .map(|node| {
                let params = node.spec.params.iter();
                params.map(|param| named[&node.param_name(param)].clone()).collect()
            })
            .collect();
        let mode = Mode { stop: self.options.stop.as_ref(), ..Mode::inference() };
        let run = run(&self.graph, &values, &wide(images), &mode, None)?;
        let tensor = |id: NodeId| self.tensor_of(&run.outputs[id.index()], id);
        let forward = Forward {
            logits: tensor(self.graph.logits().id),
            kept: self.options.keep.iter().map(|&id| tensor(id)).collect(),
        };
        self.last = Some((run, values));
        Ok(forward)
    }

    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        let Backward::From(signals) = &self.options.purpose.backward else {
            let why = "the session was made without a backward pass";
            return Err(EngineError::Purpose { why: why.to_owned() });
        };
        let (run, values) = self.last()?;
        let start = &run.outputs[signals.from.index()];
        let expected = self.tensor_of(start, signals.from).shape().to_vec();
        if seed.shape() != expected {
            return Err(EngineError::Seed { expected, got: seed.shape().to_vec() });
        }
        let start = Array { data: wide(seed.data()), ..start.clone() };
        let stop = self.options.stop.as_ref();
        let mode = Mode { rule: signals.rule, stop, ..Mode::inference() };
        let starts = vec![(signals.from, start)];
        let (gradients, _) = run_back(&self.graph, values, run, starts, &mode, None)?;
        let tensor = |&id: &NodeId| self.tensor_of(&gradients[id.index()], id);
        Ok(signals.to.iter().map(tensor).collect())
    }

    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError> {
        if !matches!(self.options.purpose.backward, Backward::From(_)) {
            let why = "switches are kept by sessions with a backward pass from a node";
            return Err(EngineError::Purpose { why: why.to_owned() });
        }
        let (run, _) = self.last()?;
        let nodes = self.graph.nodes();
        let Some(node) = nodes.get(pool.index()) else {
            return Err(EngineError::Node { index: pool.index(), nodes: nodes.len() });
        };
        let Op::MaxPool2d(op) = &node.op else {
            let why = "only a maximum pooling has switches".to_owned();
            return Err(EngineError::Unsupported { node: node.name.clone(), why });
        };
        let x = &run.outputs[node.inputs[0].index()];
        Ok(pool::switches(op, x, &run.outputs[pool.index()]))
    }
}
