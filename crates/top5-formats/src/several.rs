//! Several networks in one file, each below a beginning of its tensors' names: the two encoders of MoCo, a teacher and its student,
//! a network and the average of its weights.

use std::collections::{BTreeMap, BTreeSet};

use top5_graph::{Graph, Tensor, Weights};

use crate::adapt::{Candidate, recognise_whole};
use crate::error::{FormatError, quoted};
use crate::translate::{DEEPEST, clean_names};

/// How many beginnings are looked at: a file may have any number.
const TRIED: usize = 256;
/// Two networks of one kind have each at least this part of the tensors; blocks of one network, which are alike too, have less.
const PART: usize = 4;

/// No network of the zoo has fewer tensors.
const FEWEST: usize = 4;

/// A network that lies below a beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Below {
    /// The beginning, without the dot that ends it, and without wrappers (`module.`).
    pub beginning: String,
    /// The network, if its tensors are those of one.
    pub network: Option<String>,
}

/// The tensors whose names, with or without wrappers, begin with `beginning` and a dot, without both.
///
/// # Errors
///
/// [`FormatError::Refused`] where there are none, with the beginnings that there are.
pub fn below(weights: Weights, beginning: &str) -> Result<Weights, FormatError> {
    let start = format!("{}.", beginning.trim_end_matches('.'));
    let names = clean_names(weights.iter().map(|(name, _)| name));
    let cut = |(old, new): &(String, String)| {
        let rest = new.strip_prefix(&start).or_else(|| old.strip_prefix(&start))?;
        Some((old.clone(), rest.to_owned()))
    };
    let found: BTreeMap<String, String> = names.iter().filter_map(cut).collect();
    if !found.is_empty() {
        let rest = |(old, tensor): (String, Tensor)| Some((found.get(&old)?.clone(), tensor));
        return Ok(weights.into_iter().filter_map(rest).collect());
    }
    const LISTED: usize = 12;
    let first = names.iter().filter_map(|(_, new)| new.split_once('.')).map(|(first, _)| first);
    let firsts: BTreeSet<&str> = first.collect();
    let listed: Vec<String> = firsts.iter().take(LISTED).map(|first| quoted(first)).collect();
    let more = if firsts.len() > LISTED { ", …" } else { "" };
    let what = format!(
        "it has no dict and no tensors' names that begin with {}; its tensors' names begin with {}{more}",
        quoted(beginning),
        listed.join(", ")
    );
    Err(FormatError::refused("weights", what))
}

/// The networks in `weights`, if there are several: those of `candidates` that lie below different beginnings; otherwise
/// tensors that are there twice, below two beginnings.
pub fn several<'g>(
    weights: &Weights,
    candidates: impl IntoIterator<Item = &'g Graph>,
) -> Vec<Below> {
    let names = clean_names(weights.iter().map(|(name, _)| name));
    let mut groups: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    for (old, new) in &names {
        for (at, _) in new.match_indices('.').take(DEEPEST) {
            if groups.len() < TRIED || groups.contains_key(&new[..at]) {
                let rest = (old.clone(), new[at + 1..].to_owned());
                groups.entry(&new[..at]).or_default().push(rest);
            }
        }
    }
    groups.retain(|_, group| group.len() >= FEWEST);
    let found = networks(&groups, weights, candidates);
    if found.len() > 1 { found } else { twins(&groups, weights) }
}

/// Tensors below beginnings: their names in the file, and what follows the beginning.
type Groups<'n> = BTreeMap<&'n str, Vec<(String, String)>>;

/// The networks that lie below beginnings.
fn networks<'g>(
    groups: &Groups<'_>,
    weights: &Weights,
    candidates: impl IntoIterator<Item = &'g Graph>,
) -> Vec<Below> {
    let graphs: Vec<&Graph> = candidates.into_iter().collect();
    // A file may have a bias more for each convolution.
    let most = 2 * graphs.iter().map(|graph| graph.params().count()).max().unwrap_or(0);
    let candidates: Vec<Candidate<'g>> = graphs.into_iter().map(Candidate::new).collect();
    let shape = |old: &str| weights.tensor(old).map_or(&[][..], Tensor::shape);
    let mut found: Vec<Below> = Vec::new();
    for (&beginning, group) in groups.iter().filter(|(_, group)| group.len() <= most) {
        // A network below `a.` lies below `a.b.`, too, if all its names begin so.
        let is_inner = |outer: &Below| {
            beginning.strip_prefix(&*outer.beginning).is_some_and(|rest| rest.starts_with('.'))
        };
        if found.iter().any(is_inner) {
            continue;
        }
        if let Some(network) = recognise_whole(group, shape, &candidates).first() {
            let (beginning, network) = (beginning.to_owned(), Some((*network).to_owned()));
            found.push(Below { beginning, network });
        }
    }
    found
}

/// The largest set of tensors that is there more than once, by names and shapes, each time with a good part of them all. What has a
/// number is a stage of one network.
fn twins(groups: &Groups<'_>, weights: &Weights) -> Vec<Below> {
    let mut twins: BTreeMap<Vec<(&str, &[usize])>, Vec<&str>> = BTreeMap::new();
    let is_large = |group: &[(String, String)]| group.len() * PART >= weights.len();
    let numbered = |beginning: &str| beginning.ends_with(|c: char| c.is_ascii_digit());
    let large = groups.iter().filter(|(beginning, group)| is_large(group) && !numbered(beginning));
    for (beginning, group) in large {
        let shape = |old: &str| weights.tensor(old).map_or(&[][..], Tensor::shape);
        let names = group.iter().map(|(old, rest)| (rest.as_str(), shape(old))).collect();
        twins.entry(names).or_default().push(beginning);
    }
    let twins = twins.into_iter().filter(|(_, beginnings)| beginnings.len() > 1);
    let most = twins.max_by_key(|(names, _)| names.len());
    let alike = most.map(|(_, beginnings)| beginnings).unwrap_or_default();
    let unknown = |beginning: &str| Below { beginning: beginning.to_owned(), network: None };
    alike.into_iter().map(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recognise;
    use top5_graph::{k, net};

    fn graph(name: &str, maps: usize) -> Graph {
        let built = net(name, [3, 8, 8], |x| {
            x.conv_bn(maps, k(3)).relu().global_avg_pool().linear(3).named("fc")
        });
        built.unwrap()
    }

    fn under(beginning: &str, graph: &Graph) -> Vec<(String, Tensor)> {
        let params = graph.params();
        let of = |(name, shape): (String, Vec<usize>)| {
            (format!("{beginning}.{name}"), Tensor::zeros(shape))
        };
        params.map(|(name, param)| of((name, param.shape.clone()))).collect()
    }

    #[test]
    fn networks_below_different_beginnings_are_told_and_taken_out() {
        let (small, large) = (graph("small", 4), graph("large", 8));
        let known = [&small, &large];
        for (first, second, named) in [
            ("module.encoder_q", "module.encoder_k", ["encoder_k", "encoder_q"]),
            ("net.student", "net.teacher", ["net.student", "net.teacher"]),
        ] {
            for other in [&small, &large] {
                let file: Weights =
                    [under(first, &small), under(second, other)].concat().into_iter().collect();
                // Of two networks, none is the one that is meant.
                assert!(recognise(&file, known).is_empty(), "{first} {}", other.name());
                let found = several(&file, known);
                let beginnings: Vec<&str> =
                    found.iter().map(|below| below.beginning.as_str()).collect();
                assert_eq!(beginnings, named, "{}", other.name());
                assert!(found.iter().all(|below| below.network.is_some()));
                let one = below(file, second.trim_start_matches("module.")).unwrap();
                assert_eq!(recognise(&one, known), [other.name()]);
            }
        }
    }

    #[test]
    fn two_unknown_networks_are_told_and_parts_of_one_are_not() {
        let small = graph("small", 4);
        let mut file: Weights =
            [under("a", &small), under("b", &small)].concat().into_iter().collect();
        for beginning in ["a", "b"] {
            file.insert(format!("{beginning}.fc.0.weight"), Tensor::zeros([4, 4]));
        }
        let unknown = |beginning: &str| Below { beginning: beginning.to_owned(), network: None };
        assert_eq!(several(&file, [&small]), ["a", "b"].map(unknown));
        let one: Weights = under("model", &small).into_iter().collect();
        assert_eq!(several(&one, [&small]), []);
        let blocks = (0..6).flat_map(|block| under(&format!("layer.{block}"), &graph("other", 5)));
        assert_eq!(several(&blocks.collect(), [&small]), []);
        let stages = (5..8).flat_map(|maps| under(&format!("stage{maps}"), &graph("other", maps)));
        assert_eq!(several(&stages.collect(), [&small]), []);
        let parts = ["body", "neck", "tail"].into_iter().zip(5..);
        let parts = parts.flat_map(|(name, maps)| under(name, &graph("other", maps)));
        assert_eq!(several(&parts.collect(), [&small]), []);
        let error = below(one, "encoder").unwrap_err().to_string();
        assert!(error.contains("`encoder`") && error.contains("`model`"), "{error}");
    }
}
