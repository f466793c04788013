//! Pictures enlarged, side by side and on contact sheets, and a bar of the scale with its numbers.

use top5_data::{Filter, Image, resize};

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

/// Pictures from left to right on white, aligned at the top, and to their right the bar of a scale if there is one; `gap` pixels
/// between them and around.
pub fn side_by_side(pictures: &[Image], scale: Option<&Scale>, gap: usize) -> Image {
    let tallest = pictures.iter().map(|picture| picture.height).max().unwrap_or(1);
    let bar = scale.map(|scale| bar(scale, tallest.max(48)));
    let pictures: Vec<Image> = pictures.iter().cloned().chain(bar).collect();
    let row = blocks(&pictures, pictures.len(), gap);
    let mut framed = Image::filled(3, row.height + 2 * gap, row.width + 2 * gap, GROUND);
    framed.paste(&row, gap, gap);
    framed
}

/// Pictures of any sizes in RGB on white, in rows of `columns`, `gap` pixels apart, each in the upper left corner of its place:
/// a row is as high as its highest picture, a column as wide as its widest.
pub fn blocks(pictures: &[Image], columns: usize, gap: usize) -> Image {
    let (places, [height, width]) = layout(pictures, columns, gap);
    let mut sheet = Image::filled(3, height, width, GROUND);
    for (picture, [top, left]) in pictures.iter().zip(places) {
        sheet.paste(&picture.to_rgb(), top, left);
    }
    sheet
}

/// Where [`blocks`] puts each picture, as row and column of its upper left corner; and the height and width of all.
pub fn layout(pictures: &[Image], columns: usize, gap: usize) -> (Vec<[usize; 2]>, [usize; 2]) {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let (mut heights, mut widths) = (vec![1; rows], vec![1; columns]);
    for (place, picture) in pictures.iter().enumerate() {
        let (row, column) = (place / columns, place % columns);
        heights[row] = heights[row].max(picture.height);
        widths[column] = widths[column].max(picture.width);
    }
    let side = |sides: &[usize]| sides.iter().sum::<usize>() + (sides.len() - 1) * gap;
    let before = |sides: &[usize]| sides.iter().sum::<usize>() + sides.len() * gap;
    let place = |at: usize| [before(&heights[..at / columns]), before(&widths[..at % columns])];
    ((0..pictures.len()).map(place).collect(), [side(&heights), side(&widths)])
}

/// Pictures in rows of `columns`, each enlarged or reduced to fit a square of `cell` pixels and in its middle, `gap` pixels apart.
/// Places of `None` stay empty. Small pictures are enlarged without smoothing, so that their pixels can be seen.
pub fn sheet(pictures: &[Option<Image>], columns: usize, cell: usize, gap: usize) -> Image {
    let square = |picture: &Option<Image>| {
        let mut square = Image::filled(3, cell, cell, GROUND);
        if let Some(picture) = picture {
            let fitted = fit(&picture.to_rgb(), cell);
            square.paste(&fitted, (cell - fitted.height) / 2, (cell - fitted.width) / 2);
        }
        square
    };
    blocks(&pictures.iter().map(square).collect::<Vec<_>>(), columns, gap)
}

/// The picture with its longer side at `cell`.
fn fit(picture: &Image, cell: usize) -> Image {
    let longer = picture.height.max(picture.width).max(1);
    let filter = if longer > cell { Filter::Bilinear } else { Filter::Nearest };
    let scaled = |side: usize| (side * cell / longer).max(1);
    resize(picture, scaled(picture.height), scaled(picture.width), filter)
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

    #[test]
    fn pictures_lie_in_rows_and_columns() {
        let grey = |side, value| Some(Image::filled(1, side, side, value));
        let got = sheet(&[grey(1, 10), None, grey(4, 30)], 2, 2, 1);
        assert_eq!((got.channels, got.height, got.width), (3, 5, 5));
        let row = |values: [u8; 5]| -> Vec<u8> { values.iter().flat_map(|&v| [v; 3]).collect() };
        assert_eq!(got.row(0), row([10, 10, 255, 255, 255]));
        assert_eq!(got.row(2), row([255; 5]));
        assert_eq!(got.row(4), row([30, 30, 255, 255, 255]));
        let tall = sheet(&[Some(Image::filled(3, 4, 2, 7))], 9, 4, 1);
        assert_eq!(tall.row(0), row([255, 7, 7, 255, 0])[..12].to_vec());
    }

    #[test]
    fn blocks_keep_their_sizes() {
        let pictures = [Image::filled(3, 1, 2, 1), Image::filled(3, 2, 1, 2)];
        let got = blocks(&pictures, 2, 1);
        assert_eq!((got.height, got.width), (2, 4));
        let values = |y| got.row(y).iter().step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(values(0), [1, 1, 255, 2]);
        assert_eq!(values(1), [255, 255, 255, 2]);
        // A row under it: each column keeps its own width.
        let pictures = [&pictures[..], &[Image::filled(3, 3, 3, 3)]].concat();
        let got = blocks(&pictures, 2, 1);
        assert_eq!((got.height, got.width), (2 + 1 + 3, 3 + 1 + 1));
    }
}
