//! A network with its weights from an ONNX file: the one of the zoo whose structure the file has.

use top5_formats::{Onnx, OnnxWeights};
use top5_graph::Graph;
use top5_zoo::{Network, Settings};

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

/// Compares the file with `named`, or with every network of the zoo.
pub(crate) fn recognise(
    bytes: &[u8],
    named: Option<&'static Network>,
) -> Result<Recognised, ModelError> {
    let onnx = Onnx::read(bytes)?;
    let mut reason = None;
    for network in top5_zoo::networks() {
        if named.is_some_and(|named| named.name != network.name) {
            continue;
        }
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
        // A network whose last layer is no convolution has its own number of classes.
        let mut counts = vec![classes, network.classes];
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
    let kinds = if kinds.is_empty() { "no nodes".to_owned() } else { kinds.join(", ") };
    Err(ModelError::Onnx { named: named.map(|network| network.name), kinds, reason })
}
