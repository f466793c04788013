//! Contact sheets: pictures of one size in rows and columns.

use top5_data::{Filter, Image, resize};

/// White.
const GROUND: u8 = 255;

/// Pictures in RGB on white, in rows of `columns`, each enlarged or reduced to fit a square of `cell` pixels, `gap` pixels
/// apart. Places of `None` stay empty. Small pictures are enlarged without smoothing, so that their pixels can be seen.
pub fn sheet(pictures: &[Option<Image>], columns: usize, cell: usize, gap: usize) -> Image {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let side = |count: usize| count * cell + (count - 1) * gap;
    let mut sheet = Image::filled(3, side(rows), side(columns), GROUND);
    for (place, picture) in pictures.iter().enumerate() {
        let Some(picture) = picture else { continue };
        let fitted = fit(&picture.to_rgb(), cell);
        let corner = |place: usize, own: usize| place * (cell + gap) + (cell - own) / 2;
        let (top, left) = (place / columns, place % columns);
        sheet.paste(&fitted, corner(top, fitted.height), corner(left, fitted.width));
    }
    sheet
}

/// Pictures of any sizes, in rows of `columns`, `gap` pixels apart, each in the upper left corner of its place: rows are as
/// high, columns as wide as the largest of all.
pub fn blocks(pictures: &[Image], columns: usize, gap: usize) -> Image {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns).max(1);
    let height = pictures.iter().map(|picture| picture.height).max().unwrap_or(1);
    let width = pictures.iter().map(|picture| picture.width).max().unwrap_or(1);
    let side = |count: usize, own: usize| count * own + (count - 1) * gap;
    let mut sheet = Image::filled(3, side(rows, height), side(columns, width), GROUND);
    for (place, picture) in pictures.iter().enumerate() {
        let (top, left) = (place / columns, place % columns);
        sheet.paste(&picture.to_rgb(), top * (height + gap), left * (width + gap));
    }
    sheet
}

/// The picture with its longer side at `cell`.
fn fit(picture: &Image, cell: usize) -> Image {
    let longer = picture.height.max(picture.width).max(1);
    let filter = if longer > cell { Filter::Bilinear } else { Filter::Nearest };
    let scaled = |side: usize| (side * cell / longer).max(1);
    resize(picture, scaled(picture.height), scaled(picture.width), filter)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((got.height, got.width), (2, 5));
        let values = |y| got.row(y).iter().step_by(3).copied().collect::<Vec<u8>>();
        assert_eq!(values(0), [1, 1, 255, 2, 255]);
        assert_eq!(values(1), [255, 255, 255, 2, 255]);
    }
}
