//! The inverse cosine transform of libjpeg's `islow` method: Loeffler, Ligtenberg and Moschytz's with 12 multiplications
//! (ICASSP 1989), in fixed point with 13 bits after the point, columns first and two bits kept between the passes.

use std::num::Wrapping;

use super::{Coefficients, Quantisers};

const BITS: usize = 13;
const KEPT: usize = 2;

/// Eight numbers, one of each column or row.
type Lane = [Wrapping<i32>; 8];

/// Turns a block of coefficients into 8×8 samples, at the start of `out` with `stride` samples per row.
pub(super) fn inverse(
    block: &Coefficients,
    quantisers: &Quantisers,
    out: &mut [u8],
    stride: usize,
) {
    let value = |i: usize| i32::from(block[i].wrapping_mul(quantisers[i] as i16));
    if block[1..].iter().all(|&coefficient| coefficient == 0) {
        let sample = clamp(((value(0) << KEPT) + (1 << (KEPT + 2))) >> (KEPT + 3));
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(sample);
        }
        return;
    }
    let mut lanes: [Lane; 8] =
        std::array::from_fn(|row| std::array::from_fn(|column| Wrapping(value(8 * row + column))));
    pass::<{ BITS - KEPT }>(&mut lanes);
    lanes = transposed(&lanes);
    pass::<{ BITS + KEPT + 3 }>(&mut lanes);
    for (y, row) in out.chunks_mut(stride).take(8).enumerate() {
        for (x, sample) in row[..8].iter_mut().enumerate() {
            *sample = clamp(lanes[x][y].0);
        }
    }
}

/// Samples are stored without their sign.
fn clamp(value: i32) -> u8 {
    value.saturating_add(128).clamp(0, 255) as u8
}

fn transposed(lanes: &[Lane; 8]) -> [Lane; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| lanes[column][row]))
}

/// Transforms along the first index, in all lanes at once, and drops `SHIFT` bits, rounding.
fn pass<const SHIFT: usize>(lanes: &mut [Lane; 8]) {
    let w = Wrapping;
    for i in 0..8 {
        let x: [Wrapping<i32>; 8] = std::array::from_fn(|k| lanes[k][i]);
        let z1 = (x[2] + x[6]) * w(4433);
        let (even2, even3) = (z1 - x[6] * w(15137), z1 + x[2] * w(6270));
        let (even0, even1) = ((x[0] + x[4]) << BITS, (x[0] - x[4]) << BITS);
        let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

        let z5 = (x[7] + x[3] + x[5] + x[1]) * w(9633);
        let z1 = (x[7] + x[1]) * w(-7373);
        let z2 = (x[5] + x[3]) * w(-20995);
        let z3 = (x[7] + x[3]) * w(-16069) + z5;
        let z4 = (x[5] + x[1]) * w(-3196) + z5;
        let odd = [
            x[1] * w(12299) + z1 + z4,
            x[3] * w(25172) + z2 + z3,
            x[5] * w(16819) + z2 + z4,
            x[7] * w(2446) + z1 + z3,
        ];
        let half = w(1 << (SHIFT - 1));
        for k in 0..4 {
            lanes[k][i] = (even[k] + odd[k] + half) >> SHIFT;
            lanes[7 - k][i] = (even[k] - odd[k] + half) >> SHIFT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform's definition (T.81, A.3.3).
    fn definition(block: &Coefficients, x: usize, y: usize) -> f64 {
        let scale = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let wave = |k: usize, x: usize| {
            scale(k) * ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
        };
        let terms = (0..64).map(|i| f64::from(block[i]) * wave(i % 8, x) * wave(i / 8, y));
        terms.sum::<f64>() / 4.0 + 128.0
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let mut state = 7u32;
        let mut draw = |range: i32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32 % (2 * range + 1) - range
        };
        for count in [1, 2, 5, 64] {
            let mut block = [0; 64];
            for k in 0..count {
                block[(k * 11) % 64] = draw(if k == 0 { 800 } else { 60 }) as i16;
            }
            let mut out = [0; 64];
            inverse(&block, &[1; 64], &mut out, 8);
            for (i, &sample) in out.iter().enumerate() {
                let expected = definition(&block, i % 8, i / 8).clamp(0.0, 255.0);
                assert!((f64::from(sample) - expected).abs() < 0.6, "{i}: {sample}, {expected}");
            }
        }
    }

    #[test]
    fn no_coefficient_is_too_large() {
        for value in [i16::MIN, i16::MAX] {
            let decode = || inverse(&[value; 64], &[u16::MAX; 64], &mut [0; 64], 8);
            assert!(std::panic::catch_unwind(decode).is_ok(), "{value} overflows");
        }
    }
}
