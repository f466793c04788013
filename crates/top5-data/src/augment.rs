//! Random changes to training images.

/// One random change, drawn anew for every (seed, epoch, sample).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Augment {
    /// Replaces the preprocessing's resize and crop: a random part of the image, resized to the input.
    RandomResizedCrop {
        /// Least and greatest share of the area.
        scale: [f32; 2],
        /// Least and greatest width / height.
        ratio: [f32; 2],
    },
    /// Moves the image by up to `pixels` in each direction; zeros come in.
    Shift {
        /// Greatest move.
        pixels: usize,
    },
    /// Mirrors the image with this probability.
    FlipHorizontal {
        /// In 0..=1.
        probability: f32,
    },
    /// Rotates by up to `degrees` either way and scales by a factor in 1 - `scale` ..= 1 + `scale`, about the centre.
    Affine {
        /// Greatest rotation.
        degrees: f32,
        /// Greatest relative change of size.
        scale: f32,
    },
    /// AlexNet's PCA colour noise: N(0, `std`²) along the principal axes of ImageNet's colours.
    ColourNoise {
        /// AlexNet's is 0.1.
        std: f32,
    },
}
