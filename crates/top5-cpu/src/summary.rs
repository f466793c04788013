//! A plan in a form for people: what `top5 plan` prints and the golden plans of the tests record.

use crate::buffer::{BufferId, Extent, Plan};
use crate::choose::Machinery;
use crate::ir::{Program, Step};
use crate::run::memory;
use crate::step::conv::{Conv, ConvInput, ConvSignal};
use crate::tuning::LayerShape;
use std::fmt;
use top5_graph::{Graph, counted};
use top5_kernels::{Block, Isa, table};

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedStep {
    /// The layer.
    pub layer: String,
    /// What runs.
    pub kernel: String,
    /// What was fused into it: `+bias +sum +relu`.
    pub fused: String,
    /// Bytes of the result, for the whole batch.
    pub bytes: u64,
    /// Multiply-accumulates of the whole batch as the layer is defined, however few the kernel needs; 0 but for
    /// convolutions and linear layers.
    pub macs: u64,
    /// The choice between kernels, if there was one to make.
    pub choice: Option<Choice>,
}

/// Why a kernel was chosen, and what could have run instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What it was chosen for.
    pub shape: LayerShape,
    /// The reason.
    pub why: String,
    /// All that can run the shape, the chosen kernel included; direct convolution in f32 first.
    pub candidates: Vec<String>,
    /// Their times as shares of the first one's, as the cost model has them.
    pub costs: Vec<f64>,
}

/// A plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanSummary {
    /// The instruction set.
    pub isa: Isa,
    /// The number of threads.
    pub threads: usize,
    /// Most images at once.
    pub batch: usize,
    /// What runs, in order.
    pub steps: Vec<PlannedStep>,
    /// Bytes of all activations (and gradients) together.
    pub arena: u64,
    /// Bytes that they would take if none shared memory.
    pub unshared: u64,
    /// Bytes of the parameters as the kernels read them, and in training of their gradients and of one tensor of the
    /// optimiser's.
    pub parameters: u64,
}

impl PlanSummary {
    pub(crate) fn new(
        graph: &Graph,
        machinery: &Machinery,
        program: &Program,
        plan: &Plan,
    ) -> Self {
        let batch = machinery.batch;
        let bytes = |id: &BufferId| {
            let buffer = &program.buffers[id.0];
            let blocks = match buffer.extent {
                // Without what lies between the images.
                Extent::Part(..) => buffer.blocks(batch * buffer.layout.len(1)),
                Extent::PerImage(_) | Extent::Fixed(_) => buffer.len(batch),
            };
            (blocks as u64).saturating_mul(size_of::<Block>() as u64)
        };
        let whole = |id: &BufferId| program.buffers.whole(*id).0 == *id;
        let steps = program.steps.iter().map(|step| PlannedStep {
            layer: graph.node(step.node).name.clone(),
            kernel: step.kernel.name(),
            fused: step.kernel.fused(),
            bytes: step.kernel.writes().next().map_or(0, |id| bytes(&id)),
            macs: if step.kernel.multiplies() {
                graph.node(step.node).spec.macs.saturating_mul(batch as u64)
            } else {
                0
            },
            choice: choice(machinery, step),
        });
        let [arena, parameters] = memory(program, plan, machinery.mode);
        Self {
            isa: machinery.isa,
            threads: machinery.threads,
            batch,
            steps: steps.collect(),
            arena,
            unshared: (0..program.buffers.len())
                .map(BufferId)
                .filter(whole)
                .map(|id| bytes(&id))
                .fold(0, u64::saturating_add),
            parameters,
        }
    }

    /// Multiply-accumulates of all steps.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|step| step.macs).fold(0, u64::saturating_add)
    }

    /// Bytes that the plan takes.
    pub fn memory(&self) -> u64 {
        self.arena + self.parameters
    }
}

/// The choice that was made for a step. Of several loop nests, which differ in their edges, the first one counts.
fn choice(machinery: &Machinery, step: &Step) -> Option<Choice> {
    let (geom, why, candidates, costs) = if let Some(conv) = step.kernel.get::<Conv>() {
        let geom = conv.kernel.problem().geom();
        let table::Choice { why, candidates, costs, .. } = machinery.forward(geom);
        (geom, why, candidates, costs)
    } else if let Some(signal) = step.kernel.get::<ConvSignal>() {
        let geom = signal.nests.first()?.kernel.problem().geom();
        let table::Choice { why, candidates, costs, .. } = machinery.forward(geom);
        (geom, why, candidates, costs)
    } else if let Some(gradient) = step.kernel.get::<ConvInput>() {
        let geom = gradient.nests.first()?.kernel.problem().geom();
        let table::Choice { why, candidates, costs, .. } = machinery.input_gradient(geom);
        (geom, why, candidates, costs)
    } else {
        return None;
    };
    Some(Choice { shape: LayerShape::new(geom, machinery.batch), why, candidates, costs })
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { isa, threads, batch, .. } = self;
        let kib = |bytes: u64| bytes.div_ceil(1024);
        writeln!(f, "{isa}, {}, batch {batch}", counted(*threads, "thread"))?;
        for PlannedStep { layer, kernel, fused, bytes, choice, .. } in &self.steps {
            let why = choice.as_ref().map_or("", |choice| &choice.why);
            let kib = kib(*bytes);
            let line = format!("{layer:<32} {kernel:<32} {fused:<18} {kib:>9} KiB  {why}");
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(
            f,
            "{}; activations {} KiB ({} KiB unshared), parameters {} KiB",
            counted(self.steps.len(), "step"),
            kib(self.arena),
            kib(self.unshared),
            kib(self.parameters)
        )
    }
}
