//! The order in which pixels are removed: by rank, so that a map with many equal values (zeros, above all) still removes as
//! many pixels as it is told to.

use std::cmp::Ordering;

/// The pixels in descending order of their values; of equal ones (0 and −0 are equal) the one with the smaller index comes
/// first. The values must be finite.
pub fn descending(map: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..map.len()).collect();
    // The sort is stable, so that ties keep the order of their indices.
    order.sort_by(|&a, &b| map[b].partial_cmp(&map[a]).unwrap_or(Ordering::Equal));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_broken_by_index() {
        assert_eq!(descending(&[0.0, 1.0, -0.0, 1.0, -2.0]), [1, 3, 0, 2, 4]);
        assert_eq!(descending(&[3.0; 4]), [0, 1, 2, 3]);
        assert_eq!(descending(&[-3.0, -1.0, -2.0]), [1, 2, 0]);
    }
}
