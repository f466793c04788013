//! A network with its weights from an ONNX file: the one of the zoo whose structure the file has.

use top5_formats::{Onnx, OnnxWeights};
use top5_graph::Graph;
use top5_zoo::{Network, Settings};

use crate::description::Description;
use crate::error::ModelError;

/// Kinds of nodes that an error lists.
const LISTED: usize = 5;

/// What a file holds.
pub(crate) struct Recognised {
    pub(crate) network: &'static Network,
    /// At the file's input size and number of classes, without auxiliary heads.
    pub(crate) graph: Graph,
    pub(crate) weights: OnnxWeights,
}

/// What was done to a file that has nodes of this kind, and what to do about it.
fn rewritten(op: &str) -> Option<String> {
    let quantised = [
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "QLinearConv",
    ];
    if quantised.contains(&op) {
        return Some("it is quantised: take the file before it was".to_owned());
    }
    let fused = ["FusedConv", "FusedGemm", "FusedMatMul"];
    let what = "ONNX Runtime has optimised it for itself: take the file before it was";
    fused.contains(&op).then(|| what.to_owned())
}

/// Compares the file with `named`; otherwise with the network that it is said to be, then with every network of the zoo.
pub(crate) fn recognise(
    onnx: &Onnx<'_>,
    named: Option<&'static Network>,
    description: &Description,
) -> Result<Recognised, ModelError> {
    let mut reason = None;
    let said = description.network.as_deref().and_then(|name| top5_zoo::network(name).ok());
    let all = said.into_iter().chain(top5_zoo::networks());
    for network in all.filter(|network| named.is_none_or(|named| named.name == network.name)) {
        let [c, h, w] = network.input;
        let [channels, height, width] = onnx.input();
        let input = [channels.unwrap_or(c), height.unwrap_or(h), width.unwrap_or(w)];
        let classes = match onnx.classes(input) {
            Ok(classes) => classes,
            Err(unknown) => {
                reason.get_or_insert(unknown);
                continue;
            }
        };
        // A network whose last layer is no convolution has its own number of classes, or the one that is said.
        let mut counts = vec![classes, network.classes];
        counts.extend(description.class_count);
        counts.dedup();
        for classes in counts {
            let Ok(graph) = network.with(Settings { input, classes, ..network.settings() }) else {
                continue;
            };
            if let Some(weights) = onnx.weights(&graph) {
                return Ok(Recognised { network, graph: graph.inference(), weights });
            }
        }
    }
    let census = onnx.census();
    let kinds: Vec<String> =
        census.iter().take(LISTED).map(|(op, count)| format!("{count} {op}")).collect();
    let reason = census.iter().find_map(|(op, _)| rewritten(op)).or(reason);
    let kinds = if kinds.is_empty() { "no nodes".to_owned() } else { kinds.join(", ") };
    Err(ModelError::Onnx { named: named.map(|network| network.name), kinds, reason })
}
