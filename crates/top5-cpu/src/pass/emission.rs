//! Steps in the making: they are appended, with the buffers that they read and write.

use super::Design;
use crate::buffer::{Buffer, BufferId, Buffers, Extent};
use crate::geometry::plain_image;
use crate::ir::{Program, Step};
use crate::packed::{Content, PackedParams, ParamId};
use crate::step::Kernel;
use crate::step::moves::{Narrow, Widen};
use top5_graph::NodeId;
use top5_kernels::{LANES, Layout};

/// Steps and buffers so far.
pub(super) struct Emission<'d> {
    pub(super) design: &'d Design<'d>,
    buffers: Vec<Buffer>,
    steps: Vec<Step>,
    packed: PackedParams,
    /// The buffer of each value, by home, if it has one.
    pub(super) values: Vec<Option<BufferId>>,
    /// The buffer of its copy in the other precision, by home.
    converted: Vec<Option<BufferId>>,
    /// For each unit, the buffer that its backward pass needs beside input and output.
    pub(super) sides: Vec<Option<BufferId>>,
    /// What is read at the end.
    results: Vec<(NodeId, BufferId)>,
    /// The steps before those that signals take.
    forward: Option<usize>,
}

impl<'d> Emission<'d> {
    pub(super) fn new(design: &'d Design<'d>) -> Self {
        let none = vec![None; design.graph.nodes().len()];
        let (values, converted, sides) = (none.clone(), none.clone(), none);
        let (buffers, steps, results, forward) = (Vec::new(), Vec::new(), Vec::new(), None);
        let packed = design.params.packed.clone();
        Self { design, buffers, steps, packed, values, converted, sides, results, forward }
    }

    /// The same with these values to be found.
    pub(super) fn with_values(self, values: Vec<Option<BufferId>>) -> Self {
        Self { values, ..self }
    }

    pub(super) fn step(&mut self, node: NodeId, kernel: impl Into<Kernel>, fresh: bool) {
        self.steps.push(Step { node, kernel: kernel.into(), fresh });
    }

    /// A packed parameter of so many blocks, beside those of the design.
    pub(super) fn new_param(&mut self, content: Content, blocks: usize) -> ParamId {
        self.packed.add(content, blocks)
    }

    /// The node whose value this one's is.
    pub(super) fn home(&self, id: NodeId) -> NodeId {
        self.design.units.home(id)
    }

    /// Where the pixels of a node's value are.
    pub(super) fn layout(&self, id: NodeId) -> Layout {
        self.design.maps.layout(&self.design.units, id)
    }

    pub(super) fn layout_of(&self, id: BufferId) -> Layout {
        self.buffers[id.0].layout
    }

    /// Whether a buffer is in bf16.
    pub(super) fn is_bf16(&self, id: BufferId) -> bool {
        self.buffers[id.0].bf16
    }

    /// The buffer of a node's value, which has been emitted.
    pub(super) fn value(&self, id: NodeId) -> BufferId {
        self.values[self.home(id).index()].expect("a node comes after its inputs")
    }

    /// A new buffer for the value of the unit that `id` heads.
    pub(super) fn new_value(&mut self, id: NodeId) -> BufferId {
        let layout = self.layout(id);
        let plain = id.index() == 0 && self.design.maps.plain_input;
        let extent = if let Some((whole, channel)) = self.design.maps.places[id.index()] {
            let whole = self.values[whole.index()].unwrap_or_else(|| self.new_value(whole));
            Extent::Part(whole, channel / LANES * layout.plane())
        } else if plain {
            Extent::PerImage(plain_image(&layout) / LANES)
        } else {
            Extent::PerImage(layout.image())
        };
        let bf16 = self.design.in_bf16[id.index()];
        let buffer = self.buffer(Buffer { layout, extent, bf16 });
        self.values[id.index()] = Some(buffer);
        buffer
    }

    fn buffer(&mut self, buffer: Buffer) -> BufferId {
        self.buffers.push(buffer);
        BufferId(self.buffers.len() - 1)
    }

    pub(super) fn new_buffer(&mut self, layout: Layout, extent: Extent) -> BufferId {
        self.buffer(Buffer { layout, extent, bf16: false })
    }

    /// A buffer for one image's activation each.
    pub(super) fn new_activation(&mut self, layout: Layout) -> BufferId {
        self.new_buffer(layout, Extent::PerImage(layout.image()))
    }

    /// Memory for one step, whatever the batch.
    pub(super) fn scratch(&mut self, blocks: usize) -> BufferId {
        self.new_buffer(Layout::new(LANES, 1, 1), Extent::Fixed(blocks))
    }

    /// The buffer of a node's value, which has been emitted, in this precision: of a copy if need be. All that read the copy
    /// share it.
    pub(super) fn operand(&mut self, id: NodeId, bf16: bool) -> BufferId {
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
    pub(super) fn convert(&mut self, id: NodeId, x: BufferId) -> BufferId {
        let Buffer { layout, extent, bf16 } = self.buffers[x.0];
        let y = self.buffer(Buffer { layout, extent, bf16: !bf16 });
        if bf16 {
            self.step(id, Widen { x, y }, true);
        } else {
            self.step(id, Narrow { x, y }, true);
        }
        y
    }

    /// The same with what is read at the end in f32.
    pub(super) fn finish_forward(mut self) -> Self {
        self.results = self.shown();
        self.forward = Some(self.steps.len());
        self
    }

    /// Names what is read at the end.
    pub(super) fn finish(mut self) -> Program {
        self.results = self.shown();
        self.program(Vec::new())
    }

    /// The buffers of what is read at the end.
    fn shown(&mut self) -> Vec<(NodeId, BufferId)> {
        let shown = |node: &NodeId| self.design.units.shown[node.index()];
        let nodes = self.design.graph.nodes().iter().map(|node| node.id);
        let shown: Vec<NodeId> = nodes.filter(shown).collect();
        shown.into_iter().map(|node| (node, self.operand(node, false))).collect()
    }

    /// All of it, with the buffers that signals end in.
    pub(super) fn program(self, signals: Vec<Option<BufferId>>) -> Program {
        let Self { design, buffers, steps, packed, results, forward, .. } = self;
        let learned = design.params.learned;
        let forward = forward.unwrap_or(steps.len());
        let buffers = Buffers(buffers);
        Program { buffers, steps, packed, learned, results, forward, signals }
    }
}
