//! Which activations of a plan in bf16 are stored in bf16, half the memory to write and read.
//!
//! A value is in bf16 if what makes it can round it, something that reads it takes bf16, and it is no output. Where a reader
//! wants the other precision than a value has, it reads a copy; so do those who ask for an activation, which changes nothing
//! where it is not part of a fused step. What a reader computes is the same either way: it takes bf16 as a whole or not at
//! all. While training all values are in f32; convolutions in bf16 read copies, and weight gradients in bf16 round on the way.

use crate::lower::{Lowering, Mode};
use crate::step::{Buffer, BufferId, What};
use top5_graph::ops::Activation;
use top5_graph::{Node, NodeId, Op};
use top5_kernels::Precision;

/// Whether the `i`-th input of a node is the factors of a scale, which are in f32 always.
pub(crate) fn is_factor(node: &Node, i: usize) -> bool {
    i == 1 && matches!(node.op, Op::Scale(_))
}

impl Lowering<'_> {
    /// Decides for every value. Convolutions have their kernels.
    pub(crate) fn choose_precisions(&mut self) {
        if !self.machinery.in_bf16() || self.machinery.mode == Mode::Training {
            return;
        }
        let nodes = self.graph.nodes();
        let outputs: Vec<NodeId> = self.graph.outputs().iter().map(|output| output.node).collect();
        let mut pays = vec![false; nodes.len()];
        let mut can = vec![true; nodes.len()];
        for node in nodes {
            let home = self.home(node.id);
            let whole = self.whole(home).index();
            can[whole] &= !outputs.contains(&node.id);
            if home != node.id {
                continue;
            }
            let takes = self.takes_bf16(node);
            can[whole] &= takes;
            for input in self.inputs(node) {
                pays[self.home(input).index()] |= takes;
            }
        }
        for node in nodes {
            let whole = self.whole(self.home(node.id)).index();
            self.in_bf16[node.id.index()] = can[whole] && pays[whole];
        }
    }

    /// The home of the concatenation in whose memory a value is made, or its own.
    fn whole(&self, home: NodeId) -> NodeId {
        self.places[home.index()].map_or(home, |(whole, _)| self.whole(self.home(whole)))
    }

    /// What a unit reads in the precision of its kernel or of its value.
    fn inputs(&self, node: &Node) -> impl Iterator<Item = NodeId> {
        let inputs = node.inputs.iter().enumerate().filter(|&(i, _)| !is_factor(node, i));
        inputs.map(|(_, &input)| input).chain(self.heads[node.id.index()].sum)
    }

    /// Whether the step of a unit reads and writes bf16.
    fn takes_bf16(&self, node: &Node) -> bool {
        match &node.op {
            Op::Conv2d(_) | Op::TableConv2d(_) | Op::Linear(_) => {
                let unit = self.slots[node.id.index()].conv.as_ref().expect("assigned");
                unit.kernel.reads(Precision::Bf16) && unit.kernel.writes(Precision::Bf16)
            }
            Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::GlobalAvgPool(_)
            | Op::Activation(Activation::Relu)
            | Op::Add(_)
            | Op::Scale(_)
            | Op::MulConstant(_)
            | Op::Concat(_)
            | Op::SliceChannels(_)
            | Op::PadChannels(_)
            | Op::Subsample(_)
            | Op::Flatten(_) => true,
            Op::Input(_)
            | Op::Subsampling(_)
            | Op::BatchNorm2d(_)
            | Op::LocalResponseNorm(_)
            | Op::Activation(Activation::Sigmoid | Activation::ScaledTanh)
            | Op::Dropout(_)
            | Op::Softmax(_)
            | Op::EuclideanRbf(_) => false,
        }
    }

    /// The buffer of a node's value, which has been emitted, in this precision: of a copy if need be. All that read the copy
    /// share it.
    pub(crate) fn operand(&mut self, id: NodeId, bf16: bool) -> BufferId {
        let (home, x) = (self.home(id), self.value(id));
        if self.is_bf16(x) == bf16 {
            return x;
        }
        if let Some(copy) = self.converted[home.index()] {
            return copy;
        }
        let copy = self.convert(home, x);
        self.converted[home.index()] = Some(copy);
        copy
    }

    /// A copy of a value or gradient in the precision that it does not have.
    pub(crate) fn convert(&mut self, id: NodeId, x: BufferId) -> BufferId {
        let Buffer { layout, extent, bf16 } = self.program.buffers[x.0];
        let copy = self.new_buffer(layout, extent);
        self.program.buffers[copy.0].bf16 = !bf16;
        self.step(id, if bf16 { What::Widen } else { What::Narrow }, [x], [copy], true);
        copy
    }

    /// Whether a buffer is in bf16.
    pub(crate) fn is_bf16(&self, id: BufferId) -> bool {
        self.program.buffers[id.0].bf16
    }
}
