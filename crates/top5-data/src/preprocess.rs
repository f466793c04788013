//! From an image of any size to the network's input, with the semantics of timm's evaluation transform (and so of
//! torchvision's `Resize` and `CenterCrop`), because published accuracies depend on each rounding in it.
//!
//! 1. Drawn digits only: polarity, position, size and stroke are normalised.
//! 2. Gray becomes RGB or the reverse, as the network wants it.
//! 3. The image is resized; EXIF orientation is ignored, as it is in every published evaluation.
//! 4. The centre is cropped; an image smaller than the crop is centred on zeros.
//! 5. Pixels are divided by 255, the mean is subtracted, the result divided by the standard deviation.

use std::borrow::Cow;

use crate::digits::normalise_digit;
use crate::image::Image;
use crate::resize::{Filter, resize};

/// How an image is fitted to the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CropMode {
    /// The shorter side is scaled to `size / crop_pct`, then the centre is cropped.
    Center,
    /// Both sides are scaled to `size / crop_pct`, whatever the proportions, then the centre is cropped.
    Squash,
}

/// What is done about how a digit was drawn, before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Nothing: the image is used as it is.
    AsIs,
    /// [`normalise_digit`]: polarity, position, size and stroke become those of the training digits.
    Drawn,
}

/// The pipeline from an image to the network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess {
    /// Channels of the network's input: 1 or 3.
    pub channels: usize,
    /// Rows of the network's input.
    pub height: usize,
    /// Columns of the network's input.
    pub width: usize,
    /// Share of the scaled image's side that the crop keeps, in (0, 1].
    pub crop_pct: f64,
    /// How the image is fitted.
    pub crop_mode: CropMode,
    /// Resampling filter.
    pub filter: Filter,
    /// Subtracted from each channel after scaling to 0..1; `channels` values.
    pub mean: Vec<f32>,
    /// Divides each channel after the subtraction; `channels` values.
    pub std: Vec<f32>,
    /// Treatment of drawn digits.
    pub ink: Ink,
}

impl Preprocess {
    /// torchvision's pipeline for ImageNet networks: scaled to 8/7 of the input, centre crop, bilinear, ImageNet's
    /// colour statistics.
    pub fn imagenet(height: usize, width: usize) -> Self {
        Self {
            channels: 3,
            height,
            width,
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            filter: Filter::Bilinear,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            ink: Ink::AsIs,
        }
    }

    /// Any image squeezed into `shape` [channels, height, width], values from -1 to 1. The channels are 1 or 3.
    pub fn squash(shape: [usize; 3]) -> Self {
        let [channels, height, width] = shape;
        Self {
            channels,
            height,
            width,
            crop_pct: 1.0,
            crop_mode: CropMode::Squash,
            filter: Filter::Bilinear,
            mean: vec![0.5; channels],
            std: vec![0.5; channels],
            ink: Ink::AsIs,
        }
    }

    /// The embedded digits, 1x28x28, standardised by the mean and deviation of their training part.
    pub fn digits() -> Self {
        Self { mean: vec![0.1573], std: vec![0.2929], ..Self::squash([1, 28, 28]) }
    }

    /// The same for digits that somebody drew: any size, dark on light or light on dark.
    pub fn drawn_digits() -> Self {
        Self { ink: Ink::Drawn, ..Self::digits() }
    }

    /// Shape of the result: [channels, height, width].
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Values per image: `channels * height * width`.
    pub fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Writes the network's input for `image` into `out`, order C H W. Panics unless `out.len() == self.size()`.
    pub fn apply(&self, image: &Image, out: &mut [f32]) {
        let image = self.convert(image);
        self.normalise(&self.frame(&image), [0.0; 3], out);
    }

    /// Steps 1 and 2: ink and channels.
    pub(crate) fn convert<'a>(&self, image: &'a Image) -> Cow<'a, Image> {
        let image = match self.ink {
            Ink::AsIs => Cow::Borrowed(image),
            Ink::Drawn => Cow::Owned(normalise_digit(image)),
        };
        match (self.channels, image.channels) {
            (1, 3) => Cow::Owned(image.to_gray()),
            (3, 1) => Cow::Owned(image.to_rgb()),
            _ => image,
        }
    }

    /// Steps 3 and 4: resized and cropped to `height` x `width`.
    pub(crate) fn frame(&self, image: &Image) -> Image {
        let [height, width] = self.scaled(image.height, image.width);
        let scaled = resize(image, height, width, self.filter);
        let (top, left) = (offset(height, self.height), offset(width, self.width));
        scaled.crop(top, left, self.height, self.width)
    }

    /// Size after step 3 of an image of `height` x `width`.
    fn scaled(&self, height: usize, width: usize) -> [usize; 2] {
        let enlarge = |side: usize| ((side as f64 / self.crop_pct) as usize).max(1);
        let [target_height, target_width] = [enlarge(self.height), enlarge(self.width)];
        let side = match self.crop_mode {
            CropMode::Squash => return [target_height, target_width],
            CropMode::Center if target_height == target_width => target_height,
            CropMode::Center => {
                // timm's ResizeKeepRatio: the side that is relatively shorter fits, the other is rounded.
                let ratio =
                    (height as f64 / target_height as f64).min(width as f64 / target_width as f64);
                let fit = |side: usize| ((side as f64 / ratio).round_ties_even() as usize).max(1);
                return [fit(height), fit(width)];
            }
        };
        let longer =
            |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
        if width <= height { [longer(height, width), side] } else { [side, longer(width, height)] }
    }

    /// Step 5 into `out`, with `offset` added to the channels before the mean is subtracted.
    pub(crate) fn normalise(&self, image: &Image, offset: [f32; 3], out: &mut [f32]) {
        assert_eq!(out.len(), self.size(), "length of the network's input");
        let plane = self.height * self.width;
        for (c, out) in out.chunks_exact_mut(plane).enumerate() {
            let (mean, std) = (self.mean[c], self.std[c]);
            let table: [f32; 256] =
                std::array::from_fn(|v| (v as f32 / 255.0 + offset[c] - mean) / std);
            let values = image.pixels.iter().skip(c).step_by(self.channels);
            out.iter_mut().zip(values).for_each(|(out, &v)| *out = table[usize::from(v)]);
        }
    }

    /// The resolved pipeline, one line, for reports.
    pub fn describe(&self) -> String {
        let ink = match self.ink {
            Ink::AsIs => "",
            Ink::Drawn => "normalise drawn digit, ",
        };
        let colour = if self.channels == 1 { "gray" } else { "RGB" };
        let [height, width] =
            [self.height, self.width].map(|s| (s as f64 / self.crop_pct) as usize);
        let scaled = match self.crop_mode {
            CropMode::Center if height == width => format!("shorter side to {height}"),
            CropMode::Center => format!("to cover {height}x{width}"),
            CropMode::Squash => format!("to {height}x{width}"),
        };
        format!(
            "{ink}{colour}, resize {scaled} ({}), centre crop {}x{}, /255, mean {:?}, std {:?}",
            self.filter.name(),
            self.height,
            self.width,
            self.mean,
            self.std
        )
    }
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
