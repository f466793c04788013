//! `top5 show`: the layers of a network.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::draw;
use top5::graph::{self, LayerRow};
use top5::zoo::{self, Network as Registered, Settings};

use crate::args::ShowArgs;
use crate::models::{describe, size};
use crate::output::Output;

/// The document of `--json`.
#[derive(Serialize)]
struct Network {
    name: &'static str,
    year: u16,
    paper: String,
    input: [usize; 3],
    classes: usize,
    /// Auxiliary heads included.
    params: usize,
    /// At inference, as activations.
    macs: u64,
    activations: usize,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    kind: &'static str,
    attributes: String,
    inputs: Vec<String>,
    output: Vec<usize>,
    params: usize,
    macs: u64,
    receptive_field: [usize; 2],
}

/// The command, resolved.
pub(crate) struct Task {
    network: &'static Registered,
    settings: Settings,
    markdown: bool,
    svg: Option<PathBuf>,
}

impl Task {
    pub(crate) fn resolve(args: ShowArgs) -> Result<Self> {
        let network = zoo::network(&args.network)?;
        let registered = network.settings();
        let settings = Settings {
            classes: args.classes.unwrap_or(registered.classes),
            input: args.input.unwrap_or(registered.input),
            ..registered
        };
        Ok(Self { network, settings, markdown: args.markdown, svg: args.svg })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { network, settings, markdown, svg } = self;
        // The heads that only training needs are shown where the input leaves room for them.
        let graph = network.with(settings).or_else(|error| {
            network.with(Settings { auxiliary: false, ..settings }).map_err(|_| error)
        })?;
        let inference = graph.inference();
        if let Some(path) = &svg {
            output.file(path, draw::architecture(&graph).as_bytes())?;
        }
        if output.json {
            return output.document(&Network {
                name: network.name,
                year: network.year,
                paper: describe(&network.paper),
                input: graph.input(),
                classes: graph.classes(),
                params: graph.param_count(),
                macs: inference.macs(),
                activations: inference.activations(),
                layers: graph::rows(&graph).into_iter().map(layer).collect(),
            });
        }
        if markdown {
            return output.text(&graph::markdown(&graph));
        }
        let heading = format!(
            "{}, {}: {} ({})\ninput {}, {} classes\n\n",
            network.name,
            network.year,
            describe(&network.paper),
            network.section,
            size(graph.input()),
            graph.classes()
        );
        output.text(&(heading + &graph::table(&graph)))
    }
}

fn layer(row: LayerRow) -> Layer {
    Layer {
        name: row.name,
        kind: row.kind,
        attributes: row.label,
        inputs: row.inputs,
        output: row.output.dims(),
        params: row.params,
        macs: row.macs,
        receptive_field: row.receptive_field,
    }
}
