//! Vectors as arrays, which compilers turn into those of the machine where they can.

use std::array::from_fn;

use super::Lanes;

impl Lanes for [i16; 8] {
    type Wide = [i32; 8];

    fn load(numbers: &[i16; 8]) -> Self {
        *numbers
    }

    fn load_bytes(bytes: &[u8; 8]) -> Self {
        bytes.map(i16::from)
    }

    fn plus(self, other: Self) -> Self {
        from_fn(|i| self[i].wrapping_add(other[i]))
    }

    fn minus(self, other: Self) -> Self {
        from_fn(|i| self[i].wrapping_sub(other[i]))
    }

    fn times(self, other: Self) -> Self {
        from_fn(|i| self[i].wrapping_mul(other[i]))
    }

    fn shifted<const BITS: i32>(self) -> Self {
        self.map(|number| number << BITS)
    }

    fn scaled(self, factor: i16) -> Self {
        self.map(|number| ((i32::from(number) * i32::from(factor) + (1 << 15)) >> 16) as i16)
    }

    fn any(self) -> bool {
        self != [0; 8]
    }

    fn or(self, other: Self) -> Self {
        from_fn(|i| self[i] | other[i])
    }

    fn widened<const BITS: i32>(self) -> Self::Wide {
        self.map(|number| i32::from(number) << BITS)
    }

    fn dot(self, other: Self, [a, b]: [i16; 2]) -> Self::Wide {
        from_fn(|i| i32::from(self[i]) * i32::from(a) + i32::from(other[i]) * i32::from(b))
    }

    fn wide_sum(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        from_fn(|i| a[i].wrapping_add(b[i]))
    }

    fn wide_difference(a: Self::Wide, b: Self::Wide) -> Self::Wide {
        from_fn(|i| a[i].wrapping_sub(b[i]))
    }

    fn narrowed<const BITS: i32>(a: Self::Wide) -> Self {
        let [least, most] = [i16::MIN, i16::MAX].map(i32::from);
        a.map(|a| (a.wrapping_add(1 << (BITS - 1)) >> BITS).clamp(least, most) as i16)
    }

    fn transposed(rows: [Self; 8]) -> [Self; 8] {
        from_fn(|row| from_fn(|column| rows[column][row]))
    }

    fn samples(columns: [Self; 8]) -> [[u8; 8]; 8] {
        let sample = |number: i16| number.saturating_add(128).clamp(0, 255) as u8;
        from_fn(|row| from_fn(|column| sample(columns[column][row])))
    }

    fn bytes_in_turns(lanes: [Self; 3]) -> [u8; 24] {
        from_fn(|i| lanes[i % 3][i / 3].clamp(0, 255) as u8)
    }
}
