//! The files of `shared/reference/inside`: signals with respect to the image, from PyTorch.

use crate::oracle::{image, shared, weights_for};
use serde_json::Value;
use std::collections::BTreeMap;
use top5_graph::{
    Device, EngineError, GateRule, Graph, Purpose, Retain, Rule, SessionOptions, Tensor,
};

/// The class whose logit the files explain.
const CLASS: usize = 3;

/// The signals of `reference/inside/NAME.safetensors`, with the rule of each; `None` where the reference is missing.
///
/// # Panics
/// If the file is not what it should be.
pub fn inside(network: &str) -> Option<Vec<(&'static str, Rule, Tensor)>> {
    let mut tensors = file(network)?;
    // There, gates are no exception.
    let through = |rule: Rule| Rule { gates: GateRule::Through, ..rule };
    let rules = [
        ("gradient", Rule::gradient()),
        ("guided_backprop", through(Rule::guided())),
        ("deconvolution", through(Rule::deconvnet())),
    ];
    let signal = |(name, rule)| {
        let tensor = tensors.remove(name);
        (name, rule, tensor.unwrap_or_else(|| panic!("{network}.safetensors: no {name}")))
    };
    Some(rules.map(signal).into())
}

/// The occlusion map of `reference/inside/NAME.safetensors`, `[1, c, h, w]`; `None` where the reference is missing.
///
/// # Panics
/// If the file is not what it should be.
pub fn occlusion(network: &str) -> Option<Tensor> {
    let tensor = file(network)?.remove("occlusion");
    Some(tensor.unwrap_or_else(|| panic!("{network}.safetensors: no occlusion")))
}

fn file(network: &str) -> Option<BTreeMap<String, Tensor>> {
    let path = shared()?.join("reference/inside").join(format!("{network}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(tensors(&bytes))
}

/// The tensors of a safetensors file: the length of the header in eight bytes, the header, the data.
fn tensors(bytes: &[u8]) -> BTreeMap<String, Tensor> {
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes"));
    let (header, data) = rest.split_at(length as usize);
    let header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("a header");
    let numbers = |value: &Value| -> Vec<usize> {
        let numbers = value.as_array().expect("a list").iter();
        numbers.map(|number| number.as_u64().expect("a number") as usize).collect()
    };
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let range = numbers(&entry["data_offsets"]);
        let values = data[range[0]..range[1]].chunks_exact(4);
        let values = values.map(|v| f32::from_le_bytes(v.try_into().expect("four bytes")));
        let tensor = Tensor::new(numbers(&entry["shape"]), values.collect());
        tensors.insert(name.clone(), tensor.expect("as many values as the shape says"));
    }
    tensors
}

/// The signal with respect to the image of the files, from the logit of their class, by this rule.
pub fn explain(device: &dyn Device, graph: &Graph, rule: Rule) -> Result<Tensor, EngineError> {
    let graph = graph.inference();
    let network = device.network(&graph, weights_for(&graph), Retain::Nothing)?;
    let purpose = Purpose::explanation(graph.logits().id, vec![graph.nodes()[0].id], rule);
    let options = SessionOptions { purpose, ..SessionOptions::inference(1) };
    let mut session = network.session(&graph, &options)?;
    session.forward(image("input", &[&[1], &graph.input()[..]].concat()).data())?;
    let mut seed = Tensor::zeros([1, graph.classes()]);
    seed.data_mut()[CLASS] = 1.0;
    Ok(session.backward(&seed)?.remove(0))
}
