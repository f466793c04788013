//! Flags that several commands share, named as timm's users know them, and how their values are read. A command's own are in its
//! file; what the commands are is in `cli.rs`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::{Args, ValueEnum};
use top5::data::Limits;
use top5::train::PrecisionName;
use top5::{Isa, Options, Precision, Tuning};

use crate::exit::Stop;
use crate::tuning;

/// Headings of groups of flags in `--help`.
const ENGINE: &str = "Engine";
pub(crate) const DATA: &str = "Data";

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
    /// The instruction set: scalar, avx2, avx512 or amx; the best that the machine has by default
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
    #[arg(long, visible_alias = "data-dir", value_name = "NAME|DIR", help_heading = DATA)]
    pub(crate) data: Option<String>,
    /// Leave bad image files out and report them, instead of stopping at the first
    #[arg(long, help_heading = DATA)]
    pub(crate) skip_bad: bool,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
}

/// Which image files are read.
#[derive(Clone, Debug, Args)]
pub(crate) struct ImageArgs {
    /// Refuse images of more pixels; with more, decoding may take more memory. By default as many as Pillow reads silently
    #[arg(long, value_name = "N", default_value_t = Limits::default().pixels, help_heading = DATA)]
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
    /// Of a file with several networks, take the one in this dict (`student`, `models.0`), or whose tensors' names begin so
    /// (`encoder_q`)
    #[arg(long, value_name = "KEY", conflicts_with = "ema")]
    pub(crate) weights_key: Option<String>,
    /// Open no network connection: read the hub's cache only
    #[arg(long)]
    pub(crate) offline: bool,
}

/// Reads a number of images or steps, at least one.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 1..=65_536) => Ok(size),
        _ => Err("expected a number from 1 to 65536".to_owned()),
    }
}

/// Reads a number that is not infinite, however it is written.
pub(crate) fn finite<T: FromStr + Copy + Into<f64>>(text: &str) -> Result<T, String> {
    let number = text.parse::<T>().ok().filter(|&number| number.into().is_finite());
    number.ok_or_else(|| "expected a finite number".to_owned())
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
