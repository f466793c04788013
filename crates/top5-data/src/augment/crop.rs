//! Which part of an image the network sees: random parts, and what lies beyond the border.

use serde::{Deserialize, Serialize};
use top5_graph::random::Stream;

use crate::image::Image;
use crate::preprocess::Preprocess;
use crate::resize::{Filter, resize, resize_crop};

/// What lies beyond the border of an image, by torchvision's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Zeros.
    #[default]
    Constant,
    /// The nearest pixel.
    Edge,
    /// The image mirrored at its last pixel, which is not repeated.
    Reflect,
    /// The image mirrored behind its last pixel.
    Symmetric,
}

impl Padding {
    /// All of them, with their words.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Constant, "constant"),
        (Self::Edge, "edge"),
        (Self::Reflect, "reflect"),
        (Self::Symmetric, "symmetric"),
    ];

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(of, _)| *of == self).map_or("", |(_, name)| name)
    }

    /// Which of `size` positions, at least one, is seen at `position`; None where there are zeros.
    fn source(self, position: isize, size: usize) -> Option<usize> {
        let last = size as isize - 1;
        let folded = |period: isize, again: isize| {
            let place = position.rem_euclid(period.max(1));
            if place <= last { place } else { again - place }
        };
        let source = match self {
            Self::Constant => return (0..=last).contains(&position).then_some(position as usize),
            Self::Edge => position.clamp(0, last),
            Self::Reflect => folded(2 * last, 2 * last),
            Self::Symmetric => folded(2 * last + 2, 2 * last + 1),
        };
        Some(source as usize)
    }
}

/// The window of `height` x `width` whose upper left corner is at row `top`, column `left`, of an image of at least one pixel
/// (`F.pad`, then `F.crop`).
pub fn crop_padded(
    image: &Image,
    [top, left]: [isize; 2],
    [height, width]: [usize; 2],
    padding: Padding,
) -> Image {
    if padding == Padding::Constant {
        return image.crop(top, left, height, width);
    }
    let along = |from: isize, count: usize, size: usize| -> Vec<usize> {
        (0..count).filter_map(|i| padding.source(from.saturating_add_unsigned(i), size)).collect()
    };
    let columns = along(left, width, image.width);
    let mut pixels = Vec::with_capacity(height * width * image.channels);
    for y in along(top, height, image.height) {
        let row = image.row(y);
        for &x in &columns {
            pixels.extend(&row[x * image.channels..][..image.channels]);
        }
    }
    Image { channels: image.channels, height, width, pixels }
}

/// A part of the image, resized to the input: its area and its proportions are drawn (torchvision's `RandomResizedCrop`).
pub(super) fn random_resized_crop(
    image: &Image,
    preprocess: &Preprocess,
    [scale, ratio]: [[f32; 2]; 2],
    filter: Filter,
    mut draws: Stream,
) -> Image {
    let [top, left, h, w] = draw_part([image.height, image.width], scale, ratio, &mut draws);
    let part = image.crop(top as isize, left as isize, h, w);
    let [_, height, width] = preprocess.input_size;
    resize(&part, height, width, filter)
}

/// Top, left, height and width of a part of an image of this size, area and proportions being drawn; after ten that do not
/// fit, the largest part in the middle with proportions in range.
fn draw_part(
    [height, width]: [usize; 2],
    scale: [f32; 2],
    ratio: [f32; 2],
    draws: &mut Stream,
) -> [usize; 4] {
    const TRIES: usize = 10;
    let area = (height * width) as f64;
    let between =
        |[from, to]: [f64; 2], draws: &mut Stream| from + (to - from) * f64::from(draws.uniform());
    let drawn = (0..TRIES).find_map(|_| {
        let area = area * between(scale.map(f64::from), draws);
        let ratio = between(ratio.map(|r| f64::from(r).ln()), draws).exp();
        let w = (area * ratio).sqrt().round_ties_even() as usize;
        let h = (area / ratio).sqrt().round_ties_even() as usize;
        let fits = (1..=width).contains(&w) && (1..=height).contains(&h);
        fits.then(|| [draws.below(height - h + 1), draws.below(width - w + 1), h, w])
    });
    drawn.unwrap_or_else(|| {
        let [least, greatest] = ratio.map(f64::from);
        let (mut h, mut w) = (height, width);
        let proportions = width as f64 / height as f64;
        if proportions < least {
            h = ((width as f64 / least).round_ties_even() as usize).clamp(1, height);
        } else if proportions > greatest {
            w = ((height as f64 * greatest).round_ties_even() as usize).clamp(1, width);
        }
        [(height - h) / 2, (width - w) / 2, h, w]
    })
}

/// A part of the input's size of the image whose shorter side is scaled to a drawn length; of the square in its middle, where
/// that is asked for. An image that is smaller than the input is centred on zeros.
pub(super) fn random_scale_crop(
    image: &Image,
    preprocess: &Preprocess,
    [least, greatest]: [usize; 2],
    square: bool,
    mut draws: Stream,
) -> Image {
    let side = least + draws.below(greatest - least + 1);
    let longer = |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
    let size = match image.width <= image.height {
        true => [longer(image.height, image.width), side],
        false => [side, longer(image.width, image.height)],
    };
    let [_, height, width] = preprocess.input_size;
    let mut start = |size: usize, window: usize| {
        let whole = if square { side } else { size };
        // Python's rounding, as in the preprocessing.
        let first = ((size - whole) as f64 / 2.0).round_ties_even() as isize;
        match whole.checked_sub(window) {
            Some(room) => first + draws.below(room + 1) as isize,
            None => first - ((window - whole) / 2) as isize,
        }
    };
    let corner = [start(size[0], height), start(size[1], width)];
    resize_crop(image, size, preprocess.interpolation, corner, [height, width], [0; 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.4, `np.pad(range(4), 9, mode)`.
    #[test]
    fn far_beyond_the_border_is_as_numpy_has_it() {
        let image = Image { channels: 1, height: 1, width: 4, pixels: vec![0, 1, 2, 3] };
        let padded = |padding| crop_padded(&image, [0, -9], [1, 22], padding).pixels;
        let reflected = [3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0];
        let symmetric = [0, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3, 3];
        assert_eq!(padded(Padding::Reflect), reflected);
        assert_eq!(padded(Padding::Symmetric), symmetric);
        let point = Image::filled(3, 1, 1, 7);
        for (padding, _) in Padding::ALL {
            let pixels = crop_padded(&point, [-1, -1], [2, 3], padding).pixels;
            assert_eq!(pixels == [7; 18], padding != Padding::Constant, "{padding:?}");
        }
    }
}
