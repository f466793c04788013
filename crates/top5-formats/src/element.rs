//! Element types of stored tensors and their conversion to f32.

/// An element type that weights are stored in; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    F32,
    F64,
}

impl Element {
    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Appends all elements of `bytes`, whose length is a multiple of the element's size.
    pub(crate) fn append(self, bytes: &[u8], values: &mut Vec<f32>) {
        /// One loop for each type, so that the compiler makes vectors of it.
        fn each<const N: usize>(
            bytes: &[u8],
            values: &mut Vec<f32>,
            value: impl Fn([u8; N]) -> f32,
        ) {
            values.extend(bytes.as_chunks().0.iter().map(|&word| value(word)));
        }
        match self {
            Self::F16 => each(bytes, values, |word| f32_from_f16(u16::from_le_bytes(word))),
            Self::Bf16 => each(bytes, values, |[low, high]| f32::from_le_bytes([0, 0, low, high])),
            Self::F32 => each(bytes, values, f32::from_le_bytes),
            Self::F64 => each(bytes, values, |word| f64::from_le_bytes(word) as f32),
        }
    }

    /// All elements of `bytes`, whose length is a multiple of the element's size.
    pub(crate) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let mut values = Vec::with_capacity(bytes.len() / self.size());
        self.append(bytes, &mut values);
        values
    }
}

/// IEEE 754 binary16 to binary32; exact for every value.
fn f32_from_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits) & 0x3ff;
    let magnitude = match exponent {
        // A subnormal is its fraction times 2^-24.
        0 => (fraction as f32 / 16_777_216.0).to_bits(),
        31 => 0x7f80_0000 | fraction << 13,
        _ => (exponent + 112) << 23 | fraction << 13,
    };
    f32::from_bits(sign | magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_of_known_values() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0xfc00, f32::NEG_INFINITY),
        ] {
            assert_eq!(f32_from_f16(bits), value, "{bits:#06x}");
        }
        assert!(f32_from_f16(0x7e00).is_nan());
        assert!(f32_from_f16(0x8000).is_sign_negative());
    }

    #[test]
    fn every_type_converts() {
        assert_eq!(Element::Bf16.values(&[0x80, 0x3f, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(Element::F64.values(&0.5f64.to_le_bytes()), [0.5]);
        assert_eq!(Element::F32.values(&1.5f32.to_le_bytes()), [1.5]);
    }
}
