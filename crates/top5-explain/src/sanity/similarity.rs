//! How alike two maps are: by rank, and by structure.

use serde::Serialize;

use crate::score::{gaussian, pearson};

/// How alike a map is to another.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Similarity {
    /// Spearman's rank correlation; none where a map is constant.
    pub spearman: Option<f64>,
    /// The same of absolute values.
    pub spearman_absolute: Option<f64>,
    /// Structural similarity of absolute values, each map's over its greatest.
    pub ssim: f64,
}

/// Compares two maps of `[height, width]` finite values.
pub fn compare(a: &[f32], b: &[f32], size: [usize; 2]) -> Similarity {
    let absolute = |map: &[f32]| -> Vec<f32> { map.iter().map(|value| value.abs()).collect() };
    let (of_a, of_b) = (absolute(a), absolute(b));
    let scaled = |map: &[f32]| -> Vec<f64> {
        let most = f64::from(map.iter().copied().fold(0.0, f32::max));
        let factor = if most > 0.0 { 1.0 / most } else { 0.0 };
        map.iter().map(|&value| f64::from(value) * factor).collect()
    };
    Similarity {
        spearman: spearman(a, b),
        spearman_absolute: spearman(&of_a, &of_b),
        ssim: ssim(&scaled(&of_a), &scaled(&of_b), size),
    }
}

/// Spearman's rank correlation: Pearson's of the ranks, where equal values share their mean rank. None where a map is
/// constant.
pub fn spearman(a: &[f32], b: &[f32]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f32]) -> Vec<f64> {
    let order = crate::score::descending(values);
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        // The places up to now are those of greater values.
        let first = order.len() - order[..].partition_point(|&i| values[i] >= values[equal[0]]);
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|&index| ranks[index] = rank);
    }
    ranks
}

/// Most taps of the window, and its deviation (Wang et al., IEEE TIP 2004, section III.B).
const WINDOW: usize = 11;
const DEVIATION: f64 = 1.5;

/// The mean structural similarity of two maps from 0 to 1 (Wang et al., IEEE TIP 2004, equation 13), over the windows that
/// lie inside; of a smaller map the window is the largest that fits, with an odd number of taps.
pub fn ssim(a: &[f64], b: &[f64], [height, width]: [usize; 2]) -> f64 {
    let side = WINDOW.min(height).min(width);
    let taps = gaussian(side - (side + 1) % 2, DEVIATION);
    let side = taps.len();
    let (c1, c2) = (0.01 * 0.01, 0.03 * 0.03);
    let mut sum = 0.0;
    let places = [height - side + 1, width - side + 1];
    for (top, left) in (0..places[0]).flat_map(|y| (0..places[1]).map(move |x| (y, x))) {
        let [mut of_a, mut of_b, mut aa, mut bb, mut ab] = [0.0; 5];
        for (y, row) in taps.iter().enumerate() {
            let start = (top + y) * width + left;
            let pairs = a[start..start + side].iter().zip(&b[start..start + side]);
            for (column, (a, b)) in taps.iter().zip(pairs) {
                let tap = row * column;
                of_a += tap * a;
                of_b += tap * b;
                aa += tap * a * a;
                bb += tap * b * b;
                ab += tap * a * b;
            }
        }
        let (va, vb, covariance) = (aa - of_a * of_a, bb - of_b * of_b, ab - of_a * of_b);
        sum += (2.0 * of_a * of_b + c1) * (2.0 * covariance + c2)
            / ((of_a * of_a + of_b * of_b + c1) * (va + vb + c2));
    }
    sum / (places[0] * places[1]) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_ties_are_means() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert_eq!(ranks(&[0.0, -0.0]), [0.5, 0.5]);
        // scipy.stats.spearmanr([1, 2, 2, 4], [1, 3, 2, 4]): 0.9486832980505138
        let found = spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap();
        assert!((found - 0.948_683_298_050_513_8).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 5.0, 9.0], &[9.0, 5.5, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn sign_matters_to_one_correlation_only() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]);
        let similarity = compare(&a, &b, [2, 2]);
        assert_eq!(similarity.spearman, Some(-1.0));
        assert_eq!(similarity.spearman_absolute, Some(1.0));
        assert!((similarity.ssim - 1.0).abs() < 1e-12);
        let zero = compare(&a, &[0.0; 4], [2, 2]);
        assert_eq!((zero.spearman, zero.spearman_absolute), (None, None));
        assert!(zero.ssim.is_finite());
    }

    #[test]
    fn ssim_by_hand() {
        // One window of one tap: means alone count.
        let expected = (2.0 * 0.5 + 1e-4) / (1.0 + 0.25 + 1e-4);
        assert!((ssim(&[1.0], &[0.5], [1, 1]) - expected).abs() < 1e-12);
        // One window of 3 × 3 with weights g: both means, variances and the covariance written out.
        let g = gaussian(3, DEVIATION);
        let weights: Vec<f64> = g.iter().flat_map(|a| g.iter().map(move |b| a * b)).collect();
        let a = [0.1, 0.5, 0.2, 0.9, 1.0, 0.3, 0.0, 0.4, 0.6];
        let b = [0.3, 0.2, 0.2, 0.7, 0.9, 1.0, 0.1, 0.0, 0.5];
        let mean = |f: &dyn Fn(usize) -> f64| -> f64 { (0..9).map(|i| weights[i] * f(i)).sum() };
        let (ma, mb) = (mean(&|i| a[i]), mean(&|i| b[i]));
        let va = mean(&|i| (a[i] - ma) * (a[i] - ma));
        let vb = mean(&|i| (b[i] - mb) * (b[i] - mb));
        let cov = mean(&|i| (a[i] - ma) * (b[i] - mb));
        let expected = (2.0 * ma * mb + 1e-4) * (2.0 * cov + 9e-4)
            / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
        assert!((ssim(&a, &b, [3, 3]) - expected).abs() < 1e-12);
    }
}
