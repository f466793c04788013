//! `top5 convert`: a model in another format. The format follows from the name of what is to be written.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::formats::onnx;
use top5::zoo::{self, Network};
use top5::{CONFIG_FILE, Model, WEIGHTS_FILE};

use crate::args::{WeightsArgs, positive};
use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::output::Output;
use crate::source::StoredModel;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 convert runs/lenet-digits lenet.onnx
  top5 convert runs/resnet18-photos resnet18-timm     a folder that timm loads, where it has the network
  top5 convert resnet20.th resnet20.safetensors";

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The model: as for `eval`
    #[arg(value_name = "MODEL")]
    pub(crate) input: String,
    /// What to write: NAME.safetensors, NAME.onnx, or a folder for timm
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    /// A network with random weights, as training starts from them, drawn with this seed
    #[arg(long, value_name = "SEED", conflicts_with_all = ["weights", "ema", "weights_key"])]
    pub(crate) init: Option<u64>,
    /// ONNX: the number of images at once; any number by default
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) batch: Option<usize>,
    /// ONNX: keep batch normalisation apart from the convolutions before it
    #[arg(long)]
    pub(crate) no_fold: bool,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Converted {
    network: String,
    parameters: usize,
    files: Vec<String>,
}

/// The command, resolved.
pub(crate) struct Task {
    input: Input,
    format: Format,
    out: PathBuf,
}

/// What is written.
enum Input {
    /// A network before training, with this seed.
    Untrained(&'static Network, u64),
    Stored(StoredModel),
}

/// In which form.
enum Format {
    Safetensors,
    Onnx(onnx::Options),
    /// A folder.
    Timm,
}

impl Task {
    pub(crate) fn resolve(args: ConvertArgs) -> Result<Self> {
        let format = match args.output.extension().and_then(OsStr::to_str) {
            Some("safetensors") => Format::Safetensors,
            Some("onnx") => Format::Onnx(onnx::Options { fold: !args.no_fold, batch: args.batch }),
            None => Format::Timm,
            Some(other) => {
                let message = format!(
                    "{}: no format is called .{other}: expected a name with .safetensors or .onnx, \
                     or one without an extension for timm's folder",
                    args.output.display()
                );
                return Err(Stop::Usage(message).into());
            }
        };
        if !matches!(format, Format::Onnx(_)) && (args.batch.is_some() || args.no_fold) {
            let message = "--batch and --no-fold are of .onnx files".to_owned();
            return Err(Stop::Usage(message).into());
        }
        let input = match args.init {
            Some(seed) => Input::Untrained(zoo::network(&args.input)?, seed),
            None => Input::Stored(StoredModel::resolve(&args.input, &args.weights)?),
        };
        Ok(Self { input, format, out: args.output })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { input, format, out } = self;
        let mut model = match input {
            Input::Untrained(network, seed) => {
                memory::check_parameters(&network.graph()?, 2)?;
                Model::untrained(network, seed)?
            }
            Input::Stored(stored) => stored.open(output)?,
        };
        // The bytes to write, and for ONNX, where they are gathered, the weights that normalisation was folded into.
        let copies = if matches!(format, Format::Onnx(_)) { 4 } else { 1 };
        memory::check_parameters(&model.graph, copies)?;
        let files = match format {
            Format::Safetensors => vec![(out, model.to_bytes())],
            Format::Onnx(options) => vec![(out, model.to_onnx(options)?)],
            Format::Timm => {
                let name = model.graph.name();
                if !zoo::network(name)?.is_in_timm() {
                    output.warn(&format!(
                        "timm has no {name}: the folder is written in its form, which top5 reads, but timm cannot \
                         build it; `top5 models --csv` tells which networks it has, and .onnx files need none"
                    ));
                }
                // timm builds its networks without auxiliary heads, and refuses a file that has them.
                model = model.inference();
                vec![
                    (out.join(WEIGHTS_FILE), model.to_bytes()),
                    (out.join(CONFIG_FILE), model.to_timm_config()),
                ]
            }
        };
        let interrupt = Interrupt::default();
        interrupt.listen()?;
        output.model(&files, &interrupt)?;
        let written: Vec<String> =
            files.iter().map(|(path, _)| path.display().to_string()).collect();
        if output.json {
            return output.document(&Converted {
                network: model.graph.name().to_owned(),
                parameters: model.graph.param_count(),
                files: written,
            });
        }
        output.note(&format!("{} written to {}", model.graph.name(), written.join(" and ")));
        Ok(())
    }
}
