//! From a graph to a plan: passes from value to value.
//!
//! ```text
//! graph ─fuse▶ units ─layout▶ halos ─place▶ maps ─params▶ kernels and parameters ─precision▶ f32 or bf16   (a Design)
//! Design ─forward▶ steps ─recompute▶ what is kept ─backward▶ more steps
//! ```
//!
//! A *unit* is what one step computes: a convolution and, where nothing else reads the activations between them, the
//! batch normalisation, the sum and the ReLU after it. A *value* is an activation that exists in memory; ops that do
//! nothing (dropout at inference, flattening a 1×1 map) share the value of their input. Its *home* is the node that heads
//! the unit which makes it.

mod backward;
mod emission;
mod forward;
mod fuse;
mod gradients;
mod layout;
mod op;
mod params;
mod place;
mod precision;
mod recompute;

use crate::choose::Machinery;
use crate::ir::Program;
use crate::purpose::Facts;
use fuse::Units;
use layout::Maps;
use params::Params;
use top5_graph::{EngineError, Graph, Node, NodeId, Op, Signals};

/// All that is decided before the first step.
struct Design<'g> {
    graph: &'g Graph,
    machinery: &'g Machinery,
    facts: Facts,
    units: Units<'g>,
    maps: Maps,
    params: Params,
    /// For each value, by home, whether it is in bf16.
    in_bf16: Vec<bool>,
    /// For each node, whether its gradient is wanted: it depends on a learned parameter, or on where signals end.
    learns: Vec<bool>,
    signals: Option<&'g Signals>,
}

/// Lowers `graph`. The activations of `pinned` nodes will exist, among them those that signals begin and end at.
pub(crate) fn lower(
    graph: &Graph,
    machinery: &Machinery,
    pinned: &[NodeId],
    signals: Option<&Signals>,
) -> Result<Program, EngineError> {
    let design = Design::new(graph, machinery, pinned, signals)?;
    let forward = forward::forward(&design);
    if let Some(signals) = signals {
        return Ok(backward::signals(forward.finish_forward(), signals));
    }
    let whole = if design.facts.backward {
        let kept = recompute::kept(&design, &forward.values);
        backward::backward(forward.with_values(kept))
    } else {
        forward
    };
    Ok(whole.finish())
}

impl<'g> Design<'g> {
    fn new(
        graph: &'g Graph,
        machinery: &'g Machinery,
        pinned: &[NodeId],
        signals: Option<&'g Signals>,
    ) -> Result<Self, EngineError> {
        let facts = if signals.is_some() { Facts::signals() } else { machinery.mode.facts() };
        let ends = signals.map_or(&[][..], |signals| &signals.to);
        let fused = Units::fuse(graph, facts, pinned, ends);
        let halos = layout::halos(graph, &fused);
        let units = fused.with_vectors(&halos);
        let in_bf16 = machinery.in_bf16();
        // A reader in the other precision would copy what lies between parts, too.
        let shares = !facts.backward && !in_bf16;
        let places = place::places(&units, &halos, in_bf16, shares);
        let maps = Maps::new(&units, halos, places);
        refuse(graph, facts, &units, &maps)?;
        let params = params::params(machinery, &units, &maps);
        let in_bf16 = if machinery.in_bf16() && !facts.backward {
            precision::in_bf16(&units, &maps, &params)
        } else {
            vec![false; graph.nodes().len()]
        };
        let learns = learns(graph, signals);
        Ok(Self { graph, machinery, facts, units, maps, params, in_bf16, learns, signals })
    }

    /// The parameters and the kernel of a node that is a convolution.
    fn conv(&self, id: NodeId) -> Option<&params::ConvUnit> {
        self.params.of_node[id.index()].conv.as_ref()
    }
}

/// For each node, whether it depends on a learned parameter, or on where signals end.
fn learns(graph: &Graph, signals: Option<&Signals>) -> Vec<bool> {
    graph.nodes().iter().fold(Vec::new(), |mut learns, node| {
        let own = match signals {
            Some(signals) => signals.to.contains(&node.id),
            None => node.spec.params.iter().any(|param| param.learned),
        };
        learns.push(own || node.inputs.iter().any(|input| learns[input.index()]));
        learns
    })
}

/// Refuses what the kernels cannot do.
fn refuse(graph: &Graph, facts: Facts, units: &Units<'_>, maps: &Maps) -> Result<(), EngineError> {
    let refuse = |node: &Node, why: &str| {
        Err(EngineError::Unsupported { node: node.name.clone(), why: why.to_owned() })
    };
    for node in graph.nodes() {
        let factors = matches!(node.op, Op::Scale(_)).then(|| maps.layout(units, node.inputs[1]));
        if factors.is_some_and(|layout| !layout.is_dense()) {
            return refuse(node, "its factors are also read by a padded convolution");
        }
    }
    if facts.learns {
        for output in graph.outputs() {
            let node = graph.node(output.node);
            if node.shape().size() != [1, 1] || !maps.layout(units, node.id).is_dense() {
                return refuse(node, "training needs one score per class, not a map of scores");
            }
        }
    }
    Ok(())
}

/// The channels of the inputs of a concatenation, as (first, number).
fn pieces<'a>(graph: &'a Graph, node: &'a Node) -> impl Iterator<Item = (usize, usize)> + 'a {
    node.inputs.iter().scan(0, |at, &input| {
        let count = graph.node(input).shape().channels();
        *at += count;
        Some((*at - count, count))
    })
}
