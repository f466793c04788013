//! ONNX's operators as forms.

use super::{Affine, Builder, Entry, Kind, Unknown, Weight};
use crate::onnx::model::{Attribute, ModelNode, ModelTensor};
use top5_graph::{Window, k};

/// No size or count in a network is larger.
const LARGEST: i64 = 1 << 20;
/// Nor have all concatenations together more parts.
const MOST_PARTS: usize = 1 << 18;

/// A number from a file as a size.
fn size(value: i64) -> Result<usize, Unknown> {
    let size = usize::try_from(value).ok().filter(|_| value <= LARGEST);
    size.ok_or_else(|| format!("a size of {value}"))
}

fn sizes(values: &[i64]) -> Result<Vec<usize>, Unknown> {
    values.iter().map(|&value| size(value)).collect()
}

impl<'m> Builder<'m, '_> {
    pub(super) fn node(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        if let Some(entry) = self.of_constants(node) {
            for output in &node.outputs {
                self.names.insert(output, entry);
            }
            return Ok(());
        }
        match node.op.as_str() {
            "Conv" => self.conv(node),
            "Gemm" | "MatMul" => self.linear(node),
            "BatchNormalization" => {
                // Before operator set 14 it was told by the results.
                let results = node.outputs.iter().filter(|output| !output.is_empty()).count();
                if node.int("training_mode", 0) == 1 || results > 1 {
                    return Err("it normalises by each batch, as in training: export it after `model.eval()`".to_owned());
                }
                let tensors: Option<Vec<_>> = (1..5).map(|at| self.tensor(node, at)).collect();
                let tensors = tensors.and_then(|tensors| <[_; 4]>::try_from(tensors).ok());
                let tensors = tensors.ok_or("a batch normalisation without its tensors")?;
                self.affine(node, 0, Affine::Norm(tensors, node.float("epsilon", 1e-5)))
            }
            "Add" | "Mul" | "Sum" => self.arithmetic(node),
            "Relu" => self.unary(node, "relu".to_owned()),
            "Clip" if self.is_relu(node) => self.unary(node, "relu".to_owned()),
            "Dropout" | "Identity" | "Cast" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                self.copy(node)
            }
            "Reshape" => self.reshape(node),
            "MaxPool" | "AveragePool" => self.pool(node),
            "GlobalAveragePool" => self.mean(node),
            "ReduceMean" if self.is_over_maps(node) => self.mean(node),
            "Concat" => self.concat(node),
            "Slice" => self.slice(node),
            "Split" => self.split(node),
            "Pad" => self.pad(node),
            "LRN" => {
                let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)]
                    .map(|(name, d)| node.float(name, d));
                let size = node.int("size", 0);
                self.unary(node, format!("lrn {size} {alpha:.3e} {beta:.3e} {bias:.3e}"))
            }
            // What it makes larger, the arithmetic after it would.
            "Expand" => self.copy(node),
            "Gather" if self.is_whole(node) => self.copy(node),
            "Shape" => {
                self.names.insert(&node.outputs[0], Entry::Sizes);
                Ok(())
            }
            _ => self.other(node),
        }
    }

    /// What becomes of sizes and tensors alone.
    fn of_constants(&self, node: &'m ModelNode) -> Option<Entry<'m>> {
        let given = node.inputs.iter().filter(|input| !input.is_empty());
        let entries: Option<Vec<Entry<'m>>> =
            given.map(|input| self.names.get(input.as_str()).copied()).collect();
        let entries = entries?;
        let value = |entry: &Entry<'_>| matches!(entry, Entry::Value(..));
        // Of a value whose type is taken, no number counts.
        let counted = if node.op == "CastLike" { 1 } else { entries.len() };
        if entries.iter().take(counted).any(value) {
            return None;
        }
        let copies = ["Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Flatten"];
        match entries.first() {
            Some(Entry::Tensor(tensor)) if copies.contains(&node.op.as_str()) => {
                Some(Entry::Tensor(tensor))
            }
            // One number many times.
            Some(Entry::Tensor(tensor)) if node.op == "Expand" && tensor.len() == 1 => {
                Some(Entry::Tensor(tensor))
            }
            _ => Some(Entry::Sizes),
        }
    }

    fn unary(&mut self, node: &'m ModelNode, description: String) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let form = self.push(description, vec![x], self.forms[x].chw, vec![], Kind::Other);
        self.define(node, form);
        Ok(())
    }

    fn copy(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        self.copy_of(node, 0)
    }

    /// Takes the result for the input at `at`.
    fn copy_of(&mut self, node: &'m ModelNode, at: usize) -> Result<(), Unknown> {
        let entry = self.entry(node, at).ok_or_else(|| format!("{} of nothing", node.op))?;
        self.names.insert(&node.outputs[0], entry);
        // The name stands for the same value, which is read as often as both are.
        let uses = self.uses.get(node.outputs[0].as_str()).copied().unwrap_or_default();
        let source = node.inputs[at].as_str();
        if self.uses.get(source).is_some_and(|&of_source| of_source > 1) {
            self.uses.insert(&node.outputs[0], uses.saturating_add(1));
        }
        Ok(())
    }

    /// A change of shape to a vector, or to a map of one pixel; other ones mix channels.
    fn reshape(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let target = self.tensor(node, 1).and_then(ModelTensor::ints).or(node.ints("shape"));
        let [c, h, w] = self.forms[x].chw;
        let all = (c * h * w) as i64;
        let flat = target.is_none_or(|target| match *target {
            [n] | [_, n] => n == -1 || n == all,
            [_, n, 1, 1] => n == -1 || n == all,
            [_, n, p, q] => [n, p, q] == [c as i64, h as i64, w as i64],
            _ => false,
        });
        if flat { self.copy(node) } else { Err("a change of shape that mixes channels".to_owned()) }
    }

    /// The window of a convolution or pooling, with the zeros around its input.
    fn window(
        &self,
        node: &ModelNode,
        kernel: [usize; 2],
        around: [usize; 4],
    ) -> Result<Window, Unknown> {
        let pair = |name: &str| match node.ints(name) {
            None => Ok([1, 1]),
            Some(values) => <[usize; 2]>::try_from(sizes(values)?)
                .map_err(|_| format!("{name} of other than two directions")),
        };
        let pads = match (node.attributes.get("auto_pad"), node.ints("pads")) {
            (Some(Attribute::Text(mode)), _) if mode.starts_with("SAME") => {
                return Err(format!("padding {mode}"));
            }
            (_, None) => vec![0; 4],
            (_, Some(pads)) => sizes(pads)?,
        };
        let [top, left, bottom, right] = <[usize; 4]>::try_from(pads)
            .map_err(|_| "pads of other than two directions".to_owned())?;
        let window = k(kernel).stride(pair("strides")?).dilation(pair("dilations")?);
        let window = Window {
            pad: [top + around[0], left + around[1]],
            pad_end: [bottom + around[2], right + around[3]],
            ..window
        };
        Ok(if node.int("ceil_mode", 0) == 1 { window.ceil() } else { window })
    }

    fn conv(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let Some(Entry::Value(x, around)) = self.entry(node, 0) else {
            return Err("a convolution of no value".to_owned());
        };
        let weight = self.tensor(node, 1).ok_or("a convolution without its weight")?;
        let [filters, per_group, r, s] = weight.dims[..] else {
            return Err("a convolution of other than two directions".to_owned());
        };
        let [c, h, w] = self.forms[x].chw;
        let groups = size(node.int("group", 1))?;
        let window = self.window(node, [r, s], around)?;
        let [p, q] = window.output([h, w]).map_err(|error| error.to_string())?;
        if per_group.checked_mul(groups) != Some(c) {
            return Err(format!("a convolution of {per_group}×{groups} channels of {c}"));
        }
        let bias = self.bias(node);
        if bias.is_some_and(|bias| bias.len() != filters) {
            return Err("a bias with other than one value per filter".to_owned());
        }
        let whole = groups == 1 && [r, s] == [h, w] && [p, q] == [1, 1] && window.pad == [0, 0];
        let description = if whole {
            format!("fc {filters} {}", c * h * w)
        } else {
            let Window { stride, pad, dilation, .. } = window;
            format!("conv {:?} {stride:?} {pad:?} {dilation:?} {groups}", weight.dims)
        };
        let weights = [Some(weight), bias].into_iter().flatten();
        let weights = weights.map(|tensor| Weight { tensor, transposed: false }).collect();
        let form = self.push(description, vec![x], [filters, p, q], weights, Kind::Layer);
        self.define(node, form);
        Ok(())
    }

    /// The bias of a layer, unless it is a zero for all that it makes.
    fn bias(&self, node: &'m ModelNode) -> Option<&'m ModelTensor<'m>> {
        self.tensor(node, 2).filter(|bias| bias.len() != 1 || bias.first() != Some(0.0))
    }

    /// Whether a gather takes all values of a vector as they are.
    fn is_whole(&self, node: &'m ModelNode) -> bool {
        let Some(Entry::Value(x, _)) = self.entry(node, 0) else { return false };
        let [c, h, w] = self.forms[x].chw;
        let indices = self.tensor(node, 1).and_then(ModelTensor::ints);
        let whole = |indices: &[i64]| indices.iter().copied().eq(0..c as i64);
        [h, w] == [1, 1] && node.int("axis", 0) == 0 && indices.is_some_and(whole)
    }

    fn linear(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let weight = self.tensor(node, 1).ok_or("a product of two values")?;
        let [rows, columns] = weight.dims[..] else {
            return Err("a product of batches".to_owned());
        };
        let transposed = node.int("transB", 0) == 0;
        let [outputs, inputs] = if transposed { [columns, rows] } else { [rows, columns] };
        let plain = node.int("transA", 0) == 0
            && node.float("alpha", 1.0) == 1.0
            && node.float("beta", 1.0) == 1.0;
        let bias = self.bias(node);
        if !plain
            || self.forms[x].chw.iter().product::<usize>() != inputs
            || bias.is_some_and(|bias| bias.len() != outputs)
        {
            return Err("a linear layer of another size than its input".to_owned());
        }
        let weight = Weight { tensor: weight, transposed };
        let bias = bias.map(|tensor| Weight { tensor, transposed: false });
        let weights = [Some(weight), bias].into_iter().flatten().collect();
        let description = format!("fc {outputs} {inputs}");
        let form = self.push(description, vec![x], [outputs, 1, 1], weights, Kind::Layer);
        self.define(node, form);
        Ok(())
    }

    /// Sums, products, and the two with constants.
    fn arithmetic(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let entries: Option<Vec<_>> =
            (0..node.inputs.len()).map(|at| self.entry(node, at)).collect();
        match entries.as_deref() {
            Some(&[Entry::Value(..), Entry::Tensor(tensor)]) => self.with_constant(node, 0, tensor),
            Some(&[Entry::Tensor(tensor), Entry::Value(..)]) => self.with_constant(node, 1, tensor),
            Some(_) if node.op == "Mul" => self.scale(node),
            Some(_) => self.sum(node),
            None => Err(format!("{} of something unknown", node.op)),
        }
    }

    fn with_constant(
        &mut self,
        node: &'m ModelNode,
        at: usize,
        tensor: &'m ModelTensor<'m>,
    ) -> Result<(), Unknown> {
        let x = self.value(node, at)?;
        let [c, h, w] = self.forms[x].chw;
        let dims = &tensor.dims;
        // One value per channel: [c, 1, 1], or [c] where there is one pixel.
        let aligned = dims.iter().rev().take(2).all(|&d| d == 1) || [h, w] == [1, 1];
        if tensor.len() == c && aligned {
            let map = if node.op == "Mul" { Affine::Times(tensor) } else { Affine::Plus(tensor) };
            return self.affine(node, at, map);
        }
        match tensor.first() {
            // PyTorch's newer exporter leaves it out.
            Some(1.0) if tensor.len() == 1 && node.op == "Mul" => self.copy_of(node, at),
            Some(value) if tensor.len() == 1 && node.op == "Mul" => {
                let chw = self.forms[x].chw;
                let form =
                    self.push(format!("times {value:.4e}"), vec![x], chw, vec![], Kind::Other);
                self.define(node, form);
                Ok(())
            }
            _ => Err(format!("{} with {dims:?}", node.op)),
        }
    }

    /// A map times one factor per channel.
    fn scale(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let [mut x, mut factors] = [self.value(node, 0)?, self.value(node, 1)?];
        let one = |form: usize| self.forms[form].chw[1..] == [1, 1];
        if one(x) && (!one(factors) || self.forms[factors].class < self.forms[x].class) {
            std::mem::swap(&mut x, &mut factors);
        }
        let chw = self.forms[x].chw;
        let form = self.push("scale".to_owned(), vec![x, factors], chw, vec![], Kind::Other);
        self.define(node, form);
        Ok(())
    }

    fn sum(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let mut terms = Vec::new();
        for at in 0..node.inputs.len() {
            let x = self.value(node, at)?;
            match &self.forms[x] {
                sum if sum.kind == Kind::Sum && self.alone(node, at) => terms.extend(&sum.inputs),
                _ => terms.push(x),
            }
        }
        let chw = self.forms[*terms.first().ok_or("a sum of nothing")?].chw;
        if terms.iter().any(|&term| self.forms[term].chw != chw) {
            return Err("a sum of maps of several sizes".to_owned());
        }
        terms.sort_by_key(|&term| self.forms[term].class);
        let form = self.push("sum".to_owned(), terms, chw, vec![], Kind::Sum);
        self.define(node, form);
        Ok(())
    }

    fn pool(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let Some(Entry::Value(x, around)) = self.entry(node, 0) else {
            return Err("a pooling of no value".to_owned());
        };
        let [c, h, w] = self.forms[x].chw;
        let kernel = sizes(node.ints("kernel_shape").unwrap_or_default())?;
        let kernel = <[usize; 2]>::try_from(kernel)
            .map_err(|_| "a pooling of other than two directions".to_owned())?;
        let max = node.op == "MaxPool";
        if max && around != [0; 4] {
            return Err("a maximum over zeros that were put around".to_owned());
        }
        let window = self.window(node, kernel, around)?;
        let [p, q] = window.output([h, w]).map_err(|error| error.to_string())?;
        let padded = window.pad != [0, 0] || window.pad_end != [0, 0];
        if kernel == [1, 1] && !padded {
            return self.subsample(node, window.stride);
        }
        if !max && kernel == [h, w] && [p, q] == [1, 1] && !padded {
            return self.mean(node);
        }
        let included = node.int("count_include_pad", 0) == 1 || around != [0; 4];
        let kind = match (max, included && padded) {
            (true, _) => "max",
            (false, false) => "mean",
            (false, true) => "mean with zeros",
        };
        let Window { stride, pad, dilation, .. } = window;
        let description = format!("{kind} {kernel:?} {stride:?} {pad:?} {dilation:?}");
        let form = self.push(description, vec![x], [c, p, q], vec![], Kind::Other);
        self.define(node, form);
        Ok(())
    }

    /// Every n-th row and column.
    fn subsample(&mut self, node: &'m ModelNode, stride: [usize; 2]) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        if stride == [1, 1] {
            return self.copy(node);
        }
        let [c, h, w] = self.forms[x].chw;
        let form = &self.forms[x];
        let (source, before) = if let Kind::Subsample(before) = form.kind
            && self.alone(node, 0)
        {
            (form.inputs[0], before)
        } else {
            (x, [1, 1])
        };
        let stride = [0, 1].map(|i| stride[i].max(1));
        let chw = [c, h.div_ceil(stride[0]), w.div_ceil(stride[1])];
        let stride = [0, 1].map(|i| stride[i].saturating_mul(before[i]));
        let description = format!("subsample {stride:?}");
        let form = self.push(description, vec![source], chw, vec![], Kind::Subsample(stride));
        self.define(node, form);
        Ok(())
    }

    /// The mean over each map.
    fn mean(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let [c, h, w] = self.forms[x].chw;
        if [h, w] == [1, 1] {
            return self.copy(node);
        }
        let form = self.push("mean".to_owned(), vec![x], [c, 1, 1], vec![], Kind::Other);
        self.define(node, form);
        Ok(())
    }

    fn is_over_maps(&self, node: &'m ModelNode) -> bool {
        let axes = self.tensor(node, 1).and_then(ModelTensor::ints).or(node.ints("axes"));
        axes.is_some_and(|axes| [[2, 3].as_slice(), &[-2, -1], &[-1, -2], &[3, 2]].contains(&axes))
    }

    fn is_relu(&self, node: &'m ModelNode) -> bool {
        let given = |at| self.tensor(node, at).and_then(ModelTensor::first);
        let low = given(1).unwrap_or_else(|| node.float("min", f32::MIN));
        let high = given(2).unwrap_or_else(|| node.float("max", f32::MAX));
        low == 0.0 && high >= f32::MAX
    }

    fn concat(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let inputs = (0..node.inputs.len()).map(|at| self.value(node, at));
        let inputs = inputs.collect::<Result<Vec<usize>, _>>()?;
        let first = *inputs.first().ok_or("a concatenation of nothing")?;
        let [_, h, w] = self.forms[first].chw;
        let axis = node.int("axis", 1);
        if ![1, -3].contains(&axis) || inputs.iter().any(|&x| self.forms[x].chw[1..] != [h, w]) {
            return Err("a concatenation along other than the channels".to_owned());
        }
        if inputs.len() == 1 {
            return self.copy(node);
        }
        let channels: usize = inputs.iter().map(|&x| self.forms[x].chw[0]).sum();
        size(i64::try_from(channels).unwrap_or(i64::MAX))?;
        // A concatenation that grows (DenseNet) may be written as one of its parts or of what is there already.
        let mut parts = Vec::new();
        for input in inputs {
            match &self.forms[input] {
                concat if concat.kind == Kind::Concat => parts.extend(&concat.inputs),
                _ => parts.push(input),
            }
        }
        self.spliced += parts.len();
        if self.spliced > MOST_PARTS {
            return Err("concatenations of too many parts".to_owned());
        }
        let form = self.push("concat".to_owned(), parts, [channels, h, w], vec![], Kind::Concat);
        self.define(node, form);
        Ok(())
    }

    fn slice(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let given = |at: usize, name: &str| -> Option<Vec<i64>> {
            let values = self.tensor(node, at).and_then(ModelTensor::ints).or(node.ints(name));
            values.map(<[i64]>::to_vec)
        };
        let (Some(starts), Some(ends)) = (given(1, "starts"), given(2, "ends")) else {
            return Err("a slice that depends on the input".to_owned());
        };
        let axes = given(3, "axes").unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = given(4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
        let x = self.value(node, 0)?;
        let [c, h, w] = self.forms[x].chw;
        let (mut range, mut stride) = ((0, c), [1, 1]);
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let length = *[usize::MAX, c, h, w]
                .get(usize::try_from(axis.rem_euclid(4)).unwrap_or_default())
                .ok_or("a slice along an axis that is not there")?;
            let stop = usize::try_from(end).map_or(length, |end| end.min(length));
            let start = size(start)?;
            match axis {
                1 if step == 1 && start < stop && end > 0 => range = (start, stop - start),
                2 | 3 if start == 0 && stop == length && end > 0 => {
                    stride[axis as usize - 2] = size(step)?;
                }
                _ if start == 0 && stop == length && step == 1 => {}
                _ => return Err("a slice of rows or columns".to_owned()),
            }
        }
        match (range == (0, c), stride == [1, 1]) {
            (true, true) => self.copy(node),
            (true, false) => self.subsample(node, stride),
            (false, true) => self.part(node, x, range, 0),
            (false, false) => Err("a slice of channels, rows and columns".to_owned()),
        }
    }

    /// A range of channels, as one of the outputs.
    fn part(
        &mut self,
        node: &'m ModelNode,
        x: usize,
        (start, len): (usize, usize),
        output: usize,
    ) -> Result<(), Unknown> {
        let [_, h, w] = self.forms[x].chw;
        let description = format!("slice {start}");
        let form = self.push(description, vec![x], [len, h, w], vec![], Kind::Other);
        self.names.insert(&node.outputs[output], Entry::Value(form, [0; 4]));
        Ok(())
    }

    fn split(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let channels = self.forms[x].chw[0];
        let parts = node.outputs.len();
        let lengths = self.tensor(node, 1).and_then(ModelTensor::ints).or(node.ints("split"));
        let lengths = match lengths {
            Some(lengths) => sizes(lengths)?,
            None => vec![channels / parts; parts],
        };
        if node.int("axis", 0) != 1
            || lengths.len() != parts
            || lengths.iter().sum::<usize>() != channels
        {
            return Err("a split along other than the channels".to_owned());
        }
        let mut start = 0;
        for (output, &len) in lengths.iter().enumerate() {
            self.part(node, x, (start, len), output)?;
            start += len;
        }
        Ok(())
    }

    /// Zeros around the channels, or around the rows and columns, which the next window takes up.
    fn pad(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let x = self.value(node, 0)?;
        let pads = self.tensor(node, 1).and_then(ModelTensor::ints).or(node.ints("pads"));
        let constant = match node.attributes.get("mode") {
            Some(Attribute::Text(mode)) => mode == "constant",
            _ => true,
        };
        let value = self.tensor(node, 2).and_then(ModelTensor::first);
        let value = value.unwrap_or_else(|| node.float("value", 0.0));
        let pads = sizes(pads.ok_or("padding that depends on the input")?)?;
        let [c, h, w] = self.forms[x].chw;
        match pads[..] {
            [0, 0, top, left, 0, 0, bottom, right] if constant && value == 0.0 => {
                let entry = Entry::Value(x, [top, left, bottom, right]);
                self.names.insert(&node.outputs[0], entry);
            }
            [0, before, 0, 0, 0, after, 0, 0] if constant && value == 0.0 => {
                let description = format!("pad {before} {after}");
                let chw = [c + before + after, h, w];
                let form = self.push(description, vec![x], chw, vec![], Kind::Other);
                self.define(node, form);
            }
            _ => return Err("padding by other than zeros".to_owned()),
        }
        Ok(())
    }

    /// An op that is only compared: its attributes, and the shapes of its tensors.
    fn other(&mut self, node: &'m ModelNode) -> Result<(), Unknown> {
        let mut description = format!("{} {:?}", node.op, node.attributes);
        let (mut inputs, mut weights) = (Vec::new(), Vec::new());
        for at in 0..node.inputs.len() {
            match self.entry(node, at) {
                Some(Entry::Value(form, [0, 0, 0, 0])) => inputs.push(form),
                Some(Entry::Tensor(tensor)) => {
                    description += &format!(" {:?}", tensor.dims);
                    weights.push(Weight { tensor, transposed: false });
                }
                Some(Entry::Value(..) | Entry::Sizes) | None => {
                    return Err(format!("{} of something unknown", node.op));
                }
            }
        }
        let chw = self.forms[*inputs.first().ok_or("an op of nothing")?].chw;
        let form = self.push(description, inputs, chw, weights, Kind::Other);
        self.define(node, form);
        Ok(())
    }
}
