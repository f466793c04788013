//! What counts say and what they do not: intervals, and whether two results differ.

use serde::{Deserialize, Serialize};
use top5_graph::counted;

/// The 97.5 % point of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of a share, in percent (Wilson, JASA 1927). Of nothing it is 0 to 100.
pub fn wilson(part: usize, all: usize) -> [f64; 2] {
    if all == 0 {
        return [0.0, 100.0];
    }
    let n = all as f64;
    let (share, square) = (part as f64 / n, Z * Z);
    let centre = (share + square / (2.0 * n)) / (1.0 + square / n);
    let half = Z / (1.0 + square / n)
        * (share * (1.0 - share) / n + square / (4.0 * n * n)).max(0.0).sqrt();
    // Centre and half are rounded apart: at the ends they do not meet 0 and 1.
    let lower = if part == 0 { 0.0 } else { (centre - half).max(0.0) };
    let upper = if part == all { 1.0 } else { (centre + half).min(1.0) };
    [100.0 * lower, 100.0 * upper]
}

/// Two results on the same images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Images that only the first is right on.
    pub first_only: usize,
    /// Images that only the second is right on.
    pub second_only: usize,
    /// How probable a difference as large or larger is if there is none (McNemar's test, exact, two-sided).
    pub p: f64,
}

impl Paired {
    /// Compares which images two results are right on. Panics unless they are of the same number of images.
    pub fn new(first: &[bool], second: &[bool]) -> Self {
        assert_eq!(first.len(), second.len(), "paired results");
        let only = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| **a && !**b).count();
        let (first_only, second_only) = (only(first, second), only(second, first));
        Self { first_only, second_only, p: mcnemar(first_only, second_only) }
    }

    /// Whether the results differ at the 5 % level.
    pub fn differs(&self) -> bool {
        self.p < 0.05
    }

    /// What it says, in words. `first` and `second` name the results.
    pub fn sentence(&self, first: &str, second: &str) -> String {
        let Self { first_only, second_only, p } = self;
        let p = if *p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") };
        let counts = format!(
            "{first} alone is right on {}, {second} alone on {second_only} (McNemar's exact test, {p})",
            counted(*first_only, "image")
        );
        let verdict = match (self.differs(), first_only > second_only) {
            (false, _) => "no difference shown",
            (true, true) => &format!("{first} is better"),
            (true, false) => &format!("{second} is better"),
        };
        format!("{verdict}: {counts}")
    }
}

/// The two-sided exact test of b against c discordant pairs: the probability under Binomial(b + c, 1/2).
fn mcnemar(b: usize, c: usize) -> f64 {
    let (n, least) = (b + c, b.min(c));
    // ln C(n, k) is summed up; ln 2^-n is added at each term.
    let mut ln_choose = 0.0;
    let mut tail = 0.0;
    for k in 0..=least {
        if k > 0 {
            ln_choose += ((n + 1 - k) as f64).ln() - (k as f64).ln();
        }
        tail += (ln_choose - n as f64 * std::f64::consts::LN_2).exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilsons_interval_of_known_counts() {
        // R: binom::binom.wilson(8103, 10000), (0, 10), (10, 10).
        let close = |got: [f64; 2], want: [f64; 2]| {
            assert!((0..2).all(|i| (got[i] - want[i]).abs() < 1e-3), "{got:?} {want:?}");
        };
        close(wilson(8103, 10_000), [80.2497, 81.7865]);
        close(wilson(0, 10), [0.0, 27.7533]);
        close(wilson(10, 10), [72.2467, 100.0]);
        assert_eq!(wilson(0, 0), [0.0, 100.0]);
        assert!((1..300).all(|n| wilson(0, n)[0] == 0.0 && wilson(n, n)[1] == 100.0));
    }

    #[test]
    fn mcnemar_of_known_counts() {
        // 2·(C(10,0) + C(10,1) + C(10,2))/1024.
        assert!((mcnemar(2, 8) - 112.0 / 1024.0).abs() < 1e-12);
        assert_eq!(mcnemar(5, 5), 1.0);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert!((mcnemar(0, 6) - 2.0 / 64.0).abs() < 1e-12);
        let large = mcnemar(20_000, 21_000);
        assert!(large > 0.0 && large < 1e-5, "{large}");
    }

    #[test]
    fn verdict_is_in_words() {
        let right = |count: usize| -> Vec<bool> { (0..20).map(|i| i < count).collect() };
        let paired = Paired::new(&right(10), &right(12));
        assert_eq!((paired.first_only, paired.second_only), (0, 2));
        assert!(paired.sentence("a", "b").starts_with("no difference shown"));
        let paired = Paired::new(&right(4), &right(12));
        assert!(paired.differs() && paired.sentence("a", "b").starts_with("b is better"));
    }
}
