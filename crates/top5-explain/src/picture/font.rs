//! Glyphs of three by five pixels for the numbers of a scale: enough to read a picture that has lost its page.

use top5_data::Image;

/// Rows of a glyph, its left pixel in the highest of three bits.
fn glyph(c: char) -> [u8; 5] {
    match c {
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 7, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [7, 4, 7, 5, 7],
        '7' => [7, 1, 2, 2, 2],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 7],
        '-' => [0, 0, 7, 0, 0],
        '.' => [0, 0, 0, 0, 2],
        'e' => [0, 7, 7, 4, 7],
        _ => [0; 5],
    }
}

/// Height of a line of text at magnification 1.
pub(super) const HEIGHT: usize = 5;

/// Width of a text at magnification 1.
pub(super) fn width(text: &str) -> usize {
    (text.chars().count() * 4).saturating_sub(1)
}

/// Writes a text in black with its upper left corner at a row and column; what lies beyond the image is cut off.
pub(super) fn write(image: &mut Image, text: &str, [top, left]: [usize; 2], zoom: usize) {
    for (i, c) in text.chars().enumerate() {
        for (row, bits) in glyph(c).into_iter().enumerate() {
            for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                for pixel in 0..zoom * zoom {
                    let y = top + row * zoom + pixel / zoom;
                    let x = left + (i * 4 + column) * zoom + pixel % zoom;
                    if y < image.height && x < image.width {
                        let at = (y * image.width + x) * image.channels;
                        image.pixels[at..at + image.channels].fill(0);
                    }
                }
            }
        }
    }
}
