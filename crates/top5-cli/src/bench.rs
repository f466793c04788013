//! `top5 bench`: how fast networks run here, as a whole and layer by layer, beside the machine's peak of the same minute.

mod scaling;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::graph::random::Stream;
use top5::graph::{
    Graph, Optimizer, Retain, Session, SessionOptions, Sgd, StepOptions, Targets, Training,
    TrainingOptions, Update, Weights, counted,
};
use top5::train::initialise;
use top5::zoo::{self, Network};
use top5::{CpuDevice, CpuSession, CpuTraining, Mode, Options, PlanSummary};

use crate::args::{TunedArgs, WeightsArgs, parse_seconds, positive};
use crate::exit::Stop;
use crate::memory::{self, limited};
use crate::output::Output;
use crate::ranks::BUCKET;
use crate::source::StoredModel;
use crate::table::{self, Column};
use crate::timing::{Laps, Resident, Spread, digits, peak};
use scaling::{Scaled, Timeline};

/// What is measured, and for how long.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// The networks; some champions by default
    networks: Vec<String>,
    /// Images at once; several sizes are measured one after the other
    #[arg(long, short, visible_alias = "batch-size", value_name = "N,…", default_value = "1")]
    #[arg(value_delimiter = ',', value_parser = positive)]
    batch: Vec<usize>,
    /// Measure training steps: forward, backward, update
    #[arg(long)]
    train: bool,
    /// Also measure every step of the plan
    #[arg(long)]
    layers: bool,
    /// Also say what so many processes would take, over networks that are models (docs/distributed.md)
    #[arg(long, value_name = "N,…", requires = "train", value_delimiter = ',', value_parser = positive)]
    ranks: Vec<usize>,
    /// For how long each measurement goes on
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = parse_seconds)]
    seconds: f64,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    engine: TunedArgs,
}

/// What is measured unless networks are named: the champions in the forms that other engines have too.
const NETWORKS: [&str; 8] = [
    "alexnet_owt",
    "vgg16",
    "googlenet_bn",
    "inception_v3",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "seresnet50",
];

/// The seed of weights and images.
pub(crate) const SEED: u64 = 0;

/// Small steps: the weights stay ordinary numbers however often they are taken.
fn descent() -> Update {
    let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
    Update { weight_decay: 1e-4, ..Update::new(Optimizer::Sgd(sgd), 1e-4) }
}

const STEP: StepOptions =
    StepOptions { label_smoothing: 0.0, seed: SEED, first: 0, scale: 1.0, accumulate: false };

/// The document of `--json`.
#[derive(Serialize)]
struct Bench {
    version: &'static str,
    cpu: Option<String>,
    isa: String,
    threads: usize,
    exact: bool,
    precision: &'static str,
    results: Vec<Measured>,
}

/// One network at one batch size.
#[derive(Serialize)]
struct Measured {
    network: String,
    /// `inference` or `training`.
    mode: &'static str,
    batch: usize,
    ms: Spread,
    ms_per_image: f64,
    /// Multiply-accumulates of one run.
    macs: u64,
    /// Two operations per multiply-accumulate of the network as it is defined, at the median time, in 10⁹ per second.
    /// Kernels that need fewer multiplications can exceed the peak.
    gflops: f64,
    /// The highest rate of multiply-adds probed before and after the runs, in 10⁹ operations per second.
    peak_gflops: f64,
    share_of_peak: f64,
    /// Bytes that the plan takes.
    planned_bytes: u64,
    /// By how much the process grew at its largest, in bytes.
    grown_bytes: Option<u64>,
    /// The process at its largest, in bytes.
    resident_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
    /// What several processes would take, over networks that are models.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<Vec<Scaled>>,
}

/// One step of the plan.
#[derive(Serialize)]
struct Layer {
    layer: String,
    kernel: String,
    fused: String,
    ms: Spread,
    share: f64,
    gflops: f64,
}

/// The command, resolved.
pub(crate) struct Task {
    sources: Vec<Source>,
    batches: Vec<usize>,
    mode: Mode,
    /// Whether the steps of the plan are measured too.
    layers: bool,
    /// The numbers of processes that are modelled.
    ranks: Vec<usize>,
    /// How long each measurement goes on.
    budget: Duration,
    options: Options,
}

/// A network with weights: random ones as training would start from, or given ones.
enum Source {
    Initial(&'static Network),
    Stored(String, StoredModel),
}

impl Source {
    fn name(&self) -> &str {
        match self {
            Self::Initial(network) => network.name,
            Self::Stored(name, _) => name,
        }
    }

    fn open(&self, output: Output) -> Result<(Graph, Weights)> {
        match self {
            Self::Initial(network) => {
                let graph = network.graph()?;
                memory::check_parameters(&graph, 1)?;
                let weights = initialise(&graph, SEED);
                Ok((graph, weights))
            }
            Self::Stored(_, stored) => {
                let model = stored.open(output)?;
                Ok((model.graph, model.weights))
            }
        }
    }
}

impl Task {
    pub(crate) fn resolve(args: BenchArgs) -> Result<Self> {
        let defaults = || NETWORKS.map(str::to_owned).to_vec();
        let names = if args.networks.is_empty() { defaults() } else { args.networks };
        let given = args.weights.weights.is_some();
        if given && names.len() != 1 {
            let message = "--weights needs exactly one network: name the one that they are of";
            return Err(Stop::Usage(message.to_owned()).into());
        }
        let source = |name: String| -> Result<Source> {
            Ok(match given {
                false => Source::Initial(zoo::network(&name)?),
                true => {
                    let stored = StoredModel::resolve(&name, &args.weights)?;
                    Source::Stored(name, stored)
                }
            })
        };
        Ok(Self {
            sources: names.into_iter().map(source).collect::<Result<_>>()?,
            batches: args.batch,
            mode: if args.train { Mode::Training } else { Mode::Inference },
            layers: args.layers,
            ranks: args.ranks,
            budget: Duration::from_secs_f64(args.seconds),
            options: limited(args.engine.options()?),
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut bench = Bench {
            version: env!("CARGO_PKG_VERSION"),
            cpu: cpu(),
            isa: String::new(),
            threads: 0,
            exact: self.options.exact,
            precision: self.options.precision.name(),
            results: Vec::new(),
        };
        for source in &self.sources {
            for &batch in &self.batches {
                output.detail(&format!("measuring {}, batch {batch}", source.name()));
                let mut subject = Subject::new(source, batch, self.mode, &self.options, output)?;
                bench.isa = subject.device.isa().to_string();
                bench.threads = subject.device.thread_count();
                let mut measured = subject.measure(self.budget, self.layers)?;
                measured.scaling = subject.scaling(self.budget, &self.ranks)?;
                bench.results.push(measured);
            }
        }
        if output.json { output.document(&bench) } else { output.text(&bench.to_string()) }
    }
}

/// A network with something to run.
struct Subject {
    device: CpuDevice,
    name: String,
    plan: PlanSummary,
    runner: Runner,
    images: Vec<f32>,
    labels: Vec<u32>,
    /// The process before anything of the network was made.
    before: Option<Resident>,
}

/// What runs it.
enum Runner {
    Inference(Box<CpuSession>),
    Training(Box<CpuTraining>),
}

impl Subject {
    fn new(
        source: &Source,
        batch: usize,
        mode: Mode,
        options: &Options,
        output: Output,
    ) -> Result<Self> {
        let before = Resident::reset();
        let (graph, weights) = source.open(output)?;
        let (input, classes) = (graph.input().to_vec(), graph.classes());
        // Before the images: a batch that does not fit is refused here.
        let device = top5::device(options)?;
        let of_plan = device.memory(&graph, batch, mode)?;
        memory::check_measured(&graph, batch, of_plan, mode)?;
        let mut stream = Stream::new(SEED, top5::graph::random::hash("bench"));
        let count = batch * input.iter().product::<usize>();
        let images = (0..count).map(|_| stream.normal()).collect();
        let labels = (0..batch).map(|_| stream.below(classes) as u32).collect();
        let (plan, runner) = match mode {
            Mode::Inference => {
                let network = device.cpu_network(&graph, weights, Retain::Nothing)?;
                let session = network.cpu_session(&graph, &SessionOptions::inference(batch))?;
                (session.summary().clone(), Runner::Inference(Box::new(session)))
            }
            Mode::Training => {
                let options = TrainingOptions { bucket: BUCKET, ..TrainingOptions::new(batch) };
                let training = device.cpu_training(&graph, &weights, &options)?;
                (training.summary().clone(), Runner::Training(Box::new(training)))
            }
        };
        let name = graph.name().to_owned();
        Ok(Self { device, name, plan, runner, images, labels, before })
    }

    /// One forward pass or one training step.
    fn once(&mut self) -> Result<()> {
        match &mut self.runner {
            Runner::Inference(session) => drop(session.forward(&self.images)?),
            Runner::Training(training) => {
                let targets = Targets::Classes(&self.labels);
                training.gradients(&self.images, targets, &STEP, None)?;
                training.update(&descent());
            }
        }
        Ok(())
    }

    fn measure(&mut self, budget: Duration, layers: bool) -> Result<Measured> {
        let before = peak(&self.device);
        let ms = Spread::measure(budget, || self.once())?;
        let peak = 1e-9 * before.max(peak(&self.device));
        let resident = Resident::read();
        let layers = if layers { Some(self.layers(budget)?) } else { None };
        let (macs, batch) = (self.plan.macs(), self.plan.batch);
        let gflops = rate(macs, ms.median);
        Ok(Measured {
            network: self.name.clone(),
            mode: match self.runner {
                Runner::Inference(_) => "inference",
                Runner::Training(_) => "training",
            },
            batch,
            ms,
            ms_per_image: ms.median / batch as f64,
            macs,
            gflops,
            peak_gflops: peak,
            share_of_peak: gflops / peak,
            planned_bytes: self.plan.memory(),
            grown_bytes: self.before.zip(resident).map(|(a, b)| b.peak.saturating_sub(a.now)),
            resident_bytes: resident.map(|resident| resident.peak),
            layers,
            scaling: None,
        })
    }

    /// What a step would take with each of these numbers of processes, if there are any and it is a step of training.
    fn scaling(&mut self, budget: Duration, ranks: &[usize]) -> Result<Option<Vec<Scaled>>> {
        let Self { runner: Runner::Training(training), images, labels, .. } = self else {
            return Ok(None);
        };
        if ranks.is_empty() {
            return Ok(None);
        }
        let timeline = Timeline::measure(budget, |recorder| {
            let targets = Targets::Classes(labels);
            training.gradients(images, targets, &STEP, Some(recorder))?;
            training.update(&descent());
            Ok(())
        })?;
        Ok(Some(timeline.scale(ranks, labels.len())))
    }

    /// The same runs again, with the clock read between steps.
    fn layers(&mut self, budget: Duration) -> Result<Vec<Layer>> {
        let mut laps = Laps::default();
        Spread::measure(budget, || {
            let Self { runner, images, labels, .. } = self;
            let begin = &mut |step| laps.begin(step);
            match runner {
                Runner::Inference(session) => session.trace(images, begin)?,
                Runner::Training(training) => {
                    training.trace(images, Targets::Classes(labels), &STEP, None, begin)?;
                    training.update(&descent());
                }
            }
            laps.end();
            Ok(())
        })?;
        let mut spreads = laps.spreads();
        let trains = matches!(self.runner, Runner::Training(_));
        if !trains {
            // Nothing comes after the last step.
            spreads.truncate(self.plan.steps.len());
        }
        let total: f64 = spreads.iter().map(|spread| spread.median).sum();
        let steps = self.plan.steps.iter().zip(&spreads).map(|(step, &ms)| Layer {
            layer: step.layer.clone(),
            kernel: step.kernel.clone(),
            fused: step.fused.clone(),
            ms,
            share: ms.median / total,
            gflops: rate(step.macs, ms.median),
        });
        let mut layers: Vec<Layer> = steps.collect();
        if let (true, Some(&ms)) = (trains, spreads.last()) {
            let [layer, kernel] = ["all parameters", "Sgd"].map(str::to_owned);
            let fused = String::new();
            layers.push(Layer { layer, kernel, fused, ms, share: ms.median / total, gflops: 0.0 });
        }
        Ok(layers)
    }
}

/// 10⁹ operations per second, two for each multiply-accumulate.
pub(crate) fn rate(macs: u64, ms: f64) -> f64 {
    if ms > 0.0 { 2e-6 * macs as f64 / ms } else { 0.0 }
}

/// The processor's name, where the system tells.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

const COLUMNS: [Column; 9] = [
    ("network", false),
    ("batch", true),
    ("ms", true),
    ("middle half", true),
    ("least", true),
    ("ms/image", true),
    ("GFLOP/s", true),
    ("of peak", true),
    ("memory", true),
];

const LAYER_COLUMNS: [Column; 6] = [
    ("layer", false),
    ("kernel", false),
    ("fused", false),
    ("ms", true),
    ("share", true),
    ("GFLOP/s", true),
];

impl fmt::Display for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for measured in &self.results {
            if let Some(layers) = &measured.layers {
                let rows: Vec<_> = layers.iter().map(Layer::cells).collect();
                let Measured { network, mode, batch, .. } = measured;
                writeln!(f, "{network}, {mode}, batch {batch}\n")?;
                writeln!(f, "{}", table::aligned(LAYER_COLUMNS, &rows))?;
            }
            if let Some(scaled) = &measured.scaling {
                let Measured { network, batch, .. } = measured;
                writeln!(f, "{network}, training, batch {batch} on each of several processes\n")?;
                writeln!(f, "{}", scaling::describe(scaled))?;
            }
        }
        let rows: Vec<_> = self.results.iter().map(Measured::cells).collect();
        writeln!(f, "{}", table::aligned(COLUMNS, &rows))?;
        let peaks = self.results.iter().map(|measured| measured.peak_gflops);
        let (least, most) = peaks.fold((f64::MAX, 0.0_f64), |(a, b), p| (a.min(p), b.max(p)));
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        writeln!(
            f,
            "{cpu}, {}, {}, {}; peak in f32 probed beside the runs: {least:.0} to {most:.0} GFLOP/s.\n\
             ms: the median. GFLOP/s: two operations per multiply-accumulate of the network as it is \
             defined,\nhowever few its kernels need.",
            counted(self.threads, "thread"),
            self.isa,
            self.precision
        )
    }
}

impl Measured {
    fn cells(&self) -> [String; 9] {
        let mib = |bytes: u64| (bytes >> 20).to_string();
        let memory = match self.grown_bytes {
            Some(grown) => format!("{} of {} MiB planned", mib(grown), mib(self.planned_bytes)),
            None => format!("{} MiB planned", mib(self.planned_bytes)),
        };
        [
            self.network.clone(),
            self.batch.to_string(),
            digits(self.ms.median),
            self.ms.middle(),
            digits(self.ms.min),
            digits(self.ms_per_image),
            format!("{:.0}", self.gflops),
            percent(self.share_of_peak),
            memory,
        ]
    }
}

impl Layer {
    fn cells(&self) -> [String; 6] {
        let gflops = if self.gflops > 0.0 { format!("{:.0}", self.gflops) } else { String::new() };
        let (layer, kernel, fused) = (self.layer.clone(), self.kernel.clone(), self.fused.clone());
        [layer, kernel, fused, digits(self.ms.median), percent(self.share), gflops]
    }
}

/// `12.3 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
