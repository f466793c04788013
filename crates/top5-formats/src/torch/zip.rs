//! The container since PyTorch 1.6: a zip archive with `NAME/data.pkl` and one entry `NAME/data/KEY` per storage.
//!
//! PyTorch never compresses, so compressed entries are refused, and entries that overlap too: all together they are no
//! larger than the file. The central directory is believed only where the local headers agree.

use super::pickle::Pickle;
use super::{malformed, refused};
use crate::error::{FormatError, quoted};
use std::collections::BTreeMap;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
const END_SIZE: usize = 22;

/// Whether the bytes begin with an archive's first entry.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(&LOCAL.to_le_bytes())
}

/// The entries of an archive.
pub(super) struct Archive<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
    /// `NAME/`
    root: &'a str,
}

struct Entry<'a> {
    data: &'a [u8],
    crc: u32,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let (count, start) = directory(bytes)?;
        let mut fields = Fields::at(bytes, start)?;
        if let Some(what) = other_archive(&bytes[bytes.len() - fields.rest.len()..]) {
            return Err(refused(what));
        }
        let mut entries = BTreeMap::new();
        let mut total = 0;
        for _ in 0..count {
            let (name, entry) = entry(bytes, &mut fields)?;
            total += entry.data.len();
            if total > bytes.len() {
                return Err(malformed("zip entries that overlap"));
            }
            if name.starts_with('/') || name.contains('\\') || name.split('/').any(|p| p == "..") {
                return Err(refused(format!("an entry is called {}", quoted(name))));
            }
            if entries.insert(name, entry).is_some() {
                return Err(malformed(format!("two entries are called {}", quoted(name))));
            }
        }
        let mut roots = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
        let root = match (roots.next(), roots.next()) {
            (Some(root), None) => root,
            (None, _) => {
                return Err(refused("the zip archive has no data.pkl: not a PyTorch checkpoint"));
            }
            (Some(_), Some(_)) => return Err(malformed("two entries called data.pkl")),
        };
        let archive = Self { entries, root };
        if archive.find("byteorder").is_ok_and(|order| order != b"little") {
            return Err(refused("it was written on a big-endian machine"));
        }
        Ok(archive)
    }

    pub(super) fn pickle(&self) -> Result<Pickle<'a>, FormatError> {
        Pickle::load(self.find("data.pkl")?).map(|(pickle, _)| pickle)
    }

    pub(super) fn storage(&self, key: &str) -> Result<&'a [u8], FormatError> {
        self.find(&format!("data/{key}"))
    }

    /// The checked content of an entry.
    fn find(&self, name: &str) -> Result<&'a [u8], FormatError> {
        let entry = self.entries.get(format!("{}{name}", self.root).as_str());
        let entry = entry.ok_or_else(|| malformed(format!("no entry {}", quoted(name))))?;
        if crc32fast::hash(entry.data) != entry.crc {
            return Err(malformed(format!("the checksum of {} is wrong", quoted(name))));
        }
        Ok(entry.data)
    }
}

/// What a zip archive is whose names are those of another program than `torch.save`, and what to do with it.
fn other_archive(directory: &[u8]) -> Option<&'static str> {
    let has = |name: &str| directory.windows(name.len()).any(|part| part == name.as_bytes());
    if has("/constants.pkl") {
        return Some(
            "a TorchScript program (`torch.jit.save`): in Python, save `torch.jit.load(file).state_dict()` instead",
        );
    }
    if has("/data.pkl") {
        return None;
    }
    [
        (
            ".npy",
            "a NumPy archive (.npz): in Python, save its arrays with `safetensors.numpy.save_file(dict(numpy.load(file)), \
             \"weights.safetensors\")`",
        ),
        (
            "archive_format",
            "a program of `torch.export`: in Python, save `torch.export.load(file).state_dict` with `torch.save` instead",
        ),
        ("model.weights.h5", "a Keras model: convert it to safetensors first"),
    ]
    .into_iter()
    .find_map(|(name, what)| has(name).then_some(what))
}

/// Number of entries and offset of the first, from the end of the archive.
fn directory(bytes: &[u8]) -> Result<(u64, u64), FormatError> {
    // The end record is followed by a comment of at most 65,535 bytes that it knows the length of.
    let last = bytes.len().checked_sub(END_SIZE).ok_or_else(|| malformed("no zip directory"))?;
    let end = (last.saturating_sub(0xffff)..=last)
        .rev()
        .find(|&at| {
            bytes[at..].starts_with(&END.to_le_bytes())
                && usize::from(u16::from_le_bytes([bytes[at + 20], bytes[at + 21]])) == last - at
        })
        .ok_or_else(|| malformed("no zip directory: the file was cut short"))?;
    let mut fields = Fields::at(bytes, end as u64 + 10)?;
    let (count, _size, start) = (fields.number(2)?, fields.number(4)?, fields.number(4)?);
    if count != 0xffff && start != 0xffff_ffff {
        return Ok((count, start));
    }
    let Some(locator) = end.checked_sub(20) else { return Ok((count, start)) };
    let mut fields = Fields::at(bytes, locator as u64)?;
    if fields.number(4)? != u64::from(LOCATOR_64) {
        return Ok((count, start));
    }
    fields.skip(4)?;
    let mut fields = Fields::at(bytes, fields.number(8)?)?;
    if fields.number(4)? != u64::from(END_64) {
        return Err(malformed("the 64-bit zip directory is not where it should be"));
    }
    fields.skip(28)?;
    let (count, _size, start) = (fields.number(8)?, fields.number(8)?, fields.number(8)?);
    Ok((count, start))
}

/// The entry whose record in the central directory is next.
fn entry<'a>(
    bytes: &'a [u8],
    fields: &mut Fields<'a>,
) -> Result<(&'a str, Entry<'a>), FormatError> {
    if fields.number(4)? != u64::from(CENTRAL) {
        return Err(malformed("a zip directory with fewer entries than it says"));
    }
    fields.skip(4)?;
    let (flags, method) = (fields.number(2)?, fields.number(2)?);
    fields.skip(4)?;
    let crc = fields.number(4)? as u32;
    let (mut packed, mut size) = (fields.number(4)?, fields.number(4)?);
    let (name, extra, comment) = (fields.number(2)?, fields.number(2)?, fields.number(2)?);
    fields.skip(8)?;
    let mut local = fields.number(4)?;
    let name = str::from_utf8(fields.take(name)?)
        .map_err(|_| malformed("the name of a zip entry is not UTF-8"))?;
    let mut extra = Fields { rest: fields.take(extra)? };
    fields.skip(comment)?;
    // The 64-bit field holds, in this order, what did not fit.
    while !extra.rest.is_empty() {
        let (kind, len) = (extra.number(2)?, extra.number(2)?);
        let mut field = Fields { rest: extra.take(len)? };
        if kind == 1 {
            for value in [&mut size, &mut packed, &mut local] {
                if *value == 0xffff_ffff {
                    *value = field.number(8)?;
                }
            }
        }
    }
    if method != 0 || packed != size {
        return Err(refused(format!(
            "entry {} is compressed; PyTorch never does that",
            quoted(name)
        )));
    }
    if flags & 1 != 0 {
        return Err(refused(format!("entry {} is encrypted", quoted(name))));
    }
    let mut header = Fields::at(bytes, local)?;
    if header.number(4)? != u64::from(LOCAL) {
        return Err(malformed(format!("entry {} is not where it should be", quoted(name))));
    }
    header.skip(22)?;
    let (name_len, extra_len) = (header.number(2)?, header.number(2)?);
    if header.take(name_len)? != name.as_bytes() {
        return Err(malformed(format!("entry {} has another name in its header", quoted(name))));
    }
    header.skip(extra_len)?;
    Ok((name, Entry { data: header.take(size)?, crc }))
}

/// Little-endian fields, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn at(bytes: &'a [u8], offset: u64) -> Result<Self, FormatError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..));
        rest.map(|rest| Self { rest }).ok_or_else(|| malformed("a zip offset beyond the file"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], FormatError> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) = split.ok_or_else(|| malformed("a zip entry beyond the file"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, len: u64) -> Result<(), FormatError> {
        self.take(len).map(drop)
    }

    /// A number of at most eight bytes.
    fn number(&mut self, size: usize) -> Result<u64, FormatError> {
        let mut word = [0; 8];
        word[..size].copy_from_slice(self.take(size as u64)?);
        Ok(u64::from_le_bytes(word))
    }
}
