//! Kernels of convolutions, and places for all parameters in the form that their readers want.

use super::fuse::Units;
use super::layout::Maps;
use crate::choose::Machinery;
use crate::geometry::{ConvShape, Source, conv_shape};
use crate::packed::{Connections, Content, Fold, PackedParams, Packing, ParamId};
use std::sync::Arc;
use top5_graph::{Kernels, Node, Op};
use top5_kernels::LANES;
use top5_kernels::conv::Forward;

/// A convolution with its kernel and parameters.
#[derive(Clone, Debug)]
pub(super) struct ConvUnit {
    pub(super) shape: ConvShape,
    pub(super) source: Source,
    pub(super) packing: Packing,
    pub(super) kernel: Arc<dyn Forward>,
    pub(super) weight: ParamId,
    pub(super) bias: Option<ParamId>,
}

/// The packed parameters of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeParams {
    pub(super) conv: Option<ConvUnit>,
    pub(super) weight: Option<ParamId>,
    pub(super) bias: Option<ParamId>,
    pub(super) statistics: Option<ParamId>,
}

/// Places for all parameters.
#[derive(Clone, Debug, Default)]
pub(super) struct Params {
    pub(super) of_node: Vec<NodeParams>,
    pub(super) packed: PackedParams,
    /// Blocks of the packed parameters that are learned: its first part.
    pub(super) learned: usize,
}

/// Places for all parameters: learned ones first.
pub(super) fn params(machinery: &Machinery, units: &Units<'_>, maps: &Maps) -> Params {
    let mut packed = PackedParams::default();
    let nodes = units.graph.nodes();
    let learned = |node| learned(machinery, units, maps, &mut packed, node);
    let mut of_node: Vec<NodeParams> = nodes.iter().map(learned).collect();
    let learned = packed.len;
    for (params, node) in of_node.iter_mut().zip(nodes) {
        fixed(units, &mut packed, node, params);
    }
    Params { of_node, packed, learned }
}

/// Whether the node is a batch normalisation folded into a convolution.
fn is_folded(units: &Units<'_>, node: &Node) -> bool {
    units.home(node.id) != node.id
}

fn learned(
    machinery: &Machinery,
    units: &Units<'_>,
    maps: &Maps,
    packed: &mut PackedParams,
    node: &Node,
) -> NodeParams {
    let mut params = NodeParams::default();
    let affine = matches!(node.op, Op::BatchNorm2d(_) | Op::Subsampling(_));
    if let Some(shape) = conv_shape(units.graph, node) {
        params.conv = Some(conv_unit(machinery, units, maps, packed, node, shape));
    } else if affine && !is_folded(units, node) {
        let blocks = node.shape().channels().div_ceil(LANES);
        let [weight, bias] = ["weight", "bias"].map(|role| {
            let name = format!("{}.{role}", node.name);
            Some(packed.add(Content::Vector { name }, blocks))
        });
        (params.weight, params.bias) = (weight, bias);
    }
    params
}

fn fixed(units: &Units<'_>, packed: &mut PackedParams, node: &Node, params: &mut NodeParams) {
    let blocks = node.shape().channels().div_ceil(LANES);
    if let Op::EuclideanRbf(op) = &node.op {
        let content = Content::Plain { name: format!("{}.codes", node.name) };
        params.weight = Some(packed.add(content, op.codes.len().div_ceil(LANES)));
    } else if matches!(node.op, Op::Subsampling(_)) {
        params.statistics = Some(packed.add(Content::Identity, 2 * blocks));
    } else if matches!(node.op, Op::BatchNorm2d(_)) && !is_folded(units, node) {
        let content = Content::Statistics { name: node.name.clone() };
        params.statistics = Some(packed.add(content, 2 * blocks));
    }
}

fn conv_unit(
    machinery: &Machinery,
    units: &Units<'_>,
    maps: &Maps,
    packed: &mut PackedParams,
    node: &Node,
    shape: ConvShape,
) -> ConvUnit {
    let [outputs, inputs] = [shape.output[0], shape.input[0]];
    let connections = match node.spec.convolution.as_ref().map(|convolution| &convolution.kernels) {
        Some(Kernels::Scattered(places)) => {
            Connections::Table(places.iter().map(|at| (at / inputs, at % inputs)).collect())
        }
        _ => Connections::Groups { outputs, inputs, groups: shape.groups },
    };
    let input = maps.layout(units, node.inputs[0]);
    let plain = maps.plain_input && node.inputs[0].index() == 0;
    let source = if plain { Source::Plain(input) } else { Source::Blocked(input) };
    let geom = shape.forward(&source, &maps.layout(units, node.id));
    let kernel = machinery.forward(&geom).kernel;
    let transform = kernel.packs().then(|| kernel.clone());
    let packing = Packing {
        geom,
        kernel: shape.window.kernel,
        plain,
        connections,
        transform,
        backward: None,
    };
    let fold = units.head_of(node.id).norm.map(|norm| {
        let norm = units.graph.node(norm);
        let Op::BatchNorm2d(op) = &norm.op else { unreachable!("only these are folded") };
        Fold { name: norm.name.clone(), eps: op.eps }
    });
    let content = Content::Matrix {
        name: format!("{}.weight", node.name),
        packing: Box::new(packing.clone()),
        fold: fold.clone(),
    };
    let weight = packed.add(content, packing.len());
    let has_bias = node.spec.params.iter().any(|param| param.role == "bias");
    let name = has_bias.then(|| format!("{}.bias", node.name));
    let bias = match (fold, name) {
        (Some(fold), bias) => Some(Content::FoldedBias { bias, fold }),
        (None, Some(name)) => Some(Content::Vector { name }),
        (None, None) => None,
    };
    let bias = bias.map(|content| packed.add(content, outputs.div_ceil(LANES)));
    ConvUnit { shape, source, packing, kernel, weight, bias }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::{Design, layout, place};
    use crate::purpose::Mode;
    use crate::tuning::Tuning;
    use top5_graph::{Graph, k, net};
    use top5_kernels::{Isa, Precision};

    fn machinery(mode: Mode) -> Machinery {
        let (tuning, isa) = (Tuning::default(), Isa::Scalar);
        let (exact, compact, precision) = (false, false, Precision::F32);
        Machinery { isa, threads: 1, batch: 1, exact, compact, precision, tuning, mode }
    }

    fn graph() -> Graph {
        net("params", [3, 8, 8], |x| x.conv_bn(16, k(3).pad(1)).relu().global_avg_pool().linear(5))
            .unwrap()
    }

    #[test]
    fn learned_parameters_come_first() {
        let (graph, machinery) = (graph(), machinery(Mode::Training));
        let Params { packed, learned, .. } =
            Design::new(&graph, &machinery, &[], None).unwrap().params;
        let fixed = |param: &&crate::packed::PackedParam| param.range.start >= learned;
        let fixed: Vec<_> = packed.list.iter().filter(fixed).map(|param| &param.content).collect();
        assert!(matches!(fixed[..], [Content::Statistics { name }] if name == "bn1"), "{fixed:?}");
        assert_eq!(packed.list.len(), 6);
    }

    #[test]
    fn a_folded_normalisation_has_no_slots() {
        let (graph, machinery) = (graph(), machinery(Mode::Inference));
        let facts = Mode::Inference.facts();
        let units = Units::fuse(&graph, facts, &[], &[]);
        let halos = layout::halos(&graph, &units);
        let places = place::places(&units, &halos, false, false);
        let maps = Maps::new(&units, halos, places);
        let packed = params(&machinery, &units, &maps).packed;
        let folded = |content: &Content| matches!(content, Content::FoldedBias { fold, .. } if fold.name == "bn1");
        assert_eq!(packed.list.len(), 4);
        assert!(packed.list.iter().any(|param| folded(&param.content)));
    }
}
