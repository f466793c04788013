//! What computes each element from those at its place, or each vector from one.

use super::Lower;
use crate::buffer::BufferId;
use crate::pass::emission::Emission;
use crate::pass::gradients::Backward;
use crate::purpose::Facts;
use crate::step::loss::{self, EuclideanRbfGradient, SoftmaxGradient};
use crate::step::pointwise::{
    self, DropoutGradient, Relu, ReluGradient, ScaleFactorGradient, ScaledTanh, ScaledTanhGradient,
    Sigmoid, SigmoidGradient, Times,
};
use top5_graph::ops::{Activation, Add, Dropout, EuclideanRbf, MulConstant, Scale, Softmax};
use top5_graph::{GateRule, Node, NodeId, ReluRule};

impl Lower for Activation {
    fn takes_bf16(&self) -> bool {
        matches!(self, Self::Relu)
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        match self {
            Self::Relu => on.step(node.id, Relu { x, y }, true),
            Self::Sigmoid => on.step(node.id, Sigmoid { x, y }, true),
            Self::ScaledTanh => on.step(node.id, ScaledTanh { x, y }, true),
        }
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            if matches!(self, Self::Relu) && on.rule().relu == ReluRule::Deconvnet {
                on.send(node, input, |y| Times { factor: 1.0, x: dy, y });
                continue;
            }
            let y = on.on.value_again(node.id);
            match self {
                Self::Relu => on.send(node, input, |dx| ReluGradient { y, dy, dx }),
                Self::Sigmoid => on.send(node, input, |dx| SigmoidGradient { y, dy, dx }),
                Self::ScaledTanh => on.send(node, input, |dx| ScaledTanhGradient { y, dy, dx }),
            }
        }
    }
}

impl Lower for Dropout {
    fn is_alias(&self, _node: &Node, facts: Facts) -> bool {
        !facts.dropout
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let (p, x) = (self.p, on.input(node, y));
        if on.design.facts.dropout {
            on.step(node.id, pointwise::Dropout { p, x, y }, true);
        } else {
            on.step(node.id, Times { factor: 1.0, x, y }, true);
        }
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        let p = self.p;
        for (_, input) in on.wanting(node) {
            if on.on.design.facts.dropout {
                on.send(node, input, |dx| DropoutGradient { p, dy, dx });
            } else {
                on.send(node, input, |y| Times { factor: 1.0, x: dy, y });
            }
        }
    }
}

impl Lower for Add {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let inputs = on.inputs(node, y);
        let relu = on.design.units.head_of(node.id).relu;
        on.step(node.id, pointwise::Add { relu, a: inputs[0], b: inputs[1], y }, true);
        for &x in &inputs[2..] {
            on.step(node.id, Times { factor: 1.0, x, y }, false);
        }
    }

    /// The gradient of each summand is that of the sum: one takes over its memory, the others get copies.
    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        let inputs = node.inputs.iter().copied().filter(|&input| on.wants_gradient(input));
        let homes: Vec<NodeId> = inputs.map(|input| on.on.home(input)).collect();
        let mut heir = None;
        for (i, &home) in homes.iter().enumerate() {
            let once = homes.iter().filter(|&&other| other == home).count() == 1;
            if heir.is_none() && once && on.hand_over(home, dy) {
                heir = Some(i);
            }
        }
        for (i, &home) in homes.iter().enumerate() {
            if heir != Some(i) {
                on.copy_gradient(node, home, dy);
            }
        }
    }
}

impl Lower for Scale {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let inputs = on.inputs(node, y);
        let head = on.design.units.head_of(node.id);
        let bf16 = on.is_bf16(y);
        let sum = head.sum.map(|sum| on.operand(sum, bf16));
        let (relu, x, factors) = (head.relu, inputs[0], inputs[1]);
        on.step(node.id, pointwise::Scale { relu, x, factors, sum, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (i, input) in on.wanting(node) {
            if i == 0 {
                let factors = on.on.value_again(node.inputs[1]);
                let (relu, x, sum) = (false, dy, None);
                on.send(node, input, |y| pointwise::Scale { relu, x, factors, sum, y });
            } else if on.rule().gates != GateRule::Held {
                let x = on.on.value_again(node.inputs[0]);
                on.send(node, input, |df| ScaleFactorGradient { x, dy, df });
            }
        }
    }
}

impl Lower for MulConstant {
    fn takes_bf16(&self) -> bool {
        true
    }

    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let (factor, x) = (self.factor, on.input(node, y));
        on.step(node.id, Times { factor, x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        let factor = self.factor;
        for (_, input) in on.wanting(node) {
            on.send(node, input, |y| Times { factor, x: dy, y });
        }
    }
}

impl Lower for Softmax {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        on.step(node.id, loss::Softmax { x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            let y = on.on.value_again(node.id);
            on.send(node, input, |dx| SoftmaxGradient { y, dy, dx });
        }
    }
}

impl Lower for EuclideanRbf {
    fn emit(&self, on: &mut Emission<'_>, node: &Node, y: BufferId) {
        let x = on.input(node, y);
        let codes = on.design.params.of_node[node.id.index()].weight.expect("assigned");
        on.step(node.id, loss::EuclideanRbf { codes, x, y }, true);
    }

    fn undo(&self, on: &mut Backward<'_>, node: &Node, dy: BufferId) {
        for (_, input) in on.wanting(node) {
            let codes = on.on.design.params.of_node[node.id.index()].weight.expect("assigned");
            let x = on.on.value_again(input);
            on.send(node, input, |dx| EuclideanRbfGradient { codes, x, dy, dx });
        }
    }
}
