//! `top5 tune`: measures every kernel that can run each layer and saves which is the fastest.
//!
//! A kernel is timed where it will work: within the whole network, whose other layers push its weights out of the caches
//! just as far as they will later. So each candidate gets a session, in which every layer runs the first, second, …
//! kernel that it can, and the sessions take turns.
//!
//! What the cost model predicted is compared with what was measured: it tells the time of a kernel as a share of direct
//! convolution's, so that the measured time of that makes it milliseconds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::graph::random::Stream;
use top5::graph::{Graph, Retain, SessionOptions, counted};
use top5::train::initialise;
use top5::zoo::{self, Network as Registered};
use top5::{LayerShape, Options, PlanSummary, Tuning};

use crate::args::{EngineArgs, parse_seconds, positive};
use crate::bench::{SEED, percent};
use crate::memory::{self, limited};
use crate::output::{Kind, Output};
use crate::table::{self, Column};
use crate::timing::{Laps, Spread, digits};
use crate::tuning;

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The networks
    #[arg(required = true)]
    pub(crate) networks: Vec<String>,
    /// Images at once; several sizes are measured one after the other
    #[arg(long, short, visible_alias = "batch-size", value_name = "N,…", default_value = "1")]
    #[arg(value_delimiter = ',', value_parser = positive)]
    pub(crate) batch: Vec<usize>,
    /// The file to write; what it already knows is kept, but for the shapes that are measured now
    #[arg(long, short, value_name = "FILE", default_value = "tuning.json")]
    pub(crate) out: PathBuf,
    /// Forget what the file already knows
    #[arg(long)]
    pub(crate) anew: bool,
    /// For how long each network is measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Fewest rounds in which each session runs once.
const ROUNDS: usize = 7;

/// The document of `--json`.
#[derive(Serialize)]
struct Tuned {
    file: String,
    networks: Vec<Network>,
    cost_model: CostModel,
}

/// How far the cost model is off, over all networks and batches.
#[derive(Serialize)]
struct CostModel {
    predictions: usize,
    /// Of |predicted / measured − 1|; `None` without predictions.
    median_error: Option<f64>,
    /// Those that are furthest off.
    worst: Vec<Prediction>,
}

/// The time of a kernel for all layers of one shape.
#[derive(Clone, Serialize)]
struct Prediction {
    network: String,
    batch: usize,
    layer: String,
    kernel: String,
    predicted_ms: f64,
    measured_ms: f64,
}

/// How many of the worst predictions are shown.
const WORST: usize = 10;

const PREDICTED: [Column; 6] = [
    ("network, batch", false),
    ("layer", false),
    ("kernel", false),
    ("predicted ms", true),
    ("measured ms", true),
    ("ratio", true),
];

#[derive(Serialize)]
struct Network {
    network: String,
    batch: usize,
    shapes: Vec<Shape>,
    /// Milliseconds of all layers that have a choice, as the cost model chooses and as measured.
    modelled_ms: f64,
    tuned_ms: f64,
}

/// The layers of one shape, together.
#[derive(Serialize)]
struct Shape {
    layers: Vec<String>,
    modelled: String,
    fastest: String,
    /// Milliseconds by kernel.
    kernels: BTreeMap<String, f64>,
    /// The same as the cost model has it, for all but direct convolution.
    predicted: BTreeMap<String, f64>,
}

const COLUMNS: [Column; 6] = [
    ("layers", false),
    ("cost model", false),
    ("ms", true),
    ("fastest", false),
    ("ms", true),
    ("of the model's", true),
];

/// The command, resolved.
pub(crate) struct Task {
    networks: Vec<&'static Registered>,
    batches: Vec<usize>,
    /// How long each network is measured at each batch size.
    budget: Duration,
    options: Options,
    /// What the file already knows.
    tuning: Tuning,
    file: PathBuf,
}

impl Task {
    pub(crate) fn resolve(args: TuneArgs) -> Result<Self> {
        let known = args.out.exists() && !args.anew;
        let networks = args.networks.iter().map(|name| zoo::network(name));
        Ok(Self {
            networks: networks.collect::<Result<_, _>>()?,
            batches: args.batch,
            budget: Duration::from_secs_f64(args.seconds),
            options: args.engine.options()?,
            tuning: if known { tuning::read(&args.out)? } else { Tuning::default() },
            file: args.out,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { networks, batches, budget, options, mut tuning, file } = self;
        output.check_file(&file, Kind::Tuning)?;
        let options = limited(options);
        let mut tuned = Vec::new();
        for network in networks {
            let graph = network.graph()?.inference();
            for &batch in &batches {
                output.detail(&format!("measuring {}, batch {batch}", network.name));
                tuned.push(tune(&graph, batch, &options, budget, &mut tuning)?);
                // So that it is kept where a later one is stopped.
                tuning::write(&file, &tuning, Output { quiet: true, ..output })?;
            }
        }
        let file = file.display().to_string();
        output.note(&format!("written: {file}"));
        let cost_model = CostModel::of(&tuned);
        if output.json {
            return output.document(&Tuned { file, networks: tuned, cost_model });
        }
        for network in &tuned {
            output.text(&network.text())?;
        }
        output.text(&cost_model.text())?;
        output.note(&format!("use it as --tuning {file}"));
        Ok(())
    }
}

/// Measures one network and adds what is the fastest to `tuning`.
fn tune(
    graph: &Graph,
    batch: usize,
    options: &Options,
    budget: Duration,
    tuning: &mut Tuning,
) -> Result<Network> {
    // Earlier choices must not be taken for the model's.
    let options = Options { tuning: Tuning::default(), ..options.clone() };
    let modelled = top5::plan(graph, batch, top5::Mode::Inference, &options)?;
    let most =
        modelled.steps.iter().filter_map(|step| Some(step.choice.as_ref()?.candidates.len()));
    let rank = |rank: usize| {
        let mut options = options.clone();
        for choice in modelled.steps.iter().filter_map(|step| step.choice.as_ref()) {
            if let Some(kernel) = choice.candidates.get(rank) {
                options.tuning.choose(choice.shape, kernel);
            }
        }
        options
    };
    let ranked: Vec<Options> = (0..most.max().unwrap_or(0)).map(rank).collect();
    // All of them are in memory at once.
    let mut needed = memory::of_inputs(batch, graph.input());
    for options in &ranked {
        let plan = top5::plan(graph, batch, top5::Mode::Inference, options)?;
        needed = needed.saturating_add(plan.memory());
    }
    let what = format!("measuring {} kernels per layer, batch {batch},", ranked.len());
    memory::check_batch(needed, &what)?;
    memory::check_parameters(graph, 2)?;
    let weights = initialise(graph, SEED);
    let mut trials = Vec::new();
    for options in ranked {
        let device = top5::device(&options)?;
        let network = device.cpu_network(graph, weights.clone(), Retain::Nothing)?;
        let session = network.cpu_session(graph, &SessionOptions::inference(batch))?;
        trials.push((session, Laps::default()));
    }
    drop(weights);
    // After the sessions, which refuse a batch that does not fit.
    let mut stream = Stream::new(SEED, 0);
    let count = batch * graph.input().iter().product::<usize>();
    let images: Vec<f32> = (0..count).map(|_| stream.normal()).collect();
    let begin = Instant::now();
    let mut rounds = 0;
    while rounds < ROUNDS || begin.elapsed() < budget {
        for (session, laps) in &mut trials {
            // The first pass of a turn finds the other session's data in the caches.
            session.trace(&images, &mut |_| ())?;
            session.trace(&images, &mut |step| laps.begin(step))?;
            laps.end();
        }
        rounds += 1;
    }
    let mut measured = Measured::default();
    for (session, laps) in trials {
        measured.add(session.summary(), laps);
    }
    Ok(measured.choose(graph, &modelled, tuning))
}

/// Milliseconds by shape and kernel, over all layers of the shape.
#[derive(Default)]
struct Measured {
    times: BTreeMap<LayerShape, BTreeMap<String, f64>>,
}

impl Measured {
    fn add(&mut self, plan: &PlanSummary, laps: Laps) {
        let mut times: BTreeMap<(LayerShape, String), f64> = BTreeMap::new();
        for (step, Spread { median, .. }) in plan.steps.iter().zip(laps.spreads()) {
            if let Some(choice) = &step.choice {
                *times.entry((choice.shape, step.kernel.clone())).or_default() += median;
            }
        }
        for ((shape, kernel), ms) in times {
            // A layer with few candidates runs the model's choice in several sessions.
            let best = self.times.entry(shape).or_default().entry(kernel).or_insert(ms);
            *best = best.min(ms);
        }
    }

    fn choose(self, graph: &Graph, modelled: &PlanSummary, tuning: &mut Tuning) -> Network {
        let mut shapes = Vec::new();
        let (mut modelled_ms, mut tuned_ms) = (0.0, 0.0);
        for (shape, kernels) in self.times {
            let of_shape = modelled
                .steps
                .iter()
                .filter(|step| step.choice.as_ref().is_some_and(|choice| choice.shape == shape));
            let (Some(first), Some((fastest, ms))) =
                (of_shape.clone().next(), kernels.iter().min_by(|a, b| a.1.total_cmp(b.1)))
            else {
                continue;
            };
            if kernels.len() < 2 {
                continue;
            }
            let choice = first.choice.as_ref();
            let costs = choice.into_iter().flat_map(|it| it.candidates.iter().zip(&it.costs));
            let direct = choice.and_then(|it| kernels.get(it.candidates.first()?).copied());
            let predict = |(kernel, cost): (&String, &f64)| Some((kernel.clone(), direct? * cost));
            let predicted = costs.skip(1).filter_map(predict).collect();
            tuning.choose(shape, fastest);
            modelled_ms += kernels.get(&first.kernel).copied().unwrap_or(*ms);
            tuned_ms += ms;
            shapes.push(Shape {
                layers: of_shape.map(|step| step.layer.clone()).collect(),
                modelled: first.kernel.clone(),
                fastest: fastest.clone(),
                kernels,
                predicted,
            });
        }
        let network = graph.name().to_owned();
        Network { network, batch: modelled.batch, shapes, modelled_ms, tuned_ms }
    }
}

impl CostModel {
    fn of(networks: &[Network]) -> Self {
        let mut all = Vec::new();
        for Network { network, batch, shapes, .. } in networks {
            for shape in shapes {
                for (kernel, &predicted_ms) in &shape.predicted {
                    let Some(&measured_ms) = shape.kernels.get(kernel) else { continue };
                    let layer = shape.layers.first().cloned().unwrap_or_default();
                    let (network, batch, kernel) = (network.clone(), *batch, kernel.clone());
                    all.push(Prediction {
                        network,
                        batch,
                        layer,
                        kernel,
                        predicted_ms,
                        measured_ms,
                    });
                }
            }
        }
        all.sort_by(|a, b| b.error().total_cmp(&a.error()));
        let median_error = all.get(all.len() / 2).map(Prediction::error);
        Self { predictions: all.len(), median_error, worst: all.into_iter().take(WORST).collect() }
    }

    fn text(&self) -> String {
        let Some(median) = self.median_error else { return String::new() };
        let row = |it: &Prediction| {
            let at = format!("{}, {}", it.network, it.batch);
            let [predicted, measured] = [it.predicted_ms, it.measured_ms].map(digits);
            let ratio = format!("{:.2}", it.predicted_ms / it.measured_ms);
            [at, it.layer.clone(), it.kernel.clone(), predicted, measured, ratio]
        };
        let rows: Vec<_> = self.worst.iter().map(row).collect();
        format!(
            "cost model: {}, median error {}; the worst:\n\n{}",
            counted(self.predictions, "prediction"),
            percent(median),
            table::aligned(PREDICTED, &rows)
        )
    }
}

impl Prediction {
    /// By how much of the measured time the prediction is off.
    fn error(&self) -> f64 {
        if self.measured_ms > 0.0 {
            (self.predicted_ms / self.measured_ms - 1.0).abs()
        } else {
            0.0
        }
    }
}

impl Network {
    fn text(&self) -> String {
        let row = |shape: &Shape| {
            let [modelled, fastest] = [&shape.modelled, &shape.fastest]
                .map(|kernel| shape.kernels.get(kernel).copied().unwrap_or_default());
            let layers = match shape.layers.as_slice() {
                [first, _, ..] => format!("{first} and {} more", shape.layers.len() - 1),
                [..] => shape.layers.concat(),
            };
            let ratio = percent(if modelled > 0.0 { fastest / modelled } else { 1.0 });
            let [model, fast] = [&shape.modelled, &shape.fastest].map(String::clone);
            [layers, model, digits(modelled), fast, digits(fastest), ratio]
        };
        let rows: Vec<_> = self.shapes.iter().map(row).collect();
        let Self { network, batch, modelled_ms, tuned_ms, .. } = self;
        format!(
            "{network}, batch {batch}\n\n{}\nlayers with a choice: {} ms as modelled, {} ms tuned\n",
            table::aligned(COLUMNS, &rows),
            digits(*modelled_ms),
            digits(*tuned_ms)
        )
    }
}
