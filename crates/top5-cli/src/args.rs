//! The arguments of all commands as they are given: the first of two stages. The second is each command's `Task::resolve`.
//! Flags are named as timm's users know them; each can also come from the environment, as `TOP5_` and its name.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use top5::data::Limits;
use top5::train::PrecisionName;
use top5::{Isa, Options, Precision, Tuning};

use crate::augment::AugmentArgs;
use crate::bench::BenchArgs;
use crate::eval::EvalArgs;
use crate::exit::{Stop, TABLE};
use crate::inside;
use crate::kernels::ConvShape;
use crate::preprocess::PreprocessArgs;
use crate::probe::ProbeArgs;
use crate::sanity::SanityArgs;
use crate::score::ScoreArgs;
use crate::train::TellingArgs;
use crate::train::flags::{self, RecipeArgs};
use crate::tuning;

/// The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship.
#[derive(Debug, Parser)]
#[command(name = "top5", version, propagate_version = true, arg_required_else_help = true)]
#[command(before_help = EXAMPLES, after_help = TABLE)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(subcommand)]
    pub(crate) command: Commands,
}

const EXAMPLES: &str = "\
Examples:
  top5 train lenet                      learn handwritten digits, in under a minute
  top5 predict digit.png                which digit is it?
  top5 eval runs/lenet-digits           top-1 and top-5 on the test images
  top5 show resnet50                    its layers, parameters and MACs";

const TRAIN_EXAMPLES: &str = "\
Examples:
  top5 train lenet                                    on the embedded digits, into runs/lenet-digits
  top5 train lenet --data fashion-mnist --out fashion
  top5 train resnet20_cifar --data photos/ --epochs 20
  top5 train lenet --optimizer adamw --lr 1e-3 --ema 0.999 --no-decay norms,biases
  top5 train resnet18 --weights resnet18.pth --freeze 'conv1,bn1,layer*' --data photos/
  top5 train resnet20-cifar10 --data photos/          as a paper did: `top5 recipes` lists them
  top5 train recipe.toml                              everything as the file says
  top5 train --resume --out fashion                   go on after Ctrl-C, a crash or a power cut";

const PREDICT_EXAMPLES: &str = "\
Examples:
  top5 predict digit.png                              with the embedded LeNet
  top5 predict photos/ scan.jpg --model runs/mine --top 3
  top5 predict - --json < digit.png";

const RECIPES_EXAMPLES: &str = "\
Examples:
  top5 recipes
  top5 recipes resnet20-cifar10 > mine.toml           to be changed and given to train
  top5 train resnet20-cifar10 --data cifar-10-batches-bin";

const MODELS_EXAMPLES: &str = "\
Examples:
  top5 models
  top5 models 'resnet*' --wide
  top5 models 'resnet*' --csv
  top5 models --plot history.svg";

const SHOW_EXAMPLES: &str = "\
Examples:
  top5 show lenet
  top5 show resnet50 --classes 10 --input 3x256x256 --svg resnet50.svg
  top5 show runs/lenet-digits                         what a run, a file or a folder of weights holds";

const CONVERT_EXAMPLES: &str = "\
Examples:
  top5 convert runs/lenet-digits lenet.onnx
  top5 convert runs/resnet18-photos resnet18-timm     a folder that timm loads, where it has the network
  top5 convert resnet20.th resnet20.safetensors";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  top5 completions bash > ~/.local/share/bash-completion/completions/top5
  top5 completions fish > ~/.config/fish/completions/top5.fish";

/// Headings of groups of flags in `--help`.
const OUTPUT: &str = "Output";
const ENGINE: &str = "Engine";

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write one JSON document to stdout
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors and warnings
    #[arg(long, short, global = true, conflicts_with = "verbose", help_heading = OUTPUT)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(long, short, global = true, help_heading = OUTPUT)]
    pub(crate) verbose: bool,
    /// Replace files whatever they are
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Commands {
    /// Train a network; without more arguments, on the embedded digits
    #[command(before_help = TRAIN_EXAMPLES)]
    Train(TrainArgs),
    /// Evaluate a model: top-1, top-5, loss, per class
    #[command(before_help = crate::eval::EXAMPLES)]
    Eval(Box<EvalArgs>),
    /// Write a run as one page: its course, its mistakes, and what it followed from
    #[command(before_help = crate::report::EXAMPLES)]
    Report(Box<crate::report::ReportArgs>),
    /// List the recipes of published trainings, or print one as a file
    #[command(before_help = RECIPES_EXAMPLES)]
    Recipes(RecipesArgs),
    /// List the protocols that look at an image more than once, or print one as a file
    Protocols(ProtocolsArgs),
    /// Say what images show
    #[command(before_help = PREDICT_EXAMPLES)]
    Predict(PredictArgs),
    /// Answer over HTTP: a page for people, the Open Inference Protocol for programs
    #[command(before_help = crate::serve::EXAMPLES)]
    Serve(crate::serve::ServeArgs),
    /// Write the page of `serve` into a folder, with results computed beforehand
    #[command(before_help = crate::page::EXAMPLES)]
    Page(crate::page::PageArgs),
    /// Show why a network says what it says of images: heat maps, projections, contrasts
    #[command(before_help = crate::explain::EXAMPLES)]
    Explain(Box<crate::explain::ExplainArgs>),
    /// Hide parts of images behind a gray square: figure 7 of Zeiler & Fergus
    #[command(before_help = crate::explain::OCCLUDE_EXAMPLES)]
    Occlude(Box<crate::explain::OccludeArgs>),
    /// List the networks with their published numbers
    #[command(before_help = MODELS_EXAMPLES)]
    Models(ModelsArgs),
    /// Show the layers of a network or of a model: its classes and preprocessing, too
    #[command(before_help = SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Fit a linear classifier to what each layer sees
    #[command(before_help = crate::probe::EXAMPLES)]
    Probe(ProbeArgs),
    /// Measure how good explanations are, beside two controls
    #[command(before_help = crate::score::EXAMPLES)]
    Score(ScoreArgs),
    /// Test whether explanations depend on what the network has learnt
    #[command(before_help = crate::sanity::EXAMPLES)]
    Sanity(SanityArgs),
    /// Show what a network's maps answer to: their strongest patches of a data set, beside projections
    #[command(before_help = inside::GALLERY_EXAMPLES)]
    Gallery(inside::GalleryArgs),
    /// Show how what maps answer to changes while a network learns
    #[command(before_help = inside::EVOLVE_EXAMPLES)]
    Evolve(inside::EvolveArgs),
    /// Measure what moving, scaling and turning images changes
    #[command(before_help = inside::INVARIANCE_EXAMPLES)]
    Invariance(inside::InvarianceArgs),
    /// Show the first layer's filters: their scale, aliasing, dead and saturated maps
    #[command(before_help = inside::FILTERS_EXAMPLES)]
    Filters(inside::FiltersArgs),
    /// Measure whether hiding the same part of objects changes features alike
    #[command(before_help = inside::CORRESPOND_EXAMPLES)]
    Correspond(inside::CorrespondArgs),
    /// Look at images before a network does: what is wrong with them, what it will see
    Data(crate::data::DataCommandArgs),
    /// Show how a network would run: steps, kernels and why, memory
    Plan(PlanArgs),
    /// Measure how fast networks run here
    Bench(BenchArgs),
    /// Measure every kernel that can run a convolution
    Kernels(KernelsArgs),
    /// Measure which kernel runs each layer fastest, and save it for --tuning
    Tune(TuneArgs),
    /// Write a model in another format
    #[command(visible_alias = "export", before_help = CONVERT_EXAMPLES)]
    Convert(ConvertArgs),
    /// Print a manual page: `top5 man train | man -l -`
    Man {
        /// The command that it is about; the program by default
        command: Option<String>,
    },
    /// Print the completions for a shell
    #[command(before_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// How the engine runs; results agree up to rounding.
#[derive(Clone, Debug, Args)]
pub(crate) struct EngineArgs {
    /// Threads that compute, and that decode images; as many as the process may use cores by default
    #[arg(long, short = 'j', visible_alias = "workers", value_name = "N", help_heading = ENGINE)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Most memory that a plan may take, in MiB; what is available by default
    #[arg(long, value_name = "MIB", help_heading = ENGINE)]
    pub(crate) memory_limit: Option<u64>,
    /// The instruction set: scalar, avx2 or avx512; the best that the machine has by default
    #[arg(long, value_name = "NAME", value_parser = parse_isa, help_heading = ENGINE)]
    pub(crate) isa: Option<Isa>,
    /// Direct convolution only: a little more exact, and slower
    #[arg(long, conflicts_with = "precision", help_heading = ENGINE)]
    pub(crate) exact: bool,
    /// Precision of products; bf16 is faster where the CPU has it, and about 1 % off
    #[arg(long, value_name = "NAME", value_enum, help_heading = ENGINE)]
    pub(crate) precision: Option<PrecisionArg>,
}

impl EngineArgs {
    /// The options of plans, which may be for another machine.
    fn plan_options(&self) -> Options {
        Options {
            isa: self.isa,
            threads: self.threads.map(usize::from),
            exact: self.exact,
            precision: self.precision.map(Precision::from).unwrap_or_default(),
            compact: false,
            memory_limit: self.memory_limit.map(|mib| mib.saturating_mul(1 << 20)),
            ..Options::default()
        }
    }

    /// The options of an engine, without a limit of memory unless one is given. Fails if this machine lacks the instruction set.
    pub(crate) fn options(&self) -> Result<Options> {
        match self.isa.filter(|isa| !isa.is_available()) {
            None => Ok(self.plan_options()),
            Some(isa) => {
                let available: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
                let available = available.join(", ");
                let message = format!("this machine has no {isa}; --isa can be {available}");
                Err(Stop::BadInput(message).into())
            }
        }
    }
}

/// How the engine runs what is not trained: with kernels chosen by measurement, which a run would have to remember.
#[derive(Clone, Debug, Args)]
pub(crate) struct TunedArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Kernels for inference as `top5 tune` measured them
    #[arg(long, value_name = "FILE")]
    tuning: Option<PathBuf>,
}

impl TunedArgs {
    fn tuning(&self) -> Result<Tuning> {
        Ok(self.tuning.as_deref().map(tuning::read).transpose()?.unwrap_or_default())
    }

    /// The options of plans, which may be for another machine. Fails if the tuning cannot be read.
    pub(crate) fn plan_options(&self) -> Result<Options> {
        Ok(Options { tuning: self.tuning()?, ..self.engine.plan_options() })
    }

    /// The options of an engine. Also fails if this machine lacks the instruction set.
    pub(crate) fn options(&self) -> Result<Options> {
        Ok(Options { tuning: self.tuning()?, ..self.engine.options()? })
    }
}

/// How precise products are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArg {
    /// 24 bits
    F32,
    /// 8 bits, in convolutions and linear layers
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

impl From<PrecisionName> for PrecisionArg {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

/// Which data are read, and how.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataArgs {
    /// digits, fashion-mnist, or a folder (MNIST's or CIFAR's files, or images in one folder per class)
    #[arg(long, visible_alias = "data-dir", value_name = "NAME|DIR", help_heading = flags::DATA)]
    pub(crate) data: Option<String>,
    /// Leave bad image files out and report them, instead of stopping at the first
    #[arg(long, help_heading = flags::DATA)]
    pub(crate) skip_bad: bool,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// Which image files are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageArgs {
    /// Refuse images of more pixels; with more, decoding may take more memory. By default as many as Pillow reads silently
    #[arg(long, value_name = "N", default_value_t = Limits::default().pixels, help_heading = flags::DATA)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: u64,
}

impl ImageArgs {
    /// What an image file may claim.
    pub(crate) fn limits(&self) -> Limits {
        Limits::of_pixels(self.max_pixels)
    }
}

/// Which model is used.
#[derive(Clone, Debug, Args)]
pub(crate) struct WeightsArgs {
    /// Weights for a network given by name: a file, a timm folder or hf-hub:ORG/NAME[@REVISION]
    #[arg(long, visible_aliases = ["checkpoint", "pretrained"], value_name = "WEIGHTS")]
    pub(crate) weights: Option<String>,
    /// Take the average of the weights (EMA) that a PyTorch checkpoint keeps beside them
    #[arg(long)]
    pub(crate) ema: bool,
    /// Open no network connection: read the hub's cache only
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// A network, a recipe's name, or a recipe file (.toml); left out with --resume
    #[arg(value_name = "NETWORK|RECIPE", required_unless_present = "resume")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Passes over the training images; with --resume more than the run has prolong it
    #[arg(long, value_name = "N", help_heading = flags::LENGTH)]
    pub(crate) epochs: Option<usize>,
    /// Images per step; with --accumulate per batch, of which a step has several
    #[arg(long, short, value_name = "N", help_heading = flags::LENGTH)]
    pub(crate) batch_size: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "N", help_heading = flags::LENGTH)]
    pub(crate) seed: Option<u64>,
    /// Highest learning rate
    #[arg(long, value_name = "RATE", help_heading = flags::RATE)]
    pub(crate) lr: Option<f32>,
    #[command(flatten)]
    pub(crate) recipe: RecipeArgs,
    #[command(flatten)]
    pub(crate) augment: AugmentArgs,
    /// Start from these weights of the network: a file, a run's or timm's folder, or hf-hub:ORG/NAME[@REVISION]
    #[arg(long, visible_alias = "pretrained", value_name = "WEIGHTS", help_heading = flags::FINE_TUNING)]
    pub(crate) weights: Option<String>,
    /// Open no network connection: read the hub's cache only
    #[arg(long, help_heading = flags::FINE_TUNING)]
    pub(crate) offline: bool,
    /// The run's folder; runs/NAME, numbered when taken, by default
    #[arg(long, short, value_name = "DIR", help_heading = flags::RUN)]
    pub(crate) out: Option<PathBuf>,
    /// Go on with the run in --out where its newest checkpoint is; begin it where there is none
    #[arg(long, requires = "out", help_heading = flags::RUN)]
    pub(crate) resume: bool,
    /// Write a checkpoint every so many steps, and after every epoch
    #[arg(long, visible_alias = "checkpoint-every", value_name = "STEPS", help_heading = flags::RUN)]
    pub(crate) checkpoint_steps: Option<usize>,
    /// Keep the models after these epochs in the run's folder, for `top5 evolve`; to be given again with --resume
    #[arg(long, value_name = "N,…", value_delimiter = ',', help_heading = flags::RUN)]
    pub(crate) keep_epochs: Vec<usize>,
    #[command(flatten)]
    pub(crate) telling: TellingArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) ranks: crate::ranks::RanksArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Image files, folders of images, or - for stdin
    #[arg(required = true, value_name = "FILE|FOLDER|-")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// A run's folder, a weights file, a timm folder or a network's name; the embedded LeNet by default
    #[arg(long, short, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Classes per image
    #[arg(long, short = 'k', visible_alias = "topk", value_name = "K", default_value = "5")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "1", value_parser = positive)]
    pub(crate) batch_size: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Names to list, with * and ?
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
    /// All columns, whatever the terminal's width: input, activations, receptive field, how errors were measured, place
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    pub(crate) wide: bool,
    /// Write CSV
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    pub(crate) csv: bool,
    /// Write a Markdown table
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Also draw the history: error by year, and error against MACs
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ProtocolsArgs {
    /// The protocol to print, in the form that `eval --protocol FILE` reads; all are listed without
    pub(crate) name: Option<String>,
    /// Side of the network's input, which the scales follow
    #[arg(long, visible_alias = "img-size", value_name = "N", default_value = "224")]
    #[arg(value_parser = positive)]
    pub(crate) input: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RecipesArgs {
    /// The recipe to print, in the form that `top5 train FILE.toml` reads; or of names with * and ?, which to list
    #[arg(default_value = "*")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A network's name, or a model: a run's folder, a weights file, a timm folder or hf-hub:ORG/NAME
    #[arg(value_name = "NETWORK|MODEL")]
    pub(crate) network: String,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Channels, height and width of the input, for example 3x224x224
    #[arg(long, visible_alias = "img-size", value_name = "CxHxW", value_parser = parse_input)]
    pub(crate) input: Option<[usize; 3]>,
    /// Number of classes; a model has its own
    #[arg(long, visible_alias = "num-classes", value_name = "N")]
    pub(crate) classes: Option<usize>,
    /// Write a Markdown table
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Also draw the layers
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) svg: Option<PathBuf>,
}

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

#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// Channels, height and width of the input, filters, height and width of the kernel, stride, padding, groups, images
    #[arg(long, value_name = "C,H,W,K,R,S,STRIDE,PAD,GROUPS,BATCH", value_parser = ConvShape::parse)]
    pub(crate) conv: ConvShape,
    /// Push weights and images out of the caches before each call
    #[arg(long)]
    pub(crate) cold: bool,
    /// For how long each kernel is measured
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

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

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The model: as for `eval`
    #[arg(value_name = "MODEL")]
    pub(crate) input: String,
    /// What to write: NAME.safetensors, NAME.onnx, or a folder for timm
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// A network with random weights, as training starts from them, drawn with this seed
    #[arg(long, value_name = "SEED", conflicts_with = "weights")]
    pub(crate) init: Option<u64>,
    /// ONNX: the number of images at once; any number by default
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    /// ONNX: keep batch normalisation apart from the convolutions before it
    #[arg(long)]
    pub(crate) no_fold: bool,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
}

/// Reads a number of images or steps, at least one.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=65_536) => Ok(size),
        _ => Err("expected a number from 1 to 65536".to_owned()),
    }
}

/// Reads a time from 0 to an hour.
pub(crate) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds @ 0.0..=3600.0) => Ok(seconds),
        _ => Err("expected a number of seconds from 0 to 3600".to_owned()),
    }
}

/// Reads the name of an instruction set.
fn parse_isa(text: &str) -> Result<Isa, String> {
    let named = Isa::ALL.into_iter().find(|isa| isa.name() == text);
    named.ok_or_else(|| format!("expected one of {}", Isa::ALL.map(Isa::name).join(", ")))
}

/// Reads `3x224x224`.
fn parse_input(text: &str) -> Result<[usize; 3], String> {
    let sides: Result<Vec<usize>, _> = text.split(['x', '×']).map(str::parse).collect();
    match sides.as_deref() {
        Ok(&[c, h, w]) if c.min(h).min(w) > 0 => Ok([c, h, w]),
        _ => Err("expected channels, height and width, for example 3x224x224".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_sizes_are_read() {
        assert_eq!(parse_input("3x224x224"), Ok([3, 224, 224]));
        for wrong in ["", "3x224", "3x0x4", "3xax4", "3x4x5x6", "-1x2x3"] {
            assert!(parse_input(wrong).is_err(), "{wrong}");
        }
    }
}
