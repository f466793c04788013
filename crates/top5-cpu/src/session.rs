//! A session: a plan for inference with its memory, and the network whose parameters it reads.

use crate::bank::ParamMemory;
use crate::device::CpuDevice;
use crate::network::CpuNetwork;
use crate::purpose::Mode;
use crate::run::Machine;
use crate::step::{Outside, Run};
use crate::summary::Summary;
use top5_graph::{
    Backward, EngineError, Forward, Graph, NodeId, Purpose, Session, SessionOptions, Statistics,
    Stop, Tensor,
};
use top5_kernels::channels;

/// A session on the CPU.
pub struct CpuSession {
    device: CpuDevice,
    network: CpuNetwork,
    /// The form as it was given.
    graph: Graph,
    /// What of it is computed.
    computed: Graph,
    machine: Machine,
    summary: Summary,
    /// For each slot of the plan, the form that the network lends.
    keys: Vec<String>,
    batch: usize,
    /// Nodes of the computed graph.
    keep: Vec<NodeId>,
    stop: Option<Stop>,
}

/// Of these nodes, the ones in the graph that computes them: without auxiliary heads, unless one is asked for.
fn computed(graph: &Graph, nodes: &[NodeId]) -> Result<(Graph, Vec<NodeId>), EngineError> {
    let len = graph.nodes().len();
    if let Some(id) = nodes.iter().find(|id| id.index() >= len) {
        return Err(EngineError::Node { index: id.index(), nodes: len });
    }
    let inference = graph.inference();
    let moved = |id: &NodeId| inference.find(&graph.node(*id).name).map(|node| node.id);
    match nodes.iter().map(moved).collect() {
        Some(moved) => Ok((inference, moved)),
        None => Ok((graph.clone(), nodes.to_vec())),
    }
}

impl CpuSession {
    pub(crate) fn new(
        device: &CpuDevice,
        network: &CpuNetwork,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Self, EngineError> {
        let Purpose { statistics, dropout, backward } = &options.purpose;
        if *statistics != Statistics::Running || *dropout || *backward == Backward::Parameters {
            let why = "a session computes as at inference; training is Device::training";
            return Err(EngineError::Purpose { why: why.to_owned() });
        }
        if let Backward::From(_) = backward {
            let why = "the CPU has no backward pass from a node yet";
            return Err(EngineError::Purpose { why: why.to_owned() });
        }
        let (computed, keep) = computed(form, &options.keep)?;
        let batch = options.batch.max(1);
        let machinery = device.machinery(batch, Mode::Inference);
        let (program, plan) = device.make(&computed, &machinery, &keep)?;
        let summary = Summary::new(&computed, &machinery, &program, &plan);
        let keys = network.pack(&program.bank)?;
        Ok(Self {
            device: device.clone(),
            network: network.clone(),
            graph: form.clone(),
            machine: Machine::new(&machinery, program, plan),
            computed,
            summary,
            keys,
            batch,
            keep,
            stop: options.stop.clone(),
        })
    }

    /// Its plan.
    pub fn summary(&self) -> &Summary {
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
        let _turn = self.device.turn();
        let pieces = self.network.lend(&self.keys);
        let run =
            Run { stop: self.stop.as_ref(), ..Run::inference(self.device.threads(), n, images) };
        let params = ParamMemory::Pieces(&pieces);
        let (gradients, reducer, measured) = (None, None, Vec::new());
        let mut outside = Outside { params, gradients, reducer, measured, before };
        self.machine.run(&run, &mut outside)?;
        Ok(n)
    }
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

/// A value in a machine's memory as a tensor `[n, …]`.
pub(crate) fn tensor_of(machine: &Machine, node: NodeId, dims: Vec<usize>, n: usize) -> Tensor {
    let result = machine.program.results.iter().find(|(id, _)| *id == node);
    let &(_, buffer) = result.expect("the plan keeps this activation");
    let mut tensor = Tensor::zeros([vec![n], dims].concat());
    channels::unpack(n, machine.value(buffer, n), tensor.data_mut());
    tensor
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
        let graph = &self.computed;
        let tensor = |id: NodeId| tensor_of(&self.machine, id, graph.node(id).shape().dims(), n);
        Ok(Forward {
            logits: tensor(graph.logits().id),
            kept: self.keep.iter().map(|&id| tensor(id)).collect(),
        })
    }

    fn backward(&mut self, _seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        let why = "the session was made without a backward pass";
        Err(EngineError::Purpose { why: why.to_owned() })
    }

    fn switches(&self, _pool: NodeId) -> Result<Vec<u32>, EngineError> {
        let why = "switches are kept by sessions with a backward pass from a node";
        Err(EngineError::Purpose { why: why.to_owned() })
    }
}
