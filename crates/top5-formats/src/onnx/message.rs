//! Fields of ONNX's protocol buffers, and what is said of those that are wrong.

use crate::error::{FormatError, MAX_NAME};
use crate::protobuf::{Fields, Value};

pub(super) const FORMAT: &str = "ONNX";

pub(super) fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed(FORMAT, what)
}

pub(super) fn refused(what: impl Into<String>) -> FormatError {
    FormatError::refused(FORMAT, what)
}

/// The last field of this number, which is what counts of several.
pub(super) fn last(message: &[u8], wanted: u64) -> Result<Option<&[u8]>, FormatError> {
    let mut fields = Fields::new(FORMAT, message);
    let mut found = None;
    while let Some((number, value)) = fields.next()? {
        if let (true, Value::Bytes(bytes)) = (number == wanted, value) {
            found = Some(bytes);
        }
    }
    Ok(found)
}

pub(super) fn text(bytes: &[u8]) -> Result<String, FormatError> {
    if bytes.len() > MAX_NAME {
        return Err(refused(format!("a name has {} bytes", bytes.len())));
    }
    let text = str::from_utf8(bytes).map_err(|_| malformed("a name that is not UTF-8"))?;
    Ok(text.to_owned())
}
