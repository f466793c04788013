//! What each step does to memory, in symbols: the contracts of the kernels.

use super::meaning::names;
use super::memory::{Form, Found, Memory, View, Zeros};
use super::terms::{Tensor, Terms};
use crate::bank::{Content, SlotId};
use crate::lower::Program;
use crate::plan::Plan;
use crate::step::{BufferId, Normalisation, Preparation, Step, What};
use std::collections::BTreeMap;
use std::ops::Range;
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
}

pub(super) type Done = Result<(), String>;

impl Interpreter<'_> {
    pub(super) fn step(&self) -> &Step {
        &self.program.steps[self.at]
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

    /// The activation that the `i`-th operand holds.
    pub(super) fn x(&mut self, i: usize) -> Result<Tensor, String> {
        Ok(self.operand(self.step().reads[i])?.value)
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
        let step = self.step();
        let (id, fresh) = (step.writes[0], step.fresh);
        self.result_to(id, value, fresh)
    }

    fn result_to(&mut self, id: BufferId, value: Tensor, fresh: bool) -> Done {
        let view = self.planes(id);
        if self.terms.channels(value) != view.channels {
            return Err(format!("{} channels for {id:?}", self.terms.channels(value)));
        }
        let found = if fresh {
            let around = self.preparation() != Preparation::None;
            Found { value, zeros: Zeros { around, beyond: true } }
        } else {
            let Found { value: old, zeros } = self.operand(id)?;
            Found { value: self.terms.add(old, value), zeros }
        };
        self.memory.write(self.terms, &view, self.at, &found, |_| !fresh);
        Ok(())
    }

    pub(super) fn preparation(&self) -> Preparation {
        self.step().what.preparation()
    }

    /// Adds to the result, which was zeroed or written before.
    fn added(&mut self, value: Tensor) -> Done {
        if self.step().fresh && self.preparation() != Preparation::Zero {
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
        let channels = self.layout(self.step().writes[0]).channels;
        self.terms.apply(name, args, channels)
    }

    /// The same of one that says the size of the result.
    pub(super) fn sized(&mut self, name: &str, args: &[Tensor]) -> Tensor {
        let Layout { height, width, .. } = self.layout(self.step().writes[0]);
        self.apply(format!("{name} to {height}×{width}"), args)
    }

    /// Everything that the run loop itself relies on: operands that share no memory with what is written.
    fn check_apart(&self) -> Done {
        let step = self.step();
        let placed = |&id: &BufferId| (id, self.plan.range(self.program, id, self.n));
        let writes: Vec<_> = step.writes.iter().map(placed).collect();
        for (i, (id, range)) in writes.iter().enumerate() {
            if range.end > self.plan.len {
                return Err(format!("{id:?} ends beyond the arena"));
            }
            let reads = step.reads.iter().map(placed);
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
        let step = &program.steps[self.at];
        match &step.what {
            What::Pack => {
                let images = self.apply("images".to_owned(), &[]);
                self.result(images)
            }
            What::PadPlanes => {
                let value = self.apply("images".to_owned(), &[]);
                let view = self.plain(step.writes[0]);
                let found = Found { value, zeros: Zeros::ALL };
                self.memory.write(self.terms, &view, self.at, &found, |_| false);
                Ok(())
            }
            What::Narrow | What::Widen => {
                let narrows = matches!(step.what, What::Narrow);
                if self.is_bf16(step.writes[0]) != narrows || self.is_bf16(step.reads[0]) == narrows
                {
                    return Err("the precisions are wrong".to_owned());
                }
                let plain = self.plain(step.reads[0]);
                let (found, view) = match self.memory.read(self.terms, &plain) {
                    Ok(found) => (found, self.plain(step.writes[0])),
                    Err(_) => (self.operand(step.reads[0])?, self.planes(step.writes[0])),
                };
                self.memory.write(self.terms, &view, self.at, &found, |_| false);
                Ok(())
            }
            What::Conv { kernel, weight, bias, relu } => {
                let mut value = self.convolve(&**kernel, *weight, *bias)?;
                if step.reads.len() > 1 {
                    let sum = self.x(1)?;
                    value = self.terms.add(value, sum);
                }
                let value = self.relu_if(*relu, value);
                self.spoil(step.writes[1]);
                self.result(value)
            }
            What::MaxPool(geom) => {
                let x = self.x(0)?;
                let y = self.sized(&format!("max {}", names::geom(geom)), &[x]);
                self.result(y)
            }
            What::Average(geom, divisor) => {
                let x = self.x(0)?;
                let y = self.sized(&mean(geom, *divisor), &[x]);
                self.result(y)
            }
            What::BatchStatistics { running, .. } => {
                let x = self.x(0)?;
                let channels = self.terms.channels(x);
                let value = self.terms.apply("statistics".to_owned(), &[x], channels);
                self.spoil(step.writes[1]);
                let view = self.opaque(step.writes[0], Form::Batch);
                let found = Found { value, zeros: Zeros::ALL };
                self.memory.write(self.terms, &view, self.at, &found, |_| false);
                match self.statistics.insert(running.0, value) {
                    None => Ok(()),
                    Some(_) => Err("the running statistics follow twice".to_owned()),
                }
            }
            What::Normalise(normal) => {
                let first = usize::from(normal.statistics.is_none());
                let x = self.x(0)?;
                let (name, args) = self.normal(normal, x)?;
                let mut y = self.apply(name, &args);
                if normal.sum {
                    let sum = self.x(1 + first)?;
                    y = self.terms.add(y, sum);
                }
                let y = self.relu_if(normal.relu, y);
                self.result(y)
            }
            What::Lrn(geom) => {
                let x = self.x(0)?;
                let name = format!("lrn {} {} {} {}", geom.size, geom.alpha, geom.beta, geom.k);
                let y = self.apply(name, &[x]);
                self.result(y)
            }
            What::Relu => self.opaque_result("relu"),
            What::Sigmoid => self.opaque_result("sigmoid"),
            What::ScaledTanh => self.opaque_result("tanh"),
            What::Dropout { p } | What::DropoutGradient { p } => {
                self.opaque_result(&format!("drop {p} of {}", step.node.index()))
            }
            What::Add { relu } => {
                let [a, b] = [self.x(0)?, self.x(1)?];
                let sum = self.terms.add(a, b);
                let sum = self.relu_if(*relu, sum);
                self.result(sum)
            }
            What::Times(factor) if *factor == 1.0 => {
                let x = self.x(0)?;
                self.result(x)
            }
            What::Times(factor) => self.opaque_result(&format!("times {factor}")),
            What::Scale { relu } => {
                let [x, factors] = [self.x(0)?, self.x(1)?];
                let mut y = self.apply("scale".to_owned(), &[x, factors]);
                if step.reads.len() > 2 {
                    let sum = self.x(2)?;
                    y = self.terms.add(y, sum);
                }
                let y = self.relu_if(*relu, y);
                self.result(y)
            }
            &What::CopyChannels { from, to, count, .. } => self.copy(from, to, count),
            &What::PlaceChannels { to, count } => self.copy(0, to, count),
            What::Subsample(stride) => {
                let x = self.x(0)?;
                let y = self.sized(&format!("every {stride}"), &[x]);
                self.result(y)
            }
            What::Flatten => {
                let x = self.x(0)?;
                let layout = self.layout(step.reads[0]);
                let vector = [layout.height, layout.width] == [1, 1];
                let y = if vector { x } else { self.apply("flatten".to_owned(), &[x]) };
                self.result(y)
            }
            What::Softmax => self.opaque_result("softmax"),
            What::EuclideanRbf { codes } => {
                let codes = self.plain_name(*codes)?;
                self.opaque_result(&format!("distances to {codes}"))
            }
            What::Loss { weight } => {
                self.losses.push((step.node.index(), *weight));
                self.opaque_result(&format!("loss times {weight}"))
            }
            What::ConvInput { nests, forward, weight, .. } => {
                self.convolve_back(nests, forward, *weight)
            }
            What::ConvWeights { weight, mask, .. } => {
                let (x, dy) = (self.conv_input(step.reads[0])?, self.x(1)?);
                let Content::Matrix { packing, .. } = self.content(*weight) else {
                    return Err("its weights are no matrix".to_owned());
                };
                if mask.is_some() != packing.mask().is_some() {
                    return Err("the mask of its weights is missing".to_owned());
                }
                self.spoil(step.writes[0]);
                self.gradient(*weight, "dweight", &[x, dy])
            }
            What::ConvBias { bias } => {
                let dy = self.x(0)?;
                self.spoil(step.writes[0]);
                self.gradient(*bias, "dbias", &[dy])
            }
            What::MaskPositive => {
                let y = self.x(0)?;
                let dy = self.operand(step.writes[0])?.value;
                let masked = self.apply("mask".to_owned(), &[y, dy]);
                self.replace(step.writes[0], masked)
            }
            What::ReluGradient => {
                let args = [self.x(0)?, self.x(1)?];
                let dx = self.apply("mask".to_owned(), &args);
                self.added(dx)
            }
            What::SigmoidGradient => self.sized_addition("dx: sigmoid", 2),
            What::ScaledTanhGradient => self.sized_addition("dx: tanh", 2),
            What::MaxPoolGradient { geom, relu } => {
                let args = [self.x(0)?, self.x(1)?, self.x(2)?];
                let dx = self.sized(&format!("dx: max {}", names::geom(geom)), &args);
                let dx = if *relu { self.apply("mask".to_owned(), &[args[0], dx]) } else { dx };
                self.result(dx)
            }
            What::AverageGradient(geom, divisor) => {
                self.sized_addition(&format!("dx: {}", mean(geom, *divisor)), 1)
            }
            What::NormaliseGradient(normal) => self.undo_normal(normal),
            What::LrnGradient(geom) => {
                let name = format!("dx: lrn {} {} {} {}", geom.size, geom.alpha, geom.beta, geom.k);
                self.sized_addition(&name, 2)
            }
            What::ScaleFactorGradient => {
                let args = [self.x(0)?, self.x(1)?];
                let df = self.sized("dx: scale", &args);
                self.result(df)
            }
            What::SubsampleGradient(stride) => {
                let dy = self.x(0)?;
                let dx = self.sized(&format!("dx: every {stride}"), &[dy]);
                self.result(dx)
            }
            What::Unflatten => {
                let dy = self.x(0)?;
                let layout = self.layout(step.writes[0]);
                let vector = [layout.height, layout.width] == [1, 1];
                let dx = if vector { dy } else { self.sized("unflatten", &[dy]) };
                self.result(dx)
            }
            What::SoftmaxGradient => self.sized_addition("dx: softmax", 2),
            What::EuclideanRbfGradient { codes } => {
                let name = format!("dx: distances to {}", self.plain_name(*codes)?);
                self.sized_addition(&name, 2)
            }
        }
    }

    fn opaque_result(&mut self, name: &str) -> Done {
        let x = self.x(0)?;
        let y = self.apply(name.to_owned(), &[x]);
        self.result(y)
    }

    fn sized_addition(&mut self, name: &str, args: usize) -> Done {
        let args = (0..args).map(|i| self.x(i)).collect::<Result<Vec<_>, _>>()?;
        let dx = self.sized(name, &args);
        self.added(dx)
    }

    fn relu_if(&mut self, relu: bool, x: Tensor) -> Tensor {
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
    fn copy(&mut self, from: usize, to: usize, count: usize) -> Done {
        let step = self.step();
        let (id, fresh) = (step.writes[0], step.fresh);
        let places = matches!(step.what, What::PlaceChannels { .. });
        let x = self.x(0)?;
        let (view, preparation) = (self.planes(id), self.preparation());
        if from + count > self.terms.channels(x) || to + count > view.channels {
            return Err("there are not so many channels".to_owned());
        }
        // What was read, or is of no use, is a rest of something else when the first part is written.
        let used = |at: usize| self.used[self.program.steps[at].node.index()];
        let useful = |at: usize| used(at) || !used(self.at);
        let counts = |unread: Option<usize>| !fresh || unread.is_some_and(useful);
        let mut old = self.memory.peek(self.terms, &view, counts);
        let zeroes = fresh && preparation == Preparation::Zero;
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
    fn normal(
        &mut self,
        normal: &Normalisation,
        x: Tensor,
    ) -> Result<(String, Vec<Tensor>), String> {
        let [weight, bias] = [self.vector_name(normal.weight)?, self.vector_name(normal.bias)?];
        let mut args = vec![x];
        let statistics = match normal.statistics.map(|slot| self.content(slot)) {
            None => "the batch's".to_owned(),
            Some(Content::Statistics { name }) => format!("those of {name}"),
            Some(Content::Identity) => "none".to_owned(),
            Some(other) => return Err(format!("statistics were expected: {other:?}")),
        };
        if normal.statistics.is_none() {
            let id = self.step().reads[1];
            args.push(self.batch(id)?);
        }
        Ok((names::normal(&weight, &bias, &statistics, normal.eps), args))
    }

    fn undo_normal(&mut self, normal: &Normalisation) -> Done {
        let step = self.step().clone();
        let first = usize::from(normal.statistics.is_none());
        let x = self.x(0)?;
        let in_place = step.writes.len() == 3;
        let dy_at = if in_place { step.writes[0] } else { step.writes[3] };
        let mut dy = self.operand(dy_at)?.value;
        let (name, mut args) = self.normal(normal, x)?;
        if normal.relu && normal.sum {
            let y = self.x(1 + first)?;
            dy = self.apply("mask".to_owned(), &[y, dy]);
            if in_place {
                return Err("the gradient of the summand is lost".to_owned());
            }
            self.replace(dy_at, dy)?;
            // The summand may need no gradient; the kernel makes it all the same.
            self.operand(dy_at)?;
        } else if normal.relu {
            let y = self.apply(name.clone(), &args);
            let y = self.relu_if(true, y);
            dy = self.apply("mask".to_owned(), &[y, dy]);
        }
        args.push(dy);
        self.spoil(step.writes[1]);
        self.spoil(step.writes[2]);
        self.gradient(normal.weight, &format!("dweight: {name}"), &args)?;
        self.gradient(normal.bias, &format!("dbias: {name}"), &args)?;
        let dx = self.apply(format!("dx: {name}"), &args);
        if in_place {
            self.replace(dy_at, dx)?;
        } else {
            self.result(dx)?;
        }
        // The kernel computes it whether somebody reads it or not.
        let input = self.program.steps[self.at].node.index();
        if !self.learns[input] {
            self.memory.read(self.terms, &self.planes(step.writes[0]))?;
        }
        Ok(())
    }

    /// Writes the gradient of a slot, once.
    fn gradient(&mut self, slot: SlotId, name: &str, args: &[Tensor]) -> Done {
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
