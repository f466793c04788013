//! The graphs of `top5 convert` for the libraries that don't read ONNX at run time: burn generates source code from it, and
//! candle-onnx has no padded max-pooling. Each makes a layer of its own operations for every node, once.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::Framework;

/// A node that takes activations, with its constants.
pub struct Node {
    pub op: String,
    pub weights: Vec<Weight>,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
    pub ceil: bool,
}

pub struct Weight {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// What a library does for a node.
pub type Layer<T> = Box<dyn Fn(Vec<T>) -> Result<T>>;

/// The nodes in order; the activations are numbered from the input, 0, and node `i` makes activation `i + 1`.
pub struct Graph<T> {
    steps: Vec<Step<T>>,
}

struct Step<T> {
    layer: Layer<T>,
    inputs: Vec<usize>,
    /// The activations that no later step reads.
    dead: Vec<usize>,
}

impl<T: Clone> Graph<T> {
    pub fn load(model: &str, layer: impl Fn(Node) -> Result<Layer<T>>) -> Result<Self> {
        let proto = tract_onnx::onnx().proto_model_for_path(model)?;
        let graph = proto.graph.context("no graph")?;
        let mut weights = HashMap::new();
        for tensor in &graph.initializer {
            let values = tensor.raw_data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
            let shape: Vec<usize> = tensor.dims.iter().map(|&d| d as usize).collect();
            let weight = Weight { shape, values: values.collect() };
            ensure!(
                weight.shape.iter().product::<usize>() == weight.values.len(),
                "{}: no raw f32",
                tensor.name
            );
            weights.insert(tensor.name.as_str(), weight);
        }
        let mut numbers = HashMap::from([(graph.input[0].name.as_str(), 0)]);
        let mut steps = Vec::new();
        let mut last_use = vec![0];
        for (at, node) in graph.node.iter().enumerate() {
            let (mut inputs, mut own) = (Vec::new(), Vec::new());
            for name in &node.input {
                if let Some(&number) = numbers.get(name.as_str()) {
                    last_use[number] = at;
                    inputs.push(number);
                } else {
                    own.push(weights.remove(name.as_str()).with_context(|| name.clone())?);
                }
            }
            numbers.insert(node.output[0].as_str(), at + 1);
            last_use.push(usize::MAX);
            let layer = layer(describe(node, own)?).with_context(|| node.name.clone())?;
            steps.push(Step { layer, inputs, dead: Vec::new() });
        }
        for (number, &at) in last_use.iter().enumerate() {
            if let Some(step) = steps.get_mut(at) {
                step.dead.push(number);
            }
        }
        Ok(Self { steps })
    }

    pub fn run(&self, input: T) -> Result<T> {
        let mut activations = vec![Some(input)];
        for step in &self.steps {
            let mut inputs = Vec::with_capacity(step.inputs.len());
            for &number in &step.inputs {
                inputs.push(activations[number].clone().context("dead activation")?);
            }
            // Before the step, so that what it alone still holds can be overwritten.
            for &number in &step.dead {
                activations[number] = None;
            }
            activations.push(Some((step.layer)(inputs)?));
        }
        activations.pop().flatten().context("empty graph")
    }
}

/// Square kernels, equal strides and equal paddings are all that these graphs have.
fn describe(node: &NodeProto, weights: Vec<Weight>) -> Result<Node> {
    let mut described = Node {
        op: node.op_type.clone(),
        weights,
        kernel: 1,
        stride: 1,
        padding: 0,
        groups: 1,
        ceil: false,
    };
    for attribute in &node.attribute {
        let equal = || -> Result<usize> {
            let first = *attribute.ints.first().context("no values")?;
            ensure!(attribute.ints.iter().all(|&i| i == first), "{} differ", attribute.name);
            Ok(first as usize)
        };
        match attribute.name.as_str() {
            // Convolutions have theirs in the shape of their weights.
            "kernel_shape" if node.op_type == "Conv" => {}
            "kernel_shape" => described.kernel = equal()?,
            "strides" => described.stride = equal()?,
            "pads" => described.padding = equal()?,
            "group" => described.groups = attribute.i as usize,
            "ceil_mode" => described.ceil = attribute.i == 1,
            "axis" | "transB" if attribute.i == 1 => {}
            name => bail!("{}: attribute {name} isn't known here", node.name),
        }
    }
    Ok(described)
}
