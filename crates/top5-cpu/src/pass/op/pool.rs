//! Pooling, and LeNet-5's subsampling, which is a sum over windows and an affine map.

use super::Lower;
use super::norm::{normalisation, normalisation_scratch};
use crate::buffer::BufferId;
use crate::pass::emission::Emission;
use crate::pass::gradients::Backward;
use crate::step::norm::{Normalise, NormaliseGradient};
use crate::step::pool::{
    AdaptiveAverage, AdaptiveAverageGradient, Average, AverageGradient, MaxPool, MaxPoolGradient,
};
use top5_graph::ops::{AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool, MaxPool2d, Subsampling};
use top5_graph::{Node, Window};
use top5_kernels::Layout;
use top5_kernels::pool::{Divisor, PoolGeom};

/// The pooling geometry of a window.
fn pool_geom(window: &Window) -> PoolGeom {
    let &Window { kernel, stride, pad, pad_end, dilation, ceil: _ } = window;
    PoolGeom { kernel, stride, pad, pad_end, dilation }
}

/// The window of a node that pools.
fn geom_of(node: &Node) -> PoolGeom {
    pool_geom(&node.spec.window.expect("a pooling has a window"))
}

fn emit_average(on: &mut Emission<'_>, node: &Node, divisor: Divisor, y: BufferId) {
    let x = on.input(node, y);
    on.step(node.id, Average { geom: geom_of(node), divisor, x, y }, true);
}

fn undo_average(on: &mut Backward<'_>, node: &Node, divisor: Divisor, dy: BufferId) {
    for (_, input) in on.wanting(node) {
        let geom = geom_of(node);
        on.send(node, input, |dx| AverageGradient { geom, divisor, dy, dx });
    }
}

impl Lower for MaxPool2d {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let (geom, x) = (pool_geom(&self.window), on.input(node, y));
        on.step(node.id, MaxPool { geom, x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            let relu = on.is_pooled_alone(on.on.home(input));
            let (geom, x) = (pool_geom(&self.window), on.on.value_again(input));
            let y = on.on.value_again(node.id);
            on.send(node, input, |dx| MaxPoolGradient { geom, relu, x, y, dy, dx });
        }
    }
}

fn divisor(op: &AvgPool2d) -> Divisor {
    if op.count_include_pad { Divisor::Padded } else { Divisor::Inside }
}

impl Lower for AvgPool2d {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit_average(on, node, divisor(self), y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo_average(on, node, divisor(self), dy);
    }
}

impl Lower for AdaptiveAvgPool2d {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        on.step(node.id, AdaptiveAverage { x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            on.send(node, input, |dx| AdaptiveAverageGradient { dy, dx });
        }
    }
}

impl Lower for GlobalAvgPool {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        emit_average(on, node, Divisor::Inside, y);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        undo_average(on, node, Divisor::Inside, dy);
    }
}

impl Lower for Subsampling {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        let layout = Layout { halo: [0, 0], ..on.layout(node.id) };
        let sums = on.new_activation(layout);
        on.sides[node.id.index()] = Some(sums);
        let (geom, divisor) = (geom_of(node), Divisor::One);
        on.step(node.id, Average { geom, divisor, x, y: sums }, true);
        let by = normalisation(on, node, None);
        on.step(node.id, Normalise { by, x: sums, sum: None, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        let x = on.on.sides[node.id.index()].expect("made by the forward pass");
        let layout = on.on.layout_of(x);
        let dx = on.on.new_activation(layout);
        let [sums, work] = normalisation_scratch(&mut on.on, &layout);
        let by = normalisation(&on.on, node, None);
        let (sum, y, dx_at) = (false, None, Some(dx));
        let kernel = NormaliseGradient { by, sum, x, y, dy, dx: dx_at, sums, work };
        on.on.step(node.id, kernel, true);
        undo_average(on, node, Divisor::One, dx);
    }
}
