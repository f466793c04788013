//! Twins: the same picture twice, up to its size and what compression left of it. A picture that a network has learnt from is none
//! to test it with, and two labels of one picture are not both right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use top5_data::together::together;
use top5_data::{Dataset, Filter, Image, resize};

/// Side of the picture that is compared.
const SIDE: usize = 12;
/// Bits in which the signs of twins may differ.
const BITS: u32 = 3;
/// How much twins may differ, as a share of how much a picture differs from its mean.
const SHARE: f32 = 0.05;

/// What a picture looks like from afar, in gray.
#[derive(Clone, Debug, PartialEq)]
pub struct Print {
    /// Which of 8×8 parts are brighter than all together.
    bits: u64,
    gray: Vec<u8>,
    /// The sum of the distances from the mean.
    contrast: f32,
}

/// Two pictures that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The number of one.
    pub image: usize,
    /// The number of the other, in the same list or in another.
    pub twin: usize,
}

impl Print {
    /// Of an image.
    pub fn of(image: &Image) -> Self {
        let gray = if image.channels == 1 { image.clone() } else { image.to_gray() };
        let small = |side| resize(&gray, side, side, Filter::Bilinear).pixels;
        let mean = |pixels: &[u8]| {
            pixels.iter().map(|&pixel| f32::from(pixel)).sum::<f32>() / pixels.len() as f32
        };
        let coarse = small(8);
        let level = mean(&coarse);
        let bits =
            coarse.iter().fold(0, |bits, &pixel| bits << 1 | u64::from(f32::from(pixel) > level));
        let fine = small(SIDE);
        let level = mean(&fine);
        let contrast = fine.iter().map(|&pixel| (f32::from(pixel) - level).abs()).sum();
        Self { bits, gray: fine, contrast }
    }

    /// Whether it is the same picture.
    pub fn is_twin(&self, other: &Self) -> bool {
        if (self.bits ^ other.bits).count_ones() > BITS {
            return false;
        }
        let distance: u32 =
            self.gray.iter().zip(&other.gray).map(|(&a, &b)| u32::from(a.abs_diff(b))).sum();
        distance as f32 <= SHARE * self.contrast.min(other.contrast)
    }
}

/// The prints of all images, on so many threads; none of one that cannot be read. `progress` is told that another one is done.
pub fn prints(
    dataset: &dyn Dataset,
    threads: usize,
    progress: &(dyn Fn() + Sync),
) -> Vec<Option<Print>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= dataset.len() {
                return done;
            }
            // One whose reading panics counts as unreadable.
            let sample = catch_unwind(AssertUnwindSafe(|| dataset.sample(index).ok()));
            done.push((index, sample.ok().flatten().map(|sample| Print::of(&sample.image))));
            progress();
        }
    };
    let mut prints = vec![None; dataset.len()];
    for (index, print) in together(threads, work).into_iter().flatten() {
        prints[index] = print;
    }
    prints
}

/// The first twin that each image has in another list, by the images' order.
pub fn between(images: &[Option<Print>], others: &[Option<Print>]) -> Vec<Pair> {
    let twin = |(image, print): (usize, &Option<Print>)| {
        let print = print.as_ref()?;
        let is_twin =
            |other: &Option<Print>| other.as_ref().is_some_and(|other| print.is_twin(other));
        others.iter().position(is_twin).map(|twin| Pair { image, twin })
    };
    images.iter().enumerate().filter_map(twin).collect()
}

/// The first twin that each image has before it in the same list.
pub fn within(images: &[Option<Print>]) -> Vec<Pair> {
    let twin = |image: usize| Some(between(&images[image..=image], &images[..image]).first()?.twin);
    (1..images.len()).filter_map(|image| Some(Pair { image, twin: twin(image)? })).collect()
}

#[cfg(test)]
mod tests {
    use top5_data::MemoryDataset;

    use super::*;

    /// Soft hills that another seed has elsewhere.
    fn picture(seed: usize, height: usize, width: usize) -> Image {
        let value = |y: usize, x: usize, channel: usize| {
            let (y, x) = ((y as f32 + 0.5) / height as f32, (x as f32 + 0.5) / width as f32);
            let wave = |k: f32| (k * (x * (1 + seed % 5) as f32 + y * (1 + seed / 5) as f32)).sin();
            (128.0 + 60.0 * wave(2.0) + 30.0 * wave(3.0 + channel as f32)) as u8
        };
        let pixels = (0..height * width * 3).map(|i| value(i / 3 / width, i / 3 % width, i % 3));
        Image { channels: 3, height, width, pixels: pixels.collect() }
    }

    #[test]
    fn copies_of_another_size_or_with_noise_are_twins_and_others_are_not() {
        let one = Print::of(&picture(3, 90, 120));
        assert!(one.is_twin(&Print::of(&picture(3, 60, 80))));
        let mut noisy = picture(3, 90, 120);
        for (i, pixel) in noisy.pixels.iter_mut().enumerate() {
            *pixel = pixel.wrapping_add_signed((i * 7919 % 7) as i8 - 3);
        }
        assert!(one.is_twin(&Print::of(&noisy)));
        for seed in (0..25).filter(|&seed| seed != 3) {
            assert!(!one.is_twin(&Print::of(&picture(seed, 90, 120))), "{seed}");
        }
        // What has no contrast is the twin of its equals only.
        let flat = |level| Image { channels: 1, height: 4, width: 4, pixels: vec![level; 16] };
        assert!(Print::of(&flat(9)).is_twin(&Print::of(&flat(9))));
        assert!(!Print::of(&flat(9)).is_twin(&Print::of(&flat(10))));
    }

    #[test]
    fn twins_are_found_in_a_dataset_and_between_two() {
        let seeds = [1, 2, 3, 2, 4, 1];
        let pixels = seeds.iter().flat_map(|&seed| picture(seed, 20, 30).pixels).collect();
        let class = vec!["a".to_owned()];
        let dataset = MemoryDataset::new("hills", class, [3, 20, 30], pixels, vec![0; 6]);
        let count = AtomicUsize::new(0);
        let all = prints(&dataset, 3, &|| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 6);
        let pair = |(image, twin)| Pair { image, twin };
        assert_eq!(within(&all), [(3, 1), (5, 0)].map(pair));
        let others = [None, all[4].clone(), all[2].clone()];
        assert_eq!(between(&all, &others), [(2, 2), (4, 1)].map(pair));
        assert!(within(&all[..1]).is_empty());
    }
}
