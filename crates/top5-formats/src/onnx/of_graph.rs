//! A graph as ONNX has it: each layer the chain of nodes that its spec says.

use super::model::{Attribute, Content, Model, ModelNode, ModelTensor};
use std::collections::{BTreeMap, BTreeSet};
use top5_graph::onnx::{Attribute as SpecAttribute, Constant};
use top5_graph::{Graph, Kernels, Node};

/// The name of a graph's input in what is written.
pub(super) const INPUT: &str = "input";
/// The name of its output.
pub(super) const LOGITS: &str = "logits";

const BIAS: &str = "bias";

/// The graph's nodes in ONNX, in order. `folded` has, for each convolution that takes up the affine map after it, that map.
pub(super) fn of_graph<'a>(graph: &Graph, folded: &BTreeMap<usize, usize>) -> Model<'a> {
    let taken_up: BTreeSet<usize> = folded.values().copied().collect();
    let [c, h, w] = graph.input();
    let mut model = Model {
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        input: (INPUT.to_owned(), [Some(c), Some(h), Some(w)]),
        outputs: vec![LOGITS.to_owned()],
        metadata: BTreeMap::new(),
        intake: Ok(None),
        tail: Vec::new(),
    };
    let mut values: Vec<String> = Vec::new();
    for node in graph.nodes() {
        let inputs: Vec<String> =
            node.inputs.iter().map(|input| values[input.index()].clone()).collect();
        let value = match inputs.first() {
            None => INPUT.to_owned(),
            // Dropout, and what a convolution has taken up.
            Some(first) if node.spec.onnx.is_empty() || taken_up.contains(&node.id.index()) => {
                first.clone()
            }
            Some(_) => {
                let folds = folded.contains_key(&node.id.index());
                model.push_layer(graph, node, inputs, folds)
            }
        };
        values.push(value);
    }
    let last = values[graph.logits().id.index()].clone();
    if last != LOGITS {
        model.push("Identity", BTreeMap::new(), vec![last], LOGITS);
    }
    model
}

impl Model<'_> {
    fn push(
        &mut self,
        op: &str,
        attributes: BTreeMap<String, Attribute>,
        inputs: Vec<String>,
        output: &str,
    ) {
        let outputs = vec![output.to_owned()];
        self.nodes.push(ModelNode { op: op.to_owned(), attributes, inputs, outputs });
    }

    /// Appends the chain of a layer; returns the name of its value. One that folds an affine map has a bias.
    fn push_layer(
        &mut self,
        graph: &Graph,
        node: &Node,
        inputs: Vec<String>,
        folds: bool,
    ) -> String {
        let mut value = inputs;
        let last = node.spec.onnx.len() - 1;
        for (i, link) in node.spec.onnx.iter().enumerate() {
            if let Some((input, axes)) = &link.unsqueezed {
                let name = format!("{}.{i}.unsqueezed", node.name);
                let axes = self.constant(&format!("{name}.axes"), &Constant::Ints(axes.clone()));
                self.push("Unsqueeze", BTreeMap::new(), vec![value[*input].clone(), axes], &name);
                value[*input] = name;
            }
            for param in node.spec.params.iter().filter(|_| link.params) {
                let name = node.param_name(param);
                let dims = dense_shape(graph, node, param.role).unwrap_or(param.shape.clone());
                let content = Content::Param(node.id.index(), param.role);
                self.tensors.insert(name.clone(), ModelTensor { dims, content });
                value.push(name);
            }
            if folds && link.params && node.spec.params.iter().all(|param| param.role != BIAS) {
                let name = format!("{}.{BIAS}", node.name);
                let content = Content::Param(node.id.index(), BIAS);
                let dims = vec![node.shape().channels()];
                self.tensors.insert(name.clone(), ModelTensor { dims, content });
                value.push(name);
            }
            let output = match (i == last, node.id == graph.logits().id) {
                (true, true) => LOGITS.to_owned(),
                (true, false) => node.name.clone(),
                (false, _) => format!("{}.{i}", node.name),
            };
            for (j, constant) in link.constants.iter().enumerate() {
                value.push(self.constant(&format!("{}.{i}.constant{j}", node.name), constant));
            }
            let attributes = link.attributes.iter().map(|(name, value)| {
                let value = match value {
                    SpecAttribute::Int(value) => Attribute::Int(*value),
                    SpecAttribute::Ints(values) => Attribute::Ints(values.clone()),
                    SpecAttribute::Float(value) => Attribute::Float(*value),
                };
                ((*name).to_owned(), value)
            });
            self.push(link.op_type, attributes.collect(), value, &output);
            value = vec![output];
        }
        value.pop().unwrap_or_default()
    }

    fn constant(&mut self, name: &str, constant: &Constant) -> String {
        let tensor = match constant {
            Constant::Floats(dims, values) => ModelTensor {
                dims: dims.iter().map(|&d| d as usize).collect(),
                content: Content::Floats(values.clone()),
            },
            Constant::Ints(values) => {
                ModelTensor { dims: vec![values.len()], content: Content::Ints(values.clone()) }
            }
        };
        self.tensors.insert(name.to_owned(), tensor);
        name.to_owned()
    }
}

/// The shape of the dense weight of the convolution that a layer is, where it is not the layer's own.
fn dense_shape(graph: &Graph, node: &Node, role: &str) -> Option<Vec<usize>> {
    let convolution = node.spec.convolution.as_ref().filter(|_| role == "weight")?;
    if convolution.kernels == Kernels::Dense {
        return None;
    }
    let inputs = graph.node(node.inputs[0]).shape().channels();
    let [r, s] = convolution.window.kernel;
    Some(vec![node.shape().channels(), inputs / convolution.groups, r, s])
}
