//! From the names of a file to those of a graph, and from the names to the network.
//!
//! Graphs have the names of torchvision, timm or the article's code, so most files fit as they are. Older and foreign
//! names are translated by tables of rules; the table that leaves the fewest differences is used.

use std::collections::BTreeMap;
use top5_graph::{Graph, Tensor, Weights, WeightsError};

/// A rule: a pattern and what replaces it. `#` stands for a number and `*` for any text; the replacement takes them in
/// order. Rules are tried in turn, and the first that matches is applied.
type Rule = (&'static str, &'static str);

/// DenseNets before torchvision 0.3.
const OLD_DENSENET: &[Rule] = &[("*.norm.#.*", "*.norm#.*"), ("*.conv.#.*", "*.conv#.*")];

/// SE networks of pretrained-models and timm's `legacy_` ones; `layer0` has one convolution or, in SENet-154, three.
const OLD_SENET: &[Rule] =
    &[("*.se_module.*", "*.se.*"), ("layer0.*", "*"), ("last_linear.*", "fc.*")];
const OLD_SENET_154: &[Rule] = &[
    ("*.se_module.*", "*.se.*"),
    ("layer0.conv1.*", "conv1.0.*"),
    ("layer0.bn1.*", "conv1.1.*"),
    ("layer0.conv2.*", "conv1.3.*"),
    ("layer0.bn2.*", "conv1.4.*"),
    ("layer0.conv3.*", "conv1.6.*"),
    ("layer0.bn3.*", "bn1.*"),
    ("last_linear.*", "fc.*"),
];

/// Other networks of pretrained-models call the classifier so.
const OLD_CLASSIFIER: &[Rule] = &[("last_linear.*", "fc.*")];

/// BVLC's GoogLeNet.
const CAFFE_GOOGLENET: &[Rule] = &[
    ("conv1/7x7_s2.*", "conv1.conv.*"),
    ("conv2/3x3_reduce.*", "conv2.conv.*"),
    ("conv2/3x3.*", "conv3.conv.*"),
    ("inception_*/1x1.*", "inception*.branch1.conv.*"),
    ("inception_*/3x3_reduce.*", "inception*.branch2.0.conv.*"),
    ("inception_*/3x3.*", "inception*.branch2.1.conv.*"),
    ("inception_*/5x5_reduce.*", "inception*.branch3.0.conv.*"),
    ("inception_*/5x5.*", "inception*.branch3.1.conv.*"),
    ("inception_*/pool_proj.*", "inception*.branch4.1.conv.*"),
    ("loss3/classifier.*", "fc.*"),
    ("loss#/conv.*", "aux#.conv.conv.*"),
    ("loss#/fc.*", "aux#.fc1.*"),
    ("loss#/classifier.*", "aux#.fc2.*"),
];

const CAFFE_VGG_16: &[Rule] = &[
    ("conv1_1.*", "features.0.*"),
    ("conv1_2.*", "features.2.*"),
    ("conv2_1.*", "features.5.*"),
    ("conv2_2.*", "features.7.*"),
    ("conv3_1.*", "features.10.*"),
    ("conv3_2.*", "features.12.*"),
    ("conv3_3.*", "features.14.*"),
    ("conv4_1.*", "features.17.*"),
    ("conv4_2.*", "features.19.*"),
    ("conv4_3.*", "features.21.*"),
    ("conv5_1.*", "features.24.*"),
    ("conv5_2.*", "features.26.*"),
    ("conv5_3.*", "features.28.*"),
    ("fc6.*", "classifier.0.*"),
    ("fc7.*", "classifier.3.*"),
    ("fc8.*", "classifier.6.*"),
];

const CAFFE_VGG_19: &[Rule] = &[
    ("conv1_1.*", "features.0.*"),
    ("conv1_2.*", "features.2.*"),
    ("conv2_1.*", "features.5.*"),
    ("conv2_2.*", "features.7.*"),
    ("conv3_1.*", "features.10.*"),
    ("conv3_2.*", "features.12.*"),
    ("conv3_3.*", "features.14.*"),
    ("conv3_4.*", "features.16.*"),
    ("conv4_1.*", "features.19.*"),
    ("conv4_2.*", "features.21.*"),
    ("conv4_3.*", "features.23.*"),
    ("conv4_4.*", "features.25.*"),
    ("conv5_1.*", "features.28.*"),
    ("conv5_2.*", "features.30.*"),
    ("conv5_3.*", "features.32.*"),
    ("conv5_4.*", "features.34.*"),
    ("fc6.*", "classifier.0.*"),
    ("fc7.*", "classifier.3.*"),
    ("fc8.*", "classifier.6.*"),
];

/// How a file's names become a graph's.
#[derive(Clone, Copy)]
enum Scheme {
    Rules(&'static [Rule]),
    /// The names of He et al.'s released ResNets.
    CaffeResnet,
}

/// All schemes; the first leaves names as they are.
const SCHEMES: &[Scheme] = &[
    Scheme::Rules(&[]),
    Scheme::Rules(OLD_CLASSIFIER),
    Scheme::Rules(OLD_DENSENET),
    Scheme::Rules(OLD_SENET),
    Scheme::Rules(OLD_SENET_154),
    Scheme::Rules(CAFFE_GOOGLENET),
    Scheme::Rules(CAFFE_VGG_16),
    Scheme::Rules(CAFFE_VGG_19),
    Scheme::CaffeResnet,
];

/// Beginnings of the names of auxiliary heads, which a graph for inference does not have.
const AUXILIARY: [&str; 5] = ["AuxLogits.", "aux1.", "aux2.", "aux_logits.", "aux."];
/// What wrappers put before all names.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl Scheme {
    fn rename(self, name: &str) -> String {
        // No known name is longer, and matching takes more than linear time.
        if name.len() > 256 {
            return name.to_owned();
        }
        let renamed = match self {
            Self::Rules(rules) => rules.iter().find_map(|(from, to)| rewrite(name, from, to)),
            Self::CaffeResnet => from_caffe_resnet(name),
        };
        renamed.unwrap_or_else(|| name.to_owned())
    }
}

/// The tensors of `graph`, taken from `weights` under whatever known names they have.
///
/// Counters of batches are dropped, so are the auxiliary heads that the graph does not have; dimensions of one may
/// be missing or added. Fails with the list of differences; `weights` is consumed, and no model was touched.
pub fn fit(weights: Weights, graph: &Graph) -> Result<Weights, WeightsError> {
    let wanted: BTreeMap<String, &[usize]> =
        graph.params().map(|(name, param)| (name, param.shape.as_slice())).collect();
    let names = clean_names(&weights);
    let scheme = SCHEMES
        .iter()
        .min_by_key(|scheme| {
            let hits = names.iter().filter(|(_, name)| wanted.contains_key(&scheme.rename(name)));
            names.len() - hits.count()
        })
        .copied()
        .unwrap_or(Scheme::Rules(&[]));
    let renamed: BTreeMap<String, String> =
        names.into_iter().map(|(old, new)| (old, scheme.rename(&new))).collect();
    let mut fitted = Weights::new();
    for (old, tensor) in weights {
        let Some(name) = renamed.get(&old) else { continue };
        let shape = wanted.get(name).copied();
        if shape.is_none() && AUXILIARY.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let tensor = match shape {
            Some(shape) if same_but_ones(tensor.shape(), shape) => {
                Tensor::new(shape, tensor.into_data()).expect("ones do not change the product")
            }
            Some(_) | None => tensor,
        };
        // Of two tensors that would get one name, the second keeps its own and is told as unexpected.
        let name = if fitted.tensor(name).is_none() { name.clone() } else { old };
        fitted.insert(name, tensor);
    }
    absorb_biases(&mut fitted, &wanted);
    fitted.check(graph)?;
    Ok(fitted)
}

/// Those of `candidates` whose tensors are all in `weights`, by name and shape, under one of the known schemes.
///
/// Networks that differ in their windows only (`resnet50` and `resnet50_v1`) have the same tensors: all are returned,
/// in the order given. When the class count is another, the networks that fit but for it are returned.
pub fn recognise<'g>(
    weights: &Weights,
    candidates: impl IntoIterator<Item = &'g Graph>,
) -> Vec<&'g str> {
    let names = clean_names(weights);
    let files: Vec<BTreeMap<String, &[usize]>> = SCHEMES
        .iter()
        .map(|scheme| {
            let shape = |old: &str| weights.tensor(old).map_or(&[][..], Tensor::shape);
            names.iter().map(|(old, name)| (scheme.rename(name), shape(old))).collect()
        })
        .collect();
    let mut exact = Vec::new();
    let mut other_classes = Vec::new();
    for graph in candidates {
        // A file may lack the auxiliary heads.
        let graphs = [graph.inference(), graph.clone()];
        let best = graphs
            .iter()
            .flat_map(|graph| files.iter().filter_map(|file| differences(file, graph)))
            .min();
        match best {
            Some(0) => exact.push(graph.name()),
            // The classifier's weight and bias, of the main head and of two more.
            Some(1..=6) => other_classes.push(graph.name()),
            Some(_) | None => {}
        }
    }
    if exact.is_empty() { other_classes } else { exact }
}

/// Number of NaN and infinite values, per tensor that has any.
pub fn non_finite(weights: &Weights) -> Vec<(&str, usize)> {
    let count = |tensor: &Tensor| tensor.data().iter().filter(|value| !value.is_finite()).count();
    weights.iter().map(|(name, tensor)| (name, count(tensor))).filter(|&(_, n)| n > 0).collect()
}

/// How many tensors have another first dimension; `None` when names or other dimensions differ.
fn differences(file: &BTreeMap<String, &[usize]>, graph: &Graph) -> Option<usize> {
    let mut count = 0;
    let mut found = 0;
    for (name, param) in graph.params() {
        let &shape = file.get(&name)?;
        found += 1;
        if same_but_ones(shape, &param.shape) {
            continue;
        }
        // Another number of classes changes the first dimension of classifiers alone.
        let classes = param.shape.first() == Some(&graph.classes());
        if !classes || shape.len() != param.shape.len() || shape[1..] != param.shape[1..] {
            return None;
        }
        count += 1;
    }
    let auxiliary = |name: &&String| AUXILIARY.iter().any(|prefix| name.starts_with(prefix));
    let extra = file.len() - found;
    let heads = file.keys().filter(auxiliary).count();
    let heads_wanted = graph.params().filter(|(name, _)| auxiliary(&name)).count();
    (extra == heads.saturating_sub(heads_wanted)).then_some(count)
}

/// (name in the file, name without wrappers) of all tensors that belong to a network.
fn clean_names(weights: &Weights) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = weights
        .iter()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked"))
        .map(|(name, _)| (name.to_owned(), name.to_owned()))
        .collect();
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| {
        !names.is_empty() && names.iter().all(|(_, name)| name.starts_with(**prefix))
    }) {
        names.iter_mut().for_each(|(_, name)| *name = name[prefix.len()..].to_owned());
    }
    names
}

/// A bias before a batch normalisation, where the graph has none, is taken off the running mean: He et al.'s ResNet-50
/// has one after its first convolution.
fn absorb_biases(weights: &mut Weights, wanted: &BTreeMap<String, &[usize]>) {
    if wanted.contains_key("conv1.bias") {
        return;
    }
    let Some(bias) = weights.tensor("conv1.bias").cloned() else { return };
    if let Some(mean) = weights.tensor_mut("bn1.running_mean")
        && mean.shape() == bias.shape()
    {
        mean.data_mut().iter_mut().zip(bias.data()).for_each(|(mean, bias)| *mean -= bias);
        weights.remove("conv1.bias");
    }
}

/// Whether two shapes are equal when dimensions of one are left out.
fn same_but_ones(a: &[usize], b: &[usize]) -> bool {
    a.iter().filter(|&&d| d != 1).eq(b.iter().filter(|&&d| d != 1))
}

/// Applies a rule; `None` when the pattern does not match the whole name.
fn rewrite(name: &str, pattern: &str, replacement: &str) -> Option<String> {
    let mut parts = Vec::new();
    matched(name, pattern, &mut parts).then(|| {
        let mut parts = parts.into_iter();
        replacement.chars().fold(String::new(), |mut text, c| {
            match c {
                '#' | '*' => text.push_str(parts.next().unwrap_or_default()),
                _ => text.push(c),
            }
            text
        })
    })
}

/// Whether the pattern matches, with what its wildcards stand for.
fn matched<'n>(name: &'n str, pattern: &str, parts: &mut Vec<&'n str>) -> bool {
    let Some(first) = pattern.chars().next() else { return name.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    let longest = match first {
        '*' => name.len(),
        '#' => name.bytes().take_while(u8::is_ascii_digit).count(),
        _ => return name.strip_prefix(first).is_some_and(|name| matched(name, rest, parts)),
    };
    for end in (1..=longest).filter(|&end| name.is_char_boundary(end)) {
        parts.push(&name[..end]);
        if matched(&name[end..], rest, parts) {
            return true;
        }
        parts.pop();
    }
    false
}

/// `res4b7_branch2a`, `bn4b7_branch2a` to `layer3.7.conv1`, `layer3.7.bn1`; `branch1` is the shortcut.
fn from_caffe_resnet(name: &str) -> Option<String> {
    let (layer, role) = name.rsplit_once('.')?;
    let layer = match layer {
        "conv1" => "conv1".to_owned(),
        "bn_conv1" => "bn1".to_owned(),
        "fc1000" => "fc".to_owned(),
        _ => {
            let (kind, rest) = match layer.strip_prefix("res") {
                Some(rest) => ("conv", rest),
                None => ("bn", layer.strip_prefix("bn")?),
            };
            let (block, branch) = rest.split_once("_branch")?;
            let (stage, block) = block.split_at_checked(1)?;
            let stage: usize = stage.parse().ok()?;
            let index: usize = match block.as_bytes() {
                &[letter @ b'a'..=b'z'] => usize::from(letter - b'a'),
                [b'b', ..] => block[1..].parse().ok()?,
                _ => return None,
            };
            let place = match (branch, kind) {
                ("1", "conv") => "downsample.0".to_owned(),
                ("1", _) => "downsample.1".to_owned(),
                ("2a", _) => format!("{kind}1"),
                ("2b", _) => format!("{kind}2"),
                ("2c", _) => format!("{kind}3"),
                _ => return None,
            };
            format!("layer{}.{index}.{place}", stage.checked_sub(1)?)
        }
    };
    Some(format!("{layer}.{role}"))
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
    fn rules_rewrite_whole_names() {
        let rules = |rules, name: &str| Scheme::Rules(rules).rename(name);
        let dense = "features.denseblock1.denselayer12.";
        assert_eq!(
            rules(OLD_DENSENET, &format!("{dense}norm.2.running_var")),
            format!("{dense}norm2.running_var")
        );
        assert_eq!(
            rules(OLD_DENSENET, "features.transition1.norm.weight"),
            "features.transition1.norm.weight"
        );
        assert_eq!(rules(OLD_SENET, "layer1.0.se_module.fc1.bias"), "layer1.0.se.fc1.bias");
        assert_eq!(rules(OLD_SENET, "layer0.bn1.weight"), "bn1.weight");
        assert_eq!(rules(OLD_SENET_154, "layer0.conv2.weight"), "conv1.3.weight");
        assert_eq!(
            rules(CAFFE_GOOGLENET, "inception_4e/3x3_reduce.weight"),
            "inception4e.branch2.0.conv.weight"
        );
        assert_eq!(rules(CAFFE_GOOGLENET, "loss2/fc.bias"), "aux2.fc1.bias");
        assert_eq!(rules(CAFFE_GOOGLENET, "loss3/classifier.bias"), "fc.bias");
    }

    #[test]
    fn released_resnets_are_renamed() {
        for (caffe, ours) in [
            ("conv1.weight", "conv1.weight"),
            ("bn_conv1.running_mean", "bn1.running_mean"),
            ("res2a_branch1.weight", "layer1.0.downsample.0.weight"),
            ("bn2a_branch1.bias", "layer1.0.downsample.1.bias"),
            ("res5c_branch2c.weight", "layer4.2.conv3.weight"),
            ("bn4b22_branch2b.weight", "layer3.22.bn2.weight"),
            ("fc1000.bias", "fc.bias"),
        ] {
            assert_eq!(from_caffe_resnet(caffe).as_deref(), Some(ours));
        }
        for name in ["res", "res.weight", "resé_branch.w", "res0a_branch2a.w", "bn2_branch1.w"] {
            assert_eq!(from_caffe_resnet(name), None, "{name}");
        }
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
