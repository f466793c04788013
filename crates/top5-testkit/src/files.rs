//! Files of weights as other programs write them, written without the code that reads them.

pub mod caffe;
pub mod onnx;
pub mod torch;

/// A type that elements are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// f32.
    F32,
    /// f64.
    F64,
}

impl Stored {
    /// All types.
    pub const ALL: [Self; 4] = [Self::F16, Self::Bf16, Self::F32, Self::F64];

    /// Little-endian bytes of the values.
    ///
    /// # Panics
    /// If the type cannot hold a value exactly.
    pub fn encode(self, values: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &value in values {
            let bits = value.to_bits();
            match self {
                Self::F16 => bytes.extend(half(bits).to_le_bytes()),
                Self::Bf16 => {
                    assert_eq!(bits & 0xffff, 0, "{value} is no bfloat16");
                    bytes.extend(((bits >> 16) as u16).to_le_bytes());
                }
                Self::F32 => bytes.extend(bits.to_le_bytes()),
                Self::F64 => bytes.extend(f64::from(value).to_le_bytes()),
            }
        }
        bytes
    }

    /// The type's name in safetensors files.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
            Self::F64 => "F64",
        }
    }
}

/// binary16 of a number that is zero, not finite, or normal there and exact.
fn half(bits: u32) -> u16 {
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let fraction = (bits >> 13 & 0x3ff) as u16;
    match exponent {
        -127 => sign,
        128 => sign | 0x7c00 | fraction,
        _ => {
            assert!((-14..=15).contains(&exponent) && bits & 0x1fff == 0, "no exact binary16");
            sign | ((exponent + 15) as u16) << 10 | fraction
        }
    }
}
