//! From a graph to forward steps: which ops become one step, what each activation's buffer looks like, which kernel
//! runs.
//!
//! A *unit* is what one step computes: a convolution and, where nothing else reads the activations between them, the
//! batch normalisation, the sum and the ReLU after it. A *value* is an activation that exists in memory; ops that do
//! nothing (dropout at inference, flattening a 1×1 map) share the value of their input.

use crate::bank::{BankPlan, Connections, Content, Fold, Packing, SlotId};
use crate::choose::Machinery;
use crate::emit::pieces;
use crate::geometry::{ConvShape, Source, plain_image};
use crate::step::{Buffer, BufferId, Extent, Step, What};
use std::sync::Arc;
use top5_graph::ops::Activation;
use top5_graph::{EngineError, Graph, Node, NodeId, Op, Shape, Window, k};
use top5_kernels::conv::Forward;
use top5_kernels::{LANES, Layout};

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch normalisation with running statistics, folded where possible; no dropout.
    Inference,
    /// Batch statistics, dropout; every activation that a backward pass reads is kept.
    Training,
}

/// A convolution with its kernel and parameters.
#[derive(Clone, Debug)]
pub(crate) struct ConvUnit {
    pub(crate) shape: ConvShape,
    pub(crate) source: Source,
    pub(crate) packing: Packing,
    pub(crate) kernel: Arc<dyn Forward>,
    pub(crate) weight: SlotId,
    pub(crate) bias: Option<SlotId>,
}

/// A plan without addresses.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) steps: Vec<Step>,
    pub(crate) bank: BankPlan,
    /// Blocks of the bank that are learned: its first part.
    pub(crate) learned: usize,
    /// The pinned activations and the outputs: what is read when the steps are done.
    pub(crate) results: Vec<(NodeId, BufferId)>,
}

/// Lowers `graph`. The activations of `pinned` nodes will exist.
pub(crate) fn lower(
    graph: &Graph,
    machinery: &Machinery,
    pinned: &[NodeId],
) -> Result<Program, EngineError> {
    let mut lowering = Lowering::new(graph, machinery, pinned);
    lowering.form_units();
    lowering.choose_halos();
    lowering.place_pieces();
    lowering.check()?;
    lowering.assign_slots();
    lowering.choose_precisions();
    for node in graph.nodes() {
        lowering.emit(node);
    }
    if machinery.mode == Mode::Training {
        lowering.forget_values();
        lowering.backward();
    }
    Ok(lowering.finish())
}

/// Slots of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) conv: Option<ConvUnit>,
    pub(crate) weight: Option<SlotId>,
    pub(crate) bias: Option<SlotId>,
    pub(crate) statistics: Option<SlotId>,
}

pub(crate) struct Lowering<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) machinery: &'g Machinery,
    users: Vec<Vec<NodeId>>,
    pub(crate) pinned: Vec<bool>,
    /// For each node, what is fused to it.
    pub(crate) heads: Vec<Head>,
    /// For each node, the node whose value is its own: itself, or what it is fused into or an alias of.
    home: Vec<NodeId>,
    halos: Vec<[usize; 2]>,
    /// For each node that a concatenation reads, whose value is made in the memory of the whole: the concatenation, and the
    /// first channel.
    pub(crate) places: Vec<Option<(NodeId, usize)>>,
    /// The input is stored in plain planes.
    pub(crate) plain_input: bool,
    pub(crate) slots: Vec<Slots>,
    /// The buffer of each value, by home.
    pub(crate) values: Vec<Option<BufferId>>,
    /// For each value, by home, whether it is in bf16.
    pub(crate) in_bf16: Vec<bool>,
    /// The buffer of its copy in the other precision, by home.
    pub(crate) converted: Vec<Option<BufferId>>,
    /// For each node, whether it depends on a learned parameter.
    pub(crate) learns: Vec<bool>,
    /// For each head, the buffer that its backward pass needs beside input and output.
    pub(crate) sides: Vec<Option<BufferId>>,
    pub(crate) program: Program,
}

/// What is fused to a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    norm: Option<NodeId>,
    pub(crate) sum: Option<NodeId>,
    pub(crate) relu: bool,
    pub(crate) tail: NodeId,
}

pub(crate) fn layout_of(shape: Shape) -> Layout {
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

impl Program {
    /// The buffer that this one is a part of, or itself, and the block of it at which this one starts.
    pub(crate) fn whole(&self, id: BufferId) -> (BufferId, usize) {
        let Extent::Part(of, first) = self.buffers[id.0].extent else { return (id, 0) };
        let (whole, start) = self.whole(of);
        (whole, start + first)
    }
}

impl<'g> Lowering<'g> {
    fn new(graph: &'g Graph, machinery: &'g Machinery, pinned: &[NodeId]) -> Self {
        let nodes = graph.nodes();
        let mut pins = vec![false; nodes.len()];
        let outputs = graph.outputs().iter().map(|output| output.node);
        pinned.iter().copied().chain(outputs).for_each(|id| pins[id.index()] = true);
        let mut learns = vec![false; nodes.len()];
        for node in nodes {
            learns[node.id.index()] = node.spec.params.iter().any(|param| param.learned)
                || node.inputs.iter().any(|input| learns[input.index()]);
        }
        let program = Program {
            buffers: Vec::new(),
            steps: Vec::new(),
            bank: BankPlan::default(),
            learned: 0,
            results: Vec::new(),
        };
        let head = |node: &Node| Head { norm: None, sum: None, relu: false, tail: node.id };
        Self {
            graph,
            machinery,
            users: graph.users(),
            pinned: pins,
            heads: nodes.iter().map(head).collect(),
            home: nodes.iter().map(|node| node.id).collect(),
            halos: vec![[0, 0]; nodes.len()],
            places: vec![None; nodes.len()],
            plain_input: false,
            slots: vec![Slots::default(); nodes.len()],
            values: vec![None; nodes.len()],
            in_bf16: vec![false; nodes.len()],
            converted: vec![None; nodes.len()],
            learns,
            sides: vec![None; nodes.len()],
            program,
        }
    }

    /// The only reader of a node's activation, if nothing else needs it.
    pub(crate) fn only_user(&self, id: NodeId) -> Option<&'g Node> {
        match self.users[id.index()].as_slice() {
            [user] if !self.pinned[id.index()] => Some(self.graph.node(*user)),
            [..] => None,
        }
    }

    /// Decides what is fused to what, and which nodes share a value.
    fn form_units(&mut self) {
        let mut taken = vec![false; self.graph.nodes().len()];
        for node in self.graph.nodes() {
            if taken[node.id.index()] {
                continue;
            }
            let mut head = self.heads[node.id.index()];
            let convolves = conv_shape(self.graph, node).is_some();
            let normalises = matches!(node.op, Op::BatchNorm2d(_));
            let adds = matches!(node.op, Op::Add(_)) && node.inputs.len() == 2;
            let training = self.machinery.mode == Mode::Training;
            let is_norm = |user: &&Node| matches!(user.op, Op::BatchNorm2d(_));
            if let (true, false, Some(user)) =
                (convolves, training, self.only_user(head.tail).filter(is_norm))
            {
                head.norm = Some(user.id);
                head.tail = user.id;
            }
            let scales = matches!(node.op, Op::Scale(_)) && !training;
            // Whatever is last before the sum adds it.
            if (if training { normalises } else { convolves || scales })
                && let Some(user) = self.only_user(head.tail).filter(|u| matches!(u.op, Op::Add(_)))
            {
                let other = user.inputs.iter().find(|&&input| input != head.tail);
                // The other summand must exist by now.
                if let (2, Some(&other)) = (user.inputs.len(), other)
                    && other.index() < node.id.index()
                {
                    head.sum = Some(other);
                    head.tail = user.id;
                }
            }
            let fuses = convolves || adds || normalises || scales;
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
        }
        for node in self.graph.nodes().iter().filter(|node| !taken[node.id.index()]) {
            let identity = match &node.op {
                Op::Dropout(_) => self.machinery.mode == Mode::Inference,
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
            if identity {
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

    /// Lets what a concatenation reads be made in its memory, if nothing else reads it and it is whole blocks there.
    fn place_pieces(&mut self) {
        for node in self.graph.nodes().iter().filter(|node| matches!(node.op, Op::Concat(_))) {
            let pieces: Vec<_> = pieces(self, node).zip(&node.inputs).collect();
            let plane = self.layout(node.id).plane();
            let fits = |(first, count): (usize, usize)| {
                // In bf16 two pixels are a block of memory, at the start of which a piece starts.
                let starts = !self.machinery.in_bf16() || (first / LANES * plane).is_multiple_of(2);
                count.is_multiple_of(LANES) && starts
            };
            if self.home(node.id) != node.id || !pieces.iter().all(|&(piece, _)| fits(piece)) {
                continue;
            }
            for ((first, _), &input) in pieces {
                let home = self.graph.node(self.home(input));
                let writes_planes = conv_shape(self.graph, home)
                    .is_some_and(|conv| !conv.fully_connected)
                    || matches!(
                        home.op,
                        Op::BatchNorm2d(_) | Op::MaxPool2d(_) | Op::AvgPool2d(_) | Op::Concat(_)
                    );
                let alone =
                    self.heads[home.id.index()].tail == input && self.only_user(input).is_some();
                if writes_planes && alone {
                    self.places[home.id.index()] = Some((node.id, first));
                }
            }
        }
    }

    /// Whether a node's value is made in the memory of a concatenation.
    pub(crate) fn is_placed(&self, id: NodeId) -> bool {
        self.places[self.home(id).index()].is_some()
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

    /// Refuses what the kernels cannot do.
    fn check(&self) -> Result<(), EngineError> {
        let refuse = |node: &Node, why: &str| {
            Err(EngineError::Unsupported { node: node.name.clone(), why: why.to_owned() })
        };
        for node in self.graph.nodes() {
            let factors = matches!(node.op, Op::Scale(_)).then(|| self.layout(node.inputs[1]));
            if factors.is_some_and(|layout| !layout.is_dense()) {
                return refuse(node, "its factors are also read by a padded convolution");
            }
        }
        if self.machinery.mode == Mode::Training {
            for output in self.graph.outputs() {
                let node = self.graph.node(output.node);
                if node.shape().size() != [1, 1] || !self.layout(node.id).is_dense() {
                    return refuse(node, "training needs one score per class, not a map of scores");
                }
            }
        }
        Ok(())
    }

    /// The node whose value this one's is.
    pub(crate) fn home(&self, id: NodeId) -> NodeId {
        self.home[id.index()]
    }

    /// Where the pixels of a node's value are.
    pub(crate) fn layout(&self, id: NodeId) -> Layout {
        let home = self.home(id).index();
        if let Some((whole, _)) = self.places[home] {
            return self.layout(whole).part(self.graph.node(id).shape().channels());
        }
        self.layout_with(self.halos[home], id)
    }

    /// The layout of something of the size of a node's value, in memory of its own.
    pub(crate) fn layout_with(&self, halo: [usize; 2], id: NodeId) -> Layout {
        Layout { halo, ..layout_of(self.graph.node(id).shape()) }
    }

    /// The buffer of a node's value, which has been emitted.
    pub(crate) fn value(&self, id: NodeId) -> BufferId {
        self.values[self.home(id).index()].expect("a node comes after its inputs")
    }

    /// The buffer of a value, by its home, if it has one.
    pub(crate) fn kept_value(&self, home: NodeId) -> Option<BufferId> {
        self.values[home.index()]
    }

    /// A new buffer for the value of the unit that `id` heads.
    pub(crate) fn new_value(&mut self, id: NodeId) -> BufferId {
        let layout = self.layout(id);
        let plain = id.index() == 0 && self.plain_input;
        let extent = if let Some((whole, channel)) = self.places[id.index()] {
            let whole = self.kept_value(whole).unwrap_or_else(|| self.new_value(whole));
            Extent::Part(whole, channel / LANES * layout.plane())
        } else if plain {
            Extent::PerImage(plain_image(&layout) / LANES)
        } else {
            Extent::PerImage(layout.image())
        };
        let buffer = self.new_buffer(layout, extent);
        self.program.buffers[buffer.0].bf16 = self.in_bf16[id.index()];
        self.values[id.index()] = Some(buffer);
        buffer
    }

    pub(crate) fn new_buffer(&mut self, layout: Layout, extent: Extent) -> BufferId {
        self.program.buffers.push(Buffer { layout, extent, bf16: false });
        BufferId(self.program.buffers.len() - 1)
    }

    /// A buffer for one image's activation each.
    pub(crate) fn new_activation(&mut self, layout: Layout) -> BufferId {
        self.new_buffer(layout, Extent::PerImage(layout.image()))
    }

    /// Memory for one step, whatever the batch.
    pub(crate) fn scratch(&mut self, blocks: usize) -> BufferId {
        self.new_buffer(Layout::new(LANES, 1, 1), Extent::Fixed(blocks))
    }

    pub(crate) fn step<const R: usize, const W: usize>(
        &mut self,
        node: NodeId,
        what: What,
        reads: [BufferId; R],
        writes: [BufferId; W],
        fresh: bool,
    ) {
        let (reads, writes) = (reads.to_vec(), writes.to_vec());
        self.program.steps.push(Step { node, what, reads, writes, fresh });
    }

    /// Names what is read at the end.
    fn finish(mut self) -> Program {
        for node in self.graph.nodes() {
            if self.pinned[node.id.index()] {
                let value = self.operand(node.id, false);
                self.program.results.push((node.id, value));
            }
        }
        self.program
    }

    /// Places for all parameters: learned ones first.
    fn assign_slots(&mut self) {
        for node in self.graph.nodes() {
            self.assign_learned(node);
        }
        self.program.learned = self.program.bank.len;
        for node in self.graph.nodes() {
            self.assign_fixed(node);
        }
    }

    /// Whether the node is a batch normalisation folded into a convolution.
    fn is_folded(&self, node: &Node) -> bool {
        self.home(node.id) != node.id
    }

    fn assign_learned(&mut self, node: &Node) {
        let blocks = node.shape().channels().div_ceil(LANES);
        let affine = matches!(node.op, Op::BatchNorm2d(_) | Op::Subsampling(_));
        if let Some(shape) = conv_shape(self.graph, node) {
            self.slots[node.id.index()].conv = Some(self.conv_unit(node, shape, blocks));
        } else if affine && !self.is_folded(node) {
            let bank = &mut self.program.bank;
            let mut vector = |role: &str| {
                let name = format!("{}.{role}", node.name);
                Some(bank.add(Content::Vector { name }, blocks))
            };
            let slots = &mut self.slots[node.id.index()];
            (slots.weight, slots.bias) = (vector("weight"), vector("bias"));
        }
    }

    fn assign_fixed(&mut self, node: &Node) {
        let blocks = node.shape().channels().div_ceil(LANES);
        let folded = self.is_folded(node);
        let bank = &mut self.program.bank;
        let slots = &mut self.slots[node.id.index()];
        if let Op::EuclideanRbf(op) = &node.op {
            let content = Content::Plain { name: format!("{}.codes", node.name) };
            slots.weight = Some(bank.add(content, op.codes.len().div_ceil(LANES)));
        } else if matches!(node.op, Op::Subsampling(_)) {
            slots.statistics = Some(bank.add(Content::Identity, 2 * blocks));
        } else if matches!(node.op, Op::BatchNorm2d(_)) && !folded {
            let content = Content::Statistics { name: node.name.clone() };
            slots.statistics = Some(bank.add(content, 2 * blocks));
        }
    }

    fn conv_unit(&mut self, node: &Node, shape: ConvShape, blocks: usize) -> ConvUnit {
        let [outputs, inputs] = [shape.output[0], shape.input[0]];
        let connections = if let Op::TableConv2d(op) = &node.op {
            Connections::Table(op.connections().collect())
        } else {
            Connections::Groups { outputs, inputs, groups: shape.groups }
        };
        let input = self.layout(node.inputs[0]);
        let plain = self.plain_input && node.inputs[0].index() == 0;
        let source = if plain { Source::Plain(input) } else { Source::Blocked(input) };
        let geom = shape.forward(&source, &self.layout(node.id));
        let fold = self.heads[node.id.index()].norm.map(|norm| {
            let norm = self.graph.node(norm);
            let Op::BatchNorm2d(op) = &norm.op else { unreachable!("only these are folded") };
            Fold { name: norm.name.clone(), eps: op.eps }
        });
        let has = |role: &str| node.spec.params.iter().any(|param| param.role == role);
        let bias = has("bias").then(|| format!("{}.bias", node.name));
        let bank = &mut self.program.bank;
        let kernel = self.machinery.forward(&geom).kernel;
        let transform = kernel.packs().then(|| kernel.clone());
        let packing = Packing { geom, kernel: shape.window.kernel, plain, connections, transform };
        let name = format!("{}.weight", node.name);
        let len = packing.len();
        let content =
            Content::Matrix { name, packing: Box::new(packing.clone()), fold: fold.clone() };
        let weight = bank.add(content, len);
        let bias = match (fold, bias) {
            (Some(fold), bias) => Some(bank.add(Content::FoldedBias { bias, fold }, blocks)),
            (None, Some(name)) => Some(bank.add(Content::Vector { name }, blocks)),
            (None, None) => None,
        };
        ConvUnit { shape, source, packing, kernel, weight, bias }
    }
}
