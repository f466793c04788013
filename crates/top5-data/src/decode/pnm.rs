//! PNM files with another largest value than 255, which Pillow brings to 8 bits in one step, and rounds ties to even.

use image::codecs::pnm::{PnmDecoder, PnmSubtype};

/// The largest value that the header claims; none in bitmaps.
pub(super) fn largest(bytes: &[u8]) -> Option<u32> {
    let decoder = PnmDecoder::new(bytes).ok()?;
    let has_levels = match decoder.subtype() {
        PnmSubtype::Graymap(_) | PnmSubtype::Pixmap(_) => true,
        PnmSubtype::Bitmap(_) | PnmSubtype::ArbitraryMap => false,
    };
    // The decoder takes zero for gray, too.
    Some(decoder.header().maximal_sample()).filter(|&largest| has_levels && largest > 0)
}

/// In 8 bits a value of at most `largest` that was scaled to `scaled`.
pub(super) fn rounded(value: u32, scaled: u32, largest: u32) -> u8 {
    let [value, scaled] = [value, scaled].map(u64::from);
    let stored = (2 * value * u64::from(largest) + scaled) / (2 * scaled);
    (stored as f64 / f64::from(largest) * 255.0).round_ties_even() as u8
}
