//! From components to pixels: reduced ones are brought to full size by libjpeg's triangle filter, then the colours are
//! converted in its fixed-point arithmetic. CMYK becomes RGB as in Pillow, which takes the values for inverted ones.

use top5_kernels::jpeg::rgb_from_ycbcr;

use super::frame::{Component, Frame};
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

    /// The image of a frame whose samples are complete, into memory for its pixels.
    pub(super) fn image(self, frame: &Frame, mut pixels: Vec<u8>) -> Image {
        let (width, height) = (frame.width, frame.height);
        let channels = if self == Self::Gray { 1 } else { 3 };
        let length = |component: &Component| component.width * (frame.h / component.h);
        let mut full: Vec<Vec<u8>> =
            frame.components.iter().map(|component| vec![0; length(component)]).collect();
        let mut out = vec![0; width * channels];
        for y in 0..height {
            let components = frame.components.iter().zip(&mut full);
            let rows: Vec<&[u8]> =
                components.map(|(component, row)| component.full_row(frame, y, row)).collect();
            match rows[..] {
                [gray] => out.copy_from_slice(&gray[..width]),
                [a, b, c] => self.rgb_row([a, b, c], &mut out),
                [a, b, c, k] => {
                    self.rgb_row([a, b, c], &mut out);
                    self.ink_row(k, &mut out);
                }
                _ => unreachable!("the frame header has 1, 3 or 4 components"),
            }
            pixels.extend(&out);
        }
        Image { channels, height, width, pixels }
    }

    /// A row of three components as red, green and blue; those of CMYK stay.
    fn rgb_row(self, [a, b, c]: [&[u8]; 3], out: &mut [u8]) {
        if matches!(self, Self::YCbCr | Self::Ycck) {
            return rgb_from_ycbcr(a, b, c, out);
        }
        for (((&a, &b), &c), out) in a.iter().zip(b).zip(c).zip(out.as_chunks_mut().0) {
            *out = [a, b, c];
        }
    }

    /// A row of colours under black ink.
    fn ink_row(self, black: &[u8], out: &mut [u8]) {
        for (colour, &light) in out.as_chunks_mut::<3>().0.iter_mut().zip(black) {
            // 255 is no ink; of YCCK, red, green and blue are the ink itself.
            let ink = if self == Self::Ycck { *colour } else { colour.map(|v| 255 - v) };
            *colour = ink.map(|ink| over_black(ink, light));
        }
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

    /// Row `y` of the image at full resolution, made in `out` if need be.
    fn full_row<'a>(&'a self, frame: &Frame, y: usize, out: &'a mut [u8]) -> &'a [u8] {
        let (right, down) = (frame.h / self.h, frame.v / self.v);
        let near = self.row(y / down);
        // Of two rows that come from one, the upper one leans to the row above, the lower one to that below.
        let upper = y.is_multiple_of(2);
        let far = || self.row(if upper { (y / 2).saturating_sub(1) } else { y / 2 + 1 });
        match (right, down) {
            (1, 1) => return near,
            (2, 1) if self.width > 2 => twice_as_wide(near, out),
            (1, 2) => {
                let bias = 1 + y as u16 % 2;
                for ((out, &near), &far) in out.iter_mut().zip(near).zip(far()) {
                    *out = ((3 * u16::from(near) + u16::from(far) + bias) >> 2) as u8;
                }
            }
            (2, 2) if self.width > 2 => twice_both_ways(near, far(), out),
            _ => {
                for (out, &sample) in out.chunks_exact_mut(right).zip(near) {
                    out.fill(sample);
                }
            }
        }
        out
    }
}

/// Each sample becomes two, a quarter of the way to its left and to its right neighbour.
fn twice_as_wide(near: &[u8], out: &mut [u8]) {
    let last = near.len() - 1;
    (out[0], out[2 * last + 1]) = (near[0], near[last]);
    let between = out[1..2 * last + 1].as_chunks_mut().0;
    for ((out, &left), &right) in between.iter_mut().zip(near).zip(&near[1..]) {
        let [left, right] = [left, right].map(u16::from);
        *out = [(3 * left + right + 2) >> 2, (3 * right + left + 1) >> 2].map(|v| v as u8);
    }
}

/// The same, a quarter of the way to the other row too.
fn twice_both_ways(near: &[u8], far: &[u8], out: &mut [u8]) {
    let sum = |near: u8, far: u8| 3 * u16::from(near) + u16::from(far);
    let last = near.len() - 1;
    out[0] = ((4 * sum(near[0], far[0]) + 8) >> 4) as u8;
    out[2 * last + 1] = ((4 * sum(near[last], far[last]) + 7) >> 4) as u8;
    let between = out[1..2 * last + 1].as_chunks_mut().0;
    let left = near.iter().zip(far);
    let right = near[1..].iter().zip(&far[1..]);
    for ((out, left), right) in between.iter_mut().zip(left).zip(right) {
        let [left, right] = [left, right].map(|(&near, &far)| sum(near, far));
        *out = [(3 * left + right + 7) >> 4, (3 * right + left + 8) >> 4].map(|v| v as u8);
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
    fn constant_samples_stay_constant_when_enlarged() {
        let mut out = [0; 10];
        twice_as_wide(&[9; 5], &mut out);
        assert_eq!(out, [9; 10]);
        twice_both_ways(&[200; 5], &[200; 5], &mut out);
        assert_eq!(out, [200; 10]);
    }
}
