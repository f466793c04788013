//! A safetensors file piece by piece, so that no copy of it is in memory beside its tensors.

use super::{MAX_HEADER, malformed};
use crate::element::Element;
use crate::error::FormatError;
use std::fmt;
use std::io::{self, Read};

/// Bytes that are converted at once: a multiple of every element's size.
const PIECE: usize = 1 << 20;

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The system refused.
    Io(io::Error),
    /// It is no such file.
    Format(FormatError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Format(error) => Some(error),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FormatError> for ReadError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

/// The header of a file of `length` bytes, and the number of bytes after it.
pub(super) fn header(source: &mut dyn Read, length: u64) -> Result<(Vec<u8>, usize), ReadError> {
    let too_few = || malformed(format!("{length} bytes are too few for its length field"));
    let rest = length.checked_sub(8).ok_or_else(too_few)?;
    let mut field = [0; 8];
    source.read_exact(&mut field)?;
    let claimed = u64::from_le_bytes(field);
    if claimed > rest.min(MAX_HEADER as u64) {
        let what = format!("a header of {claimed} bytes in a file of {length} bytes");
        return Err(malformed(what).into());
    }
    let mut text = vec![0; claimed as usize];
    source.read_exact(&mut text)?;
    if text.first() != Some(&b'{') {
        return Err(malformed("the header does not begin with `{`").into());
    }
    let data = usize::try_from(rest - claimed);
    let data = data.map_err(|_| malformed(format!("{rest} bytes are more than memory has")))?;
    Ok((text, data))
}

/// The next `size` bytes as values of this type.
pub(super) fn values(
    source: &mut dyn Read,
    element: Element,
    size: usize,
) -> Result<Vec<f32>, ReadError> {
    let mut values = Vec::with_capacity(size / element.size());
    let mut piece = vec![0; PIECE.min(size)];
    let mut left = size;
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE)];
        source.read_exact(piece)?;
        element.append(piece, &mut values);
        left -= piece.len();
    }
    Ok(values)
}

/// Passes over the next `size` bytes.
pub(super) fn skip(source: &mut dyn Read, size: usize) -> Result<(), ReadError> {
    let passed = io::copy(&mut source.take(size as u64), &mut io::sink())?;
    if passed == size as u64 {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{read, read_from, write};
    use super::*;
    use std::collections::BTreeMap;
    use top5_graph::{Tensor, Weights};

    fn file() -> Vec<u8> {
        let values = |n: usize| (0..n).map(|i| i as f32 - 3.5).collect();
        let tensors = [("long", vec![3, 100_003]), ("one", vec![1]), ("scalar", vec![])];
        let tensors = tensors.map(|(name, shape)| {
            let len = shape.iter().product();
            (name.to_owned(), Tensor::new(shape, values(len)).unwrap())
        });
        let weights: Weights = tensors.into_iter().collect();
        write(&weights, &BTreeMap::from([("key".to_owned(), "text".to_owned())]))
    }

    #[test]
    fn piece_by_piece_is_as_at_once() {
        let bytes = file();
        let streamed = read_from(&mut &bytes[..], bytes.len() as u64).unwrap();
        let at_once = read(&bytes).unwrap();
        assert_eq!((&streamed.weights, &streamed.metadata), (&at_once.weights, &at_once.metadata));
        assert_eq!(streamed.weights.len(), 3);
    }

    #[test]
    fn integers_are_passed_over() {
        let header = r#"{"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"BOOL","shape":[3],"data_offsets":[8,11]},"c":{"dtype":"F32","shape":[1],"data_offsets":[11,15]}}"#;
        let length = (header.len() as u64).to_le_bytes();
        let bytes =
            [length.as_slice(), header.as_bytes(), &[9; 11], &2.5f32.to_le_bytes()].concat();
        let weights = read_from(&mut &bytes[..], bytes.len() as u64).unwrap().weights;
        assert_eq!(weights, read(&bytes).unwrap().weights);
        assert_eq!(
            weights.iter().map(|(name, t)| (name, t.data()[0])).collect::<Vec<_>>(),
            [("c", 2.5)]
        );
    }

    #[test]
    fn damaged_files_are_refused_alike() {
        let bytes = file();
        for len in [0, 4, 8, 9, 60, bytes.len() - 1] {
            let at_once = read(&bytes[..len]).unwrap_err();
            match read_from(&mut &bytes[..len], len as u64).unwrap_err() {
                ReadError::Format(error) => assert_eq!(error, at_once, "{len} bytes"),
                ReadError::Io(error) => panic!("{len} bytes: {error}"),
            }
        }
        // A file that ends before the length that its folder told.
        let short = read_from(&mut &bytes[..bytes.len() - 4], bytes.len() as u64).unwrap_err();
        assert!(matches!(short, ReadError::Io(_)), "{short}");
    }
}
