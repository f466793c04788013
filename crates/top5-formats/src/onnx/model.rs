//! A network as ONNX has it: nodes that name the values they read and write, and tensors by name.
//!
//! It comes from a file ([`super::read`]) or from a graph ([`super::of_graph`]), so that the writer, and the comparison of a file with the
//! networks that are known, walk over one thing.

use super::external::Place;
use super::intake::Intake;
use crate::element::Element;
use std::collections::BTreeMap;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    Text(String),
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct ModelNode {
    pub(super) op: String,
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// Empty for an input that is left out.
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
}

/// What a tensor holds.
#[derive(Clone, Debug)]
pub(super) enum Content<'a> {
    /// A parameter of a node of the graph: the node's position, and the parameter's role.
    Param(usize, &'static str),
    /// Floats of the file, little-endian.
    Stored(Element, &'a [u8]),
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    /// Values in another file.
    Outside(Place),
}

/// A tensor.
#[derive(Clone, Debug)]
pub(super) struct ModelTensor<'a> {
    pub(super) dims: Vec<usize>,
    pub(super) content: Content<'a>,
}

/// A network.
#[derive(Clone, Debug)]
pub(super) struct Model<'a> {
    pub(super) nodes: Vec<ModelNode>,
    pub(super) tensors: BTreeMap<String, ModelTensor<'a>>,
    /// Its name and, where they are known, its channels, height and width.
    pub(super) input: (String, [Option<usize>; 3]),
    /// The names of its results, the one that counts first.
    pub(super) outputs: Vec<String>,
    /// Free text beside it.
    pub(super) metadata: BTreeMap<String, String>,
    /// What the file does to its input before the network's first layer, which is none of the nodes; or why that is not known.
    pub(super) intake: Result<Option<Intake>, String>,
    /// The ops that a file has after its logits.
    pub(super) tail: Vec<String>,
}

impl Model<'_> {
    /// Puts the nodes into an order in which each comes after those that it reads, if there is one. Files should have it, and those
    /// that tools have rewritten do not always.
    pub(super) fn sort(&mut self) {
        let outputs = self.nodes.iter().enumerate();
        let makers: BTreeMap<&str, usize> = outputs
            .flat_map(|(at, node)| node.outputs.iter().map(move |name| (name.as_str(), at)))
            .collect();
        let makers: Vec<Vec<usize>> = self
            .nodes
            .iter()
            .map(|node| node.inputs.iter().filter_map(|name| makers.get(name.as_str()).copied()))
            .map(Iterator::collect)
            .collect();
        if makers.iter().enumerate().all(|(at, makers)| makers.iter().all(|&maker| maker < at)) {
            return;
        }
        let mut place = vec![None; makers.len()];
        let mut placed = 0;
        for root in 0..makers.len() {
            let mut stack = vec![(root, 0)];
            while let Some((at, next)) = stack.pop() {
                if place[at].is_some() {
                    continue;
                }
                match makers[at].get(next) {
                    // In a circle there is no order.
                    Some(_) if stack.len() > makers.len() => return,
                    Some(&maker) => stack.extend([(at, next + 1), (maker, 0)]),
                    None => {
                        place[at] = Some(placed);
                        placed += 1;
                    }
                }
            }
        }
        let nodes = place.into_iter().zip(std::mem::take(&mut self.nodes));
        let mut nodes: Vec<_> = nodes.collect();
        nodes.sort_by_key(|(place, _)| *place);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
    }
}

impl<'a> Content<'a> {
    /// Little-endian numbers: floats of a type, or integers of so many bytes.
    pub(super) fn of_bytes(element: Option<Element>, bytes: &'a [u8], width: usize) -> Self {
        match element {
            Some(element) => Self::Stored(element, bytes),
            None => Self::Ints(bytes.chunks_exact(width.max(1)).map(signed).collect()),
        }
    }
}

/// A little-endian two's complement number.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = if negative { [0xff; 8] } else { [0; 8] };
    word[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(word)
}

impl ModelTensor<'_> {
    /// Number of elements; the reader has checked that it is no larger than the file.
    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Its values, if it holds integers.
    pub(super) fn ints(&self) -> Option<&[i64]> {
        match &self.content {
            Content::Ints(values) => Some(values),
            Content::Param(..) | Content::Stored(..) | Content::Floats(_) | Content::Outside(_) => {
                None
            }
        }
    }

    /// Its values, if it holds floats.
    pub(super) fn values(&self) -> Option<Vec<f32>> {
        match &self.content {
            Content::Floats(values) => Some(values.clone()),
            Content::Stored(element, bytes) => Some(element.values(bytes)),
            Content::Param(..) | Content::Ints(_) | Content::Outside(_) => None,
        }
    }

    /// The first of its values.
    pub(super) fn first(&self) -> Option<f32> {
        match &self.content {
            Content::Floats(values) => values.first().copied(),
            Content::Stored(element, bytes) => {
                bytes.get(..element.size()).map(|bytes| element.values(bytes)[0])
            }
            Content::Ints(values) => values.first().map(|&value| value as f32),
            Content::Param(..) | Content::Outside(_) => None,
        }
    }
}

impl ModelNode {
    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        }
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => *value,
            _ => default,
        }
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }
}
