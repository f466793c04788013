//! Random changes to training images. A change is a function of (seed, epoch, sample), whatever the order of reading.
//!
//! The changes themselves are in the modules, for numbers that are given: they equal torchvision's on Pillow images, to the bit.

pub mod colour;
pub mod crop;
mod erase;
pub mod geometry;
pub mod policy;

use serde::{Deserialize, Serialize};
use top5_graph::random::Stream;

use crate::digits::normalise_digit;
use crate::image::Image;
use crate::preprocess::{MAX_SIDE, Preprocess, SettingError};
use crate::resize::Filter;
use crop::Padding;
use geometry::Sampling;
use policy::Policy;

/// One random change, drawn anew for every sample of every epoch. A list of them is applied in order. Its form in TOML is that
/// of recipes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Augment {
    /// A random part of the stored image, resized to the network's input in place of the preprocessing's resize and
    /// crop (Szegedy et al. 2015; torchvision's `RandomResizedCrop`). It acts first, wherever it stands in the list.
    RandomResizedCrop {
        /// Least and greatest share of the image's area.
        #[serde(default = "inception_scale")]
        scale: [f32; 2],
        /// Least and greatest width / height.
        #[serde(default = "inception_ratio")]
        ratio: [f32; 2],
        /// Whether the filter is drawn, too: bilinear, area, nearest or bicubic (Szegedy et al. 2015, section 6).
        #[serde(default, skip_serializing_if = "is_default")]
        random_filter: bool,
    },
    /// The shorter side of the stored image is scaled to a length drawn from `sides`, and a part of the input's size taken at
    /// random, in place of the preprocessing's resize and crop: VGG's scale jitter with [256, 512] (Simonyan & Zisserman 2015,
    /// section 3.1), ResNet's with [256, 480]. It acts first, wherever it stands in the list.
    RandomScaleCrop {
        /// Least and greatest length.
        sides: [usize; 2],
        /// Whether the part is one of the square in the image's middle: AlexNet's with sides of [256, 256] (Krizhevsky et al.
        /// 2012, sections 2 and 4.1).
        #[serde(default, skip_serializing_if = "is_default")]
        square: bool,
    },
    /// The image is padded by `padding` on all sides, and a part of its size taken at random (He et al. 2016, section 4.2;
    /// torchvision's `RandomCrop`).
    #[serde(alias = "shift")]
    RandomCrop {
        /// How far.
        #[serde(alias = "pixels")]
        padding: usize,
        /// By what.
        #[serde(default, skip_serializing_if = "is_default")]
        padding_mode: Padding,
    },
    /// Mirrors the image.
    FlipHorizontal {
        /// How often, in 0..=1.
        probability: f32,
    },
    /// Turns the image upside down.
    FlipVertical {
        /// How often, in 0..=1.
        probability: f32,
    },
    /// Rotates by up to `degrees` either way, scales by a factor in 1 - `scale` ..= 1 + `scale` and slants by up to `shear`
    /// either way, about the centre; zeros come in.
    Affine {
        /// Greatest rotation.
        degrees: f32,
        /// Greatest relative change of size, below 1.
        scale: f32,
        /// Greatest horizontal slant, in columns per row.
        shear: f32,
    },
    /// Rotates by up to `degrees` either way about the centre; zeros come in (torchvision's `RandomRotation`).
    RandomRotation {
        /// Greatest rotation.
        degrees: f32,
        /// How pixels are taken.
        #[serde(default, skip_serializing_if = "is_default")]
        interpolation: Sampling,
    },
    /// Rotates, moves, scales and shears about the centre; zeros come in (torchvision's `RandomAffine`).
    RandomAffine {
        /// Greatest rotation either way, in degrees.
        degrees: f32,
        /// Greatest move either way along x and y, as shares of the width and the height.
        #[serde(default, skip_serializing_if = "is_default")]
        translate: [f32; 2],
        /// Least and greatest factor of the size.
        #[serde(default = "unscaled")]
        scale: [f32; 2],
        /// Greatest shear either way along x and y, in degrees.
        #[serde(default, skip_serializing_if = "is_default")]
        shear: [f32; 2],
        /// How pixels are taken.
        #[serde(default, skip_serializing_if = "is_default")]
        interpolation: Sampling,
    },
    /// Puts a digit through [`normalise_digit`], so that the network also knows digits as they come from a drawing.
    Redraw {
        /// How often, in 0..=1.
        probability: f32,
    },
    /// Factors of brightness, contrast and saturation from 1 - x to 1 + x, and a turn of the hue by up to a share of the circle
    /// either way, in random order (Howard 2013, section 2; torchvision's `ColorJitter`).
    #[serde(alias = "color_jitter")]
    ColourJitter {
        /// The x of brightness.
        #[serde(default)]
        brightness: f32,
        /// The x of contrast.
        #[serde(default)]
        contrast: f32,
        /// The x of saturation.
        #[serde(default)]
        saturation: f32,
        /// At most 0.5.
        #[serde(default)]
        hue: f32,
    },
    /// Takes the colour away (torchvision's `RandomGrayscale`).
    Grayscale {
        /// How often, in 0..=1.
        probability: f32,
    },
    /// AlexNet's colour noise (Krizhevsky et al. 2012, section 4.1): along each principal axis of ImageNet's colours, a
    /// multiple drawn from N(0, `std`²) of its eigenvalue. Nothing happens to gray.
    #[serde(alias = "color_noise")]
    ColourNoise {
        /// The paper's is 0.1.
        std: f32,
    },
    /// RandAugment (Cubuk et al., arXiv:1909.13719) with torchvision's operations and magnitudes.
    RandAugment {
        /// Operations, one after the other.
        #[serde(default = "two")]
        ops: usize,
        /// How strong they are, below `bins`.
        #[serde(default = "nine")]
        magnitude: usize,
        /// Number of magnitudes.
        #[serde(default = "thirty_one")]
        bins: usize,
        /// How pixels are taken.
        #[serde(default, skip_serializing_if = "is_default")]
        interpolation: Sampling,
    },
    /// TrivialAugment with the wide range of magnitudes (Müller & Hutter, arXiv:2103.10158; torchvision's
    /// `TrivialAugmentWide`): one operation, of a drawn magnitude.
    TrivialAugment {
        /// Number of magnitudes.
        #[serde(default = "thirty_one")]
        bins: usize,
        /// How pixels are taken.
        #[serde(default, skip_serializing_if = "is_default")]
        interpolation: Sampling,
    },
    /// Sets a rectangle to the mean, or to noise (Zhong et al., arXiv:1708.04896; torchvision's `RandomErasing`). It acts last,
    /// wherever it stands in the list.
    RandomErasing {
        /// How often, in 0..=1.
        #[serde(default = "half")]
        probability: f32,
        /// Least and greatest share of the image's area.
        #[serde(default = "erasing_scale")]
        scale: [f32; 2],
        /// Least and greatest height / width.
        #[serde(default = "erasing_ratio")]
        ratio: [f32; 2],
        /// Whether it is filled with noise from N(0, 1).
        #[serde(default, skip_serializing_if = "is_default")]
        noise: bool,
    },
    /// Sets the square of side `size` about a random pixel to the mean (DeVries & Taylor, arXiv:1708.04552). It acts last,
    /// wherever it stands in the list.
    Cutout {
        /// The side: 16 of the paper for CIFAR-10, 8 for CIFAR-100.
        size: usize,
    },
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn inception_scale() -> [f32; 2] {
    [0.08, 1.0]
}

fn inception_ratio() -> [f32; 2] {
    [0.75, 4.0 / 3.0]
}

fn unscaled() -> [f32; 2] {
    [1.0; 2]
}

fn two() -> usize {
    2
}

fn nine() -> usize {
    9
}

fn thirty_one() -> usize {
    31
}

/// For people: 4/3 is 1.333.
fn rounded(value: f32) -> f32 {
    (value * 1000.0).round() / 1000.0
}

fn half() -> f32 {
    0.5
}

fn erasing_scale() -> [f32; 2] {
    [0.02, 0.33]
}

fn erasing_ratio() -> [f32; 2] {
    [0.3, 3.3]
}

impl Augment {
    /// The changes that the embedded digits are trained with.
    pub fn digits() -> Vec<Self> {
        vec![
            Self::Redraw { probability: 0.8 },
            Self::Affine { degrees: 15.0, scale: 0.2, shear: 0.4 },
            Self::RandomCrop { padding: 1, padding_mode: Padding::Constant },
        ]
    }

    /// Whether its numbers make sense.
    pub fn check(&self) -> Result<(), SettingError> {
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let ordered = |[from, to]: [f32; 2]| 0.0 < from && from <= to && to.is_finite();
        let part = |scale: [f32; 2], ratio| ordered(scale) && scale[1] <= 1.0 && ordered(ratio);
        let positive = |value: f32| value >= 0.0 && value.is_finite();
        let slant = |value: f32| (0.0..90.0).contains(&value);
        let bins = |bins: usize| (1..=1000).contains(&bins);
        let (good, expected) = match *self {
            Self::RandomResizedCrop { scale, ratio, .. } => {
                (part(scale, ratio), "scale within 0 to 1 and ratio above 0, each ascending")
            }
            Self::RandomScaleCrop { sides: [from, to], .. } => {
                (1 <= from && from <= to && to <= MAX_SIDE, "sides from 1 to 4096, ascending")
            }
            Self::RandomCrop { padding, .. } => (padding <= MAX_SIDE, "at most 4096 pixels"),
            Self::FlipHorizontal { probability }
            | Self::FlipVertical { probability }
            | Self::Grayscale { probability }
            | Self::Redraw { probability } => (share(probability), "a probability from 0 to 1"),
            Self::Affine { degrees, scale, shear } => (
                positive(degrees) && (0.0..1.0).contains(&scale) && positive(shear),
                "degrees and shear from 0 on, scale from 0 to less than 1",
            ),
            Self::RandomRotation { degrees, .. } => (positive(degrees), "degrees from 0 on"),
            Self::RandomAffine { degrees, translate, scale, shear, .. } => (
                positive(degrees)
                    && translate.into_iter().all(share)
                    && ordered(scale)
                    && shear.into_iter().all(slant),
                "degrees from 0 on, translate from 0 to 1, scale above 0 and ascending, shear from 0 to less than 90",
            ),
            Self::ColourJitter { brightness, contrast, saturation, hue } => (
                [brightness, contrast, saturation].into_iter().all(positive)
                    && (0.0..=0.5).contains(&hue),
                "brightness, contrast and saturation from 0 on, hue from 0 to 0.5",
            ),
            Self::ColourNoise { std } => (positive(std), "a finite std from 0 on"),
            Self::RandAugment { ops, magnitude, bins: all, .. } => (
                (1..=100).contains(&ops) && bins(all) && magnitude < all,
                "ops from 1 to 100, bins from 1 to 1000, magnitude below bins",
            ),
            Self::TrivialAugment { bins: all, .. } => (bins(all), "bins from 1 to 1000"),
            Self::RandomErasing { probability, scale, ratio, .. } => (
                share(probability) && part(scale, ratio),
                "a probability from 0 to 1, scale within 0 to 1 and ratio above 0, each ascending",
            ),
            Self::Cutout { size } => ((1..=MAX_SIDE).contains(&size), "size from 1 to 4096"),
        };
        if good { Ok(()) } else { Err(SettingError { key: "augment", expected }) }
    }

    /// One short phrase, for reports.
    pub fn describe(&self) -> String {
        match *self {
            Self::RandomResizedCrop { scale: [a, b], ratio: [c, d], random_filter } => {
                let filter = if random_filter { ", any filter" } else { "" };
                let [c, d] = [c, d].map(rounded);
                format!("random crop of {a} to {b} of the area, proportions {c} to {d}{filter}")
            }
            Self::RandomScaleCrop { sides: [from, to], square } => {
                let of = if square { ", within the central square" } else { "" };
                let to = if from == to { String::new() } else { format!(" to {to}") };
                format!("shorter side scaled to {from}{to}, random crop{of}")
            }
            Self::RandomCrop { padding, padding_mode: Padding::Constant } => {
                format!("shift by up to {padding}")
            }
            Self::RandomCrop { padding, padding_mode } => {
                format!("shift by up to {padding} ({})", padding_mode.name())
            }
            Self::FlipHorizontal { probability } => {
                format!("mirror with probability {probability}")
            }
            Self::FlipVertical { probability } => {
                format!("turn upside down with probability {probability}")
            }
            Self::Affine { degrees, scale, shear } => {
                format!("rotate by up to {degrees} degrees, scale by {scale}, slant by {shear}")
            }
            Self::RandomRotation { degrees, interpolation } => {
                format!("rotate by up to {degrees} degrees ({})", interpolation.name())
            }
            Self::RandomAffine {
                degrees,
                translate: [x, y],
                scale: [a, b],
                shear,
                interpolation,
            } => format!(
                "rotate by up to {degrees} degrees, move by up to {x} and {y}, scale by {a} to {b}, shear by up to {} and {} \
                 degrees ({})",
                shear[0],
                shear[1],
                interpolation.name()
            ),
            Self::Redraw { probability } => format!("redraw with probability {probability}"),
            Self::ColourJitter { brightness, contrast, saturation, hue } => format!(
                "brightness ±{brightness}, contrast ±{contrast}, saturation ±{saturation}, hue ±{hue} in random order"
            ),
            Self::Grayscale { probability } => format!("gray with probability {probability}"),
            Self::ColourNoise { std } => format!("PCA colour noise of {std}"),
            Self::RandAugment { ops, magnitude, bins, interpolation } => format!(
                "RandAugment: {ops} operations of magnitude {magnitude} of {bins} ({})",
                interpolation.name()
            ),
            Self::TrivialAugment { bins, interpolation } => {
                format!("TrivialAugment of {bins} magnitudes ({})", interpolation.name())
            }
            Self::RandomErasing { probability, scale: [a, b], noise, .. } => {
                let by = if noise { "noise" } else { "the mean" };
                format!("{a} to {b} of the area set to {by} with probability {probability}")
            }
            Self::Cutout { size } => format!("a square of {size} set to the mean"),
        }
    }
}

/// Writes the network's input for `image` into `out`, order C H W, with the changes of `augments` drawn from `stream`. With
/// an empty list it is [`Preprocess::apply`].
pub fn apply(
    augments: &[Augment],
    preprocess: &Preprocess,
    image: &Image,
    stream: Stream,
    out: &mut [f32],
) {
    let image = preprocess.convert(image);
    let draws = |position: usize| stream.substream(position as u64);
    let places =
        || augments.iter().enumerate().map(|(position, augment)| (augment, draws(position)));
    let mut image = places()
        .find_map(|(augment, draws)| augment.frame(&image, preprocess, draws))
        .unwrap_or_else(|| preprocess.frame(&image));
    let mut colour = [0.0; 3];
    for (augment, draws) in places() {
        if let (&Augment::ColourNoise { std }, 3) = (augment, image.channels) {
            colour = colour_noise(std, draws);
        } else if let Some(changed) = augment.change(&image, preprocess, draws) {
            image = changed;
        }
    }
    preprocess.normalise(&image, colour, out);
    for (augment, draws) in places() {
        augment.erase(preprocess.input_size, draws, out);
    }
}

impl Augment {
    /// Whether it stands in place of the preprocessing's resize and crop, which one change alone can do.
    pub fn is_frame(&self) -> bool {
        matches!(self, Self::RandomResizedCrop { .. } | Self::RandomScaleCrop { .. })
    }

    /// What stands in place of the preprocessing's resize and crop.
    fn frame(&self, image: &Image, preprocess: &Preprocess, mut draws: Stream) -> Option<Image> {
        const FILTERS: [Filter; 4] =
            [Filter::Bilinear, Filter::Box, Filter::Nearest, Filter::Bicubic];
        if let Self::RandomScaleCrop { sides, square } = *self {
            return Some(crop::random_scale_crop(image, preprocess, sides, square, draws));
        }
        let &Self::RandomResizedCrop { scale, ratio, random_filter } = self else { return None };
        let filter = match random_filter {
            true => FILTERS[draws.below(FILTERS.len())],
            false => preprocess.interpolation,
        };
        Some(crop::random_resized_crop(image, preprocess, [scale, ratio], filter, draws))
    }

    /// The changed image, if it is changed between the crop and normalisation.
    fn change(&self, image: &Image, preprocess: &Preprocess, mut draws: Stream) -> Option<Image> {
        let size = [image.height, image.width];
        let mut happens = |probability| draws.uniform() < probability;
        match *self {
            Self::RandomCrop { padding, padding_mode } => {
                let mut offset = || draws.below(2 * padding + 1) as isize - padding as isize;
                let corner = [offset(), offset()];
                Some(crop::crop_padded(image, corner, size, padding_mode))
            }
            Self::FlipHorizontal { probability } => {
                happens(probability).then(|| image.flip_horizontal())
            }
            Self::FlipVertical { probability } => {
                happens(probability).then(|| image.flip_vertical())
            }
            Self::Affine { degrees, scale, shear } => {
                let mut either_way = |limit: f32| limit * (2.0 * draws.uniform() - 1.0);
                let (angle, factor) = (either_way(degrees).to_radians(), 1.0 + either_way(scale));
                Some(affine(image, angle, factor, either_way(shear)))
            }
            Self::RandomRotation { degrees, interpolation } => {
                let angle = either_way(degrees, &mut draws);
                Some(geometry::rotate(image, angle, interpolation))
            }
            Self::RandomAffine { degrees, translate, scale, shear, interpolation } => {
                let angle = either_way(degrees, &mut draws);
                let across = either_way(translate[0] * size[1] as f32, &mut draws);
                let down = either_way(translate[1] * size[0] as f32, &mut draws);
                let by = geometry::Affine {
                    angle,
                    translate: [across.round_ties_even(), down.round_ties_even()],
                    scale: between(scale, &mut draws),
                    shear: shear.map(|limit| either_way(limit, &mut draws)),
                };
                Some(geometry::affine(image, &by, None, interpolation))
            }
            Self::Redraw { probability } => happens(probability)
                .then(|| preprocess.frame(&preprocess.convert(&normalise_digit(image)))),
            Self::ColourJitter { brightness, contrast, saturation, hue } => {
                Some(colour_jitter(image, [brightness, contrast, saturation], hue, draws))
            }
            Self::Grayscale { probability } => happens(probability).then(|| colour::gray(image)),
            Self::RandAugment { ops, magnitude, bins, interpolation } => {
                let bins = (Some(magnitude), bins);
                Some(Policy::Rand.apply(image, ops, bins, interpolation, &mut draws))
            }
            Self::TrivialAugment { bins, interpolation } => {
                Some(Policy::TrivialWide.apply(image, 1, (None, bins), interpolation, &mut draws))
            }
            Self::RandomResizedCrop { .. }
            | Self::RandomScaleCrop { .. }
            | Self::ColourNoise { .. }
            | Self::RandomErasing { .. }
            | Self::Cutout { .. } => None,
        }
    }

    /// Blots out what it does of the network's input.
    fn erase(&self, size: [usize; 3], mut draws: Stream, out: &mut [f32]) {
        let plane = [size[1], size[2]];
        if let Self::Cutout { size: side } = *self {
            erase::erase(out, size, erase::draw_square(plane, side, &mut draws), None);
        } else if let Self::RandomErasing { probability, scale, ratio, noise } = *self
            && draws.uniform() < probability
            && let Some(part) = erase::draw_part(plane, scale, ratio, &mut draws)
        {
            erase::erase(out, size, part, noise.then_some(draws));
        }
    }
}

/// A number from -`limit` to `limit`.
fn either_way(limit: f32, draws: &mut Stream) -> f64 {
    f64::from(limit) * (2.0 * f64::from(draws.uniform()) - 1.0)
}

fn between([from, to]: [f32; 2], draws: &mut Stream) -> f64 {
    f64::from(from) + (f64::from(to) - f64::from(from)) * f64::from(draws.uniform())
}

fn colour_jitter(image: &Image, widths: [f32; 3], hue: f32, mut draws: Stream) -> Image {
    let factors = widths.map(|width| between([(1.0 - width).max(0.0), 1.0 + width], &mut draws));
    let turn = either_way(hue, &mut draws);
    let mut image = image.clone();
    for change in draws.permutation(4) {
        let is_set = widths.get(change).map_or(hue > 0.0, |&width| width > 0.0);
        image = match change {
            _ if !is_set => image,
            0 => colour::adjust_brightness(&image, factors[0]),
            1 => colour::adjust_contrast(&image, factors[1]),
            2 => colour::adjust_saturation(&image, factors[2]),
            _ => colour::adjust_hue(&image, turn),
        };
    }
    image
}

/// Turns by `angle` radians, scales by `factor`, slants by `shear`; each pixel of the result is interpolated bilinearly from
/// where it comes from.
fn affine(image: &Image, angle: f32, factor: f32, shear: f32) -> Image {
    let (height, width, channels) = (image.height as isize, image.width as isize, image.channels);
    let (sin, cos) = (angle.sin() / factor, angle.cos() / factor);
    let (center_y, center_x) = ((height - 1) as f32 / 2.0, (width - 1) as f32 / 2.0);
    let value = |y: isize, x: isize, c: usize| {
        let inside = (0..height).contains(&y) && (0..width).contains(&x);
        let at = || (y * width + x) as usize * channels + c;
        if inside { f32::from(image.pixels[at()]) } else { 0.0 }
    };
    let mut pixels = Vec::with_capacity(image.pixels.len());
    for y in 0..height {
        for x in 0..width {
            let dy = y as f32 - center_y;
            let dx = x as f32 - center_x + shear * dy;
            let from_y = center_y + cos * dy - sin * dx;
            let from_x = center_x + sin * dy + cos * dx;
            let (top, left) = (from_y.floor(), from_x.floor());
            let (fy, fx) = (from_y - top, from_x - left);
            let (top, left) = (top as isize, left as isize);
            for c in 0..channels {
                let upper = value(top, left, c) * (1.0 - fx) + value(top, left + 1, c) * fx;
                let lower = value(top + 1, left, c) * (1.0 - fx) + value(top + 1, left + 1, c) * fx;
                pixels.push((upper * (1.0 - fy) + lower * fy + 0.5) as u8);
            }
        }
    }
    Image { pixels, ..*image }
}

/// What is added to R, G and B on the scale 0..1. The eigenvalues and eigenvectors (columns) are those of ImageNet's
/// training colours that Torch's ResNet training published.
fn colour_noise(std: f32, mut draws: Stream) -> [f32; 3] {
    const VALUES: [f32; 3] = [0.2175, 0.0188, 0.0045];
    const VECTORS: [[f32; 3]; 3] =
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]];
    let multiples = VALUES.map(|value| value * std * draws.normal());
    VECTORS.map(|row| row.iter().zip(&multiples).map(|(v, m)| v * m).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(channels: usize, height: usize, width: usize) -> Image {
        let pixels = (0..channels * height * width).map(|i| (i * 7) as u8).collect();
        Image { channels, height, width, pixels }
    }

    fn run(augments: &[Augment], image: &Image, draw: u64) -> Vec<f32> {
        let preprocess = Preprocess::squash([image.channels, 12, 12]);
        let mut out = vec![0.0; preprocess.size()];
        apply(augments, &preprocess, image, Stream::new(1, draw), &mut out);
        out
    }

    /// One of each, in the words of a recipe.
    const ALL: &str = r#"all = [
        { redraw = { probability = 0.5 } },
        { random_crop = { padding = 2 } },
        { shift = { pixels = 2 } },
        { random_crop = { padding = 3, padding_mode = "reflect" } },
        { flip_horizontal = { probability = 0.5 } },
        { flip_vertical = { probability = 0.5 } },
        { affine = { degrees = 10.0, scale = 0.1, shear = 0.1 } },
        { random_rotation = { degrees = 15.0 } },
        { random_affine = { degrees = 15.0, translate = [0.1, 0.1], scale = [0.8, 1.2], shear = [5.0, 5.0], interpolation = "bilinear" } },
        { colour_jitter = { brightness = 0.4, hue = 0.1 } },
        { color_jitter = { contrast = 0.4, saturation = 0.4 } },
        { grayscale = { probability = 0.5 } },
        { colour_noise = { std = 0.1 } },
        { color_noise = { std = 0.1 } },
        { rand_augment = {} },
        { trivial_augment = {} },
        { random_erasing = {} },
        { random_erasing = { probability = 1.0, noise = true } },
        { cutout = { size = 4 } },
        { random_resized_crop = {} },
        { random_resized_crop = { scale = [0.5, 1.0], random_filter = true } },
        { random_scale_crop = { sides = [14, 30] } },
        { random_scale_crop = { sides = [20, 20], square = true } },
    ]"#;

    #[derive(Deserialize)]
    struct All {
        all: Vec<Augment>,
    }

    fn all() -> Vec<Augment> {
        toml::from_str::<All>(ALL).unwrap().all
    }

    #[test]
    fn each_change_depends_on_the_stream_and_on_nothing_else() {
        let image = counting(3, 15, 20);
        for augment in all() {
            augment.check().unwrap();
            let results: Vec<_> = (0..20).map(|draw| run(&[augment], &image, draw)).collect();
            assert_eq!(results[3], run(&[augment], &image, 3), "{}", augment.describe());
            assert!(results.iter().any(|result| *result != results[0]), "{augment:?}");
        }
    }

    #[test]
    fn changes_of_extent_nothing_do_nothing() {
        let image = counting(3, 12, 12);
        let none = [
            Augment::Redraw { probability: 0.0 },
            Augment::RandomCrop { padding: 0, padding_mode: Padding::Reflect },
            Augment::FlipHorizontal { probability: 0.0 },
            Augment::Affine { degrees: 0.0, scale: 0.0, shear: 0.0 },
            Augment::ColourNoise { std: 0.0 },
            Augment::FlipVertical { probability: 0.0 },
            Augment::Grayscale { probability: 0.0 },
            Augment::RandomRotation { degrees: 0.0, interpolation: Sampling::Bilinear },
            Augment::RandomAffine {
                degrees: 0.0,
                translate: [0.0; 2],
                scale: [1.0; 2],
                shear: [0.0; 2],
                interpolation: Sampling::Nearest,
            },
            Augment::ColourJitter { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 },
            Augment::RandomErasing {
                probability: 0.0,
                scale: [0.1; 2],
                ratio: [1.0; 2],
                noise: true,
            },
            Augment::RandomResizedCrop { scale: [1.0; 2], ratio: [1.0; 2], random_filter: false },
        ];
        let plain = run(&[], &image, 0);
        let mut applied = vec![0.0; plain.len()];
        Preprocess::squash([3, 12, 12]).apply(&image, &mut applied);
        assert_eq!(plain, applied);
        assert_eq!(run(&none, &image, 9), plain);
    }

    #[test]
    fn shift_moves_whole_pixels() {
        let mut image = Image::filled(1, 12, 12, 0);
        image.pixels[6 * 12 + 6] = 255;
        let mut seen = std::collections::BTreeSet::new();
        for draw in 0..200 {
            let out = run(
                &[Augment::RandomCrop { padding: 1, padding_mode: Padding::Constant }],
                &image,
                draw,
            );
            seen.insert(out.iter().position(|&v| v == 1.0).unwrap());
        }
        let expected = [5, 6, 7].into_iter().flat_map(|y| [5, 6, 7].map(|x| y * 12 + x));
        assert!(seen.into_iter().eq(expected));
    }

    #[test]
    fn flip_happens_as_often_as_asked() {
        let image = counting(1, 12, 12);
        let plain = run(&[], &image, 0);
        let flip = [Augment::FlipHorizontal { probability: 0.25 }];
        let flipped = (0..1000).filter(|&draw| run(&flip, &image, draw) != plain).count();
        assert!((200..300).contains(&flipped), "{flipped}");
    }

    #[test]
    fn quarter_turn_moves_the_corner() {
        let mut image = Image::filled(1, 3, 3, 0);
        image.pixels[0] = 200;
        let turned = affine(&image, std::f32::consts::FRAC_PI_2, 1.0, 0.0);
        let at = turned.pixels.iter().position(|&v| v >= 199).unwrap();
        assert!([2, 6].contains(&at), "{:?}", turned.pixels);
    }

    #[test]
    fn thin_images_survive_every_change() {
        for (height, width) in [(1, 1), (1, 500), (500, 1)] {
            for channels in [1, 3] {
                let image = counting(channels, height, width);
                let whole = run(&all(), &image, 4);
                assert!(whole.iter().all(|value| value.is_finite()));
                all()
                    .into_iter()
                    .for_each(|one| assert_eq!(run(&[one], &image, 4).len(), whole.len()));
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_old_words_mean_the_same() {
        let all = all();
        assert_eq!((all[1], all[9], all[12]), (all[2], all[9], all[13]));
        let text = toml::to_string(&toml::Table::from_iter([(
            "all".to_owned(),
            toml::Value::try_from(&all).unwrap(),
        )]));
        assert_eq!(toml::from_str::<All>(&text.unwrap()).unwrap().all, all);
        for wrong in [
            "{ cutout = { size = 0 } }",
            "{ rand_augment = { magnitude = 31 } }",
            "{ rand_augment = { ops = 0 } }",
            "{ trivial_augment = { bins = 0 } }",
            "{ colour_jitter = { hue = 0.6 } }",
            "{ colour_jitter = { brightness = -0.1 } }",
            "{ random_scale_crop = { sides = [0, 5] } }",
            "{ random_scale_crop = { sides = [9, 5] } }",
            "{ random_erasing = { scale = [0.5, 0.2] } }",
            "{ random_affine = { degrees = 1.0, shear = [90.0, 0.0] } }",
            "{ random_affine = { degrees = 1.0, scale = [0.0, 1.0] } }",
            "{ random_rotation = { degrees = inf } }",
        ] {
            let wrong = toml::from_str::<All>(&format!("all = [{wrong}]")).unwrap().all[0];
            assert!(matches!(wrong.check(), Err(SettingError { key: "augment", .. })), "{wrong:?}");
        }
    }

    /// AlexNet's parts lie within the central square; without it they reach the borders.
    #[test]
    fn parts_of_the_scaled_image_lie_where_the_papers_take_them() {
        let image = Image {
            channels: 1,
            height: 20,
            width: 60,
            pixels: (0..1200).map(|i| (i % 60) as u8).collect(),
        };
        let columns = |square| {
            let crop = Augment::RandomScaleCrop { sides: [20, 20], square };
            let seen = (0..300)
                .map(|draw| (run(&[crop], &image, draw)[0] * 127.5 + 127.5).round() as usize);
            let seen: std::collections::BTreeSet<usize> = seen.collect();
            (seen.first().copied().unwrap(), seen.last().copied().unwrap(), seen.len())
        };
        assert_eq!(columns(true), (20, 28, 9));
        assert_eq!(columns(false), (0, 48, 49));
    }

    #[test]
    fn what_is_erased_is_the_mean() {
        let image = Image::filled(3, 12, 12, 255);
        let zeros = |augment: Augment, draw| {
            let out = run(&[augment], &image, draw);
            let planes: Vec<_> =
                out.chunks(144).map(|p| p.iter().filter(|&&v| v == 0.0).count()).collect();
            assert!(planes.iter().all(|&count| count == planes[0]));
            planes[0]
        };
        let cutout: Vec<usize> =
            (0..100).map(|draw| zeros(Augment::Cutout { size: 4 }, draw)).collect();
        assert!(cutout.iter().all(|&count| (4..=16).contains(&count)) && cutout.contains(&16));
        let erasing = all()[16];
        let hits = (0..400).filter(|&draw| zeros(erasing, draw) > 0).count();
        assert!((160..240).contains(&hits), "{hits}");
    }
}
