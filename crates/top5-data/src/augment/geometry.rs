//! Rotations, shears and moves, bit-identical to torchvision's on Pillow images for given numbers.
//!
//! Pillow steps through the input in 16-bit fixed point where it takes the nearest pixel, and in double precision where it
//! interpolates, cutting fractions off; torchvision's path for tensors takes another pixel in many places.

use serde::{Deserialize, Serialize};

use crate::image::Image;

/// How a pixel is taken from between those of the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// The nearest one, as torchvision's classes do unless told otherwise.
    #[default]
    Nearest,
    /// Between the four around.
    Bilinear,
}

impl Sampling {
    /// Its word: `nearest` or `bilinear`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
        }
    }
}

/// What an affine map does beside a move; angles are in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Clockwise.
    pub angle: f64,
    /// In pixels, to the right and down.
    pub translate: [f64; 2],
    /// Factor of the size, above 0.
    pub scale: f64,
    /// Along x and y.
    pub shear: [f64; 2],
}

impl Affine {
    /// The map that changes nothing.
    pub const IDENTITY: Self =
        Self { angle: 0.0, translate: [0.0; 2], scale: 1.0, shear: [0.0; 2] };

    /// The matrix that takes a place of the result to where it comes from (`_get_inverse_affine_matrix`), about `center`
    /// (x, y).
    fn inverse(&self, [cx, cy]: [f64; 2]) -> [f64; 6] {
        let angle = self.angle.to_radians();
        let [sx, sy] = self.shear.map(f64::to_radians);
        let [tx, ty] = self.translate;
        let a = (angle - sy).cos() / sy.cos();
        let b = -(angle - sy).cos() * sx.tan() / sy.cos() - angle.sin();
        let c = (angle - sy).sin() / sy.cos();
        let d = -(angle - sy).sin() * sx.tan() / sy.cos() + angle.cos();
        let mut matrix = [d, -b, 0.0, -c, a, 0.0].map(|value| value / self.scale);
        matrix[2] += matrix[0] * (-cx - tx) + matrix[1] * (-cy - ty);
        matrix[5] += matrix[3] * (-cx - tx) + matrix[4] * (-cy - ty);
        matrix[2] += cx;
        matrix[5] += cy;
        matrix
    }
}

/// An affine map about `center` (x, y), or about the middle (`F.affine`). What comes in is 0.
pub fn affine(image: &Image, by: &Affine, center: Option<[f64; 2]>, sampling: Sampling) -> Image {
    let middle = [image.width as f64 * 0.5, image.height as f64 * 0.5];
    transform(image, by.inverse(center.unwrap_or(middle)), sampling)
}

/// Turns by `degrees` against the clock, about the middle (`F.rotate`). What comes in is 0.
pub fn rotate(image: &Image, degrees: f64, sampling: Sampling) -> Image {
    let angle = degrees.rem_euclid(360.0);
    let square = image.height == image.width;
    if angle == 0.0 {
        return image.clone();
    } else if angle == 180.0 {
        return turn_half(image);
    } else if square && angle == 90.0 {
        return turn_quarter(image);
    } else if square && angle == 270.0 {
        return turn_half(&turn_quarter(image));
    }
    let angle = -angle.to_radians();
    let (cos, sin) = (to_15_decimals(angle.cos()), to_15_decimals(angle.sin()));
    let (x, y) = (image.width as f64 / 2.0, image.height as f64 / 2.0);
    let across = cos * -x + sin * -y + x;
    let down = to_15_decimals(-angle.sin()) * -x + cos * -y + y;
    transform(image, [cos, sin, across, to_15_decimals(-angle.sin()), cos, down], sampling)
}

/// Python's `round(value, 15)`.
fn to_15_decimals(value: f64) -> f64 {
    format!("{value:.15}").parse().expect("what is written is read")
}

fn turn_half(image: &Image) -> Image {
    let pixels = image.pixels.rchunks_exact(image.channels).flatten().copied().collect();
    Image { pixels, ..*image }
}

/// A quarter against the clock, of a square image.
fn turn_quarter(image: &Image) -> Image {
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..image.width {
        for x in 0..image.height {
            let at = image.width - 1 - y;
            pixels.extend(&image.row(x)[at * image.channels..][..image.channels]);
        }
    }
    Image { pixels, ..*image }
}

/// Pillow's `Image.transform` with `AFFINE`: `matrix` takes a place (x, y) of the result to one of the image.
fn transform(image: &Image, matrix: [f64; 6], sampling: Sampling) -> Image {
    let [a, b, c, d, e, f] = matrix;
    match sampling {
        Sampling::Bilinear => bilinear(image, matrix),
        Sampling::Nearest if b == 0.0 && d == 0.0 => nearest_scaled(image, matrix),
        Sampling::Nearest => {
            let (right, bottom) = (image.width as f64, image.height as f64);
            let corners = [[0.0, 0.0], [right, bottom], [0.0, bottom], [right, 0.0]];
            let is_within = |value: f64| value.abs() < 32_768.0;
            let fits = corners
                .iter()
                .all(|[x, y]| is_within(x * a + y * b + c) && is_within(x * d + y * e + f));
            if fits { nearest_fixed(image, matrix) } else { nearest_wide(image, matrix) }
        }
    }
}

/// Where a coordinate lies among `size` pixels.
fn place(value: f64, size: usize) -> Option<usize> {
    (value >= 0.0 && value < size as f64).then_some(value as usize)
}

/// The image of which each pixel is that at the place `from(x, y)`, or 0.
fn gather(image: &Image, mut from: impl FnMut(usize, usize) -> Option<(usize, usize)>) -> Image {
    let channels = image.channels;
    let mut out = Image::filled(channels, image.height, image.width, 0);
    for (y, row) in out.pixels.chunks_exact_mut(image.width * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            if let Some((x, y)) = from(x, y) {
                pixel.copy_from_slice(&image.row(y)[x * channels..][..channels]);
            }
        }
    }
    out
}

/// `ImagingScaleAffine`: positions are sums, and each axis is by itself.
fn nearest_scaled(image: &Image, [a, _, c, _, e, f]: [f64; 6]) -> Image {
    let positions = |step: f64, shift: f64, size: usize| -> Vec<Option<usize>> {
        let mut at = shift + step * 0.5;
        let next = |_| {
            let position = place(at, size);
            at += step;
            position
        };
        (0..size).map(next).collect()
    };
    let (columns, rows) = (positions(a, c, image.width), positions(e, f, image.height));
    gather(image, |x, y| columns[x].zip(rows[y]))
}

/// `affine_fixed`.
fn nearest_fixed(image: &Image, [a, b, c, d, e, f]: [f64; 6]) -> Image {
    let fix = |value: f64| (value * 65_536.0 + 0.5).floor() as i64;
    let (ax, ay) = (fix(c + a * 0.5 + b * 0.5), fix(f + d * 0.5 + e * 0.5));
    let [a, b, d, e] = [a, b, d, e].map(fix);
    gather(image, |x, y| {
        let (x, y) = (x as i64, y as i64);
        let column = usize::try_from((ax + a * x + b * y) >> 16).ok();
        let row = usize::try_from((ay + d * x + e * y) >> 16).ok();
        let (column, row) = column.zip(row)?;
        (column < image.width && row < image.height).then_some((column, row))
    })
}

/// What stands beside `affine_fixed` for images beyond its range.
fn nearest_wide(image: &Image, [a, b, c, d, e, f]: [f64; 6]) -> Image {
    let mut row = (c + a * 0.5 + b * 0.5, f + d * 0.5 + e * 0.5);
    let mut at = row;
    gather(image, |x, y| {
        if x == 0 && y > 0 {
            row = (row.0 + b, row.1 + e);
            at = row;
        }
        let from = place(at.0, image.width).zip(place(at.1, image.height));
        at = (at.0 + a, at.1 + d);
        from
    })
}

/// `ImagingGenericTransform` with `bilinear_filter`.
fn bilinear(image: &Image, [a, b, c, d, e, f]: [f64; 6]) -> Image {
    let (height, width, channels) = (image.height, image.width, image.channels);
    let mut out = Image::filled(channels, height, width, 0);
    let between = |from: f64, to: f64, share: f64| from + (to - from) * share;
    for (y, row) in out.pixels.chunks_exact_mut(width * channels).enumerate() {
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let (x, y) = (a * x + b * y + c, d * x + e * y + f);
            if x < 0.0 || x >= width as f64 || y < 0.0 || y >= height as f64 {
                continue;
            }
            let (x, y) = (x - 0.5, y - 0.5);
            let (left, top) = (x.floor(), y.floor());
            let (dx, dy) = (x - left, y - top);
            let columns = [left, left + 1.0].map(|x| x.clamp(0.0, (width - 1) as f64) as usize);
            let upper = image.row(top.max(0.0) as usize);
            let lower = (top + 1.0 < height as f64).then(|| image.row((top + 1.0) as usize));
            for (channel, value) in pixel.iter_mut().enumerate() {
                let along = |row: &[u8]| {
                    let [left, right] = columns.map(|x| f64::from(row[x * channels + channel]));
                    between(left, right, dx)
                };
                let first = along(upper);
                let second = lower.map_or(first, along);
                *value = between(first, second, dy) as u8;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four quarters, two halves and none are the same image, by moving pixels or not at all.
    #[test]
    fn quarter_turns_add_up() {
        let image = Image { channels: 3, height: 3, width: 3, pixels: (0..27).collect() };
        let turned = |degrees| rotate(&image, degrees, Sampling::Nearest);
        let twice = rotate(&turned(90.0), 90.0, Sampling::Nearest);
        assert_eq!((&twice, turned(-90.0)), (&turned(180.0), turned(270.0)));
        assert_eq!(rotate(&twice, 540.0, Sampling::Bilinear), image);
        assert_eq!(turned(90.0).pixels[..3], image.pixels[6..9]);
    }

    /// Beyond the range of fixed point, pixels are still those of a move.
    #[test]
    fn wide_images_are_moved_too() {
        let image = Image {
            channels: 1,
            height: 2,
            width: 40_000,
            pixels: (0..80_000).map(|i| (i % 251) as u8).collect(),
        };
        let by = Affine { translate: [3.0, 0.0], shear: [1e-9, 0.0], ..Affine::IDENTITY };
        let moved = affine(&image, &by, None, Sampling::Nearest);
        assert_eq!(moved.row(0)[..5], [0, 0, 0, 0, 1]);
        assert_eq!(moved.row(1)[3..], image.row(1)[..39_997]);
    }
}
