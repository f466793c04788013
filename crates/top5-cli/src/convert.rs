//! `top5 convert`: a model in another format. The format follows from the name of what is to be written.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use top5::formats::onnx;
use top5::{CONFIG_FILE, Model, WEIGHTS_FILE, write_whole, zoo};

use crate::args::ConvertArgs;
use crate::exit::Stop;
use crate::output::Output;

/// The document of `--json`.
#[derive(Serialize)]
struct Converted {
    network: String,
    parameters: usize,
    files: Vec<String>,
}

/// Runs the command.
pub(crate) fn run(args: &ConvertArgs, output: Output) -> Result<()> {
    let mut model = match args.init {
        Some(seed) => Model::untrained(zoo::network(&args.input)?, seed)?,
        None => args.weights.open(&args.input)?,
    };
    let out = &args.output;
    let extension = out.extension().and_then(OsStr::to_str);
    if extension.is_none() {
        // timm builds its networks without auxiliary heads, and refuses a file that has them.
        model = model.inference();
    }
    let files = match extension {
        Some("safetensors") => vec![(out.clone(), model.to_bytes())],
        Some("onnx") => {
            let options = onnx::Options { fold: !args.no_fold, batch: args.batch };
            vec![(out.clone(), onnx::write(&model.graph, &model.weights, options)?)]
        }
        None => vec![
            (out.join(WEIGHTS_FILE), model.to_bytes()),
            (out.join(CONFIG_FILE), model.to_timm_config()),
        ],
        Some(other) => {
            let message = format!(
                "{}: no format is called .{other}: expected a name with .safetensors or .onnx, \
                 or one without an extension for timm's folder",
                out.display()
            );
            return Err(Stop::Usage(message).into());
        }
    };
    if let Some((taken, _)) = files.iter().find(|(path, _)| path.exists() && !args.force) {
        let message = format!("{} exists: choose another name, or give --force", taken.display());
        return Err(Stop::Resource(message).into());
    }
    for (path, bytes) in &files {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        write_whole(path, bytes)?;
    }
    let written: Vec<String> = files.iter().map(|(path, _)| path.display().to_string()).collect();
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
