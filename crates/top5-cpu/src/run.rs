//! The loop over the steps of a plan.

use crate::bank::{ParamMemory, Params, SlotId};
use crate::buckets::Gradients;
use crate::choose::Machinery;
use crate::geometry::plain_image;
use crate::loss::{self, Target};
use crate::lower::{Mode, Program};
use crate::plan::Plan;
use crate::statistics::{Measured, merge_moments, merge_sums, synchronising};
use crate::step::{BufferId, Nest, Normalisation, Preparation, What};
use std::ops::Range;
use top5_graph::ops::{Activation, Dropout};
use top5_graph::random::Stream;
use top5_graph::{EngineError, Reducer, Stop, Targets};
use top5_kernels::bias_gradient::sum_pixels;
use top5_kernels::conv::{Epilogue, Input, Output, Strides, Transposed};
use top5_kernels::convert::{narrow, widen};
use top5_kernels::elementwise::{self, Operand, map, pointwise};
use top5_kernels::norm::{self, Normal};
use top5_kernels::{
    Arena, Block, BlockBf16, Isa, LANES, Layout, Pixel, Precision, Threads, channels, lrn, pool,
};

/// A plan with its memory.
#[derive(Debug)]
pub(crate) struct Machine {
    isa: Isa,
    pub(crate) program: Program,
    plan: Plan,
    arena: Arena,
}

/// What one run depends on beside the parameters.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) threads: &'a Threads,
    /// Number of images.
    pub(crate) n: usize,
    /// `[n, c, h, w]`
    pub(crate) images: &'a [f32],
    /// What they should be; no classes for inference.
    pub(crate) targets: Targets<'a>,
    pub(crate) smoothing: f32,
    /// Factor of the gradients.
    pub(crate) scale: f32,
    /// Of the dropout masks.
    pub(crate) seed: u64,
    /// Ends it early.
    pub(crate) stop: Option<&'a Stop>,
}

impl<'a> Run<'a> {
    /// Inference.
    pub(crate) fn inference(threads: &'a Threads, n: usize, images: &'a [f32]) -> Self {
        let targets = Targets::Classes(&[]);
        Self { threads, n, images, targets, smoothing: 0.0, scale: 1.0, seed: 0, stop: None }
    }
}

/// What a run reads and writes beside its activations.
pub(crate) struct Outside<'a, 'r> {
    pub(crate) params: ParamMemory<'a>,
    /// `None` for inference.
    pub(crate) gradients: Option<&'a mut Gradients>,
    /// Sums over processes, if there are any.
    pub(crate) reducer: Option<&'r mut dyn Reducer>,
    /// The statistics of the batch, which the running ones are to follow when the step is done.
    pub(crate) measured: Vec<Measured>,
    /// Called with the number of each step before it, and with their number at the end.
    pub(crate) before: &'a mut dyn FnMut(usize),
}

/// Bytes that a plan needs: arena, and parameters.
pub(crate) fn memory(program: &Program, plan: &Plan, mode: Mode) -> [u64; 2] {
    let bytes = |blocks: usize| blocks as u64 * size_of::<Block>() as u64;
    // Gradients beside the learned parameters, and one tensor of the optimiser's.
    let learned = match mode {
        Mode::Inference => 0,
        Mode::Training => 2 * bytes(program.learned),
    };
    [bytes(plan.len), bytes(program.bank.len) + learned]
}

impl Machine {
    pub(crate) fn new(machinery: &Machinery, program: Program, plan: Plan) -> Self {
        Self { isa: machinery.isa, arena: Arena::new(plan.len), program, plan }
    }

    /// The value in a buffer after a run with `n` images.
    pub(crate) fn value(&self, id: BufferId, n: usize) -> Operand<'_> {
        let range = self.plan.range(&self.program, id, n);
        (&self.arena[range], &self.program.buffers[id.0].layout)
    }

    /// Runs all steps; returns the loss.
    pub(crate) fn run(
        &mut self,
        run: &Run<'_>,
        outside: &mut Outside<'_, '_>,
    ) -> Result<f64, EngineError> {
        let steps = self.program.steps.len();
        let mut loss = 0.0;
        for at in 0..steps {
            if run.stop.is_some_and(Stop::is_set) {
                return Err(EngineError::Stopped);
            }
            (outside.before)(at);
            loss += self.step(run, outside, at)?;
            if let Some(gradients) = &mut outside.gradients {
                gradients.after((self.isa, run.threads), at, &mut outside.reducer)?;
            }
        }
        (outside.before)(steps);
        Ok(loss)
    }

    /// Runs one step; returns its share of the loss.
    fn step(
        &mut self,
        run: &Run<'_>,
        outside: &mut Outside<'_, '_>,
        at: usize,
    ) -> Result<f64, EngineError> {
        let Self { isa, program, plan, arena } = self;
        let Outside { params, gradients, reducer, measured, .. } = outside;
        let bank = &Params { plan: &program.bank, memory: *params };
        let isa = *isa;
        let (step, Run { threads, n, .. }) = (&program.steps[at], *run);
        let r = |i: usize| plan.range(program, step.reads[i], n);
        let w = |i: usize| plan.range(program, step.writes[i], n);
        let rl = |i: usize| &program.buffers[step.reads[i].0].layout;
        let wl = |i: usize| &program.buffers[step.writes[i].0].layout;
        let accumulate = !step.fresh;
        // The result is in f32.
        let wide = step.writes.first().is_none_or(|id| !program.buffers[id.0].bf16);
        if step.fresh && !step.writes.is_empty() {
            prepare(threads, n, &step.what, arena, w(0), wl(0), wide);
        }
        /// A kernel that reads activations and writes one.
        macro_rules! call {
            (|[$($x:ident: $i:literal),*], $y:ident| $body:expr) => {{
                let ([y], [$($x),*]) = arena.lend([w(0)], [$(r($i)),*]);
                $(let $x = ($x, rl($i));)*
                let $y = (y, wl(0));
                $body
            }};
        }
        /// The same for a kernel that takes either precision, all operands in that of the result.
        macro_rules! either {
            (|[$($x:ident: $i:literal),*], $y:ident| $body:expr) => {{
                let ([y], [$($x),*]) = arena.lend([w(0)], [$(r($i)),*]);
                if wide {
                    $(let $x = ($x, rl($i));)*
                    let $y = (y, wl(0));
                    $body
                } else {
                    $(let $x = (BlockBf16::of($x), rl($i));)*
                    let $y = (BlockBf16::of_mut(y), wl(0));
                    $body
                }
            }};
        }
        match &step.what {
            What::Pack => {
                let layout = wl(0);
                let ([x], []) = arena.lend([w(0)], []);
                channels::pack(threads, n, run.images, x, layout);
            }
            What::PadPlanes => {
                let ([x], []) = arena.lend([w(0)], []);
                pad_planes(run, x, wl(0));
            }
            What::Narrow => {
                call!(|[x: 0], y| narrow(isa, threads, x.0, BlockBf16::of_mut(y.0)));
            }
            What::Widen => call!(|[x: 0], y| {
                widen(isa, threads, &BlockBf16::of(x.0)[..y.0.len()], y.0);
            }),
            What::Conv { kernel, weight, bias, relu } => {
                let sums = step.reads.len() > 1;
                let sum = if sums { r(1) } else { 0..0 };
                let ([y, work], [x, sum]) = arena.lend([w(0), w(1)], [r(0), sum]);
                let at = || strides_of(rl(1), kernel.problem().geom().batch_is_row);
                let weights = bank.slot(*weight);
                let (bias, relu) = (bias.map(|id| bank.slot(id)), *relu);
                macro_rules! epilogue {
                    ($p:ty) => {{
                        let add = sums.then(|| (<$p>::of(sum), at()));
                        Epilogue { bias, add, relu, accumulate: false }
                    }};
                }
                let x = input(x, program.buffers[step.reads[0].0].bf16);
                let y = if wide {
                    Output::F32(y, epilogue!(Block))
                } else {
                    Output::Bf16(BlockBf16::of_mut(y), epilogue!(BlockBf16))
                };
                kernel.run(threads, n, x, weights, work, y);
            }
            What::MaxPool(geom) => either!(|[x: 0], y| pool::max(isa, threads, n, geom, x, y)),
            What::Average(geom, divisor) => {
                either!(|[x: 0], y| pool::average(isa, threads, n, geom, *divisor, x, y));
            }
            What::BatchStatistics { running, momentum } => {
                let ([statistics, work], [x]) = arena.lend([w(0), w(1)], [r(0)]);
                let layout = rl(0);
                norm::statistics(isa, threads, n, (x, layout), work, statistics);
                let count = n * layout.height * layout.width;
                let mut count = count as f64;
                if let Some(reducer) = synchronising(reducer) {
                    count = merge_moments(*reducer, step.node, layout, statistics, count)?;
                }
                let statistics = statistics[..2 * layout.blocks()].to_vec();
                let (running, momentum) = (*running, *momentum);
                measured.push(Measured { running, momentum, statistics, count });
            }
            What::Normalise(normal) => {
                // Statistics in a slot are not among what is read.
                let first = usize::from(normal.statistics.is_none());
                let statistics = if first == 1 { r(1) } else { 0..0 };
                let sum = if normal.sum { r(1 + first) } else { 0..0 };
                let ([y], [x, statistics, sum]) = arena.lend([w(0)], [r(0), statistics, sum]);
                let sum = normal.sum.then(|| (sum, rl(1 + first)));
                let normal = normal_of(bank, normal, statistics);
                norm::normalise(isa, threads, n, &normal, (x, rl(0)), sum, (y, wl(0)));
            }
            What::Lrn(geom) => call!(|[x: 0], y| lrn::forward(isa, threads, n, geom, x, y)),
            What::Relu => {
                either!(|[x: 0], y| pointwise(isa, threads, n, elementwise::Relu, [x], y))
            }
            What::Sigmoid => {
                let sigmoid = |x: f32| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32;
                call!(|[x: 0], y| map(threads, n, sigmoid, x, y));
            }
            What::ScaledTanh => {
                let [amplitude, slope] =
                    [Activation::TANH_AMPLITUDE, Activation::TANH_SLOPE].map(f64::from);
                let tanh = |x: f32| (amplitude * (slope * f64::from(x)).tanh()) as f32;
                call!(|[x: 0], y| map(threads, n, tanh, x, y));
            }
            &What::Dropout { p } | &What::DropoutGradient { p } => {
                let stream = Stream::new(run.seed, step.node.index() as u64);
                let op = &Dropout { p };
                call!(|[x: 0], y| loss::dropout(threads, n, (op, stream), x, y, accumulate));
            }
            What::Add { relu: false } => {
                either!(|[a: 0, b: 1], y| pointwise(isa, threads, n, elementwise::Add, [a, b], y));
            }
            What::Add { relu: true } => {
                either!(|[a: 0, b: 1], y| pointwise(isa, threads, n, elementwise::AddRelu, [a, b], y));
            }
            &What::Times(factor) => either!(|[x: 0], y| {
                match (factor == 1.0, accumulate) {
                    (true, false) => pointwise(isa, threads, n, elementwise::Copy1, [x], y),
                    (true, true) => pointwise(isa, threads, n, elementwise::Accumulate, [x], y),
                    (false, false) => {
                        pointwise(isa, threads, n, elementwise::Times(factor), [x], y);
                    }
                    (false, true) => {
                        let op = elementwise::AccumulateTimes(factor);
                        pointwise(isa, threads, n, op, [x], y);
                    }
                }
            }),
            &What::Scale { relu } => {
                let sum = if step.reads.len() > 2 { r(2) } else { 0..0 };
                let ([y], [x, factors, add]) = arena.lend([w(0)], [r(0), r(1), sum]);
                macro_rules! scale {
                    ($p:ty) => {{
                        let add = (step.reads.len() > 2).then(|| (<$p>::of(add), rl(2)));
                        let epilogue = channels::ScaleEpilogue { add, accumulate, relu };
                        let (x, y) = ((<$p>::of(x), rl(0)), (<$p>::of_mut(y), wl(0)));
                        channels::scale(isa, threads, n, x, factors, &epilogue, y);
                    }};
                }
                if wide { scale!(Block) } else { scale!(BlockBf16) }
            }
            &What::CopyChannels { from, to, count, .. } => {
                either!(|[x: 0], y| channels::copy(threads, n, x, from, y, to, count, accumulate));
            }
            &What::PlaceChannels { to, count } => {
                either!(|[x: 0], y| channels::copy(threads, n, x, 0, y, to, count, false));
            }
            &What::Subsample(stride) => {
                either!(|[x: 0], y| channels::subsample(threads, n, stride, x, y));
            }
            What::Flatten => either!(|[x: 0], y| channels::flatten(threads, n, x, y.0)),
            What::Softmax => call!(|[x: 0], y| loss::softmax(n, x.1.channels, x.0, y.0)),
            What::EuclideanRbf { codes } => call!(|[x: 0], y| {
                let sizes = [x.1.channels, y.1.channels];
                loss::euclidean_rbf(n, sizes, Block::flat(bank.slot(*codes)), x.0, y.0);
            }),
            &What::Loss { weight } => {
                let Run { targets, smoothing, scale, .. } = *run;
                let target = Target { targets, smoothing, weight, scale };
                return Ok(call!(|[x: 0], y| {
                    loss::cross_entropy(n, target, x.1.channels, x.0, y.0, accumulate)
                }));
            }
            What::ConvInput { nests, forward, weight, .. } => {
                let writes = [w(0), w(1), w(2)];
                let rounded = if step.reads.len() > 1 { r(1) } else { 0..0 };
                let ([dx, work, packed], [dy, rounded]) = arena.lend(writes, [r(0), rounded]);
                let weights = bank.slot(*weight);
                for Nest { kernel, elements } in nests {
                    let weights = Transposed { forward, weights, elements };
                    let bf16 = kernel.reads() == Precision::Bf16;
                    let dy = input(if bf16 { rounded } else { dy }, bf16);
                    kernel.run(threads, n, dy, &weights, accumulate, work, packed, dx);
                }
            }
            What::ConvWeights { kernel, weight, mask } => {
                let dw = slot_gradient(gradients, bank, *weight);
                call!(|[x: 0, dy: 1], work| {
                    kernel.run(threads, n, x.0, dy.0, work.0, dw);
                });
                for (dw, mask) in dw.iter_mut().zip(mask.iter().flatten()) {
                    dw.0.iter_mut().zip(mask.0).for_each(|(dw, mask)| *dw *= mask);
                }
            }
            What::ConvBias { bias } => {
                let db = slot_gradient(gradients, bank, *bias);
                call!(|[dy: 0], work| {
                    sum_pixels(isa, threads, n, dy.1, dy.0, work.0, db);
                });
            }
            What::MaskPositive => call!(|[out: 0], y| {
                pointwise(isa, threads, n, elementwise::MaskPositive, [out], y);
            }),
            What::ReluGradient => call!(|[y: 0, dy: 1], dx| {
                pointwise(isa, threads, n, elementwise::ReluGradient, [y, dy], dx);
            }),
            What::SigmoidGradient => call!(|[y: 0, dy: 1], dx| {
                pointwise(isa, threads, n, elementwise::SigmoidGradient, [y, dy], dx);
            }),
            What::ScaledTanhGradient => call!(|[y: 0, dy: 1], dx| {
                let (amplitude, slope) = (Activation::TANH_AMPLITUDE, Activation::TANH_SLOPE);
                let op = elementwise::TanhGradient { amplitude, slope };
                pointwise(isa, threads, n, op, [y, dy], dx);
            }),
            What::MaxPoolGradient { geom, relu } => call!(|[x: 0, y: 1, dy: 2], dx| {
                pool::max_gradient(isa, threads, n, geom, x, y, dy, dx, *relu, accumulate);
            }),
            What::AverageGradient(geom, divisor) => call!(|[dy: 0], dx| {
                pool::average_gradient(isa, threads, n, geom, *divisor, dy, dx);
            }),
            What::NormaliseGradient(normal) => {
                let first = usize::from(normal.statistics.is_none());
                let statistics = if first == 1 { r(1) } else { 0..0 };
                let masks = normal.sum && normal.relu;
                let output = if masks { r(1 + first) } else { 0..0 };
                let in_place = step.writes.len() == 3;
                let dy = if in_place { 0..0 } else { w(3) };
                let ([result, sums, work, dy], [x, statistics, y]) =
                    arena.lend([w(0), w(1), w(2), dy], [r(0), statistics, output]);
                let y = masks.then(|| (y, rl(1 + first)));
                let (dy, dx) = if in_place {
                    ((result, wl(0)), None)
                } else {
                    ((dy, wl(3)), Some((result, wl(0))))
                };
                let constants = normal_of(bank, normal, statistics);
                let x = (x, rl(0));
                let (dy, layout) = dy;
                let at = (&mut *dy, layout);
                norm::gradient_sums(isa, threads, n, &constants, x, y, at, work, sums);
                for (slot, first) in [(normal.bias, 0), (normal.weight, 1)] {
                    let out = slot_gradient(gradients, bank, slot).iter_mut();
                    let sums = sums.iter().skip(first).step_by(2);
                    out.zip(sums).for_each(|(out, sum)| *out = *sum);
                }
                let mut count = (n * layout.height * layout.width) as f64;
                if let (true, Some(reducer)) = (constants.of_batch, synchronising(reducer)) {
                    count = merge_sums(*reducer, step.node, layout, sums, count)?;
                }
                let (sums, masked) = (&*sums, y.is_some());
                let at = (dy, layout);
                norm::input_gradient(
                    isa, threads, n, &constants, x, masked, at, sums, count, dx, accumulate,
                );
            }
            What::LrnGradient(geom) => call!(|[x: 0, dy: 1], dx| {
                lrn::gradient(isa, threads, n, geom, x, dy, dx);
            }),
            What::ScaleFactorGradient => call!(|[x: 0, dy: 1], df| {
                channels::scale_factor_gradient(isa, threads, n, x, dy, df.0, accumulate);
            }),
            &What::SubsampleGradient(stride) => call!(|[dy: 0], dx| {
                channels::subsample_gradient(threads, n, stride, dy, dx, accumulate);
            }),
            What::Unflatten => {
                call!(|[dy: 0], dx| channels::unflatten(threads, n, dy.0, dx, accumulate));
            }
            What::SoftmaxGradient => call!(|[y: 0, dy: 1], dx| {
                loss::softmax_gradient(n, y.1.channels, y.0, dy.0, dx.0);
            }),
            What::EuclideanRbfGradient { codes } => call!(|[x: 0, dy: 1], dx| {
                let sizes = [x.1.channels, dy.1.channels];
                let codes = Block::flat(bank.slot(*codes));
                loss::euclidean_rbf_gradient(n, sizes, codes, x.0, dy.0, dx.0);
            }),
        }
        Ok(0.0)
    }
}

/// Readies the memory of a result that nothing has been written to: zeros where the kernel only adds or leaves gaps,
/// and in the halo.
fn prepare(
    threads: &Threads,
    n: usize,
    what: &What,
    arena: &mut Arena,
    result: Range<usize>,
    layout: &Layout,
    wide: bool,
) {
    let ([result], []) = arena.lend([result], []);
    let preparation = what.preparation();
    if preparation == Preparation::Zero {
        threads.chunks(result, 1 << 12, |_, piece| piece.fill(Block::ZERO));
    } else if preparation == Preparation::Halo && !layout.is_dense() {
        // In jobs of several planes.
        let per_job = (1 << 12) / layout.plane().max(1) + 1;
        if wide {
            threads.planes((result, layout), n, per_job, |_, plane| layout.clear_halo(plane));
        } else {
            let result = BlockBf16::of_mut(result);
            threads.planes((result, layout), n, per_job, |_, plane| layout.clear_halo(plane));
        }
    }
}

/// The images to plain planes, each at its place in the halo.
fn pad_planes(run: &Run<'_>, x: &mut [Block], layout: &Layout) {
    let Layout { channels, height, width, halo, .. } = *layout;
    let image = channels * height * width;
    let padded = [height + 2 * halo[0], width + 2 * halo[1]];
    let planes = [channels, height, width];
    let blocks = plain_image(layout) / LANES;
    run.threads.chunks(&mut x[..run.n * blocks], blocks, |i, x| {
        let images = &run.images[i * image..][..image];
        channels::pad_planes(images, planes, Block::flat_mut(x), padded, halo);
    });
}

/// Memory of an activation in bf16, or else in f32.
fn input(x: &[Block], bf16: bool) -> Input<'_> {
    if bf16 { Input::Bf16(BlockBf16::of(x)) } else { Input::F32(x) }
}

/// The place of the pixels of a summand.
fn strides_of(layout: &Layout, batch_is_row: bool) -> Strides {
    Strides {
        offset: layout.start(0),
        image: layout.image(),
        block: layout.plane(),
        row: layout.row(),
        pixel: if batch_is_row { layout.image() } else { 1 },
    }
}

/// The values of a normalisation, its statistics in the bank or in `of_batch`.
fn normal_of<'a>(bank: &Params<'a>, normal: &Normalisation, of_batch: &'a [Block]) -> Normal<'a> {
    Normal {
        statistics: normal.statistics.map_or(of_batch, |id| bank.slot(id)),
        weight: bank.slot(normal.weight),
        bias: bank.slot(normal.bias),
        eps: normal.eps,
        of_batch: normal.statistics.is_none(),
        relu: normal.relu,
    }
}

/// The memory of a slot's gradient.
fn slot_gradient<'a>(
    gradients: &'a mut Option<&mut Gradients>,
    bank: &Params<'_>,
    slot: SlotId,
) -> &'a mut [Block] {
    let gradients =
        gradients.as_mut().expect("a plan with gradients of parameters has their memory");
    gradients.slot(bank.plan, slot)
}
