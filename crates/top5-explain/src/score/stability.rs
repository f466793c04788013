//! Max-sensitivity (Yeh et al., NeurIPS 2019, definition 2): how much the explanation changes, at most, when the image changes
//! a little.

use serde::Serialize;
use top5_graph::random::{Stream, hash};

use super::ScoreError;

/// Makes the map of a changed image, for the class of the unchanged one.
pub type Explain<'a> = dyn FnMut(&[f32]) -> Result<Vec<f32>, ScoreError> + 'a;

/// How the image is changed. Libraries differ in both numbers: results of different ones cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MaxSensitivity {
    /// Every value of the prepared image changes by up to this much, uniformly.
    pub radius: f32,
    /// Number of changes.
    pub samples: usize,
    /// Seed of the changes.
    pub seed: u64,
}

impl Default for MaxSensitivity {
    /// Radius 0.02, ten samples.
    fn default() -> Self {
        Self { radius: 0.02, samples: 10, seed: 0 }
    }
}

/// max ‖Φ(x + δ) − Φ(x)‖/‖Φ(x)‖ over the samples, in Euclidean norms; `explain` is Φ for the class that `map`, Φ(x), is for.
/// None where the map is zero. Fails where `explain` does, or gives a map of another length.
pub fn max_sensitivity(
    image: &[f32],
    map: &[f32],
    options: &MaxSensitivity,
    explain: &mut Explain<'_>,
) -> Result<Option<f64>, ScoreError> {
    let stream = Stream::new(options.seed, hash("max-sensitivity"));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let of_map = norm(&mut map.iter().map(|&value| f64::from(value)));
    if of_map == 0.0 {
        return Ok(None);
    }
    let mut most: f64 = 0.0;
    for sample in 0..options.samples as u64 {
        let stream = stream.substream(sample);
        let change = |index: usize| options.radius * (2.0 * stream.uniform_at(index as u64) - 1.0);
        let changed: Vec<f32> =
            image.iter().enumerate().map(|(index, value)| value + change(index)).collect();
        let again = explain(&changed)?;
        if again.len() != map.len() {
            let what = format!("map of {} values for a changed image", again.len());
            return Err(ScoreError::input(what, format!("{}, as before", map.len())));
        }
        let differences = map.iter().zip(&again);
        let difference = norm(&mut differences.map(|(&a, &b)| f64::from(a) - f64::from(b)));
        most = most.max(difference / of_map);
    }
    Ok(Some(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_explanations_change_as_the_image_does() {
        let image = [1.0, -2.0, 3.0];
        let options = MaxSensitivity { radius: 0.1, samples: 50, seed: 1 };
        let mut same = |x: &[f32]| Ok(x.to_vec());
        let most = max_sensitivity(&image, &image, &options, &mut same).unwrap().unwrap();
        // δ is at most 0.1·√3 long, and among 50 one is nearly that.
        let bound = 0.1 * 3f64.sqrt() / 14f64.sqrt();
        assert!(most <= bound * 1.0001 && most > 0.7 * bound, "{most} {bound}");
        let mut constant = |_: &[f32]| Ok(image.to_vec());
        assert_eq!(max_sensitivity(&image, &image, &options, &mut constant).unwrap(), Some(0.0));
        assert_eq!(max_sensitivity(&image, &[0.0; 3], &options, &mut same).unwrap(), None);
        let mut short = |_: &[f32]| Ok(vec![1.0]);
        let error = max_sensitivity(&image, &image, &options, &mut short).unwrap_err();
        assert!(error.to_string().contains("1 values"), "{error}");
    }
}
