//! What each step does to memory, in symbols: the contracts of the kernels.

use super::meaning::{ADAPTIVE, names};
use super::memory::{Form, Found, Memory, View, Zeros};
use super::terms::{Tensor, Terms};
use crate::bank::{Content, SlotId};
use crate::buffer::{BufferId, Plan};
use crate::ir::{Program, Step};
use crate::step::norm::{BatchStatistics, Normalisation, NormaliseGradient, StatisticsAt};
use crate::step::{self, Kernel};
use std::collections::BTreeMap;
use std::ops::Range;
use top5_kernels::lrn::LrnGeom;
use top5_kernels::pool::{Divisor, PoolGeom};
use top5_kernels::{LANES, Layout, Precision};

/// The machine that runs a plan with symbols for numbers.
pub(super) struct Interpreter<'a> {
    pub(super) program: &'a Program,
    pub(super) plan: &'a Plan,
    /// Number of images.
    pub(super) n: usize,
    pub(super) terms: &'a mut Terms,
    pub(super) memory: Memory,
    /// By slot: the gradient that was written last.
    pub(super) gradients: BTreeMap<usize, Tensor>,
    /// By slot: what the running statistics followed.
    pub(super) statistics: BTreeMap<usize, Tensor>,
    /// Node and weight of each loss.
    pub(super) losses: Vec<(usize, f32)>,
    /// By buffer: the channels that were copied there.
    pub(super) copies: BTreeMap<usize, Vec<Range<usize>>>,
    /// The step that is being run.
    pub(super) at: usize,
    /// For each node, whether its first input depends on a learned parameter.
    pub(super) learns: &'a [bool],
    /// For each node, whether an output depends on it.
    pub(super) used: &'a [bool],
    /// Parameters have gradients.
    pub(super) trains: bool,
}

pub(super) type Done = Result<(), String>;

impl Interpreter<'_> {
    pub(super) fn step(&self) -> &Step {
        &self.program.steps[self.at]
    }

    /// The buffer of the result.
    fn target(&self) -> BufferId {
        self.step().kernel.writes().next().expect("every step writes something")
    }

    pub(super) fn planes(&self, id: BufferId) -> View {
        View::planes(self.program, self.plan, id, self.n)
    }

    fn opaque(&self, id: BufferId, form: Form) -> View {
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

    fn batch(&mut self, id: BufferId) -> Result<Tensor, String> {
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
    fn replace(&mut self, id: BufferId, value: Tensor) -> Done {
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
    #[expect(clippy::wildcard_enum_match_arm, reason = "`run_small` matches all others")]
    pub(super) fn run(&mut self) -> Done {
        self.check_apart()?;
        let program = self.program;
        match &program.steps[self.at].kernel {
            Kernel::Pack(_) => {
                let images = self.apply("images".to_owned(), &[]);
                self.result(images)
            }
            Kernel::Seed(_) => {
                let seed = self.apply("seed".to_owned(), &[]);
                self.result(seed)
            }
            Kernel::PadPlanes(to) => {
                let value = self.apply("images".to_owned(), &[]);
                let view = self.plain(to.y);
                let found = Found { value, zeros: Zeros::ALL };
                self.memory.write(self.terms, &view, self.at, &found, |_| false);
                Ok(())
            }
            Kernel::Narrow(step) => self.convert(step.x, step.y, true),
            Kernel::Widen(step) => self.convert(step.x, step.y, false),
            Kernel::Conv(conv) => self.convolve(conv),
            Kernel::ConvInput(gradient) => self.convolve_back(gradient),
            Kernel::ConvWeights(gradient) => self.convolution_weights(gradient),
            Kernel::ConvBias(gradient) => {
                let dy = self.x(gradient.dy)?;
                self.spoil(gradient.work);
                self.gradient(gradient.bias, "dbias", &[dy])
            }
            Kernel::MaxPool(pool) => {
                self.sized_result(&format!("max {}", names::geom(&pool.geom)), &[pool.x])
            }
            Kernel::MaxPoolGradient(pool) => {
                let args = [self.x(pool.x)?, self.x(pool.y)?, self.x(pool.dy)?];
                let dx = self.sized(&format!("dx: max {}", names::geom(&pool.geom)), &args);
                let dx = if pool.relu { self.apply("mask".to_owned(), &[args[0], dx]) } else { dx };
                self.result(dx)
            }
            Kernel::Average(pool) => self.sized_result(&mean(&pool.geom, pool.divisor), &[pool.x]),
            Kernel::AdaptiveAverage(pool) => self.sized_result(ADAPTIVE, &[pool.x]),
            Kernel::AdaptiveAverageGradient(pool) => {
                self.sized_addition(&format!("dx: {ADAPTIVE}"), &[pool.dy])
            }
            Kernel::AverageGradient(pool) => {
                let name = format!("dx: {}", mean(&pool.geom, pool.divisor));
                self.sized_addition(&name, &[pool.dy])
            }
            Kernel::BatchStatistics(step) => self.measure(step),
            Kernel::Normalise(step) => {
                let x = self.x(step.x)?;
                let (name, args) = self.normal(&step.by, x)?;
                let y = self.apply(name, &args);
                let y = self.plus(y, step.sum)?;
                let y = self.relu_if(step.by.relu, y);
                self.result(y)
            }
            Kernel::NormaliseGradient(step) => self.undo_normal(step),
            Kernel::Lrn(lrn) => self.opaque_result(&lrn_name(&lrn.geom), lrn.x),
            Kernel::LrnGradient(lrn) => {
                let name = format!("dx: {}", lrn_name(&lrn.geom));
                self.sized_addition(&name, &[lrn.x, lrn.dy])
            }
            other => self.run_small(other),
        }
    }

    /// Runs a step that computes elements from those at their places, or moves them.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`run` has matched all others")]
    fn run_small(&mut self, kernel: &Kernel) -> Done {
        let node = self.step().node.index();
        match kernel {
            Kernel::Relu(step) => self.opaque_result("relu", step.x),
            Kernel::Sigmoid(step) => self.opaque_result("sigmoid", step.x),
            Kernel::ScaledTanh(step) => self.opaque_result("tanh", step.x),
            Kernel::Dropout(step) => {
                self.opaque_result(&format!("drop {} of {node}", step.p), step.x)
            }
            Kernel::DropoutGradient(step) => {
                self.opaque_result(&format!("drop {} of {node}", step.p), step.dy)
            }
            Kernel::Add(step) => {
                let a = self.x(step.a)?;
                let sum = self.plus(a, Some(step.b))?;
                let sum = self.relu_if(step.relu, sum);
                self.result(sum)
            }
            Kernel::Times(step) if step.factor == 1.0 => {
                let x = self.x(step.x)?;
                self.result(x)
            }
            Kernel::Times(step) => self.opaque_result(&format!("times {}", step.factor), step.x),
            Kernel::Scale(step) => {
                let args = [self.x(step.x)?, self.x(step.factors)?];
                let y = self.apply("scale".to_owned(), &args);
                let y = self.plus(y, step.sum)?;
                let y = self.relu_if(step.relu, y);
                self.result(y)
            }
            Kernel::ScaleFactorGradient(step) => self.sized_result("dx: scale", &[step.x, step.dy]),
            Kernel::MaskPositive(step) => {
                let args = [self.x(step.y)?, self.x(step.dy)?];
                let masked = self.apply("mask".to_owned(), &args);
                self.replace(step.dy, masked)
            }
            Kernel::Rectify(step) => {
                let dy = self.x(step.dy)?;
                let rectified = self.apply("rectify".to_owned(), &[dy]);
                self.replace(step.dy, rectified)
            }
            Kernel::ReluGradient(step) => {
                let args = [self.x(step.y)?, self.x(step.dy)?];
                let dx = self.apply("mask".to_owned(), &args);
                self.added(dx)
            }
            Kernel::SigmoidGradient(step) => self.sized_addition("dx: sigmoid", &[step.y, step.dy]),
            Kernel::ScaledTanhGradient(step) => self.sized_addition("dx: tanh", &[step.y, step.dy]),
            Kernel::CopyChannels(copy) => {
                self.copy(copy.x, copy.y, copy.from, copy.to, copy.count, false)
            }
            Kernel::PlaceChannels(copy) => self.copy(copy.x, copy.y, 0, copy.to, copy.count, true),
            Kernel::Subsample(step) => {
                self.sized_result(&format!("every {}", step.stride), &[step.x])
            }
            Kernel::SubsampleGradient(step) => {
                self.sized_result(&format!("dx: every {}", step.stride), &[step.dy])
            }
            Kernel::Flatten(step) if self.is_vector(step.x) => {
                let x = self.x(step.x)?;
                self.result(x)
            }
            Kernel::Flatten(step) => self.opaque_result("flatten", step.x),
            Kernel::Unflatten(step) if self.is_vector(step.dx) => {
                let dy = self.x(step.dy)?;
                self.result(dy)
            }
            Kernel::Unflatten(step) => self.sized_result("unflatten", &[step.dy]),
            Kernel::Loss(_)
            | Kernel::Softmax(_)
            | Kernel::SoftmaxGradient(_)
            | Kernel::EuclideanRbf(_)
            | Kernel::EuclideanRbfGradient(_) => self.run_on_vectors(kernel),
            other => Err(format!("{} is not known here", other.name())),
        }
    }

    /// Runs a step on vectors.
    #[expect(clippy::wildcard_enum_match_arm, reason = "`run_small` has matched all others")]
    fn run_on_vectors(&mut self, kernel: &Kernel) -> Done {
        match kernel {
            Kernel::Loss(loss) => {
                self.losses.push((self.step().node.index(), loss.weight));
                self.opaque_result(&format!("loss times {}", loss.weight), loss.logits)
            }
            Kernel::Softmax(step) => self.opaque_result("softmax", step.x),
            Kernel::SoftmaxGradient(step) => self.sized_addition("dx: softmax", &[step.y, step.dy]),
            Kernel::EuclideanRbf(step) => {
                let codes = self.plain_name(step.codes)?;
                self.opaque_result(&format!("distances to {codes}"), step.x)
            }
            Kernel::EuclideanRbfGradient(step) => {
                let name = format!("dx: distances to {}", self.plain_name(step.codes)?);
                self.sized_addition(&name, &[step.x, step.dy])
            }
            other => Err(format!("{} is not on vectors", other.name())),
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

    fn measure(&mut self, step: &BatchStatistics) -> Done {
        let x = self.x(step.x)?;
        let channels = self.terms.channels(x);
        let value = self.terms.apply("statistics".to_owned(), &[x], channels);
        self.spoil(step.work);
        let view = self.opaque(step.statistics, Form::Batch);
        let found = Found { value, zeros: Zeros::ALL };
        self.memory.write(self.terms, &view, self.at, &found, |_| false);
        match self.statistics.insert(step.running.0, value) {
            None => Ok(()),
            Some(_) => Err("the running statistics follow twice".to_owned()),
        }
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

    pub(super) fn content(&self, slot: SlotId) -> &Content {
        &self.program.bank.slots[slot.0].content
    }

    fn vector_name(&self, slot: SlotId) -> Result<String, String> {
        let Content::Vector { name } = self.content(slot) else {
            return Err(format!("a vector was expected: {:?}", self.content(slot)));
        };
        Ok(name.clone())
    }

    fn plain_name(&self, slot: SlotId) -> Result<String, String> {
        let Content::Plain { name } = self.content(slot) else {
            return Err(format!("a plain tensor was expected: {:?}", self.content(slot)));
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
        let used = |at: usize| self.used[self.program.steps[at].node.index()];
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

    /// The name and arguments of a normalisation.
    fn normal(&mut self, by: &Normalisation, x: Tensor) -> Result<(String, Vec<Tensor>), String> {
        let [weight, bias] = [self.vector_name(by.weight)?, self.vector_name(by.bias)?];
        let mut args = vec![x];
        let statistics = match by.statistics {
            StatisticsAt::Batch(buffer) => {
                args.push(self.batch(buffer)?);
                "the batch's".to_owned()
            }
            StatisticsAt::Slot(slot) => match self.content(slot) {
                Content::Statistics { name } => format!("those of {name}"),
                Content::Identity => "none".to_owned(),
                Content::Matrix { .. }
                | Content::Vector { .. }
                | Content::FoldedBias { .. }
                | Content::Plain { .. } => return Err("statistics were expected".to_owned()),
            },
        };
        Ok((names::normal(&weight, &bias, &statistics, by.eps), args))
    }

    fn undo_normal(&mut self, step: &NormaliseGradient) -> Done {
        let NormaliseGradient { by, sum, .. } = step;
        let x = self.x(step.x)?;
        let mut dy = self.x(step.dy)?;
        let (name, mut args) = self.normal(by, x)?;
        if step.y.is_some() != (by.relu && *sum) || *sum && step.dx.is_none() {
            return Err("the gradient of the summand is lost".to_owned());
        }
        if let Some(y) = step.y {
            let y = self.x(y)?;
            dy = self.apply("mask".to_owned(), &[y, dy]);
            self.replace(step.dy, dy)?;
            // The summand may need no gradient; the kernel makes it all the same.
            self.operand(step.dy)?;
        } else if by.relu {
            let y = self.apply(name.clone(), &args);
            let y = self.relu_if(true, y);
            dy = self.apply("mask".to_owned(), &[y, dy]);
        }
        args.push(dy);
        self.spoil(step.sums);
        self.spoil(step.work);
        if self.trains {
            self.gradient(by.weight, &format!("dweight: {name}"), &args)?;
            self.gradient(by.bias, &format!("dbias: {name}"), &args)?;
        }
        let dx = self.apply(format!("dx: {name}"), &args);
        match step.dx {
            None => self.replace(step.dy, dx)?,
            Some(_) => self.result(dx)?,
        }
        // The kernel computes it whether somebody reads it or not.
        if !self.learns[self.step().node.index()] {
            self.operand(self.target())?;
        }
        Ok(())
    }

    /// Writes the gradient of a slot, once.
    pub(super) fn gradient(&mut self, slot: SlotId, name: &str, args: &[Tensor]) -> Done {
        let gradient = self.terms.apply(name.to_owned(), args, 1);
        match self.gradients.insert(slot.0, gradient) {
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
