//! The named tensors of a trained network, and how they differ from what its graph declares.

use crate::graph::Graph;
use crate::tensor::Tensor;
use crate::words::edit_distance;
use std::collections::BTreeMap;
use std::fmt;

/// Named tensors: the parameters and buffers of a network, or anything shaped like them (gradients, an optimiser's state).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; returns the one that had the name before.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor of this name, to be changed in place.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut Tensor> {
        self.tensors.get_mut(name)
    }

    /// Names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Checks that these are exactly the parameters and buffers of `graph`.
    pub fn check(&self, graph: &Graph) -> Result<(), WeightsError> {
        let wanted: BTreeMap<String, &[usize]> =
            graph.params().map(|(name, param)| (name, param.shape.as_slice())).collect();
        self.check_against(graph.name(), &wanted)
    }

    pub(crate) fn check_against(
        &self,
        network: &str,
        wanted: &BTreeMap<String, &[usize]>,
    ) -> Result<(), WeightsError> {
        let mut error = WeightsError { network: network.to_owned(), ..WeightsError::default() };
        for (name, &shape) in wanted {
            match self.tensors.get(name) {
                None => error.missing.push(name.clone()),
                Some(tensor) if tensor.shape() != shape => error.mismatched.push(Mismatch {
                    name: name.clone(),
                    expected: shape.to_vec(),
                    got: tensor.shape().to_vec(),
                }),
                Some(_) => {}
            }
        }
        error.unexpected =
            self.tensors.keys().filter(|n| !wanted.contains_key(*n)).cloned().collect();
        let clean =
            error.missing.is_empty() && error.unexpected.is_empty() && error.mismatched.is_empty();
        if clean { Ok(()) } else { Err(error) }
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Self { tensors: iter.into_iter().collect() }
    }
}

impl IntoIterator for Weights {
    type Item = (String, Tensor);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// A tensor of the right name and the wrong shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Its name.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The shape that was got.
    pub got: Vec<usize>,
}

/// Weights that are not those of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WeightsError {
    /// The network.
    pub network: String,
    /// Tensors of the network that are not there.
    pub missing: Vec<String>,
    /// Tensors that the network does not have.
    pub unexpected: Vec<String>,
    /// Tensors of another shape.
    pub mismatched: Vec<Mismatch>,
}

impl WeightsError {
    /// For a missing tensor, the unexpected one whose name is nearest (Levenshtein distance at most half its length).
    pub fn nearest(&self, missing: &str) -> Option<&str> {
        /// How many names are looked at: a file may have millions.
        const COMPARED: usize = 10_000;
        // What is much longer is not near, and a long name from a file is not compared.
        let may_be = |name: &&String| 2 * name.len().abs_diff(missing.len()) <= missing.len();
        let near = |name: &&String| (edit_distance(missing, name), name.len());
        let name = self.unexpected.iter().take(COMPARED).filter(may_be).min_by_key(near)?;
        (2 * edit_distance(missing, name) <= missing.len()).then_some(name)
    }
}

/// How many names of each sort an error lists before it only counts them.
const LISTED: usize = 8;

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the weights are not those of {}", self.network)?;
        let more = |f: &mut fmt::Formatter<'_>, n: usize| match n.checked_sub(LISTED) {
            Some(rest) if rest > 0 => write!(f, "\n    … and {rest} more"),
            Some(_) | None => Ok(()),
        };
        if !self.missing.is_empty() {
            write!(f, "\n  missing ({}):", self.missing.len())?;
            for name in self.missing.iter().take(LISTED) {
                write!(f, "\n    {name}")?;
                if let Some(near) = self.nearest(name) {
                    write!(f, "  (nearest: {near})")?;
                }
            }
            more(f, self.missing.len())?;
        }
        if !self.unexpected.is_empty() {
            write!(f, "\n  unexpected ({}):", self.unexpected.len())?;
            for name in self.unexpected.iter().take(LISTED) {
                write!(f, "\n    {name}")?;
            }
            more(f, self.unexpected.len())?;
        }
        if !self.mismatched.is_empty() {
            write!(f, "\n  of another shape ({}):", self.mismatched.len())?;
            for Mismatch { name, expected, got } in self.mismatched.iter().take(LISTED) {
                write!(f, "\n    {name}: expected {expected:?}, got {got:?}")?;
            }
            more(f, self.mismatched.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for WeightsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{k, net};

    #[test]
    fn wrong_weights_are_listed_with_the_nearest_names() {
        let graph = net("tiny", [1, 4, 4], |x| x.conv(2, k(3)).flatten().linear(3)).unwrap();
        let weights: Weights = [
            ("conv1.weights".to_owned(), Tensor::zeros([2, 1, 3, 3])),
            ("conv1.bias".to_owned(), Tensor::zeros([2])),
            ("fc1.weight".to_owned(), Tensor::zeros([3, 7])),
            ("fc1.bias".to_owned(), Tensor::zeros([3])),
        ]
        .into_iter()
        .collect();
        let error = weights.check(&graph).unwrap_err();
        assert_eq!(error.missing, ["conv1.weight"]);
        assert_eq!(error.unexpected, ["conv1.weights"]);
        assert_eq!(error.mismatched[0].expected, [3, 8]);
        let text = error.to_string();
        assert!(text.contains("conv1.weight  (nearest: conv1.weights)"), "{text}");
        assert!(text.contains("fc1.weight: expected [3, 8], got [3, 7]"), "{text}");
    }
}
