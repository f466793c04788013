//! The pointing game (Zhang et al., ECCV 2016, section 4.2): a map hits where its maximum lies on the object, or near it.

use serde::Serialize;

use super::ScoreError;
use super::order::descending;

/// Hits of a method over many images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pointing {
    /// The mean of the classes' accuracies, of those that have images; none where there are none.
    pub accuracy: Option<f64>,
    /// Hits and images of each class.
    pub classes: Vec<[usize; 2]>,
}

/// Whether the maximum of the map (of equal ones the first) lies at most `tolerance` pixels, in a straight line, from a pixel
/// of the object's mask. The paper's tolerance is 15. Fails where map and mask differ in size, the mask is empty or the map not
/// finite.
pub fn is_hit(
    map: &[f32],
    mask: &[bool],
    width: usize,
    tolerance: f64,
) -> Result<bool, ScoreError> {
    if map.len() != mask.len() || width == 0 || !map.len().is_multiple_of(width) {
        let what = format!("map of {} values for a mask of {}", map.len(), mask.len());
        return Err(ScoreError::input(what, "as many, in rows of the given width"));
    }
    if !mask.contains(&true) || !map.iter().all(|value| value.is_finite()) {
        return Err(ScoreError::input(
            "mask or map",
            "an object in the mask, finite values in the map",
        ));
    }
    let at = descending(map)[0];
    let distance = |pixel: usize| {
        let (dy, dx) = ((pixel / width).abs_diff(at / width), (pixel % width).abs_diff(at % width));
        (dy as f64).hypot(dx as f64)
    };
    let mut object = (0..mask.len()).filter(|&pixel| mask[pixel]);
    Ok(object.any(|pixel| distance(pixel) <= tolerance))
}

/// The accuracy of hits that are labelled with one of `classes` classes. Labels beyond are left out.
pub fn hits(classes: usize, results: impl IntoIterator<Item = (usize, bool)>) -> Pointing {
    let mut counts = vec![[0, 0]; classes];
    for (class, hit) in results {
        if let Some([hits, all]) = counts.get_mut(class) {
            *hits += usize::from(hit);
            *all += 1;
        }
    }
    let seen = counts.iter().filter(|[_, all]| *all > 0);
    let shares: Vec<f64> = seen.map(|[hits, all]| *hits as f64 / *all as f64).collect();
    let accuracy = (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64);
    Pointing { accuracy, classes: counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_near_enough() {
        let mut map = vec![-1.0; 40 * 40];
        map[5 * 40 + 5] = -0.5;
        map[30 * 40] = -0.5; // an equal one further down does not count
        let mut mask = vec![false; 40 * 40];
        mask[17 * 40 + 14] = true; // 12 down, 9 to the right: 15 away
        assert!(is_hit(&map, &mask, 40, 15.0).unwrap());
        assert!(!is_hit(&map, &mask, 40, 14.9).unwrap());
        let error = is_hit(&map, &[true], 40, 15.0).unwrap_err();
        assert!(error.to_string().contains("mask of 1"), "{error}");
        let error = is_hit(&map, &vec![false; 1600], 40, 15.0).unwrap_err();
        assert!(error.to_string().contains("an object"), "{error}");
    }

    #[test]
    fn classes_count_alike_however_many_images_they_have() {
        let results = [(0, true), (0, true), (0, true), (0, false), (2, false)];
        let pointing = hits(3, results);
        assert_eq!(pointing.accuracy, Some(0.375));
        assert_eq!(pointing.classes, [[3, 4], [0, 0], [0, 1]]);
        assert_eq!(hits(2, []).accuracy, None);
    }
}
