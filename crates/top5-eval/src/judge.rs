//! How an answer is judged: the rank of the right class, its loss, and what was said instead.
//!
//! Ties are broken as in [`metric`](crate::metric): of equally probable classes the one with the smaller index is ranked first.

use crate::metric;

/// Classes of an answer that are kept.
pub const KEPT: usize = 5;

/// An answer that was compared with what is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The image's number in the dataset.
    pub index: usize,
    /// Its class.
    pub label: u32,
    /// How many classes are ranked before a right one; none where its probability is NaN.
    pub rank: Option<u32>,
    /// The cross-entropy of the right class, natural logarithm.
    pub loss: f64,
    /// The sum over the classes of the squared distance from the probability to 1 or 0 (Brier, 1950).
    pub brier: f64,
    /// The most probable classes, the first one first.
    pub top: Vec<(u32, f64)>,
}

impl Judged {
    /// Judges the probabilities of an image of class `label`.
    pub fn new(index: usize, probabilities: &[f64], label: u32) -> Self {
        Self::among(index, probabilities, label, &[label])
    }

    /// As [`Judged::new`], where any of several classes is right: the best ranked of them counts. Panics unless `right` holds
    /// classes, at least one.
    pub fn among(index: usize, probabilities: &[f64], label: u32, right: &[u32]) -> Self {
        let rank = |&class: &u32| metric::rank(probabilities, class as usize);
        let best = right.iter().min_by_key(|class| rank(class).unwrap_or(usize::MAX));
        let best = *best.expect("there is a right class");
        let p = probabilities[best as usize];
        let squares: f64 = probabilities.iter().map(|p| p * p).sum();
        let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
        let kept = KEPT.min(order.len());
        let by = |a: &u32, b: &u32| {
            probabilities[*b as usize].total_cmp(&probabilities[*a as usize]).then(a.cmp(b))
        };
        if kept < order.len() {
            order.select_nth_unstable_by(kept, by);
            order.truncate(kept);
        }
        order.sort_by(by);
        Self {
            index,
            label,
            rank: rank(&best).map(|rank| rank as u32),
            loss: -p.ln(),
            brier: squares - 2.0 * p + 1.0,
            top: order.into_iter().map(|class| (class, probabilities[class as usize])).collect(),
        }
    }

    /// Whether a right class is among the first `k`.
    pub fn is_among(&self, k: u32) -> bool {
        self.rank.is_some_and(|rank| rank < k)
    }

    /// The probability of the class that is ranked first.
    pub fn confidence(&self) -> f64 {
        self.top.first().map_or(0.0, |&(_, p)| p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_of_several_right_classes_counts() {
        let p = [0.1, 0.4, 0.2, 0.25, 0.02, 0.03];
        let one = Judged::new(7, &p, 2);
        assert_eq!((one.rank, one.is_among(2), one.is_among(3)), (Some(2), false, true));
        assert!((one.loss + 0.2f64.ln()).abs() < 1e-12);
        let brier: f64 =
            p.iter().enumerate().map(|(i, p)| (p - f64::from(u8::from(i == 2))).powi(2)).sum();
        assert!((one.brier - brier).abs() < 1e-12);
        assert_eq!(one.top.iter().map(|top| top.0).collect::<Vec<_>>(), [1, 3, 2, 0, 5]);
        assert_eq!(Judged::among(7, &p, 2, &[2, 3]).rank, Some(1));
    }

    #[test]
    fn few_classes_and_ties_and_nan() {
        let two = Judged::new(0, &[0.5, 0.5], 1);
        assert_eq!((two.rank, two.top.as_slice()), (Some(1), &[(0, 0.5), (1, 0.5)][..]));
        let nan = Judged::new(0, &[f64::NAN; 8], 1);
        assert!(nan.rank.is_none() && !nan.is_among(5) && nan.loss.is_nan());
    }
}
