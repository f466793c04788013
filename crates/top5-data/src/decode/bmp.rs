//! BMP files of 16 bits per pixel: Pillow cuts their colours off where others round them.

/// For each of the colours red, green and blue, its number of bits, if it is a file of 16 bits per pixel that Pillow reads.
pub(super) fn bits(bytes: &[u8]) -> Option<[u32; 3]> {
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (header, depth, coding) = (number(14)?, number(28)? & 0xFFFF, number(30)?);
    match (header, depth, coding) {
        (40.., 16, 0) => Some([5; 3]),
        (40.., 16, 3) => match [number(54)?, number(58)?, number(62)?] {
            [0xF800, 0x07E0, 0x001F] => Some([5, 6, 5]),
            [0x7C00, 0x03E0, 0x001F] => Some([5; 3]),
            _ => None,
        },
        _ => None,
    }
}

/// Cuts off pixels, three bytes each, that were rounded to 8 bits from so many.
pub(super) fn cut_off(pixels: &mut [u8], bits: [u32; 3]) {
    for pixel in pixels.as_chunks_mut::<3>().0 {
        for (value, bits) in pixel.iter_mut().zip(bits) {
            let most = (1 << bits) - 1;
            let stored = (u32::from(*value) * most + 127) / 255;
            *value = (stored * 255 / most) as u8;
        }
    }
}
