//! Takes off what a file does before the network begins and after its logits.
//!
//! Before it is the type of the input's numbers, where its channels lie and in which order, a factor and a term for each: normalisations
//! become that, however they are written. After it are ops that change none of the classes' order.

use super::intake::Intake;
use super::model::{Model, ModelNode, ModelTensor};
use std::collections::{BTreeMap, BTreeSet};

/// A file's input: of the pixels, or of what was made of them.
#[derive(Debug)]
pub(super) struct Info {
    pub(super) name: String,
    /// Whether its values are whole numbers from 0 to 255.
    pub(super) bytes: bool,
    /// As many as it has, as far as they are given; none where nothing is said.
    pub(super) dims: Vec<Option<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Batch,
    Channel,
    Row,
    Column,
}

use Axis::{Batch, Channel, Column, Row};

/// Images by channels first or last, several or one.
const LAYOUTS: [&[Axis]; 4] = [
    &[Batch, Channel, Row, Column],
    &[Batch, Row, Column, Channel],
    &[Channel, Row, Column],
    &[Row, Column, Channel],
];
/// More channels than any input has, so that none is copied without end.
const MAX_CHANNELS: usize = 64;
/// ONNX's numbers of the types of floats.
const FLOATS: [i64; 4] = [1, 10, 11, 16];

/// A value that is made of the input alone.
#[derive(Clone, Debug)]
struct Value {
    axes: Vec<Axis>,
    channels: Vec<(usize, [f64; 2])>,
}

/// Where the network begins.
struct Start {
    /// The nodes before it.
    before: BTreeSet<usize>,
    name: String,
    channels: Vec<(usize, [f64; 2])>,
    /// Channels, height and width.
    chw: [Option<usize>; 3],
}

/// Takes the nodes before the network's first layer out of the model.
pub(super) fn strip_start(model: &mut Model<'_>, input: Info) {
    let mut best: Result<Option<Start>, String> = Ok(None);
    for axes in LAYOUTS {
        let rank = if input.dims.is_empty() { 4 } else { input.dims.len() };
        if rank != axes.len() {
            continue;
        }
        let start = Intakes::of(model).start(&input, axes);
        best = match (best, start) {
            (Ok(Some(best)), Ok(start)) if start.before.len() <= best.before.len() => {
                Ok(Some(best))
            }
            (_, Ok(start)) => Ok(Some(start)),
            (Ok(None), Err(reason)) => Err(reason),
            (best, Err(_)) => best,
        };
    }
    let plain = || (input.name.clone(), [None; 3]);
    match best {
        Err(reason) => (model.input, model.intake) = (plain(), Err(reason)),
        Ok(None) => model.input = plain(),
        Ok(Some(Start { before, name, channels, chw })) => {
            let mut at = 0..;
            model.nodes.retain(|_| at.next().is_some_and(|at| !before.contains(&at)));
            model.input = (name, chw);
            let intake = Intake::of(channels, input.bytes);
            model.intake = Ok(Some(intake).filter(|intake| !intake.changes_nothing()));
        }
    }
}

/// Ops after the logits, that change none of their order.
const TAIL: [&str; 9] = [
    "Softmax",
    "LogSoftmax",
    "Sigmoid",
    "ArgMax",
    "TopK",
    "Identity",
    "Cast",
    "Squeeze",
    "Reshape",
];

/// Takes what is made of the logits for the logits: their softmax, the best class.
pub(super) fn strip_tail(model: &mut Model<'_>) {
    let makers = model.nodes.iter();
    let makers: BTreeMap<&str, &ModelNode> = makers
        .flat_map(|node| node.outputs.iter().map(move |name| (name.as_str(), node)))
        .collect();
    for output in &mut model.outputs {
        let mut left = makers.len();
        while left > 0
            && let Some(maker) = makers.get(output.as_str())
            && TAIL.contains(&maker.op.as_str())
            && let Some(input) = maker.inputs.first()
        {
            left -= 1;
            output.clone_from(input);
            model.tail.push(maker.op.clone());
        }
    }
    let mut seen = BTreeSet::new();
    model.outputs.retain(|output| seen.insert(output.clone()));
}

/// What is known on the way through the nodes.
struct Intakes<'m> {
    model: &'m Model<'m>,
    values: BTreeMap<&'m str, Value>,
    /// Constants that nodes make of others.
    made: BTreeMap<&'m str, Constant>,
}

/// A small constant.
#[derive(Clone, Debug)]
struct Constant {
    /// `None` where it was reshaped since.
    dims: Option<Vec<usize>>,
    values: Vec<f64>,
}

impl<'m> Intakes<'m> {
    fn of(model: &'m Model<'_>) -> Self {
        Self { model, values: BTreeMap::new(), made: BTreeMap::new() }
    }

    /// Goes as far as nothing but the input's channels are changed.
    fn start(mut self, input: &'m Info, axes: &[Axis]) -> Result<Start, String> {
        let size = |axis| {
            let at = axes.iter().position(|&is| is == axis)?;
            input.dims.get(at).copied().flatten()
        };
        let channels = size(Channel).unwrap_or(3).min(MAX_CHANNELS);
        let channels = (0..channels).map(|channel| (channel, [1.0, 0.0])).collect();
        self.values.insert(&input.name, Value { axes: axes.to_vec(), channels });
        let mut before = BTreeSet::new();
        let mut begins = None;
        for (at, node) in self.model.nodes.iter().enumerate() {
            if let Some(made) = self.step(node) {
                let made = node.outputs.iter().map(String::as_str).zip(made);
                self.values.extend(made);
                before.insert(at);
                continue;
            }
            if let (Some(constant), Some(name)) = (self.make(node), node.outputs.first()) {
                self.made.insert(name, constant);
            }
            // Neither makes more of the values than their shape and type.
            let reads = match node.op.as_str() {
                "Shape" => 0,
                "CastLike" => 1,
                _ => node.inputs.len(),
            };
            for name in node.inputs[..reads.min(node.inputs.len())].iter() {
                if !self.values.contains_key(name.as_str()) {
                    continue;
                }
                if begins.is_some_and(|other| other != name) {
                    return Err("its layers read the input in several forms".to_owned());
                }
                begins = Some(name);
            }
        }
        let name = begins.ok_or("no layer reads its input")?;
        let value = &self.values[name.as_str()];
        if ![LAYOUTS[0], LAYOUTS[2]].contains(&&value.axes[..]) {
            return Err("it turns its input in a way that is not known".to_owned());
        }
        let given = axes.contains(&Channel) && !input.dims.is_empty();
        let all = size(Channel).map(|_| value.channels.len()).filter(|_| given);
        let chw = [all, size(Row), size(Column)];
        Ok(Start { before, name: name.clone(), channels: value.channels.clone(), chw })
    }

    /// A constant of the file, or one that is made of them, if it has one number or some for each channel.
    fn constant(&self, name: &str) -> Option<Constant> {
        if let Some(made) = self.made.get(name) {
            return Some(made.clone());
        }
        let tensor = self.model.tensors.get(name).filter(|tensor| tensor.len() <= MAX_CHANNELS)?;
        let values = match tensor.ints() {
            Some(ints) => ints.iter().map(|&value| value as f64).collect(),
            None => tensor.values()?.into_iter().map(f64::from).collect::<Vec<f64>>(),
        };
        (values.len() == tensor.len()).then(|| Constant { dims: Some(tensor.dims.clone()), values })
    }

    /// What a node makes of constants alone.
    fn make(&self, node: &ModelNode) -> Option<Constant> {
        let of = |at: usize| self.constant(node.inputs.get(at)?);
        let map = |f: fn(f64) -> f64| {
            let mut constant = of(0)?;
            constant.values.iter_mut().for_each(|value| *value = f(*value));
            Some(constant)
        };
        let two = |f: fn(f64, f64) -> f64| {
            let (a, b) = (of(0)?, of(1)?);
            let (n, dims) = if a.values.len() < b.values.len() {
                (b.values.len(), b.dims)
            } else {
                (a.values.len(), a.dims)
            };
            let at = |values: &[f64], i: usize| values.get(i % values.len().max(1)).copied();
            let alike = [&a.values, &b.values].iter().all(|values| [1, n].contains(&values.len()));
            let values = (0..n).map(|i| Some(f(at(&a.values, i)?, at(&b.values, i)?)));
            Some(Constant { dims, values: values.collect::<Option<_>>().filter(|_| alike)? })
        };
        match node.op.as_str() {
            "Identity" | "Cast" | "CastLike" => of(0),
            "Reshape" | "Unsqueeze" | "Squeeze" | "Flatten" => {
                of(0).map(|constant| Constant { dims: None, ..constant })
            }
            "Neg" => map(|value| -value),
            "Sqrt" => map(f64::sqrt),
            "Reciprocal" => map(|value| 1.0 / value),
            "Add" => two(|a, b| a + b),
            "Sub" => two(|a, b| a - b),
            "Mul" => two(|a, b| a * b),
            "Div" => two(|a, b| a / b),
            _ => None,
        }
    }

    /// What a node makes of the input's channels, if it does no more than that.
    fn step(&self, node: &'m ModelNode) -> Option<Vec<Value>> {
        let value = || self.values.get(node.inputs.first()?.as_str());
        let one = |value: Option<Value>| value.map(|value| vec![value]);
        match node.op.as_str() {
            "Identity" | "Dropout" => one(value().cloned()),
            "Cast" if FLOATS.contains(&node.int("to", 1)) => one(value().cloned()),
            "Transpose" => one(value()?.transposed(node.ints("perm")?)),
            "Unsqueeze" => one(value()?.unsqueezed(self.numbers(node, 1, "axes")?)),
            "Squeeze" => one(value()?.squeezed(self.numbers(node, 1, "axes")?)),
            "Add" | "Sub" | "Mul" | "Div" => one(self.arithmetic(node)),
            "Slice" => one(self.slice(node)),
            "Gather" => one(self.gather(node)),
            "GatherND" => {
                let value = value().filter(|value| value.axes.first() == Some(&Channel))?;
                let indices = self.model.tensors.get(node.inputs.get(1)?.as_str())?;
                let plain = node.int("batch_dims", 0) == 0 && matches!(indices.dims[..], [_, 1]);
                one(value.picked(indices.ints().filter(|_| plain)?))
            }
            "Split" => self.split(node),
            "Concat" => one(self.concat(node)),
            _ => None,
        }
    }

    /// Integers at an input, or in an attribute as files had them before.
    fn numbers(&self, node: &'m ModelNode, at: usize, name: &str) -> Option<&'m [i64]> {
        let given = node.inputs.get(at).and_then(|name| self.model.tensors.get(name.as_str()));
        given.and_then(ModelTensor::ints).or(node.ints(name))
    }

    /// One number for all channels, or one for each.
    fn arithmetic(&self, node: &'m ModelNode) -> Option<Value> {
        let [a, b] = node.inputs.get(..2)? else { return None };
        let value = |name: &String| self.values.get(name.as_str());
        let (value, constant, first) = match value(a) {
            Some(value) => (value, self.constant(b)?, true),
            None => (value(b)?, self.constant(a)?, false),
        };
        let numbers = constant.values;
        // Dimensions are aligned at their ends.
        let from_end = value.axes.iter().rev().position(|&axis| axis == Channel);
        let aligned = constant.dims.is_none_or(|dims| {
            let mut dims = dims.iter().rev().enumerate();
            dims.all(|(at, &size)| size == 1 || Some(at) == from_end)
        });
        if numbers.len() != 1 && (numbers.len() != value.channels.len() || !aligned) {
            return None;
        }
        let mut value = value.clone();
        for (at, (_, [factor, term])) in value.channels.iter_mut().enumerate() {
            let number = *numbers.get(at).or(numbers.first())?;
            match (node.op.as_str(), first) {
                ("Add", _) => *term += number,
                ("Sub", true) => *term -= number,
                ("Sub", false) => (*factor, *term) = (-*factor, number - *term),
                ("Mul", _) => (*factor, *term) = (*factor * number, *term * number),
                ("Div", true) => (*factor, *term) = (*factor / number, *term / number),
                _ => return None,
            }
            // What makes one of all pixels, or no number, prepares nothing.
            if *factor == 0.0 || !factor.is_finite() || !term.is_finite() {
                return None;
            }
        }
        Some(value)
    }

    /// A range of channels, backward too; all rows and columns.
    fn slice(&self, node: &'m ModelNode) -> Option<Value> {
        let value = self.values.get(node.inputs.first()?.as_str())?;
        let [starts, ends] =
            [(1, "starts"), (2, "ends")].map(|(at, name)| self.numbers(node, at, name));
        let (starts, ends) = (starts?, ends?);
        let axes: Vec<i64> = match self.numbers(node, 3, "axes") {
            Some(axes) => axes.to_vec(),
            None => (0..starts.len() as i64).collect(),
        };
        let steps = self.numbers(node, 4, "steps");
        let mut value = value.clone();
        for (i, (&start, &end)) in starts.iter().zip(ends).enumerate() {
            let axis = value.axis(*axes.get(i)?)?;
            let step = steps.map_or(Some(1), |steps| steps.get(i).copied())?;
            if value.axes[axis] != Channel {
                if (start, step) != (0, 1) || end < i64::from(i32::MAX) {
                    return None;
                }
                continue;
            }
            let n = value.channels.len() as i64;
            let within = |at: i64, low, high| {
                (if at < 0 { at.saturating_add(n) } else { at }).clamp(low, high)
            };
            let mut picked = Vec::new();
            let (mut at, stop) = match step {
                1.. => (within(start, 0, n), within(end, 0, n)),
                ..=-1 => (within(start, 0, n - 1), within(end, -1, n - 1)),
                0 => return None,
            };
            while (step > 0 && at < stop) || (step < 0 && at > stop) {
                picked.push(at);
                at = at.checked_add(step)?;
            }
            value = value.picked(&picked)?;
        }
        Some(value)
    }

    /// Some of the channels, or one without its axis.
    fn gather(&self, node: &'m ModelNode) -> Option<Value> {
        let value = self.values.get(node.inputs.first()?.as_str())?;
        let indices = self.model.tensors.get(node.inputs.get(1)?.as_str())?;
        let axis = value.axis(node.int("axis", 0)).filter(|&axis| value.axes[axis] == Channel)?;
        let mut picked = value.picked(indices.ints()?)?;
        match indices.dims.len() {
            0 => drop(picked.axes.remove(axis)),
            1 => {}
            _ => return None,
        }
        Some(picked)
    }

    fn split(&self, node: &'m ModelNode) -> Option<Vec<Value>> {
        let value = self.values.get(node.inputs.first()?.as_str())?;
        value.axis(node.int("axis", 0)).filter(|&axis| value.axes[axis] == Channel)?;
        let lengths = match self.numbers(node, 1, "split") {
            Some(lengths) => lengths.to_vec(),
            None => vec![1; value.channels.len()],
        };
        if lengths.len() != node.outputs.len() {
            return None;
        }
        let mut next = 0;
        let parts = lengths.into_iter().map(|length| {
            let picked: Vec<i64> = (next..next + length.clamp(0, MAX_CHANNELS as i64)).collect();
            next += picked.len() as i64;
            value.picked(&picked)
        });
        parts.collect()
    }

    fn concat(&self, node: &'m ModelNode) -> Option<Value> {
        let parts = node.inputs.iter().map(|name| self.values.get(name.as_str()));
        let parts: Vec<&Value> = parts.collect::<Option<_>>()?;
        let first = *parts.first()?;
        first.axis(node.int("axis", 1)).filter(|&axis| first.axes[axis] == Channel)?;
        let channels: Vec<_> = parts.iter().flat_map(|part| part.channels.clone()).collect();
        let alike = parts.iter().all(|part| part.axes == first.axes);
        (alike && channels.len() <= MAX_CHANNELS)
            .then(|| Value { axes: first.axes.clone(), channels })
    }
}

impl Value {
    /// An axis that may be counted from the end.
    fn axis(&self, axis: i64) -> Option<usize> {
        let rank = self.axes.len() as i64;
        usize::try_from(if axis < 0 { axis + rank } else { axis })
            .ok()
            .filter(|&at| at < self.axes.len())
    }

    fn transposed(&self, order: &[i64]) -> Option<Self> {
        let axes = order.iter().map(|&at| self.axes.get(usize::try_from(at).ok()?).copied());
        let axes: Vec<Axis> = axes.collect::<Option<_>>()?;
        Some(Self { axes, channels: self.channels.clone() })
    }

    /// The axis of channels of a single one, or that of a batch of one.
    fn unsqueezed(&self, axes: &[i64]) -> Option<Self> {
        let [at] = *axes else { return None };
        let rank = self.axes.len() as i64 + 1;
        let at = usize::try_from(if at < 0 { at + rank } else { at }).ok()?;
        let mut value = self.clone();
        let axis = if value.axes.contains(&Channel) { Batch } else { Channel };
        if at > value.axes.len() || value.axes.contains(&axis) {
            return None;
        }
        value.axes.insert(at, axis);
        Some(value)
    }

    fn squeezed(&self, axes: &[i64]) -> Option<Self> {
        let [at] = *axes else { return None };
        let at =
            self.axis(at).filter(|&at| self.axes[at] == Channel && self.channels.len() == 1)?;
        let mut value = self.clone();
        value.axes.remove(at);
        Some(value)
    }

    /// Some of the channels.
    fn picked(&self, indices: &[i64]) -> Option<Self> {
        let n = self.channels.len() as i64;
        let channels = indices.iter().map(|&at| {
            let at = usize::try_from(if at < 0 { at + n } else { at }).ok()?;
            self.channels.get(at).copied()
        });
        let channels: Vec<_> = channels.take(MAX_CHANNELS).collect::<Option<_>>()?;
        (!channels.is_empty()).then(|| Self { axes: self.axes.clone(), channels })
    }
}
