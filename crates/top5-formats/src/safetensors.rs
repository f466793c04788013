//! safetensors: a length (u64), a JSON header with names, types, shapes and offsets, then the values.
//!
//! The reader is strict: the offsets must tile the rest of the file without holes, overlaps or a remainder, names must
//! be unique, and the header has at most 100 MB, 65,536 tensors of eight dimensions and as many metadata. Half, bfloat16 and
//! double tensors become f32; those of integers and truth values, which are counters and masks, are left out, and those of other
//! types are named. The writer's bytes depend on nothing but its arguments: names are sorted, everything is f32.

use crate::element::Element;
use crate::error::{FormatError, MAX_NAME, quoted};
use crate::loaded::{Format, Loaded};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use top5_graph::{Tensor, Weights};

mod stream;

pub use stream::ReadError;

/// Key of the header under which free text is kept.
const METADATA: &str = "__metadata__";
const MAX_HEADER: usize = 100_000_000;
const MAX_TENSORS: usize = 1 << 16;
const MAX_RANK: usize = 8;

/// Reads the tensors, as f32, and the metadata.
pub fn read(bytes: &[u8]) -> Result<Loaded, FormatError> {
    let (text, data) = split(bytes)?;
    let header = Header::read(text, data.len())?;
    header.load(|entry, element| {
        let [start, end] = entry.data_offsets;
        Ok(element.map(|element| element.values(&data[start..end])))
    })
}

/// As [`read`], from a file of `length` bytes, tensor by tensor: no copy of the file is made in memory.
pub fn read_from(source: &mut dyn Read, length: u64) -> Result<Loaded, ReadError> {
    let (text, data) = stream::header(source, length)?;
    Header::read(&text, data)?.load(|entry, element| {
        let [start, end] = entry.data_offsets;
        match element {
            Some(element) => stream::values(source, element, end - start).map(Some),
            None => stream::skip(source, end - start).map(|()| None),
        }
    })
}

fn put(
    weights: &mut Weights,
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
) -> Result<(), FormatError> {
    let tensor = Tensor::new(shape, values);
    let tensor = tensor.ok_or_else(|| malformed(format!("shape of {}", quoted(&name))))?;
    if weights.tensor(&name).is_some() {
        return Err(malformed(format!("two tensors are called {}", quoted(&name))));
    }
    weights.insert(name, tensor);
    Ok(())
}

/// The file of these tensors and this metadata.
pub fn write(weights: &Weights, metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let mut fields = Vec::new();
    if !metadata.is_empty() {
        let pairs: Vec<String> =
            metadata.iter().map(|(key, value)| format!("{}:{}", json(key), json(value))).collect();
        fields.push(format!("\"{METADATA}\":{{{}}}", pairs.join(",")));
    }
    let mut end = 0;
    for (name, tensor) in weights.iter() {
        let start = end;
        end += 4 * tensor.data().len();
        let shape: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
        fields.push(format!(
            "{}:{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{start},{end}]}}",
            json(name),
            shape.join(",")
        ));
    }
    let mut header = format!("{{{}}}", fields.join(","));
    // The values begin at a multiple of eight bytes.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut bytes = Vec::with_capacity(8 + header.len() + end);
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend(header.as_bytes());
    for (_, tensor) in weights.iter() {
        bytes.extend(tensor.data().iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// Whether the bytes begin like a safetensors file.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    // A header that is cut off still shows what the file was meant to be.
    bytes.get(8) == Some(&b'{') && bytes.get(4..8) == Some(&[0; 4])
}

/// The header and what follows it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(malformed(format!("{} bytes are too few for its length field", bytes.len())));
    };
    let length = u64::from_le_bytes(*length);
    let (header, data) = usize::try_from(length)
        .ok()
        .filter(|&length| length <= MAX_HEADER)
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| {
            malformed(format!("a header of {length} bytes in a file of {} bytes", bytes.len()))
        })?;
    if header.first() != Some(&b'{') {
        return Err(malformed("the header does not begin with `{`"));
    }
    Ok((header, data))
}

fn malformed(what: impl Into<String>) -> FormatError {
    FormatError::malformed("safetensors", what)
}

/// The bytes of an element, and how it is read: not at all for integers, truth values and complex numbers. `None` for a type that
/// weights may have elsewhere.
fn element(dtype: &str) -> Option<(usize, Option<Element>)> {
    let float = |element: Element| Some((element.size(), Some(element)));
    match dtype {
        "F16" => float(Element::F16),
        "BF16" => float(Element::Bf16),
        "F32" => float(Element::F32),
        "F64" => float(Element::F64),
        "BOOL" | "U8" | "I8" => Some((1, None)),
        "U16" | "I16" => Some((2, None)),
        "U32" | "I32" => Some((4, None)),
        "U64" | "I64" | "C64" => Some((8, None)),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "shape")]
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl Entry {
    /// Bytes that the tensor takes; of a type that is not known, those that it is said to take.
    fn size(&self, name: &str) -> Result<usize, FormatError> {
        let [start, end] = self.data_offsets;
        let size = match element(&self.dtype) {
            Some((element, _)) => self.shape.iter().try_fold(element, |n, &d| n.checked_mul(d)),
            None => Some(end.saturating_sub(start)),
        };
        size.ok_or_else(|| {
            malformed(format!("tensor {}: its shape overflows: {:?}", quoted(name), self.shape))
        })
    }
}

/// The dimensions, of which no more are kept than a tensor may have.
fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    struct Dimensions;
    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<usize>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_RANK} dimensions")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Vec<usize>, A::Error> {
            let mut shape = Vec::new();
            while let Some(size) = sizes.next_element()? {
                if shape.len() == MAX_RANK {
                    return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
                }
                shape.push(size);
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Dimensions)
}

/// Text by key.
#[derive(Default)]
struct Metadata(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, text)) = map.next_entry()? {
                    if texts.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} metadata")));
                    }
                    texts.insert(key, text);
                }
                Ok(Metadata(texts))
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

struct Header {
    metadata: BTreeMap<String, String>,
    entries: Vec<(String, Entry)>,
}

impl Header {
    /// The header of a file with `data` bytes after it, with the tensors in the order in which they lie there.
    fn read(text: &[u8], data: usize) -> Result<Self, FormatError> {
        let mut header: Self =
            serde_json::from_slice(text).map_err(|error| malformed(format!("header: {error}")))?;
        header.entries.sort_by_key(|entry| entry.1.data_offsets);
        let mut next = 0;
        for (name, entry) in &header.entries {
            let [start, end] = entry.data_offsets;
            let size = entry.size(name)?;
            if start != next || end.checked_sub(start) != Some(size) || end > data {
                return Err(malformed(format!(
                    "tensor {} of {size} bytes lies at {start}..{end}; it should begin at {next} and end within the \
                     {data} bytes after the header",
                    quoted(name),
                )));
            }
            next = end;
        }
        if next != data {
            return Err(malformed(format!("{} bytes after the last tensor", data - next)));
        }
        Ok(header)
    }

    /// The file, where `values` gives those of each tensor in turn, or passes over one that is not read.
    fn load<E: From<FormatError>>(
        self,
        mut values: impl FnMut(&Entry, Option<Element>) -> Result<Option<Vec<f32>>, E>,
    ) -> Result<Loaded, E> {
        let mut unread = Vec::new();
        let mut weights = Weights::new();
        for (name, entry) in self.entries {
            let known = element(&entry.dtype);
            if let Some(values) = values(&entry, known.and_then(|(_, element)| element))? {
                put(&mut weights, name, entry.shape, values)?;
            } else if known.is_none() {
                unread.push(format!(
                    "tensor {} has the type {} (read are F16, BF16, F32 and F64)",
                    quoted(&name),
                    quoted(&entry.dtype)
                ));
            }
        }
        let (format, groups) = (Format::Safetensors, Vec::new());
        Loaded { weights, format, metadata: self.metadata, groups, unread }.check().map_err(E::from)
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata: Option<Metadata> = None;
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if metadata.replace(map.next_value()?).is_some() {
                    return Err(A::Error::custom("the metadata come twice"));
                }
            } else if entries.len() == MAX_TENSORS {
                return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
            } else if name.len() > MAX_NAME {
                return Err(A::Error::custom(format!("a name of {} bytes", name.len())));
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Header { metadata: metadata.unwrap_or_default().0, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(std::iter::repeat_n(0, data));
        bytes
    }

    fn three() -> (Weights, BTreeMap<String, String>) {
        let weights = [
            (
                "fc.weight".to_owned(),
                Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.5]).unwrap(),
            ),
            ("fc.bias".to_owned(), Tensor::new([2], vec![f32::NAN, -0.0]).unwrap()),
            ("a \"name\"\n".to_owned(), Tensor::new([], vec![f32::INFINITY]).unwrap()),
        ];
        let metadata = [("format".to_owned(), "pt".to_owned()), ("e".to_owned(), "é\"".to_owned())];
        (weights.into_iter().collect(), metadata.into_iter().collect())
    }

    #[test]
    fn what_is_written_is_read_bit_for_bit() {
        let (weights, metadata) = three();
        let bytes = write(&weights, &metadata);
        let Loaded { weights: again, metadata: text, .. } = read(&bytes).unwrap();
        assert_eq!(text, metadata);
        assert_eq!(again.len(), 3);
        for ((a, x), (b, y)) in weights.iter().zip(again.iter()) {
            assert_eq!((a, x.shape()), (b, y.shape()));
            let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(x), bits(y));
        }
        assert_eq!(write(&again, &text), bytes);
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(header.is_multiple_of(8));
        let none = read(&write(&Weights::new(), &BTreeMap::new())).unwrap();
        assert!(none.weights.is_empty() && none.metadata.is_empty());
    }

    fn is_damaged<T>(read: &Result<T, FormatError>) -> bool {
        matches!(read, Err(FormatError::Malformed { format: "safetensors", .. }))
    }

    #[test]
    fn every_prefix_is_an_error() {
        let (weights, metadata) = three();
        let bytes = write(&weights, &metadata);
        for end in 0..bytes.len() {
            assert!(is_damaged(&read(&bytes[..end])), "cut at {end}");
        }
    }

    #[test]
    fn other_types_become_floats() {
        let header = r#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[],"data_offsets":[2,4]},"c":{"dtype":"F64","shape":[1,1],"data_offsets":[4,12]},"d":{"dtype":"I64","shape":[1],"data_offsets":[12,20]}}"#;
        let mut bytes = file(header, 0);
        bytes.extend([0x00, 0x3c, 0x80, 0x3f]);
        bytes.extend(2.5f64.to_le_bytes());
        bytes.extend(7i64.to_le_bytes());
        let weights = read(&bytes).unwrap().weights;
        let values: Vec<f32> = weights.iter().map(|(_, t)| t.data()[0]).collect();
        // Integers are no weights.
        assert_eq!(values, [1.0, 1.0, 2.5]);
    }

    #[test]
    fn a_tensor_of_another_type_beside_the_weights_is_named() {
        let header = r#"{"a":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"F4","shape":[4],"data_offsets":[3,5]},"c":{"dtype":"F32","shape":[1],"data_offsets":[5,9]}}"#;
        let file = [file(header, 5), 2.5f32.to_le_bytes().to_vec()].concat();
        let loaded = read(&file).unwrap();
        assert_eq!(loaded.weights.tensor("c").unwrap().data(), [2.5]);
        assert_eq!((loaded.weights.len(), loaded.unread.len()), (1, 2));
        assert!(
            loaded.unread[1].starts_with("tensor `b` has the type `F4`"),
            "{:?}",
            loaded.unread
        );
        let streamed = read_from(&mut &file[..], file.len() as u64).unwrap();
        assert_eq!((streamed.weights, streamed.unread), (loaded.weights, loaded.unread));
    }

    #[test]
    fn hostile_headers_are_refused() {
        let tensor = |name: &str, shape: &str, start: i64, end: i64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
        };
        let of = |parts: &[String]| format!("{{{}}}", parts.join(","));
        let one = tensor("a", "[2]", 0, 8);
        let huge = "18446744073709551616";
        let cases = [
            ("long name", of(&[tensor(&"a".repeat(1_000_000), "[2]", 0, 8)]), 8),
            ("overlap", of(&[one.clone(), tensor("b", "[2]", 4, 12)]), 12),
            ("hole", of(&[one.clone(), tensor("b", "[1]", 12, 16)]), 16),
            ("begins late", of(&[tensor("a", "[1]", 4, 8)]), 8),
            ("twice", of(&[one.clone(), one.clone()]), 8),
            ("twice in a row", of(&[one.clone(), tensor("a", "[2]", 8, 16)]), 16),
            ("beyond the end", of(&[tensor("a", "[3]", 0, 12)]), 8),
            ("trailing bytes", of(std::slice::from_ref(&one)), 9),
            ("backwards", of(&[tensor("a", "[2]", 8, 0)]), 8),
            ("negative", of(&[tensor("a", "[2]", -8, 0)]), 8),
            ("negative shape", of(&[tensor("a", "[-2,-1]", 0, 8)]), 8),
            ("overflow", of(&[tensor("a", "[4294967296,4294967296]", 0, 0)]), 0),
            ("2^64", of(&[tensor("a", &format!("[{huge}]"), 0, 8)]), 8),
            ("overflow then zero", of(&[tensor("a", "[4294967296,4294967296,0]", 0, 0)]), 0),
            ("nine dimensions", of(&[tensor("a", "[2,1,1,1,1,1,1,1,1]", 0, 8)]), 8),
            ("fraction", of(&[tensor("a", "[2.0]", 0, 8)]), 8),
            ("dtype", r#"{"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}}"#.into(), 8),
            ("other dtype", r#"{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}}"#.into(), 8),
            ("no dtype", r#"{"a":{"shape":[2],"data_offsets":[0,8]}}"#.into(), 8),
            ("field", r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}"#.into(), 4),
            (
                "three offsets",
                r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,4]}}"#.into(),
                4,
            ),
            ("metadata", r#"{"__metadata__":{"a":1}}"#.into(), 0),
            ("metadata twice", r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0),
            ("space", format!(" {}", of(std::slice::from_ref(&one))), 8),
            ("array", "[]".into(), 0),
            ("text after", "{}x".into(), 0),
            ("nesting", format!(r#"{{"a":{}"#, "[".repeat(100_000)), 0),
        ];
        for (case, header, data) in cases {
            let read = read(&file(&header, data));
            let refused = matches!(read, Err(FormatError::Refused { .. })) && case == "dtype";
            assert!(is_damaged(&read) || refused, "{case}: {read:?}");
        }
        assert!(read(&file(&of(&[one]), 8)).is_ok());
        let mut not_utf8 = file("{\"a\":0}", 0);
        not_utf8[10] = 0xff;
        assert!(is_damaged(&read(&not_utf8)));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for length in [0, 9, 100_000_001, u64::MAX] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(b"{}      ");
            assert!(is_damaged(&read(&bytes)), "{length}");
        }
    }

    #[test]
    fn a_crowd_of_tensors_is_refused() {
        let entries: Vec<String> = (0..=MAX_TENSORS)
            .map(|i| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#))
            .collect();
        let metadata: Vec<String> = (0..=MAX_TENSORS).map(|i| format!(r#""{i}":"""#)).collect();
        let metadata = format!(r#"{{"__metadata__":{{{}}}}}"#, metadata.join(","));
        for header in [format!("{{{}}}", entries.join(",")), metadata] {
            let error = read(&file(&header, 0)).unwrap_err();
            assert!(error.to_string().contains("65536"), "{error}");
        }
    }
}
