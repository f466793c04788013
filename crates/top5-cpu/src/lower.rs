//! From a graph to forward steps: which ops become one step, what each activation's buffer looks like, which kernel
//! runs.
//!
//! A *unit* is what one step computes: a convolution and, where nothing else reads the activations between them, the
//! batch normalisation, the sum and the ReLU after it. A *value* is an activation that exists in memory; ops that do
//! nothing (dropout at inference, flattening a 1×1 map) share the value of their input.

use crate::bank::{BankPlan, Connections, Content, Fold, Packing, SlotId};
use crate::geometry::{ConvShape, Source, plain_image};
use crate::step::{Buffer, BufferId, Extent, Normalisation, Step, What};
use top5_graph::ops::{Activation, BatchNorm2d, Linear};
use top5_graph::{EngineError, Graph, Node, NodeId, Op, Shape, Window, k};
use top5_kernels::conv::Direct;
use top5_kernels::lrn::LrnGeom;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{Isa, Layout};

/// What the steps are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Batch normalisation with running statistics, folded where possible; no dropout.
    Inference,
    /// Batch statistics, dropout; every activation that a backward pass reads is kept.
    Training,
}

/// A convolution-like unit, remembered for the backward pass.
#[derive(Clone, Debug)]
pub(crate) struct ConvUnit {
    pub(crate) shape: ConvShape,
    pub(crate) source: Source,
    pub(crate) packing: Packing,
    pub(crate) weight: SlotId,
    pub(crate) bias: Option<SlotId>,
}

/// What was decided for a node that got a step of its own.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    /// The node whose op heads the unit.
    pub(crate) head: NodeId,
    /// The node whose activation comes out.
    pub(crate) tail: NodeId,
    pub(crate) relu: bool,
    pub(crate) conv: Option<ConvUnit>,
    pub(crate) normal: Option<Normalisation>,
    /// Batch statistics of the unit's normalisation, or the sums of its subsampling.
    pub(crate) side: Option<BufferId>,
}

/// The forward part of a plan.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step>,
    pub(crate) bank: BankPlan,
    pub(crate) units: Vec<Unit>,
    /// For each node, the buffer with its activation, if there is one.
    pub(crate) values: Vec<Option<BufferId>>,
    /// Blocks of the bank that are learned: its first part.
    pub(crate) learned: usize,
}

/// Lowers `graph`. The activations of `pinned` nodes will exist.
pub(crate) fn lower(
    graph: &Graph,
    isa: Isa,
    mode: Mode,
    pinned: &[NodeId],
) -> Result<Program, EngineError> {
    let mut lowering = Lowering::new(graph, isa, mode, pinned);
    lowering.assign_slots();
    lowering.form_units();
    lowering.choose_halos();
    for node in graph.nodes() {
        lowering.emit(node);
    }
    Ok(lowering.program)
}

/// Slots of one node, by role.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    weight: Option<SlotId>,
    bias: Option<SlotId>,
    statistics: Option<SlotId>,
}

struct Lowering<'g> {
    graph: &'g Graph,
    isa: Isa,
    mode: Mode,
    users: Vec<Vec<NodeId>>,
    pinned: Vec<bool>,
    /// For each node, the unit's parts it heads.
    heads: Vec<Head>,
    /// For each node, the node whose value is its own (itself, or what it is fused into or an alias of).
    home: Vec<NodeId>,
    halos: Vec<[usize; 2]>,
    /// The input is stored in plain planes.
    plain_input: bool,
    slots: Vec<Slots>,
    program: Program,
}

/// What is fused to a node.
#[derive(Clone, Copy, Debug)]
struct Head {
    norm: Option<NodeId>,
    sum: Option<NodeId>,
    relu: bool,
    tail: NodeId,
}

fn layout_of(shape: Shape) -> Layout {
    let [h, w] = shape.size();
    Layout::new(shape.channels(), h, w)
}

/// The convolution that an op is, if it is one.
fn conv_shape(graph: &Graph, node: &Node) -> Option<ConvShape> {
    let input = || {
        let [h, w] = graph.node(node.inputs[0]).shape().size();
        [graph.node(node.inputs[0]).shape().channels(), h, w]
    };
    let [p, q] = node.shape().size();
    let output = [node.shape().channels(), p, q];
    let conv = |window: Window, groups: usize| ConvShape {
        input: input(),
        output,
        window,
        groups,
        fully_connected: false,
    };
    match &node.op {
        Op::Conv2d(op) => Some(conv(op.window, op.groups)),
        Op::TableConv2d(op) => Some(conv(op.window, 1)),
        Op::Linear(_) => Some(ConvShape { fully_connected: true, ..conv(k(1), 1) }),
        Op::Input(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool2d(_)
        | Op::GlobalAvgPool(_)
        | Op::Subsampling(_)
        | Op::BatchNorm2d(_)
        | Op::LocalResponseNorm(_)
        | Op::Activation(_)
        | Op::Dropout(_)
        | Op::Add(_)
        | Op::Scale(_)
        | Op::MulConstant(_)
        | Op::Concat(_)
        | Op::SliceChannels(_)
        | Op::PadChannels(_)
        | Op::Subsample(_)
        | Op::Flatten(_)
        | Op::Softmax(_)
        | Op::EuclideanRbf(_) => None,
    }
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, isa: Isa, mode: Mode, pinned: &[NodeId]) -> Self {
        let nodes = graph.nodes();
        let mut pins = vec![false; nodes.len()];
        let outputs = graph.outputs().iter().map(|output| output.node);
        pinned.iter().copied().chain(outputs).for_each(|id| pins[id.index()] = true);
        let program = Program {
            buffers: Vec::new(),
            steps: Vec::new(),
            bank: BankPlan::default(),
            units: Vec::new(),
            values: vec![None; nodes.len()],
            learned: 0,
        };
        let head = |node: &Node| Head { norm: None, sum: None, relu: false, tail: node.id };
        Self {
            graph,
            isa,
            mode,
            users: graph.users(),
            pinned: pins,
            heads: nodes.iter().map(head).collect(),
            home: nodes.iter().map(|node| node.id).collect(),
            halos: vec![[0, 0]; nodes.len()],
            plain_input: false,
            slots: vec![Slots::default(); nodes.len()],
            program,
        }
    }

    /// The only reader of a node's activation, if nothing else needs it.
    fn only_user(&self, id: NodeId) -> Option<&'g Node> {
        match self.users[id.index()].as_slice() {
            [user] if !self.pinned[id.index()] => Some(self.graph.node(*user)),
            [..] => None,
        }
    }

    /// Decides what is fused to what, and which nodes share a value.
    fn form_units(&mut self) {
        // The step at which each value exists: its unit's head.
        let mut taken = vec![false; self.graph.nodes().len()];
        for node in self.graph.nodes() {
            if taken[node.id.index()] {
                continue;
            }
            let mut head = self.heads[node.id.index()];
            let convolves = conv_shape(self.graph, node).is_some();
            let fuses = convolves || matches!(node.op, Op::BatchNorm2d(_));
            if convolves && self.mode == Mode::Inference {
                if let Some(user) = self.only_user(head.tail).filter(|u| matches!(u.op, Op::BatchNorm2d(_))) {
                    head.norm = Some(user.id);
                    head.tail = user.id;
                }
                if let Some(user) = self.only_user(head.tail).filter(|u| matches!(u.op, Op::Add(_))) {
                    let other = user.inputs.iter().find(|&&input| input != head.tail);
                    // The other summand must exist by now.
                    let exists = |id: NodeId| self.home[id.index()].index() < node.id.index() || taken[id.index()];
                    if let (2, Some(&other)) = (user.inputs.len(), other)
                        && other.index() < node.id.index()
                        && exists(other)
                    {
                        head.sum = Some(other);
                        head.tail = user.id;
                    }
                }
            }
            let relu = |u: &&Node| matches!(u.op, Op::Activation(Activation::Relu));
            if fuses && let Some(user) = self.only_user(head.tail).filter(relu) {
                head.relu = true;
                head.tail = user.id;
            }
            self.heads[node.id.index()] = head;
            // Everything between head and tail is computed with the head.
            let mut inner = node.id;
            while inner != head.tail {
                inner = self.users[inner.index()][0];
                taken[inner.index()] = true;
                self.home[inner.index()] = node.id;
            }
            self.home[node.id.index()] = node.id;
        }
        let slots = taken;
        for node in self.graph.nodes().iter().filter(|node| !slots[node.id.index()]) {
            let identity = match &node.op {
                Op::Dropout(_) => self.mode == Mode::Inference,
                Op::Flatten(_) => self.graph.node(node.inputs[0]).shape().size() == [1, 1],
                Op::Concat(_) => node.inputs.len() == 1,
                Op::Input(_)
                | Op::Conv2d(_)
                | Op::TableConv2d(_)
                | Op::Linear(_)
                | Op::MaxPool2d(_)
                | Op::AvgPool2d(_)
                | Op::GlobalAvgPool(_)
                | Op::Subsampling(_)
                | Op::BatchNorm2d(_)
                | Op::LocalResponseNorm(_)
                | Op::Activation(_)
                | Op::Add(_)
                | Op::Scale(_)
                | Op::MulConstant(_)
                | Op::SliceChannels(_)
                | Op::PadChannels(_)
                | Op::Subsample(_)
                | Op::Softmax(_)
                | Op::EuclideanRbf(_) => false,
            };
            if identity && self.graph.node(node.inputs[0]).id.index() != 0 {
                self.home[node.id.index()] = self.home[node.inputs[0].index()];
            }
        }
    }

    /// Every value gets the largest halo that a convolution reading it needs.
    fn choose_halos(&mut self) {
        let readers = &self.users[0];
        let [channels, ..] = self.graph.input();
        self.plain_input = channels < 8
            && !readers.is_empty()
            && !self.pinned[0]
            && readers.iter().all(|&id| {
                matches!(&self.graph.node(id).op, Op::Conv2d(op) if op.groups == 1 && op.window.dilation[1] == 1)
            });
        for node in self.graph.nodes() {
            let Some(shape) = conv_shape(self.graph, node) else { continue };
            let home = self.home[node.inputs[0].index()].index();
            let needed = shape.input_halo();
            for (halo, needed) in self.halos[home].iter_mut().zip(needed) {
                *halo = (*halo).max(needed);
            }
        }
        // A flattened 1×1 map with a halo is not a vector.
        for node in self.graph.nodes().iter().filter(|node| matches!(node.op, Op::Flatten(_))) {
            if self.halos[self.home[node.id.index()].index()] != [0, 0] {
                self.unshare(node.id);
            }
        }
    }

    /// Gives a node that shared its input's value a value of its own, and whatever shares it follows.
    fn unshare(&mut self, id: NodeId) {
        let old = self.home[id.index()];
        self.home[id.index()] = id;
        for user in self.users[id.index()].clone() {
            if self.home[user.index()] == old {
                self.unshare_to(user, old, id);
            }
        }
    }

    fn unshare_to(&mut self, id: NodeId, old: NodeId, new: NodeId) {
        self.home[id.index()] = new;
        for user in self.users[id.index()].clone() {
            if self.home[user.index()] == old {
                self.unshare_to(user, old, new);
            }
        }
    }

    /// Places for all parameters: learned ones first.
    fn assign_slots(&mut self) {
        for learned in [true, false] {
            for node in self.graph.nodes() {
                self.assign(node, learned);
            }
            if learned {
                self.program.learned = self.program.bank.len;
            }
        }
    }

    fn assign(&mut self, node: &Node, learned: bool) {
        let blocks = node.shape().channels().div_ceil(16);
        let bank = &mut self.program.bank;
        let slots = &mut self.slots[node.id.index()];
        let name = |role: &str| format!("{}.{role}", node.name);
        match &node.op {
            Op::BatchNorm2d(_) if learned => {
                slots.weight = Some(bank.add(Content::Vector { name: name("weight") }, blocks));
                slots.bias = Some(bank.add(Content::Vector { name: name("bias") }, blocks));
            }
            Op::BatchNorm2d(_) => {
                let content = Content::Statistics { name: node.name.clone() };
                slots.statistics = Some(bank.add(content, 2 * blocks));
            }
            Op::Subsampling(_) if learned => {
                slots.weight = Some(bank.add(Content::Vector { name: name("weight") }, blocks));
                slots.bias = Some(bank.add(Content::Vector { name: name("bias") }, blocks));
            }
            Op::Subsampling(_) => slots.statistics = Some(bank.add(Content::Identity, 2 * blocks)),
            Op::EuclideanRbf(op) if !learned => {
                let content = Content::Plain { name: name("codes") };
                slots.weight = Some(bank.add(content, op.codes.len().div_ceil(16)));
            }
            // Convolutions: when they are emitted, since their packing depends on the layout of their input. Their
            // biases as well, which may be folded.
            Op::EuclideanRbf(_)
            | Op::Conv2d(_)
            | Op::TableConv2d(_)
            | Op::Linear(_)
            | Op::Input(_)
            | Op::MaxPool2d(_)
            | Op::AvgPool2d(_)
            | Op::GlobalAvgPool(_)
            | Op::LocalResponseNorm(_)
            | Op::Activation(_)
            | Op::Dropout(_)
            | Op::Add(_)
            | Op::Scale(_)
            | Op::MulConstant(_)
            | Op::Concat(_)
            | Op::SliceChannels(_)
            | Op::PadChannels(_)
            | Op::Subsample(_)
            | Op::Flatten(_)
            | Op::Softmax(_) => {}
        }
    }
}
