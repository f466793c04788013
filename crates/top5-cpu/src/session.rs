//! A session: a plan for inference with its memory, and the network whose parameters it reads.

use crate::buffer::BufferId;
use crate::device::CpuDevice;
use crate::network::CpuNetwork;
use crate::packed::ParamMemory;
use crate::purpose::Mode;
use crate::run::Executor;
use crate::step::{Outside, Run};
use crate::summary::PlanSummary;
use std::sync::Arc;
use top5_graph::{
    Backward, EngineError, Forward, Graph, NO_SWITCH, NodeId, Op, Purpose, Session, SessionOptions,
    Signals, Statistics, Stop, Tensor, Window,
};
use top5_kernels::{Arena, Precision, channels};

/// A session on the CPU.
pub struct CpuSession {
    device: CpuDevice,
    network: CpuNetwork,
    /// The form as it was given.
    graph: Graph,
    computed: Computed,
    executor: Executor,
    summary: PlanSummary,
    /// For each parameter of the plan, the form that the network lends.
    keys: Vec<String>,
    batch: usize,
    stop: Option<Stop>,
    /// Images of the last forward pass, and the parameters that it used.
    last: Option<(usize, Vec<Arc<Arena>>)>,
}

/// What of a form is computed.
struct Computed {
    /// Without auxiliary heads, unless one is asked for.
    graph: Graph,
    keep: Vec<NodeId>,
    signals: Option<Signals>,
}

impl Computed {
    fn new(form: &Graph, options: &SessionOptions) -> Result<Self, EngineError> {
        let Purpose { statistics, dropout, backward } = &options.purpose;
        let signals = match (statistics, dropout, backward) {
            (Statistics::Running, false, Backward::None) => None,
            (Statistics::Running, false, Backward::From(signals)) => Some(signals),
            (Statistics::Running | Statistics::Batch, _, _) => {
                let why = "a session computes as at inference; training is Device::training";
                return Err(EngineError::Purpose { why: why.to_owned() });
            }
        };
        let ends = signals.map_or(Vec::new(), |s| [&[s.from], &s.to[..]].concat());
        let len = form.nodes().len();
        let beyond = options.keep.iter().chain(&ends).find(|id| id.index() >= len);
        if let Some(id) = beyond {
            return Err(EngineError::Node { index: id.index(), nodes: len });
        }
        let pools = form.nodes().iter().filter(|node| matches!(node.op, Op::MaxPool2d(_)));
        let pools = pools.map(|node| node.id).filter(|_| signals.is_some());
        let needed: Vec<NodeId> = options.keep.iter().copied().chain(ends).chain(pools).collect();
        let inference = form.inference();
        let is_there = |id: &NodeId| inference.find(&form.node(*id).name).is_some();
        let graph = if needed.iter().all(is_there) { inference } else { form.clone() };
        let moved = |id: NodeId| graph.find(&form.node(id).name).expect("it is there").id;
        let keep = options.keep.iter().copied().map(moved).collect();
        let signals = signals.map(|Signals { from, to, rule }| Signals {
            from: moved(*from),
            to: to.iter().copied().map(moved).collect(),
            rule: *rule,
        });
        Ok(Self { graph, keep, signals })
    }

    /// What is read when the steps are done: also where signals begin and end, and what is pooled, to find its maxima.
    fn pinned(&self) -> Vec<NodeId> {
        let mut pinned = self.keep.clone();
        if let Some(signals) = &self.signals {
            pinned.push(signals.from);
            pinned.extend(&signals.to);
            let nodes = self.graph.nodes().iter();
            let pools = nodes.filter(|node| matches!(node.op, Op::MaxPool2d(_)));
            pinned.extend(pools.map(|node| node.inputs[0]));
        }
        pinned
    }
}

impl CpuSession {
    pub(crate) fn new(
        network: &CpuNetwork,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Self, EngineError> {
        let device = network.device();
        let computed = Computed::new(form, options)?;
        let batch = options.batch.max(1);
        let mut machinery = device.machinery(batch, Mode::Inference);
        if computed.signals.is_some() {
            // What is explained is what f32 computes.
            machinery.precision = Precision::F32;
        }
        let (pinned, signals) = (computed.pinned(), computed.signals.as_ref());
        let (program, plan) = device.make(&computed.graph, &machinery, &pinned, signals)?;
        let summary = PlanSummary::new(&computed.graph, &machinery, &program, &plan);
        let keys = network.pack(&program.packed)?;
        Ok(Self {
            device: device.clone(),
            network: network.clone(),
            graph: form.clone(),
            executor: Executor::new(&machinery, program, plan),
            computed,
            summary,
            keys,
            batch,
            stop: options.stop.clone(),
            last: None,
        })
    }

    /// Its plan.
    pub fn summary(&self) -> &PlanSummary {
        &self.summary
    }

    /// Runs [`Session::forward`] for its duration: `before` is called with the number of each step of
    /// [`CpuSession::summary`] before it, and with their number at the end.
    pub fn trace(
        &mut self,
        images: &[f32],
        before: &mut dyn FnMut(usize),
    ) -> Result<(), EngineError> {
        self.run(images, before).map(|_| ())
    }

    /// Runs the plan; returns the number of images.
    fn run(&mut self, images: &[f32], before: &mut dyn FnMut(usize)) -> Result<usize, EngineError> {
        let n = count(&self.graph, self.batch, images)?;
        // Parameters that nobody uses can be written in place.
        self.last = None;
        let _turn = self.device.turn();
        let pieces = self.network.lend(&self.keys);
        let stop = self.stop.as_ref();
        let run = Run { stop, ..Run::inference(self.device.threads(), n, images) };
        self.executor.run(&run, &mut outside(&pieces, before))?;
        if self.computed.signals.is_some() {
            self.last = Some((n, pieces));
        }
        Ok(n)
    }
}

fn outside<'a>(pieces: &'a [Arc<Arena>], before: &'a mut dyn FnMut(usize)) -> Outside<'a, 'static> {
    let (params, measured) = (ParamMemory::Pieces(pieces), Vec::new());
    Outside { params, gradients: None, reducer: None, measured, before }
}

fn no_purpose(why: &str) -> EngineError {
    EngineError::Purpose { why: why.to_owned() }
}

/// The number of images in `images`.
pub(crate) fn count(graph: &Graph, batch: usize, images: &[f32]) -> Result<usize, EngineError> {
    let sample = graph.input().iter().product();
    let n = images.len() / sample;
    if images.len() != n * sample || !(1..=batch).contains(&n) {
        return Err(EngineError::Images { sample, batch, got: images.len() });
    }
    Ok(n)
}

/// A value in an executor's memory as a tensor `[n, …]`.
pub(crate) fn tensor_of(executor: &Executor, node: NodeId, dims: Vec<usize>, n: usize) -> Tensor {
    let result = executor.program.results.iter().find(|(id, _)| *id == node);
    let &(_, buffer) = result.expect("the plan keeps this activation");
    tensor_in(executor, buffer, dims, n)
}

fn tensor_in(executor: &Executor, buffer: BufferId, dims: Vec<usize>, n: usize) -> Tensor {
    let mut tensor = Tensor::zeros([vec![n], dims].concat());
    channels::unpack(n, executor.value(buffer, n), tensor.data_mut());
    tensor
}

/// For each output of a maximum pooling with outputs of `size`, the index of the first maximum in its window of `map`; of
/// the last NaN, if there is one.
fn switches_of(window: &Window, map: &[f32], [h, w]: [usize; 2], size: [usize; 2]) -> Vec<u32> {
    let inside = |out: usize, axis: usize, size: usize| {
        let start = out * window.stride[axis];
        let taps = (0..window.kernel[axis]).map(move |tap| start + tap * window.dilation[axis]);
        taps.filter_map(move |at| at.checked_sub(window.pad[axis])).filter(move |&at| at < size)
    };
    let mut switches = Vec::with_capacity(size[0] * size[1]);
    for (y, x) in (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| (y, x))) {
        let cells = inside(y, 0, h).flat_map(|row| inside(x, 1, w).map(move |col| row * w + col));
        let larger = |a: usize, b: usize| {
            if map[b] > map[a] || map[b].is_nan() { b } else { a }
        };
        switches.push(cells.reduce(larger).map_or(NO_SWITCH, |cell| cell as u32));
    }
    switches
}

impl Session for CpuSession {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError> {
        let n = self.run(images, &mut |_| ())?;
        let Computed { graph, keep, .. } = &self.computed;
        let tensor = |id: NodeId| tensor_of(&self.executor, id, graph.node(id).shape().dims(), n);
        Ok(Forward {
            logits: tensor(graph.logits().id),
            kept: keep.iter().map(|&id| tensor(id)).collect(),
        })
    }

    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        let Computed { graph, signals, .. } = &self.computed;
        let Some(Signals { from, to, .. }) = signals else {
            return Err(no_purpose("the session was made without a backward pass"));
        };
        let Some((n, pieces)) = &self.last else {
            return Err(no_purpose("no forward pass went before"));
        };
        let n = *n;
        let expected = [vec![n], graph.node(*from).shape().dims()].concat();
        if seed.shape() != expected {
            return Err(EngineError::Seed { expected, got: seed.shape().to_vec() });
        }
        let _turn = self.device.turn();
        let stop = self.stop.as_ref();
        let run = Run { stop, ..Run::inference(self.device.threads(), n, seed.data()) };
        self.executor.run_back(&run, &mut outside(pieces, &mut |_| ()))?;
        let ends = to.iter().zip(&self.executor.program.signals);
        let tensors = ends.map(|(&to, end)| {
            let dims = graph.node(to).shape().dims();
            match end {
                Some(buffer) => tensor_in(&self.executor, *buffer, dims, n),
                None => Tensor::zeros([vec![n], dims].concat()),
            }
        });
        Ok(tensors.collect())
    }

    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError> {
        if self.computed.signals.is_none() {
            let why = "switches are kept by sessions with a backward pass from a node";
            return Err(no_purpose(why));
        }
        let Some((n, _)) = self.last else {
            return Err(no_purpose("no forward pass went before"));
        };
        let nodes = self.graph.nodes();
        let Some(pool) = nodes.get(pool.index()) else {
            return Err(EngineError::Node { index: pool.index(), nodes: nodes.len() });
        };
        let (Op::MaxPool2d(op), Some(node)) = (&pool.op, self.computed.graph.find(&pool.name))
        else {
            let why = "only a maximum pooling has switches".to_owned();
            return Err(EngineError::Unsupported { node: pool.name.clone(), why });
        };
        let input = self.computed.graph.node(node.inputs[0]);
        let (size, dims) = (input.shape().size(), input.shape().dims());
        let maps = tensor_of(&self.executor, input.id, dims, n);
        let maps = maps.data().chunks_exact(size[0] * size[1]);
        let of_map = |map| switches_of(&op.window, map, size, node.shape().size());
        Ok(maps.flat_map(of_map).collect())
    }
}
