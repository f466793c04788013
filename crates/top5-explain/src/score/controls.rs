//! Maps that know nothing of the network: what an explanation has to beat.

use top5_graph::random::{Stream, hash};

/// A random map: every pixel uniform in [0, 1), drawn with this seed.
pub fn random_map(pixels: usize, seed: u64) -> Vec<f32> {
    let stream = Stream::new(seed, hash("control"));
    (0..pixels as u64).map(|pixel| stream.uniform_at(pixel)).collect()
}

/// A Gaussian in the middle, 1 at its top, with a deviation of a quarter of each side: photographs show their object there.
pub fn centred_gaussian([height, width]: [usize; 2]) -> Vec<f32> {
    let from_centre = |i: usize, side: usize| {
        let half = (side as f64 - 1.0) / 2.0;
        (i as f64 - half) / (side as f64 / 4.0)
    };
    let value = |pixel: usize| {
        let (y, x) = (from_centre(pixel / width, height), from_centre(pixel % width, width));
        (-0.5 * (y * y + x * x)).exp() as f32
    };
    (0..height * width).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_is_centred_and_symmetric() {
        let map = centred_gaussian([3, 5]);
        assert_eq!(map[7], 1.0);
        for (pixel, value) in map.iter().enumerate() {
            assert_eq!(*value, map[14 - pixel]);
            assert!(*value <= 1.0 && *value > 0.0);
        }
        // One pixel to the right is 4/5 deviations away.
        assert!((map[8] - (-0.5 * 0.8 * 0.8_f32).exp()).abs() < 1e-6);
    }

    #[test]
    fn random_map_follows_its_seed() {
        assert_eq!(random_map(9, 1), random_map(9, 1));
        assert_ne!(random_map(9, 1), random_map(9, 2));
    }
}
