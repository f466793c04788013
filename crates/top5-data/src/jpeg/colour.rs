//! From components to pixels: reduced ones are brought to full size by libjpeg's triangle filter, then the colours are
//! converted in its fixed-point arithmetic. CMYK becomes RGB as in Pillow, which takes the values for inverted ones.

use super::{Component, Frame};
use crate::image::Image;

/// What the components mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Gray,
    Rgb,
    YCbCr,
    Cmyk,
    Ycck,
}

impl Colours {
    /// As libjpeg guesses, from the components' ids and the markers of JFIF and Adobe.
    pub(super) fn of(ids: &[u8], jfif: bool, adobe: Option<u8>) -> Self {
        match (ids.len(), adobe) {
            (1, _) => Self::Gray,
            (4, Some(0) | None) => Self::Cmyk,
            (4, Some(_)) => Self::Ycck,
            (_, _) if jfif => Self::YCbCr,
            (_, Some(0)) => Self::Rgb,
            (_, None) if ids == b"RGB" => Self::Rgb,
            _ => Self::YCbCr,
        }
    }

    /// The image of a frame whose samples are complete.
    pub(super) fn image(self, frame: &Frame) -> Image {
        let (width, height) = (frame.width, frame.height);
        let channels = if self == Self::Gray { 1 } else { 3 };
        let mut pixels = Vec::with_capacity(width * height * channels);
        let length = |component: &Component| component.width * (frame.h / component.h);
        let mut rows: Vec<Vec<u8>> =
            frame.components.iter().map(|component| vec![0; length(component)]).collect();
        for y in 0..height {
            for (component, row) in frame.components.iter().zip(&mut rows) {
                component.full_row(frame, y, row);
            }
            match (self, &rows[..]) {
                (Self::Gray, [gray, ..]) => pixels.extend(&gray[..width]),
                (_, [a, b, c]) => {
                    pixels.extend((0..width).flat_map(|x| self.rgb([a[x], b[x], c[x]])))
                }
                (_, [a, b, c, k]) => pixels.extend((0..width).flat_map(|x| {
                    let stored = self.rgb([a[x], b[x], c[x]]);
                    // 255 is no ink; of YCCK, red, green and blue are the ink itself.
                    let ink = if self == Self::Ycck { stored } else { stored.map(|v| 255 - v) };
                    ink.map(|ink| over_black(ink, k[x]))
                })),
                _ => unreachable!("the frame header has 1, 3 or 4 components"),
            }
        }
        Image { channels, height, width, pixels }
    }

    /// Three components as red, green and blue; those of CMYK stay.
    fn rgb(self, components: [u8; 3]) -> [u8; 3] {
        if matches!(self, Self::Rgb | Self::Cmyk) {
            return components;
        }
        let [y, cb, cr] = components.map(i32::from);
        let (cb, cr) = (cb - 128, cr - 128);
        const HALF: i32 = 1 << 15;
        [
            y + ((91_881 * cr + HALF) >> 16),
            y + ((-22_554 * cb - 46_802 * cr + HALF) >> 16),
            y + ((116_130 * cb + HALF) >> 16),
        ]
        .map(|value| value.clamp(0, 255) as u8)
    }
}

/// A colour from its ink and from the light that black ink leaves, as Pillow converts CMYK.
fn over_black(ink: u8, light: u8) -> u8 {
    let product = u32::from(ink) * u32::from(light) + 128;
    light.saturating_sub(((product + (product >> 8)) >> 8) as u8)
}

impl Component {
    fn row(&self, y: usize) -> &[u8] {
        &self.samples[y.min(self.height - 1) * self.columns * 8..][..self.width]
    }

    /// Row `y` of the image at full resolution, of `width` times the horizontal reduction samples.
    fn full_row(&self, frame: &Frame, y: usize, out: &mut [u8]) {
        let (right, down) = (frame.h / self.h, frame.v / self.v);
        let near = self.row(y / down);
        // Of two rows that come from one, the upper one leans to the row above, the lower one to that below.
        let upper = y.is_multiple_of(2);
        let far = || self.row(if upper { (y / 2).saturating_sub(1) } else { y / 2 + 1 });
        match (right, down) {
            (1, 1) => out.copy_from_slice(near),
            (2, 1) if self.width > 2 => twice_as_wide(near, out),
            (1, 2) => {
                let bias = 1 + y as u32 % 2;
                for ((out, &near), &far) in out.iter_mut().zip(near).zip(far()) {
                    *out = ((3 * u32::from(near) + u32::from(far) + bias) >> 2) as u8;
                }
            }
            (2, 2) if self.width > 2 => twice_both_ways(near, far(), out),
            _ => {
                for (out, &sample) in out.chunks_exact_mut(right).zip(near) {
                    out.fill(sample);
                }
            }
        }
    }
}

/// Each sample becomes two, a quarter of the way to its left and to its right neighbour.
fn twice_as_wide(near: &[u8], out: &mut [u8]) {
    let last = near.len() - 1;
    for (i, (out, &sample)) in out.chunks_exact_mut(2).zip(near).enumerate() {
        let this = 3 * u32::from(sample);
        out[0] = if i == 0 { sample } else { ((this + u32::from(near[i - 1]) + 1) >> 2) as u8 };
        out[1] = if i == last { sample } else { ((this + u32::from(near[i + 1]) + 2) >> 2) as u8 };
    }
}

/// The same, a quarter of the way to the other row too.
fn twice_both_ways(near: &[u8], far: &[u8], out: &mut [u8]) {
    let sum = |i: usize| 3 * u32::from(near[i]) + u32::from(far[i]);
    let last = near.len() - 1;
    for (i, out) in out.chunks_exact_mut(2).enumerate() {
        let this = sum(i);
        let left = if i == 0 { this } else { sum(i - 1) };
        let right = if i == last { this } else { sum(i + 1) };
        out[0] = ((3 * this + left + 8) >> 4) as u8;
        out[1] = ((3 * this + right + 7) >> 4) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_told_by_markers_and_ids() {
        assert_eq!(Colours::of(&[1], true, None), Colours::Gray);
        assert_eq!(Colours::of(&[1, 2, 3], true, Some(0)), Colours::YCbCr);
        assert_eq!(Colours::of(&[1, 2, 3], false, Some(0)), Colours::Rgb);
        assert_eq!(Colours::of(b"RGB", false, None), Colours::Rgb);
        assert_eq!(Colours::of(&[0, 1, 2], false, None), Colours::YCbCr);
        assert_eq!(Colours::of(&[1, 2, 3, 4], false, None), Colours::Cmyk);
        assert_eq!(Colours::of(&[1, 2, 3, 4], false, Some(2)), Colours::Ycck);
    }

    #[test]
    fn gray_stays_gray_and_primaries_are_met() {
        for y in 0..=255 {
            assert_eq!(Colours::YCbCr.rgb([y, 128, 128]), [y; 3]);
        }
        assert_eq!(Colours::YCbCr.rgb([76, 85, 255]), [254, 0, 0]);
        assert_eq!(Colours::Rgb.rgb([1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn constant_samples_stay_constant_when_enlarged() {
        let mut out = [0; 10];
        twice_as_wide(&[9; 5], &mut out);
        assert_eq!(out, [9; 10]);
        twice_both_ways(&[200; 5], &[200; 5], &mut out);
        assert_eq!(out, [200; 10]);
    }
}
