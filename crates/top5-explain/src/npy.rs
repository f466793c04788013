//! NumPy's `.npy` files, format 1.0: what a reader needs to go on with raw maps.

use std::fmt::Write as _;

use top5_graph::Tensor;

use crate::map::Map;

/// Little-endian f32 in row-major order. `values` has as many elements as the shape says.
pub fn npy(shape: &[usize], values: &[f32]) -> Vec<u8> {
    debug_assert_eq!(shape.iter().product::<usize>(), values.len());
    let mut dims = String::new();
    for side in shape {
        let _ = write!(dims, "{side}, ");
    }
    let dims = if shape.len() > 1 { dims.trim_end_matches(", ") } else { dims.trim_end() };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({dims}), }}");
    // Magic, version, length and header together are a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    while header.len() + 1 < length {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// A map as an array of rows.
pub fn of_map(map: &Map) -> Vec<u8> {
    npy(&[map.height(), map.width()], map.values())
}

/// A tensor.
pub fn of_tensor(tensor: &Tensor) -> Vec<u8> {
    npy(tensor.shape(), tensor.data())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numpys() {
        let bytes = npy(&[2, 1], &[1.0, -2.0]);
        assert_eq!(bytes.len(), 128 + 8 - 64 * usize::from(bytes.len() < 128));
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((10 + length) % 64, 0);
        let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
        assert_eq!(
            header.trim_end(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }"
        );
        assert!(header.ends_with('\n'));
        assert_eq!(&bytes[10 + length..], [1.0f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat());
        let one = npy(&[3], &[0.0; 3]);
        assert!(String::from_utf8_lossy(&one).contains("'shape': (3,), }"));
    }
}
