//! bfloat16: the upper half of an f32. It has the range of an f32 and 8 bits of precision; products of two are exact in f32.

/// A number in bfloat16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// The nearest one, of two the even one. Denormals become zero and NaN stays NaN, as the instructions have it.
    pub fn from_f32(x: f32) -> Self {
        let bits = x.to_bits();
        Self(if x.is_nan() {
            (bits >> 16) as u16 | 0x40
        } else if x.abs() < f32::MIN_POSITIVE {
            (bits >> 16) as u16 & 0x8000
        } else {
            ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
        })
    }

    /// The same number.
    pub fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}
