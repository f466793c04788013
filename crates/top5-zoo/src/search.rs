//! Finding a network by any of its names.

use crate::registry::{Ensemble, Network};
use crate::{ensembles, networks};
use std::fmt;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// One network.
    Network(&'static Network),
    /// Several whose probabilities are averaged.
    Ensemble(&'static Ensemble),
}

/// The network or ensemble of this name or alias. Upper and lower case, `-` and `_` are the same, and timm's tags
/// (`resnet50.tv_in1k`) are ignored: they name weights, not layers.
pub fn find(name: &str) -> Result<Found, UnknownName> {
    let wanted = plain(name);
    let is = |name: &str, aliases: &[&str]| {
        plain(name) == wanted || aliases.iter().any(|alias| plain(alias) == wanted)
    };
    if let Some(network) = networks().find(|network| is(network.name, network.aliases)) {
        return Ok(Found::Network(network));
    }
    if let Some(ensemble) = ensembles().find(|ensemble| is(ensemble.name, ensemble.aliases)) {
        return Ok(Found::Ensemble(ensemble));
    }
    Err(UnknownName { name: name.to_owned(), nearest: nearest(&wanted) })
}

/// The network of this name or alias; an ensemble is none.
pub fn network(name: &str) -> Result<&'static Network, UnknownName> {
    match find(name)? {
        Found::Network(network) => Ok(network),
        Found::Ensemble(ensemble) => Err(UnknownName {
            name: name.to_owned(),
            nearest: ensemble.members.iter().map(|(member, _)| *member).collect(),
        }),
    }
}

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// The registered names nearest to it, nearest first.
    pub nearest: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no network is called {:?}; nearest: {}", self.name, self.nearest.join(", "))
    }
}

impl std::error::Error for UnknownName {}

fn plain(name: &str) -> String {
    let untagged = name.split_once('.').map_or(name, |(arch, _)| arch);
    untagged.to_lowercase().replace('-', "_")
}

/// How many names an error suggests.
const SUGGESTED: usize = 3;

fn nearest(wanted: &str) -> Vec<&'static str> {
    let names = networks().map(|network| network.name).chain(ensembles().map(|e| e.name));
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| distance(wanted, name));
    names.truncate(SUGGESTED);
    names
}

/// The Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
