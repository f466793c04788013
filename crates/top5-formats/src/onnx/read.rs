//! A file as a [`Model`]: protocol buffers, of which what is not needed is passed over.
//!
//! Nothing is larger than the file: tensors stay where they are until they are asked for, and what a file says about sizes is
//! compared with the bytes that it has. Of tensors in files beside it, as PyTorch's exporter writes them, the place is read.

use super::external::External;
use super::message::{FORMAT, last, malformed, refused, text};
use super::model::{Attribute, Content, Model, ModelNode, ModelTensor};
use super::strip::{Info, strip_start, strip_tail};
use crate::element::Element;
use crate::error::{FormatError, quoted};
use crate::protobuf::{Fields, Value};
use std::collections::BTreeMap;

/// More nodes or tensors than any network has.
const MAX_COUNT: usize = 1 << 16;
const MAX_RANK: usize = 8;
const MAX_INTS: usize = 1 << 20;
/// The largest dimension of a tensor.
const MAX_SIZE: usize = 1 << 24;
/// The largest of an input.
const MAX_INPUT: usize = 1 << 16;

/// ONNX's numbers of the types that are read.
const FLOAT: i64 = 1;
const UINT8: i64 = 2;
const INT32: i64 = 6;
const INT64: i64 = 7;
const FLOAT16: i64 = 10;
const DOUBLE: i64 = 11;
const BFLOAT16: i64 = 16;

/// The network in a file.
pub(super) fn read(bytes: &[u8]) -> Result<Model<'_>, FormatError> {
    let graph = last(bytes, 7)?.ok_or_else(|| malformed("it has no graph"))?;
    let mut model = Model {
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        input: (String::new(), [None; 3]),
        outputs: Vec::new(),
        metadata: read_metadata(bytes)?,
        intake: Ok(None),
        tail: Vec::new(),
    };
    let mut inputs = Vec::new();
    let mut fields = Fields::new(FORMAT, graph);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(node)) => read_node(node, &mut model)?,
            (5, Value::Bytes(tensor)) => {
                let (name, tensor) = read_tensor(tensor)?;
                model.tensors.insert(name, tensor);
            }
            (11, Value::Bytes(info)) => inputs.push(read_info(info)?),
            (12, Value::Bytes(info)) => model.outputs.push(read_info(info)?.name),
            _ => {}
        }
        let counts = [model.nodes.len(), model.tensors.len(), inputs.len(), model.outputs.len()];
        if counts.iter().any(|&count| count > MAX_COUNT) {
            let what = format!("it has more than {MAX_COUNT} nodes, tensors, inputs or outputs");
            return Err(refused(what));
        }
    }
    // Old files list their tensors among the inputs.
    inputs.retain(|input: &Info| !model.tensors.contains_key(&input.name));
    let [input] = <[_; 1]>::try_from(inputs)
        .map_err(|inputs| refused(format!("it has {} inputs and not one", inputs.len())))?;
    if model.outputs.is_empty() {
        return Err(malformed("it has no output"));
    }
    model.sort();
    strip_start(&mut model, input);
    strip_tail(&mut model);
    Ok(model)
}

/// Keys and values of the free text; of one that is not UTF-8, what can be read.
fn read_metadata(model: &[u8]) -> Result<BTreeMap<String, String>, FormatError> {
    let mut metadata = BTreeMap::new();
    let mut fields = Fields::new(FORMAT, model);
    while let Some((number, value)) = fields.next()? {
        let (14, Value::Bytes(entry)) = (number, value) else { continue };
        let part = |number| Ok(String::from_utf8_lossy(last(entry, number)?.unwrap_or_default()));
        metadata.insert(part(1)?.into_owned(), part(2)?.into_owned());
        if metadata.len() > MAX_COUNT {
            return Err(refused(format!("it has more than {MAX_COUNT} metadata")));
        }
    }
    Ok(metadata)
}

/// Appends a node; one that only holds a constant becomes a tensor.
fn read_node<'a>(message: &'a [u8], model: &mut Model<'a>) -> Result<(), FormatError> {
    let mut node = ModelNode {
        op: String::new(),
        attributes: BTreeMap::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let (mut constant, mut domain) = (None, String::new());
    let mut fields = Fields::new(FORMAT, message);
    while let Some((number, value)) = fields.next()? {
        let Value::Bytes(bytes) = value else { continue };
        match number {
            1 => node.inputs.push(text(bytes)?),
            2 => node.outputs.push(text(bytes)?),
            4 => node.op = text(bytes)?,
            5 => {
                let (name, value, tensor) = read_attribute(bytes)?;
                constant = tensor.or_else(|| of_value(&name, value.as_ref())).or(constant);
                if let Some(value) = value {
                    node.attributes.insert(name, value);
                }
            }
            7 => domain = text(bytes)?,
            _ => {}
        }
    }
    // Those of others are called by their full names, so that they are taken for none of ONNX's.
    if !domain.is_empty() && domain != "ai.onnx" {
        node.op = format!("{domain}.{}", node.op);
    }
    if node.op == "Constant"
        && let (Some(tensor), Some(output)) = (constant, node.outputs.first())
    {
        model.tensors.insert(output.clone(), tensor);
        return Ok(());
    }
    if node.outputs.is_empty() {
        return Err(malformed(format!("a node {} without an output", quoted(&node.op))));
    }
    model.nodes.push(node);
    Ok(())
}

type ReadAttribute<'a> = (String, Option<Attribute>, Option<ModelTensor<'a>>);

/// Name, value, and the tensor that it may be instead.
fn read_attribute(message: &[u8]) -> Result<ReadAttribute<'_>, FormatError> {
    let mut name = String::new();
    let (mut value, mut tensor) = (None, None);
    let (mut ints, mut floats) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(FORMAT, message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Value::Bytes(bytes)) => name = text(bytes)?,
            (2, Value::Fixed32(word)) => value = Some(Attribute::Float(f32::from_le_bytes(word))),
            (3, Value::Varint(word)) => value = Some(Attribute::Int(word as i64)),
            (4, Value::Bytes(bytes)) => {
                value = Some(Attribute::Text(String::from_utf8_lossy(bytes).into_owned()));
            }
            (5, Value::Bytes(bytes)) => tensor = Some(read_tensor(bytes)?.1),
            (7, field) => push_floats(&mut floats, field)?,
            (8, field) => push_ints(&mut ints, field)?,
            _ => {}
        }
    }
    if !ints.is_empty() {
        value = Some(Attribute::Ints(ints));
    } else if !floats.is_empty() {
        value = Some(Attribute::Floats(floats));
    }
    Ok((name, value, tensor))
}

/// The tensor that a `Constant` may write as numbers.
fn of_value<'a>(name: &str, value: Option<&Attribute>) -> Option<ModelTensor<'a>> {
    let content = match (name, value?) {
        ("value_int", Attribute::Int(value)) => (vec![], Content::Ints(vec![*value])),
        ("value_float", Attribute::Float(value)) => (vec![], Content::Floats(vec![*value])),
        ("value_ints", Attribute::Ints(values)) => {
            (vec![values.len()], Content::Ints(values.clone()))
        }
        ("value_floats", Attribute::Floats(values)) => {
            (vec![values.len()], Content::Floats(values.clone()))
        }
        _ => return None,
    };
    let (dims, content) = content;
    Some(ModelTensor { dims, content })
}

/// One number, or a packed field of them.
fn push_ints(ints: &mut Vec<i64>, value: Value<'_>) -> Result<(), FormatError> {
    match value {
        Value::Varint(word) => ints.push(word as i64),
        Value::Bytes(bytes) => {
            let mut packed = Fields::new(FORMAT, bytes);
            while !packed.is_empty() && ints.len() <= MAX_INTS {
                ints.push(packed.varint()? as i64);
            }
        }
        Value::Fixed32(_) | Value::Fixed64(_) => return Err(malformed("an integer that is none")),
    }
    // Each byte may become a number, and no network has many.
    if ints.len() > MAX_INTS { Err(refused("it has a tensor of many integers")) } else { Ok(()) }
}

fn push_floats(floats: &mut Vec<f32>, value: Value<'_>) -> Result<(), FormatError> {
    match value {
        Value::Fixed32(word) => floats.push(f32::from_le_bytes(word)),
        Value::Bytes(bytes) => {
            let words = bytes.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]);
            floats.extend(words.map(f32::from_le_bytes));
        }
        Value::Varint(_) | Value::Fixed64(_) => return Err(malformed("a float that is none")),
    }
    Ok(())
}

/// Name and tensor. Types that no network needs have no values.
fn read_tensor(message: &[u8]) -> Result<(String, ModelTensor<'_>), FormatError> {
    let mut name = String::new();
    let (mut dims, mut kind, mut raw) = (Vec::new(), 0, None);
    let (mut floats, mut ints, mut external) = (Vec::new(), Vec::new(), External::default());
    let mut fields = Fields::new(FORMAT, message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, value) => push_ints(&mut dims, value)?,
            (2, Value::Varint(word)) => kind = word as i64,
            (4, value) => push_floats(&mut floats, value)?,
            (5 | 7, value) => push_ints(&mut ints, value)?,
            (8, Value::Bytes(bytes)) => name = text(bytes)?,
            (9, Value::Bytes(bytes)) => raw = Some(bytes),
            (13, Value::Bytes(entry)) => external.entry(entry)?,
            (14, Value::Varint(place)) => external.lies_beside = place == 1,
            _ => {}
        }
        if dims.len() > MAX_RANK {
            return Err(malformed(format!("tensor {} has too many dimensions", quoted(&name))));
        }
    }
    let bad = || malformed(format!("tensor {} has not as many values as it says", quoted(&name)));
    let dims = dims
        .into_iter()
        .map(|d| usize::try_from(d).ok().filter(|&d| d <= MAX_SIZE))
        .collect::<Option<Vec<usize>>>();
    let dims = dims.ok_or_else(bad)?;
    let count = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(bad)?;
    let (width, element) = match kind {
        FLOAT => (4, Some(Element::F32)),
        FLOAT16 => (2, Some(Element::F16)),
        BFLOAT16 => (2, Some(Element::Bf16)),
        DOUBLE => (8, Some(Element::F64)),
        INT32 => (4, None),
        INT64 => (8, None),
        _ => return Ok((name, ModelTensor { dims, content: Content::Ints(Vec::new()) })),
    };
    if external.lies_beside {
        let length = count.checked_mul(width).ok_or_else(bad)?;
        let content = Content::Outside(external.place(length, element)?);
        return Ok((name, ModelTensor { dims, content }));
    }
    let content = match (raw, element) {
        (Some(raw), _) if count.checked_mul(width) != Some(raw.len()) => return Err(bad()),
        (Some(_), None) if count > MAX_INTS => return Err(bad()),
        (Some(raw), _) => Content::of_bytes(element, raw, width),
        (None, None) if ints.len() == count => Content::Ints(ints),
        (None, Some(Element::F32)) if floats.len() == count => Content::Floats(floats),
        (None, _) => return Err(bad()),
    };
    Ok((name, ModelTensor { dims, content }))
}

/// Name, type and dimensions, as far as they are given.
fn read_info(message: &[u8]) -> Result<Info, FormatError> {
    let name = last(message, 1)?.map(text).transpose()?.unwrap_or_default();
    let mut info = Info { name, bytes: false, dims: Vec::new() };
    let Some(kind) = last(message, 2)? else { return Ok(info) };
    let Some(tensor) = last(kind, 1)? else { return Ok(info) };
    let mut fields = Fields::new(FORMAT, tensor);
    while let Some((number, value)) = fields.next()? {
        if let (1, Value::Varint(word)) = (number, value) {
            info.bytes = word as i64 == UINT8;
        }
    }
    let Some(shape) = last(tensor, 2)? else { return Ok(info) };
    let mut fields = Fields::new(FORMAT, shape);
    while let Some((number, value)) = fields.next()? {
        let (1, Value::Bytes(dimension)) = (number, value) else { continue };
        let mut size = None;
        let mut dimension = Fields::new(FORMAT, dimension);
        while let Some((number, value)) = dimension.next()? {
            if let (1, Value::Varint(word)) = (number, value) {
                size = usize::try_from(word).ok().filter(|&size| (1..=MAX_INPUT).contains(&size));
            }
        }
        info.dims.push(size);
        if info.dims.len() > MAX_RANK {
            return Err(malformed(format!("{} has too many dimensions", quoted(&info.name))));
        }
    }
    Ok(info)
}
