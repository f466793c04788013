//! RandAugment and TrivialAugment: what is drawn, and from what lists, is as in torchvision.

use top5_graph::random::Stream;

use super::colour;
use super::geometry::{self, Affine, Sampling};
use crate::image::Image;

/// An operation of these policies, named as torchvision names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "torchvision's words")]
pub enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// The operations of both policies, in torchvision's order.
const OPERATIONS: [Operation; 14] = [
    Operation::Identity,
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Rotate,
    Operation::Brightness,
    Operation::Color,
    Operation::Contrast,
    Operation::Sharpness,
    Operation::Posterize,
    Operation::Solarize,
    Operation::AutoContrast,
    Operation::Equalize,
];

impl Operation {
    /// All of them, with torchvision's names.
    pub const ALL: [(Self, &'static str); 15] = [
        (Self::Identity, "Identity"),
        (Self::ShearX, "ShearX"),
        (Self::ShearY, "ShearY"),
        (Self::TranslateX, "TranslateX"),
        (Self::TranslateY, "TranslateY"),
        (Self::Rotate, "Rotate"),
        (Self::Brightness, "Brightness"),
        (Self::Color, "Color"),
        (Self::Contrast, "Contrast"),
        (Self::Sharpness, "Sharpness"),
        (Self::Posterize, "Posterize"),
        (Self::Solarize, "Solarize"),
        (Self::AutoContrast, "AutoContrast"),
        (Self::Equalize, "Equalize"),
        (Self::Invert, "Invert"),
    ];

    /// Whether its magnitude goes both ways.
    fn is_signed(self) -> bool {
        use Operation::{
            Brightness, Color, Contrast, Rotate, Sharpness, ShearX, ShearY, TranslateX, TranslateY,
        };
        matches!(
            self,
            ShearX
                | ShearY
                | TranslateX
                | TranslateY
                | Rotate
                | Brightness
                | Color
                | Contrast
                | Sharpness
        )
    }

    /// Applies it with this magnitude (`_apply_op`).
    pub fn apply(self, image: &Image, magnitude: f64, sampling: Sampling) -> Image {
        let shear = magnitude.atan().to_degrees();
        let shift = magnitude.trunc();
        let affine = |by, center| geometry::affine(image, &by, center, sampling);
        let identity = Affine::IDENTITY;
        match self {
            Self::Identity => image.clone(),
            Self::ShearX => affine(Affine { shear: [shear, 0.0], ..identity }, Some([0.0; 2])),
            Self::ShearY => affine(Affine { shear: [0.0, shear], ..identity }, Some([0.0; 2])),
            Self::TranslateX => affine(Affine { translate: [shift, 0.0], ..identity }, None),
            Self::TranslateY => affine(Affine { translate: [0.0, shift], ..identity }, None),
            Self::Rotate => geometry::rotate(image, magnitude, sampling),
            Self::Brightness => colour::adjust_brightness(image, 1.0 + magnitude),
            Self::Color => colour::adjust_saturation(image, 1.0 + magnitude),
            Self::Contrast => colour::adjust_contrast(image, 1.0 + magnitude),
            Self::Sharpness => colour::adjust_sharpness(image, 1.0 + magnitude),
            Self::Posterize => colour::posterize(image, magnitude as u32),
            Self::Solarize => colour::solarize(image, magnitude),
            Self::AutoContrast => colour::autocontrast(image),
            Self::Equalize => colour::equalize(image),
            Self::Invert => colour::invert(image),
        }
    }
}

/// The two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Cubuk et al., arXiv:1909.13719; torchvision's `RandAugment`.
    Rand,
    /// Müller & Hutter, arXiv:2103.10158; torchvision's `TrivialAugmentWide`.
    TrivialWide,
}

impl Policy {
    /// The magnitude of `op` at place `bin` of `bins`, for an image of this height and width; before a sign is drawn.
    pub fn magnitude(
        self,
        op: Operation,
        bin: usize,
        bins: usize,
        [height, width]: [usize; 2],
    ) -> f64 {
        let line = |from: f64, to: f64| linspace(from as f32, to as f32, bin, bins);
        let wide = self == Self::TrivialWide;
        let pick = |rand, trivial| if wide { trivial } else { rand };
        match op {
            Operation::Identity
            | Operation::AutoContrast
            | Operation::Equalize
            | Operation::Invert => 0.0,
            Operation::ShearX | Operation::ShearY => line(0.0, pick(0.3, 0.99)),
            Operation::TranslateX => line(0.0, pick(150.0 / 331.0 * width as f64, 32.0)),
            Operation::TranslateY => line(0.0, pick(150.0 / 331.0 * height as f64, 32.0)),
            Operation::Rotate => line(0.0, pick(30.0, 135.0)),
            Operation::Brightness
            | Operation::Color
            | Operation::Contrast
            | Operation::Sharpness => line(0.0, pick(0.9, 0.99)),
            Operation::Posterize => {
                let step = (bins.max(2) - 1) as f64 / pick(4.0, 6.0);
                8.0 - f64::from((bin as f32 / step as f32).round_ties_even())
            }
            Operation::Solarize => line(255.0, 0.0),
        }
    }

    /// Applies `count` operations, drawn one after the other: with the magnitude at `bin`, or a drawn one.
    pub fn apply(
        self,
        image: &Image,
        count: usize,
        (bin, bins): (Option<usize>, usize),
        sampling: Sampling,
        draws: &mut Stream,
    ) -> Image {
        let mut image = image.clone();
        for _ in 0..count {
            let op = OPERATIONS[draws.below(OPERATIONS.len())];
            let bin = bin.unwrap_or_else(|| draws.below(bins));
            let size = [image.height, image.width];
            let magnitude = self.magnitude(op, bin, bins, size);
            let negative = draws.below(2) == 1 && op.is_signed();
            image = op.apply(&image, if negative { -magnitude } else { magnitude }, sampling);
        }
        image
    }
}

/// `torch.linspace` in single precision, which goes from both ends; the last digit of PyTorch's depends on the machine.
fn linspace(from: f32, to: f32, place: usize, places: usize) -> f64 {
    if places < 2 {
        return f64::from(from);
    }
    let step = (to - from) / (places - 1) as f32;
    f64::from(if place < places / 2 {
        from + step * place as f32
    } else {
        to - step * (places - 1 - place) as f32
    })
}
