//! What a network computes, whatever its file calls things and however it was exported.
//!
//! Values become forms: a convolution with the affine maps that follow it, a pooling by its windows and its result's size, a sum of any
//! number of terms. Copies, dropout, changes of shape and the arithmetic on sizes around them vanish. Two networks are one if the
//! forms of their outputs are of one class, in which no weight counts, only its shape.

use super::model::{Model, ModelNode, ModelTensor};
use std::collections::BTreeMap;

mod ops;

/// A value: the op that makes it, with its weights.
#[derive(Clone, Debug)]
pub(super) struct Form<'m> {
    /// Its class: equal for forms that differ in their weights alone.
    pub(super) class: usize,
    pub(super) inputs: Vec<usize>,
    /// Channels, height, width.
    pub(super) chw: [usize; 3],
    /// The weight of a convolution or linear layer, and its bias.
    pub(super) weights: Vec<Weight<'m>>,
    /// Affine maps of the channels after it, in order.
    pub(super) affine: Vec<Affine<'m>>,
    /// The node that made it, in the file's words.
    pub(super) node: &'m str,
    kind: Kind,
}

/// Forms that others grow into.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// Affine maps after it are taken up.
    Layer,
    /// Terms of another sum are taken up.
    Sum,
    /// Parts of another concatenation are taken up.
    Concat,
    Subsample([usize; 2]),
    Other,
}

/// A weight's tensor; a matrix may lie transposed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight<'m> {
    pub(super) tensor: &'m ModelTensor<'m>,
    pub(super) transposed: bool,
}

/// An affine map of each channel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Affine<'m> {
    /// Batch normalisation: weight, bias, mean, variance, and what is added to the variance.
    Norm([&'m ModelTensor<'m>; 4], f32),
    /// Multiplication by one value or by one per channel.
    Times(&'m ModelTensor<'m>),
    /// Addition.
    Plus(&'m ModelTensor<'m>),
}

/// Numbers for classes, the same for equal descriptions.
#[derive(Debug, Default)]
pub(super) struct Classes(BTreeMap<(String, Vec<usize>), usize>);

impl Classes {
    fn number(&mut self, description: String, inputs: Vec<usize>) -> usize {
        let next = self.0.len();
        *self.0.entry((description, inputs)).or_insert(next)
    }
}

/// All forms of a network, and its outputs.
#[derive(Debug)]
pub(super) struct Forms<'m> {
    pub(super) forms: Vec<Form<'m>>,
    pub(super) outputs: Vec<usize>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Entry<'m> {
    /// A form; zeros that were put around it and that the next window takes up (top, left, bottom, right).
    Value(usize, [usize; 4]),
    Tensor(&'m ModelTensor<'m>),
    /// Numbers that are made from shapes: whatever becomes of them is a shape again.
    Sizes,
}

/// Why a network has no forms: an op that no known network has, or sizes that do not fit.
pub(super) type Unknown = String;

struct Builder<'m, 'c> {
    classes: &'c mut Classes,
    forms: Vec<Form<'m>>,
    names: BTreeMap<&'m str, Entry<'m>>,
    /// How often each name is read.
    uses: BTreeMap<&'m str, usize>,
    outputs: &'m [String],
    /// The result of the node at hand.
    node: &'m str,
    /// Parts of concatenations that were taken up by others.
    spliced: usize,
}

/// The forms of a network at this input size.
pub(super) fn forms<'m>(
    model: &'m Model<'m>,
    input: [usize; 3],
    classes: &mut Classes,
) -> Result<Forms<'m>, Unknown> {
    if let Err(reason) = &model.intake {
        return Err(reason.clone());
    }
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for input in model.nodes.iter().flat_map(|node| &node.inputs) {
        *uses.entry(input).or_default() += 1;
    }
    let tensors = model.tensors.iter();
    let names = tensors.map(|(name, tensor)| (name.as_str(), Entry::Tensor(tensor))).collect();
    let mut builder = Builder {
        classes,
        forms: Vec::new(),
        names,
        uses,
        outputs: &model.outputs,
        node: &model.input.0,
        spliced: 0,
    };
    let first = builder.push("input".to_owned(), vec![], input, vec![], Kind::Other);
    builder.names.insert(&model.input.0, Entry::Value(first, [0; 4]));
    for node in &model.nodes {
        builder.node = &node.outputs[0];
        builder.node(node)?;
    }
    let output = |name: &String| match builder.names.get(name.as_str()) {
        Some(&Entry::Value(output, _)) => Some(output),
        _ => None,
    };
    let outputs: Vec<usize> = model.outputs.iter().filter_map(output).collect();
    if outputs.is_empty() {
        return Err("it has no output".to_owned());
    }
    Ok(Forms { forms: builder.forms, outputs })
}

impl<'m> Builder<'m, '_> {
    /// Appends a form.
    fn push(
        &mut self,
        description: String,
        inputs: Vec<usize>,
        chw: [usize; 3],
        weights: Vec<Weight<'m>>,
        kind: Kind,
    ) -> usize {
        let classes = inputs.iter().map(|&input| self.forms[input].class).collect();
        let class = self.classes.number(format!("{description} {chw:?}"), classes);
        let node = self.node;
        self.forms.push(Form { class, inputs, chw, weights, affine: Vec::new(), node, kind });
        self.forms.len() - 1
    }

    fn entry(&self, node: &'m ModelNode, at: usize) -> Option<Entry<'m>> {
        self.names.get(node.inputs.get(at)?.as_str()).copied()
    }

    /// The form at an input, which must not be padded.
    fn value(&self, node: &'m ModelNode, at: usize) -> Result<usize, Unknown> {
        match self.entry(node, at) {
            Some(Entry::Value(form, [0, 0, 0, 0])) => Ok(form),
            _ => Err(format!("{} of something that is no plain value", node.op)),
        }
    }

    fn tensor(&self, node: &'m ModelNode, at: usize) -> Option<&'m ModelTensor<'m>> {
        match self.entry(node, at)? {
            Entry::Tensor(tensor) => Some(tensor),
            Entry::Value(..) | Entry::Sizes => None,
        }
    }

    /// Whether nothing but this node reads its first input, so that it can become one form with it.
    fn alone(&self, node: &ModelNode, at: usize) -> bool {
        let name = node.inputs[at].as_str();
        self.uses.get(name) == Some(&1) && self.outputs.iter().all(|output| output != name)
    }

    fn define(&mut self, node: &'m ModelNode, form: usize) {
        self.names.insert(&node.outputs[0], Entry::Value(form, [0; 4]));
    }

    /// Appends an affine map: to the layer before it, or as a layer of its own.
    fn affine(&mut self, node: &'m ModelNode, at: usize, map: Affine<'m>) -> Result<(), Unknown> {
        let x = self.value(node, at)?;
        let channels = self.forms[x].chw[0];
        let lengths: Vec<usize> = match map {
            Affine::Norm(tensors, _) => tensors.map(ModelTensor::len).to_vec(),
            Affine::Times(tensor) | Affine::Plus(tensor) => vec![tensor.len()],
        };
        if lengths.iter().any(|&n| n != channels) {
            return Err(format!("{} with other than one value per channel", node.op));
        }
        let grows = self.forms[x].kind == Kind::Layer;
        let form = if grows && self.alone(node, at) {
            x
        } else {
            let chw = self.forms[x].chw;
            self.push("affine".to_owned(), vec![x], chw, vec![], Kind::Layer)
        };
        self.forms[form].affine.push(map);
        self.define(node, form);
        Ok(())
    }
}
