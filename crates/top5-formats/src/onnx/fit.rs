//! The weights of a known network from an ONNX file whose structure is that network's.

use super::form::{Affine, Classes, Form, Forms, Weight, forms};
use super::intake::Intake;
use super::model::{Content, Model, ModelTensor};
use super::of_graph::of_graph;
use super::read::read;
use crate::error::FormatError;
use std::collections::{BTreeMap, BTreeSet};
use top5_graph::{Graph, Kernels, Node, Tensor, Weights};

/// A network in an ONNX file.
#[derive(Clone, Debug)]
pub struct Onnx<'a> {
    model: Model<'a>,
}

/// The weights in a file, under a graph's names.
#[derive(Clone, Debug)]
pub struct OnnxWeights {
    /// The parameters and buffers of the graph without its auxiliary heads.
    pub weights: Weights,
}

/// How far a file computes what a graph does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The share of the file's values that the graph has, too, in thousandths.
    pub share: usize,
    /// The first node of the file that the graph has not: what it does, and the name of its result.
    pub departs: [String; 2],
}

impl<'a> Onnx<'a> {
    /// Reads the structure of a file; its tensors stay in the bytes, or in the files beside it (see [`Onnx::files_beside`]).
    pub fn read(bytes: &'a [u8]) -> Result<Self, FormatError> {
        Ok(Self { model: read(bytes)? })
    }

    /// The names of the files in the same folder in which its tensors lie. None where they are in the file itself.
    pub fn files_beside(&self) -> BTreeSet<String> {
        let places = self.model.tensors.values().filter_map(|tensor| match &tensor.content {
            Content::Outside(place) => Some(place.file.clone()),
            Content::Param(..) | Content::Stored(..) | Content::Floats(_) | Content::Ints(_) => {
                None
            }
        });
        places.collect()
    }

    /// The same with the tensors in the files beside it, whose bytes are given by name.
    pub fn with_files(mut self, files: &'a BTreeMap<String, Vec<u8>>) -> Result<Self, FormatError> {
        for tensor in self.model.tensors.values_mut() {
            if let Content::Outside(place) = &tensor.content {
                let bytes = place.bytes(files)?;
                let width = bytes.len() / tensor.len().max(1);
                tensor.content = Content::of_bytes(place.element, bytes, width);
            }
        }
        Ok(self)
    }

    /// What the file does to its input before the network begins, if anything.
    pub fn intake(&self) -> Option<&Intake> {
        self.model.intake.as_ref().ok()?.as_ref()
    }

    /// The ops that it has after its logits and that are left out, softmaxes and changes of shape apart.
    pub fn tail(&self) -> Vec<&str> {
        let told = ["Sigmoid", "ArgMax", "TopK"];
        let tail: BTreeSet<&str> = self.model.tail.iter().map(String::as_str).collect();
        tail.into_iter().filter(|op| told.contains(op)).collect()
    }

    /// Free text beside the network.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.model.metadata
    }

    /// Channels, height and width of the input, as far as the file says them.
    pub fn input(&self) -> [Option<usize>; 3] {
        self.model.input.1
    }

    /// The numbers of classes that its outputs have for an input of this size; or what in the file no known network has.
    pub fn classes(&self, input: [usize; 3]) -> Result<Vec<usize>, String> {
        let Forms { forms, outputs } = forms(&self.model, input, &mut Classes::default())?;
        Ok(outputs.into_iter().map(|output| forms[output].chw[0]).collect())
    }

    /// How far it computes what a graph does, at the graph's input size; `None` where that is not known.
    pub fn alike(&self, graph: &Graph) -> Option<Alike> {
        let graph = graph.inference();
        let ours = of_graph(&graph, &BTreeMap::new());
        let mut classes = Classes::default();
        let ours = forms(&ours, graph.input(), &mut classes).ok()?;
        let theirs = forms(&self.model, graph.input(), &mut classes).ok()?;
        let ours: BTreeSet<usize> = ours.forms.iter().map(|form| form.class).collect();
        let other = |form: &&Form<'_>| !ours.contains(&form.class);
        let others = theirs.forms.iter().filter(other).count();
        let name = theirs.forms.iter().find(other)?.node;
        let node = self.model.nodes.iter().find(|node| node.outputs[0] == name)?;
        let all = theirs.forms.len().max(ours.len());
        let share = (theirs.forms.len() - others) * 1000 / all;
        Some(Alike { share, departs: [node.op.clone(), name.to_owned()] })
    }

    /// The number of nodes of each kind, the most frequent first.
    pub fn census(&self) -> Vec<(&str, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.model.nodes.iter().for_each(|node| *counts.entry(&node.op).or_default() += 1);
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }

    /// The weights of `graph`, if the file computes the same at the graph's input size.
    ///
    /// A normalisation that the file has folded becomes one that only adds the bias, so that the values, not the parameters, are
    /// those of the network that was exported.
    pub fn weights(&self, graph: &Graph) -> Option<OnnxWeights> {
        let graph = graph.inference();
        let ours = of_graph(&graph, &BTreeMap::new());
        let mut classes = Classes::default();
        let ours = forms(&ours, graph.input(), &mut classes).ok()?;
        let theirs = forms(&self.model, graph.input(), &mut classes).ok()?;
        let order = self.intake().map_or_else(|| Some(Vec::new()), Intake::order)?;
        let order = Some(&order[..]).filter(|order| !order.is_sorted());
        let with = |&output: &usize| {
            let mut weights = Weights::new();
            for (ours, theirs) in pairs(&ours, &theirs, output)? {
                transfer(&graph, ours, &Theirs { form: theirs, order }, &mut weights)?;
            }
            weights.check(&graph).ok()?;
            Some(OnnxWeights { weights })
        };
        theirs.outputs.iter().find_map(with)
    }
}

/// Each of our forms with theirs, or `None` where the networks differ.
fn pairs<'f, 'm>(
    ours: &'f Forms<'m>,
    theirs: &'f Forms<'m>,
    output: usize,
) -> Option<Vec<(&'f Form<'m>, &'f Form<'m>)>> {
    let mut stack = vec![(*ours.outputs.first()?, output)];
    let mut partners: BTreeMap<usize, usize> = BTreeMap::new();
    let mut pairs = Vec::new();
    while let Some((our, their)) = stack.pop() {
        if let Some(&partner) = partners.get(&our) {
            if partner != their {
                return None;
            }
            continue;
        }
        partners.insert(our, their);
        let pair = (&ours.forms[our], &theirs.forms[their]);
        if pair.0.class != pair.1.class {
            return None;
        }
        stack.extend(pair.0.inputs.iter().copied().zip(pair.1.inputs.iter().copied()));
        pairs.push(pair);
    }
    Some(pairs)
}

/// Puts values into `weights` under the name of one of our parameters.
fn put(
    graph: &Graph,
    weights: &mut Weights,
    tensor: &ModelTensor<'_>,
    values: Vec<f32>,
) -> Option<()> {
    let Content::Param(layer, role) = tensor.content else { return None };
    let node = &graph.nodes()[layer];
    let param = node.spec.params.iter().find(|param| param.role == role)?;
    let values = own_kernels(node, role, values);
    weights.insert(node.param_name(param), Tensor::new(param.shape.clone(), values)?);
    Some(())
}

/// Puts the parameters of one of our forms into `weights`.
fn transfer(
    graph: &Graph,
    ours: &Form<'_>,
    theirs: &Theirs<'_, '_>,
    weights: &mut Weights,
) -> Option<()> {
    let (kernels, theirs) = (theirs, theirs.form);
    let mut put = |tensor: &ModelTensor<'_>, values| put(graph, weights, tensor, values);
    let norm = match ours.affine[..] {
        [] => None,
        [Affine::Norm(tensors, eps)] => Some((tensors, eps)),
        [..] => return None,
    };
    let layer = norm.is_some() || is_layer(ours);
    if !layer || are_alike(ours, theirs) {
        kernels.are_in_order(layer)?;
        for (at, ours) in ours.weights.iter().enumerate().take(theirs.weights.len()) {
            put(ours.tensor, kernels.values(at)?)?;
        }
        if let (Some((ours, _)), [Affine::Norm(theirs, _)]) = (norm, &theirs.affine[..]) {
            for (ours, theirs) in ours.into_iter().zip(theirs) {
                put(ours, theirs.values()?)?;
            }
        }
        return Some(());
    }
    kernels.are_in_order(layer)?;
    let channels = ours.chw[0];
    let [slopes, intercepts] = line(theirs, channels)?;
    if let (Some(weight), Some(_)) = (ours.weights.first(), theirs.weights.first()) {
        let mut values = kernels.values(0)?;
        let row = values.len() / channels.max(1);
        for (row, slope) in values.chunks_mut(row.max(1)).zip(&slopes) {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) * slope) as f32);
        }
        put(weight.tensor, values)?;
    }
    let bias = ours.weights.get(1).map(|bias| bias.tensor);
    let intercepts: Vec<f32> = intercepts.into_iter().map(|value| value as f32).collect();
    match (norm, bias) {
        (Some(([weight, shift, mean, variance], eps)), bias) => {
            // With a weight before it, that one has the slope.
            let slopes = slopes.iter().map(|&slope| slope as f32);
            let ones = vec![1.0; channels];
            put(weight, if ours.weights.is_empty() { slopes.collect() } else { ones })?;
            put(shift, intercepts)?;
            put(mean, vec![0.0; channels])?;
            put(variance, vec![1.0 - eps; channels])?;
            bias.map_or(Some(()), |bias| put(bias, vec![0.0; channels]))
        }
        (None, Some(bias)) => put(bias, intercepts),
        (None, None) => intercepts.iter().all(|&value| value == 0.0).then_some(()),
    }
}

/// A form of a file, and the order in which its network reads the input's channels, if that is another than the input's.
struct Theirs<'f, 'm> {
    form: &'f Form<'m>,
    order: Option<&'f [usize]>,
}

impl Theirs<'_, '_> {
    /// The form of the input itself is the first.
    fn reads_input(&self) -> bool {
        self.form.inputs.contains(&0)
    }

    /// Whether the channels of the input, if it reads them, can be put in order in its weights.
    fn are_in_order(&self, layer: bool) -> Option<()> {
        (self.order.is_none() || !self.reads_input() || layer).then_some(())
    }

    /// The values of a weight, for the input's channels in their order.
    fn values(&self, at: usize) -> Option<Vec<f32>> {
        let weight = self.form.weights.get(at)?;
        let values = weight.values()?;
        let Some(order) = self.order.filter(|_| at == 0 && self.reads_input()) else {
            return Some(values);
        };
        // A convolution in groups has fewer.
        let grouped = weight.tensor.dims.len() == 4 && weight.tensor.dims[1] != order.len();
        let row = values.len() / self.form.chw[0].max(1);
        if grouped || row == 0 || !row.is_multiple_of(order.len()) {
            return None;
        }
        let area = row / order.len();
        let mut ordered = values.clone();
        for (from, to) in values.chunks_exact(row).zip(ordered.chunks_exact_mut(row)) {
            for (from, &channel) in from.chunks_exact(area).zip(order) {
                to[channel * area..][..area].copy_from_slice(from);
            }
        }
        Some(ordered)
    }
}

/// Whether the parameters correspond one by one: as many tensors, and the same normalisation or none.
fn are_alike(ours: &Form<'_>, theirs: &Form<'_>) -> bool {
    let affine = match (&ours.affine[..], &theirs.affine[..]) {
        ([], []) => true,
        ([Affine::Norm(_, ours)], [Affine::Norm(_, theirs)]) => {
            (ours - theirs).abs() <= 1e-6 * ours
        }
        _ => false,
    };
    affine && ours.weights.len() == theirs.weights.len()
}

/// What follows the products of a layer: by what each channel is multiplied, and what is added then, the bias in it.
fn line(form: &Form<'_>, channels: usize) -> Option<[Vec<f64>; 2]> {
    let lines = lines(&form.affine, channels)?;
    let bias = match form.weights.get(1) {
        Some(bias) => bias.values()?,
        None => vec![0.0; channels],
    };
    let intercept = |(line, bias): (&[f64; 2], &f32)| f64::from(*bias) * line[0] + line[1];
    let intercepts = lines.iter().zip(&bias).map(intercept).collect();
    Some([lines.iter().map(|line| line[0]).collect(), intercepts])
}

/// Whether it is a convolution or a linear layer.
fn is_layer(form: &Form<'_>) -> bool {
    matches!(
        form.weights.first().map(|weight| &weight.tensor.content),
        Some(Content::Param(_, "weight"))
    )
}

/// The affine maps of the channels, one after the other, as one: slope and intercept of each channel.
fn lines(maps: &[Affine<'_>], channels: usize) -> Option<Vec<[f64; 2]>> {
    let mut lines = vec![[1.0, 0.0]; channels];
    let mut then = |next: &dyn Fn(usize) -> [f64; 2]| {
        for (channel, [slope, intercept]) in lines.iter_mut().enumerate() {
            let [s, t] = next(channel);
            (*slope, *intercept) = (*slope * s, *intercept * s + t);
        }
    };
    for map in maps {
        match map {
            Affine::Norm(tensors, eps) => {
                let [weight, bias, mean, variance] = tensors.map(|tensor| tensor.values());
                let (weight, bias, mean, variance) = (weight?, bias?, mean?, variance?);
                let affine = top5_graph::Affine { eps: *eps };
                then(&|c| affine.line(weight[c], bias[c], mean[c], variance[c]));
            }
            Affine::Times(factors) => {
                let factors = factors.values()?;
                then(&|c| [f64::from(factors[c]), 0.0]);
            }
            Affine::Plus(terms) => {
                let terms = terms.values()?;
                then(&|c| [1.0, f64::from(terms[c])]);
            }
        }
    }
    Some(lines)
}

/// A layer's own weight from the dense one of the convolution that it is.
fn own_kernels(node: &Node, role: &str, values: Vec<f32>) -> Vec<f32> {
    let Some(convolution) = node.spec.convolution.as_ref().filter(|_| role == "weight") else {
        return values;
    };
    let area: usize = convolution.window.kernel.iter().product();
    match &convolution.kernels {
        Kernels::Dense => values,
        Kernels::Scattered(places) => {
            let kernels = places.iter().filter_map(|&place| values.chunks_exact(area).nth(place));
            kernels.flatten().copied().collect()
        }
        Kernels::Repeated => values.chunks_exact(area).map(|kernel| kernel[0]).collect(),
    }
}

impl Weight<'_> {
    /// Its values, row by row.
    fn values(&self) -> Option<Vec<f32>> {
        let values = self.tensor.values()?;
        match self.tensor.dims[..] {
            [rows, columns] if self.transposed => {
                let column = |j| (0..rows).map(move |i| i * columns + j);
                Some((0..columns).flat_map(column).map(|at| values[at]).collect())
            }
            _ => Some(values),
        }
    }
}
