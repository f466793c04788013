//! Values to fill tensors with.

use crate::oracle::values;
use top5_graph::Tensor;

/// Integers in −4…4, a function of the name: sums of up to a million products of two are exact in f32, in any order.
pub fn integers(name: &str, n: usize) -> Vec<f32> {
    values(name, n).into_iter().map(|v| ((v + 1.0) * 4.5).floor() - 4.0).collect()
}

/// Uniform in [−1, 1), a function of the name.
pub fn signed(name: &str, n: usize) -> Vec<f32> {
    values(name, n)
}

/// Zero but for a one at `at`.
pub fn impulse(n: usize, at: usize) -> Vec<f32> {
    (0..n).map(|i| if i == at { 1.0 } else { 0.0 }).collect()
}

/// A tensor of [`integers`].
pub fn integer_tensor(name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(shape, integers(name, shape.iter().product())).expect("one value per element")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_all_of_nine_values() {
        let mut drawn = integers("x", 10_000);
        drawn.sort_by(f32::total_cmp);
        drawn.dedup();
        assert_eq!(drawn, (-4..=4).map(|i| i as f32).collect::<Vec<_>>());
    }

    #[test]
    fn impulse_is_one_at_its_place() {
        assert_eq!(impulse(4, 2), [0.0, 0.0, 1.0, 0.0]);
    }
}
