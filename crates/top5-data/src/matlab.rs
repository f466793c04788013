//! Level 5 MAT-files, as far as ImageNet's `meta.mat` goes: arrays of structures whose fields are numbers and texts ("MAT-File Format",
//! The MathWorks, chapter 1). Nothing is longer than the bytes that it is in, and compressed parts have a limit.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Most bytes of a compressed element: all of `meta.mat` is a tenth of it.
const MOST: u64 = 16 << 20;

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;
const STRUCT: u8 = 2;
const CHAR: u8 = 4;

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// The first of its numbers.
    Number(f64),
    Text(String),
    /// Something else.
    Other,
}

/// The structures of the first array of them that is called `name`: of each, these fields. None where the file is none, damaged, or has no
/// such array.
pub(crate) fn structures(bytes: &[u8], name: &str, fields: [&str; 2]) -> Option<Vec<[Value; 2]>> {
    // The header ends with the version and the letters that tell the order of bytes.
    if bytes.get(124..128)? != [0, 1, b'I', b'M'] {
        return None;
    }
    let mut rest = &bytes[128..];
    while !rest.is_empty() {
        let (kind, data) = element(&mut rest)?;
        let found = match kind {
            COMPRESSED => {
                let mut unpacked = Vec::new();
                ZlibDecoder::new(data).take(MOST).read_to_end(&mut unpacked).ok()?;
                let (kind, data) = element(&mut unpacked.as_slice())?;
                if kind == MATRIX { of_matrix(data, name, fields) } else { None }
            }
            MATRIX => of_matrix(data, name, fields),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The kind and the bytes of the next element; the rest begins behind it.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let word = |at: usize| rest.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let first = word(0)?;
    // A short one has its length in the upper half of the kind, and its bytes at once.
    let (kind, start, len, next): (u32, usize, usize, usize) = match first >> 16 {
        0 => {
            let len = word(4)? as usize;
            let padded = if first == COMPRESSED { len } else { len.checked_next_multiple_of(8)? };
            (first, 8, len, padded.checked_add(8)?)
        }
        len => (first & 0xFFFF, 4, len as usize, 8),
    };
    let data = rest.get(start..start.checked_add(len)?)?;
    *rest = rest.get(next.min(rest.len())..)?;
    Some((kind, data))
}

/// The class of a matrix, its number of elements and its name; the rest is what it holds.
fn head<'a>(rest: &mut &'a [u8]) -> Option<(u8, usize, &'a [u8])> {
    let (_, flags) = element(rest)?;
    let (_, sizes) = element(rest)?;
    let mut sides = sizes.as_chunks::<4>().0.iter().map(|side| u32::from_le_bytes(*side) as usize);
    let count = sides.try_fold(1usize, usize::checked_mul)?;
    let (_, name) = element(rest)?;
    Some((*flags.first()?, count, name))
}

fn of_matrix(mut rest: &[u8], name: &str, fields: [&str; 2]) -> Option<Vec<[Value; 2]>> {
    let (class, count, found) = head(&mut rest)?;
    if class != STRUCT || found != name.as_bytes() {
        return None;
    }
    let (_, width) = element(&mut rest)?;
    let width = u32::from_le_bytes(*width.first_chunk()?) as usize;
    let (_, names) = element(&mut rest)?;
    if width == 0 {
        return None;
    }
    let names: Vec<&[u8]> = names.chunks(width).collect();
    let is_named = |name: &&[u8], wanted: &str| {
        name.split(|&byte| byte == 0).next() == Some(wanted.as_bytes())
    };
    let mut places = [0; 2];
    for (place, wanted) in places.iter_mut().zip(fields) {
        *place = names.iter().position(|name| is_named(name, wanted))?;
    }
    let mut structures = Vec::new();
    for _ in 0..count {
        let mut values = [Value::Other, Value::Other];
        for at in 0..names.len() {
            let (_, data) = element(&mut rest)?;
            if let Some(place) = places.iter().position(|&place| place == at) {
                values[place] = value(data);
            }
        }
        structures.push(values);
    }
    Some(structures)
}

/// What a matrix holds.
fn value(mut rest: &[u8]) -> Value {
    let content = head(&mut rest).and_then(|(class, _, _)| Some((class, element(&mut rest)?)));
    let Some((class, (kind, data))) = content else { return Value::Other };
    if class == CHAR {
        // Of one byte each, or two.
        let wide = matches!(kind, 3 | 4 | 17);
        let letters: Vec<u16> = match wide {
            true => data.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
            false => data.iter().map(|&byte| u16::from(byte)).collect(),
        };
        return Value::Text(String::from_utf16_lossy(&letters));
    }
    let whole = |size: usize| {
        let bytes = data.get(..size)?.iter().rev();
        Some(bytes.fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    let number = match kind {
        1 => data.first().map(|&byte| f64::from(byte as i8)),
        2 => whole(1).map(|v| v as f64),
        3 => whole(2).map(|v| f64::from(v as u16 as i16)),
        4 => whole(2).map(|v| v as f64),
        5 => whole(4).map(|v| f64::from(v as u32 as i32)),
        6 => whole(4).map(|v| v as f64),
        7 => whole(4).map(|v| f64::from(f32::from_bits(v as u32))),
        9 => whole(8).map(f64::from_bits),
        _ => None,
    };
    number.map_or(Value::Other, Value::Number)
}
