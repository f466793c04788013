//! The container before PyTorch 0.1.10: a tar archive of `storages` (each a pickle that describes it, then its number of
//! elements and the elements), `tensors` (each a pickle, then sizes, strides and offset) and `pickle`, which refers to the
//! tensors by their numbers.

use super::globals::Global;
use super::malformed;
use super::object::{MAX_RANK, StorageRef, TensorRef, Value};
use super::pickle::Pickle;
use crate::error::{FormatError, quoted};
use std::collections::BTreeMap;

/// Archives consist of blocks of so many bytes: a header, then the content, padded.
const BLOCK: usize = 512;
/// No checkpoint has more storages or tensors.
const MAX_COUNT: i64 = 1 << 16;
/// The members.
const MEMBERS: [&str; 4] = ["sys_info", "pickle", "tensors", "storages"];

/// Whether the bytes begin like a tar archive whose first member is one of a checkpoint's.
pub(crate) fn is_checkpoint(bytes: &[u8]) -> bool {
    let name = bytes.get(..100).map(name);
    bytes.get(257..262) == Some(b"ustar")
        && name.is_some_and(|name| MEMBERS.iter().any(|member| member.as_bytes() == name))
}

/// An opened checkpoint.
pub(super) struct Checkpoint<'a> {
    pub(super) pickle: Pickle<'a>,
    storages: BTreeMap<String, &'a [u8]>,
}

impl<'a> Checkpoint<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let members = members(bytes)?;
        let member = |name: &str| {
            let member = members.get(name.as_bytes()).copied();
            member.ok_or_else(|| malformed(format!("the tar archive has no member {name}")))
        };
        let mut storages = BTreeMap::new();
        let described = described(member("storages")?, &mut storages)?;
        let tensors = tensors(member("tensors")?, &described)?;
        let (pickle, _) = Pickle::load_with(member("pickle")?, &tensors)?;
        Ok(Self { pickle, storages })
    }

    pub(super) fn storage(&self, key: &str) -> Result<&'a [u8], FormatError> {
        let storage = self.storages.get(key).copied();
        storage.ok_or_else(|| malformed(format!("storage {} is missing", quoted(key))))
    }
}

/// The name in a header: what comes before the first zero.
fn name(header: &[u8]) -> &[u8] {
    header.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The archive's members by name.
fn members(bytes: &[u8]) -> Result<BTreeMap<&[u8], &[u8]>, FormatError> {
    let mut members = BTreeMap::new();
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<BLOCK>() {
        // A header of zeros ends the archive.
        if header.iter().all(|&byte| byte == 0) {
            return Ok(members);
        }
        // The sum is taken as if its own field held spaces.
        let sum = header.iter().enumerate().map(|(i, &byte)| match i {
            148..156 => u64::from(b' '),
            _ => u64::from(byte),
        });
        if octal(&header[148..156]) != Some(sum.sum()) {
            return Err(malformed("the checksum of a tar header is wrong"));
        }
        let name = name(&header[..100]);
        let size = octal(&header[124..136]).and_then(|size| usize::try_from(size).ok());
        let content = size.and_then(|size| Some((size, after.split_at_checked(size)?)));
        let (size, (content, _)) = content.ok_or_else(|| {
            malformed(format!(
                "member {} leaves the archive",
                quoted(&name.escape_ascii().to_string())
            ))
        })?;
        if members.insert(name, content).is_some() {
            return Err(malformed("two members of one name in the tar archive"));
        }
        rest = after.get(size.next_multiple_of(BLOCK)..).unwrap_or_default();
    }
    Err(malformed("the tar archive has no end: the file was cut short"))
}

/// A number in octal digits, which spaces and zeros may surround.
fn octal(field: &[u8]) -> Option<u64> {
    let text = str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { None } else { u64::from_str_radix(text, 8).ok() }
}

/// What the member `storages` describes, by number; views are described as the storages that they are of. The elements go
/// into `contents`.
fn described<'a>(
    member: &'a [u8],
    contents: &mut BTreeMap<String, &'a [u8]>,
) -> Result<BTreeMap<i64, StorageRef<'static>>, FormatError> {
    let mut storages = BTreeMap::new();
    let (count, mut rest) = count(member)?;
    for _ in 0..count {
        let (pickle, after) = Pickle::load(rest)?;
        let Some(&[Value::Int(key), _, Value::Global(Global::Storage(kind))]) =
            pickle.sequence(pickle.root)
        else {
            return Err(malformed("a storage that is not described as one"));
        };
        let (len, after) =
            after.split_first_chunk().ok_or_else(|| malformed("a storage is missing"))?;
        let len = usize::try_from(i64::from_le_bytes(*len)).ok();
        let size = len.and_then(|len| len.checked_mul(kind.width));
        let content = size.and_then(|size| after.split_at_checked(size));
        let (content, after) =
            content.ok_or_else(|| malformed(format!("storage {key} is longer than the file")))?;
        let storage = StorageRef {
            kind,
            key: key.to_string().into(),
            len: content.len() / kind.width,
            start: 0,
        };
        contents.insert(key.to_string(), content);
        if storages.insert(key, storage).is_some() {
            return Err(malformed(format!("storage {key} comes twice")));
        }
        rest = after;
    }
    let (views, _) = Pickle::load(rest)?;
    for view in views.sequence(views.root).unwrap_or_default() {
        let Some(&[Value::Int(key), Value::Int(of), Value::Int(start), Value::Int(_)]) =
            views.sequence(*view)
        else {
            return Err(malformed("a view of a storage that is not described by four numbers"));
        };
        let whole = storages.get(&of).cloned();
        let start = usize::try_from(start).ok();
        let (Some(whole), Some(start)) = (whole, start) else {
            return Err(malformed(format!("view {key} of a storage that is not there")));
        };
        storages.insert(key, StorageRef { start, ..whole });
    }
    Ok(storages)
}

/// The member `tensors`, by number.
fn tensors<'a>(
    member: &'a [u8],
    storages: &BTreeMap<i64, StorageRef<'static>>,
) -> Result<BTreeMap<i64, TensorRef<'a>>, FormatError> {
    let mut tensors = BTreeMap::new();
    let (count, mut rest) = count(member)?;
    for _ in 0..count {
        let (pickle, after) = Pickle::load(rest)?;
        let Some(&[Value::Int(key), Value::Int(storage), Value::Global(_)]) =
            pickle.sequence(pickle.root)
        else {
            return Err(malformed(
                "a tensor that is not described by its number and its storage's",
            ));
        };
        let cut = || malformed(format!("tensor {key} is cut short"));
        // Four bytes after the rank are not used.
        let (rank, after) = after.split_first_chunk::<4>().ok_or_else(cut)?;
        let mut numbers = after.get(4..).ok_or_else(cut)?;
        let rank = u32::from_le_bytes(*rank) as usize;
        if rank > MAX_RANK {
            return Err(malformed(format!("tensor {key} has {rank} dimensions")));
        }
        let mut next = || {
            let (number, after) = numbers.split_first_chunk()?;
            numbers = after;
            usize::try_from(i64::from_le_bytes(*number)).ok()
        };
        let mut sizes = || (0..rank).map(|_| next()).collect::<Option<Vec<usize>>>();
        let (shape, stride) = (sizes().ok_or_else(cut)?, sizes().ok_or_else(cut)?);
        let offset = next().ok_or_else(cut)?;
        rest = numbers;
        let storage = storages.get(&storage);
        let storage =
            storage.ok_or_else(|| malformed(format!("the storage of tensor {key} is missing")))?;
        let offset = offset.checked_add(storage.start).ok_or_else(cut)?;
        let tensor = TensorRef { storage: storage.clone(), offset, shape, stride };
        if tensors.insert(key, tensor).is_some() {
            return Err(malformed(format!("tensor {key} comes twice")));
        }
    }
    Ok(tensors)
}

/// The number of things that a member begins with, and what follows it.
fn count(member: &[u8]) -> Result<(i64, &[u8]), FormatError> {
    match Pickle::load(member)? {
        (Pickle { root: Value::Int(count @ ..=MAX_COUNT), .. }, rest) => Ok((count, rest)),
        _ => Err(malformed("a member of the tar archive does not begin with a count")),
    }
}
