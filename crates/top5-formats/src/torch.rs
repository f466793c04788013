//! PyTorch checkpoints (`.pth`, `.pt`, `.th`, `.bin`): tensors described by a pickle, values in storages beside it.
//!
//! Read are the zip container (PyTorch 1.6 and later), the legacy one before it, which begins with a magic number, and
//! the tar archive of the first versions (before 0.1.10). The pickle is interpreted by a machine that knows the data types
//! of a state dict and the plain data that scripts keep beside it, and nothing else: a global that is not one of them is refused by
//! its name, so no code of the file is ever run.

mod contents;
mod globals;
mod legacy;
mod object;
mod pickle;
mod tar;
mod zip;

use crate::element::Element;
use crate::error::{FormatError, MAX_NAME, quoted};
use crate::{Format, Loaded, Pick};
use object::{Object, TensorRef, Value};
use pickle::Pickle;
use std::collections::BTreeMap;
use top5_graph::{Tensor, Weights};

pub(crate) use legacy::is_legacy;
pub(crate) use tar::is_checkpoint as is_tar;
pub(crate) use zip::is_zip;

/// Reads the state dict, as f32, wherever it lies; whatever else is in the checkpoint is ignored.
pub fn read(bytes: &[u8]) -> Result<Weights, FormatError> {
    read_with(bytes, &Pick::Weights).map(|loaded| loaded.weights)
}

/// Reads the state dict that `pick` asks for, and lists all groups of tensors that there are. Tensors of integers and truth
/// values, which are counters and masks, are left out, and those of types that are not read are named.
pub fn read_with(bytes: &[u8], pick: &Pick) -> Result<Loaded, FormatError> {
    if is_zip(bytes) {
        let archive = zip::Archive::open(bytes)?;
        let pickle = archive.pickle()?;
        weights(&pickle, pick, bytes.len(), |key| archive.storage(key))
    } else if is_legacy(bytes) {
        let checkpoint = legacy::Checkpoint::open(bytes)?;
        weights(&checkpoint.pickle, pick, bytes.len(), |key| checkpoint.storage(key))
    } else if is_tar(bytes) {
        let checkpoint = tar::Checkpoint::open(bytes)?;
        weights(&checkpoint.pickle, pick, bytes.len(), |key| checkpoint.storage(key))
    } else {
        Err(malformed("neither a zip archive nor PyTorch's magic number nor its tar archive"))
    }
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed("PyTorch", what)
}

fn refused(what: impl Into<String>) -> FormatError {
    FormatError::refused("PyTorch", what)
}

/// The tensors of the state dict in `pickle`, from the storages' bytes; all together at most `limit` stored bytes,
/// so that tensors that share a storage cannot multiply it.
fn weights<'a>(
    pickle: &Pickle<'a>,
    pick: &Pick,
    limit: usize,
    storage: impl Fn(&str) -> Result<&'a [u8], FormatError>,
) -> Result<Loaded, FormatError> {
    let (items, groups) = contents::state_dict(pickle, pick)?;
    let mut storages: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut weights = Weights::new();
    let mut unread = Vec::new();
    let mut total = 0usize;
    for &(key, value) in items {
        let (Value::Str(name), Value::Object(id)) = (key, value) else { continue };
        let tensor = match pickle.object(id) {
            Object::Tensor(tensor) => tensor,
            Object::Unread(why) => {
                unread.push(format!("tensor {} {why}", quoted(name)));
                continue;
            }
            Object::Sequence(_) | Object::Dict(_) | Object::Storage(_) | Object::Inert => continue,
        };
        let Some(element) = tensor.storage.kind.element else { continue };
        let key = &*tensor.storage.key;
        let data = match storages.get(key) {
            Some(data) => data,
            None => storages.entry(key).or_insert(storage(key)?),
        };
        if name.len() > MAX_NAME {
            return Err(refused(format!("a tensor's name has {} bytes", name.len())));
        }
        if tensor.is_expanded() {
            unread.push(format!("tensor {} {EXPANDED}", quoted(name)));
            continue;
        }
        let (tensor, size) = gather(name, tensor, element, data)?;
        total = total.saturating_add(size);
        if total > limit {
            return Err(refused("its tensors share storages and are larger than the file"));
        }
        if weights.insert(name, tensor).is_some() {
            return Err(malformed(format!("two tensors are called {}", quoted(name))));
        }
    }
    unread.extend(pickle.stranger.map(contents::of_class));
    let metadata = BTreeMap::new();
    let loaded = Loaded { weights, format: Format::Torch, metadata, groups, unread }.check()?;
    if loaded.weights.is_empty() {
        return Err(refused("the checkpoint holds no tensors of floats"));
    }
    Ok(loaded)
}

const EXPANDED: &str =
    "repeats values (`expand`) instead of holding them: save it as `tensor.clone()`";

/// The tensor in row-major order, and the bytes its elements take in the file.
fn gather(
    name: &str,
    tensor: &TensorRef<'_>,
    element: Element,
    data: &[u8],
) -> Result<(Tensor, usize), FormatError> {
    let TensorRef { storage, offset, shape, stride } = tensor;
    let bad = |what: &str| malformed(format!("tensor {}: {what}", quoted(name)));
    let width = element.size();
    if storage.len.checked_mul(width) != Some(data.len()) {
        return Err(bad(&format!(
            "its storage should have {} elements of {width} bytes, and has {} bytes",
            storage.len,
            data.len()
        )));
    }
    let count = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&count| count <= storage.len)
        .ok_or_else(|| bad(&format!("shape {shape:?} in a storage of {}", storage.len)))?;
    if count == 0 {
        return Tensor::new(shape.clone(), Vec::new())
            .map(|tensor| (tensor, 0))
            .ok_or_else(|| bad("its shape overflows"));
    }
    let last = shape
        .iter()
        .zip(stride)
        .try_fold(*offset, |last, (&d, &step)| last.checked_add((d - 1).checked_mul(step)?));
    if last.is_none_or(|last| last >= storage.len) {
        return Err(bad(&format!(
            "shape {shape:?} with strides {stride:?} from {offset} leaves its storage of {}",
            storage.len
        )));
    }
    // The last axes, as long as nothing lies between their elements, are read as one run.
    let (mut outer, mut run) = (shape.len(), 1);
    while outer > 0 && (stride[outer - 1] == run || shape[outer - 1] == 1) {
        outer -= 1;
        run *= shape[outer];
    }
    let mut values = Vec::with_capacity(count);
    let mut position = vec![0; outer];
    let mut index = *offset;
    for _ in 0..count / run {
        element.append(&data[index * width..(index + run) * width], &mut values);
        for axis in (0..outer).rev() {
            position[axis] += 1;
            index += stride[axis];
            if position[axis] < shape[axis] {
                break;
            }
            index -= position[axis] * stride[axis];
            position[axis] = 0;
        }
    }
    let tensor = Tensor::new(shape.clone(), values).ok_or_else(|| bad("its shape overflows"))?;
    Ok((tensor, count * width))
}

#[cfg(test)]
mod tests;
