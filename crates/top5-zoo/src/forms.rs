//! The weights of a ResNeXt in the three equivalent forms of its block (Figure 3 of the paper): separate paths that are
//! added (a), paths that are concatenated (b), the groups of one convolution (c).
//!
//! Path `i` of a block has the `i`-th part of the rows of form (c)'s first two convolutions and normalisations. In form
//! (a) it has the `i`-th part of the columns of the third convolution, too, since a sum of products over all paths is
//! the sum of the paths' sums.

use std::collections::BTreeMap;
use top5_graph::{Tensor, Weights};

/// A form that has paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Figure 3(a): the paths are added.
    A,
    /// Figure 3(b): the paths are concatenated.
    B,
}

/// The weights of form (c), with `cardinality` groups, as those of another form. What cannot be divided stays whole, so
/// that [`Weights::check`] against the other form's graph tells if these were not the weights of such a network.
pub fn split(weights: &Weights, cardinality: usize, form: Form) -> Weights {
    let mut parts = Weights::new();
    for (name, tensor) in weights.iter() {
        let cut = place(name).filter(|place| form == Form::A || place.axis == 0);
        match cut.and_then(|place| Some((place, divide(tensor, place.axis, cardinality)?))) {
            Some((Place { block, layer, .. }, pieces)) => {
                for (path, piece) in pieces.into_iter().enumerate() {
                    parts.insert(format!("{block}.paths.{path}.{layer}"), piece);
                }
            }
            None => {
                parts.insert(name, tensor.clone());
            }
        }
    }
    parts
}

/// The weights of form (a) or (b) as those of form (c). Paths that do not fit together stay as they are, for
/// [`Weights::check`] to tell.
pub fn join(weights: &Weights) -> Weights {
    let mut whole = Weights::new();
    let mut parts: BTreeMap<String, Vec<(usize, &str, &Tensor)>> = BTreeMap::new();
    for (name, tensor) in weights.iter() {
        match path_of(name) {
            Some((joined, path)) => parts.entry(joined).or_default().push((path, name, tensor)),
            None => {
                whole.insert(name, tensor.clone());
            }
        }
    }
    for (joined, mut parts) in parts {
        parts.sort_by_key(|(path, ..)| *path);
        let complete = parts.iter().enumerate().all(|(index, (path, ..))| index == *path);
        let tensors: Vec<&Tensor> = parts.iter().map(|(.., tensor)| *tensor).collect();
        let axis = place(&joined).filter(|_| complete).map(|place| place.axis);
        match axis.and_then(|axis| unite(&tensors, axis)) {
            Some(tensor) => {
                whole.insert(joined, tensor);
            }
            None => parts.into_iter().for_each(|(_, name, tensor)| {
                whole.insert(name, tensor.clone());
            }),
        }
    }
    whole
}

/// Where a tensor of form (c) is, if the other forms divide it: `layer1.0.conv2.weight`.
#[derive(Clone, Copy)]
struct Place<'n> {
    /// `layer1.0`
    block: &'n str,
    /// `conv2.weight`
    layer: &'n str,
    /// The dimension that the paths share out: rows, or columns of the third convolution.
    axis: usize,
}

fn place(name: &str) -> Option<Place<'_>> {
    let (rest, role) = name.rsplit_once('.')?;
    let (block, layer) = rest.rsplit_once('.')?;
    let axis = match (layer, role) {
        ("conv1" | "conv2" | "bn1" | "bn2", _) => 0,
        ("conv3", "weight") => 1,
        _ => return None,
    };
    Some(Place { block, layer: &name[block.len() + 1..], axis })
}

/// The name of form (c) and the number of the path: `layer1.0.paths.7.conv2.weight` is part 7 of
/// `layer1.0.conv2.weight`.
fn path_of(name: &str) -> Option<(String, usize)> {
    let (block, rest) = name.split_once(".paths.")?;
    let (path, layer) = rest.split_once('.')?;
    let joined = format!("{block}.{layer}");
    place(&joined)?;
    Some((joined, path.parse().ok()?))
}

/// Equal parts along a dimension, if it has that many.
fn divide(tensor: &Tensor, axis: usize, parts: usize) -> Option<Vec<Tensor>> {
    let shape = tensor.shape();
    let &length = shape.get(axis)?;
    if parts == 0 || length == 0 || !length.is_multiple_of(parts) {
        return None;
    }
    let inner: usize = shape[axis..].iter().product();
    let run = inner / parts;
    let mut part = shape.to_vec();
    part[axis] = length / parts;
    let piece = |index: usize| {
        let rows = tensor.data().chunks_exact(inner);
        let data = rows.flat_map(|row| &row[index * run..(index + 1) * run]).copied().collect();
        Tensor::new(part.clone(), data)
    };
    (0..parts).map(piece).collect()
}

/// The inverse of [`divide`], if all parts have one shape.
fn unite(parts: &[&Tensor], axis: usize) -> Option<Tensor> {
    let shape = parts.first()?.shape();
    if axis >= shape.len() || parts.iter().any(|part| part.shape() != shape) {
        return None;
    }
    let run: usize = shape[axis..].iter().product();
    let outer: usize = shape[..axis].iter().product();
    let mut whole = shape.to_vec();
    whole[axis] *= parts.len();
    let mut data = Vec::with_capacity(outer * run * parts.len());
    for row in 0..outer {
        for part in parts {
            data.extend_from_slice(&part.data()[row * run..(row + 1) * run]);
        }
    }
    Tensor::new(whole, data)
}
