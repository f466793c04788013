//! How the names of a file become those of a graph: by a table of rules, without what wrappers and other modules put before
//! them.

use std::collections::BTreeSet;

use top5_graph::Graph;

use crate::names::{Names, origins};

/// Parts of names that wrappers put in, before all (`DataParallel` around the network, `compile`) or further on (`DataParallel`
/// around its features, FSDP and activation checkpointing around its blocks).
const WRAPPERS: [&str; 4] =
    ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// How many parts before all names are tried without.
pub(crate) const DEEPEST: usize = 4;
/// How many beginnings of one tensor's name are tried: a file may have any number.
const TRIED: usize = 64;

/// How the names of a file become those of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    origin: &'static Names,
    /// One of these is taken off each name, the longest first. A name that begins with none of them is not the network's.
    beginnings: Vec<String>,
    /// What the layer of the logits is called in the file, and here: it may be the only layer with parameters of a sequence
    /// (`fc.1.` after dropout).
    head: Option<(String, String)>,
}

impl Translation {
    /// The one by which most names are known; of equal ones the one that changes least.
    pub(crate) fn best(names: &[(String, String)], graph: &Graph) -> Self {
        let wanted = wanted(graph);
        let known = |translation: &Self| {
            let known = |(_, new): &&(String, String)| {
                translation.name(new).is_some_and(|name| wanted.contains(&name))
            };
            names.iter().filter(known).count()
        };
        let all = prefixes(names).into_iter().flat_map(|prefix| {
            let beginnings = vec![names.first().map_or("", |(_, name)| &name[..prefix]).to_owned()];
            let of = move |origin| Self { origin, beginnings: beginnings.clone(), head: None };
            origins().iter().map(of)
        });
        let all: Vec<Self> = all.collect();
        let best = all.into_iter().rev().max_by_key(known).expect("there are origins");
        if known(&best) == wanted.len() {
            return best;
        }
        Self::apart(names, graph).unwrap_or_else(|| best.with_head(names, graph))
    }

    /// The only beginnings under which all of the network's tensors are: one beside what is not the network's (a loss that has
    /// weights), or one of the network and one of its head (`backbone.`, `head.`). Where several would do, none is guessed.
    pub(crate) fn apart(names: &[(String, String)], graph: &Graph) -> Option<Self> {
        let wanted = wanted(graph);
        let present: BTreeSet<&str> = names.iter().map(|(_, new)| new.as_str()).collect();
        let is_there =
            |beginning: &str, name: &str| present.contains(format!("{beginning}{name}").as_str());
        let beginnings = |name: &str| -> Vec<&str> {
            let cut = present.iter().filter_map(|present| present.strip_suffix(name));
            let whole = |cut: &&str| cut.is_empty() || cut.ends_with('.');
            cut.filter(whole)
                .filter(|cut| cut.matches('.').count() <= DEEPEST)
                .take(TRIED)
                .collect()
        };
        let (mut single, mut pairs) = (BTreeSet::new(), BTreeSet::new());
        for end in [wanted.first()?, wanted.last()?] {
            for one in beginnings(end) {
                let mut rest = wanted.iter().filter(|name| !is_there(one, name));
                let Some(first) = rest.next() else {
                    single.insert(vec![one]);
                    continue;
                };
                let rest: Vec<&String> = rest.collect();
                for other in beginnings(first) {
                    if rest.iter().all(|name| is_there(other, name)) {
                        let (longer, shorter) =
                            if one.len() < other.len() { (other, one) } else { (one, other) };
                        pairs.insert(vec![longer, shorter]);
                    }
                }
            }
        }
        let mut found = if single.is_empty() { pairs } else { single }.into_iter();
        let (Some(beginnings), None) = (found.next(), found.next()) else { return None };
        let beginnings = beginnings.into_iter().map(str::to_owned).collect();
        Some(Self { origin: &origins()[0], beginnings, head: None })
    }

    /// What is taken off the names.
    pub(crate) fn beginnings(&self) -> &[String] {
        &self.beginnings
    }

    /// The same, with the head taken out of a sequence if only that is in the way.
    fn with_head(self, names: &[(String, String)], graph: &Graph) -> Self {
        let wanted = wanted(graph);
        let found: BTreeSet<String> = names.iter().filter_map(|(_, new)| self.name(new)).collect();
        let ours = format!("{}.", graph.logits().name);
        let missing: BTreeSet<&str> =
            wanted.difference(&found).map(|name| name.strip_prefix(&ours).unwrap_or("")).collect();
        let unknown: Vec<&String> = found.difference(&wanted).collect();
        let number = |name: &&String| {
            let (number, role) = name.strip_prefix(&ours)?.split_once('.')?;
            let is_number =
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
            (is_number && missing.contains(role)).then(|| number.to_owned())
        };
        let numbers: Option<BTreeSet<String>> = unknown.iter().map(number).collect();
        match numbers {
            Some(numbers) if numbers.len() == 1 && unknown.len() == missing.len() => {
                let theirs = numbers.iter().map(|number| format!("{ours}{number}.")).collect();
                Self { head: Some((theirs, ours)), ..self }
            }
            Some(_) | None => self,
        }
    }

    /// What the tensor of this name, without wrappers, is called here; `None` where it is not the network's.
    pub(crate) fn name(&self, clean: &str) -> Option<String> {
        let rest = self.beginnings.iter().find_map(|beginning| clean.strip_prefix(beginning))?;
        let name = self.origin.rename(rest);
        let head = self.head.as_ref();
        let headed = head.and_then(|(theirs, ours)| Some((ours, name.strip_prefix(theirs)?)));
        Some(headed.map(|(ours, role)| format!("{ours}{role}")).unwrap_or(name))
    }

    /// What is done to `names`, one sentence each.
    pub(crate) fn describe(&self, names: &[(String, String)]) -> Vec<String> {
        const LISTED: usize = 3;
        let beginnings = self.beginnings.iter().filter(|beginning| !beginning.is_empty()).cloned();
        let is_wrapped = |wrapper: &&&str| {
            names.iter().any(|(old, _)| old.split('.').any(|part| part == **wrapper))
        };
        let wrappers = WRAPPERS.iter().filter(is_wrapped).map(|wrapper| format!("{wrapper}."));
        let off: Vec<String> = beginnings.chain(wrappers).collect();
        let mut notes = Vec::new();
        if !off.is_empty() {
            notes.push(format!("taken off the tensors' names: `{}`", off.join("`, `")));
        }
        if let Some((theirs, ours)) = &self.head {
            notes.push(format!("taken as the network's `{ours}`: `{theirs}`"));
        }
        let outside: Vec<&str> = names
            .iter()
            .filter(|(_, new)| self.name(new).is_none())
            .map(|(old, _)| old.as_str())
            .collect();
        if !outside.is_empty() {
            let more = if outside.len() > LISTED { ", …" } else { "" };
            let first = outside[..outside.len().min(LISTED)].join("`, `");
            notes.push(format!(
                "left out, as no part of the network: {} ({})",
                format_args!("`{first}`{more}"),
                outside.len()
            ));
        }
        notes
    }
}

/// The names of the graph's tensors.
fn wanted(graph: &Graph) -> BTreeSet<String> {
    graph.params().map(|(name, _)| name).collect()
}

/// Lengths of the beginnings, in whole parts, that all names have in common; the first is zero.
pub(crate) fn prefixes(names: &[(String, String)]) -> Vec<usize> {
    let mut lengths = vec![0];
    let Some((_, first)) = names.first() else { return lengths };
    for (at, _) in first.match_indices('.').take(DEEPEST) {
        let prefix = &first[..=at];
        if !names.iter().all(|(_, name)| name.len() > prefix.len() && name.starts_with(prefix)) {
            break;
        }
        lengths.push(prefix.len());
    }
    lengths
}

/// (name in the file, name without wrappers) of all tensors that belong to a network.
pub(crate) fn clean_names<'n>(names: impl IntoIterator<Item = &'n str>) -> Vec<(String, String)> {
    let names = names.into_iter().filter(|name| !name.ends_with("num_batches_tracked"));
    let clean = |name: &str| -> String {
        let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
        parts.collect::<Vec<_>>().join(".")
    };
    names.map(|name| (name.to_owned(), clean(name))).collect()
}
