//! `top5 show`: the layers of a network, and what a model has beside them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::graph::{self, Graph, LayerRow, counted};
use top5::zoo::{self, Network as Registered, Settings};
use top5::{Model, citation, draw};

use crate::args::WeightsArgs;
use crate::exit::Stop;
use crate::models::size;
use crate::output::{Kind, Output};
use crate::printable;
use crate::run_folder::read_recipe;
use crate::source::{Named, StoredModel};

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 show lenet
  top5 show resnet50 --classes 10 --input 3x256x256 --svg resnet50.svg
  top5 show runs/lenet-digits                         what a run, a file or a folder of weights holds";

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
    /// Whether timm has the network, under this name.
    timm: bool,
    /// Absent where a network is shown and no model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Stored>,
    layers: Vec<Layer>,
}

/// What a model has beside its network.
#[derive(Serialize)]
struct Stored {
    weights: String,
    class_names: Vec<String>,
    preprocess: String,
    /// What it learnt from, where it is a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
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
    shown: Shown,
    /// The input that is asked for.
    input: Option<[usize; 3]>,
    markdown: bool,
    svg: Option<PathBuf>,
}

/// What is shown.
enum Shown {
    /// A network, with this number of classes.
    Network(&'static Registered, usize),
    /// A model, and the data that it learnt from if it is a run.
    Model(StoredModel, Option<String>),
}

impl Task {
    pub(crate) fn resolve(args: ShowArgs) -> Result<Self> {
        let shown = match Named::resolve(&args.network, &args.weights)? {
            Named::Network(network) => {
                Shown::Network(network, args.classes.unwrap_or(network.classes))
            }
            Named::Model(_) if args.classes.is_some() => {
                let message = "--classes is for networks: a model has the classes of its weights";
                return Err(Stop::Usage(message.to_owned()).into());
            }
            Named::Model(model) => {
                let recipe = read_recipe(Path::new(&args.network))?;
                Shown::Model(model, recipe.map(|recipe| recipe.data))
            }
        };
        Ok(Self { shown, input: args.input, markdown: args.markdown, svg: args.svg })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { shown, input, markdown, svg } = self;
        let (network, graph, stored) = match shown {
            Shown::Network(network, classes) => {
                let input = input.unwrap_or(network.input);
                (network, build(network, input, classes)?, None)
            }
            Shown::Model(model, data) => {
                let weights = model.origin();
                let Model { graph, classes, preprocess, .. } = model.open(output)?;
                let network = zoo::network(graph.name())?;
                let preprocess = preprocess.describe();
                let stored = Stored { weights, class_names: classes, preprocess, data };
                let graph = match input {
                    Some(input) => build(network, input, graph.classes())?,
                    None => graph,
                };
                (network, graph, Some(stored))
            }
        };
        if let Some(path) = &svg {
            output.file(path, Kind::Svg, draw::architecture(&graph).as_bytes())?;
        }
        if output.json {
            return output.document(&document(network, &graph, stored));
        }
        if markdown {
            return output.text(&graph::markdown(&graph));
        }
        output.text(&(heading(network, &graph, stored.as_ref()) + &graph::table(&graph)))
    }
}

/// The network at this input. The heads that only training needs are shown where the input leaves room for them.
fn build(network: &Registered, input: [usize; 3], classes: usize) -> Result<Graph> {
    let settings = Settings { classes, input, ..network.settings() };
    let bare = Settings { auxiliary: false, ..settings };
    Ok(network.with(settings).or_else(|error| network.with(bare).map_err(|_| error))?)
}

fn document(network: &'static Registered, graph: &Graph, model: Option<Stored>) -> Network {
    let inference = graph.inference();
    Network {
        name: network.name,
        year: network.year,
        paper: citation(&network.paper),
        input: graph.input(),
        classes: graph.classes(),
        params: graph.param_count(),
        macs: inference.macs(),
        activations: inference.activations(),
        timm: network.is_in_timm(),
        model,
        layers: graph::rows(graph).into_iter().map(layer).collect(),
    }
}

/// What stands above the layers.
fn heading(network: &Registered, graph: &Graph, model: Option<&Stored>) -> String {
    /// Classes that are named.
    const NAMED: usize = 10;
    let mut text = format!(
        "{}, {}: {} ({})\ninput {}, {}",
        network.name,
        network.year,
        citation(&network.paper),
        network.section,
        size(graph.input()),
        counted(graph.classes(), "class")
    );
    if let Some(Stored { weights, class_names, preprocess, data }) = model {
        let names = printable::list(class_names.iter().map(String::as_str), NAMED);
        text += &format!(": {names}\nweights: {}\n", printable::path(weights));
        text += &format!("preprocessing: {preprocess}");
        if let Some(data) = data {
            text += &format!("\nlearnt from: {}", printable::path(data));
        }
    }
    let timm = if network.is_in_timm() { "has" } else { "lacks" };
    text + &format!("\ntimm {timm} this network\n\n")
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
