//! From an image of any size to the network's input, with the semantics of timm's evaluation transform.
use crate::image::Image;
use crate::resize::Filter;

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
    /// [`normalise_digit`](crate::digits::normalise_digit): polarity, position and size become those of the training digits.
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
    /// Share of the scaled image that the crop keeps, in (0, 1].
    pub crop_pct: f32,
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
    /// ImageNet networks.
    pub fn imagenet(_height: usize, _width: usize) -> Self {
        todo!()
    }

    /// Digit networks: 1x28x28.
    pub fn digits() -> Self {
        todo!()
    }

    /// Writes the network's input for `image` into `out`, order C H W. Panics unless `out.len() == self.len()`.
    pub fn apply(&self, _image: &Image, _out: &mut [f32]) {
        todo!()
    }

    /// Values per image: `channels * height * width`.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// The resolved pipeline, one line.
    pub fn describe(&self) -> String {
        todo!()
    }
}
