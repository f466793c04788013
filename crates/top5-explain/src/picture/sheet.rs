//! Pictures enlarged and side by side, and a bar of the scale with its numbers.

use top5_data::Image;

use super::colour::{Scale, number};
use super::font;

/// The ground between pictures.
const GROUND: u8 = 255;

/// Each pixel as a square of `zoom` pixels.
pub fn enlarge(image: &Image, zoom: usize) -> Image {
    let zoom = zoom.max(1);
    let (height, width) = (image.height * zoom, image.width * zoom);
    let mut pixels = Vec::with_capacity(height * width * image.channels);
    for y in 0..height {
        let row = image.row(y / zoom);
        for x in 0..width {
            let at = x / zoom * image.channels;
            pixels.extend_from_slice(&row[at..at + image.channels]);
        }
    }
    Image { channels: image.channels, height, width, pixels }
}

/// Pictures from left to right on white, aligned at the top, and to their right the bar of a scale if there is one.
pub fn side_by_side(pictures: &[Image], scale: Option<&Scale>, gap: usize) -> Image {
    let tallest = pictures.iter().map(|picture| picture.height).max().unwrap_or(1);
    let bar = scale.map(|scale| bar(scale, tallest.max(48)));
    let pictures: Vec<Image> = pictures.iter().map(Image::to_rgb).chain(bar).collect();
    let height = pictures.iter().map(|picture| picture.height).max().unwrap_or(1);
    let width: usize = pictures.iter().map(|picture| picture.width + gap).sum();
    let mut image = Image::filled(3, height + 2 * gap, width + gap, GROUND);
    let mut left = gap;
    for picture in &pictures {
        image.paste(picture, gap, left);
        left += picture.width + gap;
    }
    image
}

/// A vertical bar of a scale, highest number above.
fn bar(scale: &Scale, height: usize) -> Image {
    let zoom = (height / 100).clamp(1, 3);
    let ticks = scale.ticks().map(number);
    let text = ticks.iter().map(|text| font::width(text)).max().unwrap_or(0) * zoom;
    let thick = 6 * zoom;
    let mut image = Image::filled(3, height, thick + 3 * zoom + text, GROUND);
    let span = f64::from(scale.high) - f64::from(scale.low);
    for y in 0..height {
        let share = 1.0 - y as f64 / (height - 1).max(1) as f64;
        let colour = scale.colour((f64::from(scale.low) + share * span) as f32);
        for x in 0..thick {
            let at = (y * image.width + x) * 3;
            image.pixels[at..at + 3].copy_from_slice(&colour);
        }
    }
    let line = font::HEIGHT * zoom;
    let rows = [height - line, (height - line) / 2, 0];
    for (text, row) in ticks.iter().zip(rows) {
        font::write(&mut image, text, [row, thick + 2 * zoom], zoom);
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Ramp;

    #[test]
    fn bars_have_the_scales_colours_and_numbers() {
        let scale = Scale { low: -1.0, high: 1.0, ramp: Ramp::Diverging };
        let image = side_by_side(&[Image::filled(3, 60, 60, 0)], Some(&scale), 2);
        let at = |y: usize, x: usize| image.row(y)[3 * x..3 * x + 3].to_vec();
        assert_eq!(at(2, 64), scale.colour(1.0));
        assert_eq!(at(61, 64), scale.colour(-1.0));
        let black = image.pixels.chunks_exact(3).skip(64).filter(|p| **p == [0; 3]).count();
        assert!(black > 3600 - 64, "the numbers are missing");
    }
}
