//! Convolutions, and fully connected layers, which are convolutions of one pixel.

use super::Lower;
use crate::buffer::{BufferId, Extent};
use crate::packed::{Content, Packing, Swapped};
use crate::pass::emission::Emission;
use crate::pass::gradients::Backward;
use crate::step::conv::{Conv, ConvBias, ConvInput, ConvSignal, ConvWeights, Nest, SignalNest};
use top5_graph::Node;
use top5_graph::ops::{Conv2d, Linear, TableConv2d};
use top5_kernels::conv::{ConvGeom, InputGradient};
use top5_kernels::{LANES, Layout, Precision};

impl Lower for Conv2d {
    fn reads_planes(&self) -> bool {
        self.groups == 1 && self.window.dilation[1] == 1
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit(on, node, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo(on, node, dy);
    }
}

impl Lower for TableConv2d {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit(on, node, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo(on, node, dy);
    }
}

impl Lower for Linear {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit(on, node, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo(on, node, dy);
    }
}

fn emit(on: &mut Emission<'_>, node: &Node, y: BufferId) {
    let design = on.design;
    let unit = design.conv(node.id).expect("it is a convolution");
    let head = design.units.head_of(node.id);
    let kernel = unit.kernel.clone();
    let x = match Precision::ALL.map(|precision| kernel.reads(precision)) {
        [true, true] => on.value(node.inputs[0]),
        [_, bf16] => on.operand(node.inputs[0], bf16),
    };
    let sum = head.sum.map(|sum| on.operand(sum, on.is_bf16(y)));
    let work = on.scratch(kernel.workspace(design.machinery.threads));
    let (weight, bias, relu) = (unit.weight, unit.bias, head.relu);
    on.step(node.id, Conv { kernel, weight, bias, relu, x, sum, y, work }, true);
}

/// The gradients of a convolution's weights, bias and input, and of what was added to it.
fn undo(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let wanted = on.wants_gradient(node.inputs[0]);
    if on.on.design.signals.is_none() {
        undo_parameters(on, node, dy);
        if wanted {
            undo_input(on, node, dy);
        }
    } else if wanted {
        signal_to_input(on, node, dy);
    }
    if let Some(sum) = on.on.design.units.head_of(node.id).sum
        && on.wants_gradient(sum)
        && !on.hand_over(sum, dy)
    {
        on.copy_gradient(node, sum, dy);
    }
}

fn undo_parameters(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let x = on.on.value_again(node.inputs[0]);
    let design = on.on.design;
    let unit = design.conv(node.id).expect("it is a convolution");
    let (weight, at) = (unit.weight, on.on.layout_of(dy));
    let geom = unit.shape.forward(&unit.source, &at);
    let kernel = design.machinery.weight_gradient(&geom).kernel;
    let work = on.on.scratch(kernel.workspace(design.machinery.threads));
    let mask = unit.packing.mask();
    on.on.step(node.id, ConvWeights { kernel, weight, mask, x, dy, work }, true);
    if let Some(bias) = unit.bias {
        let planes = Extent::PerImage(at.blocks());
        let work = on.on.new_buffer(Layout::new(LANES, 1, 1), planes);
        on.on.step(node.id, ConvBias { bias, dy, work }, true);
    }
}

fn undo_input(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let (dx, fresh) = on.gradient(node.inputs[0]);
    let design = on.on.design;
    let unit = design.conv(node.id).expect("it is a convolution");
    let [dy_at, dx_at] = [dy, dx].map(|buffer| on.on.layout_of(buffer));
    let nests = unit.shape.backward(&dy_at, &dx_at).into_iter();
    let nest = |(geom, elements)| {
        let kernel = design.machinery.input_gradient(&geom).kernel;
        Nest { kernel, elements }
    };
    let nests: Vec<Nest> = nests.map(nest).collect();
    let threads = design.machinery.threads;
    let most = |len: &dyn Fn(&dyn InputGradient) -> usize| {
        nests.iter().map(|nest| len(&*nest.kernel)).max().unwrap_or(0)
    };
    let work = on.on.scratch(most(&|kernel| kernel.workspace(threads)));
    let transposed = on.on.scratch(most(&|kernel| kernel.transposed_len(threads)));
    let rounds = nests.iter().any(Nest::rounds);
    let rounded = rounds.then(|| on.on.convert(node.id, dy));
    let (forward, weight) = (unit.packing.geom.clone(), unit.weight);
    let covers = unit.shape.covers_input();
    let kernel = ConvInput { nests, forward, weight, covers, dy, rounded, dx, work, transposed };
    on.on.step(node.id, kernel, fresh);
}

/// The signal to a convolution's input.
fn signal_to_input(on: &mut Backward<'_>, node: &Node, dy: BufferId) {
    let (dx, fresh) = on.gradient(node.inputs[0]);
    let design = on.on.design;
    let unit = design.conv(node.id).expect("it is a convolution");
    let shape = &unit.shape;
    let [dy_at, dx_at] = [dy, dx].map(|buffer| on.on.layout_of(buffer));
    let merged = shape.merged();
    let apart = merged.as_ref().map(|merged| on.on.new_activation(merged.layout));
    let apart = apart.map(|apart| (apart, shape.window.stride));
    let nests = match merged {
        Some(merged) => vec![(shape.merged_nest(&merged, &dy_at), merged.places)],
        None => {
            let elements = shape.window.kernel.iter().product();
            let places = |taps: Vec<usize>| {
                let mut places = vec![None; elements];
                taps.iter()
                    .enumerate()
                    .for_each(|(tap, &element)| places[element] = Some([0, tap]));
                places
            };
            let nests = shape.backward(&dy_at, &dx_at).into_iter();
            nests.map(|(geom, taps)| (geom, places(taps))).collect()
        }
    };
    let nests: Vec<SignalNest> =
        nests.into_iter().map(|(geom, places)| signal_nest(on, node, geom, places)).collect();
    let spaces = nests.iter().map(|nest| nest.kernel.workspace(design.machinery.threads));
    let work = on.on.scratch(spaces.max().unwrap_or(0));
    let covers = apart.is_some() || shape.covers_input();
    on.on.step(node.id, ConvSignal { nests, covers, dy, dx, work, apart }, fresh);
}

/// A loop nest of a convolution's backward pass, with weights of its own.
fn signal_nest(
    on: &mut Backward<'_>,
    node: &Node,
    geom: ConvGeom,
    places: Vec<Option<[usize; 2]>>,
) -> SignalNest {
    let design = on.on.design;
    let unit = design.conv(node.id).expect("it is a convolution");
    let Content::Matrix { name, fold, .. } = &design.params.packed.list[unit.weight.0].content
    else {
        unreachable!("the weights of a convolution are a matrix")
    };
    let kernel = design.machinery.forward(&geom).kernel;
    let transform = kernel.packs().then(|| kernel.clone());
    let backward = Some(Swapped { inputs: unit.shape.input[0], places });
    let packing = Packing { geom, plain: false, transform, backward, ..unit.packing.clone() };
    let blocks = packing.len();
    let (name, packing, fold) = (name.clone(), Box::new(packing), fold.clone());
    let weight = on.on.new_param(Content::Matrix { name, packing, fold }, blocks);
    SignalNest { kernel, weight }
}
