//! Tensors that lie in files beside an ONNX file, as PyTorch's exporter writes them unless it is told otherwise.
//!
//! A tensor says its file, where in it the values begin, and how many bytes they take (ONNX's `docs/ExternalData.md`). What it says is
//! compared with what is there. A file is named without folders: what lies elsewhere is none of the model.

use super::read::{last, malformed, refused, text};
use crate::error::{FormatError, quoted};
use crate::shards::is_plain;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// The files beside the one that is read.
pub(super) enum Beside<'a, 'n> {
    /// Their bytes by name.
    Files(&'a BTreeMap<String, Vec<u8>>),
    /// None is read; their names are noted.
    Names(&'n RefCell<BTreeSet<String>>),
}

/// Where a tensor lies, as far as it was read.
#[derive(Default)]
pub(super) struct External {
    /// Whether the tensor is not in the file itself.
    pub(super) lies_beside: bool,
    location: Option<String>,
    offset: usize,
    length: Option<usize>,
}

impl External {
    /// Takes up one of the keys with its value; unknown keys, such as checksums, are passed over.
    pub(super) fn entry(&mut self, message: &[u8]) -> Result<(), FormatError> {
        let part = |number| text(last(message, number)?.unwrap_or_default());
        let number = |value: String| {
            let bad = || malformed(format!("a place beside the file: {}", quoted(&value)));
            value.parse::<usize>().map_err(|_| bad())
        };
        match part(1)?.as_str() {
            "location" => self.location = Some(part(2)?),
            "offset" => self.offset = number(part(2)?)?,
            "length" => self.length = Some(number(part(2)?)?),
            _ => {}
        }
        Ok(())
    }

    /// The tensor's bytes, of which there must be `length`; `None` where files are only noted.
    pub(super) fn bytes<'a>(
        &self,
        length: usize,
        beside: &Beside<'a, '_>,
    ) -> Result<Option<&'a [u8]>, FormatError> {
        let name = self.location.as_deref().unwrap_or_default();
        if !is_plain(name) {
            return Err(refused(format!(
                "its weights lie in {}, and not in a file beside it: put them there",
                quoted(name)
            )));
        }
        let files = match beside {
            Beside::Files(files) => files,
            Beside::Names(names) => {
                names.borrow_mut().insert(name.to_owned());
                return Ok(None);
            }
        };
        let Some(file) = files.get(name) else {
            return Err(refused(format!(
                "its weights lie in another file, {}: give the file, with that one beside it",
                quoted(name)
            )));
        };
        let end = self.offset.checked_add(length);
        let bytes = end.and_then(|end| file.get(self.offset..end));
        let bytes = bytes.filter(|_| self.length.is_none_or(|said| said == length));
        bytes.map(Some).ok_or_else(|| {
            malformed(format!(
                "{} has not the {length} bytes of a tensor from byte {} on: it is another file, or damaged",
                quoted(name),
                self.offset
            ))
        })
    }
}
