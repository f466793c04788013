//! The flags of `top5 train`: those that every run has, beside the recipe's (`flags.rs`).

use std::path::PathBuf;

use clap::Args;

use super::TellingArgs;
use super::flags::{self, RecipeArgs};
use crate::args::{DataArgs, EngineArgs};
use crate::augment::AugmentArgs;
use crate::ranks::RanksArgs;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 train lenet                                    on the embedded digits, into runs/lenet-digits
  top5 train lenet --data fashion-mnist --out fashion
  top5 train resnet20_cifar --data photos/ --epochs 20
  top5 train lenet --optimizer adamw --lr 1e-3 --ema 0.999 --no-decay norms,biases
  top5 train resnet18 --weights resnet18.pth --freeze 'conv1,bn1,layer*' --data photos/
  top5 train resnet20-cifar10 --data photos/          as a paper did: `top5 recipes` lists them
  top5 train recipe.toml                              everything as the file says
  top5 train --resume --out fashion                   go on after Ctrl-C, a crash or a power cut";

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
    pub(crate) ranks: RanksArgs,
}
