//! The container before PyTorch 1.6: pickles one after the other (magic number, protocol, machine, content, keys of the
//! storages), then for each key the number of elements (i64) and the elements, little-endian on any machine.

use super::malformed;
use super::object::Value;
use super::pickle::Pickle;
use crate::error::{FormatError, quoted};
use std::collections::BTreeMap;

/// The pickle of the magic number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// Whether the bytes begin with the magic number.
pub(crate) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// An opened checkpoint.
pub(super) struct Checkpoint<'a> {
    pub(super) pickle: Pickle<'a>,
    storages: BTreeMap<&'a str, &'a [u8]>,
}

impl<'a> Checkpoint<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("no magic number"))?;
        let (protocol, rest) = Pickle::load(rest)?;
        if protocol.root != Value::Int(1001) {
            return Err(malformed("a protocol that is not 1001"));
        }
        let (_machine, rest) = Pickle::load(rest)?;
        let (pickle, rest) = Pickle::load(rest)?;
        let (keys, mut rest) = Pickle::load(rest)?;
        let widths: BTreeMap<&str, usize> =
            pickle.storages().map(|storage| (&*storage.key, storage.kind.width)).collect();
        let keys = keys.sequence(keys.root).ok_or_else(|| malformed("no list of storages"))?;
        let mut storages = BTreeMap::new();
        for key in keys {
            let Value::Str(key) = key else { return Err(malformed("a storage without a name")) };
            // Without its width, a storage cannot be skipped: those after it are out of reach.
            let Some(width) = widths.get(key) else { break };
            let (len, after) =
                rest.split_first_chunk::<8>().ok_or_else(|| malformed("a storage is missing"))?;
            let size = usize::try_from(i64::from_le_bytes(*len))
                .ok()
                .and_then(|len| len.checked_mul(*width));
            let (data, after) =
                size.and_then(|size| after.split_at_checked(size)).ok_or_else(|| {
                    malformed(format!("storage {} is longer than the file", quoted(key)))
                })?;
            if storages.insert(*key, data).is_some() {
                return Err(malformed(format!("storage {} comes twice", quoted(key))));
            }
            rest = after;
        }
        Ok(Self { pickle, storages })
    }

    pub(super) fn storage(&self, key: &str) -> Result<&'a [u8], FormatError> {
        let storage = self.storages.get(key).copied();
        storage.ok_or_else(|| malformed(format!("storage {} is missing", quoted(key))))
    }
}
