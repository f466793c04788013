//! Tensors as the Open Inference Protocol writes them: in JSON, nested or flat, and as bytes behind it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Values in JSON in row order, whether they were nested or not.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Data {
    pub(crate) numbers: Vec<f64>,
    pub(crate) texts: Vec<String>,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut data = Self::default();
        Flat(&mut data).deserialize(from)?;
        if !data.numbers.is_empty() && !data.texts.is_empty() {
            return Err(D::Error::custom("data mixes numbers and texts"));
        }
        Ok(data)
    }
}

/// Puts values one after the other, however deep they are.
struct Flat<'a>(&'a mut Data);

impl<'de> DeserializeSeed<'de> for Flat<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flat<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or texts, in arrays")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Flat(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.0.numbers.push(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.0.numbers.push(value as f64);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.0.numbers.push(value as f64);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.0.texts.push(value.to_owned());
        Ok(())
    }
}

/// The kinds of values that tensors may have here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Datatype {
    Fp32,
    Fp16,
    Uint8,
    Bytes,
}

/// The values of a tensor.
#[derive(Debug, PartialEq)]
pub(crate) enum Values {
    Floats(Vec<f32>),
    Pixels(Vec<u8>),
    Files(Vec<Vec<u8>>),
}

/// The number of values of a shape, if it is one that can be.
pub(crate) fn count(shape: &[u64]) -> Result<usize, Failure> {
    let product = shape.iter().try_fold(1_u64, |product, &side| product.checked_mul(side));
    let product = product.and_then(|product| usize::try_from(product).ok());
    product.ok_or_else(|| Failure::bad("the shape has too many values"))
}

impl Values {
    /// From JSON.
    pub(crate) fn of_data(datatype: Datatype, data: Data, count: usize) -> Result<Self, Failure> {
        let Data { numbers, texts } = data;
        let given = numbers.len() + texts.len();
        if given != count {
            return Err(Failure::bad(format!("data has {given} values, its shape {count}")));
        }
        let wrong = |what: &str| Err(Failure::bad(format!("data must be {what} for its datatype")));
        match datatype {
            Datatype::Fp32 if texts.is_empty() => {
                finite(numbers.into_iter().map(|value| value as f32).collect())
            }
            Datatype::Uint8 if texts.is_empty() => {
                let byte = |value: f64| {
                    (value.fract() == 0.0 && (0.0..256.0).contains(&value)).then_some(value as u8)
                };
                let bytes: Option<Vec<u8>> = numbers.into_iter().map(byte).collect();
                bytes.map_or_else(
                    || wrong("whole numbers from 0 to 255"),
                    |bytes| Ok(Self::Pixels(bytes)),
                )
            }
            Datatype::Bytes if numbers.is_empty() => {
                let files: Option<Vec<Vec<u8>>> =
                    texts.iter().map(|text| from_base64(text)).collect();
                files.map_or_else(|| wrong("texts in Base64"), |files| Ok(Self::Files(files)))
            }
            Datatype::Fp16 => Err(Failure::bad("FP16 has no form in JSON: send it as binary data")),
            Datatype::Fp32 | Datatype::Uint8 => wrong("numbers"),
            Datatype::Bytes => wrong("texts in Base64"),
        }
    }

    /// From little-endian bytes, as the binary extension has them; before each of BYTES stands its length.
    pub(crate) fn of_bytes(
        datatype: Datatype,
        bytes: &[u8],
        count: usize,
    ) -> Result<Self, Failure> {
        let size = match datatype {
            Datatype::Fp32 => 4,
            Datatype::Fp16 => 2,
            Datatype::Uint8 => 1,
            Datatype::Bytes => return files(bytes, count),
        };
        if count.checked_mul(size) != Some(bytes.len()) {
            let message =
                format!("{} bytes of binary data for {count} values of {size} bytes", bytes.len());
            return Err(Failure::bad(message));
        }
        match datatype {
            Datatype::Fp32 => {
                let (values, _) = bytes.as_chunks::<4>();
                finite(values.iter().map(|value| f32::from_le_bytes(*value)).collect())
            }
            Datatype::Fp16 => {
                let (values, _) = bytes.as_chunks::<2>();
                finite(values.iter().map(|value| from_half(u16::from_le_bytes(*value))).collect())
            }
            Datatype::Uint8 | Datatype::Bytes => Ok(Self::Pixels(bytes.to_vec())),
        }
    }
}

fn finite(values: Vec<f32>) -> Result<Values, Failure> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(Values::Floats(values)),
        false => Err(Failure::bad("a value is infinite or no number")),
    }
}

/// Lengths and files.
fn files(mut bytes: &[u8], count: usize) -> Result<Values, Failure> {
    let wrong =
        || Failure::bad(format!("the binary data are not {count} texts, each after its length"));
    // Each has a length of four bytes.
    if count > bytes.len() / 4 {
        return Err(wrong());
    }
    let mut files = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (file, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
        files.push(file.to_vec());
        bytes = rest;
    }
    if bytes.is_empty() { Ok(Values::Files(files)) } else { Err(wrong()) }
}

/// IEEE 754's binary16.
fn from_half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f32::from(bits & 0x3ff);
    sign * match bits >> 10 & 0x1f {
        0 => fraction * 2_f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        exponent => (1024.0 + fraction) * 2_f32.powi(i32::from(exponent) - 25),
    }
}

/// RFC 4648's Base64, with its padding or without.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for &letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let whole = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..1 + whole]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_are_flat_or_nested() {
        let flat: Data = serde_json::from_str("[1, 2.5, -3, 4]").unwrap();
        let nested: Data = serde_json::from_str("[[1, 2.5], [-3, 4]]").unwrap();
        assert_eq!(flat, nested);
        assert_eq!(flat.numbers, [1.0, 2.5, -3.0, 4.0]);
        for (wrong, why) in [
            ("[1, \"a\"]", "mixes"),
            ("[{}]", "numbers or texts"),
            ("[null]", "numbers or texts"),
            ("[1e400]", "out of range"),
            ("[NaN]", "expected"),
        ] {
            let error = serde_json::from_str::<Data>(wrong).unwrap_err();
            assert!(error.to_string().contains(why), "{wrong}: {error}");
        }
        let deep = "[".repeat(100_000);
        let error = serde_json::from_str::<Data>(&deep).unwrap_err();
        assert!(error.to_string().contains("recursion limit"), "{error}");
    }

    #[test]
    fn base64_is_rfc_4648s() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zg", "f"),
        ] {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        for wrong in ["Z", "Zm9vY", "Z g=", "ä"] {
            assert_eq!(from_base64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn halves_are_those_of_ieee_754() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x3555, 0.333_251_95),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(from_half(bits), value, "{bits:x}");
        }
        assert!(from_half(0x7e00).is_nan());
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let told = |bytes: &[u8], count| {
            Values::of_bytes(Datatype::Bytes, bytes, count).unwrap_err().message
        };
        assert!(told(&[255, 255, 255, 255, 1], 1).contains("not 1 texts"));
        assert!(told(&[1, 0, 0, 0, 1, 0], 1).contains("not 1 texts"));
        assert!(told(&[0; 4], usize::MAX).contains("texts"));
        let two = Values::of_bytes(Datatype::Bytes, &[1, 0, 0, 0, 7, 0, 0, 0, 0], 2).unwrap();
        assert_eq!(two, Values::Files(vec![vec![7], vec![]]));
        assert!(count(&[1 << 32, 1 << 32]).unwrap_err().message.contains("too many"));
        assert_eq!(count(&[]).unwrap(), 1);
    }
}
