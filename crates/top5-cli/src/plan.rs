//! `top5 plan`: how a network would run, without running it.

use anyhow::Result;
use serde::Serialize;
use top5::{Mode, PlannedStep, Summary, zoo};

use crate::args::PlanArgs;
use crate::output::Output;

/// The document of `--json`.
#[derive(Serialize)]
struct Plan {
    network: &'static str,
    /// `inference` or `training`.
    mode: &'static str,
    isa: &'static str,
    threads: usize,
    batch: usize,
    steps: Vec<Step>,
    /// Bytes of all activations (and gradients) together.
    activation_bytes: u64,
    /// Bytes that they would take if none shared memory.
    unshared_bytes: u64,
    /// Bytes of the parameters (and of their gradients and momenta).
    parameter_bytes: u64,
}

#[derive(Serialize)]
struct Step {
    layer: String,
    kernel: String,
    fused: String,
    bytes: u64,
    macs: u64,
    why: Option<String>,
    candidates: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &PlanArgs, output: Output) -> Result<()> {
    let network = zoo::network(&args.network)?;
    let mode = if args.train { Mode::Training } else { Mode::Inference };
    let plan = top5::plan(&network.graph()?, args.batch, mode, &args.engine.plan_options()?)?;
    if !output.json {
        return output.text(&plan.to_string());
    }
    let Summary { isa, threads, batch, steps, arena, unshared, parameters } = plan;
    output.document(&Plan {
        network: network.name,
        mode: if args.train { "training" } else { "inference" },
        isa: isa.name(),
        threads,
        batch,
        steps: steps.into_iter().map(Step::from).collect(),
        activation_bytes: arena,
        unshared_bytes: unshared,
        parameter_bytes: parameters,
    })
}

impl From<PlannedStep> for Step {
    fn from(step: PlannedStep) -> Self {
        let PlannedStep { layer, kernel, fused, bytes, macs, choice } = step;
        let (why, candidates) = match choice {
            Some(choice) => (Some(choice.why), choice.candidates),
            None => (None, Vec::new()),
        };
        Self { layer, kernel, fused, bytes, macs, why, candidates }
    }
}
