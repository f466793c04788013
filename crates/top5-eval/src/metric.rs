//! What is counted: the rank of the right class, cross-entropy, probabilities.
//!
//! Ties are broken by index: of two classes with equal scores, the one with the smaller index is ranked first. A NaN
//! never helps: a NaN elsewhere is ranked before the right class, and a right class whose score is NaN has no rank.

/// How many classes are ranked before `label`: 0 says that it is the first. `None` where its own score is NaN or it is
/// no class.
pub fn rank<T: PartialOrd + Copy>(scores: &[T], label: usize) -> Option<usize> {
    let right = *scores.get(label)?;
    right.partial_cmp(&right)?;
    let ahead = |(other, score): (usize, &T)| match score.partial_cmp(&right) {
        Some(order) => order.is_gt() || (order.is_eq() && other < label),
        None => true,
    };
    Some(scores.iter().enumerate().filter(|&pair| ahead(pair)).count())
}

/// Whether `label` is among the first `k` classes.
pub fn is_among<T: PartialOrd + Copy>(scores: &[T], label: usize, k: usize) -> bool {
    rank(scores, label).is_some_and(|rank| rank < k)
}

/// The class that is ranked first; `None` where there are no scores or one of them is NaN.
pub fn best<T: PartialOrd + Copy>(scores: &[T]) -> Option<usize> {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if score.partial_cmp(&scores[best])?.is_gt() {
            best = class;
        }
    }
    (!scores.is_empty()).then_some(best)
}

/// The cross-entropy of one row of logits, in f64: `ln Σ exp(xᵢ) − x_label`. NaN where a logit is NaN; infinite where the
/// right class is impossible. Panics unless `label < logits.len()`.
pub fn cross_entropy<T: Copy + Into<f64>>(logits: &[T], label: usize) -> f64 {
    let greatest = greatest(logits);
    let sum: f64 = logits.iter().map(|&logit| (logit.into() - greatest).exp()).sum();
    sum.ln() - (logits[label].into() - greatest)
}

/// The probabilities of one row of logits, in f64. All NaN where a logit is NaN or +∞.
pub fn softmax<T: Copy + Into<f64>>(logits: &[T]) -> Vec<f64> {
    let greatest = greatest(logits);
    let exponentials: Vec<f64> =
        logits.iter().map(|&logit| (logit.into() - greatest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|value| value / sum).collect()
}

fn greatest<T: Copy + Into<f64>>(logits: &[T]) -> f64 {
    logits.iter().map(|&logit| logit.into()).fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rank_counts_what_is_greater() {
        let scores = [0.5f32, 3.0, -1.0, 2.0];
        assert_eq!([0, 1, 2, 3].map(|label| rank(&scores, label)), [2, 0, 3, 1].map(Some));
        assert_eq!(rank(&scores, 4), None);
        assert!(is_among(&scores, 3, 2) && !is_among(&scores, 3, 1));
    }

    #[test]
    fn of_equal_scores_the_smaller_index_is_first() {
        let scores = [1.0f64, 2.0, 2.0, 2.0];
        assert_eq!([0, 1, 2, 3].map(|label| rank(&scores, label)), [3, 0, 1, 2].map(Some));
        assert_eq!(best(&scores), Some(1));
        assert_eq!(rank(&[0.0f32, -0.0], 1), Some(1));
    }

    #[test]
    fn nan_never_counts_as_right() {
        let scores = [f32::NAN, 1.0, 0.0];
        assert_eq!(rank(&scores, 0), None);
        assert_eq!(rank(&scores, 1), Some(1));
        assert_eq!(best(&scores), None);
        assert_eq!(best(&[1.0f32, f32::NAN]), None);
        assert!(!is_among(&[f32::NAN; 3], 1, 5));
        assert_eq!(best::<f32>(&[]), None);
    }

    #[test]
    fn infinities_are_ordinary_scores() {
        let scores = [f32::NEG_INFINITY, 0.0, f32::INFINITY];
        assert_eq!([0, 1, 2].map(|label| rank(&scores, label)), [2, 1, 0].map(Some));
    }

    #[test]
    fn cross_entropy_of_known_logits() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(cross_entropy(&[0.0; 10], 3), 10f64.ln());
        // ln(e^1 + e^2 + e^3) − 2
        close(cross_entropy(&[1.0, 2.0, 3.0], 1), 1.407_605_964_444_38);
        close(cross_entropy(&[1000.0, 0.0], 1), 1000.0);
        assert!(cross_entropy(&[f32::NAN, 0.0], 1).is_nan());
        assert_eq!(cross_entropy(&[0.0, f32::NEG_INFINITY], 1), f64::INFINITY);
    }

    #[test]
    fn softmax_sums_to_one_and_does_not_overflow() {
        let probabilities = softmax(&[0.0, 2f32.ln(), 3000.0 - 3000.0]);
        assert!((probabilities[1] - 0.5).abs() < 1e-7);
        assert_eq!(softmax(&[3e38f32, 3e38]), [0.5, 0.5]);
        assert!(softmax(&[f32::INFINITY, 0.0])[0].is_nan());
    }
}
