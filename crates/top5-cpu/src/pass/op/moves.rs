//! What moves values: the input, channels, rows and columns.

use super::Lower;
use crate::buffer::BufferId;
use crate::pass::emission::Emission;
use crate::pass::gradients::Backward;
use crate::pass::pieces;
use crate::purpose::Facts;
use crate::step::moves::{
    self, CopyChannels, Pack, PadPlanes, PlaceChannels, SubsampleGradient, Unflatten,
};
use top5_graph::ops::{Concat, Flatten, Input, PadChannels, SliceChannels, Subsample};
use top5_graph::{Node, NodeId};
use top5_kernels::LANES;

impl Lower for Input {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit_input(on, node.id, y);
    }

    fn undo(&self, _on: &mut Backward<'_>, _node: &Node, _dy: BufferId) {}
}

/// The images, in the form that the first layers read.
pub(in crate::pass) fn emit_input(on: &mut Emission<'_>, id: NodeId, y: BufferId) {
    if on.design.maps.plain_input {
        on.step(id, PadPlanes { y }, true);
    } else {
        on.step(id, Pack { y }, true);
    }
}

/// The number of channels of a value.
fn channels(on: &Emission<'_>, id: NodeId) -> usize {
    on.design.graph.node(id).shape().channels()
}

/// The gradient of channels `to` … of `input`, from those of `dy` from `from` on. `zero`: that leaves gaps.
fn copy_back(
    on: &mut Backward<'_>,
    (node, input): (&Node, NodeId),
    x: BufferId,
    [from, to, count]: [usize; 3],
    zero: bool,
) {
    on.send(node, input, |y| CopyChannels { x, y, from, to, count, zero });
}

impl Lower for Concat {
    fn is_alias(&self, node: &Node, _facts: Facts) -> bool {
        node.inputs.len() == 1
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let inputs = on.inputs(node, y);
        emit_concat(on, node, &inputs, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (i, input) in on.wanting(node) {
            let piece = pieces(on.on.design.graph, node).nth(i);
            let (from, count) = piece.expect("each input is a piece");
            let ragged = !count.is_multiple_of(LANES);
            copy_back(on, (node, input), dy, [from, 0, count], ragged);
        }
    }
}

/// Copies what is not made in its place.
fn emit_concat(on: &mut Emission<'_>, node: &Node, inputs: &[BufferId], y: BufferId) {
    let design = on.design;
    let zero = !node.shape().channels().is_multiple_of(LANES);
    let pieces = pieces(design.graph, node).zip(inputs).zip(&node.inputs);
    let copied =
        pieces.filter(|&(_, &input)| !design.maps.is_placed(&design.units, input, node.id));
    for (i, (((to, count), &x), _)) in copied.enumerate() {
        if i == 0 {
            on.step(node.id, CopyChannels { x, y, from: 0, to, count, zero }, true);
        } else {
            on.step(node.id, PlaceChannels { x, y, to, count }, false);
        }
    }
}

impl Lower for SliceChannels {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        let (from, count, zero) = (self.start, self.len, !self.len.is_multiple_of(LANES));
        on.step(node.id, CopyChannels { x, y, from, to: 0, count, zero }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            copy_back(on, (node, input), dy, [0, self.start, self.len], true);
        }
    }
}

impl Lower for PadChannels {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        let (to, count) = (self.before, channels(on, node.inputs[0]));
        on.step(node.id, CopyChannels { x, y, from: 0, to, count, zero: true }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            let count = channels(&on.on, input);
            let ragged = !count.is_multiple_of(LANES);
            copy_back(on, (node, input), dy, [self.before, 0, count], ragged);
        }
    }
}

impl Lower for Subsample {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let (stride, x) = (self.stride, on.input(node, y));
        on.step(node.id, moves::Subsample { stride, x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        let stride = self.stride;
        for (_, input) in on.wanting(node) {
            on.send(node, input, |dx| SubsampleGradient { stride, dy, dx });
        }
    }
}

// Flattening a map of one pixel may do nothing: see `Units::with_vectors`.
impl Lower for Flatten {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        on.step(node.id, moves::Flatten { x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            on.send(node, input, |dx| Unflatten { dy, dx });
        }
    }
}
