//! Tensors that lie in files beside an ONNX file, as PyTorch's exporter writes them unless it is told otherwise.
//!
//! A tensor says its file, where in it the values begin, and how many bytes they take (ONNX's `docs/ExternalData.md`). What it says is
//! compared with what is there. A file is named without folders: what lies elsewhere is none of the model.

use super::message::{last, malformed, refused, text};
use crate::element::Element;
use crate::error::{FormatError, quoted};
use crate::shards::is_plain;
use std::collections::BTreeMap;

/// Where a tensor's bytes lie.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The file's name, without folders.
    pub(super) file: String,
    offset: usize,
    /// How many there must be.
    length: usize,
    /// The floats that they are; integers otherwise.
    pub(super) element: Option<Element>,
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

    /// The place, at which there must be `length` bytes.
    pub(super) fn place(
        self,
        length: usize,
        element: Option<Element>,
    ) -> Result<Place, FormatError> {
        let file = self.location.unwrap_or_default();
        if !is_plain(&file) {
            return Err(refused(format!(
                "its weights lie in {}, and not in a file beside it: put them there",
                quoted(&file)
            )));
        }
        let place = Place { file, offset: self.offset, length, element };
        if self.length.is_some_and(|said| said != length) { Err(place.wrong()) } else { Ok(place) }
    }
}

impl Place {
    fn wrong(&self) -> FormatError {
        malformed(format!(
            "{} has not the {} bytes of a tensor from byte {} on: it is another file, or damaged",
            quoted(&self.file),
            self.length,
            self.offset
        ))
    }

    /// The bytes that lie there, in these files.
    pub(super) fn bytes<'a>(
        &self,
        files: &'a BTreeMap<String, Vec<u8>>,
    ) -> Result<&'a [u8], FormatError> {
        let Some(file) = files.get(&self.file) else {
            return Err(refused(format!(
                "its weights lie in another file, {}: give the file, with that one beside it",
                quoted(&self.file)
            )));
        };
        let end = self.offset.checked_add(self.length);
        end.and_then(|end| file.get(self.offset..end)).ok_or_else(|| self.wrong())
    }
}
