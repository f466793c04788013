//! Resizing, bit-identical to Pillow's `Image.resize` on 8-bit images, because every published accuracy of the last decade
//! was measured behind it.
//!
//! A filter is stretched by the scale when shrinking (antialiasing). Each axis is one pass: its weights are computed in f64,
//! normalised, and rounded to 22 fractional bits; a pass sums in i32 from one half and shifts, and so rounds to 8 bits. A
//! pass whose size does not change changes nothing. The horizontal pass comes first, except that Pillow 13 begins with the
//! vertical one when that takes away far more rows than the other takes columns. Earlier versions never do; they differ
//! there by one level, and not at all on images less than twice as high as wide whose proportions are kept.
//!
//! Both passes compute only what the wanted part of the result needs: a crop of an image that would be scaled to a thousand
//! times its size costs memory for the crop.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::image::Image;

/// Fractional bits of a weight: 32 less 8 for the pixel and 2 for the overshoot of negative lobes.
const PRECISION: u32 = 32 - 8 - 2;

/// The resampling filter, by Pillow's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The pixel at the centre of the footprint.
    Nearest,
    /// The mean over the footprint.
    Box,
    /// Triangle of radius 1.
    Bilinear,
    /// Sinc of radius 1 under Hamming's window.
    Hamming,
    /// Keys' cubic with a = -0.5, radius 2.
    Bicubic,
    /// Sinc windowed by a wider sinc, radius 3.
    Lanczos,
}

impl Filter {
    /// The name that timm and torchvision use: `nearest`, `box`, `bilinear`, `hamming`, `bicubic`, `lanczos`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Box => "box",
            Self::Bilinear => "bilinear",
            Self::Hamming => "hamming",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Nearest, Self::Box, Self::Bilinear, Self::Hamming, Self::Bicubic, Self::Lanczos];

    /// The filter of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|filter| filter.name() == name)
    }

    /// Half the width of the filter at scale 1, in pixels.
    fn radius(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    /// The filter's value at distance `x`.
    fn weight(self, x: f64) -> f64 {
        let sinc = |x: f64| {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        };
        let inside = match self {
            Self::Box => x > -0.5 && x <= 0.5,
            Self::Lanczos => (-3.0..3.0).contains(&x),
            Self::Nearest | Self::Bilinear | Self::Hamming | Self::Bicubic => {
                x.abs() < self.radius()
            }
        };
        if !inside {
            return 0.0;
        }
        const A: f64 = -0.5;
        let d = x.abs();
        match self {
            Self::Nearest | Self::Box => 1.0,
            Self::Bilinear => 1.0 - d,
            // Pillow has the window's numbers as f32.
            Self::Hamming => {
                sinc(d)
                    * (f64::from(0.46_f32) * (d * std::f64::consts::PI).cos() + f64::from(0.54_f32))
            }
            Self::Bicubic if d < 1.0 => ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0,
            Self::Bicubic => (((d - 5.0) * d + 8.0) * d - 4.0) * A,
            Self::Lanczos => sinc(x) * sinc(x / 3.0),
        }
    }
}

/// Resizes an image to `height` x `width`. Panics when a side of the image or of the result is 0.
pub fn resize(image: &Image, height: usize, width: usize, filter: Filter) -> Image {
    resize_crop(image, [height, width], filter, [0, 0], [height, width], [0; 3])
}

/// Resizes an image to `size` (height and width), and takes the window of this size whose upper left corner is at `corner` (row
/// and column). Both may be negative or reach beyond the resized image: what lies outside is `fill` (its first value, if the
/// image is gray). The same pixels as [`resize`] and [`Image::crop`], of which only the window is ever in memory. Panics when a
/// side of the image or of `size` is 0.
pub fn resize_crop(
    image: &Image,
    size: [usize; 2],
    filter: Filter,
    corner: [isize; 2],
    window: [usize; 2],
    fill: [u8; 3],
) -> Image {
    let [height, width] = size;
    assert!(image.height > 0 && image.width > 0 && height > 0 && width > 0, "an empty image");
    let inside = |axis: usize| {
        let from = corner[axis].clamp(0, size[axis] as isize);
        let to = corner[axis].saturating_add_unsigned(window[axis]);
        from as usize..to.clamp(from, size[axis] as isize) as usize
    };
    let (rows, columns) = (inside(0), inside(1));
    if [rows.len(), columns.len()] == window {
        return part(image, size, filter, rows, columns);
    }
    let pixels = fill[..image.channels].repeat(window[0] * window[1]);
    let mut out = Image { channels: image.channels, height: window[0], width: window[1], pixels };
    if !rows.is_empty() && !columns.is_empty() {
        let top = rows.start.wrapping_add_signed(-corner[0]);
        let left = columns.start.wrapping_add_signed(-corner[1]);
        out.paste(&part(image, size, filter, rows, columns), top, left);
    }
    out
}

/// These rows and columns, of which there are some, of the image resized to `size`.
fn part(
    image: &Image,
    size: [usize; 2],
    filter: Filter,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Image {
    let [height, width] = size;
    if filter == Filter::Nearest {
        return nearest(image, size, rows, columns);
    }
    let rows_first = height < image.height
        && (image.height - height) as isize > 2 * (image.width as isize - width as isize);
    let down = Weights::new(image.height, height, rows, filter);
    let across = Weights::new(image.width, width, columns, filter);
    if rows_first {
        let columns = across.inputs();
        let start = columns.start;
        let between = vertical(image, 0, &down, columns);
        return horizontal(&between, start, &across, 0..between.height);
    }
    let rows = down.inputs();
    let start = rows.start;
    let between = horizontal(image, 0, &across, rows);
    vertical(&between, start, &down, 0..between.width)
}

/// One axis: for each wanted output position the first input position and the weights from there on.
struct Weights {
    spans: Vec<(usize, usize)>,
    values: Vec<i32>,
}

impl Weights {
    /// Those for the positions `part`, of which there are some, where `from` pixels become `to`.
    fn new(from: usize, to: usize, part: Range<usize>, filter: Filter) -> Self {
        if from == to {
            let values = vec![1 << PRECISION; part.len()];
            return Self { spans: part.map(|position| (position, 1)).collect(), values };
        }
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = filter.radius() * stretch;
        let shrink = 1.0 / stretch;
        let (mut spans, mut values, mut row) = (Vec::new(), Vec::new(), Vec::new());
        for position in part {
            let center = (position as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let last = ((center + support + 0.5) as usize).min(from);
            row.clear();
            row.extend(
                (0..last - first)
                    .map(|i| filter.weight(((i + first) as f64 - center + 0.5) * shrink)),
            );
            let sum: f64 = row.iter().sum();
            spans.push((first, row.len()));
            values.extend(row.iter().map(|&w| {
                let w = if sum == 0.0 { w } else { w / sum };
                (w * f64::from(1u32 << PRECISION) + 0.5f64.copysign(w)) as i32
            }));
        }
        Self { spans, values }
    }

    /// The input positions that any of them needs.
    fn inputs(&self) -> Range<usize> {
        let first = self.spans.first().map_or(0, |&(first, _)| first);
        first..self.spans.last().map_or(0, |&(first, count)| first + count)
    }

    /// First input position and weights of each output position.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let mut rest = self.values.as_slice();
        self.spans.iter().map(move |&(first, count)| {
            let (weights, tail) = rest.split_at(count);
            rest = tail;
            (first, weights)
        })
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

fn round(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The pass along rows, of these rows. The image's first column is the input position `start`.
fn horizontal(image: &Image, start: usize, weights: &Weights, rows: Range<usize>) -> Image {
    let mut out = Image::filled(image.channels, rows.len(), weights.spans.len(), 0);
    match image.channels {
        1 => horizontal_rows::<1>(image, start, weights, rows, &mut out),
        3 => horizontal_rows::<3>(image, start, weights, rows, &mut out),
        channels => unreachable!("an image has 1 or 3 channels, not {channels}"),
    }
    out
}

fn horizontal_rows<const C: usize>(
    image: &Image,
    start: usize,
    weights: &Weights,
    rows: Range<usize>,
    out: &mut Image,
) {
    let stride = out.width * C;
    for (y, row) in rows.zip(out.pixels.chunks_exact_mut(stride)) {
        let input = image.row(y);
        for (pixel, (first, weights)) in row.chunks_exact_mut(C).zip(weights.iter()) {
            let mut sums = [HALF; C];
            for (values, &weight) in input[(first - start) * C..].chunks_exact(C).zip(weights) {
                for c in 0..C {
                    sums[c] += i32::from(values[c]) * weight;
                }
            }
            for c in 0..C {
                pixel[c] = round(sums[c]);
            }
        }
    }
}

/// The pass along columns, of these columns. The image's first row is the input position `start`.
fn vertical(image: &Image, start: usize, weights: &Weights, columns: Range<usize>) -> Image {
    let mut out = Image::filled(image.channels, weights.spans.len(), columns.len(), 0);
    let columns = columns.start * image.channels..columns.end * image.channels;
    let mut sums = vec![HALF; columns.len()];
    for (row, (first, weights)) in out.pixels.chunks_exact_mut(columns.len()).zip(weights.iter()) {
        sums.fill(HALF);
        for (i, &weight) in weights.iter().enumerate() {
            let input = &image.row(first - start + i)[columns.clone()];
            for (sum, &value) in sums.iter_mut().zip(input) {
                *sum += i32::from(value) * weight;
            }
        }
        row.iter_mut().zip(&sums).for_each(|(value, &sum)| *value = round(sum));
    }
    out
}

/// Pillow steps through the input by repeated addition in f64: the sum, not the product, decides at the ties.
fn nearest(image: &Image, size: [usize; 2], rows: Range<usize>, columns: Range<usize>) -> Image {
    let positions = |from: usize, to: usize, part: &Range<usize>| -> Vec<usize> {
        let step = from as f64 / to as f64;
        let mut at = step * 0.5;
        let next = |_| {
            let position = (at as usize).min(from - 1);
            at += step;
            position
        };
        (0..part.end).map(next).skip(part.start).collect()
    };
    let inputs = positions(image.width, size[1], &columns);
    let mut pixels = Vec::with_capacity(rows.len() * columns.len() * image.channels);
    for y in positions(image.height, size[0], &rows) {
        let row = image.row(y);
        for &x in &inputs {
            pixels.extend(&row[x * image.channels..(x + 1) * image.channels]);
        }
    }
    Image { channels: image.channels, height: rows.len(), width: columns.len(), pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_is_the_same_image() {
        let pixels = (0..60).collect();
        let image = Image { channels: 3, height: 4, width: 5, pixels };
        for filter in Filter::ALL {
            assert_eq!(resize(&image, 4, 5, filter), image);
            assert_eq!(Filter::from_name(filter.name()), Some(filter));
        }
    }

    #[test]
    fn window_is_that_of_the_whole_image_resized() {
        let pixels = (0..3 * 23 * 17).map(|i| (i * 37 + i / 11) as u8).collect();
        let image = Image { channels: 3, height: 23, width: 17, pixels };
        for filter in Filter::ALL {
            for size in [[7, 90], [90, 7], [3, 16], [23, 40], [23, 17], [50, 60]] {
                let whole = resize(&image, size[0], size[1], filter);
                for (corner, window) in [
                    ([0, 0], [3, 7]),
                    ([2, 1], [1, 5]),
                    ([-3, 2], [40, 9]),
                    ([1, -5], [2, 100]),
                    ([200, 0], [2, 2]),
                ] {
                    let crop = whole.crop(corner[0], corner[1], window[0], window[1]);
                    let at_once = resize_crop(&image, size, filter, corner, window, [0; 3]);
                    assert!(crop == at_once, "{filter:?} {size:?} {corner:?} {window:?}");
                }
            }
        }
    }

    #[test]
    fn what_lies_outside_is_filled() {
        let image = Image::filled(3, 1, 1, 9);
        let out = resize_crop(&image, [1, 1], Filter::Box, [-1, 0], [2, 1], [1, 2, 3]);
        assert_eq!(out.pixels, [1, 2, 3, 9, 9, 9]);
    }

    #[test]
    fn box_halves_by_the_mean() {
        let image = Image { channels: 1, height: 2, width: 2, pixels: vec![10, 20, 30, 41] };
        assert_eq!(resize(&image, 1, 1, Filter::Box).pixels, [26]);
    }
}
