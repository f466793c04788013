//! `top5 data`: what is in a dataset, what a network will see of it, and how it is packed.

mod check;
mod pack;
mod preview;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};
use top5::data::{self, DataError, Dataset, Limits, OpenOptions, Splits};

use crate::args::{ImageArgs, positive};
use crate::augment::AugmentArgs;
use crate::memory;
use crate::output::Output;

const CHECK_EXAMPLES: &str = "\
Examples:
  top5 data check photos/
  top5 data check photos/ --json > photos.json";

const PREVIEW_EXAMPLES: &str = "\
Examples:
  top5 data preview photos/ --recipe resnet20_cifar --augment trivial_augment --out sheet.png
  top5 data preview digits --recipe lenet-digits --epoch 3";

const PACK_EXAMPLES: &str = "\
Examples:
  top5 data pack photos/ --out photos.tar               image files as they are; then --data photos.tar
  top5 data pack photos/ --out small.tar --side 256     decoded and scaled down: nothing is left to decode";

#[derive(Debug, Args)]
pub(crate) struct DataCommandArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Read every image once: counts, classes, bad files, images that are there twice
    #[command(before_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Draw what a network will see of the images, beside what evaluation sees of them
    #[command(before_help = PREVIEW_EXAMPLES)]
    Preview(PreviewArgs),
    /// Write the images one after the other into tar archives, which are read in place
    #[command(before_help = PACK_EXAMPLES)]
    Pack(PackArgs),
}

/// Which images.
#[derive(Clone, Debug, Args)]
struct SourceArgs {
    /// digits, fashion-mnist, a folder or a tar archive, as for --data of `train`
    #[arg(value_name = "NAME|DIR|TAR")]
    data: String,
    #[command(flatten)]
    images: ImageArgs,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Threads that decode images; as many as the process may use cores by default
    #[arg(long, short = 'j', visible_alias = "workers", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

#[derive(Debug, Args)]
struct PreviewArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Whose images they are to be: a network, a recipe's name, or a recipe file (.toml), as for `train`
    #[arg(long, value_name = "NETWORK|RECIPE")]
    recipe: String,
    /// The picture to write, a PNG file
    #[arg(long, short, value_name = "FILE", default_value = "sheet.png")]
    out: PathBuf,
    /// How many images
    #[arg(long, value_name = "N", default_value = "32", value_parser = positive)]
    images: usize,
    /// The epoch of the run whose first images are drawn, from 1
    #[arg(long, value_name = "N", default_value = "1", value_parser = positive)]
    epoch: usize,
    /// Seed of everything random; the recipe's by default
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    #[command(flatten)]
    augment: AugmentArgs,
}

#[derive(Debug, Args)]
struct PackArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// The archive to write, NAME.tar; NAME-00000.tar and so on where it takes several
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Write pixels (PNM) instead of image files, so that nothing is left to decode
    #[arg(long)]
    decode: bool,
    /// Scale the shorter side of larger images down to this first; implies --decode
    #[arg(long, value_name = "N", value_parser = positive)]
    side: Option<usize>,
    /// Most MiB of an archive, for which there are then several, at most 512
    #[arg(long, value_name = "MIB", default_value = "65536", value_parser = positive)]
    shard_size: usize,
    /// Leave bad image files out and report them, instead of stopping at the first
    #[arg(long)]
    skip_bad: bool,
    /// Threads that decode images; as many as the process may use cores by default
    #[arg(long, short = 'j', visible_alias = "workers", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// As many threads as were asked for, or as the process may use cores.
fn threads(asked: Option<u16>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(cores, usize::from)
}

/// The parts that there are, with their names.
fn parts(splits: &Splits) -> Vec<(&'static str, Arc<dyn Dataset>)> {
    let named = [
        ("train", Some(&splits.train)),
        ("validation", Some(&splits.validation).filter(|part| !part.is_empty())),
        ("test", splits.test.as_ref()),
    ];
    named.into_iter().filter_map(|(name, part)| Some((name, Arc::clone(part?)))).collect()
}

/// The images as they are, without a validation part that only training would have.
fn open(data: &str, limits: Limits) -> Result<Splits, DataError> {
    let memory = memory::available();
    data::open(data, &OpenOptions { validation: 0.0, limits, memory, ..OpenOptions::default() })
}

/// The command, resolved.
pub(crate) enum Task {
    Check(check::Task),
    Pack(pack::Task),
    Preview(Box<preview::Task>),
}

impl Task {
    pub(crate) fn resolve(args: DataCommandArgs) -> Result<Self> {
        Ok(match args.command {
            DataCommand::Check(args) => Self::Check(check::Task::resolve(args)),
            DataCommand::Pack(args) => Self::Pack(pack::Task::resolve(args)?),
            DataCommand::Preview(args) => Self::Preview(Box::new(preview::Task::resolve(args)?)),
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Check(task) => task.run(output),
            Self::Pack(task) => task.run(output),
            Self::Preview(task) => task.run(output),
        }
    }
}
