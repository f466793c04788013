//! The weights of a mixture at which what was seen is most likely.
//!
//! The mean logarithm of the likelihood is concave in the weights, so there is one greatest value, and the greatest slope towards a
//! component tells how far away it is at most. Each step goes where the quadratic that fits best here is greatest (Kim et al., "A
//! fast algorithm for maximum likelihood estimation of mixture proportions using sequential quadratic programming", 2020). The
//! usual expectation and maximisation takes thousands of steps where components are alike, as networks are.

/// By how much the mean logarithm of the likelihood may be less than the greatest.
const NEAR: f64 = 1e-10;
/// Steps, of which ten are enough as a rule; and steps within the quadratic of each.
const STEPS: usize = 100;
const INNER: usize = 10_000;

/// One weight for each of `components`, which sum to one. A row holds what each component says is the likelihood of something that
/// was seen.
pub(crate) fn weights(rows: &[Vec<f64>], components: usize) -> Vec<f64> {
    let scaled = |row: &Vec<f64>| {
        let most = row.iter().copied().fold(0.0, f64::max);
        (most > 0.0).then(|| row.iter().map(|p| p / most).collect())
    };
    // What every component holds to be impossible says nothing about their weights.
    let rows: Vec<Vec<f64>> = rows.iter().filter_map(scaled).collect();
    let mut weights = vec![1.0 / components as f64; components];
    for _ in 0..STEPS {
        let (slope, curve) = slopes(&rows, &weights);
        let most = slope.iter().copied().fold(0.0, f64::max);
        if rows.is_empty() || most - 1.0 <= NEAR {
            break;
        }
        let to = best_of_quadratic(&weights, &slope, &curve);
        let way: Vec<f64> = to.iter().zip(&weights).map(|(to, from)| to - from).collect();
        let rise: f64 = way.iter().zip(&slope).map(|(way, slope)| way * slope).sum();
        let here = likelihood(&rows, &weights);
        let at = |part: f64| -> Vec<f64> {
            weights.iter().zip(&way).map(|(from, way)| (from + part * way).max(0.0)).collect()
        };
        let parts = (0..40).map(|halvings| 0.5f64.powi(halvings));
        let better = |part: &f64| likelihood(&rows, &at(*part)) >= here + 1e-4 * part * rise;
        let Some(part) = parts.into_iter().find(better) else { break };
        weights = at(part);
        let all: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= all);
    }
    weights
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mean logarithm of the likelihood.
fn likelihood(rows: &[Vec<f64>], weights: &[f64]) -> f64 {
    rows.iter().map(|row| dot(row, weights).ln()).sum::<f64>() / rows.len() as f64
}

/// Its first derivatives, and its second ones, negated.
fn slopes(rows: &[Vec<f64>], weights: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = weights.len();
    let (mut slope, mut curve) = (vec![0.0; n], vec![vec![0.0; n]; n]);
    for row in rows {
        let sum = dot(row, weights);
        for (i, p) in row.iter().enumerate() {
            let share = p / sum;
            slope[i] += share / rows.len() as f64;
            for (to, q) in curve[i].iter_mut().zip(row) {
                *to += share * q / sum / rows.len() as f64;
            }
        }
    }
    (slope, curve)
}

/// Where slope·(x − from) − (x − from)ᵀ·curve·(x − from)/2 is greatest, x ≥ 0 with a sum of one: pair by pair, from the component
/// with the least slope to that with the greatest.
fn best_of_quadratic(from: &[f64], slope: &[f64], curve: &[Vec<f64>]) -> Vec<f64> {
    let (mut x, mut slope) = (from.to_vec(), slope.to_vec());
    for _ in 0..INNER {
        let by = |a: &usize, b: &usize| slope[*a].total_cmp(&slope[*b]);
        let (Some(up), Some(down)) =
            ((0..x.len()).max_by(by), (0..x.len()).filter(|&i| x[i] > 0.0).min_by(by))
        else {
            break;
        };
        let gain = slope[up] - slope[down];
        if gain <= NEAR / 10.0 {
            break;
        }
        let bend = curve[up][up] + curve[down][down] - 2.0 * curve[up][down];
        let step = if bend > 0.0 { (gain / bend).min(x[down]) } else { x[down] };
        x[up] += step;
        x[down] = if step < x[down] { x[down] - step } else { 0.0 };
        for (slope, row) in slope.iter_mut().zip(curve) {
            *slope -= step * (row[up] - row[down]);
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_components_that_exclude_each_other_are_their_counts() {
        let rows: Vec<Vec<f64>> = [0, 0, 0, 1]
            .map(|seen| (0..3).map(|i| f64::from(u8::from(i == seen))).collect())
            .into();
        let found = weights(&rows, 3);
        assert!(
            [0.75, 0.25, 0.0].iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-8),
            "{found:?}"
        );
        assert_eq!(weights(&[], 2), [0.5, 0.5]);
        assert_eq!(weights(&[vec![0.0, 0.0]], 2), [0.5, 0.5]);
    }

    #[test]
    fn components_that_are_nearly_alike_get_their_weights_all_the_same() {
        // Answers near one tenth, as networks give at the beginning: each is a little surer of some images, of which there are
        // nearly equally many. The likelihood is greatest where 0.1 + 0.001 (1.5 w − 0.5) is in proportion to their numbers.
        let counts = [1003, 1000, 998];
        let of = |sure: usize| -> Vec<f64> {
            (0..3).map(|i| 0.1 + 1e-3 * if i == sure { 1.0 } else { -0.5 }).collect()
        };
        let rows: Vec<Vec<f64>> =
            (0..3).flat_map(|sure| std::iter::repeat_n(of(sure), counts[sure])).collect();
        let found = weights(&rows, 3);
        for (count, weight) in counts.into_iter().zip(&found) {
            let best = (1e3 * (0.3 * count as f64 / 3001.0 - 0.1) + 0.5) / 1.5;
            assert!((weight - best).abs() < 1e-3, "{best} {found:?}");
        }
    }
}
