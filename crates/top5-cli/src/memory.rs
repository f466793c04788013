//! How much memory a command may take, and what training takes beside its plan: asked before anything is taken.

use std::path::Path;
use std::thread;

use anyhow::Result;
use top5::data::Loader;
use top5::graph::Graph;
use top5::train::Recipe;
use top5::{CpuDevice, Mode, Model, Options, WeightFiles};

use crate::exit::Stop;
use crate::limits;

/// Most threads that read images unless a number is given.
const LOADERS: usize = 32;

/// Threads that read images: each holds a decoded one.
pub(crate) fn readers(options: &Options) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from).min(LOADERS);
    options.threads.unwrap_or_else(cores)
}

/// The options with what is available now as the limit, where they have none, and with no more than there is at all.
pub(crate) fn limited(options: Options) -> Options {
    within(options, 0, 0)
}

/// The same for a plan beside which so many bytes are taken, and which takes over this graph's weights, that are there already.
pub(crate) fn limited_beside(options: Options, bytes: u64, graph: &Graph) -> Options {
    let [held, _] = parameters(graph);
    within(options, bytes, held)
}

fn within(options: Options, beside: u64, held: u64) -> Options {
    // Those that read images, and the one that moves the bar.
    let memory = limits::memory(readers(&options) + 1);
    let of_plan = |most: u64| most.saturating_add(held).saturating_sub(beside);
    let memory_limit = match (options.memory_limit, memory.most.map(of_plan)) {
        (Some(given), Some(most)) => Some(given.min(most)),
        (Some(given), None) => Some(given),
        (None, _) => memory.available.map(of_plan),
    };
    Options { memory_limit, ..options }
}

/// Bytes that may be taken now, as far as is known.
pub(crate) fn available() -> u64 {
    limits::memory(0).available.unwrap_or(u64::MAX)
}

/// Fails where so many bytes are not available; `what` is what takes them.
pub(crate) fn check(needed: u64, what: &str) -> Result<()> {
    check_or(needed, what, "")
}

/// The same where a smaller batch takes less.
pub(crate) fn check_batch(needed: u64, what: &str) -> Result<()> {
    check_or(needed, what, "; a smaller batch takes less")
}

fn check_or(needed: u64, what: &str, hint: &str) -> Result<()> {
    let available = available();
    if needed <= available {
        return Ok(());
    }
    let message = format!(
        "{what} takes {} MiB of memory, and {} MiB are available to this process{hint}",
        needed.div_ceil(1 << 20),
        available >> 20
    );
    Err(Stop::Resource(message).into())
}

/// Fails where the weights do not fit into memory while they are read: other files than safetensors stay there beside their
/// tensors.
pub(crate) fn check_weights(files: &WeightFiles) -> Result<()> {
    let of = |path: &Path| {
        let length = path.metadata().ok().filter(|at| at.is_file()).map_or(0, |at| at.len());
        let streamed = path.extension().is_some_and(|extension| extension == "safetensors");
        length.saturating_mul(if streamed { 1 } else { 2 })
    };
    let reading = format!("reading {}", files.weights.display());
    // It is read to learn what lies beside it.
    check(of(&files.weights), &reading)?;
    let needed = files.all()?.iter().fold(0, |needed: u64, path| needed.saturating_add(of(path)));
    check(needed, &reading)
}

/// Bytes of so many inputs of this size.
pub(crate) fn of_inputs(batch: usize, input: [usize; 3]) -> u64 {
    let sides = input.into_iter().map(|side| side as u64);
    let values = sides.fold(batch as u64, u64::saturating_mul);
    values.saturating_mul(size_of::<f32>() as u64)
}

/// Fails where a network's weights are not to be had `copies` times.
pub(crate) fn check_parameters(graph: &Graph, copies: u64) -> Result<()> {
    let [all, _] = parameters(graph);
    check(all.saturating_mul(copies), &format!("{} with its weights", graph.name()))
}

/// Fails where a network whose weights are there already cannot be measured: its plan, which takes them over unless it
/// trains, and its inputs.
pub(crate) fn check_measured(graph: &Graph, batch: usize, of_plan: u64, mode: Mode) -> Result<()> {
    let [all, _] = parameters(graph);
    let held = if mode == Mode::Inference { all } else { 0 };
    let needed = of_plan.saturating_add(of_inputs(batch, graph.input())).saturating_sub(held);
    check_batch(needed, &format!("measuring {}, batch {batch}, beside its weights,", graph.name()))
}

/// Fails where the plans of several models, each for `batch` images, do not fit together. The models' weights are there already;
/// plans take them over unless they are `kept`.
pub(crate) fn check_served(
    device: &CpuDevice,
    models: &[(String, Model)],
    batch: usize,
    kept: bool,
) -> Result<()> {
    let (mut needed, mut told) = (0_u64, Vec::new());
    for (name, model) in models {
        let of_plan = device.memory(&model.graph, batch, Mode::Inference)?;
        let [all, _] = parameters(&model.graph);
        let more = of_plan.saturating_sub(if kept { 0 } else { all });
        needed = needed.saturating_add(more);
        told.push(format!("{name} ({} MiB)", more.div_ceil(1 << 20)));
    }
    check_batch(needed, &format!("serving {}", told.join(", ")))
}

/// Bytes of a graph's parameters, and of its learned ones.
fn parameters(graph: &Graph) -> [u64; 2] {
    let sum = |learned: bool| {
        let wanted = graph.params().filter(|(_, param)| param.learned || !learned);
        wanted.map(|(_, param)| param.elements() as u64 * size_of::<f32>() as u64).sum()
    };
    [sum(false), sum(true)]
}

/// What a run takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfTraining {
    /// Bytes of memory of one step's plan.
    step: u64,
    /// Bytes that the optimiser keeps, and of the plan for validation, beside it.
    beside: u64,
    /// Bytes of the weights and the optimiser's tensors in the run's state, which are written down.
    kept: u64,
    /// Bytes of images that wait.
    images: u64,
    /// Bytes of the longest file.
    pub(crate) file: u64,
}

impl OfTraining {
    pub(crate) fn new(device: &CpuDevice, graph: &Graph, recipe: &Recipe) -> Result<Self> {
        let batch = recipe.batch_size;
        let plan = |mode| device.plan(graph, batch, mode).map(|plan| plan.memory());
        let [all, learned] = parameters(graph);
        let update = recipe.update(recipe.lr, 1);
        // A plan counts the gradients and one tensor of the optimiser's.
        let states = update.states().len() as u64 * learned;
        let average = if update.ema.is_some() { all } else { 0 };
        let more = (states + average).saturating_sub(learned);
        let sample: usize = graph.input().iter().product();
        Ok(Self {
            step: plan(Mode::Training)?,
            beside: more + plan(Mode::Inference)?,
            kept: all + states + average,
            images: Loader::memory(recipe.step_images(), sample),
            file: all.max(states + average),
        })
    }

    /// Bytes of memory. What is kept is there twice while it is replaced, or becomes a file.
    pub(crate) fn memory(&self) -> u64 {
        let parts = [self.step, self.beside, 2 * self.kept, self.images];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// Fails where it is more than the process may take, or write.
    pub(crate) fn check(&self, options: &Options) -> Result<()> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        if let Some(allowed) = options.memory_limit.filter(|&allowed| self.memory() > allowed) {
            let message = format!(
                "the run needs {} MiB ({} of them for a step, {} for images that wait) and may use {} MiB; use a smaller \
                 batch or input, or an optimiser that keeps less",
                mib(self.memory()),
                mib(self.step),
                mib(self.images),
                allowed >> 20
            );
            return Err(Stop::Resource(message).into());
        }
        match limits::file_length().filter(|&most| self.file > most) {
            Some(most) => {
                let message = format!(
                    "the run writes files of {} bytes, and this process may write files of {most} bytes at most \
                     (ulimit -f)",
                    self.file
                );
                Err(Stop::Resource(message).into())
            }
            None => Ok(()),
        }
    }
}
