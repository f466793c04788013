//! The pickle machine: Python's stack language, reduced to what describes tensors.
//!
//! Values live in one arena and refer to each other by index, so cycles and deep nesting cost nothing and need no
//! recursion. Nothing is called: `REDUCE` and `NEWOBJ` build tensors, containers, and things without content for the plain data
//! that scripts keep beside them, of whatever class. Any other function is refused where it would be called.

use super::globals::{Global, Stranger};
use super::object::{MAX_RANK, Object, StorageRef, TensorRef, Value, sequence};
use super::{malformed, refused};
use crate::error::FormatError;
use std::collections::BTreeMap;

/// Limit on objects, on the stack and on the memo. A state dict needs some ten objects per tensor.
const MAX_OBJECTS: usize = 1 << 18;
/// Limit on what all containers hold together, since one can be filled or copied again and again by a few bytes. A state
/// dict needs some twenty values per tensor.
const MAX_VALUES: usize = 1 << 20;
/// Why a tensor whose metadata say so is not read.
const COMPUTED: &str = "has values that are computed from others (its negative, for example): save it as `tensor.clone()`";

/// A finished pickle.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: Value<'a>,
    objects: Vec<Object<'a>>,
    /// The first class that nothing is known of and that something in it is an object of.
    pub(super) stranger: Option<Stranger<'a>>,
}

impl<'a> Pickle<'a> {
    /// Runs the pickle at the start of `bytes`; returns what follows it, too.
    pub(super) fn load(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FormatError> {
        Self::load_with(bytes, &BTreeMap::new())
    }

    /// The same for a pickle that refers to these tensors by number.
    pub(super) fn load_with(
        bytes: &'a [u8],
        tensors: &BTreeMap<i64, TensorRef<'a>>,
    ) -> Result<(Self, &'a [u8]), FormatError> {
        let mut machine = Machine {
            tensors,
            rest: bytes,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            objects: Vec::new(),
            values: 0,
            stranger: None,
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        let Machine { objects, stranger, rest, .. } = machine;
        Ok((Self { root, objects, stranger }, rest))
    }

    pub(super) fn object(&self, id: usize) -> &Object<'a> {
        &self.objects[id]
    }

    /// The items of a tuple or list, or `None` for another value.
    pub(super) fn sequence(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        sequence(&self.objects, value)
    }

    /// All storages that were named.
    pub(super) fn storages(&self) -> impl Iterator<Item = &StorageRef<'a>> {
        self.objects.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            Object::Sequence(_)
            | Object::Dict(_)
            | Object::Tensor(_)
            | Object::Unread(_)
            | Object::Inert => None,
        })
    }
}

struct Machine<'a, 't> {
    tensors: &'t BTreeMap<i64, TensorRef<'a>>,
    rest: &'a [u8],
    stack: Vec<Value<'a>>,
    /// Heights of the stack at which marks lie.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Value<'a>>,
    objects: Vec<Object<'a>>,
    /// Number of values that were put into containers.
    values: usize,
    stranger: Option<Stranger<'a>>,
}

impl<'a> Machine<'a, '_> {
    /// Executes one opcode; true after `STOP`.
    fn step(&mut self) -> Result<bool, FormatError> {
        let opcode = self.unsigned(1)? as u8;
        if opcode == b'.' {
            return Ok(true);
        }
        let known = self.structure(opcode)?
            || self.scalar(opcode)?
            || self.container(opcode)?
            || self.object(opcode)?;
        if known {
            return Ok(false);
        }
        Err(refused(format!("its pickle has the opcode {opcode:#04x}, which no state dict needs")))
    }

    /// An opcode of the pickle itself, its stack or its memo; false for another one.
    fn structure(&mut self, opcode: u8) -> Result<bool, FormatError> {
        match opcode {
            0x80 => {
                let protocol = self.unsigned(1)?;
                if protocol > 5 {
                    return Err(malformed(format!("pickle protocol {protocol}")));
                }
            }
            // FRAME: only a hint on how much to read at once.
            0x95 => drop(self.take(8)?),
            b'(' => {
                self.marks.push(self.stack.len());
                self.bounded(self.marks.len())?;
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'q' => self.memoize(1)?,
            b'r' => self.memoize(4)?,
            0x94 => self.remember(self.memo.len())?,
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An opcode that makes a number, a text, bytes, or one of the constants.
    fn scalar(&mut self, opcode: u8) -> Result<bool, FormatError> {
        match opcode {
            b'N' | 0x88 | 0x89 => self.push(Value::Plain)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Plain)?;
            }
            b'K' => self.push_int(1)?,
            b'M' => self.push_int(2)?,
            b'J' => {
                let value = self.unsigned(4)? as u32 as i32;
                self.push(Value::Int(i64::from(value)))?;
            }
            b'I' => {
                // Python 2 writes numbers beyond 32 bits so.
                let value = self.line()?.parse();
                self.push(Value::Int(value.map_err(|_| malformed("a number that is none"))?))?;
            }
            0x8a => self.push_long(1)?,
            0x8b => self.push_long(4)?,
            b'U' => self.push_string(1)?,
            b'T' => self.push_string(4)?,
            0x8c => self.push_text(1)?,
            b'X' => self.push_text(4)?,
            0x8d => self.push_text(8)?,
            b'C' => self.push_bytes(1)?,
            b'B' => self.push_bytes(4)?,
            0x8e | 0x96 => self.push_bytes(8)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An opcode that makes or fills a list, a tuple, a dict or a set.
    fn container(&mut self, opcode: u8) -> Result<bool, FormatError> {
        match opcode {
            0x8f => self.push_object(Object::Inert)?,
            b')' | b']' => self.push_object(Object::Sequence(Vec::new()))?,
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            b't' | b'l' | 0x85..=0x87 => {
                let items = match opcode {
                    b't' | b'l' => self.pop_to_mark()?,
                    _ => self.pop_many(usize::from(opcode - 0x84))?,
                };
                self.hold(items.len())?;
                self.push_object(Object::Sequence(items))?;
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.append(items)?;
            }
            // For sets: ADDITEMS.
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?;
                self.append(items)?;
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push_object(Object::Inert)?;
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.set(items)?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set(items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An opcode that names something of Python's or asks for what it makes.
    fn object(&mut self, opcode: u8) -> Result<bool, FormatError> {
        match opcode {
            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push(global(module, name))?;
            }
            0x93 => match self.pop_many(2)?[..] {
                [Value::Str(module), Value::Str(name)] => {
                    self.push(global(module, name))?;
                }
                _ => return Err(malformed("a global whose name is no text")),
            },
            b'R' => self.reduce()?,
            0x81 => self.new_object(2)?,
            // With keyword arguments.
            0x92 => self.new_object(3)?,
            b'b' => self.build()?,
            b'Q' => self.persistent()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FormatError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| {
            malformed(format!("the pickle wants {len} bytes where {} are left", self.rest.len()))
        })?;
        self.rest = rest;
        Ok(taken)
    }

    /// A little-endian number of `size` bytes.
    fn unsigned(&mut self, size: usize) -> Result<usize, FormatError> {
        let mut word = [0; 8];
        word[..size].copy_from_slice(self.take(size)?);
        usize::try_from(u64::from_le_bytes(word)).map_err(|_| malformed("a length beyond memory"))
    }

    fn line(&mut self) -> Result<&'a str, FormatError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or_else(|| malformed("an unfinished line in the pickle"))?)?;
        self.take(1)?;
        text(line)
    }

    fn bounded(&self, count: usize) -> Result<(), FormatError> {
        if count > MAX_OBJECTS {
            return Err(refused(format!("its pickle builds more than {MAX_OBJECTS} objects")));
        }
        Ok(())
    }

    /// To be called before `count` values are put into a container.
    fn hold(&mut self, count: usize) -> Result<(), FormatError> {
        self.values = self.values.saturating_add(count);
        if self.values > MAX_VALUES {
            return Err(refused(format!("its pickle holds more than {MAX_VALUES} values")));
        }
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), FormatError> {
        self.stack.push(value);
        self.bounded(self.stack.len())
    }

    fn push_int(&mut self, size: usize) -> Result<(), FormatError> {
        let value = self.unsigned(size)? as i64;
        self.push(Value::Int(value))
    }

    fn push_long(&mut self, size: usize) -> Result<(), FormatError> {
        let size = self.unsigned(size)?;
        let value = long(self.take(size)?);
        self.push(value)
    }

    /// A string of Python 2: a text, or bytes.
    fn push_string(&mut self, size: usize) -> Result<(), FormatError> {
        let len = self.unsigned(size)?;
        let bytes = self.take(len)?;
        self.push(str::from_utf8(bytes).map_or(Value::Plain, Value::Str))
    }

    fn push_text(&mut self, size: usize) -> Result<(), FormatError> {
        let len = self.unsigned(size)?;
        let text = text(self.take(len)?)?;
        self.push(Value::Str(text))
    }

    fn push_bytes(&mut self, size: usize) -> Result<(), FormatError> {
        let len = self.unsigned(size)?;
        self.take(len)?;
        self.push(Value::Plain)
    }

    fn push_object(&mut self, object: Object<'a>) -> Result<(), FormatError> {
        self.objects.push(object);
        self.bounded(self.objects.len())?;
        self.push(Value::Object(self.objects.len() - 1))
    }

    fn pop(&mut self) -> Result<Value<'a>, FormatError> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(malformed("the pickle takes a mark for a value"));
        }
        self.stack.pop().ok_or_else(|| malformed("the pickle takes from an empty stack"))
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>, FormatError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= floor => Ok(self.stack.split_off(start)),
            Some(_) | None => Err(malformed("the pickle takes from an empty stack")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value<'a>>, FormatError> {
        let mark = self.marks.pop().ok_or_else(|| malformed("the pickle misses a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, index: usize) -> Result<(), FormatError> {
        let value = self.pop()?;
        self.memo.insert(index, value);
        self.bounded(self.memo.len())?;
        self.push(value)
    }

    fn memoize(&mut self, size: usize) -> Result<(), FormatError> {
        let index = self.unsigned(size)?;
        self.remember(index)
    }

    fn recall(&mut self, size: usize) -> Result<(), FormatError> {
        let index = self.unsigned(size)?;
        let value = self.memo.get(&index).copied();
        self.push(value.ok_or_else(|| malformed(format!("nothing in the memo at {index}")))?)
    }

    /// The object below, which stays where it is.
    fn top(&mut self) -> Result<&mut Object<'a>, FormatError> {
        let value = self.pop()?;
        self.push(value)?;
        match value {
            Value::Object(id) => Ok(&mut self.objects[id]),
            Value::Plain
            | Value::Int(_)
            | Value::Str(_)
            | Value::Global(_)
            | Value::Stranger(_) => {
                Err(malformed("the pickle fills something that is no container"))
            }
        }
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<(), FormatError> {
        self.hold(items.len())?;
        match self.top()? {
            Object::Sequence(sequence) => sequence.extend(items),
            Object::Inert => {}
            Object::Dict(_) | Object::Storage(_) | Object::Tensor(_) | Object::Unread(_) => {
                return Err(malformed("the pickle appends to something that is no list"));
            }
        }
        Ok(())
    }

    fn set(&mut self, items: Vec<Value<'a>>) -> Result<(), FormatError> {
        if !items.len().is_multiple_of(2) {
            return Err(malformed("a key without a value in the pickle"));
        }
        self.hold(items.len())?;
        match self.top()? {
            Object::Dict(dict) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            Object::Inert => {}
            Object::Sequence(_) | Object::Storage(_) | Object::Tensor(_) | Object::Unread(_) => {
                return Err(malformed("the pickle sets items of something that is no dict"));
            }
        }
        Ok(())
    }

    /// `BUILD` sets attributes. A state dict has one, `_metadata`, which is not needed; those of plain data are not either.
    fn build(&mut self) -> Result<(), FormatError> {
        self.pop()?;
        match self.top()? {
            Object::Dict(_) | Object::Inert => Ok(()),
            Object::Sequence(_) | Object::Storage(_) | Object::Tensor(_) | Object::Unread(_) => {
                Err(refused("its pickle sets attributes of something that is no dict"))
            }
        }
    }

    /// `REDUCE`: a global applied to a tuple.
    fn reduce(&mut self) -> Result<(), FormatError> {
        let [function, arguments] = self.pop_many(2)?[..] else {
            return Err(malformed("a call without arguments"));
        };
        if let Value::Stranger(stranger) = function {
            return Err(stranger.refusal());
        }
        let bad = || malformed("a call with arguments that its function does not have");
        let arguments = sequence(&self.objects, arguments).ok_or_else(bad)?;
        match (function, arguments) {
            (Value::Global(Global::OrderedDict), []) => self.push_object(Object::Dict(Vec::new())),
            (Value::Global(Global::OrderedDict), [pairs]) => {
                let pairs = *pairs;
                self.hold(sequence(&self.objects, pairs).map_or(0, <[_]>::len))?;
                let pairs = sequence(&self.objects, pairs).ok_or_else(bad)?;
                let pair = |&pair| match sequence(&self.objects, pair)? {
                    &[key, value] => Some((key, value)),
                    _ => None,
                };
                let items = pairs.iter().map(pair).collect::<Option<Vec<_>>>().ok_or_else(bad)?;
                self.push_object(Object::Dict(items))
            }
            (Value::Global(Global::Size | Global::Counter), [value]) => self.push(*value),
            (Value::Global(Global::RebuildParameter), [tensor, ..]) => self.push(*tensor),
            (Value::Global(Global::Dict), _) => self.push_object(Object::Dict(Vec::new())),
            (Value::Global(Global::Inert), arguments) => {
                if let Some(&Value::Stranger(class)) = arguments.first() {
                    self.stranger.get_or_insert(class);
                }
                self.push_object(Object::Inert)
            }
            (Value::Global(Global::Unread(why)), _) => self.push_object(Object::Unread(why)),
            (
                Value::Global(Global::RebuildTensor),
                &[Value::Object(storage), Value::Int(offset), shape, stride, ref others @ ..],
            ) => {
                // After whether a gradient is wanted, and hooks.
                if others.get(2).is_some_and(|&metadata| !self.is_plain(metadata)) {
                    return self.push_object(Object::Unread(COMPUTED));
                }
                let Object::Storage(storage) = &self.objects[storage] else { return Err(bad()) };
                let offset = usize::try_from(offset).ok();
                let offset = offset.and_then(|offset| offset.checked_add(storage.start));
                let tensor = TensorRef {
                    storage: storage.clone(),
                    offset: offset.ok_or_else(bad)?,
                    shape: self.sizes(shape)?,
                    stride: self.sizes(stride)?,
                };
                if tensor.shape.len() != tensor.stride.len() {
                    return Err(malformed("a tensor with more strides than dimensions"));
                }
                self.push_object(Object::Tensor(tensor))
            }
            _ => Err(bad()),
        }
    }

    /// Whether a tensor's values are those of its storage, by its metadata. Complex numbers are no weights.
    fn is_plain(&self, metadata: Value<'a>) -> bool {
        let Value::Object(id) = metadata else { return true };
        let pairs = self.objects[id].pairs().unwrap_or_default();
        pairs.iter().all(|(key, _)| *key == Value::Str("conj"))
    }

    /// `NEWOBJ`: an object of a class, made of `count - 1` arguments.
    fn new_object(&mut self, count: usize) -> Result<(), FormatError> {
        let class = self.pop_many(count)?[0];
        let dicts = [Global::OrderedDict, Global::Dict].map(Value::Global);
        if let Value::Stranger(class) = class {
            self.stranger.get_or_insert(class);
        }
        if dicts.contains(&class) {
            self.push_object(Object::Dict(Vec::new()))
        } else if matches!(class, Value::Global(Global::Inert) | Value::Stranger(_)) {
            self.push_object(Object::Inert)
        } else {
            Err(refused("its pickle makes an object of a class that no state dict needs"))
        }
    }

    /// A tuple of sizes, none of them negative.
    fn sizes(&self, value: Value<'a>) -> Result<Vec<usize>, FormatError> {
        let items = sequence(&self.objects, value).filter(|items| items.len() <= MAX_RANK);
        let size = |value: &Value<'a>| match value {
            Value::Int(size) => usize::try_from(*size).ok(),
            Value::Plain
            | Value::Str(_)
            | Value::Global(_)
            | Value::Stranger(_)
            | Value::Object(_) => None,
        };
        items
            .and_then(|items| items.iter().map(size).collect())
            .ok_or_else(|| malformed("a tensor's shape or strides are not at most eight sizes"))
    }

    /// `BINPERSID`: `("storage", type, key, device, elements)`, in legacy files followed by `None` or, for a view of the
    /// storage, by `(key, offset, elements)`. In tar archives the number of a tensor, as text.
    fn persistent(&mut self) -> Result<(), FormatError> {
        let id = self.pop()?;
        let unknown = || refused("its pickle refers to no plain storage");
        if let Value::Str(number) = id {
            let number = number.parse().map_err(|_| unknown())?;
            let tensor = self.tensors.get(&number).ok_or_else(unknown)?;
            return self.push_object(Object::Tensor(tensor.clone()));
        }
        let Some(
            &[
                Value::Str("storage"),
                Value::Global(Global::Storage(kind)),
                Value::Str(key),
                _,
                Value::Int(len),
                ref view @ ..,
            ],
        ) = sequence(&self.objects, id)
        else {
            return Err(unknown());
        };
        let start = match view {
            [] | [Value::Plain] => 0,
            &[view] => match sequence(&self.objects, view) {
                Some(&[Value::Str(_), Value::Int(start), Value::Int(_)]) => start,
                Some(_) | None => return Err(unknown()),
            },
            [_, _, ..] => return Err(unknown()),
        };
        let size = |value: i64| usize::try_from(value).map_err(|_| unknown());
        let (len, start) = (size(len)?, size(start)?);
        self.push_object(Object::Storage(StorageRef { kind, key: key.into(), len, start }))
    }
}

/// What a name stands for.
fn global<'a>(module: &'a str, name: &'a str) -> Value<'a> {
    let stranger = Value::Stranger(Stranger { module, name });
    Global::named(module, name).map_or(stranger, Value::Global)
}

/// A little-endian two's complement number; one beyond 64 bits is nothing that a tensor is made of.
fn long(bytes: &[u8]) -> Value<'static> {
    if bytes.len() > 8 {
        return Value::Plain;
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut word = if negative { [0xff; 8] } else { [0; 8] };
    word[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(word))
}

fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    str::from_utf8(bytes).map_err(|_| malformed("text in the pickle that is not UTF-8"))
}
