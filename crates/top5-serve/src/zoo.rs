//! What the page tells of networks that need no weights: the registry, the contest, the layers; and images to begin with.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::{Value, json};
use top5::explain::picture::encode;
use top5::graph::GraphError;
use top5::{Listed, zoo};

use crate::failure::Failure;

/// Digits that are part of the program, to begin with.
const SAMPLES: usize = 10;

/// All networks and ensembles, and the contest's entries.
pub(crate) fn registry() -> Result<&'static Value, Failure> {
    static REGISTRY: OnceLock<Option<Value>> = OnceLock::new();
    let made = || -> Result<Value, GraphError> {
        let networks = zoo::networks().map(Listed::of_network);
        let rows = networks.chain(zoo::ensembles().map(Listed::of_ensemble));
        let rows = rows.collect::<Result<Vec<Listed>, _>>()?;
        let contest = zoo::CONTEST.iter().map(|entry| {
            json!({ "name": entry.name, "year": entry.year, "top5_error": as_written(&entry.top5_error),
                "winner": entry.winner, "network": entry.network })
        });
        Ok(json!({ "models": as_written(&rows), "contest": contest.collect::<Vec<_>>(),
            "human_top5_error": as_written(&zoo::HUMAN_TOP5_ERROR) }))
    };
    REGISTRY.get_or_init(|| made().ok()).as_ref().ok_or_else(Failure::internal)
}

/// What is told with numbers of single precision in the digits that they were written in: as values alone they would be told as doubles.
pub(crate) fn as_written(told: &impl Serialize) -> Value {
    let text = serde_json::to_string(told).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// The layers of a network as registered.
pub(crate) fn layers(name: &str) -> Result<Value, Failure> {
    let absent = || Failure::absent("there is no network of this name: GET /v1/zoo lists them");
    let network = zoo::networks().find(|network| network.name == name).ok_or_else(absent)?;
    let graph = network.graph().map_err(|_| Failure::internal())?;
    let layers: Vec<Value> = rows(&graph).collect();
    Ok(json!({ "name": network.name, "input": network.input, "layers": layers }))
}

/// A graph's layers in their order.
pub(crate) fn rows(graph: &top5::graph::Graph) -> impl Iterator<Item = Value> {
    top5::graph::rows(graph).into_iter().zip(graph.nodes()).map(|(row, node)| {
        let groups = node.spec.convolution.as_ref().map(|convolution| convolution.groups);
        json!({ "name": row.name, "kind": row.kind, "attributes": row.label, "inputs": row.inputs,
            "output": row.output.dims(), "params": row.params, "macs": row.macs,
            "receptive_field": row.receptive_field, "groups": groups })
    })
}

/// A digit that is part of the program, as a PNG file.
pub(crate) struct Sample {
    name: String,
    label: u32,
    png: Vec<u8>,
}

/// One digit of each class.
fn digits() -> &'static [Sample] {
    static DIGITS: OnceLock<Vec<Sample>> = OnceLock::new();
    DIGITS.get_or_init(|| {
        let Some(test) = top5::data::digits().test else { return Vec::new() };
        let mut found: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for index in 0..test.len() {
            let Ok(sample) = test.sample(index) else { continue };
            if let (Entry::Vacant(place), Ok(png)) =
                (found.entry(sample.label), encode(&sample.image, &[]))
            {
                place.insert(png);
            }
            if found.len() == SAMPLES {
                break;
            }
        }
        let sample = |(label, png)| Sample { name: format!("digit-{label}"), label, png };
        found.into_iter().map(sample).collect()
    })
}

/// Images to begin with.
pub(crate) fn samples() -> Value {
    let sample = |sample: &Sample| {
        let (name, label) = (&sample.name, sample.label.to_string());
        json!({ "name": name, "label": label, "image": format!("v1/samples/{name}.png") })
    };
    json!({ "samples": digits().iter().map(sample).collect::<Vec<Value>>() })
}

/// Names and files of the samples.
pub(crate) fn sample_files() -> Vec<(String, Vec<u8>)> {
    digits().iter().map(|sample| (sample.name.clone(), sample.png.clone())).collect()
}

/// The file of a sample.
pub(crate) fn sample(file: &str) -> Result<&'static [u8], Failure> {
    let absent = || Failure::absent("there is no such sample: GET /v1/samples lists them");
    let name = file.strip_suffix(".png").ok_or_else(absent)?;
    let found = digits().iter().find(|sample| sample.name == name);
    found.map(|sample| sample.png.as_slice()).ok_or_else(absent)
}
