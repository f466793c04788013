//! The loop nests of a convolution: forward, and backward to its input.

use crate::tuning::LayerShape;
use top5_graph::{Convolution, Graph, Kernels, Node, NodeId, Shape, Window};
use top5_kernels::conv::{ConvGeom, ConvNest, Group, Strides};
use top5_kernels::{LANES, Layout};

/// A convolution's shapes. A fully connected layer is a 1×1 convolution on one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) window: Window,
    pub(crate) groups: usize,
    /// The pixels of a row are the images of the batch.
    pub(crate) fully_connected: bool,
}

/// How the input of a convolution is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In channel blocks.
    Blocked(Layout),
    /// In plain planes with a halo: the network's input.
    Plain(Layout),
}

/// The layout of an activation of this shape, without a halo.
pub(crate) fn layout_of(shape: Shape) -> Layout {
    let [h, w] = shape.size();
    Layout::new(shape.channels(), h, w)
}

/// The convolution that an op is, if it is one by a weight that is packed.
pub(crate) fn conv_shape(graph: &Graph, node: &Node) -> Option<ConvShape> {
    let &Convolution { window, groups, ref kernels } = node.spec.convolution.as_ref()?;
    if *kernels == Kernels::Repeated {
        return None;
    }
    let fully_connected = matches!(node.shape(), Shape::Flat(_));
    let size = |id: NodeId| {
        let layout = layout_of(graph.node(id).shape());
        [layout.channels, layout.height, layout.width]
    };
    let (input, output) = (size(node.inputs[0]), size(node.id));
    Some(ConvShape { input, output, window, groups, fully_connected })
}

fn geom_of(nest: ConvNest) -> ConvGeom {
    ConvGeom::new(nest).expect("the tensors of a graph are far smaller than an address space")
}

impl LayerShape {
    /// What a choice depends on of a loop nest.
    pub(crate) fn new(geom: &ConvGeom, batch: usize) -> Self {
        Self {
            batch,
            inputs: geom.depth,
            outputs: geom.out_channels,
            rows: geom.rows,
            cols: geom.cols,
            taps: geom.taps.len(),
            // The distance of images depends on the halo, which others may need.
            step: if geom.batch_is_row { LANES } else { geom.x.pixel },
            blocks: geom.blocks,
            group: geom.group.map_or(LANES, |group| group.inputs),
        }
    }
}

/// Floats of one image in plain planes.
pub(crate) fn plain_image(layout: &Layout) -> usize {
    // Whole blocks, so that images start at block boundaries.
    (layout.channels * layout.plane()).next_multiple_of(LANES)
}

impl ConvShape {
    /// The halo that the input needs: what the windows reach beyond it.
    pub(crate) fn input_halo(&self) -> [usize; 2] {
        let (window, [_, h, w], [_, p, q]) = (&self.window, self.input, self.output);
        let span = window.span();
        let reach = |axis: usize, size: usize, outputs: usize| {
            let last = (outputs - 1) * window.stride[axis] + span[axis];
            window.pad[axis].max(last.saturating_sub(window.pad[axis] + size))
        };
        [reach(0, h, p), reach(1, w, q)]
    }

    /// For each block of outputs, the first block of inputs of its groups, and the largest number of blocks.
    fn block_ranges(outputs: usize, inputs: usize, groups: usize) -> (Vec<usize>, usize) {
        let (out_group, in_group) = (outputs / groups, inputs / groups);
        let range = |k: usize| {
            let last = ((k + 1) * LANES).min(outputs) - 1;
            let channels = k * LANES / out_group * in_group..(last / out_group + 1) * in_group;
            channels.start / LANES..channels.end.div_ceil(LANES)
        };
        let ranges: Vec<_> = (0..outputs.div_ceil(LANES)).map(range).collect();
        let blocks = ranges.iter().map(ExactSizeIterator::len).max().unwrap_or(1);
        (ranges.into_iter().map(|range| range.start).collect(), blocks)
    }

    /// The channels of a group, if there are several.
    fn group(&self, inputs: usize, outputs: usize) -> Option<Group> {
        let group = Group { inputs: inputs / self.groups, outputs: outputs / self.groups };
        (self.groups > 1).then_some(group)
    }

    /// The forward loop nest from `source` to `y`.
    pub(crate) fn forward(&self, source: &Source, y: &Layout) -> ConvGeom {
        let ([_, p, q], window) = (self.output, &self.window);
        let [r, s] = window.kernel;
        let target = Strides {
            offset: y.start(0),
            image: y.image(),
            block: y.plane(),
            row: y.row(),
            pixel: if self.fully_connected { y.image() } else { 1 },
        };
        let (layout, unit) = match source {
            Source::Blocked(layout) => (layout, LANES),
            Source::Plain(layout) => (layout, 1),
        };
        let pixel = |[row, col]: [usize; 2]| (row * layout.row() + col) * unit;
        let (image, (first, blocks), lanes, depth, group, taps) = match source {
            Source::Blocked(layout) => (
                layout.image() * LANES,
                Self::block_ranges(self.output[0], self.input[0], self.groups),
                LANES,
                layout.channels,
                self.group(self.input[0], self.output[0]),
                (0..r * s)
                    .map(|t| pixel([t / s * window.dilation[0], t % s * window.dilation[1]]))
                    .collect(),
            ),
            Source::Plain(layout) => (
                plain_image(layout),
                (vec![0; self.output[0].div_ceil(LANES)], layout.channels),
                s,
                layout.channels * s,
                None,
                (0..r).map(|t| pixel([t * window.dilation[0], 0])).collect(),
            ),
        };
        let corner = [layout.halo[0] - window.pad[0], layout.halo[1] - window.pad[1]];
        let x = Strides {
            offset: pixel(corner),
            image,
            block: layout.plane() * unit,
            row: pixel([window.stride[0], 0]),
            pixel: if self.fully_connected { image } else { pixel([0, window.stride[1]]) },
        };
        geom_of(ConvNest {
            rows: p,
            cols: q,
            batch_is_row: self.fully_connected,
            out_channels: self.output[0],
            first,
            blocks,
            lanes,
            depth,
            group,
            taps,
            x,
            y: target,
        })
    }

    /// Along `axis`, for input positions `i ≡ residue`: the first of them, their number, and for each kernel element
    /// that reaches them its index and the output position it comes from at the first (then one more per step).
    fn phase(&self, axis: usize, residue: usize) -> Phase {
        let (window, size) = (&self.window, self.input[1 + axis]);
        let (stride, pad) = (window.stride[axis], window.pad[axis]);
        let start = (residue + stride - pad % stride) % stride;
        let count = size.saturating_sub(start).div_ceil(stride);
        let taps = (0..window.kernel[axis])
            .filter(|r| (r * window.dilation[axis]) % stride == (start + pad) % stride)
            .map(|r| {
                let reach = (start + pad) as isize - (r * window.dilation[axis]) as isize;
                (r, reach / stride as isize)
            })
            .collect();
        Phase { start, count, taps }
    }

    fn phases(&self) -> impl Iterator<Item = [Phase; 2]> {
        let [down, across] = self.window.stride;
        (0..down * across).map(move |i| [self.phase(0, i / across), self.phase(1, i % across)])
    }

    /// The halo that the output's gradient needs, so that [`ConvShape::backward`] reads zeros beyond it.
    pub(crate) fn gradient_halo(&self) -> [usize; 2] {
        let mut halo = [0, 0];
        for phase in self.phases() {
            for axis in 0..2 {
                let Phase { count, taps, .. } = &phase[axis];
                for (_, q) in taps.iter().filter(|_| *count > 0) {
                    let beyond = *count as isize - 1 + q - (self.output[1 + axis] as isize - 1);
                    halo[axis] = halo[axis].max((-q).max(beyond).max(0) as usize);
                }
            }
        }
        halo
    }

    /// The loop nests that compute the gradient of the input, each for the positions of one residue of the stride,
    /// with the kernel elements of their taps. Residues that no kernel element reaches have none: their gradient is 0.
    pub(crate) fn backward(&self, dy: &Layout, dx: &Layout) -> Vec<(ConvGeom, Vec<usize>)> {
        let (first, blocks) = Self::block_ranges(self.input[0], self.output[0], self.groups);
        let mut nests = Vec::new();
        for [down, across] in self.phases() {
            let elements = down.taps.len() * across.taps.len();
            if elements == 0 || down.count * across.count == 0 {
                continue;
            }
            let lowest = |phase: &Phase| phase.taps.iter().map(|&(_, q)| q).min().unwrap_or(0);
            let corner = [lowest(&down), lowest(&across)];
            let at = |q: isize, axis: usize| (q + dy.halo[axis] as isize) as usize;
            let mut taps = Vec::with_capacity(elements);
            let mut kernel = Vec::with_capacity(elements);
            for &(r, row) in &down.taps {
                for &(s, col) in &across.taps {
                    let [row, col] = [row - corner[0], col - corner[1]].map(|d| d as usize);
                    taps.push((row * dy.row() + col) * LANES);
                    kernel.push(r * self.window.kernel[1] + s);
                }
            }
            let [stride_down, stride_across] = self.window.stride;
            let image = dy.image() * LANES;
            let geom = geom_of(ConvNest {
                rows: down.count,
                cols: across.count,
                batch_is_row: self.fully_connected,
                out_channels: self.input[0],
                first: first.clone(),
                blocks,
                lanes: LANES,
                depth: self.output[0],
                group: self.group(self.output[0], self.input[0]),
                taps,
                x: Strides {
                    offset: (at(corner[0], 0) * dy.row() + at(corner[1], 1)) * LANES,
                    image,
                    block: dy.plane() * LANES,
                    row: dy.row() * LANES,
                    pixel: if self.fully_connected { image } else { LANES },
                },
                y: Strides {
                    offset: dx.start(down.start) + across.start,
                    image: dx.image(),
                    block: dx.plane(),
                    row: stride_down * dx.row(),
                    pixel: if self.fully_connected { dx.image() } else { stride_across },
                },
            });
            nests.push((geom, kernel));
        }
        nests
    }

    /// All of [`ConvShape::backward`] in one loop nest, where inputs have a few channels and outputs a stride.
    pub(crate) fn merged(&self) -> Option<Merged> {
        let ([channels, h, w], [_, p, q]) = (self.input, self.output);
        let Window { stride, pad, dilation, kernel, .. } = self.window;
        let few = channels <= LANES / 2 && self.groups == 1 && !self.fully_connected;
        if !few || stride == [1, 1] {
            return None;
        }
        // Along an axis: of each kernel element the residue and the first output position that it comes from.
        let of_axis = |axis: usize| -> Vec<(usize, isize)> {
            let reach = |r: usize| (r * dilation[axis]) as isize - pad[axis] as isize;
            let by = stride[axis] as isize;
            let place = |r| (reach(r).rem_euclid(by) as usize, -reach(r).div_euclid(by));
            (0..kernel[axis]).map(place).collect()
        };
        let (down, across) = (of_axis(0), of_axis(1));
        let range = |axis: &[(usize, isize)]| {
            let outputs = axis.iter().map(|&(_, output)| output);
            outputs.fold((isize::MAX, isize::MIN), |(a, b), q| (a.min(q), b.max(q)))
        };
        let ranges = [range(&down), range(&across)];
        let size = [h.div_ceil(stride[0]), w.div_ceil(stride[1])];
        let beyond = |axis: usize, outputs: usize| {
            let (low, high) = ranges[axis];
            (-low).max(size[axis] as isize + high - outputs as isize).max(0) as usize
        };
        let [rows, cols] = ranges.map(|(low, high)| (high - low + 1) as usize);
        let place = |&(r, row): &(usize, isize), &(s, col): &(usize, isize)| {
            let tap = (row - ranges[0].0) as usize * cols + (col - ranges[1].0) as usize;
            Some([r * stride[1] + s, tap])
        };
        let places = down.iter().flat_map(|r| across.iter().map(move |s| place(r, s))).collect();
        let layout = Layout::new(channels * stride[0] * stride[1], size[0], size[1]);
        let corner = ranges.map(|(low, _)| low);
        Some(Merged {
            halo: [beyond(0, p), beyond(1, q)],
            layout,
            corner,
            taps: [rows, cols],
            places,
        })
    }

    /// The loop nest of [`ConvShape::merged`].
    pub(crate) fn merged_nest(&self, merged: &Merged, dy: &Layout) -> ConvGeom {
        let Merged { layout, corner, taps: [rows, cols], .. } = merged;
        let at = |axis: usize| (corner[axis] + dy.halo[axis] as isize) as usize;
        let tap = |i: usize| (i / cols * dy.row() + i % cols) * LANES;
        geom_of(ConvNest {
            rows: layout.height,
            cols: layout.width,
            batch_is_row: false,
            out_channels: layout.channels,
            first: vec![0; layout.blocks()],
            blocks: self.output[0].div_ceil(LANES),
            lanes: LANES,
            depth: self.output[0],
            group: None,
            taps: (0..rows * cols).map(tap).collect(),
            x: Strides {
                offset: (at(0) * dy.row() + at(1)) * LANES,
                image: dy.image() * LANES,
                block: dy.plane() * LANES,
                row: dy.row() * LANES,
                pixel: LANES,
            },
            y: Strides {
                offset: layout.start(0),
                image: layout.image(),
                block: layout.plane(),
                row: layout.row(),
                pixel: 1,
            },
        })
    }

    /// Whether [`ConvShape::backward`] writes every position of the input.
    pub(crate) fn covers_input(&self) -> bool {
        let reached = |phase: &Phase| phase.count == 0 || !phase.taps.is_empty();
        self.phases().all(|[down, across]| {
            down.count * across.count == 0 || (reached(&down) && reached(&across))
        })
    }
}

/// A loop nest that computes the gradient of the input for all residues of the stride at once, each in channels of its own:
/// vectors that few channels would leave mostly empty are full.
pub(crate) struct Merged {
    /// The halo that the output's gradient needs.
    pub(crate) halo: [usize; 2],
    /// Of the result: for each residue, in row-major order, the input's channels at its positions.
    pub(crate) layout: Layout,
    /// The first output position of the first tap.
    corner: [isize; 2],
    /// Rows and columns of taps.
    taps: [usize; 2],
    /// For each kernel element its residue and tap.
    pub(crate) places: Vec<Option<[usize; 2]>>,
}

struct Phase {
    start: usize,
    count: usize,
    taps: Vec<(usize, isize)>,
}
