//! Changes of colours, bit-identical to torchvision's on Pillow images for given numbers.
//!
//! Pillow blends in single precision and cuts fractions off, looks values up in tables made in double precision, and turns
//! hues in an 8-bit HSV; torchvision's path for tensors does none of this, and differs by up to 14 levels.

use crate::image::Image;

/// Black at 0, the image at 1; beyond that it gets brighter (`F.adjust_brightness`).
pub fn adjust_brightness(image: &Image, factor: f64) -> Image {
    blend_value(0, image, factor)
}

/// The mean of its luma at 0, the image at 1 (`F.adjust_contrast`).
pub fn adjust_contrast(image: &Image, factor: f64) -> Image {
    let gray = image.to_gray();
    let sum: f64 = gray.pixels.iter().map(|&v| f64::from(v)).sum();
    blend_value((sum / gray.pixels.len() as f64 + 0.5) as u8, image, factor)
}

/// Its luma at 0, the image at 1 (`F.adjust_saturation`). Nothing happens to gray.
pub fn adjust_saturation(image: &Image, factor: f64) -> Image {
    blend(&gray(image), image, factor)
}

/// The image smoothed at 0, the image at 1 (`F.adjust_sharpness`).
pub fn adjust_sharpness(image: &Image, factor: f64) -> Image {
    blend(&smooth(image), image, factor)
}

/// Turns the hue by this share of the circle, from -0.5 to 0.5 (`F.adjust_hue`). Nothing happens to gray.
pub fn adjust_hue(image: &Image, factor: f64) -> Image {
    let mut image = image.clone();
    if image.channels == 3 {
        let turn = (factor * 255.0) as i32 as u8;
        for rgb in image.pixels.chunks_exact_mut(3) {
            let [hue, saturation, value] = rgb_to_hsv([rgb[0], rgb[1], rgb[2]]);
            rgb.copy_from_slice(&hsv_to_rgb([hue.wrapping_add(turn), saturation, value]));
        }
    }
    image
}

/// Its luma in as many channels as it has (`F.rgb_to_grayscale`).
pub fn gray(image: &Image) -> Image {
    if image.channels == 1 { image.clone() } else { image.to_gray().to_rgb() }
}

/// Keeps the upper `bits` bits, at most 8, of every value (`F.posterize`).
pub fn posterize(image: &Image, bits: u32) -> Image {
    let dropped = 8 - bits.min(8);
    look_up(image, |v| ((u32::from(v) >> dropped) << dropped) as u8)
}

/// Inverts values from `threshold` on (`F.solarize`).
pub fn solarize(image: &Image, threshold: f64) -> Image {
    look_up(image, |v| if f64::from(v) < threshold { v } else { 255 - v })
}

/// Inverts every value (`F.invert`).
pub fn invert(image: &Image) -> Image {
    look_up(image, |v| 255 - v)
}

/// Stretches each channel to 0..=255 (`F.autocontrast`).
pub fn autocontrast(image: &Image) -> Image {
    look_up_channels(image, |histogram| {
        let low = histogram.iter().position(|&count| count > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
        if high <= low {
            return identity();
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|v| (v as f64 * scale + offset) as u8)
    })
}

/// Spreads the values of each channel evenly (`F.equalize`).
pub fn equalize(image: &Image) -> Image {
    look_up_channels(image, |histogram| {
        let last = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
        let before: usize = histogram[..last].iter().sum();
        let step = before / 255;
        if step == 0 {
            return identity();
        }
        let mut sum = step / 2;
        std::array::from_fn(|v| {
            let value = (sum / step).min(255) as u8;
            sum += histogram[v];
            value
        })
    })
}

fn identity() -> [u8; 256] {
    std::array::from_fn(|v| v as u8)
}

fn look_up(image: &Image, of: impl Fn(u8) -> u8) -> Image {
    let table: [u8; 256] = std::array::from_fn(|v| of(v as u8));
    let pixels = image.pixels.iter().map(|&v| table[usize::from(v)]).collect();
    Image { pixels, ..*image }
}

/// Each channel through a table made from its histogram.
fn look_up_channels(image: &Image, of: impl Fn(&[usize; 256]) -> [u8; 256]) -> Image {
    let mut image = image.clone();
    for channel in 0..image.channels {
        let values = || image.pixels.iter().skip(channel).step_by(image.channels);
        let mut histogram = [0; 256];
        values().for_each(|&v| histogram[usize::from(v)] += 1);
        let table = of(&histogram);
        let values = image.pixels.iter_mut().skip(channel).step_by(image.channels);
        values.for_each(|v| *v = table[usize::from(*v)]);
    }
    image
}

/// Pillow's `Image.blend`, where a cast saturates as its clipping does.
fn mix(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (i32::from(to) - i32::from(from)) as f32) as u8
}

fn blend(from: &Image, to: &Image, factor: f64) -> Image {
    let factor = factor as f32;
    let pairs = from.pixels.iter().zip(&to.pixels);
    Image { pixels: pairs.map(|(&from, &to)| mix(from, to, factor)).collect(), ..*to }
}

/// The same where the first image has one value.
fn blend_value(from: u8, to: &Image, factor: f64) -> Image {
    look_up(to, |to| mix(from, to, factor as f32))
}

/// Pillow's `ImageFilter.SMOOTH`: weights 1 and in the middle 5, over 13, summed in single precision; the border stays.
fn smooth(image: &Image) -> Image {
    const EDGE: f32 = 1.0 / 13.0;
    const MIDDLE: f32 = 5.0 / 13.0;
    let mut out = image.clone();
    let channels = image.channels;
    if image.height < 3 || image.width < 3 {
        return out;
    }
    let stride = image.width * channels;
    for y in 1..image.height - 1 {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| image.row(y));
        let row = &mut out.pixels[y * stride..(y + 1) * stride];
        for i in channels..stride - channels {
            let sum = |row: &[u8], middle: f32| {
                let [left, here, right] =
                    [row[i - channels], row[i], row[i + channels]].map(f32::from);
                left * EDGE + here * middle + right * EDGE
            };
            row[i] = (0.5 + sum(below, EDGE) + sum(here, MIDDLE) + sum(above, EDGE)) as u8;
        }
    }
    out
}

/// Pillow's `rgb2hsv_row`, with its mixture of precisions.
fn rgb_to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [rc, gc, bc] = [r, g, b].map(|c| f32::from(most - c) / range);
    let hue = if r == most {
        bc - gc
    } else if g == most {
        (2.0 + f64::from(rc) - f64::from(bc)) as f32
    } else {
        (4.0 + f64::from(gc) - f64::from(rc)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

/// Pillow's `hsv2rgb`.
fn hsv_to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let turn = f64::from(hue) * 6.0 / 255.0;
    let sector = turn.floor();
    let fraction = (turn - f64::from(sector as f32)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let level = |share: f64| (f64::from(value) * share).round() as u8;
    let low = level(1.0 - f64::from(saturation));
    let falling = level(1.0 - f64::from(saturation * fraction));
    let rising = level(1.0 - f64::from(saturation) * (1.0 - f64::from(fraction)));
    match sector as i32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
