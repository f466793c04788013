//! From YCbCr to RGB, in libjpeg's fixed-point arithmetic with 16 bits after the point.

use super::lanes::{Lanes, Native};

/// Converts pixels, three bytes of `out` for each byte of the others: as many as all have room for.
pub fn rgb_from_ycbcr(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let count = y.len().min(cb.len()).min(cr.len()).min(out.len() / 3);
    let (y, y_rest) = y[..count].as_chunks();
    let (cb, cb_rest) = cb[..count].as_chunks();
    let (cr, cr_rest) = cr[..count].as_chunks();
    let (out, out_rest) = out[..3 * count].as_chunks_mut();
    for (((y, cb), cr), out) in y.iter().zip(cb).zip(cr).zip(out) {
        *out = rgb_of_eight::<Native>([y, cb, cr]);
    }
    for (((&y, &cb), &cr), out) in
        y_rest.iter().zip(cb_rest).zip(cr_rest).zip(out_rest.as_chunks_mut().0)
    {
        *out = rgb([y, cb, cr]);
    }
}

fn rgb(components: [u8; 3]) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let [y, cb, cr] = components.map(i32::from);
    let (cb, cr) = (cb - 128, cr - 128);
    [
        y + ((91_881 * cr + HALF) >> 16),
        y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16),
        y + ((116_130 * cb + HALF) >> 16),
    ]
    .map(|value| value.clamp(0, 255) as u8)
}

/// Eight pixels, as [`rgb`] converts each.
#[inline(always)]
fn rgb_of_eight<L: Lanes>([y, cb, cr]: [&[u8; 8]; 3]) -> [u8; 24] {
    let y = L::load_bytes(y);
    let zero = L::load(&[128; 8]);
    let (cb, cr) = (L::load_bytes(cb).minus(zero), L::load_bytes(cr).minus(zero));
    // The factors less whole ones, which 16 bits have no room for.
    let red = y.plus(cr).plus(cr.scaled((91_881 - 65_536) as i16));
    let green = cb.dot(cr, [-22_554, (65_536 - 46_802) as i16]);
    let green = y.minus(cr).plus(L::narrowed::<16>(green));
    let blue = y.plus(cb).plus(cb).plus(cb.scaled((116_130 - 131_072) as i16));
    L::bytes_in_turns([red, green, blue])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_stays_gray_and_primaries_are_met() {
        for y in 0..=255 {
            assert_eq!(rgb([y, 128, 128]), [y; 3]);
        }
        assert_eq!(rgb([76, 85, 255]), [254, 0, 0]);
    }

    #[test]
    fn every_colour_is_the_same_on_all_vectors() {
        let all: [u8; 256] = std::array::from_fn(|i| i as u8);
        for cb in 0..=255 {
            for cr in 0..=255 {
                let mut out = [0; 3 * 256];
                rgb_from_ycbcr(&all, &[cb; 256], &[cr; 256], &mut out);
                let expected = all.map(|y| rgb([y, cb, cr]));
                assert_eq!(out, *expected.as_flattened(), "{cb} {cr}");
                let eight = [all[..8].first_chunk().expect("8"), &[cb; 8], &[cr; 8]];
                assert_eq!(rgb_of_eight::<[i16; 8]>(eight), out[..24]);
            }
        }
    }

    #[test]
    fn rows_of_any_length_are_converted_to_their_end() {
        for length in 0..40 {
            let mut out = vec![7; 3 * length + 4];
            rgb_from_ycbcr(&vec![9; length], &vec![128; length], &vec![128; length], &mut out);
            assert!(out[..3 * length].iter().all(|&v| v == 9));
            assert_eq!(out[3 * length..], [7; 4]);
        }
    }
}
