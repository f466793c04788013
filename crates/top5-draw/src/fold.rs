//! What is drawn once for several: units that are equal or grow evenly, equal branches of a unit, and what such are called.

use std::collections::BTreeMap;

use top5_graph::Graph;

use crate::block::Block;

/// So many branches are worth folding.
const FEWEST_PATHS: usize = 3;

/// Equal branches, drawn once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Paths {
    /// Positions in [`Drawing::blocks`], one after the other.
    pub(crate) blocks: Vec<usize>,
    /// How many there are.
    pub(crate) count: usize,
}

/// The channels that the second of two units has more than the first, if they are equal but for that; zero if they are equal.
pub(crate) fn growth(
    graph: &Graph,
    merged: &[Block],
    strand: &[usize],
    [first, second]: [&[usize]; 2],
) -> Option<usize> {
    let equal = |exact| {
        let signature = |unit| signature(graph, merged, strand, unit, exact);
        signature(first) == signature(second)
    };
    if equal(true) {
        return Some(0);
    }
    let channels = |unit: &[usize]| {
        let end = merged[*unit.last()?].nodes[0].last()?;
        Some(graph.node(*end).shape().channels())
    };
    let grown = channels(second)?.checked_sub(channels(first)?)?;
    (grown > 0 && equal(false)).then_some(grown)
}

/// What has to agree for units to count as equal: their layers, shapes and wiring. If not `exact`, channels may differ where they
/// are not the layer's own choice.
fn signature(
    graph: &Graph,
    merged: &[Block],
    strand: &[usize],
    unit: &[usize],
    exact: bool,
) -> String {
    let place = |block: &usize| strand.binary_search(block);
    let first = unit.first().map(place);
    let mut text = String::new();
    for block in unit {
        for &id in &merged[*block].nodes[0] {
            let spec = &graph.node(id).spec;
            text += &match exact {
                true => {
                    let params = spec.param_count();
                    format!("{} {} {} {params};", spec.kind, spec.label, spec.output)
                }
                false => {
                    let label = spec.window.as_ref().map_or("", |_| &spec.label);
                    format!("{} {label} {:?};", spec.kind, spec.output.size())
                }
            };
        }
        for input in &merged[*block].inputs {
            match (place(input), first) {
                (Ok(at), Some(Ok(first))) => text += &format!("{},", at as isize - first as isize),
                _ => text += &format!("outside {input},"),
            }
        }
        text += "\n";
    }
    text
}

/// What the names of all layers of a unit of several blocks begin with, in whole parts.
pub(crate) fn title(graph: &Graph, merged: &[Block], members: &[usize]) -> String {
    if members.len() < 2 {
        return String::new();
    }
    let ids = members.iter().flat_map(|&member| merged[member].nodes[0].iter());
    let mut names = ids.map(|&id| {
        let mut parts: Vec<&str> = graph.node(id).name.split('.').collect();
        parts.pop();
        parts
    });
    let first = names.next().unwrap_or_default();
    let common = names.fold(first, |common, parts| {
        let equal = common.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        common[..equal].to_vec()
    });
    common.join(".")
}

/// Two titles as one, if they differ in the number or the letter at their end: `layer1.1` and `layer1.3` as `layer1.1–3`.
pub(crate) fn span([first, last]: &[String; 2]) -> String {
    let end = |text: &str| {
        let number = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let letter = text.char_indices().next_back().map_or(0, |(at, _)| at);
        if number < text.len() { number } else { letter }
    };
    let (a, b) = (end(first), end(last));
    if first == last || first[..a] != last[..b] || a == 0 {
        return first.clone();
    }
    format!("{first}–{}", &last[b..])
}

/// The equal branches of a unit.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    /// For each block of a branch that is not drawn, the block that is drawn for it.
    stands: BTreeMap<usize, usize>,
    /// Blocks that read several of them.
    joins: Vec<usize>,
    /// The branches that are drawn, and for how many they stand.
    drawn: Vec<(Vec<usize>, usize)>,
}

impl Folded {
    /// Branches count as equal that lead from one block to another through equal layers in a row.
    pub(crate) fn new(graph: &Graph, merged: &[Block], members: &[usize]) -> Self {
        let mut folded = Self::default();
        let mut readers: BTreeMap<usize, usize> = BTreeMap::new();
        for input in members.iter().flat_map(|&member| &merged[member].inputs) {
            *readers.entry(*input).or_default() += 1;
        }
        for &join in members.iter().filter(|&&member| merged[member].inputs.len() >= FEWEST_PATHS) {
            let mut groups: BTreeMap<String, Vec<Vec<usize>>> = BTreeMap::new();
            for &input in &merged[join].inputs {
                let (mut chain, mut at) = (Vec::new(), input);
                while let [before] = merged[at].inputs[..]
                    && readers.get(&at) == Some(&1)
                    && members.contains(&at)
                {
                    chain.push(at);
                    at = before;
                }
                chain.reverse();
                let layers = chain.iter().flat_map(|&block| &merged[block].nodes[0]);
                let layers = layers.map(|&id| {
                    let spec = &graph.node(id).spec;
                    format!("{} {} {};", spec.kind, spec.label, spec.output)
                });
                let key = format!("{at}: {}", layers.collect::<String>());
                groups.entry(key).or_default().push(chain);
            }
            for chains in groups.into_values() {
                let enough = chains.len() >= FEWEST_PATHS && !chains[0].is_empty();
                let Some((first, others)) = chains.split_first().filter(|_| enough) else {
                    continue;
                };
                for other in others {
                    folded.stands.extend(other.iter().copied().zip(first.iter().copied()));
                }
                folded.joins.push(join);
                folded.drawn.push((first.clone(), chains.len()));
            }
        }
        folded
    }

    /// The block that is drawn for this one: itself, if it is.
    pub(crate) fn stands_for(&self, block: usize) -> usize {
        self.stands.get(&block).copied().unwrap_or(block)
    }

    /// Whether a block joins equal branches.
    pub(crate) fn joins(&self, block: usize) -> bool {
        self.joins.contains(&block)
    }

    /// The branches by the positions that their blocks have been drawn at.
    pub(crate) fn paths(&self, drawn: &[Option<usize>]) -> Vec<Paths> {
        let paths = self.drawn.iter().map(|(blocks, count)| Paths {
            blocks: blocks.iter().filter_map(|&block| drawn[block]).collect(),
            count: *count,
        });
        paths.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_that_differ_in_a_number_are_written_as_a_span() {
        let text = |first: &str, last: &str| span(&[first.to_owned(), last.to_owned()]);
        assert_eq!(text("layer1.1", "layer1.12"), "layer1.1–12");
        assert_eq!(text("layer1.1", "layer1.1"), "layer1.1");
        assert_eq!(text("Mixed_6c", "Mixed_6d"), "Mixed_6c–d");
        assert_eq!(text("a", "b"), "a");
        assert_eq!(text("", ""), "");
    }
}
