//! From the names of a file to those of a graph, and from the names to the network.
//!
//! Graphs have the names of torchvision, timm or the article's code, so most files fit as they are. Older and foreign
//! names are translated by tables of rules; the table that knows the most names is used.

use crate::names::origins;
use crate::translate::{Translation, clean_names, prefixes};
use std::collections::{BTreeMap, BTreeSet};
use top5_graph::{Graph, Node, Tensor, Weights, WeightsError};

/// Beginnings of the names of auxiliary heads, which a graph for inference does not have.
const AUXILIARY: [&str; 5] = ["AuxLogits.", "aux1.", "aux2.", "aux_logits.", "aux."];

/// The tensors of `graph`, taken from `weights` under whatever known names they have.
///
/// Counters of batches are dropped, so are the auxiliary heads that the graph does not have, and what lies outside the
/// network's own names; dimensions of one may be missing or added. Fails with the list of differences; `weights` is consumed,
/// and no model was touched.
pub fn fit(weights: Weights, graph: &Graph) -> Result<Weights, WeightsError> {
    let wanted: BTreeMap<String, &[usize]> =
        graph.params().map(|(name, param)| (name, param.shape.as_slice())).collect();
    let names = clean_names(weights.iter().map(|(name, _)| name));
    let translation = Translation::best(&names, graph);
    let renamed: BTreeMap<String, String> =
        names.iter().filter_map(|(old, new)| Some((old.clone(), translation.name(new)?))).collect();
    let mut fitted = Weights::new();
    for (old, tensor) in weights {
        let Some(name) = renamed.get(&old) else { continue };
        let shape = wanted.get(name).copied();
        if shape.is_none() && AUXILIARY.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let tensor = match shape {
            Some(shape) if same_layout(tensor.shape(), shape) => {
                Tensor::new(shape, tensor.into_data()).expect("ones do not change the product")
            }
            Some(_) | None => tensor,
        };
        // Of two tensors that would get one name, the second keeps its own and is told as unexpected.
        let name = if fitted.tensor(name).is_none() { name.clone() } else { old };
        fitted.insert(name, tensor);
    }
    reconcile_biases(&mut fitted, graph);
    fitted.check(graph)?;
    Ok(fitted)
}

/// What [`fit`] does to the names in a file for `graph`, one sentence each: what is taken off them, and which are left out.
pub fn renamings<'n>(names: impl IntoIterator<Item = &'n str>, graph: &Graph) -> Vec<String> {
    let names = clean_names(names);
    Translation::best(&names, graph).describe(&names)
}

/// Those of `candidates` whose tensors are all in `weights`, by name and shape, under the names of one of the known origins.
///
/// Networks that differ in their windows only (`resnet50` and `resnet50_v1`) have the same tensors: all are returned,
/// in the order given. When the number of classes or that of the input's channels is another, the networks that fit but for these
/// are returned.
pub fn recognise<'g>(
    weights: &Weights,
    candidates: impl IntoIterator<Item = &'g Graph>,
) -> Vec<&'g str> {
    let candidates: Vec<Candidate<'g>> = candidates.into_iter().map(Candidate::new).collect();
    let names = clean_names(weights.iter().map(|(name, _)| name));
    let shape = |old: &str| weights.tensor(old).map_or(&[][..], Tensor::shape);
    let found = recognise_whole(&names, shape, &candidates);
    if !found.is_empty() {
        return found;
    }
    let mut found = Vec::new();
    let mut places = BTreeSet::new();
    for Candidate { graph, bare } in &candidates {
        let Some(translation) = Translation::apart(&names, bare) else { continue };
        let name = |(old, new): &(String, String)| Some((translation.name(new)?, shape(old)));
        if let Some(n) = differences(&names.iter().filter_map(name).collect(), bare) {
            found.push((graph.name(), n));
            places.insert(translation.beginnings().to_vec());
        }
    }
    // Where one network lies below one beginning and another below another, neither is the one that is meant.
    if places.len() > 1 { Vec::new() } else { nearest(&found) }
}

/// A network that tensors may belong to, and the same without auxiliary heads, which a file may lack.
pub(crate) struct Candidate<'g> {
    graph: &'g Graph,
    bare: Graph,
}

impl<'g> Candidate<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self { graph, bare: graph.inference() }
    }
}

/// As [`recognise`], of networks that all the tensors belong to. `names` are those in the file and without wrappers; `shape` knows the
/// former.
pub(crate) fn recognise_whole<'g, 's>(
    names: &[(String, String)],
    shape: impl Fn(&str) -> &'s [usize],
    candidates: &[Candidate<'g>],
) -> Vec<&'g str> {
    let files: Vec<BTreeMap<String, &[usize]>> = prefixes(names)
        .into_iter()
        .flat_map(|prefix| origins().iter().map(move |origin| (prefix, origin)))
        .map(|(prefix, origin)| {
            let name = |name: &String| origin.rename(&name[prefix..]);
            names.iter().map(|(old, new)| (name(new), shape(old))).collect()
        })
        .collect();
    let usual = |Candidate { graph, bare }: &Candidate<'g>| {
        let graphs = [bare, *graph].into_iter();
        let pairs = graphs.flat_map(|graph| files.iter().map(move |file| (file, graph)));
        let differing = pairs.filter_map(|(file, graph)| differences(file, graph)).min()?;
        Some((graph.name(), differing))
    };
    nearest(&candidates.iter().filter_map(usual).collect::<Vec<_>>())
}

/// Those of the networks found that differ in nothing; where there are none, those that differ in classes and channels.
fn nearest<'g>(found: &[(&'g str, usize)]) -> Vec<&'g str> {
    let exact: Vec<&str> = found.iter().filter(|(_, n)| *n == 0).map(|(name, _)| *name).collect();
    // The classifier's weight and bias, of the main head and of two more, and the first layer's weight.
    let others = found.iter().filter(|(_, n)| (1..=7).contains(n)).map(|(name, _)| *name);
    if exact.is_empty() { others.collect() } else { exact }
}

/// Number of NaN and infinite values, per tensor that has any.
pub fn non_finite(weights: &Weights) -> Vec<(&str, usize)> {
    let count = |tensor: &Tensor| tensor.data().iter().filter(|value| !value.is_finite()).count();
    weights.iter().map(|(name, tensor)| (name, count(tensor))).filter(|&(_, n)| n > 0).collect()
}

/// The name of the weight that tells the number of the input's channels, which is its second dimension: that of the convolution
/// that alone reads the input. `None` for a network that begins otherwise.
pub fn stem(graph: &Graph) -> Option<String> {
    let input = graph.nodes().first()?.id;
    let mut readers = graph.nodes().iter().filter(|node| node.inputs.contains(&input));
    let (Some(first), None) = (readers.next(), readers.next()) else { return None };
    let dense = first.spec.convolution.as_ref().is_some_and(|of| of.groups == 1);
    let weight = first.spec.params.iter().find(|param| dense && param.role == "weight")?;
    (weight.shape.len() == 4).then(|| first.param_name(weight))
}

/// How many tensors have another number of classes or of the input's channels; `None` when names or other dimensions differ.
fn differences(file: &BTreeMap<String, &[usize]>, graph: &Graph) -> Option<usize> {
    // What most networks lack is told at once: a file may name many.
    if graph.params().next().is_some_and(|(name, _)| !file.contains_key(&name)) {
        return None;
    }
    // These may be missing, and there may be more of them.
    let free: BTreeSet<String> = normalised(graph).map(|(conv, _)| bias_of(conv)).collect();
    let stem = stem(graph);
    let mut count = 0;
    let mut found = 0;
    for (name, param) in graph.params() {
        let Some(&shape) = file.get(&name) else {
            if free.contains(&name) {
                continue;
            }
            return None;
        };
        found += 1;
        if same_layout(shape, &param.shape) {
            continue;
        }
        // Another number of classes changes the first dimension of classifiers alone.
        let classes = param.shape.first() == Some(&graph.classes());
        let places = 0..shape.len().max(param.shape.len());
        let other: Vec<usize> = places.filter(|&at| shape.get(at) != param.shape.get(at)).collect();
        if !(classes && other == [0] || Some(&name) == stem.as_ref() && other == [1]) {
            return None;
        }
        count += 1;
    }
    let wanted: BTreeSet<String> = graph.params().map(|(name, _)| name).collect();
    let auxiliary = |name: &String| AUXILIARY.iter().any(|prefix| name.starts_with(prefix));
    let allowed =
        |name: &&String| !wanted.contains(*name) && (free.contains(*name) || auxiliary(name));
    let extra = file.len() - found;
    (extra == file.keys().filter(allowed).count()).then_some(count)
}

/// A bias of a convolution before a batch normalisation changes nothing that the running mean cannot. One that the graph
/// lacks is taken off the mean (He et al.'s ResNet-50 has one after its first convolution); where the graph has them and
/// the file has none at all, they are zero (a BN-Inception that was trained without them).
fn reconcile_biases(weights: &mut Weights, graph: &Graph) {
    let mut missing = Vec::new();
    let mut present = false;
    for (conv, norm) in normalised(graph) {
        let bias = bias_of(conv);
        let wanted = conv.spec.params.iter().find(|param| param.role == "bias");
        match (wanted, weights.tensor(&bias).cloned()) {
            (Some(_), Some(_)) => present = true,
            (Some(param), None) => missing.push((bias, param.shape.clone())),
            (None, Some(tensor)) => {
                let mean = weights.tensor_mut(&format!("{}.running_mean", norm.name));
                if let Some(mean) = mean.filter(|mean| mean.shape() == tensor.shape()) {
                    let pairs = mean.data_mut().iter_mut().zip(tensor.data());
                    pairs.for_each(|(mean, bias)| *mean -= bias);
                    weights.remove(&bias);
                }
            }
            (None, None) => {}
        }
    }
    if !present {
        missing
            .into_iter()
            .for_each(|(name, shape)| drop(weights.insert(name, Tensor::zeros(shape))));
    }
}

/// The convolutions that a batch normalisation follows, each with it.
fn normalised(graph: &Graph) -> impl Iterator<Item = (&Node, &Node)> {
    let norms = graph.nodes().iter().filter(|node| node.spec.affine.is_some());
    let pairs = norms.map(|norm| (graph.node(norm.inputs[0]), norm));
    pairs.filter(|(conv, _)| conv.spec.convolution.is_some())
}

fn bias_of(conv: &Node) -> String {
    format!("{}.bias", conv.name)
}

/// Whether a tensor of shape `a` can stand for one of shape `b` as it lies in memory: dimensions of one do not matter, and
/// a linear layer may be a convolution over the whole map.
fn same_layout(a: &[usize], b: &[usize]) -> bool {
    let whole_map = |a: &[usize], b: &[usize]| match (a, b) {
        (&[outputs, c, h, w], &[rows, inputs]) => {
            outputs == rows && c.checked_mul(h).and_then(|n| n.checked_mul(w)) == Some(inputs)
        }
        _ => false,
    };
    a.iter().filter(|&&d| d != 1).eq(b.iter().filter(|&&d| d != 1)) || whole_map(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::{k, net};

    fn graph(classes: usize) -> Graph {
        net("tiny", [3, 8, 8], |x| {
            let x = x.conv_bn(4, k(3)).relu();
            x.clone_head().global_avg_pool().linear(classes).named("fc")
        })
        .unwrap()
    }

    #[test]
    fn networks_for_other_channels_are_recognised_by_all_but_their_first_layer() {
        let tiny = |channels: usize, classes: usize| {
            net("tiny", [channels, 8, 8], |x| {
                x.conv_bn(4, k(3)).relu().global_avg_pool().linear(classes).named("fc")
            })
        };
        let usual = tiny(3, 5).unwrap();
        assert_eq!(stem(&usual).as_deref(), Some("conv1.weight"));
        for (channels, classes) in [(1, 5), (1, 2), (4, 5)] {
            let file = weights(&tiny(channels, classes).unwrap());
            assert_eq!(recognise(&file, [&usual]), ["tiny"], "{channels}, {classes}");
        }
        let mut file = weights(&usual);
        file.insert("conv1.weight", Tensor::zeros([4, 1, 5, 5]));
        assert!(recognise(&file, [&usual]).is_empty());
    }

    /// An auxiliary head beside the main path.
    trait Head {
        fn clone_head(self) -> Self;
    }

    impl Head for top5_graph::Var<'_> {
        fn clone_head(self) -> Self {
            self.global_avg_pool().linear(2).named("aux1.fc").output("aux1", 0.3);
            self
        }
    }

    fn weights(graph: &Graph) -> Weights {
        graph
            .params()
            .enumerate()
            .map(|(i, (name, param))| {
                let data = vec![i as f32; param.elements()];
                (name, Tensor::new(param.shape.clone(), data).unwrap())
            })
            .collect()
    }

    fn renamed(weights: &Weights, name: impl Fn(&str) -> String) -> Weights {
        weights.iter().map(|(old, tensor)| (name(old), tensor.clone())).collect()
    }

    #[test]
    fn wrappers_counters_and_unused_heads_are_dropped() {
        let graph = graph(5);
        let full = weights(&graph);
        let mut file = renamed(&full, |name| format!("module.{name}"));
        file.insert("module.bn1.num_batches_tracked", Tensor::zeros([]));
        assert_eq!(fit(file.clone(), &graph).unwrap(), full);
        let bare = graph.inference();
        let fitted = fit(file, &bare).unwrap();
        assert_eq!(fitted.check(&bare), Ok(()));
        assert!(fitted.tensor("aux1.fc.weight").is_none());
    }

    #[test]
    fn a_common_beginning_and_wrappers_further_on_are_taken_off_and_named() {
        type Rename = fn(&str) -> String;
        let cases: [(Rename, &[&str]); 8] = [
            (|name| name.to_owned(), &[]),
            (|name| format!("model.{name}"), &["taken off the tensors' names: `model.`"]),
            (
                |name| format!("module.backbone.net.{name}"),
                &["taken off the tensors' names: `backbone.net.`, `module.`"],
            ),
            (
                |name| name.replacen('.', ".module.", 1),
                &["taken off the tensors' names: `module.`"],
            ),
            (
                |name| name.replacen("conv1.", "conv1._checkpoint_wrapped_module.", 1),
                &["taken off the tensors' names: `_checkpoint_wrapped_module.`"],
            ),
            // As OpenMMLab's.
            (
                |name| {
                    if name.starts_with("fc") {
                        format!("head.{name}")
                    } else {
                        format!("backbone.{name}")
                    }
                },
                &["taken off the tensors' names: `backbone.`, `head.`"],
            ),
            (
                |name| {
                    if name.starts_with("fc") { format!("head.{name}") } else { name.to_owned() }
                },
                &["taken off the tensors' names: `head.`"],
            ),
            (|name| name.replace("fc.", "fc.1."), &["taken as the network's `fc.`: `fc.1.`"]),
        ];
        let graph = graph(5).inference();
        let full = weights(&graph);
        for (rename, named) in cases {
            let file = renamed(&full, rename);
            assert_eq!(renamings(file.iter().map(|(name, _)| name), &graph), named);
            let by_head = named.iter().any(|note| note.contains("fc.1"));
            assert_eq!(recognise(&file, [&graph]).is_empty(), by_head, "{named:?}");
            assert_eq!(fit(file, &graph).as_ref(), Ok(&full));
        }
    }

    #[test]
    fn what_lies_outside_the_network_is_left_out_and_said() {
        let graph = graph(5).inference();
        let full = weights(&graph);
        let mut file = renamed(&full, |name| format!("net.{name}"));
        file.insert("criterion.weight", Tensor::zeros([5]));
        let notes = renamings(file.iter().map(|(name, _)| name), &graph);
        let left = "left out, as no part of the network: `criterion.weight` (1)";
        assert_eq!(notes, ["taken off the tensors' names: `net.`", left]);
        assert_eq!(fit(file.clone(), &graph).as_ref(), Ok(&full));
        // Among the network's own it may be a part of another one.
        let mut other = file.clone();
        other.insert("net.conv1.gate", Tensor::zeros([5]));
        assert_eq!(fit(other, &graph).unwrap_err().unexpected, ["conv1.gate"]);
        // Of two networks, none is the one that is meant.
        for (name, tensor) in full {
            file.insert(format!("teacher.{name}"), tensor);
        }
        assert!(!fit(file, &graph).unwrap_err().missing.is_empty());
    }

    #[test]
    fn a_bias_before_a_batch_norm_moves_the_mean() {
        let graph = graph(5);
        let mut file = weights(&graph);
        let before = file.tensor("bn1.running_mean").unwrap().data()[0];
        file.insert("conv1.bias", Tensor::new([4], vec![0.5; 4]).unwrap());
        let fitted = fit(file, &graph).unwrap();
        assert_eq!(fitted.tensor("bn1.running_mean").unwrap().data()[0], before - 0.5);
    }

    #[test]
    fn ones_in_a_shape_do_not_matter_and_transposition_does() {
        let graph = graph(5);
        let mut file = weights(&graph);
        file.insert("fc.weight", Tensor::zeros([5, 4, 1, 1]));
        assert_eq!(fit(file.clone(), &graph).unwrap().tensor("fc.weight").unwrap().shape(), [5, 4]);
        file.insert("fc.weight", Tensor::zeros([4, 5]));
        file.remove("bn1.weight");
        file.insert("bn1.weights", Tensor::zeros([4]));
        let error = fit(file, &graph).unwrap_err();
        assert_eq!(error.missing, ["bn1.weight"]);
        assert_eq!(error.unexpected, ["bn1.weights"]);
        assert_eq!(error.mismatched[0].got, [4, 5]);
    }

    #[test]
    fn networks_are_recognised_with_other_classes_too() {
        let (five, other) = (graph(5), net("other", [3, 8, 8], |x| x.conv(4, 3)).unwrap());
        let file = renamed(&weights(&five), |name| format!("module.{name}"));
        assert_eq!(recognise(&file, [&other, &five]), ["tiny"]);
        assert_eq!(recognise(&weights(&graph(7)), [&other, &five]), ["tiny"]);
        assert_eq!(recognise(&weights(&five.inference()), [&other, &five]), ["tiny"]);
        let mut more = weights(&five);
        more.insert("layer1.weight", Tensor::zeros([1]));
        assert!(recognise(&more, [&other, &five]).is_empty());
        assert!(recognise(&Weights::new(), [&other, &five]).is_empty());
    }

    #[test]
    fn values_that_are_no_numbers_are_counted() {
        let mut weights = Weights::new();
        weights.insert("a", Tensor::new([3], vec![1.0, f32::NAN, f32::INFINITY]).unwrap());
        weights.insert("b", Tensor::zeros([2]));
        assert_eq!(non_finite(&weights), [("a", 2)]);
    }
}
