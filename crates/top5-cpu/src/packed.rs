//! Parameters in the form that the kernels read, and the way to and from named tensors.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use top5_graph::{Tensor, Weights};
use top5_kernels::conv::{ConvGeom, ConvNest, Forward};
use top5_kernels::{Arena, Block, LANES, Threads};

/// Which (output, input) channel pairs a weight tensor connects, in the order of its kernels.
#[derive(Clone, Debug)]
pub(crate) enum Connections {
    /// All pairs within each of `groups` groups.
    Groups { outputs: usize, inputs: usize, groups: usize },
    /// A list.
    Table(Vec<(usize, usize)>),
}

impl Connections {
    /// Output channels.
    fn outputs(&self) -> usize {
        match self {
            Self::Groups { outputs, .. } => *outputs,
            Self::Table(pairs) => pairs.iter().map(|&(o, _)| o + 1).max().unwrap_or(0),
        }
    }

    /// Pairs of the output channels before this one.
    fn before(&self, channel: usize) -> usize {
        match self {
            Self::Groups { inputs, groups, .. } => channel * (inputs / groups),
            Self::Table(pairs) => pairs.iter().filter(|&&(o, _)| o < channel).count(),
        }
    }

    /// The last of the output channels from this one on that lie in its block and are connected with the same inputs, plus one,
    /// and these inputs.
    fn alike(&self, channel: usize) -> (usize, Vec<usize>) {
        match self {
            &Self::Groups { outputs, inputs, groups } => {
                let (out_group, in_group) = (outputs / groups, inputs / groups);
                let (block, group) = (channel / LANES, channel / out_group);
                let end = ((block + 1) * LANES).min((group + 1) * out_group);
                (end, (group * in_group..(group + 1) * in_group).collect())
            }
            Self::Table(pairs) => {
                let own = pairs.iter().filter(|&&(o, _)| o == channel);
                (channel + 1, own.map(|&(_, c)| c).collect())
            }
        }
    }
}

/// Floats of a tensor that are packed before the memory that they were in is given back.
const FREED: usize = 1 << 22;

/// How a weight tensor is packed for a loop nest.
#[derive(Clone, Debug)]
pub(crate) struct Packing {
    pub(crate) geom: ConvGeom,
    /// Kernel height and width.
    pub(crate) kernel: [usize; 2],
    /// Lanes are kernel columns and blocks are channels (first layers), instead of lanes being channels.
    pub(crate) plain: bool,
    pub(crate) connections: Connections,
    /// The tensor is stored in this kernel's form.
    pub(crate) transform: Option<Arc<dyn Forward>>,
    /// The loop nest is one of the backward pass.
    pub(crate) backward: Option<Swapped>,
}

/// Where weights go in a loop nest of the backward pass, which goes from a convolution's outputs to its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Swapped {
    /// Input channels of the convolution. The loop nest writes them once for each residue of the stride that it serves.
    pub(crate) inputs: usize,
    /// For each kernel element the number of the residue and the tap, unless another loop nest has it.
    pub(crate) places: Vec<Option<[usize; 2]>>,
}

/// Weights of neighbouring output channels, of which each channel's lie in memory as the first one's do.
struct Run {
    channels: Range<usize>,
    /// The index in the tensor of the first channel's first weight.
    first: usize,
    /// For each weight of the first channel which float of the packed form it is, unless another loop nest has it.
    places: Vec<Option<usize>>,
    /// How many floats later the next channel's lie.
    step: usize,
}

impl Run {
    /// The channels' weights in their tensor, a row each.
    fn rows(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let (first, len) = (self.first, self.places.len());
        let rows = self.channels.clone().enumerate();
        rows.map(move |(row, channel)| (channel, first + row * len..first + (row + 1) * len))
    }

    /// The number of a weight in its row, and where it and those of the other rows with this number are among packed floats.
    fn columns(&self) -> impl Iterator<Item = (usize, impl Iterator<Item = usize>)> {
        let (rows, step) = (self.channels.len(), self.step);
        let there = self.places.iter().enumerate().filter_map(|(i, place)| Some((i, (*place)?)));
        there.map(move |(i, place)| (i, (0..rows).map(move |row| place + row * step)))
    }
}

impl Packing {
    /// Calls `visit` with all weights of some output channels.
    fn runs(&self, channels: Range<usize>, mut visit: impl FnMut(Run)) {
        let elements = self.kernel[0] * self.kernel[1];
        let step = if self.backward.is_some() { LANES } else { 1 };
        let mut start = channels.start;
        while start < channels.end {
            let (end, inputs) = self.connections.alike(start);
            let end = end.min(channels.end);
            let weights = inputs.iter().flat_map(|&c| (0..elements).map(move |e| (c, e)));
            let places = weights.map(|(c, element)| self.place(start, c, element)).collect();
            let first = self.connections.before(start) * elements;
            visit(Run { channels: start..end, first, places, step });
            start = end;
        }
    }

    /// Which float of the packed form is the weight of these channels at this kernel element.
    fn place(&self, o: usize, c: usize, element: usize) -> Option<usize> {
        // The nest's output channel, and its input block, tap and lane.
        let [to, block, tap, lane] = match &self.backward {
            Some(Swapped { inputs, places }) => {
                let [residue, tap] = places[element]?;
                [residue * inputs + c, o / LANES, tap, o % LANES]
            }
            None if self.plain => [o, c, element / self.kernel[1], element % self.kernel[1]],
            None => [o, c / LANES, element, c % LANES],
        };
        let place = self.geom.packed_index(to / LANES, block, tap, lane);
        let place = place.expect("the geometry was made for these connections");
        Some(place * LANES + to % LANES)
    }

    /// Blocks of the packed tensor.
    pub(crate) fn len(&self) -> usize {
        self.transform.as_ref().map_or(self.geom.packed_len(), |kernel| kernel.packed_len())
    }

    /// Packs a tensor, each output channel times its factor if there are factors.
    fn pack(
        &self,
        threads: &Threads,
        tensor: &[f32],
        factors: Option<&[f32]>,
        packed: &mut [Block],
    ) {
        if let Some(kernel) = &self.transform {
            let mut direct = vec![Block::ZERO; self.geom.packed_len()];
            Self { transform: None, ..self.clone() }.pack(threads, tensor, factors, &mut direct);
            return kernel.pack(threads, &direct, packed);
        }
        packed.fill(Block::ZERO);
        self.fill(threads, 0..self.connections.outputs(), tensor, factors, packed);
    }

    /// Writes the weights of some output channels, each channel's times its factor, to their places: block by block where a
    /// block's weights lie together.
    fn fill(
        &self,
        threads: &Threads,
        channels: Range<usize>,
        tensor: &[f32],
        factors: Option<&[f32]>,
        packed: &mut [Block],
    ) {
        if self.backward.is_some() {
            return self.write(channels, tensor, factors, packed, 0);
        }
        let stride = self.geom.weight_stride();
        let blocks = channels.start / LANES..channels.end.div_ceil(LANES);
        let pieces = &mut packed[blocks.start * stride..blocks.end * stride];
        threads.chunks(pieces, stride, |i, piece| {
            let block = blocks.start + i;
            let own = channels.start.max(block * LANES)..channels.end.min((block + 1) * LANES);
            self.write(own, tensor, factors, piece, block * stride);
        });
    }

    /// As [`Packing::fill`], into the part of the packed form that begins with block `base`.
    fn write(
        &self,
        channels: Range<usize>,
        tensor: &[f32],
        factors: Option<&[f32]>,
        packed: &mut [Block],
        base: usize,
    ) {
        let packed = Block::flat_mut(packed);
        self.runs(channels, |run| {
            let factor = |channel: usize| factors.map_or(1.0, |factors| factors[channel]);
            let rows: Vec<_> =
                run.rows().map(|(channel, row)| (&tensor[row], factor(channel))).collect();
            for (i, places) in run.columns() {
                for (place, (row, factor)) in places.zip(&rows) {
                    packed[place - base * LANES] = row[i] * factor;
                }
            }
        });
    }

    /// Packs a tensor that is of no more use into zeroed memory, as [`Packing::pack`] does, and gives back its memory on the
    /// way: from its end, since that is where a vector can be cut.
    fn consume(
        &self,
        threads: &Threads,
        mut tensor: Vec<f32>,
        factors: Option<&[f32]>,
        packed: &mut [Block],
    ) {
        if let Some(kernel) = &self.transform {
            let mut direct = Arena::new(self.geom.packed_len());
            Self { transform: None, ..self.clone() }.consume(threads, tensor, factors, &mut direct);
            return kernel.pack(threads, &direct, packed);
        }
        let outputs = self.connections.outputs();
        let at_once = (FREED * outputs / tensor.len().max(1)).next_multiple_of(LANES).max(LANES);
        for start in (0..outputs).step_by(at_once).rev() {
            let channels = start..outputs.min(start + at_once);
            self.fill(threads, channels, &tensor, factors, packed);
            tensor.truncate(self.connections.before(start) * self.kernel[0] * self.kernel[1]);
            tensor.shrink_to_fit();
        }
    }

    fn unpack(&self, packed: &[Block], tensor: &mut [f32]) {
        let packed = Block::flat(packed);
        self.runs(0..self.connections.outputs(), |run| {
            let len = run.places.len();
            for (i, places) in run.columns() {
                for (row, place) in places.enumerate() {
                    tensor[run.first + row * len + i] = packed[place];
                }
            }
        });
    }

    /// Ones where the packed form holds a weight, zeros elsewhere; `None` if every used place holds one.
    pub(crate) fn mask(&self) -> Option<Vec<Block>> {
        let dense = matches!(self.connections, Connections::Groups { groups: 1, .. });
        if dense {
            return None;
        }
        let mut mask = vec![Block::ZERO; self.geom.packed_len()];
        let flat = Block::flat_mut(&mut mask);
        self.runs(0..self.connections.outputs(), |run| {
            run.columns().flat_map(|(_, places)| places).for_each(|place| flat[place] = 1.0);
        });
        Some(mask)
    }
}

/// The name of a batch normalisation that is folded into the convolution before it.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) name: String,
    pub(crate) eps: f32,
}

impl Fold {
    /// Per channel: the factor of the weights, and the offset after them.
    fn constants(&self, weights: &Weights) -> (Vec<f32>, Vec<f32>) {
        let role = |role: &str| tensor(weights, &format!("{}.{role}", self.name));
        let (weight, bias) = (role("weight"), role("bias"));
        let (mean, variance) = (role("running_mean"), role("running_var"));
        let factor = |c: usize| {
            let deviation = (f64::from(variance[c]) + f64::from(self.eps)).sqrt();
            f64::from(weight[c]) / deviation
        };
        (0..weight.len())
            .map(|c| {
                let offset = f64::from(bias[c]) - f64::from(mean[c]) * factor(c);
                (factor(c) as f32, offset as f32)
            })
            .unzip()
    }
}

/// What a packed parameter is made from.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A packed weight tensor.
    Matrix { name: String, packing: Box<Packing>, fold: Option<Fold> },
    /// One value per channel.
    Vector { name: String },
    /// The bias of a convolution with a folded batch normalisation.
    FoldedBias { bias: Option<String>, fold: Fold },
    /// Running mean and variance, a block of each in turn.
    Statistics { name: String },
    /// A tensor as it is, in row-major order.
    Plain { name: String },
    /// Mean 0 and variance 1.
    Identity,
}

impl Content {
    /// The name of the tensor, or of the normalisation whose statistics they are.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Matrix { name, .. }
            | Self::Vector { name }
            | Self::Statistics { name }
            | Self::Plain { name } => Some(name),
            Self::FoldedBias { .. } | Self::Identity => None,
        }
    }
}

/// A parameter in the form that a kernel reads, and its place among all of a plan.
#[derive(Clone, Debug)]
pub(crate) struct PackedParam {
    pub(crate) content: Content,
    pub(crate) range: Range<usize>,
}

/// The number of a packed parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParamId(pub(crate) usize);

/// Where parameters are, before there is memory for them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedParams {
    pub(crate) list: Vec<PackedParam>,
    pub(crate) len: usize,
}

impl PackedParams {
    pub(crate) fn add(&mut self, content: Content, blocks: usize) -> ParamId {
        let range = self.len..self.len + blocks;
        self.len = range.end;
        self.list.push(PackedParam { content, range });
        ParamId(self.list.len() - 1)
    }

    pub(crate) fn range(&self, id: ParamId) -> Range<usize> {
        self.list[id.0].range.clone()
    }
}

/// Where a plan finds its parameters.
#[derive(Clone, Copy)]
pub(crate) struct Params<'a> {
    pub(crate) plan: &'a PackedParams,
    pub(crate) memory: ParamMemory<'a>,
}

/// Memory of parameters.
#[derive(Clone, Copy)]
pub(crate) enum ParamMemory<'a> {
    /// All in one piece, as training has them.
    Whole(&'a [Block]),
    /// One piece for each parameter, which other plans may share.
    Pieces(&'a [Arc<Arena>]),
}

impl<'a> Params<'a> {
    pub(crate) fn of(&self, id: ParamId) -> &'a [Block] {
        match self.memory {
            ParamMemory::Whole(blocks) => &blocks[self.plan.range(id)],
            ParamMemory::Pieces(pieces) => &pieces[id.0],
        }
    }
}

fn tensor<'a>(weights: &'a Weights, name: &str) -> &'a [f32] {
    weights.tensor(name).expect("the weights were checked against the graph").data()
}

fn write_vector(values: &[f32], blocks: &mut [Block]) {
    let flat = Block::flat_mut(blocks);
    flat[..values.len()].copy_from_slice(values);
    flat[values.len()..].fill(0.0);
}

impl Content {
    /// The tensors that it is packed from.
    pub(crate) fn tensors(&self) -> Vec<String> {
        let roles = |name: &str, roles: &[&str]| -> Vec<String> {
            roles.iter().map(|role| format!("{name}.{role}")).collect()
        };
        let statistics = ["running_mean", "running_var"];
        let fold =
            |fold: &Fold| [roles(&fold.name, &["weight", "bias"]), roles(&fold.name, &statistics)];
        match self {
            Self::Matrix { name, fold: folded, .. } => {
                let folded = folded.iter().flat_map(fold).flatten();
                std::iter::once(name.clone()).chain(folded).collect()
            }
            Self::Vector { name } | Self::Plain { name } => vec![name.clone()],
            Self::FoldedBias { bias, fold: folded } => {
                bias.iter().cloned().chain(fold(folded).concat()).collect()
            }
            Self::Statistics { name } => roles(name, &statistics),
            Self::Identity => Vec::new(),
        }
    }

    /// What tells packed forms apart: two contents with one key are packed to the same blocks, whatever the size of the maps
    /// that they are for.
    pub(crate) fn key(&self) -> String {
        let Self::Matrix { name, packing, fold } = self else { return format!("{self:?}") };
        let Packing { geom, kernel, plain, connections, transform, backward } = &**packing;
        let ConvNest { out_channels, first, blocks, lanes, depth, group, taps, .. } = &**geom;
        let form = transform.as_ref().map_or("direct", |kernel| kernel.method());
        let taps = taps.len();
        format!(
            "{name} {fold:?} {form} {kernel:?} {plain} {connections:?} {out_channels} {first:?} {blocks} {lanes} {depth} \
             {group:?} {taps} {backward:?}"
        )
    }

    /// Packs weights that were checked against the graph into zeroed memory. The tensor of a matrix is taken out of them.
    pub(crate) fn consume(&self, threads: &Threads, weights: &mut Weights, blocks: &mut [Block]) {
        let Self::Matrix { name, packing, fold } = self else {
            return self.pack(threads, weights, blocks);
        };
        let factors = fold.as_ref().map(|fold| fold.constants(weights).0);
        let tensor = weights.remove(name).expect("the weights were checked against the graph");
        packing.consume(threads, tensor.into_data(), factors.as_deref(), blocks);
    }

    /// Packs weights that were checked against the graph.
    pub(crate) fn pack(&self, threads: &Threads, weights: &Weights, blocks: &mut [Block]) {
        match self {
            Self::Matrix { name, packing, fold } => {
                let factors = fold.as_ref().map(|fold| fold.constants(weights).0);
                packing.pack(threads, tensor(weights, name), factors.as_deref(), blocks);
            }
            Self::Vector { name } | Self::Plain { name } => {
                write_vector(tensor(weights, name), blocks);
            }
            Self::FoldedBias { bias, fold } => {
                let (factors, mut offsets) = fold.constants(weights);
                if let Some(bias) = bias {
                    let bias = tensor(weights, bias);
                    let channels = offsets.iter_mut().zip(bias).zip(&factors);
                    channels.for_each(|((offset, bias), factor)| *offset += bias * factor);
                }
                write_vector(&offsets, blocks);
            }
            Self::Identity => {
                for (i, block) in blocks.iter_mut().enumerate() {
                    *block = Block([(i % 2) as f32; LANES]);
                }
            }
            Self::Statistics { name } => {
                for (i, role) in ["running_mean", "running_var"].into_iter().enumerate() {
                    let values = tensor(weights, &format!("{name}.{role}"));
                    for (k, values) in values.chunks(LANES).enumerate() {
                        write_vector(values, &mut blocks[2 * k + i..][..1]);
                    }
                }
            }
        }
    }
}

impl PackedParams {
    /// Packs weights that were checked against the graph into `values`, laid out like this.
    pub(crate) fn load(&self, threads: &Threads, weights: &Weights, values: &mut [Block]) {
        for PackedParam { content, range } in &self.list {
            content.pack(threads, weights, &mut values[range.clone()]);
        }
    }

    /// Reads the tensors of these names and shapes out of `values`, laid out like this or its first part.
    pub(crate) fn store(&self, values: &[Block], shapes: &BTreeMap<String, &[usize]>) -> Weights {
        let mut weights = Weights::new();
        let mut put = |name: &str, fill: &dyn Fn(&mut [f32])| {
            if let Some(&shape) = shapes.get(name) {
                let mut tensor = Tensor::zeros(shape);
                fill(tensor.data_mut());
                weights.insert(name, tensor);
            }
        };
        for PackedParam { content, range } in &self.list {
            let Some(blocks) = values.get(range.clone()) else { continue };
            match content {
                Content::Matrix { name, packing, .. } => {
                    put(name, &|out| packing.unpack(blocks, out))
                }
                Content::Vector { name } | Content::Plain { name } => {
                    put(name, &|out| out.copy_from_slice(&Block::flat(blocks)[..out.len()]));
                }
                Content::Statistics { name } => {
                    for (i, role) in ["running_mean", "running_var"].into_iter().enumerate() {
                        put(&format!("{name}.{role}"), &|out| {
                            for (k, out) in out.chunks_mut(LANES).enumerate() {
                                out.copy_from_slice(&blocks[2 * k + i].0[..out.len()]);
                            }
                        });
                    }
                }
                Content::FoldedBias { .. } | Content::Identity => {}
            }
        }
        weights
    }

    /// Writes named tensors into `values`, laid out like the first part of this.
    pub(crate) fn pack_into(&self, threads: &Threads, weights: &Weights, values: &mut [Block]) {
        for PackedParam { content, range } in &self.list {
            let Some(blocks) = values.get_mut(range.clone()) else { continue };
            match content {
                Content::Matrix { name, packing, .. } => {
                    packing.pack(threads, tensor(weights, name), None, blocks)
                }
                Content::Vector { name } => write_vector(tensor(weights, name), blocks),
                Content::Plain { .. }
                | Content::Statistics { .. }
                | Content::FoldedBias { .. }
                | Content::Identity => {}
            }
        }
    }
}
