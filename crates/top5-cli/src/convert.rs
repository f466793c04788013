//! `top5 convert`: a model in another format. The format follows from the name of what is to be written.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::formats::onnx;
use top5::zoo::{self, Network};
use top5::{CONFIG_FILE, Model, WEIGHTS_FILE};

use crate::args::ConvertArgs;
use crate::exit::Stop;
use crate::memory;
use crate::output::Output;
use crate::source::StoredModel;

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
        output.model(&files)?;
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
