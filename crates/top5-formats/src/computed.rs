//! Weights that a file keeps as what they are computed from: weight and spectral normalisation, pruning.
//!
//! PyTorch's transforms of weights put the tensors that training changes into the state dict, under names of their own, in the place
//! of the weight that the layer computes with. Where those tensors say all there is to know, the weight is computed from them, as the
//! layer does outside training; otherwise the file is refused with what it has instead.

use std::collections::{BTreeMap, BTreeSet};

use top5_graph::{Tensor, Weights, counted};

use crate::error::{FormatError, quoted};

/// The part of a name below which `torch.nn.utils.parametrize` keeps a weight.
const PARAMETRIZATIONS: &str = ".parametrizations.";

/// How a weight is computed from tensors of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    /// `g · v / ‖v‖`, of Salimans & Kingma, arXiv:1602.07868.
    WeightNorm,
    /// `w / σ` with `σ = uᵀ W v`, of Miyato et al., arXiv:1802.05957.
    SpectralNorm,
    /// `w · mask`.
    Pruning,
}

impl Rule {
    fn name(self) -> &'static str {
        match self {
            Self::WeightNorm => "weight normalisation",
            Self::SpectralNorm => "spectral normalisation",
            Self::Pruning => "pruning",
        }
    }

    /// The weight, from the tensor of its shape and the others; `None` where their shapes do not go together.
    fn apply(self, weight: Tensor, others: &[Tensor]) -> Option<Tensor> {
        match (self, others) {
            (Self::WeightNorm, [g]) => weight_norm(weight, g),
            (Self::SpectralNorm, [u, v]) => spectral_norm(weight, u, v),
            (Self::Pruning, [mask]) => {
                let same = weight.shape() == mask.shape();
                same.then(|| map(weight, |at, value| value * mask.data()[at]))
            }
            (Self::WeightNorm | Self::SpectralNorm | Self::Pruning, _) => None,
        }
    }
}

/// A weight to be computed: its name, the tensor of its shape, and the others.
struct Recipe {
    rule: Rule,
    name: String,
    from: String,
    others: Vec<String>,
}

/// Computes the weights that `weights` keeps as what they are computed from, and says of how many that was done, one sentence per
/// transform.
///
/// # Errors
///
/// [`FormatError::Refused`] for transforms whose tensors do not tell the weight (LoRA, parametrisations that code defines), and for
/// tensors whose shapes do not go together.
pub fn compute(mut weights: Weights) -> Result<(Weights, Vec<String>), FormatError> {
    let mut parts: BTreeMap<&str, usize> = BTreeMap::new();
    for place in weights.iter().filter_map(|(name, _)| parametrised(name)) {
        *parts.entry(place).or_default() += 1;
    }
    let recipes: Vec<Recipe> =
        weights.iter().filter_map(|(name, _)| recipe(name, &weights, &parts)).collect();
    let mut done: Vec<Rule> = Vec::new();
    for Recipe { rule, name, from, others } in recipes {
        let weight = weights.remove(&from);
        let taken: Vec<Tensor> = others.iter().filter_map(|other| weights.remove(other)).collect();
        let computed = weight.and_then(|weight| rule.apply(weight, &taken)).ok_or_else(|| {
            let what =
                format!("the shapes of {} and {} do not go together", quoted(&from), list(&others));
            FormatError::refused("weights", format!("{what}, as {} has them", rule.name()))
        })?;
        weights.insert(name, computed);
        done.push(rule);
    }
    if let Some(what) = weights.iter().find_map(|(name, _)| obstacle(name)) {
        return Err(FormatError::refused("weights", what));
    }
    let rules: BTreeSet<Rule> = done.iter().copied().collect();
    let note = |rule: Rule| {
        let count = done.iter().filter(|&&other| other == rule).count();
        format!("computed from what {} keeps of them: {}", rule.name(), counted(count, "tensor"))
    };
    Ok((weights, rules.into_iter().map(note).collect()))
}

/// Of a tensor below a parametrisation, that part of its name which all tensors of the same weight have.
fn parametrised(name: &str) -> Option<&str> {
    let (layer, rest) = name.rsplit_once(PARAMETRIZATIONS)?;
    let (role, _) = rest.split_once('.')?;
    Some(&name[..layer.len() + PARAMETRIZATIONS.len() + role.len()])
}

/// What is computed from the tensor of this name and others, if that is what it is for. `parts` are the numbers of tensors below each
/// parametrisation.
fn recipe(name: &str, weights: &Weights, parts: &BTreeMap<&str, usize>) -> Option<Recipe> {
    let made = |rule, target: String, others: &[String]| {
        let there = others.iter().all(|other| weights.tensor(other).is_some());
        let free = weights.tensor(&target).is_none();
        (there && free).then(|| Recipe {
            rule,
            name: target,
            from: name.to_owned(),
            others: others.to_vec(),
        })
    };
    if let Some((layer, rest)) = name.rsplit_once(PARAMETRIZATIONS) {
        let (role, original) = rest.split_once('.')?;
        let below = |end: &str| format!("{layer}{PARAMETRIZATIONS}{role}.{end}");
        let target = format!("{layer}.{role}");
        // One more transform of the same weight is not known.
        let parts = parts.get(parametrised(name)?)?;
        return match original {
            "original1" if *parts == 2 => made(Rule::WeightNorm, target, &[below("original0")]),
            "original" if *parts == 3 => {
                made(Rule::SpectralNorm, target, &[below("0._u"), below("0._v")])
            }
            _ => None,
        };
    }
    if let Some(target) = name.strip_suffix("_v") {
        return made(Rule::WeightNorm, target.to_owned(), &[format!("{target}_g")]);
    }
    let target = name.strip_suffix("_orig")?;
    let with = |ends: &[&str]| -> Vec<String> {
        ends.iter().map(|end| format!("{target}{end}")).collect()
    };
    made(Rule::Pruning, target.to_owned(), &with(&["_mask"]))
        .or_else(|| made(Rule::SpectralNorm, target.to_owned(), &with(&["_u", "_v"])))
}

/// Why a tensor that is left is part of a transform that cannot be computed, and what to do.
fn obstacle(name: &str) -> Option<String> {
    if name.split('.').any(|part| part.starts_with("lora_")) {
        return Some(format!(
            "it holds an adapter of low rank (LoRA, {}), of which it does not say by how much it counts: save the model after \
             `merge_and_unload()`",
            quoted(name)
        ));
    }
    if let Some((layer, rest)) = name.split_once(PARAMETRIZATIONS) {
        let role = rest.split('.').next().unwrap_or_default();
        return Some(format!(
            "{} is computed by code that the file does not hold ({}): save after \
             `torch.nn.utils.parametrize.remove_parametrizations(layer, \"{}\")`",
            quoted(&format!("{layer}.{role}")),
            quoted(name),
            role.escape_debug()
        ));
    }
    if name.contains("weight_fake_quant") || name.contains("activation_post_process") {
        return Some(format!(
            "it was trained to be quantised ({}): take the weights before `prepare_qat`",
            quoted(name)
        ));
    }
    let original = |role: &&str| name.rsplit('.').next() == Some(&format!("{role}_orig"));
    ["weight", "bias"].iter().find(|role| original(role)).map(|role| {
        format!(
            "it has {} and no tensor of floats `{role}_mask` beside it: save after `torch.nn.utils.prune.remove(layer, \"{role}\")`",
            quoted(name)
        )
    })
}

/// `g · v / ‖v‖`, with one norm for each value of `g`: over the axes that `g` has not.
fn weight_norm(v: Tensor, g: &Tensor) -> Option<Tensor> {
    let (shape, sizes) = (v.shape().to_vec(), g.shape());
    let one = g.data().len() == 1;
    let fits =
        sizes.len() == shape.len() && sizes.iter().zip(&shape).all(|(&g, &v)| g == 1 || g == v);
    if !(one || fits) || g.data().is_empty() {
        return None;
    }
    // How far one step along each axis goes in `g`.
    let mut steps = vec![0; shape.len()];
    let mut step = 1;
    for axis in (0..shape.len()).rev().filter(|_| !one) {
        steps[axis] = if sizes[axis] == 1 { 0 } else { step };
        step *= sizes[axis];
    }
    let place = |mut at: usize| {
        let mut place = 0;
        for axis in (0..shape.len()).rev() {
            place += at % shape[axis] * steps[axis];
            at /= shape[axis];
        }
        place
    };
    let mut squares = vec![0.0f64; g.data().len()];
    v.data()
        .iter()
        .enumerate()
        .for_each(|(at, &value)| squares[place(at)] += f64::from(value).powi(2));
    let pairs = g.data().iter().zip(&squares);
    let scales: Vec<f64> = pairs.map(|(&g, square)| f64::from(g) / square.sqrt()).collect();
    Some(map(v, |at, value| (f64::from(value) * scales[place(at)]) as f32))
}

/// `w / (uᵀ W v)`, where `W` has the outputs as rows.
fn spectral_norm(w: Tensor, u: &Tensor, v: &Tensor) -> Option<Tensor> {
    let (rows, columns) = (*w.shape().first()?, v.data().len());
    if u.data().len() != rows || rows.checked_mul(columns)? != w.data().len() || columns == 0 {
        return None;
    }
    let products = w.data().chunks(columns).map(|row| {
        row.iter().zip(v.data()).map(|(&w, &v)| f64::from(w) * f64::from(v)).sum::<f64>()
    });
    let sigma: f64 = products.zip(u.data()).map(|(product, &u)| product * f64::from(u)).sum();
    Some(map(w, |_, value| (f64::from(value) / sigma) as f32))
}

fn map(mut tensor: Tensor, change: impl Fn(usize, f32) -> f32) -> Tensor {
    tensor.data_mut().iter_mut().enumerate().for_each(|(at, value)| *value = change(at, *value));
    tensor
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), data.to_vec()).unwrap()
    }

    fn file(tensors: &[(&str, Tensor)]) -> Weights {
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect()
    }

    #[test]
    fn weights_are_computed_from_what_transforms_keep() {
        let v = tensor(&[2, 2], &[3.0, 4.0, 0.0, 2.0]);
        let rows = tensor(&[2, 1], &[10.0, 1.0]);
        let columns = tensor(&[1, 2], &[3.0, 20.0f32.sqrt()]);
        let (u, sing) = (tensor(&[2], &[1.0, 0.0]), tensor(&[2], &[0.6, 0.8]));
        let mask = tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let new = |end: &str| format!("a.parametrizations.weight.{end}");
        let (g0, v1, original) = (new("original0"), new("original1"), new("original"));
        let (new_u, new_v) = (new("0._u"), new("0._v"));
        for (case, tensors, expected) in [
            ("rows", vec![("a.weight_v", &v), ("a.weight_g", &rows)], [6.0, 8.0, 0.0, 1.0]),
            ("columns", vec![("a.weight_v", &v), ("a.weight_g", &columns)], [3.0, 4.0, 0.0, 2.0]),
            ("new", vec![(v1.as_str(), &v), (g0.as_str(), &rows)], [6.0, 8.0, 0.0, 1.0]),
            ("mask", vec![("a.weight_orig", &v), ("a.weight_mask", &mask)], [3.0, 0.0, 0.0, 2.0]),
            (
                "spectral",
                vec![("a.weight_orig", &v), ("a.weight_u", &u), ("a.weight_v", &sing)],
                [0.6, 0.8, 0.0, 0.4],
            ),
            (
                "new spectral",
                vec![(&original, &v), (&new_u, &u), (&new_v, &sing)],
                [0.6, 0.8, 0.0, 0.4],
            ),
        ] {
            let tensors: Vec<(&str, Tensor)> =
                tensors.into_iter().map(|(name, tensor)| (name, tensor.clone())).collect();
            let (weights, notes) = compute(file(&tensors)).unwrap();
            assert_eq!((weights.len(), notes.len()), (1, 1), "{case}");
            let pairs = weights.tensor("a.weight").unwrap().data().iter().zip(expected);
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{case}: {weights:?}");
        }
        let scalar = file(&[("a.weight_v", v), ("a.weight_g", tensor(&[], &[29.0f32.sqrt()]))]);
        let (weights, notes) = compute(scalar).unwrap();
        assert_eq!(weights.tensor("a.weight").unwrap().data(), [3.0, 4.0, 0.0, 2.0]);
        assert_eq!(notes, ["computed from what weight normalisation keeps of them: 1 tensor"]);
    }

    #[test]
    fn what_a_file_does_not_tell_is_refused_with_what_to_do() {
        let one = tensor(&[1], &[1.0]);
        let two = tensor(&[2], &[1.0, 2.0]);
        for (names, words) in [
            (&["fc.lora_A.default.weight"][..], "merge_and_unload"),
            (&["fc.lora_B"], "merge_and_unload"),
            (
                &["fc.parametrizations.weight.original", "fc.parametrizations.weight.0.base"],
                "remove_parametrizations(layer, \"weight\")",
            ),
            (&["fc.weight_orig"], "prune.remove(layer, \"weight\")"),
            (&["conv1.weight_fake_quant.scale"], "prepare_qat"),
        ] {
            let weights = names.iter().map(|name| ((*name).to_owned(), one.clone())).collect();
            let error = compute(weights).unwrap_err().to_string();
            assert!(error.contains(words), "{names:?}: {error}");
        }
        for (other, rule) in [("a.weight_g", "a.weight_v"), ("a.weight_mask", "a.weight_orig")] {
            let three = tensor(&[3], &[1.0; 3]);
            let error = compute(file(&[(rule, three), (other, two.clone())])).unwrap_err();
            assert!(error.to_string().contains("do not go together"), "{error}");
        }
    }

    #[test]
    fn other_tensors_stay() {
        let one = tensor(&[1], &[1.0]);
        let names = ["a.weight", "a.weight_v", "a.weight_g", "b.weight_mask", "c.bias"];
        let weights: Weights = names.iter().map(|name| ((*name).to_owned(), one.clone())).collect();
        assert_eq!(compute(weights.clone()).unwrap(), (weights, Vec::new()));
    }
}
