//! Random changes to training images. A change is a function of (seed, epoch, sample), whatever the order of reading.

use serde::{Deserialize, Serialize};
use top5_graph::random::Stream;

use crate::digits::normalise_digit;
use crate::image::Image;
use crate::preprocess::{MAX_SIDE, Preprocess, SettingError};
use crate::resize::resize;

/// One random change, drawn anew for every sample of every epoch. A list of them is applied in order. Its form in TOML is that
/// of recipes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Augment {
    /// A random part of the stored image, resized to the network's input in place of the preprocessing's resize and
    /// crop (Szegedy et al. 2015; torchvision's `RandomResizedCrop`). It acts first, wherever it stands in the list.
    RandomResizedCrop {
        /// Least and greatest share of the image's area.
        scale: [f32; 2],
        /// Least and greatest width / height.
        ratio: [f32; 2],
    },
    /// Moves the image by up to `pixels` either way in both directions; zeros come in. The same as padding by `pixels` and
    /// cropping at random.
    Shift {
        /// Greatest move.
        pixels: usize,
    },
    /// Mirrors the image.
    FlipHorizontal {
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
    /// Puts a digit through [`normalise_digit`], so that the network also knows digits as they come from a drawing.
    Redraw {
        /// How often, in 0..=1.
        probability: f32,
    },
    /// AlexNet's colour noise (Krizhevsky et al. 2012, section 4.1): along each principal axis of ImageNet's colours, a
    /// multiple drawn from N(0, `std`²) of its eigenvalue. Nothing happens to gray.
    ColourNoise {
        /// The paper's is 0.1.
        std: f32,
    },
}

impl Augment {
    /// The changes that the embedded digits are trained with.
    pub fn digits() -> Vec<Self> {
        vec![
            Self::Redraw { probability: 0.8 },
            Self::Affine { degrees: 15.0, scale: 0.2, shear: 0.4 },
            Self::Shift { pixels: 1 },
        ]
    }

    /// Whether its numbers make sense.
    pub fn check(&self) -> Result<(), SettingError> {
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let ordered = |[from, to]: [f32; 2]| 0.0 < from && from <= to && to.is_finite();
        let positive = |value: f32| value >= 0.0 && value.is_finite();
        let (good, expected) = match *self {
            Self::RandomResizedCrop { scale, ratio } => (
                ordered(scale) && scale[1] <= 1.0 && ordered(ratio),
                "scale within 0 to 1 and ratio above 0, each ascending",
            ),
            Self::Shift { pixels } => (pixels <= MAX_SIDE, "at most 4096 pixels"),
            Self::FlipHorizontal { probability } | Self::Redraw { probability } => {
                (share(probability), "a probability from 0 to 1")
            }
            Self::Affine { degrees, scale, shear } => (
                positive(degrees) && (0.0..1.0).contains(&scale) && positive(shear),
                "degrees and shear from 0 on, scale from 0 to less than 1",
            ),
            Self::ColourNoise { std } => (positive(std), "a finite std from 0 on"),
        };
        if good { Ok(()) } else { Err(SettingError { key: "augment", expected }) }
    }

    /// One short phrase, for reports.
    pub fn describe(&self) -> String {
        match self {
            Self::RandomResizedCrop { scale: [a, b], ratio: [c, d] } => {
                format!("random crop of {a} to {b} of the area, proportions {c} to {d}")
            }
            Self::Shift { pixels } => format!("shift by up to {pixels}"),
            Self::FlipHorizontal { probability } => {
                format!("mirror with probability {probability}")
            }
            Self::Affine { degrees, scale, shear } => {
                format!("rotate by up to {degrees} degrees, scale by {scale}, slant by {shear}")
            }
            Self::Redraw { probability } => format!("redraw with probability {probability}"),
            Self::ColourNoise { std } => format!("PCA colour noise of {std}"),
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
    let crop = augments.iter().enumerate().find_map(|(position, augment)| {
        if let &Augment::RandomResizedCrop { scale, ratio } = augment {
            Some(random_resized_crop(&image, preprocess, scale, ratio, draws(position)))
        } else {
            None
        }
    });
    let mut image = crop.unwrap_or_else(|| preprocess.frame(&image));
    let mut colour = [0.0; 3];
    for (position, augment) in augments.iter().enumerate() {
        let mut draws = draws(position);
        match *augment {
            Augment::RandomResizedCrop { .. } => {}
            Augment::Shift { pixels } => {
                let mut offset = || draws.below(2 * pixels + 1) as isize - pixels as isize;
                let (top, left) = (offset(), offset());
                image = image.crop(top, left, image.height, image.width);
            }
            Augment::FlipHorizontal { probability } => {
                if draws.uniform() < probability {
                    image = image.flip_horizontal();
                }
            }
            Augment::Affine { degrees, scale, shear } => {
                let mut either_way = |limit: f32| limit * (2.0 * draws.uniform() - 1.0);
                let (angle, factor) = (either_way(degrees).to_radians(), 1.0 + either_way(scale));
                image = affine(&image, angle, factor, either_way(shear));
            }
            Augment::Redraw { probability } => {
                if draws.uniform() < probability {
                    image = preprocess.frame(&preprocess.convert(&normalise_digit(&image)));
                }
            }
            Augment::ColourNoise { std } => {
                if image.channels == 3 {
                    colour = colour_noise(std, draws);
                }
            }
        }
    }
    preprocess.normalise(&image, colour, out);
}

fn random_resized_crop(
    image: &Image,
    preprocess: &Preprocess,
    scale: [f32; 2],
    ratio: [f32; 2],
    mut draws: Stream,
) -> Image {
    const TRIES: usize = 10;
    let (height, width) = (image.height, image.width);
    let area = (height * width) as f64;
    let between =
        |[from, to]: [f64; 2], draws: &mut Stream| from + (to - from) * f64::from(draws.uniform());
    let drawn = (0..TRIES).find_map(|_| {
        let area = area * between(scale.map(f64::from), &mut draws);
        let ratio = between(ratio.map(|r| f64::from(r).ln()), &mut draws).exp();
        let w = (area * ratio).sqrt().round_ties_even() as usize;
        let h = (area / ratio).sqrt().round_ties_even() as usize;
        let fits = (1..=width).contains(&w) && (1..=height).contains(&h);
        fits.then(|| (draws.below(height - h + 1), draws.below(width - w + 1), h, w))
    });
    let (top, left, h, w) = drawn.unwrap_or_else(|| {
        // torchvision's fallback: the largest centred part with proportions in range.
        let [least, greatest] = ratio.map(f64::from);
        let (mut h, mut w) = (height, width);
        let proportions = width as f64 / height as f64;
        if proportions < least {
            h = ((width as f64 / least).round_ties_even() as usize).clamp(1, height);
        } else if proportions > greatest {
            w = ((height as f64 * greatest).round_ties_even() as usize).clamp(1, width);
        }
        ((height - h) / 2, (width - w) / 2, h, w)
    });
    let part = image.crop(top as isize, left as isize, h, w);
    let [_, height, width] = preprocess.input_size;
    resize(&part, height, width, preprocess.interpolation)
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

    const ALL: [Augment; 6] = [
        Augment::Redraw { probability: 0.5 },
        Augment::Shift { pixels: 2 },
        Augment::FlipHorizontal { probability: 0.5 },
        Augment::Affine { degrees: 10.0, scale: 0.1, shear: 0.1 },
        Augment::ColourNoise { std: 0.1 },
        Augment::RandomResizedCrop { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] },
    ];

    #[test]
    fn each_change_depends_on_the_stream_and_on_nothing_else() {
        let image = counting(3, 15, 20);
        for augment in ALL {
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
            Augment::Shift { pixels: 0 },
            Augment::FlipHorizontal { probability: 0.0 },
            Augment::Affine { degrees: 0.0, scale: 0.0, shear: 0.0 },
            Augment::ColourNoise { std: 0.0 },
            Augment::RandomResizedCrop { scale: [1.0, 1.0], ratio: [1.0, 1.0] },
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
            let out = run(&[Augment::Shift { pixels: 1 }], &image, draw);
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
    fn thin_images_survive_the_random_crop() {
        for (height, width) in [(1, 1), (1, 500), (500, 1)] {
            assert_eq!(run(&ALL, &counting(3, height, width), 4).len(), 432);
        }
    }
}
