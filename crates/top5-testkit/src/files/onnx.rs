//! ONNX files as others write them: with tensors in another file, or with nodes around the network.

use super::caffe::{field, varint};

/// Moves the raw values of all tensors of an ONNX file into a file that is called `name`: the file without them, and that one. The
/// values begin at multiples of 64 bytes.
///
/// # Panics
/// If the bytes are no message of protocol buffers.
pub fn outward(file: &[u8], name: &str) -> [Vec<u8>; 2] {
    let mut values = Vec::new();
    let mut tensor = |message: &[u8]| {
        let mut entries = None;
        let mut message = rewrite(message, 9, &mut |raw| {
            values.resize(values.len().next_multiple_of(64), 0);
            let place = [values.len(), raw.len()].map(|number| number.to_string());
            let keys = [("location", name), ("offset", &place[0]), ("length", &place[1])];
            let entry = |(key, value): (&str, &str)| {
                field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
            };
            entries = Some(keys.map(entry).concat());
            values.extend(raw);
            None
        });
        if let Some(entries) = entries {
            message.extend([entries, vec![14 << 3, 1]].concat());
        }
        Some(message)
    };
    let file = rewrite(file, 7, &mut |graph| Some(rewrite(graph, 5, &mut tensor)));
    [file, values]
}

/// A node: what it does, what it reads, what it makes, and its attributes of integers.
pub fn node(op: &str, inputs: &[&str], output: &str, attributes: &[(&str, &[i64])]) -> Vec<u8> {
    let inputs = inputs.iter().map(|input| field(1, input.as_bytes()));
    let mut message = inputs.collect::<Vec<_>>().concat();
    message.extend([field(2, output.as_bytes()), field(4, op.as_bytes())].concat());
    for (name, values) in attributes {
        let mut attribute = field(1, name.as_bytes());
        match values {
            [value] => attribute.extend([vec![3 << 3], varint(*value as u64)].concat()),
            values => {
                for value in *values {
                    attribute.extend([vec![8 << 3], varint(*value as u64)].concat());
                }
            }
        }
        message.extend(field(5, &attribute));
    }
    field(1, &message)
}

/// A tensor of floats.
pub fn floats(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, dims, 1, &raw)
}

/// A vector of integers.
pub fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, &[values.len() as u64], 7, &raw)
}

fn tensor(name: &str, dims: &[u64], kind: u8, raw: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> =
        dims.iter().flat_map(|&size| [vec![1 << 3], varint(size)].concat()).collect();
    message.extend([vec![2 << 3, kind], field(8, name.as_bytes()), field(9, raw)].concat());
    field(5, &message)
}

/// The file with nodes and tensors before its network, whose input they make of another one: `pixels`, of this type (ONNX's number)
/// and size.
///
/// # Panics
/// If the bytes are no message of protocol buffers.
pub fn before(file: &[u8], kind: u8, dims: &[u64], added: &[Vec<u8>]) -> Vec<u8> {
    let sizes = dims.iter().map(|&size| field(1, &[vec![1 << 3], varint(size)].concat()));
    let shape = field(2, &sizes.collect::<Vec<_>>().concat());
    let kind = field(1, &[vec![1 << 3, kind], shape].concat());
    let input = [field(1, b"pixels"), field(2, &kind)].concat();
    rewrite(file, 7, &mut |graph| {
        let graph = rewrite(graph, 11, &mut |_| Some(input.clone()));
        // Nodes at the end, as tools that rewrite files leave them.
        Some([graph, added.concat()].concat())
    })
}

/// The file with nodes after its logits, which make its results.
///
/// # Panics
/// If the bytes are no message of protocol buffers.
pub fn after(file: &[u8], results: &[&str], added: &[Vec<u8>]) -> Vec<u8> {
    rewrite(file, 7, &mut |graph| {
        let graph = rewrite(graph, 12, &mut |_| None);
        let results = results.iter().map(|name| field(12, &field(1, name.as_bytes())));
        Some([graph, results.collect::<Vec<_>>().concat(), added.concat()].concat())
    })
}

/// The message with what `change` makes of each of its fields `number`; none where it makes nothing.
fn rewrite(
    message: &[u8],
    number: u64,
    change: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let (mut rest, mut bytes) = (message, Vec::new());
    while !rest.is_empty() {
        let start = rest;
        let key = read_varint(&mut rest);
        let length = match key & 7 {
            0 => {
                read_varint(&mut rest);
                0
            }
            1 => 8,
            2 => read_varint(&mut rest) as usize,
            _ => 4,
        };
        let (value, after) = rest.split_at(length);
        rest = after;
        if key == number << 3 | 2 {
            bytes.extend(change(value).map(|value| field(number, &value)).unwrap_or_default());
        } else {
            bytes.extend(&start[..start.len() - rest.len()]);
        }
    }
    bytes
}

fn read_varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = rest[0];
        *rest = &rest[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
