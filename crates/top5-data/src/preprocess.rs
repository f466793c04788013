//! From an image of any size to the network's input, with the semantics of timm's evaluation transform (and so of
//! torchvision's `Resize` and `CenterCrop`), because published accuracies depend on each rounding in it.
//!
//! 1. Drawn digits only: polarity, position, size and stroke are normalised.
//! 2. Gray becomes RGB or the reverse, as the network wants it.
//! 3. The image is resized; EXIF orientation is ignored, as it is in every published evaluation.
//! 4. The centre is cropped; an image smaller than the crop is centred on zeros, or on the mean where that is asked for.
//!    The image is never scaled as a whole: only the crop is computed.
//! 5. Pixels are divided by 255, the mean is subtracted, the result divided by the standard deviation.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digits::normalise_digit;
use crate::image::Image;
use crate::resize::{Filter, resize_crop};

/// Greatest side of an input: beyond that it is a slip.
pub const MAX_SIDE: usize = 4096;
/// Least share of the scaled side that a crop may keep.
pub const MIN_CROP_PCT: f64 = 0.05;
/// Greatest one: beyond 1 the whole image is seen, in a frame.
pub const MAX_CROP_PCT: f64 = 2.0;

/// How an image is fitted to the network's input; the words are timm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropMode {
    /// The shorter side is scaled to `size / crop_pct`, then the centre is cropped.
    Center,
    /// Both sides are scaled to `size / crop_pct`, whatever the proportions, then the centre is cropped.
    Squash,
    /// The longer side is scaled to `size / crop_pct`, what is missing is filled with the mean, then the centre is cropped.
    Border,
}

impl CropMode {
    /// Its word: `center`, `squash` or `border`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Center => "center",
            Self::Squash => "squash",
            Self::Border => "border",
        }
    }

    /// The mode of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Center, Self::Squash, Self::Border].into_iter().find(|mode| mode.name() == name)
    }
}

/// A setting whose value makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// Its name.
    pub key: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}", self.key, self.expected)
    }
}

impl std::error::Error for SettingError {}

/// The pipeline from an image to the network's input. Its form in JSON and TOML is that of models and recipes; timm's has the
/// same words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Channels (1 or 3), rows and columns of the network's input.
    pub input_size: [usize; 3],
    /// Share of the scaled image's side that the crop keeps, from [`MIN_CROP_PCT`] to [`MAX_CROP_PCT`].
    #[serde(default = "whole")]
    pub crop_pct: f64,
    /// How the image is fitted.
    pub crop_mode: CropMode,
    /// Resampling filter.
    #[serde(default = "bilinear")]
    pub interpolation: Filter,
    /// Subtracted from each channel after scaling to 0..1; one value per channel.
    pub mean: Vec<f32>,
    /// Divides each channel after the subtraction; one value per channel.
    pub std: Vec<f32>,
    /// Whether images are digits that somebody drew: [`normalise_digit`] gives them polarity, position, size and stroke of the
    /// training digits, before anything else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drawn_digits: bool,
}

fn whole() -> f64 {
    1.0
}

fn bilinear() -> Filter {
    Filter::Bilinear
}

impl Preprocess {
    /// torchvision's pipeline for ImageNet networks: scaled to 8/7 of the input, centre crop, bilinear, ImageNet's
    /// colour statistics.
    pub fn imagenet(height: usize, width: usize) -> Self {
        Self {
            input_size: [3, height, width],
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            interpolation: Filter::Bilinear,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            drawn_digits: false,
        }
    }

    /// Any image squeezed into `input_size` [channels, height, width], values from -1 to 1. The channels are 1 or 3.
    pub fn squash(input_size: [usize; 3]) -> Self {
        let channels = input_size[0];
        Self {
            input_size,
            crop_pct: 1.0,
            crop_mode: CropMode::Squash,
            interpolation: Filter::Bilinear,
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            drawn_digits: false,
        }
    }

    /// The embedded digits, 1x28x28, standardised by the mean and deviation of their training part.
    pub fn digits() -> Self {
        Self { mean: vec![0.1573], std: vec![0.2929], ..Self::squash([1, 28, 28]) }
    }

    /// The same for digits that somebody drew: any size, dark on light or light on dark.
    pub fn drawn_digits() -> Self {
        Self { drawn_digits: true, ..Self::digits() }
    }

    /// Whether its values make sense: the one check of what recipes, models, timm's descriptions and arguments say.
    pub fn check(&self) -> Result<(), SettingError> {
        let [channels, height, width] = self.input_size;
        let side = |side: usize| (1..=MAX_SIDE).contains(&side);
        let numbers =
            |values: &[f32]| values.len() == channels && values.iter().all(|v| v.is_finite());
        for (good, key, expected) in [
            (
                matches!(channels, 1 | 3) && side(height) && side(width),
                "input_size",
                "1 or 3 channels, height and width from 1 to 4096",
            ),
            (
                (MIN_CROP_PCT..=MAX_CROP_PCT).contains(&self.crop_pct),
                "crop_pct",
                "0.05 to 2 (beyond 1 in a frame)",
            ),
            (numbers(&self.mean), "mean", "one finite number per channel"),
            (
                numbers(&self.std) && self.std.iter().all(|&std| std > 0.0),
                "std",
                "one positive number per channel",
            ),
        ] {
            if !good {
                return Err(SettingError { key, expected });
            }
        }
        Ok(())
    }

    /// Values per image.
    pub fn size(&self) -> usize {
        self.input_size.iter().product()
    }

    /// Writes the network's input for `image` into `out`, order C H W. Panics unless `out.len() == self.size()`.
    pub fn apply(&self, image: &Image, out: &mut [f32]) {
        let image = self.convert(image);
        self.normalise(&self.frame(&image), [0.0; 3], out);
    }

    /// Steps 1 and 2: ink and channels.
    pub(crate) fn convert<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        let image = match self.drawn_digits {
            false => Cow::Borrowed(image),
            true => Cow::Owned(normalise_digit(image)),
        };
        match (self.input_size[0], image.channels) {
            (1, 3) => Cow::Owned(image.to_gray()),
            (3, 1) => Cow::Owned(image.to_rgb()),
            _ => image,
        }
    }

    /// Steps 3 and 4: resized and cropped to the input's height and width.
    pub(crate) fn frame(&self, image: &Image) -> Image {
        let [_, height, width] = self.input_size;
        let scaled = self.scaled(image.height, image.width);
        let corner = [offset(scaled[0], height), offset(scaled[1], width)];
        resize_crop(image, scaled, self.interpolation, corner, [height, width], self.fill())
    }

    /// Where a rectangle of the network's input (its upper left corner, its height and width) lies in an image of `size`:
    /// `[top, left, height, width]` in the image's pixels, rounded outwards and cut off at its borders. What the resampling
    /// filter adds around it is left out. `None` where it lies outside, or where drawn digits are moved about.
    pub fn to_source(
        &self,
        size: [usize; 2],
        corner: [usize; 2],
        part: [usize; 2],
    ) -> Option<[usize; 4]> {
        let [_, height, width] = self.input_size;
        let scaled = self.scaled(size[0], size[1]);
        let mut source = [[0, 0]; 2];
        for i in 0..2 {
            let first = corner[i] as f64 + offset(scaled[i], [height, width][i]) as f64;
            let ratio = size[i] as f64 / scaled[i] as f64;
            let end = ((first + part[i] as f64) * ratio).ceil().clamp(0.0, size[i] as f64);
            source[i] = [(first * ratio).floor().max(0.0) as usize, end as usize];
        }
        let [[top, bottom], [left, right]] = source;
        let inside = !self.drawn_digits && top < bottom && left < right;
        inside.then(|| [top, left, bottom - top, right - left])
    }

    /// What surrounds an image that is smaller than the crop: zeros, in [`CropMode::Border`] the mean.
    fn fill(&self) -> [u8; 3] {
        if self.crop_mode != CropMode::Border {
            return [0; 3];
        }
        let level = |mean: f32| (255.0 * decimal(mean)).round_ties_even() as u8;
        std::array::from_fn(|c| self.mean.get(c).map_or(0, |&mean| level(mean)))
    }

    /// What both sides are scaled to, as far as the proportions allow.
    fn target(&self) -> [usize; 2] {
        let [_, height, width] = self.input_size;
        [height, width].map(|side| ((side as f64 / self.crop_pct) as usize).max(1))
    }

    /// Size after step 3 of an image of `height` x `width`.
    fn scaled(&self, height: usize, width: usize) -> [usize; 2] {
        let target = self.target();
        let ratios = [height as f64 / target[0] as f64, width as f64 / target[1] as f64];
        // timm's ResizeKeepRatio: one side fits, the other is rounded.
        let fit = |ratio: f64| {
            [height, width].map(|side| ((side as f64 / ratio).round_ties_even() as usize).max(1))
        };
        match self.crop_mode {
            CropMode::Squash => target,
            CropMode::Border => fit(ratios[0].max(ratios[1])),
            CropMode::Center if target[0] != target[1] => fit(ratios[0].min(ratios[1])),
            CropMode::Center => {
                let side = target[0];
                let longer =
                    |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
                match width <= height {
                    true => [longer(height, width), side],
                    false => [side, longer(width, height)],
                }
            }
        }
    }

    /// Step 5 into `out`, with `offset` added to the channels before the mean is subtracted.
    pub(crate) fn normalise(&self, image: &Image, offset: [f32; 3], out: &mut [f32]) {
        assert_eq!(out.len(), self.size(), "length of the network's input");
        let [channels, height, width] = self.input_size;
        for (c, out) in out.chunks_exact_mut(height * width).enumerate() {
            let (mean, std) = (self.mean[c], self.std[c]);
            let table: [f32; 256] =
                std::array::from_fn(|v| (v as f32 / 255.0 + offset[c] - mean) / std);
            let values = image.pixels.iter().skip(c).step_by(channels);
            out.iter_mut().zip(values).for_each(|(out, &v)| *out = table[usize::from(v)]);
        }
    }

    /// The picture that a network's input shows, order C H W: step 5 backwards. Panics unless `values.len() == self.size()`.
    pub fn picture(&self, values: &[f32]) -> Image {
        assert_eq!(values.len(), self.size(), "length of the network's input");
        let [channels, height, width] = self.input_size;
        let mut image = Image::filled(channels, height, width, 0);
        for (c, plane) in values.chunks_exact(height * width).enumerate() {
            let (mean, std) = (self.mean[c], self.std[c]);
            let levels = plane.iter().map(|value| ((value * std + mean) * 255.0).round() as u8);
            let pixels = image.pixels.iter_mut().skip(c).step_by(channels);
            pixels.zip(levels).for_each(|(pixel, level)| *pixel = level);
        }
        image
    }

    /// The resolved pipeline, one line, for reports.
    pub fn describe(&self) -> String {
        let [_, rows, columns] = self.input_size;
        let [height, width] = self.target();
        let scaled = match self.crop_mode {
            CropMode::Center if height == width => format!("shorter side to {height}"),
            CropMode::Center => format!("to cover {height}x{width}"),
            CropMode::Squash => format!("to {height}x{width}"),
            CropMode::Border if height == width => format!("longer side to {height}"),
            CropMode::Border => format!("to fit into {height}x{width}"),
        };
        let padded = if self.crop_mode == CropMode::Border { ", padded with the mean" } else { "" };
        let filter = self.interpolation.name();
        self.around(&format!("resize {scaled} ({filter}), centre crop {rows}x{columns}{padded}"))
    }

    /// The same where somebody else scales and crops.
    pub fn describe_but_for_crop(&self) -> String {
        self.around(&format!(
            "resize ({}) and crop as the protocol has it",
            self.interpolation.name()
        ))
    }

    fn around(&self, cropped: &str) -> String {
        let ink = if self.drawn_digits { "normalise drawn digit, " } else { "" };
        let colour = if self.input_size[0] == 1 { "gray" } else { "RGB" };
        format!("{ink}{colour}, {cropped}, /255, mean {:?}, std {:?}", self.mean, self.std)
    }
}

/// The number whose shortest decimal form a value has: 0.3 and not 0.30000001192….
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().expect("what is written is read")
}

/// Where a centred crop starts: Python's `round((size - crop) / 2)`, which takes halves to the even side; what is missing is
/// padded with the smaller part first.
fn offset(size: usize, crop: usize) -> isize {
    if size < crop {
        return -(((crop - size) / 2) as isize);
    }
    ((size - crop) as f64 / 2.0).round_ties_even() as isize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_timms() {
        let imagenet = Preprocess::imagenet(224, 224);
        assert_eq!(imagenet.scaled(375, 500), [256, 341]);
        assert_eq!(imagenet.scaled(500, 334), [383, 256]);
        assert_eq!(imagenet.scaled(1, 1000), [256, 256_000]);
        assert_eq!(Preprocess::imagenet(299, 299).scaled(100, 100), [341, 341]);
        let exact = Preprocess { crop_pct: 0.8, ..Preprocess::imagenet(224, 224) };
        assert_eq!(exact.scaled(280, 280), [280, 280]);
        assert_eq!(Preprocess::imagenet(224, 448).scaled(100, 100), [512, 512]);
    }

    /// timm 1.0.29 (`create_transform` with `crop_mode='border'`): `ResizeKeepRatio` with `longest=1.0`, `CenterCropOrPad`.
    #[test]
    fn border_keeps_the_whole_image() {
        let border = Preprocess {
            crop_pct: 1.0,
            crop_mode: CropMode::Border,
            mean: vec![0.5, 0.1, 0.3],
            ..Preprocess::imagenet(8, 8)
        };
        assert_eq!(border.scaled(375, 500), [6, 8]);
        assert_eq!(border.scaled(500, 334), [8, 5]);
        // Python rounds halves to even: 127.5, 25.5, 76.5.
        assert_eq!(border.fill(), [128, 26, 76]);
        let frame = border.frame(&Image::filled(3, 5, 8, 200));
        assert_eq!(
            [frame.row(0), frame.row(6)],
            [[128u8, 26, 76].repeat(8), [128u8, 26, 76].repeat(8)]
        );
        assert_eq!([frame.row(1), frame.row(5)], [[200u8; 24]; 2]);
        assert!(border.describe().contains("longer side to 8"));
        let cropped = Preprocess { crop_pct: 0.5, ..border };
        assert_eq!(cropped.frame(&Image::filled(3, 20, 20, 7)).pixels, [7; 192]);
    }

    #[test]
    fn senseless_values_are_named() {
        let good = Preprocess::imagenet(224, 224);
        assert_eq!(good.check(), Ok(()));
        for (key, wrong) in [
            ("input_size", Preprocess { input_size: [2, 224, 224], ..good.clone() }),
            ("input_size", Preprocess { input_size: [3, 1 << 40, 224], ..good.clone() }),
            ("input_size", Preprocess { input_size: [3, 224, 0], ..good.clone() }),
            ("crop_pct", Preprocess { crop_pct: 0.0, ..good.clone() }),
            ("crop_pct", Preprocess { crop_pct: 2.5, ..good.clone() }),
            ("crop_pct", Preprocess { crop_pct: f64::NAN, ..good.clone() }),
            ("mean", Preprocess { mean: vec![0.0; 2], ..good.clone() }),
            ("mean", Preprocess { mean: vec![f32::NAN; 3], ..good.clone() }),
            ("std", Preprocess { std: vec![0.0; 3], ..good.clone() }),
            ("std", Preprocess { std: vec![-0.1; 3], ..good }),
        ] {
            assert_eq!(wrong.check().map_err(|error| error.key), Err(key), "{wrong:?}");
        }
    }

    #[test]
    fn parts_of_the_input_are_found_in_the_source() {
        // 512×1024 to 256×512, of which columns 144 to 367 are kept, and rows 16 to 239.
        let imagenet = Preprocess::imagenet(224, 224);
        assert_eq!(imagenet.to_source([512, 1024], [0, 0], [224, 224]), Some([32, 288, 448, 448]));
        assert_eq!(imagenet.to_source([512, 1024], [10, 20], [3, 1]), Some([52, 328, 6, 2]));
        let border = Preprocess { crop_mode: CropMode::Border, crop_pct: 1.0, ..imagenet };
        // The image lies in rows 56 to 167; above is the border.
        assert_eq!(border.to_source([100, 200], [0, 0], [56, 224]), None);
        assert_eq!(border.to_source([100, 200], [0, 0], [224, 224]), Some([0, 0, 100, 200]));
        assert_eq!(Preprocess::drawn_digits().to_source([28, 28], [0, 0], [5, 5]), None);
        assert_eq!(Preprocess::digits().to_source([28, 28], [1, 2], [5, 6]), Some([1, 2, 5, 6]));
    }

    /// Scaled as a whole, the last of these would take 986 GB.
    #[test]
    fn thin_images_cost_what_the_crop_costs() {
        for (crop_pct, filter) in [(0.875, Filter::Bilinear), (MIN_CROP_PCT, Filter::Lanczos)] {
            let preprocess =
                Preprocess { crop_pct, interpolation: filter, ..Preprocess::imagenet(224, 224) };
            for (height, width) in [(1, 16_384), (16_384, 1)] {
                let mut image = Image::filled(3, height, width, 0);
                let count = image.pixels.len();
                image.pixels[count / 2..].fill(255);
                let frame = preprocess.frame(&image);
                assert_eq!([frame.height, frame.width], [224, 224]);
                // Black and white meet in the middle.
                let ends = [0, frame.pixels.len() - 1].map(|at| u32::from(frame.pixels[at]));
                assert!(ends[0] < ends[1] && ends[0].abs_diff(255 - ends[1]) <= 1, "{ends:?}");
            }
        }
    }

    /// torchvision's `CenterCrop` of an image that is smaller than the crop.
    #[test]
    fn beyond_a_share_of_one_the_image_is_framed_by_zeros() {
        let framed = Preprocess { crop_pct: 1.3, ..Preprocess::imagenet(13, 13) };
        let frame = framed.frame(&Image::filled(3, 7, 15, 255));
        assert_eq!([frame.height, frame.width], [13, 13]);
        let black: Vec<usize> = (0..13).filter(|&y| frame.row(y).iter().all(|&v| v == 0)).collect();
        assert_eq!(black, [0, 11, 12]);
        assert!((1..11).all(|y| frame.row(y).iter().all(|&v| v == 255)));
    }

    #[test]
    fn offsets_round_halves_to_even() {
        assert_eq!([offset(5, 2), offset(7, 2), offset(256, 224)], [2, 2, 16]);
        assert_eq!([offset(1, 4), offset(4, 4)], [-1, 0]);
    }

    #[test]
    fn output_is_planar_and_normalised() {
        let image =
            Image { channels: 3, height: 1, width: 2, pixels: vec![0, 51, 255, 0, 51, 255] };
        let mut out = [0.0; 6];
        Preprocess::squash([3, 1, 2]).apply(&image, &mut out);
        assert_eq!(out, [-1.0, -1.0, -0.6, -0.6, 1.0, 1.0]);
        assert_eq!(Preprocess::squash([3, 1, 2]).picture(&out), image);
        let mut gray = [0.0; 2];
        Preprocess::squash([1, 1, 2]).apply(&image, &mut gray);
        assert_eq!(gray, [(59.0 / 255.0 - 0.5) / 0.5; 2]);
    }

    #[test]
    fn extreme_proportions_stay_within_bounds() {
        let mut out = vec![0.0; 784];
        for (height, width) in [(1, 1), (1, 300), (300, 1), (27, 29)] {
            for preprocess in [Preprocess::digits(), Preprocess::drawn_digits()] {
                preprocess.apply(&Image::filled(3, height, width, 200), &mut out);
                assert!(out.iter().all(|v| v.is_finite()));
            }
        }
    }

    #[test]
    fn description_names_every_step() {
        assert_eq!(
            Preprocess::imagenet(224, 224).describe(),
            "RGB, resize shorter side to 256 (bilinear), centre crop 224x224, /255, \
             mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]"
        );
    }
}
