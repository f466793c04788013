//! The inverse cosine transform of libjpeg's `islow` method: Loeffler, Ligtenberg and Moschytz's (ICASSP 1989) in fixed
//! point with 13 bits after the point, columns first and two bits kept between the passes.
//!
//! Numbers are kept in 16 bits between the steps where libjpeg-turbo's vectors do so. It makes a difference for
//! coefficients that no image has: then sums wrap and results are cut off, here as there.

use super::lanes::{Lanes, Native};

const BITS: i32 = 13;
const KEPT: i32 = 2;
const COLUMNS: i32 = BITS - KEPT;
const ROWS: i32 = BITS + KEPT + 3;

/// Turns a block of coefficients, in row order, into 8×8 samples, at the start of `out` with `stride` samples per row.
/// Coefficients behind number `last` of the zigzag order are zero. Factors over 15 bits are negative.
///
/// # Panics
/// If `out` is shorter than seven strides and 8.
pub fn inverse(
    block: &[i16; 64],
    last: usize,
    quantisers: &[i16; 64],
    out: &mut [u8],
    stride: usize,
) {
    if last == 0 {
        let mean = block[0].wrapping_mul(quantisers[0]) << KEPT;
        let sample = ((i32::from(mean) + (1 << (KEPT + 2))) >> (KEPT + 3)).clamp(-128, 127) + 128;
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(sample as u8);
        }
        return;
    }
    let samples = transform::<Native>(block, quantisers);
    for (row, samples) in out.chunks_mut(stride).zip(&samples) {
        row[..8].copy_from_slice(samples);
    }
}

#[inline(always)]
fn transform<L: Lanes>(block: &[i16; 64], quantisers: &[i16; 64]) -> [[u8; 8]; 8] {
    let rows: [L; 8] = std::array::from_fn(|row| {
        let of = |numbers: &[i16; 64]| L::load(numbers[8 * row..].first_chunk().expect("8 rows"));
        of(block).times(of(quantisers))
    });
    let below = rows[2..].iter().fold(rows[1], |bits, &row| bits.or(row));
    let rows = if below.any() { pass::<L, COLUMNS>(rows) } else { [rows[0].shifted::<KEPT>(); 8] };
    L::samples(pass::<L, ROWS>(L::transposed(rows)))
}

/// Transforms along the vectors, in all lanes at once, and drops `SHIFT` bits, rounding.
#[inline(always)]
fn pass<L: Lanes, const SHIFT: i32>(x: [L; 8]) -> [L; 8] {
    let (sum, difference) = (L::wide_sum, L::wide_difference);
    let (far, near) = (x[2].dot(x[6], [4433, 4433 - 15137]), x[2].dot(x[6], [4433 + 6270, 4433]));
    let (plus, minus) = (x[0].plus(x[4]).widened::<BITS>(), x[0].minus(x[4]).widened::<BITS>());
    let even = [sum(plus, near), sum(minus, far), difference(minus, far), difference(plus, near)];

    let (z3, z4) = (x[7].plus(x[3]), x[5].plus(x[1]));
    let z5 = z3.dot(z4, [9633 - 16069, 9633]);
    let z6 = z3.dot(z4, [9633, 9633 - 3196]);
    let odd = [
        sum(x[7].dot(x[1], [-7373, 12299 - 7373]), z6),
        sum(x[5].dot(x[3], [-20995, 25172 - 20995]), z5),
        sum(x[5].dot(x[3], [16819 - 20995, -20995]), z6),
        sum(x[7].dot(x[1], [2446 - 7373, -7373]), z5),
    ];
    std::array::from_fn(|i| {
        let k = i.min(7 - i);
        L::narrowed::<SHIFT>(match i < 4 {
            true => sum(even[k], odd[k]),
            false => difference(even[k], odd[k]),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transform's definition (T.81, A.3.3).
    fn definition(block: &[i16; 64], x: usize, y: usize) -> f64 {
        let scale = |k: usize| if k == 0 { 0.5f64.sqrt() } else { 1.0 };
        let wave = |k: usize, x: usize| {
            scale(k) * ((2 * x + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos()
        };
        let terms = (0..64).map(|i| f64::from(block[i]) * wave(i % 8, x) * wave(i / 8, y));
        terms.sum::<f64>() / 4.0 + 128.0
    }

    fn draws() -> impl FnMut(i32) -> i16 {
        let mut state = 7u32;
        move |range| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as i32 % (2 * range + 1) - range) as i16
        }
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let mut draw = draws();
        for count in [1, 2, 5, 64] {
            let mut block = [0; 64];
            for k in 0..count {
                block[(k * 11) % 64] = draw(if k == 0 { 800 } else { 60 });
            }
            let mut out = [0; 64];
            inverse(&block, if count == 1 { 0 } else { 63 }, &[1; 64], &mut out, 8);
            for (i, &sample) in out.iter().enumerate() {
                let expected = definition(&block, i % 8, i / 8).clamp(0.0, 255.0);
                assert!((f64::from(sample) - expected).abs() < 0.6, "{i}: {sample}, {expected}");
            }
        }
    }

    #[test]
    fn all_vectors_give_the_same_samples() {
        let mut draw = draws();
        for round in 0..2000 {
            let mut block = [0; 64];
            for _ in 0..1 + round % 64 {
                let range = [3, 100, 2000, 32767][round / 2 % 4];
                block[(draw(31) + 31) as usize] = draw(range);
            }
            let quantisers = std::array::from_fn(|_| if round % 2 == 0 { 1 } else { draw(255) });
            let samples = transform::<[i16; 8]>(&block, &quantisers);
            assert_eq!(transform::<Native>(&block, &quantisers), samples);
            // A mean alone is the same whether it is known to be alone or not.
            block[1..].fill(0);
            let samples = transform::<Native>(&block, &quantisers);
            let mut out = [0; 64];
            inverse(&block, 0, &quantisers, &mut out, 8);
            assert_eq!(out, *samples.as_flattened());
        }
    }
}
