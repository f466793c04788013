//! Work that several processes share, started by `mpirun`. Rank 0 alone writes, and says what is to be said.
//!
//! A program without the feature `mpi` refuses to be one of several: each of them would do all of the work.

#[cfg(feature = "mpi")]
mod mpi;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use top5::graph::{Training, TrainingOptions};
use top5::train::{Event, Ranks, State, Trainer};

use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::output::{Output, say};

/// Bytes of gradients that are added at once: small enough that the first are on their way early in the backward pass.
pub(crate) const BUCKET: usize = 4 << 20;

/// Heading of the flags of several processes, in `top5 train --help` and elsewhere.
pub(crate) const RANKS: &str = "Several processes (mpirun -n N top5 …)";

/// Where the launchers say how many processes they start: Open MPI, MPICH and its kin, Slurm.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// How the processes of `mpirun` work together.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = RANKS)]
pub(crate) struct RanksArgs {
    /// How long a rank waits for the others before it ends the run
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rank_timeout: u32,
}

impl RanksArgs {
    /// How long a rank waits for the others.
    fn timeout(self) -> Duration {
        Duration::from_secs(self.rank_timeout.into())
    }
}

/// Does the work, as one of several processes where there are: those but the first say errors and warnings only. The work gets
/// the ranks where they are several. Where they are, this does not return: all processes end together, with the same code.
pub(crate) fn share(
    args: RanksArgs,
    output: Output,
    work: impl FnOnce(Option<Arc<dyn Ranks>>, Output) -> Result<()>,
) -> Result<()> {
    let Some(size) = started() else { return work(None, output) };
    joined(args, size, output, work)
}

/// How many processes the launcher started, if one did.
fn started() -> Option<usize> {
    SIZES.iter().find_map(|name| std::env::var(name).ok()?.trim().parse().ok())
}

#[cfg(feature = "mpi")]
use mpi::joined;

#[cfg(not(feature = "mpi"))]
fn joined(
    args: RanksArgs,
    size: usize,
    output: Output,
    work: impl FnOnce(Option<Arc<dyn Ranks>>, Output) -> Result<()>,
) -> Result<()> {
    if size <= 1 {
        return work(None, output);
    }
    let _ = args.timeout();
    let message = format!(
        "this is one of {size} processes, and this top5 was built without MPI: build it with `--features mpi` \
         (docs/distributed.md), or start one process"
    );
    Err(Stop::Usage(message).into())
}

/// The trainer of a rank, and how its training runs: without a flag that would stop one rank in the middle of a step.
pub(crate) fn divide(
    trainer: Trainer,
    ranks: &Arc<dyn Ranks>,
    sync_bn: bool,
    output: Output,
) -> Result<(Trainer, TrainingOptions)> {
    let whole = trainer.step_images();
    let divided = trainer.ranks(Arc::clone(ranks));
    let trainer = divided.map_err(|error| Stop::Usage(error.to_string()))?;
    output.note(&format!(
        "{} processes, each of which learns from up to {} of the {whole} images of a step{}",
        ranks.size(),
        trainer.step_images(),
        if sync_bn { " and normalises together with the others" } else { "" }
    ));
    let options = TrainingOptions::new(trainer.batch());
    Ok((trainer, TrainingOptions { bucket: BUCKET, ..options }))
}

/// Trains as rank 0 does, which writes and says everything but which images this rank could not read.
pub(crate) fn follow(
    trainer: &Trainer,
    mut training: Box<dyn Training>,
    state: State,
    interrupt: &Interrupt,
) -> Result<()> {
    interrupt.listen().context("listening for signals")?;
    let mut left_out = BTreeSet::new();
    let state = trainer.run(training.as_mut(), state, None, &mut |event| {
        if let Event::LeftOut { error } = event
            && left_out.insert(error.to_owned())
        {
            say(&format!("warning: left out: {error}"));
        }
        Ok(match interrupt.signal() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        })
    })?;
    match interrupt.signal() {
        Some(signal) if !state.is_finished() => {
            Err(Stop::Interrupted { signal, message: String::new() }.into())
        }
        Some(_) | None => Ok(()),
    }
}
