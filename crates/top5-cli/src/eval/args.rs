//! The arguments of `eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::args::{DataArgs, TunedArgs, positive};
use crate::preprocess::PreprocessArgs;
use crate::ranks::RanksArgs;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 eval runs/lenet-digits --per-class
  top5 eval model.safetensors --data imagenet/ --split validation
  top5 eval vgg16 --weights vgg16.pth --data imagenet/ --split all --protocol vgg-dense-3
  top5 eval runs/a --protocol 10-crop --save a.safetensors --report a/
  mpirun -n 8 top5 eval vgg16 --weights vgg16.pth --data imagenet/ --split all
  top5 eval vgg16 --weights vgg16.pth --data imagenet/ --shard 1/8 --save shard-1
  top5 eval --predictions shard-1 shard-2 shard-3 shard-4 shard-5 shard-6 shard-7 shard-8
  top5 eval --ensemble five.toml --against a/report.json
  top5 eval --ensemble vgg-2 --weights vgg16=vgg16.pth --weights vgg19=vgg19.pth --data imagenet/ --row vgg-2
  top5 eval --row VGG
  top5 eval resnet20_cifar --weights resnet20.th --data photos/ --split all --json";

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    #[arg(required_unless_present_any = ["ensemble", "predictions", "row"], group = "answers")]
    pub(crate) model: Option<String>,
    /// Average several models: a file that names them, their protocols, preprocessing and weights (see docs/evaluation.md), or the
    /// name of an ensemble of the article's table (`top5 eval --row all` lists them)
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["model", "predictions"])]
    #[arg(group = "answers")]
    pub(crate) ensemble: Option<String>,
    /// Judge what --save wrote, without running a model: one file, or those of all shards
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["model", "protocol", "ema"])]
    #[arg(group = "answers")]
    pub(crate) predictions: Vec<PathBuf>,
    /// Weights for a network given by name: a file, a timm folder or hf-hub:ORG/NAME[@REVISION]; for an ensemble given by name
    /// MEMBER=WEIGHTS, once for each, or a folder with a file or folder called as each member
    #[arg(long, visible_aliases = ["checkpoint", "pretrained"], value_name = "[MEMBER=]WEIGHTS")]
    #[arg(requires = "answers")]
    pub(crate) weights: Vec<String>,
    /// Take the average of the weights (EMA) that a PyTorch checkpoint keeps beside them
    #[arg(long)]
    pub(crate) ema: bool,
    /// Of a file with several networks, take the one in this dict (`student`, `models.0`), or whose tensors' names begin so
    /// (`encoder_q`)
    #[arg(long, value_name = "KEY", conflicts_with_all = ["ema", "ensemble", "predictions"])]
    pub(crate) weights_key: Option<String>,
    /// Open no network connection: read the hub's cache only
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Which part of the data
    #[arg(long, value_enum, default_value = "test", conflicts_with = "predictions")]
    pub(crate) split: Split,
    /// How many looks at an image are averaged, and which: a name of `top5 protocols`, NAME@SIDE,SIDE for other scales, or a
    /// file as that prints it; the one crop of the model's preprocessing by default
    #[arg(long, value_name = "NAME|FILE", requires = "answers")]
    pub(crate) protocol: Option<String>,
    /// Images (or crops of them) at once
    #[arg(long, short, value_name = "N", default_value = "64")]
    #[arg(value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Also list every class
    #[arg(long, conflicts_with_all = ["csv", "markdown"], requires = "answers")]
    pub(crate) per_class: bool,
    /// Names of the model's classes, where its own are not those of the data: a line each, or JSON; `devkit` is the order of ImageNet's
    /// classes in the contest's development kit
    #[arg(
        long,
        visible_alias = "labels",
        value_name = "FILE|devkit",
        conflicts_with = "predictions",
        requires = "answers"
    )]
    pub(crate) class_names: Option<PathBuf>,
    /// Several right answers per image: ReaL's real.json, a list of classes for each validation image
    #[arg(long, value_name = "FILE", requires = "answers")]
    pub(crate) real: Option<PathBuf>,
    /// Scale the logits by the temperature that fits these predictions of other images, as --save wrote them
    #[arg(long, value_name = "FILE", requires = "answers")]
    pub(crate) temperature_from: Option<PathBuf>,
    /// Save what was said of every image, for --predictions and --ensemble (safetensors)
    #[arg(long, value_name = "FILE", requires = "answers")]
    pub(crate) save: Option<PathBuf>,
    /// Look at one of N about equal shards of the images: 1/N, 2/N and so on, on as many machines as there are or one after the
    /// other; --predictions judges what --save wrote of all
    #[arg(long, value_name = "I/N", value_parser = parse_shard, requires_all = ["model", "save"])]
    #[arg(conflicts_with_all = ["report", "against", "beside", "row", "real", "temperature_from", "min_top1"])]
    // What it requires is not asked for beside what takes its place.
    #[arg(conflicts_with_all = ["predictions", "ensemble"])]
    pub(crate) shard: Option<[usize; 2]>,
    /// Write predictions.csv, errors.csv, report.json and report.html into this folder
    #[arg(long, value_name = "DIR", requires = "answers")]
    pub(crate) report: Option<PathBuf>,
    /// Show the images that the report names in report.html
    #[arg(long, requires = "report")]
    pub(crate) thumbnails: bool,
    /// Look for twins: judged images that are among those learnt from or that chose the epoch, too, or twice among the judged ones
    #[arg(long, requires = "report")]
    pub(crate) twins: bool,
    /// Count the kinds of errors that somebody filled into the errors.csv of a report, as Trimps-Soushen sorted theirs
    #[arg(long, value_name = "FILE", requires = "report")]
    pub(crate) kinds: Option<PathBuf>,
    /// Tell how far the probabilities are from those of saved answers about the same images: what another protocol, precision or
    /// engine changes
    #[arg(long, value_name = "FILE", requires = "answers")]
    pub(crate) beside: Option<PathBuf>,
    /// Compare with the report.json of an earlier evaluation; exit code 6 where this one is significantly worse
    #[arg(long, value_name = "FILE", requires = "answers")]
    pub(crate) against: Option<PathBuf>,
    /// Print rows of the article's table of results, and what was measured beside what was published: the name of an ensemble, a
    /// network as VGG or ResNet, a year, or all
    #[arg(long, value_name = "ROW")]
    pub(crate) row: Option<String>,
    /// Earlier results for --row: the report.json of evaluations of the table's ensembles
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "row")]
    pub(crate) measured: Vec<PathBuf>,
    /// Write CSV with timm's columns
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    pub(crate) csv: bool,
    /// Write a Markdown table with timm's columns
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Fail with exit code 6 when top-1 is below this, in percent
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, requires = "answers")]
    pub(crate) min_top1: Option<f64>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
    #[command(flatten)]
    pub(crate) ranks: RanksArgs,
}

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Split {
    /// What the network learnt from
    Train,
    /// What chose the epoch
    Validation,
    /// What the result is reported on
    Test,
    /// Every image, for example of a folder that is not divided
    All,
}

impl Split {
    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::All => "all",
        }
    }
}

/// Reads which shard of how many.
fn parse_shard(text: &str) -> Result<[usize; 2], String> {
    let numbers = text.split_once('/').and_then(|(a, b)| Some([a.parse().ok()?, b.parse().ok()?]));
    numbers
        .filter(|&[number, shards]| (1..=shards).contains(&number))
        .ok_or_else(|| "expected a shard and their number, for example 1/4 to 4/4".to_owned())
}

/// Reads a percentage.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a number of percent from 0 to 100".to_owned())
}
