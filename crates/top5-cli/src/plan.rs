//! `top5 plan`: how a network would run, without running it.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::zoo::{self, Network};
use top5::{Mode, Options, PlanSummary, PlannedStep};

use crate::args::{TunedArgs, positive};
use crate::output::Output;

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The network's name
    pub(crate) network: String,
    /// Most images at once
    #[arg(long, short, visible_alias = "batch-size", value_name = "N", default_value = "1")]
    #[arg(value_parser = positive)]
    pub(crate) batch: usize,
    /// The plan of a training step
    #[arg(long)]
    pub(crate) train: bool,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

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

/// The command, resolved.
pub(crate) struct Task {
    network: &'static Network,
    batch: usize,
    mode: Mode,
    options: Options,
}

impl Task {
    pub(crate) fn resolve(args: PlanArgs) -> Result<Self> {
        Ok(Self {
            network: zoo::network(&args.network)?,
            batch: args.batch,
            mode: if args.train { Mode::Training } else { Mode::Inference },
            options: args.engine.plan_options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { network, batch, mode, options } = self;
        let plan = top5::plan(&network.graph()?, batch, mode, &options)?;
        if !output.json {
            return output.text(&plan.to_string());
        }
        let PlanSummary { isa, threads, batch, steps, arena, unshared, parameters } = plan;
        output.document(&Plan {
            network: network.name,
            mode: match mode {
                Mode::Inference => "inference",
                Mode::Training => "training",
            },
            isa: isa.name(),
            threads,
            batch,
            steps: steps.into_iter().map(Step::from).collect(),
            activation_bytes: arena,
            unshared_bytes: unshared,
            parameter_bytes: parameters,
        })
    }
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
