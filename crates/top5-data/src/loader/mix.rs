//! Mixup and CutMix: images of a batch mixed with their neighbours in it, as torchvision's `MixUp` and `CutMix` do.
//!
//! What is drawn for a batch is a function of (seed, epoch, step), and the batch is mixed after it is full: threads do not
//! matter, and a run that goes on mixes as one that never stopped.

use top5_graph::random::Stream;

use super::Batch;
use crate::preprocess::SettingError;

/// How batches are mixed. Where both are asked for, each batch is mixed one way or the other, with equal probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mix {
    /// Mixup's α: whole images are mixed in a proportion drawn from Beta(α, α) (Zhang et al., arXiv:1710.09412). 0 is without.
    pub mixup: f32,
    /// CutMix's α: a rectangle is pasted, whose share of the area is 1 less such a number (Yun et al., arXiv:1905.04899). 0 is
    /// without.
    pub cutmix: f32,
}

/// What was mixed into the images of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// The other label of each image.
    pub labels: Vec<u32>,
    /// The share of the image's own label; the other one has the rest.
    pub share: f32,
}

impl Mixed {
    /// The targets `[n, classes]` of images whose own labels are these. All labels are below `classes`.
    pub fn distributions(&self, own: &[u32], classes: usize) -> Vec<f32> {
        let mut shares = vec![0.0; own.len() * classes];
        for ((row, &own), &other) in shares.chunks_exact_mut(classes).zip(own).zip(&self.labels) {
            row[own as usize] += self.share;
            row[other as usize] += 1.0 - self.share;
        }
        shares
    }

    /// The label of the greater share of each image.
    pub fn main_labels<'a>(&'a self, own: &'a [u32]) -> &'a [u32] {
        if self.share < 0.5 { &self.labels } else { own }
    }
}

/// The sample before the first of a batch, where that is a part of a larger one.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) image: Vec<f32>,
    pub(super) label: u32,
    /// Its number in the dataset.
    pub(super) index: u32,
}

impl Mix {
    /// Whether its numbers make sense.
    pub fn check(&self) -> Result<(), SettingError> {
        for (key, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(0.0..=1000.0).contains(&alpha) {
                return Err(SettingError { key, expected: "from 0 to 1000" });
            }
        }
        Ok(())
    }

    /// Whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        self.mixup == 0.0 && self.cutmix == 0.0
    }

    /// One short phrase, for reports.
    pub fn describe(&self) -> String {
        let [mixup, cutmix] = [("mixup", self.mixup), ("CutMix", self.cutmix)]
            .map(|(name, alpha)| (alpha > 0.0).then(|| format!("{name} of {alpha}")));
        match (mixup, cutmix) {
            (Some(mixup), Some(cutmix)) => format!("{mixup} or {cutmix}"),
            (one, other) => one.or(other).unwrap_or_else(|| "nothing mixed".to_owned()),
        }
    }

    /// Mixes a batch of images of `size` [channels, height, width], the first with the last unless it is given what comes
    /// before. One image alone is left as it is.
    pub(super) fn apply(
        &self,
        batch: &mut Batch,
        size: [usize; 3],
        before: Option<Before>,
        mut draws: Stream,
    ) {
        let all = batch.labels.len() + usize::from(before.is_some());
        let (true, Some(&last)) = (!self.is_none() && all > 1, batch.labels.last()) else {
            return;
        };
        let (before, first) = match before {
            Some(Before { image, label, .. }) => (image, label),
            None => {
                (batch.images[batch.images.len() - size.iter().product::<usize>()..].to_vec(), last)
            }
        };
        let either = self.mixup > 0.0 && self.cutmix > 0.0;
        let is_cut = if either { draws.uniform() < 0.5 } else { self.cutmix > 0.0 };
        let alpha = if is_cut { self.cutmix } else { self.mixup };
        let share = beta(f64::from(alpha), &mut draws);
        let share = if is_cut {
            let [_, height, width] = size;
            let middle = [draws.below(height), draws.below(width)];
            let part = rectangle([height, width], middle, share);
            paste(&mut batch.images, size, &before, part);
            let [top, left, h, w] = part;
            debug_assert!(top + h <= height && left + w <= width, "the part is cut off");
            1.0 - (h * w) as f64 / (height * width) as f64
        } else {
            blend(&mut batch.images, &before, share);
            share
        };
        let mut labels = batch.labels.clone();
        labels.rotate_right(1);
        labels[0] = first;
        batch.mixed = Some(Mixed { labels, share: share as f32 });
    }
}

/// Each image, times `share`, and the one before it, times the rest.
fn blend(images: &mut [f32], first: &[f32], share: f64) {
    let (own, other) = (share as f32, (1.0 - share) as f32);
    let size = first.len();
    let mut rest = images;
    // From the back, so that the one before is still whole.
    while rest.len() > size {
        let (before, image) = rest.split_at_mut(rest.len() - size);
        let previous = &before[before.len() - size..];
        image.iter_mut().zip(previous).for_each(|(v, &p)| *v = p * other + *v * own);
        rest = before;
    }
    rest.iter_mut().zip(first).for_each(|(v, &p)| *v = p * other + *v * own);
}

/// Top, left, height and width of the rectangle about `middle` that leaves `share` of the area, cut off at the borders.
fn rectangle(size: [usize; 2], middle: [usize; 2], share: f64) -> [usize; 4] {
    let ratio = 0.5 * (1.0 - share).sqrt();
    let span = |axis: usize| {
        let half = (ratio * size[axis] as f64) as usize;
        let first = middle[axis].saturating_sub(half);
        (first, (middle[axis] + half).min(size[axis]) - first)
    };
    let ((top, h), (left, w)) = (span(0), span(1));
    [top, left, h, w]
}

/// This part of each image is that of the one before it.
fn paste(
    images: &mut [f32],
    [channels, height, width]: [usize; 3],
    first: &[f32],
    [top, left, h, w]: [usize; 4],
) {
    let size = channels * height * width;
    let n = images.len() / size;
    for plane in 0..channels {
        for y in top..top + h {
            let at = (plane * height + y) * width + left;
            for image in (1..n).rev() {
                let from = (image - 1) * size + at;
                images.copy_within(from..from + w, image * size + at);
            }
            images[at..at + w].copy_from_slice(&first[at..at + w]);
        }
    }
}

/// A number of Beta(α, α): X / (X + Y) of two of Gamma(α), in logarithms, since they vanish where α is small.
fn beta(alpha: f64, draws: &mut Stream) -> f64 {
    let (x, y) = (log_gamma_variate(alpha, draws), log_gamma_variate(alpha, draws));
    1.0 / (1.0 + (y - x).exp())
}

/// The logarithm of a number of Gamma(α), 0 < α (Marsaglia & Tsang, ACM TOMS 26, 2000).
fn log_gamma_variate(alpha: f64, draws: &mut Stream) -> f64 {
    let unit = |draws: &mut Stream| ((draws.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    // Gamma(α) is Gamma(α + 1) times a power of a uniform number.
    let power = unit(draws).ln() / alpha;
    let d = alpha + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(draws.normal());
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && unit(draws).ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
            return (d * v).ln() + power;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(n: u32) -> Batch {
        let images = (0..n).flat_map(|i| [i as f32; 2 * 3 * 4]).collect();
        Batch { images, labels: (0..n).collect(), ..Batch::default() }
    }

    fn mixed(mix: Mix, n: u32, draw: u64) -> Batch {
        let mut batch = batch(n);
        mix.apply(&mut batch, [2, 3, 4], None, Stream::new(3, draw));
        batch
    }

    #[test]
    fn shares_of_pixels_are_shares_of_labels() {
        for (mixup, cutmix) in [(0.4, 0.0), (0.0, 1.0), (0.2, 1.0)] {
            for draw in 0..50 {
                let batch = mixed(Mix { mixup, cutmix }, 5, draw);
                let what = batch.mixed.unwrap();
                assert_eq!(what.labels, [4, 0, 1, 2, 3]);
                for (i, image) in batch.images.chunks(24).enumerate() {
                    let other = (i + 4) % 5;
                    let expected = what.share * i as f32 + (1.0 - what.share) * other as f32;
                    let mean = image.iter().sum::<f32>() / 24.0;
                    assert!((mean - expected).abs() < 1e-5, "{mean} {expected}");
                    let whole = |v: &f32| [i as f32, other as f32].contains(v);
                    assert!(mixup > 0.0 || image.iter().all(whole), "{image:?}");
                }
                let targets = what.distributions(&batch.labels, 6);
                assert_eq!((targets[0], targets[4]), (what.share, 1.0 - what.share));
                assert!(targets.chunks(6).all(|row| row.iter().sum::<f32>() == 1.0));
            }
        }
    }

    #[test]
    fn both_ways_are_taken_and_what_is_alone_stays() {
        let mix = Mix { mixup: 1.0, cutmix: 1.0 };
        let cut = |draw| mixed(mix, 2, draw).images.iter().all(|v| v.fract() == 0.0);
        let cuts = (0..200).filter(|&draw| cut(draw)).count();
        assert!((70..130).contains(&cuts), "{cuts}");
        assert_eq!(mixed(mix, 1, 0).mixed, None);
        assert_eq!(mixed(Mix::default(), 4, 0).images, batch(4).images);
        let two = Batch { labels: vec![3, 3], ..batch(2) };
        let same = Mixed { labels: vec![3, 3], share: 0.3 };
        assert_eq!(same.distributions(&two.labels, 4)[3], 1.0);
        assert_eq!(same.main_labels(&[1, 2]), [3, 3]);
    }

    /// Mean 1/2 and variance 1 / (4·(2α + 1)).
    #[test]
    fn shares_are_of_the_beta_distribution() {
        for alpha in [0.05, 0.2, 1.0, 4.0] {
            let mut draws = Stream::new(1, 1);
            let shares: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut draws)).collect();
            let mean = shares.iter().sum::<f64>() / 20_000.0;
            let variance = shares.iter().map(|s| (s - 0.5) * (s - 0.5)).sum::<f64>() / 20_000.0;
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!(
                (variance * 4.0 * (2.0 * alpha + 1.0) - 1.0).abs() < 0.03,
                "{alpha}: {variance}"
            );
        }
    }

    /// `r_x`, `r_y` and `lam` of torchvision's `CutMix`, worked out by hand.
    #[test]
    fn rectangles_are_cut_off_at_the_borders() {
        assert_eq!(rectangle([32, 32], [3, 30], 0.75), [0, 22, 11, 10]);
        assert_eq!(rectangle([10, 20], [5, 10], 0.0), [0, 0, 10, 20]);
        assert_eq!(rectangle([10, 20], [5, 10], 1.0), [5, 10, 0, 0]);
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        for (mix, key) in [
            (Mix { mixup: -0.1, cutmix: 0.0 }, "mixup"),
            (Mix { mixup: 0.0, cutmix: f32::NAN }, "cutmix"),
            (Mix { mixup: f32::INFINITY, cutmix: 0.0 }, "mixup"),
        ] {
            assert_eq!(mix.check().unwrap_err().key, key);
        }
        assert_eq!(Mix { mixup: 0.2, cutmix: 1.0 }.check(), Ok(()));
    }
}
