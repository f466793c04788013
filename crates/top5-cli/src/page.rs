//! `top5 page export`: the page of `top5 serve` as files, with results computed beforehand.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::Options;
use top5::explain::Method;
use top5::graph::counted;
use top5_serve::{ExportError, Server};

use crate::args::{ImageArgs, TunedArgs};
use crate::exit::Stop;
use crate::folder::Folder;
use crate::interrupt::Interrupt;
use crate::memory::limited;
use crate::output::Output;
use crate::printable;
use crate::progress::Progress;
use crate::serve::named;
use crate::serve::results::{Results, ShownArgs};
use crate::source::StoredModel;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 page export site                             the embedded LeNet; open site/index.html
  top5 page export site lenet mine=runs/mine --methods grad-cam,occlusion";

#[derive(Debug, Args)]
pub(crate) struct PageArgs {
    /// What is done: export writes the page, with results computed beforehand, into a folder
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(["export"]))]
    action: String,
    /// The folder, which must be empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Models, each with its name on the page: run folders, weights files, timm folders or hf-hub:ORG/NAME
    #[arg(value_name = "[NAME=]MODEL", default_value = "lenet-digits")]
    models: Vec<String>,
    /// Methods that explain each image
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    #[arg(default_value = "gradient,deconvnet,guided,grad-cam,hires-cam,occlusion")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Method::NAMES))]
    methods: Vec<String>,
    /// Open no network connection to load a model: read the hub's cache only
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    shown: ShownArgs,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    engine: TunedArgs,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Written {
    folder: String,
    files: Vec<String>,
    bytes: usize,
}

/// The command, resolved.
pub(crate) struct Task {
    models: Vec<(String, StoredModel)>,
    methods: Vec<String>,
    folder: PathBuf,
    engine: Options,
    results: Results,
}

impl Task {
    pub(crate) fn resolve(args: PageArgs) -> Result<Self> {
        // There is one action.
        let PageArgs { action: _, folder, models, methods, offline, shown, images, engine } = args;
        let results = Results::resolve(shown, images)?;
        let models = named(&models, offline)?;
        Ok(Self { models, methods, folder, engine: engine.options()?, results })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let shown = self.results.open(output)?;
        let mut folder = Folder::named(&self.folder, output)?;
        let mut models = Vec::new();
        for (name, stored) in &self.models {
            models.push((name.clone(), stored.open(output)?.inference()));
        }
        let options = top5_serve::Options { shown, ..top5_serve::Options::default() };
        let device = top5::device(&limited(self.engine))?;
        let server = Server::new(models, Arc::new(device), options)?;
        let interrupt = Interrupt::default();
        interrupt.listen()?;
        let stop = interrupt.stop();
        let mut bar = None;
        let files = server.export(&self.methods, &mut |done, all| {
            let bar = bar.get_or_insert_with(|| Progress::new(output, "answers", all));
            bar.set(done, String::new);
            !stop.is_set()
        });
        drop(bar);
        let files = match (files, interrupt.signal()) {
            (Err(ExportError::Stopped), Some(signal)) => {
                let message = "stopped; nothing was written".to_owned();
                return Err(Stop::Interrupted { signal, message }.into());
            }
            (files, _) => files?,
        };
        for (name, bytes) in &files {
            folder.write(name, bytes)?;
        }
        folder.finish()?;
        let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let page = self.folder.join("index.html").display().to_string();
        if output.json {
            let files = files.into_iter().map(|(name, _)| name).collect();
            let folder = self.folder.display().to_string();
            return output.document(&Written { folder, files, bytes });
        }
        let (page, megabytes) = (printable::name(&page), bytes as f64 / 1e6);
        output.text(&format!(
            "{page}: {}, {megabytes:.1} MB; it opens without a server\n",
            counted(files.len(), "file")
        ))
    }
}
