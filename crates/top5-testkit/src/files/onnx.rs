//! ONNX files whose tensors lie in another file, as PyTorch's exporter writes them.

use super::caffe::field;

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
