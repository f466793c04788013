//! ONNX export (operator set 17): a fold over the nodes' specs, each of which holds its ONNX form.

use super::model::{Attribute, Content, Model, ModelNode, ModelTensor};
use super::of_graph::{INPUT, LOGITS, of_graph};
use crate::protobuf::Message;
use std::collections::BTreeMap;
use top5_graph::{Convolution, Graph, Kernels, Node, Shape, Tensor, Weights, WeightsError};

/// What the exported model looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether batch normalisations that follow a convolution become part of it.
    pub fold: bool,
    /// The batch size; any batch when `None`.
    pub batch: Option<usize>,
}

/// ONNX's numbers for element types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// The model: input `input`, shape `[batch, channels, height, width]`; output `logits`. Auxiliary heads are left out.
/// `weights` may hold them; otherwise it must be exactly the graph's. `metadata` are kept as they are.
pub fn write(
    graph: &Graph,
    weights: &Weights,
    options: Options,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    if graph.params().any(|(name, _)| weights.tensor(&name).is_none()) {
        // The heads are missing: then the rest must be complete.
        weights.check(&graph.inference())?;
    } else {
        weights.check(graph)?;
    }
    let graph = graph.inference();
    let folded = if options.fold { foldable(&graph) } else { BTreeMap::new() };
    let model = of_graph(&graph, &folded);
    let mut message = Message::new();
    for node in &model.nodes {
        message = message.message(1, &node_message(node));
    }
    for (name, tensor) in constants(&model) {
        message = message.message(5, &tensor_message(name, tensor));
    }
    for node in graph.nodes().iter().filter(|node| !folded.values().any(|&n| n == node.id.index()))
    {
        let norm = folded.get(&node.id.index()).map(|&norm| &graph.nodes()[norm]);
        for (role, tensor) in parameters(&graph, node, norm, weights) {
            let name = format!("{}.{role}", node.name);
            message = message.message(5, &float_message(&name, tensor.shape(), tensor.data()));
        }
    }
    let input = Shape::Map(graph.input());
    let graph_message = message
        .text(2, graph.name())
        .message(11, &value_info(INPUT, input, options.batch))
        .message(12, &value_info(LOGITS, graph.logits().shape(), options.batch));
    let opset = Message::new().text(1, "").int(2, 17);
    let model = Message::new()
        .int(1, 8)
        .text(2, "top5")
        .text(3, env!("CARGO_PKG_VERSION"))
        .message(7, &graph_message)
        .message(8, &opset);
    let entries = metadata.iter().map(|(key, value)| Message::new().text(1, key).text(2, value));
    Ok(entries.fold(model, |model, entry| model.message(14, &entry)).into_bytes())
}

/// For each convolution whose only user is an affine map, that map.
fn foldable(graph: &Graph) -> BTreeMap<usize, usize> {
    let users = graph.users();
    let mut pairs = BTreeMap::new();
    for node in graph.nodes().iter().filter(|node| node.spec.affine.is_some()) {
        let source = graph.node(node.inputs[0]);
        if source.spec.convolution.is_some()
            && users[source.id.index()].len() == 1
            && source.id != graph.logits().id
        {
            pairs.insert(source.id.index(), node.id.index());
        }
    }
    pairs
}

/// Tensors that are no parameters.
fn constants<'m>(model: &'m Model<'_>) -> impl Iterator<Item = (&'m str, &'m ModelTensor<'m>)> {
    let tensors = model.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    tensors.filter(|(_, tensor)| !matches!(tensor.content, Content::Param(..)))
}

fn tensor_message(name: &str, tensor: &ModelTensor<'_>) -> Message {
    match &tensor.content {
        Content::Floats(values) => float_message(name, &tensor.dims, values),
        Content::Ints(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            raw_message(name, &tensor.dims, INT64, &bytes)
        }
        Content::Stored(..) | Content::Param(..) | Content::Outside(_) => {
            unreachable!("parameters are written from the weights")
        }
    }
}

fn float_message(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    raw_message(name, dims, FLOAT, &bytes)
}

fn raw_message(name: &str, dims: &[usize], element: i64, bytes: &[u8]) -> Message {
    let tensor = dims.iter().fold(Message::new(), |tensor, &d| tensor.int(1, d as i64));
    tensor.int(2, element).text(8, name).bytes(9, bytes)
}

fn node_message(node: &ModelNode) -> Message {
    let message = node.inputs.iter().fold(Message::new(), |message, input| message.text(1, input));
    let message = node.outputs.iter().fold(message, |message, output| message.text(2, output));
    let message = message.text(3, &node.outputs[0]).text(4, &node.op);
    node.attributes.iter().fold(message, |message, (name, value)| {
        let attribute = Message::new().text(1, name);
        let attribute = match value {
            Attribute::Float(value) => attribute.float(2, *value).int(20, 1),
            Attribute::Int(value) => attribute.int(3, *value).int(20, 2),
            Attribute::Text(text) => attribute.text(4, text).int(20, 3),
            Attribute::Floats(values) => {
                let floats = values.iter().fold(attribute, |message, &v| message.float(7, v));
                floats.int(20, 6)
            }
            Attribute::Ints(values) => {
                values.iter().fold(attribute, |message, &value| message.int(8, value)).int(20, 7)
            }
        };
        message.message(5, &attribute)
    })
}

fn value_info(name: &str, shape: Shape, batch: Option<usize>) -> Message {
    let first = match batch {
        Some(size) => Message::new().int(1, size as i64),
        None => Message::new().text(2, "batch"),
    };
    let dims = Message::new().message(1, &first);
    let dims = shape
        .dims()
        .iter()
        .fold(dims, |dims, &size| dims.message(1, &Message::new().int(1, size as i64)));
    let tensor = Message::new().int(1, FLOAT).message(2, &dims);
    Message::new().text(1, name).message(2, &Message::new().message(1, &tensor))
}

/// A node's parameters as ONNX has them: dense kernels, and `norm` taken up.
fn parameters(
    graph: &Graph,
    node: &Node,
    norm: Option<&Node>,
    weights: &Weights,
) -> Vec<(&'static str, Tensor)> {
    let tensor = |role| weights.tensor(&format!("{}.{role}", node.name));
    let params = node.spec.params.iter();
    let mut params: Vec<(&'static str, Tensor)> =
        params.filter_map(|param| Some((param.role, tensor(param.role)?.clone()))).collect();
    if let (Some(convolution), Some((_, weight))) = (&node.spec.convolution, params.first_mut()) {
        let [inputs, outputs] =
            [graph.node(node.inputs[0]), node].map(|node| node.shape().channels());
        dense(weight, convolution, inputs, outputs);
    }
    match norm {
        Some(norm) => fold(&params, norm, weights),
        None => params,
    }
}

/// Weight and bias of a convolution and the affine map after it, as one convolution.
fn fold(
    conv: &[(&'static str, Tensor)],
    norm: &Node,
    weights: &Weights,
) -> Vec<(&'static str, Tensor)> {
    let of = |role: &str, channel: usize| {
        let tensor = weights.tensor(&format!("{}.{role}", norm.name));
        tensor.map_or(0.0, |tensor| tensor.data()[channel])
    };
    let mut weight = conv[0].1.clone();
    let channels = weight.shape()[0];
    let per_filter = weight.data().len() / channels.max(1);
    let mut bias = Tensor::zeros([channels]);
    for channel in 0..channels {
        let [w, b, mean, variance] =
            ["weight", "bias", "running_mean", "running_var"].map(|role| of(role, channel));
        let affine = norm.spec.affine.expect("only affine maps are folded");
        let [slope, intercept] = affine.line(w, b, mean, variance);
        for value in &mut weight.data_mut()[channel * per_filter..(channel + 1) * per_filter] {
            *value = (f64::from(*value) * slope) as f32;
        }
        let own = conv.get(1).map_or(0.0, |(_, bias)| f64::from(bias.data()[channel]));
        bias.data_mut()[channel] = (own * slope + intercept) as f32;
    }
    vec![("weight", weight), ("bias", bias)]
}

/// Makes a layer's weight that of the convolution that it is.
fn dense(weight: &mut Tensor, convolution: &Convolution, inputs: usize, outputs: usize) {
    let [r, s] = convolution.window.kernel;
    let area = r * s;
    let shape = [outputs, inputs / convolution.groups, r, s];
    match &convolution.kernels {
        Kernels::Dense => {}
        Kernels::Scattered(places) => {
            let mut full = Tensor::zeros(shape);
            for (kernel, &place) in weight.data().chunks_exact(area).zip(places) {
                full.data_mut()[place * area..][..area].copy_from_slice(kernel);
            }
            *weight = full;
        }
        Kernels::Repeated => {
            let mut full = Tensor::zeros(shape);
            for (kernel, &value) in full.data_mut().chunks_exact_mut(area).zip(weight.data()) {
                kernel.fill(value);
            }
            *weight = full;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Fields, Value};
    use top5_graph::ops::TableConv2d;
    use top5_graph::{k, net};

    fn filled(graph: &Graph) -> Weights {
        graph
            .params()
            .map(|(name, p)| {
                let data = (0..p.elements()).map(|i| 1.0 + i as f32).collect();
                (name, Tensor::new(p.shape.clone(), data).unwrap())
            })
            .collect()
    }

    /// All fields of this number in a message.
    fn all(message: &[u8], number: u64) -> Vec<&[u8]> {
        let mut fields = Fields::new("ONNX", message);
        let mut found = Vec::new();
        while let Some((field, value)) = fields.next().unwrap() {
            if let (true, Value::Bytes(bytes)) = (field == number, value) {
                found.push(bytes);
            }
        }
        found
    }

    fn text(bytes: &[u8]) -> &str {
        str::from_utf8(bytes).unwrap()
    }

    fn node_types(graph: &[u8]) -> Vec<&str> {
        all(graph, 1).into_iter().map(|node| text(all(node, 4)[0])).collect()
    }

    fn initializer(graph: &[u8], name: &str) -> Vec<f32> {
        let tensors = all(graph, 5);
        let tensor = tensors.iter().find(|tensor| text(all(tensor, 8)[0]) == name).unwrap();
        let raw = all(tensor, 9)[0];
        raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn folding_takes_up_the_normalisation() {
        let graph = net("tiny", [1, 4, 4], |x| {
            let x = x.conv_bn(2, k(1)).relu();
            x.global_avg_pool().linear(3).named("aux").output("aux", 0.3);
            x.global_avg_pool().dropout(0.5).linear(3).named("fc").dropout(0.5)
        })
        .unwrap();
        let weights = filled(&graph);
        let model = |fold| {
            let options = Options { fold, batch: Some(1) };
            all(&write(&graph, &weights, options, &BTreeMap::new()).unwrap(), 7)[0].to_vec()
        };
        let (plain, folded) = (model(false), model(true));
        assert_eq!(
            node_types(&plain),
            [
                "Conv",
                "BatchNormalization",
                "Relu",
                "GlobalAveragePool",
                "Flatten",
                "Gemm",
                "Identity"
            ]
        );
        assert_eq!(
            node_types(&folded),
            ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm", "Identity"]
        );
        // Weight, bias, mean and variance are 1 and 2: scale = c/√(c + 1e-5), bias = c − c·scale.
        let scale = |c: f64| c / (c + 1e-5).sqrt();
        let expected = [1.0, 2.0].map(|c: f64| (c * scale(c)) as f32);
        assert_eq!(initializer(&folded, "conv1.weight"), expected);
        let expected = [1.0, 2.0].map(|c: f64| (c - c * scale(c)) as f32);
        assert_eq!(initializer(&folded, "conv1.bias"), expected);
    }

    #[test]
    fn a_connection_table_becomes_a_dense_weight() {
        let op = TableConv2d { table: vec![vec![1], vec![0, 2]], window: k(1) };
        let graph = net("table", [3, 4, 4], |x| x.apply(op.clone()).flatten().linear(2)).unwrap();
        let options = Options { fold: true, batch: None };
        let model = write(&graph, &filled(&graph), options, &BTreeMap::new()).unwrap();
        let weight = initializer(all(&model, 7)[0], "conv1.weight");
        assert_eq!(weight, [0.0, 1.0, 0.0, 2.0, 0.0, 3.0]);
    }

    #[test]
    fn missing_heads_are_allowed_and_other_tensors_are_not() {
        let graph = net("tiny", [1, 4, 4], |x| {
            x.flatten().linear(3).named("aux").output("aux", 0.3);
            x.flatten().linear(3).named("fc")
        })
        .unwrap();
        let options = Options { fold: false, batch: None };
        let mut weights = filled(&graph.inference());
        let write = |weights: &Weights| write(&graph, weights, options, &BTreeMap::new());
        assert!(write(&weights).is_ok());
        weights.remove("fc.bias");
        assert_eq!(write(&weights).unwrap_err().missing, ["fc.bias"]);
    }
}
