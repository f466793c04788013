//! Sensitivity-n (Ancona et al., ICLR 2018, section 4): over random subsets of n pixels, how well the sum of their
//! attributions correlates with the change of the output when they are set to the baseline. Subsets are drawn uniformly, each
//! anew: they are not nested.

use serde::Serialize;
use top5_graph::random::{Stream, hash};

use super::subject::set_pixel;
use super::{Readout, ScoreError, Subject};

/// Which subsets are taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SensitivityN {
    /// Sizes of the subsets, in percent of the pixels, each above 0 and at most 100; at least one pixel is taken.
    pub percents: Vec<f64>,
    /// Subsets per size.
    pub subsets: usize,
    /// Seed of the subsets.
    pub seed: u64,
}

impl Default for SensitivityN {
    /// 1 to 80 % in eight steps of about equal ratio, 100 subsets each, as in the paper.
    fn default() -> Self {
        Self { percents: vec![1.0, 2.0, 3.0, 6.0, 12.0, 22.0, 42.0, 80.0], subsets: 100, seed: 0 }
    }
}

/// Correlations of one map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SensitivityScore {
    /// Pearson's correlation per size; none where the sums or the changes are all equal, of a constant map for instance.
    pub correlations: Vec<Option<f64>>,
    /// The mean of those that exist.
    pub mean: Option<f64>,
}

/// Sensitivity-n of a map: the output is the logit, the baseline zero in the prepared image, in all channels of a pixel.
pub fn sensitivity_n(
    subject: &mut Subject<'_>,
    map: &[f32],
    options: &SensitivityN,
) -> Result<SensitivityScore, ScoreError> {
    subject.check_map(map)?;
    let wrong = |percent: &f64| !(*percent > 0.0 && *percent <= 100.0);
    if options.percents.is_empty() || options.percents.iter().any(wrong) || options.subsets < 2 {
        let expected = "sizes above 0 and up to 100 percent, and two subsets of each or more";
        return Err(ScoreError::input("sensitivity-n", expected));
    }
    let pixels = subject.pixels();
    let whole = subject.answer(Readout::Logit);
    let stream = Stream::new(options.seed, hash("sensitivity-n"));
    let mut correlations = Vec::new();
    for (number, percent) in options.percents.iter().enumerate() {
        let size = ((percent / 100.0 * pixels as f64).round() as usize).clamp(1, pixels);
        let (mut sums, stream) = (Vec::new(), stream.substream(number as u64));
        let answers = subject.ask(Readout::Logit, options.subsets, |index, image| {
            let subset = subset(pixels, size, stream.substream(index as u64));
            sums.push(subset.iter().map(|&pixel| f64::from(map[pixel])).sum::<f64>());
            subset.iter().for_each(|&pixel| set_pixel(image, pixels, pixel, |_| 0.0));
        })?;
        let changes: Vec<f64> = answers.into_iter().map(|answer| whole - answer).collect();
        // Sums over all pixels are equal, but for rounding where subsets are summed in their own order.
        let all = size == pixels;
        correlations.push(pearson(&sums, &changes).filter(|_| !all));
    }
    let found: Vec<f64> = correlations.iter().flatten().copied().collect();
    let mean = (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64);
    Ok(SensitivityScore { correlations, mean })
}

/// A uniformly random subset, in ascending order: the beginning of a shuffle.
fn subset(pixels: usize, size: usize, mut stream: Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pixels).collect();
    for i in 0..size {
        order.swap(i, i + stream.below(pixels - i));
    }
    order.truncate(size);
    order.sort_unstable();
    order
}

/// Pearson's correlation; none where one side does not vary by more than rounding.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    let deviations = |values: &[f64]| -> (Vec<f64>, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviations: Vec<f64> = values.iter().map(|value| value - mean).collect();
        let squares = deviations.iter().map(|d| d * d).sum::<f64>();
        let greatest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let varies = squares > values.len() as f64 * (greatest * 1e-12).powi(2);
        (deviations, if varies { squares } else { 0.0 })
    };
    let ((a, of_a), (b, of_b)) = (deviations(a), deviations(b));
    if of_a == 0.0 || of_b == 0.0 {
        return None;
    }
    let product: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    Some((product / (of_a * of_b).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_by_hand() {
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), Some(1.0));
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[1.0, 0.0, -1.0]), Some(-1.0));
        let half = pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).unwrap();
        assert!((half - 0.5).abs() < 1e-12);
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(pearson(&[0.1 + 0.2, 0.3], &[1.0, 2.0]), None);
    }

    #[test]
    fn subsets_are_uniform_and_not_nested() {
        let mut counts = [0; 10];
        let stream = Stream::new(1, 2);
        for index in 0..2000 {
            let subset = subset(10, 3, stream.substream(index));
            assert!(subset.windows(2).all(|pair| pair[0] < pair[1]));
            subset.iter().for_each(|&pixel| counts[pixel] += 1);
        }
        // 600 of each, deviation 20.
        assert!(counts.iter().all(|count| (500..700).contains(count)), "{counts:?}");
        assert_eq!(subset(4, 4, stream), [0, 1, 2, 3]);
    }
}
