//! The embedded digits, and how a drawn digit is made to look like one.
//!
//! The data are the 1,797 8x8 images of the UCI set "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998;
//! attribution and licence in `assets/README.md`). NIST's program had stretched each digit to the full height and about
//! three fifths of the width of a 32x32 bitmap and brought its strokes to an even weight; 4x4 blocks were then counted.
//! They are presented in the frame of MNIST: enlarged to 20x20 and centred in 28x28, light ink on black.

use std::sync::Arc;

use crate::dataset::{Dataset, MemoryDataset, Splits, Subset, stratify};
use crate::image::Image;
use crate::resize::{Filter, resize};

static BYTES: &[u8] = include_bytes!("../assets/digits.bin");
const RECORD: usize = 65;

/// Samples of each digit in the test part and in the validation part.
const TEST: usize = 40;
const VALIDATION: usize = 20;

/// The digits: 1,197 to train, 200 to validate, 400 to test, every digit with the same share of the last two. The parts
/// never change.
pub fn digits() -> Splits {
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for record in BYTES.chunks_exact(RECORD) {
        let (counts, label) = record.split_at(RECORD - 1);
        pixels.extend(present(counts).pixels);
        labels.push(u32::from(label[0]));
    }
    let all: Arc<dyn Dataset> =
        Arc::new(MemoryDataset::new("digits", classes, [1, 28, 28], pixels, labels));
    let part = |indices| Arc::new(Subset::new(Arc::clone(&all), indices)) as Arc<dyn Dataset>;
    let [rest, test] = stratify(all.as_ref(), |_| TEST, 0);
    let rest = part(rest);
    let [train, validation] = stratify(rest.as_ref(), |_| VALIDATION, 1);
    let part = |indices| Arc::new(Subset::new(Arc::clone(&rest), indices)) as Arc<dyn Dataset>;
    Splits {
        train: part(train),
        validation: part(validation),
        test: Some(Arc::new(Subset::new(all, test))),
        skipped: Vec::new(),
        unused: Arc::default(),
    }
}

/// 8x8 counts from 0 to 16 as a 1x28x28 image.
fn present(counts: &[u8]) -> Image {
    let pixels = counts.iter().map(|&count| (u16::from(count) * 255 / 16) as u8).collect();
    let small = Image { channels: 1, height: 8, width: 8, pixels };
    resize(&small, 20, 20, Filter::Bicubic).crop(-4, -4, 28, 28)
}

/// Side of the square grid on which a drawn digit is brought to the training digits' proportions.
const GRID: usize = 64;
/// Room left around the digit while its strokes are thickened.
const MARGIN: usize = 10;
/// Proportions of the training digits, measured where the ink is at least half black.
const WIDTH_PER_HEIGHT: (usize, usize) = (3, 5);
/// Share of their square that the training digits' strokes cover.
const INK_SHARE: f64 = 0.308;

/// Makes a drawn digit look like the training digits: any size and colour, dark on light or light on dark, becomes
/// 1x28x28, light ink on black.
///
/// The median of the border is taken for paper and what differs from it most for ink. The ink's bounding box is stretched
/// to the training digits' height and width (at most doubling its proportions, so that a bar stays a bar), the strokes are
/// thickened or thinned to their weight, and the result is counted in blocks and enlarged as they were. An image without
/// contrast becomes black. Where what differs from the border fills most of the image, it is a sheet of paper inside a
/// frame, and the digit is looked for on the sheet.
pub fn normalise_digit(image: &Image) -> Image {
    let Some(ink) = isolate_ink(&image.to_gray()) else { return Image::filled(1, 28, 28, 0) };
    // Thickening needs room and changes the bounding box: first within a margin, then to the full height.
    let weighed = weigh(&fit(&ink, GRID - 2 * MARGIN), GRID - 2 * MARGIN);
    let weighed = weigh(&fit(&crop_ink(&weighed), GRID), GRID);
    let mut counts = [0u16; 64];
    for (cell, &ink) in weighed.pixels.iter().enumerate() {
        let (y, x) = (cell / GRID, cell % GRID);
        counts[y / 8 * 8 + x / 8] += u16::from(ink / 255);
    }
    present(&counts.map(|count| (count / 4) as u8))
}

/// Whether an image may be a drawn or printed sign: ink of one colour on even ground. A photograph has colours, or shades
/// between its lightest and its darkest, in most places.
pub fn is_drawing(image: &Image) -> bool {
    /// What an image may have of either and be a drawing: edges are blurred, paper is shaded, and may be coloured.
    const SHARE: f64 = 0.35;
    /// Smaller ones are mostly edges.
    const JUDGED: usize = 48;
    if image.height.min(image.width) < JUDGED {
        return !is_colourful(image, SHARE);
    }
    let gray = image.to_gray();
    // Without ink nothing is drawn.
    let Some(marked) = stand_out(&gray) else { return false };
    let between = marked.pixels.iter().filter(|v| (64..192).contains(*v)).count();
    between as f64 <= SHARE * marked.pixels.len() as f64 && !is_colourful(image, SHARE)
}

/// Whether more than this share of the pixels is in another colour than most are.
fn is_colourful(image: &Image, share: f64) -> bool {
    /// Difference of colours, in steps of a channel, that is none of shade.
    const APART: i16 = 32;
    if image.channels < 3 {
        return false;
    }
    let tints: Vec<[i16; 2]> = image
        .pixels
        .chunks_exact(image.channels)
        .map(|pixel| {
            [i16::from(pixel[0]) - i16::from(pixel[1]), i16::from(pixel[2]) - i16::from(pixel[1])]
        })
        .collect();
    let median = |channel: usize| {
        let mut values: Vec<i16> = tints.iter().map(|tint| tint[channel]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable(middle).1
    };
    let paper = [median(0), median(1)];
    let apart = |tint: &&[i16; 2]| (0..2).any(|i| (tint[i] - paper[i]).abs() > APART);
    tints.iter().filter(apart).count() as f64 > share * tints.len() as f64
}

/// The ink's bounding box: 255 where the ink is strongest, 0 for paper. None when nothing stands out.
fn isolate_ink(gray: &Image) -> Option<Image> {
    let marked = stand_out(gray)?;
    let inked = marked.pixels.iter().filter(|v| **v >= 128).count();
    if 2 * inked <= marked.pixels.len() {
        return Some(crop_ink(&marked));
    }
    // One pixel less on each side, where a frame's edge is blurred.
    let ([top, left], [height, width]) = ink_box(&marked);
    let [inner_height, inner_width] = [height, width].map(|side| side.saturating_sub(2).max(1));
    let sheet = gray.crop(top as isize + 1, left as isize + 1, inner_height, inner_width);
    Some(crop_ink(&stand_out(&sheet).unwrap_or(marked)))
}

/// How much each pixel differs from the border's median, towards the side that differs most: 0 to 255.
fn stand_out(gray: &Image) -> Option<Image> {
    /// Less contrast than this is paper.
    const CONTRAST: u8 = 24;
    let (height, width) = (gray.height, gray.width);
    let mut border: Vec<u8> = [gray.row(0), gray.row(height - 1)].concat();
    border.extend((0..height).flat_map(|y| [gray.row(y)[0], gray.row(y)[width - 1]]));
    border.sort_unstable();
    let paper = border[border.len() / 2];
    let darkest = *gray.pixels.iter().min()?;
    let lightest = *gray.pixels.iter().max()?;
    let contrast = (paper - darkest).max(lightest - paper);
    if contrast < CONTRAST {
        return None;
    }
    let dark = contrast == paper - darkest;
    let strength = |&v: &u8| {
        let difference = if dark { paper.saturating_sub(v) } else { v.saturating_sub(paper) };
        (u16::from(difference) * 255 / u16::from(contrast)) as u8
    };
    Some(Image { pixels: gray.pixels.iter().map(strength).collect(), ..*gray })
}

/// The bounding box of the pixels from 128 on, of which there is at least one: [top, left] and [height, width].
fn ink_box(ink: &Image) -> ([usize; 2], [usize; 2]) {
    let inked = |v: &u8| *v >= 128;
    let rows: Vec<usize> = (0..ink.height).filter(|&y| ink.row(y).iter().any(inked)).collect();
    let columns: Vec<usize> =
        (0..ink.width).filter(|&x| (rows[0]..ink.height).any(|y| inked(&ink.row(y)[x]))).collect();
    let extent = |inked: &[usize]| inked[inked.len() - 1] - inked[0] + 1;
    ([rows[0], columns[0]], [extent(&rows), extent(&columns)])
}

/// What lies in the ink's bounding box.
fn crop_ink(ink: &Image) -> Image {
    let ([top, left], [height, width]) = ink_box(ink);
    ink.crop(top as isize, left as isize, height, width)
}

/// The ink stretched into the middle of the grid, `size` high and as wide as the training digits are. A cell is ink when
/// any part of it is, so that a thin line cannot vanish.
fn fit(ink: &Image, size: usize) -> Vec<bool> {
    let full = size * WIDTH_PER_HEIGHT.0 / WIDTH_PER_HEIGHT.1;
    let ratio = ink.width as f64 / ink.height as f64;
    let width = ((2.0 * ratio * size as f64) as usize).clamp(1, full);
    let height = ((2.0 * full as f64 / ratio) as usize).clamp(1, size);
    let ink = resize(ink, ink.height.max(height), ink.width.max(width), Filter::Bilinear);
    let (top, left) = ((GRID - height) / 2, (GRID - width) / 2);
    let mut mask = vec![false; GRID * GRID];
    for y in 0..ink.height {
        for x in 0..ink.width {
            let cell = (top + y * height / ink.height) * GRID + left + x * width / ink.width;
            mask[cell] |= ink.row(y)[x] >= 128;
        }
    }
    mask
}

/// Thickens or thins the strokes until they cover their share of a square of side `size`: 255 for ink, 0 for paper.
fn weigh(mask: &[bool], size: usize) -> Image {
    let mut cells = signed_distances(mask);
    let share = (INK_SHARE * (size * size) as f64) as usize;
    let (nearest, ..) = cells.select_nth_unstable(share);
    let mut weighed = Image::filled(1, GRID, GRID, 0);
    nearest.iter().for_each(|&(_, cell)| weighed.pixels[usize::from(cell)] = 255);
    weighed
}

/// For each cell its squared distance to the nearest cell of the other kind, negative inside the ink, and its number.
fn signed_distances(mask: &[bool]) -> Vec<(i16, u16)> {
    let [to_paper, to_ink] = [false, true].map(|kind| squared_distances(mask, kind));
    let signed = |cell: usize| if mask[cell] { -to_paper[cell] } else { to_ink[cell] };
    (0..mask.len()).map(|cell| (signed(cell), cell as u16)).collect()
}

/// For each cell its squared distance to the nearest cell of `kind`: first within the row, then over the rows. The largest
/// is FAR² + GRID², so 16 bits hold them; a sum that saturates is many at once in builds that check for overflow too.
fn squared_distances(mask: &[bool], kind: bool) -> Vec<i16> {
    const FAR: i16 = 2 * GRID as i16;
    let mut within = vec![FAR; mask.len()];
    for (row, cells) in within.chunks_exact_mut(GRID).zip(mask.chunks_exact(GRID)) {
        let mut scan = |columns: &mut dyn Iterator<Item = usize>| {
            let mut distance = FAR;
            for x in columns {
                distance = if cells[x] == kind { 0 } else { distance + 1 };
                row[x] = row[x].min(distance);
            }
        };
        scan(&mut (0..GRID));
        scan(&mut (0..GRID).rev());
        row.iter_mut().for_each(|distance| *distance *= *distance);
    }
    let mut nearest = vec![i16::MAX; mask.len()];
    for (y, out) in nearest.chunks_exact_mut(GRID).enumerate() {
        for (row, within) in within.chunks_exact(GRID).enumerate() {
            let rows = (y.abs_diff(row) as i16).pow(2);
            out.iter_mut()
                .zip(within)
                .for_each(|(out, squared)| *out = (*out).min(squared.saturating_add(rows)));
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::preprocess::Preprocess;

    fn parts() -> [Arc<dyn Dataset>; 3] {
        let splits = digits();
        [splits.train, splits.validation, splits.test.unwrap()]
    }

    #[test]
    fn parts_are_stratified_and_share_no_sample() {
        let parts = parts();
        assert_eq!([0, 1, 2].map(|part| parts[part].len()), [1197, 200, 400]);
        let count =
            |part: &dyn Dataset, digit| (0..part.len()).filter(|&i| part.label(i) == digit).count();
        for digit in 0..10 {
            assert_eq!([1, 2].map(|part| count(parts[part].as_ref(), digit)), [20, 40]);
        }
        let samples =
            parts.iter().flat_map(|part| (0..part.len()).map(|i| part.sample(i).unwrap()));
        let distinct: BTreeSet<Vec<u8>> = samples.map(|sample| sample.image.pixels).collect();
        assert_eq!(distinct.len(), 1797);
    }

    #[test]
    fn parts_never_change() {
        let prints = parts().map(|part| part.fingerprint());
        assert_eq!(prints, [9443550859968537293, 14633033278344593181, 5385128809318178988]);
    }

    #[test]
    fn statistics_are_those_of_the_training_part() {
        let train = digits().train;
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for i in 0..train.len() {
            for &v in &train.sample(i).unwrap().image.pixels {
                let v = f64::from(v) / 255.0;
                (sum, squares, count) = (sum + v, squares + v * v, count + 1.0);
            }
        }
        let mean = sum / count;
        let std = (squares / count - mean * mean).sqrt();
        let stated = Preprocess::digits();
        assert!((mean - f64::from(stated.mean[0])).abs() < 1e-4, "{mean}");
        assert!((std - f64::from(stated.std[0])).abs() < 1e-4, "{std}");
    }

    /// A ring of ink on paper.
    fn ring(side: usize, radius: f32, width: f32, ink: u8, paper: u8) -> Image {
        let mut image = Image::filled(1, side, side, paper);
        let center = side as f32 * 0.4;
        for y in 0..side {
            for x in 0..side {
                let d = (y as f32 - center).hypot(1.5 * (x as f32 - center));
                if (d - radius).abs() < width {
                    image.pixels[y * side + x] = ink;
                }
            }
        }
        image
    }

    fn difference(a: &Image, b: &Image) -> f64 {
        let sum: u32 = a.pixels.iter().zip(&b.pixels).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        f64::from(sum) / a.pixels.len() as f64
    }

    #[test]
    fn polarity_size_place_and_stroke_hardly_matter() {
        let reference = normalise_digit(&ring(280, 80.0, 14.0, 255, 0));
        assert_eq!([reference.channels, reference.height, reference.width], [1, 28, 28]);
        for (side, radius, width, ink, paper) in [
            (280, 80.0, 14.0, 0, 255),
            (280, 80.0, 14.0, 40, 120),
            (280, 40.0, 7.0, 255, 0),
            (1000, 280.0, 50.0, 10, 200),
            (1000, 280.0, 4.0, 255, 30),
            (100, 28.0, 8.0, 0, 255),
        ] {
            let other = normalise_digit(&ring(side, radius, width, ink, paper));
            let difference = difference(&reference, &other);
            assert!(difference < 10.0, "side {side}, radius {radius}, width {width}: {difference}");
        }
        let blank = Image::filled(1, 28, 28, 0);
        assert!(difference(&reference, &blank) > 30.0);
    }

    #[test]
    fn shaded_paper_and_a_frame_around_the_sheet_hardly_matter() {
        let drawn = ring(280, 80.0, 14.0, 30, 210);
        let reference = normalise_digit(&drawn);
        let mut photo = drawn.clone();
        for (i, v) in photo.pixels.iter_mut().enumerate() {
            let corner = (i / 280).abs_diff(140).max((i % 280).abs_diff(140)) as u8;
            *v = v.saturating_sub(corner / 4) + (i * 7919 % 11) as u8;
        }
        let framed = |frame: u8, width: usize| {
            let mut image = drawn.clone();
            for (i, v) in image.pixels.iter_mut().enumerate() {
                let edge = [i / 280, i % 280].map(|x| x.min(279 - x)).into_iter().min().unwrap();
                *v = if edge < width { frame } else { *v };
            }
            image
        };
        for (what, image) in
            [("shade", photo), ("thin frame", framed(0, 2)), ("table", framed(60, 12))]
        {
            let difference = difference(&reference, &normalise_digit(&image));
            assert!(difference < 10.0, "{what}: {difference}");
        }
    }

    #[test]
    fn distances_are_to_the_nearest_cell_of_the_other_kind() {
        let mut mask = vec![false; GRID * GRID];
        mask[10 * GRID + 20] = true;
        mask[10 * GRID + 21] = true;
        let distances = signed_distances(&mask);
        assert_eq!(distances[13 * GRID + 16], (25, 13 * GRID as u16 + 16));
        assert_eq!(distances[10 * GRID + 20].0, -1);
        assert_eq!(distances[63 * GRID + 63].0, 53 * 53 + 42 * 42);
    }

    #[test]
    fn training_digits_hardly_change() {
        let train = digits().train;
        let mean = (0..100)
            .map(|i| train.sample(i).unwrap().image)
            .map(|image| difference(&image, &normalise_digit(&image)))
            .sum::<f64>()
            / 100.0;
        assert!(mean < 14.0, "{mean}");
    }

    #[test]
    fn paper_without_ink_is_black_and_tiny_images_work() {
        for image in [Image::filled(3, 50, 40, 255), Image::filled(1, 1, 1, 0)] {
            assert!(normalise_digit(&image).pixels.iter().all(|&v| v == 0));
        }
        for (height, width) in [(1, 2), (2, 1), (3, 3), (1, 900), (900, 1)] {
            let mut image = Image::filled(1, height, width, 255);
            image.pixels[0] = 0;
            assert_eq!(normalise_digit(&image).pixels.len(), 784);
        }
    }

    #[test]
    fn bar_stays_a_bar() {
        let mut image = Image::filled(1, 200, 200, 255);
        for y in 30..170 {
            image.pixels[y * 200 + 95..y * 200 + 105].fill(0);
        }
        let bar = normalise_digit(&image);
        let inked: Vec<usize> = (0..28).filter(|&x| bar.row(14)[x] > 128).collect();
        assert!((4..=9).contains(&inked.len()), "{inked:?}");
        assert!(inked.contains(&13) && inked.contains(&14), "{inked:?}");
    }
}
