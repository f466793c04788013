//! Finding a network by any of its names.

use crate::registry::{Ensemble, Network};
use crate::{ensembles, networks};
use std::fmt;
use top5_graph::edit_distance;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// One network.
    Network(&'static Network),
    /// Several whose probabilities are averaged.
    Ensemble(&'static Ensemble),
}

/// The network or ensemble of this name or alias. Upper and lower case, `-` and `_` are the same, and timm's tags
/// (`resnet50.tv_in1k`) are ignored: they name weights, not layers. Only where torchvision calls another network so
/// (`alexnet.tv_in1k`), it is that one. Another ending (`resnet50.pth`) is no tag.
pub fn find(name: &str) -> Result<Found, UnknownName> {
    let wanted = plain(name);
    let theirs = torchvisions(name)
        .and_then(|theirs| networks().find(|network| network.aliases.contains(&theirs.as_str())));
    if let Some(network) = theirs {
        return Ok(Found::Network(network));
    }
    let is = |name: &str, aliases: &[&str]| {
        plain(name) == wanted || aliases.iter().any(|alias| plain(alias) == wanted)
    };
    if let Some(network) = networks().find(|network| is(network.name, network.aliases)) {
        return Ok(Found::Network(network));
    }
    if let Some(ensemble) = ensembles().find(|ensemble| is(ensemble.name, ensemble.aliases)) {
        return Ok(Found::Ensemble(ensemble));
    }
    Err(UnknownName { name: name.to_owned(), nearest: nearest(&wanted), members: Vec::new() })
}

/// The network of this name or alias; an ensemble is none.
pub fn network(name: &str) -> Result<&'static Network, UnknownName> {
    match find(name)? {
        Found::Network(network) => Ok(network),
        Found::Ensemble(ensemble) => Err(UnknownName {
            name: name.to_owned(),
            nearest: Vec::new(),
            members: ensemble.members.iter().map(|(member, _)| *member).collect(),
        }),
    }
}

/// A name that no network has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// The registered names nearest to it, nearest first.
    pub nearest: Vec<&'static str>,
    /// The networks of the ensemble that has the name, where a single network is wanted.
    pub members: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, nearest, members } = self;
        match members.is_empty() {
            true => write!(f, "no network is called {name:?}; nearest: {}", nearest.join(", ")),
            false => write!(
                f,
                "{name:?} is an ensemble, of {}: choose one of its networks",
                members.join(", ")
            ),
        }
    }
}

impl std::error::Error for UnknownName {}

fn plain(name: &str) -> String {
    let untagged = match name.split_once('.') {
        Some((architecture, tag)) if is_tag(tag) => architecture,
        Some(_) | None => name,
    };
    untagged.to_lowercase().replace('-', "_")
}

/// The alias of torchvision's network, if the tag says that the weights are torchvision's.
fn torchvisions(name: &str) -> Option<String> {
    let (_, tag) = name.split_once('.').filter(|(_, tag)| is_tag(tag))?;
    let trainer = tag.split('_').next().unwrap_or_default().to_lowercase();
    ["tv", "tv2"].contains(&trainer.as_str()).then(|| format!("tv_{}", plain(name)))
}

/// Whether this is a tag as timm has them: what the weights learnt from is a part of it, as in `tv_in1k`, `fb_swsl_ig1b_ft_in1k`.
fn is_tag(tag: &str) -> bool {
    let is_data = |part: &str| {
        let count = part.strip_prefix("in").and_then(|part| part.strip_suffix('k'));
        count.is_some_and(|count| !count.is_empty() && count.bytes().all(|c| c.is_ascii_digit()))
    };
    tag.to_lowercase().split('_').any(is_data)
}

/// How many names an error suggests.
const SUGGESTED: usize = 3;
/// Characters of a name that are compared: no registered name has more, and a name may come from a file.
const COMPARED: usize = 64;

/// The networks whose name or alias is nearest: first those that say more of the same (`resnet20` and `resnet20_cifar`), then
/// by the changes that lead from one to the other.
fn nearest(wanted: &str) -> Vec<&'static str> {
    let wanted: String = wanted.chars().take(COMPARED).collect();
    let near = |name: &str| {
        let says_more = name.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('_'));
        (!says_more, edit_distance(&wanted, name))
    };
    let nearest = |network: &Network| {
        let names = std::iter::once(&network.name).chain(network.aliases);
        names.map(|name| near(name)).min()
    };
    let mut networks: Vec<&Network> = networks().collect();
    networks.sort_by_cached_key(|network| nearest(network));
    networks.iter().map(|network| network.name).take(SUGGESTED).collect()
}
