//! Networks made from networks: without auxiliary heads or dropout, at another input size, fully convolutional.

use crate::error::{GraphError, ShapeError};
use crate::graph::{Graph, Node, NodeId};
use crate::op::Op;
use crate::ops::{AvgPool2d, Conv2d, Input, MaxPool2d};
use crate::shape::Shape;
use crate::spec::Family;
use crate::tensor::Tensor;
use crate::weights::Weights;
use crate::window::{Window, k};

/// How the last pooling is made in a dense form, where the network's own way leaves a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DenseForm {
    /// Whether a mean over the whole last map becomes one over windows of the size that this map has at the network's own
    /// input, at every place: a map of logits where there would be one row.
    pub windows: bool,
    /// Whether a maximum pooling before the classifier is made at every offset of its windows, not only at multiples of its
    /// stride (OverFeat, section 3.3): a map that is finer by the stride.
    pub every_offset: bool,
}

impl Graph {
    /// Only what the logits need: no auxiliary heads.
    pub fn inference(&self) -> Self {
        let mut needed = vec![false; self.nodes.len()];
        needed[0] = true;
        needed[self.outputs[0].node.0] = true;
        for node in self.nodes.iter().rev().filter(|node| !node.inputs.is_empty()) {
            if needed[node.id.0] {
                node.inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
        self.rebuild(|node| needed[node.id.0].then(|| node.op.clone()))
            .map(|graph| Self { outputs: graph.outputs[..1].to_vec(), ..graph })
            .expect("a part of a valid network is valid")
    }

    /// The same network without its dropout layers: what trains with these weights when nothing is dropped.
    pub fn without_dropout(&self) -> Self {
        self.rebuild(|node| (!matches!(node.op, Op::Dropout(_))).then(|| node.op.clone()))
            .expect("dropout changes no shape")
    }

    /// The same network with the batch normalisations of these names as convolutions of one pixel in every channel for itself:
    /// what training leaves as it is, running statistics included. Their weights are those of the affine map that
    /// [`Spec::affine`](crate::Spec::affine) speaks of, `[channels, 1, 1, 1]` and `[channels]`.
    pub fn with_fixed_norms(&self, is_fixed: impl Fn(&str) -> bool) -> Self {
        let fixed = |node: &Node| {
            let channels = node.shape().channels();
            let is_fixed = matches!(node.op, Op::BatchNorm2d(_)) && is_fixed(&node.name);
            let affine = || Op::Conv2d(Conv2d::new(channels, k(1)).groups(channels));
            if is_fixed { affine() } else { node.op.clone() }
        };
        self.rebuild(|node| Some(fixed(node))).expect("an affine map changes no shape")
    }

    /// The same layers for another input. Fails where a layer does not fit, a fully connected one for instance.
    pub fn with_input(&self, input: [usize; 3]) -> Result<Self, GraphError> {
        let graph = self.rebuild(|node| Some(resized(&node.op, input)))?;
        let changed = self.nodes.iter().zip(&graph.nodes).find(|(old, new)| {
            let shapes = |node: &Node| -> Vec<Vec<usize>> {
                node.spec.params.iter().map(|param| param.shape.clone()).collect()
            };
            shapes(old) != shapes(new)
        });
        match changed {
            None => Ok(graph),
            Some((_, node)) => {
                let what = "the input size";
                let expected = "one that leaves the layer's weights as they are";
                let error = ShapeError::Attribute { what, expected };
                let name = node.name.clone();
                Err(GraphError::new(&self.name, name, node.spec.kind, error, node.at))
            }
        }
    }

    /// The dense form (OverFeat, section 3.5; VGG, section 3.2): fully connected layers become convolutions, so that a
    /// larger input gives a map of logits. The tensors are those of [`Graph::dense_weights`].
    pub fn dense(&self, input: [usize; 3]) -> Result<Self, GraphError> {
        self.dense_form(input, DenseForm::default())
    }

    /// [`Graph::dense`] with the last pooling made as `form` says. At the network's own input every form computes what the
    /// network does. Fails, naming the layer, where one reads the whole map in a way that no convolution does, or the last
    /// pooling is none that can be made at every offset.
    pub fn dense_form(&self, input: [usize; 3], form: DenseForm) -> Result<Self, GraphError> {
        let adaptive =
            |node: &&Node| node.spec.family == Family::Pooling && node.spec.window.is_none();
        if let Some(node) = self.nodes.iter().find(adaptive) {
            let (what, expected) =
                ("adaptive pooling in a dense form", "none: its windows grow with the map");
            let error = ShapeError::Attribute { what, expected };
            return Err(GraphError::new(
                &self.name,
                node.name.clone(),
                node.spec.kind,
                error,
                node.at,
            ));
        }
        let head = self.head_pool();
        let offsets = match form.every_offset {
            true => Some(self.offsets(head)?),
            false => None,
        };
        let is_head = |node: &Node| head.is_some_and(|head| head.id == node.id);
        self.rebuild(|node| {
            if matches!(node.op, Op::Flatten(_)) {
                return None;
            }
            if let Op::Linear(linear) = &node.op {
                let [_, _, h, w] = self.dense_shape(node);
                // The offsets lie side by side in the pooled map: a step of the classifier's is one of the pooling's.
                let steps = offsets.filter(|_| [h, w] != [1, 1]).unwrap_or([1, 1]);
                let conv = Conv2d::new(linear.out_features, k([h, w]).dilation(steps));
                return Some(Op::Conv2d(if linear.bias { conv } else { conv.no_bias() }));
            }
            if is_head(node) {
                if let (Op::MaxPool2d(pool), Some(_)) = (&node.op, offsets) {
                    return Some(Op::MaxPool2d(MaxPool2d { window: pool.window.stride(1) }));
                }
                if let (Op::GlobalAvgPool(_), true) = (&node.op, form.windows) {
                    let window = k(self.node(node.inputs[0]).shape().size());
                    return Some(Op::AvgPool2d(AvgPool2d { window, count_include_pad: true }));
                }
            }
            Some(resized(&node.op, input))
        })
    }

    /// The pooling whose map the classifier reads, if between it and the logits there are only fully connected layers and what
    /// treats every place of a map alike.
    fn head_pool(&self) -> Option<&Node> {
        let mut node = self.logits();
        while node.spec.family != Family::Pooling {
            let places_alike = node.spec.window.is_none_or(|window| window == k(1));
            let [input] = node.inputs[..] else { return None };
            if !places_alike && !matches!(node.op, Op::Flatten(_)) {
                return None;
            }
            node = self.node(input);
        }
        (node.spec.window.is_some() && node.spec.convolution.is_none()).then_some(node)
    }

    /// How many offsets the last pooling has in each direction: its stride.
    fn offsets(&self, head: Option<&Node>) -> Result<[usize; 2], GraphError> {
        let node = head.unwrap_or(self.logits());
        if let Op::MaxPool2d(MaxPool2d { window }) = &node.op {
            let [h, w] = self.node(node.inputs[0]).shape().size();
            let room = [h - window.kernel[0], w - window.kernel[1]];
            let whole = (0..2).all(|i| !window.ceil || room[i].is_multiple_of(window.stride[i]));
            if whole && *window == (Window { ceil: window.ceil, ..plain(window) }) {
                return Ok(window.stride);
            }
        }
        let error = ShapeError::Attribute {
            what: "what the classifier reads, to be pooled at every offset,",
            expected: "a maximum pooling without padding",
        };
        Err(GraphError::new(&self.name, node.name.clone(), node.spec.kind, error, node.at))
    }

    /// The weights of this network for its dense form: the same values, reshaped.
    pub fn dense_weights(&self, weights: &Weights) -> Weights {
        let mut dense = weights.clone();
        for node in self.nodes.iter().filter(|node| matches!(node.op, Op::Linear(_))) {
            let name = format!("{}.weight", node.name);
            if let Some(tensor) = dense.remove(&name) {
                let shape = self.dense_shape(node);
                if let Some(tensor) = Tensor::new(shape, tensor.into_data()) {
                    dense.insert(name, tensor);
                }
            }
        }
        dense
    }

    /// The shape of a linear layer's weight as a convolution's: the kernel covers the map that was flattened.
    fn dense_shape(&self, node: &Node) -> [usize; 4] {
        let mut source = &self.nodes[node.inputs[0].0];
        while matches!(source.shape(), Shape::Flat(_))
            && matches!(source.op, Op::Flatten(_) | Op::Dropout(_))
        {
            source = &self.nodes[source.inputs[0].0];
        }
        let out = node.shape().channels();
        match source.shape() {
            Shape::Map([c, h, w]) => [out, c, h, w],
            Shape::Flat(n) => [out, n, 1, 1],
        }
    }

    /// Appends `change(node)` for every node to a new graph; `None` leaves a node out, and its users read its input.
    /// Names, lines, initial values and outputs stay.
    fn rebuild(&self, change: impl Fn(&Node) -> Option<Op>) -> Result<Self, GraphError> {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.nodes.len());
        let mut moved: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| moved[input.0]).collect();
            let Some(op) = change(node) else {
                moved.push(inputs.first().copied().unwrap_or(NodeId(0)));
                continue;
            };
            let shapes: Vec<Shape> = inputs.iter().map(|input| nodes[input.0].shape()).collect();
            let mut spec = op.define().spec(&shapes).map_err(|error| {
                GraphError::new(&self.name, node.name.clone(), node.spec.kind, error, node.at)
            })?;
            for (new, old) in spec.params.iter_mut().zip(&node.spec.params) {
                new.init = old.init.clone();
            }
            let id = NodeId(nodes.len());
            moved.push(id);
            nodes.push(Node { id, name: node.name.clone(), op, inputs, spec, at: node.at });
        }
        let outputs = self
            .outputs
            .iter()
            .map(|output| crate::Output { node: moved[output.node.0], ..output.clone() })
            .collect();
        Ok(Self { name: self.name.clone(), nodes, outputs })
    }
}

/// The window without padding and dilation.
fn plain(window: &Window) -> Window {
    k(window.kernel).stride(window.stride)
}

/// The op, or for an input the one of this size.
fn resized(op: &Op, input: [usize; 3]) -> Op {
    if matches!(op, Op::Input(_)) { Op::Input(Input { chw: input }) } else { op.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net;

    fn headed() -> Graph {
        net("headed", [3, 16, 16], |x| {
            let x = x.conv(8, k(3).pad(1)).relu();
            x.global_avg_pool().linear(10).named("aux").output("aux", 0.3);
            x.max_pool(k(4).stride(4)).flatten().linear(32).relu().dropout(0.5).linear(10)
        })
        .unwrap()
    }

    #[test]
    fn inference_drops_auxiliary_heads() {
        let graph = headed();
        let bare = graph.inference();
        assert_eq!(graph.outputs().len(), 2);
        assert_eq!(bare.outputs().len(), 1);
        assert_eq!(graph.param_count() - bare.param_count(), 8 * 10 + 10);
        assert!(bare.find("aux").is_none());
        assert_eq!(bare.logits().name, graph.logits().name);
    }

    #[test]
    fn dropout_is_left_out_alone() {
        let (graph, bare) = (headed(), headed().without_dropout());
        assert_eq!(bare.nodes().len(), graph.nodes().len() - 1);
        assert!(graph.params().eq(bare.params()));
        assert_eq!(bare.outputs().len(), 2);
    }

    #[test]
    fn fixed_norms_keep_names_and_shapes_of_activations() {
        let graph = net("normal", [3, 8, 8], |x| {
            x.conv_bn(4, 3).relu().conv_bn(4, 3).relu().flatten().linear(5)
        })
        .unwrap();
        let fixed = graph.with_fixed_norms(|name| name == "bn1");
        let shapes = |name: &str| -> Vec<(String, Vec<usize>)> {
            let node = fixed.find(name).unwrap();
            node.spec.params.iter().map(|p| (node.param_name(p), p.shape.clone())).collect()
        };
        let expected =
            [("bn1.weight".to_owned(), vec![4, 1, 1, 1]), ("bn1.bias".to_owned(), vec![4])];
        assert_eq!(shapes("bn1"), expected);
        assert_eq!(shapes("bn2").len(), 4);
        assert!(graph.nodes().iter().zip(fixed.nodes()).all(|(a, b)| a.shape() == b.shape()));
    }

    #[test]
    fn another_input_size_keeps_the_weights_or_fails() {
        assert!(headed().with_input([3, 32, 32]).is_err());
        assert_eq!(pooled().with_input([3, 40, 24]).unwrap().classes(), 5);
        assert!(pooled().with_input([1, 16, 16]).is_err());
    }

    #[test]
    fn last_pooling_is_made_at_every_offset() {
        let graph = net("fine", [1, 11, 11], |x| {
            let x = x.conv(4, 3).relu().max_pool(k(3).stride(3));
            x.flatten().linear(7).relu().linear(5)
        })
        .unwrap();
        let form = DenseForm { every_offset: true, ..DenseForm::default() };
        assert_eq!(graph.dense_form([1, 11, 11], form).unwrap().logits().shape(), graph_map(5, 1));
        let fine = graph.dense_form([1, 16, 23], form).unwrap();
        // 14×21 after the convolution, 12×19 pooled; the classifier's three steps of three span seven.
        assert_eq!(fine.logits().shape(), Shape::Map([5, 6, 13]));
        assert_eq!(graph.dense([1, 16, 23]).unwrap().logits().shape(), Shape::Map([5, 2, 5]));
        let error = pooled().dense_form([3, 40, 24], form).unwrap_err();
        assert!(error.to_string().contains("maximum pooling without padding"), "{error}");
    }

    #[test]
    fn adaptive_pooling_has_no_dense_form() {
        let graph = net("adaptive", [3, 10, 10], |x| {
            x.conv(4, 3).adaptive_avg_pool([3, 3]).flatten().linear(5)
        });
        let error = graph.unwrap().dense([3, 20, 20]).unwrap_err();
        assert!(error.to_string().contains("adaptive pooling in a dense form"), "{error}");
    }

    #[test]
    fn mean_over_the_map_becomes_one_over_windows() {
        let form = DenseForm { windows: true, ..DenseForm::default() };
        let windows = pooled().dense_form([3, 20, 17], form).unwrap();
        assert_eq!(windows.logits().shape(), Shape::Map([5, 5, 2]));
        let squeezed = net("squeezed", [3, 16, 16], |x| {
            let x = x.conv(8, 3);
            x.scale(x.global_avg_pool().conv(8, 1).sigmoid()).global_avg_pool().linear(5)
        })
        .unwrap();
        // What is squeezed stays squeezed.
        let windows = squeezed.dense_form([3, 17, 16], form).unwrap();
        assert_eq!(windows.logits().shape(), Shape::Map([5, 2, 1]));
        let coarse = squeezed.dense([3, 17, 16]).unwrap();
        assert_eq!(coarse.logits().shape(), graph_map(5, 1));
    }

    fn pooled() -> Graph {
        net("pooled", [3, 16, 16], |x| x.conv(8, 3).global_avg_pool().linear(5)).unwrap()
    }

    fn graph_map(channels: usize, side: usize) -> Shape {
        Shape::Map([channels, side, side])
    }

    #[test]
    fn dense_form_has_the_same_parameters_and_a_map_of_logits() {
        let graph = headed().inference();
        let dense = graph.dense([3, 24, 20]).unwrap();
        assert_eq!(dense.param_count(), graph.param_count());
        assert_eq!(dense.logits().shape(), Shape::Map([10, 3, 2]));
        let weights: Weights =
            graph.params().map(|(name, p)| (name, Tensor::zeros(p.shape.clone()))).collect();
        assert_eq!(graph.dense_weights(&weights).check(&dense), Ok(()));
    }
}
