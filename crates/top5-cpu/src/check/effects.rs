//! What each step does to memory, in symbols: the contracts of the kernels.

use super::meaning::{Meaning, names};
use super::memory::{Form, Found, Memory, View, Zeros};
use super::terms::{Tensor, Terms};
use crate::buffer::{BufferId, Plan};
use crate::ir::{Program, Step};
use crate::packed::{Content, ParamId};
use crate::step::conv::{Conv, ConvBias, ConvInput, ConvSignal, ConvWeights};
use crate::step::loss::{EuclideanRbf, EuclideanRbfGradient, Loss, Softmax, SoftmaxGradient};
use crate::step::moves::{
    CopyChannels, Flatten, Narrow, Pack, PadPlanes, PlaceChannels, Seed, Subsample,
    SubsampleGradient, Unflatten, Widen,
};
use crate::step::norm::{BatchStatistics, Lrn, LrnGradient, Normalise, NormaliseGradient};
use crate::step::pointwise::{
    Add, Dropout, DropoutGradient, MaskPositive, Rectify, Relu, ReluGradient, Scale,
    ScaleFactorGradient, ScaledTanh, ScaledTanhGradient, Sigmoid, SigmoidGradient, Times,
};
use crate::step::pool::{
    AdaptiveAverage, AdaptiveAverageGradient, Average, AverageGradient, MaxPool, MaxPoolGradient,
};
use crate::step::{self, Kernel};
use std::collections::BTreeMap;
use std::ops::Range;
use top5_graph::ops::Activation;
use top5_graph::{Graph, NodeId, Op};
use top5_kernels::lrn::LrnGeom;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{LANES, Layout, Precision};

/// Whether a kernel computes this op, if it is of a kind that computes one op alone.
fn is_step_of(kernel: &Kernel, op: &Op) -> bool {
    let sigmoid = kernel.is::<Sigmoid>() || kernel.is::<SigmoidGradient>();
    let tanh = kernel.is::<ScaledTanh>() || kernel.is::<ScaledTanhGradient>();
    let softmax = kernel.is::<Softmax>() || kernel.is::<SoftmaxGradient>();
    let adaptive = kernel.is::<AdaptiveAverage>() || kernel.is::<AdaptiveAverageGradient>();
    (!sigmoid || matches!(op, Op::Activation(Activation::Sigmoid)))
        && (!tanh || matches!(op, Op::Activation(Activation::ScaledTanh)))
        && (!softmax || matches!(op, Op::Softmax(_)))
        && (!adaptive || matches!(op, Op::AdaptiveAvgPool2d(_)))
}

/// What follows from the kind that a kernel is of; for others, what is said first.
macro_rules! by_kind {
    ($kernel:expr, $other:ident => $none:expr; $($kind:ident($step:pat) => $body:block)*) => {{
        let $other = $kernel;
        $(if let Some($step) = $other.get::<$kind>() $body else)* { $none }
    }};
}

/// The machine that runs a plan with symbols for numbers.
pub(super) struct Interpreter<'a> {
    pub(super) program: &'a Program,
    pub(super) plan: &'a Plan,
    /// Number of images.
    pub(super) n: usize,
    pub(super) terms: &'a mut Terms,
    pub(super) memory: Memory,
    /// By parameter: the gradient that was written last.
    pub(super) gradients: BTreeMap<usize, Tensor>,
    /// By parameter: what the running statistics followed.
    pub(super) statistics: BTreeMap<usize, Tensor>,
    /// Node and weight of each loss.
    pub(super) losses: Vec<(usize, f32)>,
    /// By buffer: the channels that were copied there.
    pub(super) copies: BTreeMap<usize, Vec<Range<usize>>>,
    /// The step that is being run.
    pub(super) at: usize,
    pub(super) graph: &'a Graph,
    pub(super) meaning: &'a Meaning,
    /// Parameters have gradients.
    pub(super) trains: bool,
}

pub(super) type Done = Result<(), String>;

impl Interpreter<'_> {
    pub(super) fn step(&self) -> &Step {
        &self.program.steps[self.at]
    }

    /// The buffer of the result.
    pub(super) fn target(&self) -> BufferId {
        self.step().kernel.writes().next().expect("every step writes something")
    }

    pub(super) fn planes(&self, id: BufferId) -> View {
        View::planes(self.program, self.plan, id, self.n)
    }

    pub(super) fn opaque(&self, id: BufferId, form: Form) -> View {
        View::plain(self.program, self.plan, id, self.n, form)
    }

    pub(super) fn plain(&self, id: BufferId) -> View {
        self.opaque(id, Form::Plain { bf16: self.is_bf16(id) })
    }

    pub(super) fn layout(&self, id: BufferId) -> Layout {
        self.program.buffers[id.0].layout
    }

    pub(super) fn precision(&self, id: BufferId) -> Precision {
        if self.is_bf16(id) { Precision::Bf16 } else { Precision::F32 }
    }

    pub(super) fn is_bf16(&self, id: BufferId) -> bool {
        self.program.buffers[id.0].bf16
    }

    /// The activation that an operand holds.
    pub(super) fn x(&mut self, id: BufferId) -> Result<Tensor, String> {
        Ok(self.operand(id)?.value)
    }

    pub(super) fn operand(&mut self, id: BufferId) -> Result<Found, String> {
        let view = self.planes(id);
        let found = self.memory.read(self.terms, &view)?;
        if !self.terms.is_whole(found.value) {
            return Err(format!("{id:?} is not all written: {}", self.terms.show(found.value)));
        }
        let beyond = found.zeros.beyond;
        beyond.then_some(found).ok_or_else(|| format!("{id:?} has channels beyond its last"))
    }

    /// The same with the zeros that a convolution reads around it.
    pub(super) fn framed(&mut self, id: BufferId) -> Result<Tensor, String> {
        let found = self.operand(id)?;
        let around = found.zeros.around || self.layout(id).is_dense();
        around.then_some(found.value).ok_or_else(|| format!("{id:?} has no zeros around it"))
    }

    pub(super) fn batch(&mut self, id: BufferId) -> Result<Tensor, String> {
        let view = self.opaque(id, Form::Batch);
        Ok(self.memory.read(self.terms, &view)?.value)
    }

    /// Writes the whole of the result, or adds to it; scratch is spoiled.
    pub(super) fn result(&mut self, value: Tensor) -> Done {
        let fresh = self.step().fresh;
        self.result_to(self.target(), value, fresh)
    }

    fn result_to(&mut self, id: BufferId, value: Tensor, fresh: bool) -> Done {
        let view = self.planes(id);
        if self.terms.channels(value) != view.channels {
            return Err(format!("{} channels for {id:?}", self.terms.channels(value)));
        }
        let found = if fresh {
            let around = self.needs_zero() != step::Zeros::None;
            Found { value, zeros: Zeros { around, beyond: true } }
        } else {
            let Found { value: old, zeros } = self.operand(id)?;
            Found { value: self.terms.add(old, value), zeros }
        };
        self.memory.write(self.terms, &view, self.at, &found, |_| !fresh);
        Ok(())
    }

    pub(super) fn needs_zero(&self) -> step::Zeros {
        self.step().kernel.needs_zero()
    }

    /// Adds to the result, which was zeroed or written before.
    fn added(&mut self, value: Tensor) -> Done {
        if self.step().fresh && self.needs_zero() != step::Zeros::Everywhere {
            return Err("it adds to memory that is not zero".to_owned());
        }
        self.result(value)
    }

    /// What was in memory has another value now.
    pub(super) fn replace(&mut self, id: BufferId, value: Tensor) -> Done {
        let zeros = self.operand(id)?.zeros;
        let view = self.planes(id);
        self.memory.write(self.terms, &view, self.at, &Found { value, zeros }, |_| true);
        Ok(())
    }

    pub(super) fn spoil(&mut self, id: BufferId) {
        let view = self.opaque(id, Form::Batch);
        self.memory.spoil(&view, self.at);
    }

    /// Applies an opaque operation that makes the result's channels.
    pub(super) fn apply(&mut self, name: String, args: &[Tensor]) -> Tensor {
        let channels = self.layout(self.target()).channels;
        self.terms.apply(name, args, channels)
    }

    /// The same of one that says the size of the result.
    pub(super) fn sized(&mut self, name: &str, args: &[Tensor]) -> Tensor {
        let Layout { height, width, .. } = self.layout(self.target());
        self.apply(format!("{name} to {height}×{width}"), args)
    }

    /// Everything that the run loop itself relies on: operands that share no memory with what is written.
    fn check_apart(&self) -> Done {
        let step = self.step();
        let placed = |id: BufferId| (id, self.plan.range(&self.program.buffers, id, self.n));
        let writes: Vec<_> = step.kernel.writes().map(placed).collect();
        for (i, (id, range)) in writes.iter().enumerate() {
            if range.end > self.plan.len {
                return Err(format!("{id:?} ends beyond the arena"));
            }
            let reads = step.kernel.reads().map(placed);
            for (other, more) in writes[i + 1..].iter().cloned().chain(reads) {
                let apart = range.is_empty() || more.is_empty();
                if !(apart || range.end <= more.start || more.end <= range.start) {
                    return Err(format!("{id:?} is written over {other:?}, which the step uses"));
                }
            }
        }
        Ok(())
    }

    /// Runs one step.
    pub(super) fn run(&mut self) -> Done {
        self.check_apart()?;
        let program = self.program;
        by_kind!(&program.steps[self.at].kernel, other => self.run_on_maps(other);
            Pack(_) => {
                let images = self.apply("images".to_owned(), &[]);
                self.result(images)
            }
            Seed(_) => {
                let seed = self.apply("seed".to_owned(), &[]);
                self.result(seed)
            }
            PadPlanes(to) => {
                let value = self.apply("images".to_owned(), &[]);
                let view = self.plain(to.y);
                let found = Found { value, zeros: Zeros::ALL };
                self.memory.write(self.terms, &view, self.at, &found, |_| false);
                Ok(())
            }
            Narrow(step) => { self.convert(step.x, step.y, true) }
            Widen(step) => { self.convert(step.x, step.y, false) }
            Conv(conv) => { self.convolve(conv) }
            ConvInput(gradient) => { self.convolve_back(gradient) }
            ConvSignal(signal) => { self.send_signal(signal) }
            ConvWeights(gradient) => { self.convolution_weights(gradient) }
            ConvBias(gradient) => {
                let dy = self.x(gradient.dy)?;
                self.spoil(gradient.work);
                self.gradient(gradient.bias, "dbias", &[dy])
            }
            Loss(loss) => {
                self.losses.push((self.step().node.index(), loss.weight));
                self.opaque_result(&format!("loss times {}", loss.weight), loss.logits)
            }
        )
    }

    /// Runs a step that pools or normalises.
    fn run_on_maps(&mut self, kernel: &Kernel) -> Done {
        by_kind!(kernel, other => self.run_small(other);
            MaxPool(pool) => {
                self.sized_result(&format!("max {}", names::geom(&pool.geom)), &[pool.x])
            }
            MaxPoolGradient(pool) => {
                let args = [self.x(pool.x)?, self.x(pool.y)?, self.x(pool.dy)?];
                let dx = self.sized(&format!("dx: max {}", names::geom(&pool.geom)), &args);
                let dx = if pool.relu { self.apply("mask".to_owned(), &[args[0], dx]) } else { dx };
                self.result(dx)
            }
            Average(pool) => { self.sized_result(&mean(&pool.geom, pool.divisor), &[pool.x]) }
            AverageGradient(pool) => {
                let name = format!("dx: {}", mean(&pool.geom, pool.divisor));
                self.sized_addition(&name, &[pool.dy])
            }
            BatchStatistics(step) => { self.measure(step) }
            Normalise(step) => {
                let x = self.x(step.x)?;
                let (name, args) = self.normal(&step.by, x)?;
                let y = self.apply(name, &args);
                let y = self.plus(y, step.sum)?;
                let y = self.relu_if(step.by.relu, y);
                self.result(y)
            }
            NormaliseGradient(step) => { self.undo_normal(step) }
            Lrn(lrn) => { self.opaque_result(&lrn_name(&lrn.geom), lrn.x) }
            LrnGradient(lrn) => {
                let name = format!("dx: {}", lrn_name(&lrn.geom));
                self.sized_addition(&name, &[lrn.x, lrn.dy])
            }
            EuclideanRbf(step) => {
                let codes = self.plain_name(step.codes)?;
                self.opaque_result(&format!("distances to {codes}"), step.x)
            }
            EuclideanRbfGradient(step) => {
                let name = format!("dx: distances to {}", self.plain_name(step.codes)?);
                self.sized_addition(&name, &[step.x, step.dy])
            }
        )
    }

    /// Runs a step that computes elements from those at their places, or moves them.
    fn run_small(&mut self, kernel: &Kernel) -> Done {
        let node = self.step().node.index();
        by_kind!(kernel, other => self.run_alone(other);
            Relu(step) => { self.opaque_result("relu", step.x) }
            Dropout(step) => { self.opaque_result(&format!("drop {} of {node}", step.p), step.x) }
            DropoutGradient(step) => {
                self.opaque_result(&format!("drop {} of {node}", step.p), step.dy)
            }
            Add(step) => {
                let a = self.x(step.a)?;
                let sum = self.plus(a, Some(step.b))?;
                let sum = self.relu_if(step.relu, sum);
                self.result(sum)
            }
            Times(step) => {
                if step.factor == 1.0 {
                    let x = self.x(step.x)?;
                    return self.result(x);
                }
                self.opaque_result(&format!("times {}", step.factor), step.x)
            }
            Scale(step) => {
                let args = [self.x(step.x)?, self.x(step.factors)?];
                let y = self.apply("scale".to_owned(), &args);
                let y = self.plus(y, step.sum)?;
                let y = self.relu_if(step.relu, y);
                self.result(y)
            }
            ScaleFactorGradient(step) => { self.sized_result("dx: scale", &[step.x, step.dy]) }
            MaskPositive(step) => {
                let args = [self.x(step.y)?, self.x(step.dy)?];
                let masked = self.apply("mask".to_owned(), &args);
                self.replace(step.dy, masked)
            }
            Rectify(step) => {
                let dy = self.x(step.dy)?;
                let rectified = self.apply("rectify".to_owned(), &[dy]);
                self.replace(step.dy, rectified)
            }
            ReluGradient(step) => {
                let args = [self.x(step.y)?, self.x(step.dy)?];
                let dx = self.apply("mask".to_owned(), &args);
                self.added(dx)
            }
            CopyChannels(copy) => {
                self.copy(copy.x, copy.y, copy.from, copy.to, copy.count, false)
            }
            PlaceChannels(copy) => { self.copy(copy.x, copy.y, 0, copy.to, copy.count, true) }
            Subsample(step) => { self.sized_result(&format!("every {}", step.stride), &[step.x]) }
            SubsampleGradient(step) => {
                self.sized_result(&format!("dx: every {}", step.stride), &[step.dy])
            }
            Flatten(step) => {
                if self.is_vector(step.x) {
                    let x = self.x(step.x)?;
                    return self.result(x);
                }
                self.opaque_result("flatten", step.x)
            }
            Unflatten(step) => {
                if self.is_vector(step.dx) {
                    let dy = self.x(step.dy)?;
                    return self.result(dy);
                }
                self.sized_result("unflatten", &[step.dy])
            }
        )
    }

    /// Runs a step of an op that is one step forward and one backward: the names of its operands say which those of its node
    /// they are.
    fn run_alone(&mut self, kernel: &Kernel) -> Done {
        let meaning = self.meaning;
        let node = self.graph.node(self.step().node);
        if !is_step_of(kernel, &node.op) {
            return Err(format!("{} is another op's step", kernel.name()));
        }
        let (mut xs, mut gradient) = (Vec::new(), None);
        for (&name, id) in kernel.names().iter().zip(kernel.reads()) {
            let value = self.x(id)?;
            let of = |id: NodeId| meaning.values[id.index()];
            let wanted = match name {
                "x" => of(node.inputs[0]),
                "y" => of(node.id),
                "dy" => *gradient.insert(value),
                _ => return Err(format!("{name} of {} is not known here", kernel.name())),
            };
            if value != wanted {
                let [is, wanted] = [value, wanted].map(|value| self.terms.show(value));
                return Err(format!("{name} is {is} instead of {wanted}"));
            }
            xs.push(value);
        }
        let name = names::alone(node);
        match gradient {
            None if xs.is_empty() => Err(format!("{} is not known here", kernel.name())),
            None => {
                let y = self.sized(&name, &xs);
                self.result(y)
            }
            Some(dy) => {
                let dx = self.sized(&format!("dx: {name}"), &[dy]);
                if self.needs_zero() == step::Zeros::Everywhere {
                    self.added(dx)
                } else {
                    self.result(dx)
                }
            }
        }
    }

    fn is_vector(&self, id: BufferId) -> bool {
        let layout = self.layout(id);
        [layout.height, layout.width] == [1, 1]
    }

    /// A copy in the other precision, of planes or of plain planes.
    fn convert(&mut self, x: BufferId, y: BufferId, narrows: bool) -> Done {
        if self.is_bf16(y) != narrows || self.is_bf16(x) == narrows {
            return Err("the precisions are wrong".to_owned());
        }
        let plain = self.plain(x);
        let (found, view) = match self.memory.read(self.terms, &plain) {
            Ok(found) => (found, self.plain(y)),
            Err(_) => (self.operand(x)?, self.planes(y)),
        };
        self.memory.write(self.terms, &view, self.at, &found, |_| false);
        Ok(())
    }

    /// Another operand added, if there is one.
    pub(super) fn plus(&mut self, y: Tensor, sum: Option<BufferId>) -> Result<Tensor, String> {
        let Some(sum) = sum else { return Ok(y) };
        let sum = self.x(sum)?;
        Ok(self.terms.add(y, sum))
    }

    fn opaque_result(&mut self, name: &str, x: BufferId) -> Done {
        let x = self.x(x)?;
        let y = self.apply(name.to_owned(), &[x]);
        self.result(y)
    }

    fn values(&mut self, args: &[BufferId]) -> Result<Vec<Tensor>, String> {
        args.iter().map(|&id| self.x(id)).collect()
    }

    fn sized_result(&mut self, name: &str, args: &[BufferId]) -> Done {
        let args = self.values(args)?;
        let y = self.sized(name, &args);
        self.result(y)
    }

    fn sized_addition(&mut self, name: &str, args: &[BufferId]) -> Done {
        let args = self.values(args)?;
        let dx = self.sized(name, &args);
        self.added(dx)
    }

    pub(super) fn relu_if(&mut self, relu: bool, x: Tensor) -> Tensor {
        if relu { self.apply("relu".to_owned(), &[x]) } else { x }
    }

    pub(super) fn content(&self, param: ParamId) -> &Content {
        &self.program.packed.list[param.0].content
    }

    fn plain_name(&self, param: ParamId) -> Result<String, String> {
        let Content::Plain { name } = self.content(param) else {
            return Err(format!("a plain tensor was expected: {:?}", self.content(param)));
        };
        Ok(name.clone())
    }

    /// Copies channels of x to channels of the result.
    fn copy(
        &mut self,
        x: BufferId,
        id: BufferId,
        from: usize,
        to: usize,
        count: usize,
        places: bool,
    ) -> Done {
        let fresh = self.step().fresh;
        let x = self.x(x)?;
        let view = self.planes(id);
        if from + count > self.terms.channels(x) || to + count > view.channels {
            return Err("there are not so many channels".to_owned());
        }
        // What other buffers left there, or is of no use, is a rest of something else when the first part is written.
        let used = |at: usize| self.meaning.used[self.program.steps[at].node.index()];
        let useful = |at: usize| used(at) || !used(self.at);
        let (now, program) = (self.at, self.program);
        let whole = |id: BufferId| program.buffers.whole(id).0;
        let wrote = |at: usize| program.steps[at].kernel.writes().any(|y| whole(y) == whole(id));
        let counts = |at: usize| !fresh || at < now && wrote(at) && useful(at);
        let mut old = self.memory.peek(self.terms, &view, counts);
        let zeroes = fresh && self.needs_zero() == step::Zeros::Everywhere;
        if zeroes {
            old = Found { value: self.terms.zeros(view.channels), zeros: Zeros::ALL };
        }
        old.zeros.around |= fresh;
        let copied = self.terms.slice(x, from, count);
        let middle = self.terms.slice(old.value, to, count);
        let overwrites = fresh || places;
        let copies = self.copies.entry(id.0).or_default();
        if fresh {
            copies.clear();
        }
        if overwrites && copies.iter().any(|copy| copy.start < to + count && to < copy.end) {
            return Err("it writes over what was written".to_owned());
        }
        copies.push(to..to + count);
        let middle = if overwrites { copied } else { self.terms.add(middle, copied) };
        let (before, rest) = (self.terms.slice(old.value, 0, to), view.channels - to - count);
        let after = self.terms.slice(old.value, to + count, rest);
        let value = self.terms.concat(&[before, middle, after]);
        let found = Found { value, zeros: old.zeros };
        let all = |block: usize| to <= block * LANES && (block + 1) * LANES <= to + count;
        let update = |block: usize| !(zeroes || overwrites && all(block));
        self.memory.write(self.terms, &view, self.at, &found, update);
        Ok(())
    }

    /// Writes the gradient of a parameter, once.
    pub(super) fn gradient(&mut self, param: ParamId, name: &str, args: &[Tensor]) -> Done {
        let gradient = self.terms.apply(name.to_owned(), args, 1);
        match self.gradients.insert(param.0, gradient) {
            None => Ok(()),
            Some(_) => Err("the gradient of a parameter is written twice".to_owned()),
        }
    }
}

fn mean(geom: &PoolGeom, divisor: Divisor) -> String {
    format!("mean {} {divisor:?}", names::geom(geom))
}

fn lrn_name(geom: &LrnGeom) -> String {
    format!("lrn {} {} {} {}", geom.size, geom.alpha, geom.beta, geom.k)
}
