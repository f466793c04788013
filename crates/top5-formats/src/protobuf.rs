//! The wire format of protocol buffers: keys and values, in both directions.

use crate::error::FormatError;

/// A field's value as it lies in the bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of one message, in the order of the file.
pub(crate) struct Fields<'a> {
    format: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(format: &'static str, message: &'a [u8]) -> Self {
        Self { format, rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, FormatError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let len = self.varint()?;
                let split =
                    usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
                let (bytes, rest) = split.ok_or_else(|| {
                    let left = self.rest.len();
                    self.malformed(format!("a field of {len} bytes where {left} are left"))
                })?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(self.fixed()?),
            wire => return Err(self.malformed(format!("wire type {wire}"))),
        };
        match key >> 3 {
            0 => Err(self.malformed("field number 0")),
            number => Ok(Some((number, value))),
        }
    }

    /// A base-128 number of at most ten bytes.
    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed()?;
            let low = u64::from(byte & 0x7f);
            if low << shift >> shift != low {
                break;
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number beyond 64 bits"))
    }

    /// Whether all is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (bytes, rest) =
            self.rest.split_first_chunk().ok_or_else(|| self.malformed("it was cut short"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn malformed(&self, what: impl Into<String>) -> FormatError {
        FormatError::malformed(self.format, what)
    }
}

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn int(self, field: u64, value: i64) -> Self {
        self.key(field, 0).varint(value as u64)
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Self {
        self = self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn double(mut self, field: u64, value: f64) -> Self {
        self = self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self = self.key(field, 2).varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(crate) fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn key(self, field: u64, wire: u64) -> Self {
        self.varint(field << 3 | wire)
    }

    fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::new().int(1, -1).float(2, 1.5);
        let bytes = Message::new().message(100, &inner).text(3, "é").int(4, 300).into_bytes();
        let mut fields = Fields::new("test", &bytes);
        let Ok(Some((100, Value::Bytes(inner)))) = fields.next() else { panic!("no message") };
        assert_eq!(fields.next().unwrap(), Some((3, Value::Bytes("é".as_bytes()))));
        assert_eq!(fields.next().unwrap(), Some((4, Value::Varint(300))));
        assert_eq!(fields.next().unwrap(), None);
        let mut fields = Fields::new("test", inner);
        assert_eq!(fields.next().unwrap(), Some((1, Value::Varint(u64::MAX))));
        assert_eq!(fields.next().unwrap(), Some((2, Value::Fixed32(1.5f32.to_le_bytes()))));
    }

    #[test]
    fn hostile_fields_are_refused() {
        for (case, bytes, word) in [
            ("group", b"\x0b".as_slice(), "wire type 3"),
            ("field zero", b"\x00\x01", "field number 0"),
            ("cut key", b"\x88", "cut short"),
            ("cut varint", b"\x08\x80", "cut short"),
            ("eleven bytes", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", "64 bits"),
            ("65 bits", b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", "64 bits"),
            ("length beyond", b"\x0a\x05abc", "5 bytes where 3 are left"),
            ("two gigabytes", b"\x0a\xff\xff\xff\xff\x07", "2147483647 bytes where 0 are left"),
            ("cut float", b"\x0d\0\0", "cut short"),
        ] {
            let error = Fields::new("test", bytes).next().unwrap_err().to_string();
            assert!(error.contains(word), "{case}: {error}");
        }
    }
}
