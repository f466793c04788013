//! Several pictures as one: grids, pictures side by side, and a bar of the scale with its numbers.

use top5_data::Image;

use super::colour::{Scale, number};
use super::font;

/// The ground between pictures.
const GROUND: u8 = 255;

/// Pictures of one size in rows, on white.
pub struct Sheet {
    image: Image,
    cell: [usize; 2],
    gap: usize,
    columns: usize,
    next: usize,
}

impl Sheet {
    /// An empty sheet for `count` pictures of `cell` height and width in `columns` columns, `gap` pixels apart.
    pub fn new(count: usize, columns: usize, cell: [usize; 2], gap: usize) -> Self {
        let columns = columns.clamp(1, count.max(1));
        let rows = count.max(1).div_ceil(columns);
        let side = |number: usize, size: usize| number * (size + gap) + gap;
        let image = Image::filled(3, side(rows, cell[0]), side(columns, cell[1]), GROUND);
        Self { image, cell, gap, columns, next: 0 }
    }

    /// Puts a picture into the next free cell; of another size, it is enlarged by a whole number as far as it fits, else cut.
    pub fn push(&mut self, picture: &Image) {
        let (row, column) = (self.next / self.columns, self.next % self.columns);
        self.next += 1;
        let corner = [row, column];
        let at = [0, 1].map(|i| self.gap + corner[i] * (self.cell[i] + self.gap));
        if at[0] + self.cell[0] > self.image.height {
            return;
        }
        let zoom = (self.cell[0] / picture.height.max(1)).min(self.cell[1] / picture.width.max(1));
        let picture = enlarge(&picture.to_rgb(), zoom.max(1));
        let [height, width] = [picture.height.min(self.cell[0]), picture.width.min(self.cell[1])];
        self.image.paste(&picture.crop(0, 0, height, width), at[0], at[1]);
    }

    /// The sheet.
    pub fn finish(self) -> Image {
        self.image
    }
}

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
    fn sheets_hold_their_pictures_in_rows() {
        let mut sheet = Sheet::new(3, 2, [2, 2], 1);
        for value in [10, 20, 30] {
            sheet.push(&Image::filled(3, 1, 1, value));
        }
        let image = sheet.finish();
        assert_eq!([image.height, image.width], [7, 7]);
        assert_eq!([image.row(1)[3], image.row(1)[12], image.row(4)[3]], [10, 20, 30]);
        assert_eq!(image.row(4)[12], 255);
    }

    #[test]
    fn larger_pictures_are_cut() {
        let mut sheet = Sheet::new(1, 1, [2, 3], 0);
        sheet.push(&Image::filled(1, 9, 9, 7));
        assert_eq!(sheet.finish(), Image::filled(3, 2, 3, 7));
    }

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
