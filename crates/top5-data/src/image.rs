//! A decoded image: 8-bit pixels, gray or RGB, in row order with the channels interleaved.

use crate::fingerprint::Fingerprint;

/// An 8-bit image of `height` x `width` pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * channels` values, order H W C.
    pub pixels: Vec<u8>,
}

impl Image {
    /// An image of one value everywhere.
    pub fn filled(channels: usize, height: usize, width: usize, value: u8) -> Self {
        Self { channels, height, width, pixels: vec![value; channels * height * width] }
    }

    /// Equal for equal images, and for others as good as never.
    pub fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint::new();
        [self.channels, self.height, self.width].iter().for_each(|&side| print.number(side as u64));
        print.bytes(&self.pixels);
        print.0
    }

    /// The pixel values of row `y`, order W C.
    pub fn row(&self, y: usize) -> &[u8] {
        let stride = self.width * self.channels;
        &self.pixels[y * stride..(y + 1) * stride]
    }

    /// Three channels: gray is repeated.
    pub fn to_rgb(&self) -> Self {
        if self.channels == 3 {
            return self.clone();
        }
        Self { channels: 3, pixels: self.pixels.iter().flat_map(|&v| [v; 3]).collect(), ..*self }
    }

    /// One channel: the luma of ITU-R 601 in the fixed-point arithmetic of Pillow's `convert("L")`.
    pub fn to_gray(&self) -> Self {
        if self.channels == 1 {
            return self.clone();
        }
        let luma = |rgb: &[u8]| {
            let [r, g, b] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
            ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
        };
        Self { channels: 1, pixels: self.pixels.chunks_exact(3).map(luma).collect(), ..*self }
    }

    /// The window of `height` x `width` whose upper left corner is at row `top`, column `left`. Both may be negative or
    /// reach beyond the image: what lies outside is 0, as in Pillow.
    pub fn crop(&self, top: isize, left: isize, height: usize, width: usize) -> Self {
        let mut out = Self::filled(self.channels, height, width, 0);
        let inside = |offset: isize, size: usize, window: usize| {
            let from = offset.clamp(0, size as isize);
            let to = offset.saturating_add_unsigned(window).clamp(from, size as isize);
            from as usize..to as usize
        };
        let (rows, columns) = (inside(top, self.height, height), inside(left, self.width, width));
        if columns.is_empty() {
            return out;
        }
        for y in rows {
            let from = (y * self.width + columns.start) * self.channels;
            let count = columns.len() * self.channels;
            let row = y.wrapping_add_signed(-top) * width;
            let to = (row + columns.start.wrapping_add_signed(-left)) * self.channels;
            out.pixels[to..to + count].copy_from_slice(&self.pixels[from..from + count]);
        }
        out
    }

    /// Puts `part`, which has as many channels, at row `top`, column `left`. Panics unless it lies within the image.
    pub fn paste(&mut self, part: &Self, top: usize, left: usize) {
        let count = part.width * part.channels;
        for y in 0..part.height {
            let at = ((top + y) * self.width + left) * self.channels;
            self.pixels[at..at + count].copy_from_slice(part.row(y));
        }
    }

    /// The mirror image: left and right exchanged.
    pub fn flip_horizontal(&self) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..self.height {
            self.row(y).rchunks_exact(self.channels).for_each(|pixel| pixels.extend(pixel));
        }
        Self { pixels, ..*self }
    }

    /// The image upside down: first and last row exchanged.
    pub fn flip_vertical(&self) -> Self {
        let rows = (0..self.height).rev().flat_map(|y| self.row(y)).copied();
        Self { pixels: rows.collect(), ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(channels: usize, height: usize, width: usize) -> Image {
        let pixels = (0..channels * height * width).map(|i| i as u8).collect();
        Image { channels, height, width, pixels }
    }

    #[test]
    fn crop_outside_is_zero() {
        let image = counting(1, 2, 3);
        assert_eq!(image.crop(-1, 1, 3, 3).pixels, [0, 0, 0, 1, 2, 0, 4, 5, 0]);
        assert_eq!(image.crop(5, 5, 1, 2).pixels, [0, 0]);
        assert_eq!(image.crop(0, 5, 2, 2).pixels, [0; 4]);
        assert_eq!(image.crop(-9, -9, 2, 2).pixels, [0; 4]);
        assert_eq!(image.crop(0, 0, 2, 3), image);
    }

    #[test]
    fn flip_keeps_channels_in_order() {
        assert_eq!(counting(3, 1, 2).flip_horizontal().pixels, [3, 4, 5, 0, 1, 2]);
        let image = counting(3, 4, 5);
        assert_eq!(image.flip_horizontal().flip_horizontal(), image);
        assert_eq!(counting(3, 2, 1).flip_vertical().pixels, [3, 4, 5, 0, 1, 2]);
    }

    #[test]
    fn gray_is_pillows_luma() {
        let rgb =
            Image { channels: 3, height: 1, width: 3, pixels: vec![255, 0, 0, 0, 255, 0, 1, 2, 3] };
        assert_eq!(rgb.to_gray().pixels, [76, 150, 2]);
        let gray = counting(1, 3, 3);
        assert_eq!(gray.to_rgb().to_gray(), gray);
    }
}
