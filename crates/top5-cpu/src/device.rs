//! The device: one pool of threads and an instruction set, shared by all that is made from it, and what it would plan.

use crate::buffer::Plan;
use crate::choose::Machinery;
use crate::geometry::layout_of;
use crate::ir::Program;
use crate::options::Options;
use crate::pass::lower;
use crate::purpose::Mode;
use crate::run::memory;
use crate::summary::PlanSummary;
use crate::turn::{Turn, Turns};
use std::sync::Arc;
use top5_graph::{EngineError, Graph, NodeId, Signals};
use top5_kernels::conv::LARGEST;
use top5_kernels::{Block, Isa, Precision, Threads, peak};

/// The CPU. Clones are one device.
///
/// It runs one step or call at a time, on all its threads; others wait, and run in the order in which they came. So a reducer
/// must not wait for another training of the same device.
#[derive(Clone)]
pub struct CpuDevice(Arc<Shared>);

struct Shared {
    /// For inference, one image at a time.
    machinery: Machinery,
    threads: Threads,
    memory_limit: Option<u64>,
    turns: Turns,
}

/// What its options say about plans, for this many threads on this instruction set. Fails if there is no bf16 with it and
/// they ask for that.
fn machinery(options: &Options, isa: Isa, threads: usize) -> Result<Machinery, EngineError> {
    let &Options { exact, compact, precision, .. } = options;
    if !isa.multiplies(precision) {
        return Err(no_bf16(isa));
    }
    let tuning = options.tuning.clone();
    let mode = Mode::Inference;
    Ok(Machinery { isa, threads, batch: 1, exact, compact, precision, tuning, mode })
}

fn no_bf16(isa: Isa) -> EngineError {
    let machine = isa.name();
    let why = format!(
        "bf16 needs a CPU with AVX-512 BF16, and this is {machine} without it; use f32, or the instruction set scalar, \
         which computes the same slowly"
    );
    EngineError::Machine { why }
}

/// The plan that a device with these options makes. The instruction set may be one that this machine lacks.
pub fn plan(
    graph: &Graph,
    batch: usize,
    mode: Mode,
    options: &Options,
) -> Result<PlanSummary, EngineError> {
    let isa = options.isa.unwrap_or_else(|| Isa::detect(options.precision));
    let machinery = machinery(options, isa, options.thread_count())?;
    summarise(graph, &machinery.for_plan(batch, mode))
}

fn summarise(graph: &Graph, machinery: &Machinery) -> Result<PlanSummary, EngineError> {
    let inference;
    let graph = match machinery.mode {
        Mode::Inference => {
            inference = graph.inference();
            &inference
        }
        Mode::Training => graph,
    };
    let (program, plan) = make(graph, machinery, &[], None)?;
    Ok(PlanSummary::new(graph, machinery, &program, &plan))
}

/// Lowers a graph and places its buffers. Fails where the batch does not fit the address space.
fn make(
    graph: &Graph,
    machinery: &Machinery,
    kept: &[NodeId],
    signals: Option<&Signals>,
) -> Result<(Program, Plan), EngineError> {
    let most = isize::MAX as usize / size_of::<Block>();
    let too_large = EngineError::Memory { needed: u64::MAX, allowed: isize::MAX as u64 };
    // The kernels can then compute the sizes of all problems.
    let largest = graph.nodes().iter().map(|node| layout_of(node.shape()).len(1)).max();
    if largest.unwrap_or(0).saturating_mul(machinery.batch) > LARGEST / 16 {
        return Err(too_large);
    }
    let program = lower(graph, machinery, kept, signals)?;
    let plan = Plan::new(&program, machinery.batch);
    if plan.len > most { Err(too_large) } else { Ok((program, plan)) }
}

impl CpuDevice {
    /// A device with its threads. Fails where the machine cannot do what the options ask for.
    pub fn new(options: &Options) -> Result<Self, EngineError> {
        let isa = options
            .isa
            .filter(|isa| isa.is_available())
            .unwrap_or_else(|| Isa::detect(options.precision));
        let start = if options.oversubscribe { Threads::oversubscribed } else { Threads::new };
        let threads = start(options.thread_count());
        let machinery = machinery(options, isa, threads.count())?;
        if !isa.can_multiply(machinery.precision) {
            return Err(no_bf16(isa));
        }
        let memory_limit = options.memory_limit;
        Ok(Self(Arc::new(Shared { machinery, threads, memory_limit, turns: Turns::default() })))
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.0.machinery.isa
    }

    /// The precision of products in use.
    pub fn precision(&self) -> Precision {
        self.0.machinery.precision
    }

    /// The number of threads in use.
    pub fn thread_count(&self) -> usize {
        self.0.threads.count()
    }

    /// Keeps all threads busy with multiply-adds on registers; returns how many floating-point operations that were. See
    /// [`top5_kernels::peak`].
    pub fn multiply_adds(&self, rounds: u32) -> u64 {
        let _turn = self.turn();
        peak::multiply_adds(self.isa(), &self.0.threads, rounds)
    }

    /// The plan that it makes.
    pub fn plan(
        &self,
        graph: &Graph,
        batch: usize,
        mode: Mode,
    ) -> Result<PlanSummary, EngineError> {
        summarise(graph, &self.machinery(batch, mode))
    }

    /// Fails if the plan needs more memory than allowed; else returns the bytes that it needs.
    pub fn memory(&self, graph: &Graph, batch: usize, mode: Mode) -> Result<u64, EngineError> {
        let needed = self.plan(graph, batch, mode)?.memory();
        self.allow(needed)?;
        Ok(needed)
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.0.threads
    }

    /// Waits until all have run who came before. A run that panicked leaves nothing half-done behind: its memory is its own.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.0.turns.take()
    }

    pub(crate) fn machinery(&self, batch: usize, mode: Mode) -> Machinery {
        self.0.machinery.for_plan(batch, mode)
    }

    /// Plans a graph as it is, and fails where that needs more memory than allowed.
    pub(crate) fn make(
        &self,
        graph: &Graph,
        machinery: &Machinery,
        kept: &[NodeId],
        signals: Option<&Signals>,
    ) -> Result<(Program, Plan), EngineError> {
        let (program, plan) = make(graph, machinery, kept, signals)?;
        self.allow(memory(&program, &plan, machinery.mode).iter().sum())?;
        Ok((program, plan))
    }

    fn allow(&self, needed: u64) -> Result<(), EngineError> {
        match self.0.memory_limit {
            Some(allowed) if needed > allowed => Err(EngineError::Memory { needed, allowed }),
            Some(_) | None => Ok(()),
        }
    }
}
