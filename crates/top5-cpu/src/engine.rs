//! The engine: plans for inference and training, and the parameters between them.

use crate::choose::Machinery;
use crate::lower::{Mode, Program, layout_of, lower};
use crate::plan::Plan;
use crate::run::{Machine, Run, memory};
use crate::summary::Summary;
use crate::tuning::Tuning;
use std::collections::BTreeMap;
use top5_graph::{
    Engine, EngineError, Forward, Graph, Loss, NodeId, Sgd, StepOptions, Tensor, Weights,
};
use top5_kernels::bf16::Bf16Isa;
use top5_kernels::elementwise::SgdStep;
use top5_kernels::{Arena, Block, Isa, Threads, channels, peak};

/// How the engine is to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The instruction set; the best available one if none is given.
    pub isa: Option<Isa>,
    /// Number of threads; as many as the machine runs at once if none is given. Results do not depend on it.
    pub threads: Option<usize>,
    /// Direct convolution only: a little more exact, and slower.
    pub exact: bool,
    /// The precision of products.
    pub precision: Precision,
    /// Most bytes that the parameters and activations of one plan may take.
    pub memory_limit: Option<u64>,
    /// Kernels for inference chosen by measurement.
    pub tuning: Tuning,
}

/// How precise products of convolutions and linear layers are. Sums are in f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits.
    #[default]
    F32,
    /// 8 bits, of inputs and weights: where that is faster than Winograd in f32. Inference stores the activations between
    /// layers in 8 bits as well, also those that a caller asks for. Training rounds what it multiplies, forward and backward,
    /// and keeps sums, weights, activations and gradients in f32. The CPU must multiply bf16 itself, or the instruction set
    /// be [`Isa::Scalar`], which does the same slowly.
    Bf16,
}

impl Precision {
    /// Its name in options: `f32`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Options {
    /// What they say about plans, for this many threads and images on this instruction set. Fails if there is no bf16
    /// with it and they ask for that.
    fn machinery(
        &self,
        isa: Isa,
        threads: usize,
        batch: usize,
        mode: Mode,
    ) -> Result<Machinery, EngineError> {
        let bf16 = match self.precision {
            Precision::F32 => None,
            Precision::Bf16 => Some(Bf16Isa::of(isa).ok_or_else(|| no_bf16(isa))?),
        };
        let (exact, tuning) = (self.exact, self.tuning.clone());
        let batch = batch.max(1);
        Ok(Machinery { isa, threads, batch, exact, bf16, tuning, mode })
    }

    fn thread_count(&self) -> usize {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.unwrap_or_else(available).max(1)
    }
}

fn no_bf16(isa: Isa) -> EngineError {
    let machine = isa.name();
    let why = format!(
        "bf16 needs a CPU with AVX-512 BF16, and this is {machine} without it; use f32, or the instruction set scalar, \
         which computes the same slowly"
    );
    EngineError::Machine { why }
}

/// The plan that an engine with these options makes. The instruction set may be one that this machine lacks.
pub fn plan(
    graph: &Graph,
    batch: usize,
    mode: Mode,
    options: &Options,
) -> Result<Summary, EngineError> {
    let isa = options.isa.unwrap_or_else(Isa::detect);
    let machinery = options.machinery(isa, options.thread_count(), batch, mode)?;
    match mode {
        Mode::Inference => summarise(&graph.inference(), &machinery),
        Mode::Training => summarise(graph, &machinery),
    }
}

fn summarise(graph: &Graph, machinery: &Machinery) -> Result<Summary, EngineError> {
    let (program, plan) = make(graph, machinery, &[])?;
    Ok(Summary::new(graph, machinery, &program, &plan))
}

/// Lowers a graph and places its buffers. Fails where the batch does not fit the address space.
fn make(
    graph: &Graph,
    machinery: &Machinery,
    kept: &[NodeId],
) -> Result<(Program, Plan), EngineError> {
    let most = isize::MAX as usize / size_of::<Block>();
    let too_large = EngineError::Memory { needed: u64::MAX, allowed: isize::MAX as u64 };
    // Kernels multiply the batch by no more than the blocks of an activation and a small number.
    let largest = graph.nodes().iter().map(|node| layout_of(node.shape()).len(1)).max();
    if largest.unwrap_or(0).saturating_mul(machinery.batch) > most {
        return Err(too_large);
    }
    let program = lower(graph, machinery, kept)?;
    let plan = Plan::new(&program, machinery.batch);
    if plan.len > most { Err(too_large) } else { Ok((program, plan)) }
}

/// Runs a graph on the CPU. Plans are made, and their memory is taken, when they are first needed.
pub struct CpuEngine {
    graph: Graph,
    /// The graph without auxiliary heads.
    inference_graph: Graph,
    /// For inference.
    machinery: Machinery,
    threads: Threads,
    memory_limit: Option<u64>,
    /// The parameters, while there is no training plan.
    weights: Weights,
    inference: Option<Inference>,
    training: Option<Training>,
}

struct Inference {
    machine: Machine,
    /// Activations of the inference graph that the plan keeps.
    kept: Vec<NodeId>,
    /// The parameters have changed since they were loaded.
    stale: bool,
}

struct Training {
    machine: Machine,
    momenta: Arena,
}

impl CpuEngine {
    /// An engine for up to `batch` images at once, with all parameters zero. Fails where the graph cannot be run for
    /// inference in the memory allowed.
    pub fn new(graph: Graph, batch: usize, options: &Options) -> Result<Self, EngineError> {
        let isa = options.isa.filter(|isa| isa.is_available()).unwrap_or_else(Isa::detect);
        let zeros = |shape: &[usize]| Tensor::zeros(shape);
        let weights = graph.params().map(|(name, param)| (name, zeros(&param.shape))).collect();
        let threads = Threads::new(options.thread_count());
        let machinery = options.machinery(isa, threads.count(), batch, Mode::Inference)?;
        if machinery.bf16.is_some_and(|bf16| !bf16.is_available()) {
            return Err(no_bf16(isa));
        }
        let engine = Self {
            inference_graph: graph.inference(),
            graph,
            machinery,
            threads,
            memory_limit: options.memory_limit,
            weights,
            inference: None,
            training: None,
        };
        engine.allow(engine.inference_summary()?.memory())?;
        Ok(engine)
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.machinery.isa
    }

    /// The precision of products in use.
    pub fn precision(&self) -> Precision {
        if self.machinery.bf16.is_some() { Precision::Bf16 } else { Precision::F32 }
    }

    /// The number of threads in use.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    fn plan(&self, mode: Mode, kept: &[NodeId]) -> Result<Machine, EngineError> {
        let graph = match mode {
            Mode::Inference => &self.inference_graph,
            Mode::Training => &self.graph,
        };
        let machinery = self.machinery.in_mode(mode);
        let (program, plan) = make(graph, &machinery, kept)?;
        self.allow(memory(&program, &plan, mode).iter().sum())?;
        Ok(Machine::new(&machinery, program, plan))
    }

    /// The plan for inference.
    pub fn inference_summary(&self) -> Result<Summary, EngineError> {
        summarise(&self.inference_graph, &self.machinery)
    }

    /// The plan for training.
    pub fn training_summary(&self) -> Result<Summary, EngineError> {
        summarise(&self.graph, &self.machinery.in_mode(Mode::Training))
    }

    /// Fails if training cannot be planned or needs more memory than allowed; else returns the bytes that it needs.
    pub fn training_memory(&self) -> Result<u64, EngineError> {
        let needed = self.training_summary()?.memory();
        self.allow(needed)?;
        Ok(needed)
    }

    fn allow(&self, needed: u64) -> Result<(), EngineError> {
        match self.memory_limit {
            Some(allowed) if needed > allowed => Err(EngineError::Memory { needed, allowed }),
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps all threads busy with multiply-adds on registers; returns how many floating-point operations that were. See
    /// [`top5_kernels::peak`].
    pub fn multiply_adds(&self, rounds: u32) -> u64 {
        peak::multiply_adds(self.machinery.isa, &self.threads, rounds)
    }

    /// Runs inference as [`Engine::forward`] does, for its duration: `before` is called with the number of each step of
    /// [`CpuEngine::inference_summary`] before it, and with their number at the end.
    pub fn trace(
        &mut self,
        images: &[f32],
        before: &mut dyn FnMut(usize),
    ) -> Result<(), EngineError> {
        let n = self.count(images)?;
        self.inference(&[])?;
        let machine = &mut self.inference.as_mut().expect("made above").machine;
        let threads = &self.threads;
        machine.run(&Run { threads, n, images, labels: &[], smoothing: 0.0, seed: 0 }, before);
        Ok(())
    }

    /// Runs [`Engine::gradients`] for its duration, and calls `before` as [`CpuEngine::trace`] does, with the steps of
    /// [`CpuEngine::training_summary`].
    pub fn trace_gradients(
        &mut self,
        images: &[f32],
        labels: &[u32],
        options: &StepOptions,
        before: &mut dyn FnMut(usize),
    ) -> Result<Loss, EngineError> {
        let n = self.count(images)?;
        if labels.len() != n {
            return Err(EngineError::Labels { expected: n, got: labels.len() });
        }
        let outputs = self.graph.outputs().iter().map(|o| self.graph.node(o.node));
        let classes = outputs.map(|node| node.shape().channels()).min().unwrap_or(0);
        let wrong = labels.iter().position(|&label| label as usize >= classes);
        if let Some(index) = wrong {
            return Err(EngineError::Label { index, label: labels[index], classes });
        }
        self.training()?;
        if let Some(inference) = &mut self.inference {
            // Running statistics change.
            inference.stale = true;
        }
        let machine = &mut self.training.as_mut().expect("made above").machine;
        let StepOptions { label_smoothing: smoothing, seed } = *options;
        let run = Run { threads: &self.threads, n, images, labels, smoothing, seed };
        let value = machine.run(&run, before);
        let logits = self.graph.logits();
        let logits = tensor_of(machine, logits.id, vec![self.graph.classes()], n);
        Ok(Loss { value, logits })
    }

    /// The number of images in `images`.
    fn count(&self, images: &[f32]) -> Result<usize, EngineError> {
        let sample = self.graph.input().iter().product();
        let n = images.len() / sample;
        if images.len() != n * sample || !(1..=self.batch()).contains(&n) {
            return Err(EngineError::Images { sample, batch: self.batch(), got: images.len() });
        }
        Ok(n)
    }

    /// The inference plan, keeping at least these activations, with today's parameters.
    fn inference(&mut self, keep: &[NodeId]) -> Result<&mut Inference, EngineError> {
        let kept = |inference: &Inference| keep.iter().all(|id| inference.kept.contains(id));
        if !self.inference.as_ref().is_some_and(kept) {
            let machine = self.plan(Mode::Inference, keep)?;
            self.inference = Some(Inference { machine, kept: keep.to_vec(), stale: true });
        }
        if self.inference.as_ref().is_some_and(|inference| inference.stale) {
            let trained = self.training.is_some().then(|| self.weights());
            if let Some(inference) = &mut self.inference {
                inference
                    .machine
                    .bank
                    .load(&self.threads, trained.as_ref().unwrap_or(&self.weights));
                inference.stale = false;
            }
        }
        Ok(self.inference.as_mut().expect("made above"))
    }

    fn training(&mut self) -> Result<&mut Training, EngineError> {
        if self.training.is_none() {
            let mut machine = self.plan(Mode::Training, &[])?;
            machine.bank.load(&self.threads, &self.weights);
            self.weights = Weights::new();
            let momenta = Arena::new(machine.program.learned);
            self.training = Some(Training { machine, momenta });
        }
        Ok(self.training.as_mut().expect("made above"))
    }

    /// The shapes of all parameters, or of the learned ones.
    fn shapes(&self, learned: bool) -> BTreeMap<String, &[usize]> {
        let wanted = self.graph.params().filter(|(_, param)| param.learned || !learned);
        wanted.map(|(name, param)| (name, param.shape.as_slice())).collect()
    }

    /// A buffer laid out like the learned parameters, by name.
    fn learned(&self, values: impl Fn(&Training) -> &[Block]) -> Weights {
        let shapes = self.shapes(true);
        match &self.training {
            Some(training) => training.machine.bank.store(values(training), &shapes),
            None => shapes.into_iter().map(|(name, shape)| (name, Tensor::zeros(shape))).collect(),
        }
    }
}

/// A value in a machine's memory as a tensor `[n, …]`.
fn tensor_of(machine: &Machine, node: NodeId, dims: Vec<usize>, n: usize) -> Tensor {
    let result = machine.program.results.iter().find(|(id, _)| *id == node);
    let &(_, buffer) = result.expect("the plan keeps this activation");
    let mut tensor = Tensor::zeros([vec![n], dims].concat());
    channels::unpack(n, machine.value(buffer, n), tensor.data_mut());
    tensor
}

impl Engine for CpuEngine {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.machinery.batch
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        if let Some(training) = &mut self.training {
            training.machine.bank.load(&self.threads, weights);
            training.momenta.fill(Block::ZERO);
        } else {
            self.weights = weights.clone();
        }
        if let Some(inference) = &mut self.inference {
            inference.stale = true;
        }
        Ok(())
    }

    fn weights(&self) -> Weights {
        match &self.training {
            Some(Training { machine, .. }) => {
                machine.bank.store(&machine.bank.values, &self.shapes(false))
            }
            None => self.weights.clone(),
        }
    }

    fn forward(&mut self, images: &[f32], keep: &[NodeId]) -> Result<Forward, EngineError> {
        let n = self.count(images)?;
        let keep = keep
            .iter()
            .map(|&id| {
                let name = &self.graph.node(id).name;
                self.inference_graph.find(name).map(|node| node.id).ok_or_else(|| {
                    let why = "it is part of an auxiliary head, which only training runs";
                    EngineError::Unsupported { node: name.clone(), why: why.to_owned() }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.inference(&keep)?;
        let machine = &mut self.inference.as_mut().expect("made above").machine;
        let threads = &self.threads;
        machine.run(&Run { threads, n, images, labels: &[], smoothing: 0.0, seed: 0 }, &mut |_| ());
        let graph = &self.inference_graph;
        let tensor = |id: NodeId| tensor_of(machine, id, graph.node(id).shape().dims(), n);
        Ok(Forward {
            logits: tensor(graph.logits().id),
            kept: keep.into_iter().map(tensor).collect(),
        })
    }

    fn gradients(
        &mut self,
        images: &[f32],
        labels: &[u32],
        options: &StepOptions,
    ) -> Result<Loss, EngineError> {
        self.trace_gradients(images, labels, options, &mut |_| ())
    }

    fn gradient_buffer(&mut self) -> &mut [f32] {
        match &mut self.training {
            Some(training) => Block::flat_mut(&mut training.machine.gradients),
            None => &mut [],
        }
    }

    fn gradient_tensors(&self) -> Weights {
        self.learned(|training| &training.machine.gradients)
    }

    fn update(&mut self, sgd: &Sgd) {
        let Some(Training { machine, momenta }) = &mut self.training else { return };
        let &Sgd { lr, momentum, weight_decay: decay, nesterov } = sgd;
        let learned = &mut machine.bank.values[..machine.program.learned];
        let step = SgdStep { lr, momentum, decay, nesterov };
        step.run(self.machinery.isa, &self.threads, learned, momenta, &machine.gradients);
        if let Some(inference) = &mut self.inference {
            inference.stale = true;
        }
    }

    fn momenta(&self) -> Weights {
        self.learned(|training| &training.momenta)
    }

    fn load_momenta(&mut self, momenta: &Weights) -> Result<(), EngineError> {
        momenta.check_learned(&self.graph)?;
        self.training()?;
        let Training { machine, momenta: buffer } = self.training.as_mut().expect("made above");
        machine.bank.pack_into(&self.threads, momenta, buffer);
        Ok(())
    }
}
