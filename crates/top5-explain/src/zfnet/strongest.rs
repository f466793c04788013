//! The strongest activations of each map over many images, in memory that does not grow with their number: what figures 2
//! and 4 are made of.
//!
//! Choice, since the paper leaves it open: an image counts once per map, with its strongest unit. Otherwise nine neighbours
//! of one peak would be nine patches of one image.

use serde::{Deserialize, Serialize};
use top5_graph::{EngineError, Tensor};

/// An activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// How strong it is; positive.
    pub value: f32,
    /// The image's number.
    pub image: usize,
    /// The unit's row-major index in the map.
    pub unit: usize,
}

impl Peak {
    /// Stronger ones first; of equal ones that of the smaller image, then of the smaller index.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_value = other.value.total_cmp(&self.value);
        by_value.then(self.image.cmp(&other.image)).then(self.unit.cmp(&other.unit))
    }
}

/// The `most` strongest activations of each of some maps. What it holds does not depend on the order in which images come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strongest {
    most: usize,
    maps: Vec<usize>,
    /// For each of the maps, its peaks in order.
    #[serde(with = "bits")]
    peaks: Vec<Vec<Peak>>,
}

impl Strongest {
    /// Nothing yet, of these maps (numbers of channels) of a layer. At least one peak is kept.
    pub fn new(most: usize, maps: Vec<usize>) -> Self {
        let peaks = vec![Vec::new(); maps.len()];
        Self { most: most.max(1), maps, peaks }
    }

    /// The maps' numbers.
    pub fn maps(&self) -> &[usize] {
        &self.maps
    }

    /// The peaks of the map at this place of [`Strongest::maps`], strongest first. Fewer than asked for where fewer images
    /// made it positive: none of a map that is dead.
    pub fn peaks(&self, place: usize) -> &[Peak] {
        &self.peaks[place]
    }

    /// Looks at a layer's activations of images with these numbers: `[n, channels, …]`. Fails where one is infinite or no
    /// number, and then has taken none. Panics where there is no number per image, or a map is no channel.
    pub fn observe(&mut self, images: &[usize], activations: &Tensor) -> Result<(), EngineError> {
        let [count, channels, ..] = *activations.shape() else {
            panic!("a layer's activations have images and channels");
        };
        assert_eq!(count, images.len(), "one number per image");
        let data = activations.data();
        if data.iter().any(|value| !value.is_finite()) {
            let what = "an activation that is searched for its strongest values".to_owned();
            return Err(EngineError::NotFinite { what });
        }
        let size = data.len() / (count * channels).max(1);
        for (&map, peaks) in self.maps.iter().zip(&mut self.peaks) {
            assert!(map < channels, "a map is a channel");
            for (&image, channels) in images.iter().zip(data.chunks_exact(channels * size)) {
                let map = &channels[map * size..(map + 1) * size];
                if let Some(peak) = peak(image, map) {
                    insert(peaks, peak, self.most);
                }
            }
        }
        Ok(())
    }

    /// Takes what another one found of the same maps in other images. Panics where the maps differ.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(self.maps, other.maps, "the same maps");
        for (peaks, others) in self.peaks.iter_mut().zip(&other.peaks) {
            others.iter().for_each(|&peak| insert(peaks, peak, self.most));
        }
    }

    /// Whether it could be what `asked` became: the same maps and number of peaks, in order, of images below `images` and units
    /// below `units`.
    pub fn continues(&self, asked: &Self, images: usize, units: usize) -> bool {
        let sound = |peaks: &Vec<Peak>| {
            peaks.len() <= self.most
                && peaks.is_sorted_by(|a, b| a.order(b).is_lt())
                && peaks.iter().all(|p| p.image < images && p.unit < units)
                && peaks.iter().all(|p| p.value.is_finite() && p.value > 0.0)
        };
        (self.most, &self.maps, self.peaks.len()) == (asked.most, &asked.maps, asked.maps.len())
            && self.peaks.iter().all(sound)
    }
}

/// The strongest unit of a map, the first of equal ones; none where nothing is positive.
pub fn peak(image: usize, map: &[f32]) -> Option<Peak> {
    let mut best: Option<Peak> = None;
    for (unit, &value) in map.iter().enumerate() {
        if value > best.map_or(0.0, |best| best.value) {
            best = Some(Peak { value, image, unit });
        }
    }
    best
}

fn insert(peaks: &mut Vec<Peak>, peak: Peak, most: usize) {
    let place = peaks.partition_point(|other| other.order(&peak).is_lt());
    if place < most {
        peaks.truncate(most - 1);
        peaks.insert(place, peak);
    }
}

/// Peaks in files: values as the bits of their number, so that what is read is what was written.
mod bits {
    use super::Peak;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Row = (u32, usize, usize);

    pub(super) fn serialize<S: Serializer>(
        peaks: &[Vec<Peak>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let row = |peak: &Peak| -> Row { (peak.value.to_bits(), peak.image, peak.unit) };
        let rows: Vec<Vec<Row>> =
            peaks.iter().map(|peaks| peaks.iter().map(row).collect()).collect();
        rows.serialize(serializer)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(
        deserializer: D,
    ) -> Result<Vec<Vec<Peak>>, D::Error> {
        let peak = |(bits, image, unit): Row| Peak { value: f32::from_bits(bits), image, unit };
        let rows = Vec::<Vec<Row>>::deserialize(deserializer)?;
        Ok(rows.into_iter().map(|rows| rows.into_iter().map(peak).collect()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activations(rows: &[[f32; 6]]) -> Tensor {
        // Three maps of 1×2 per image.
        Tensor::new([rows.len(), 3, 1, 2], rows.concat()).unwrap()
    }

    #[test]
    fn strongest_activations_are_those_that_a_person_finds() {
        let mut strongest = Strongest::new(2, vec![0, 2]);
        strongest
            .observe(
                &[4, 5, 6],
                &activations(&[
                    [1.0, 3.0, 9.0, 9.0, 0.0, 0.0],
                    [3.0, 3.0, 9.0, 9.0, -1.0, 2.0],
                    [5.0, 4.0, 9.0, 9.0, 0.0, -2.0],
                ]),
            )
            .unwrap();
        let peak = |value, image, unit| Peak { value, image, unit };
        // Of the two threes of image 5 the first counts, and image 4 is before it.
        assert_eq!(strongest.peaks(0), [peak(5.0, 6, 0), peak(3.0, 4, 1)]);
        assert_eq!(strongest.peaks(1), [peak(2.0, 5, 1)]);
        strongest.observe(&[1], &activations(&[[3.0, 3.0, 0.0, 0.0, 0.0, 0.0]])).unwrap();
        assert_eq!(strongest.peaks(0), [peak(5.0, 6, 0), peak(3.0, 1, 0)]);
    }

    #[test]
    fn parts_merged_in_any_order_are_the_whole() {
        let rows: Vec<[f32; 6]> =
            (0..20).map(|i| std::array::from_fn(|j| ((i * 7 + j * 5) % 11) as f32 - 3.0)).collect();
        let of = |images: std::ops::Range<usize>| {
            let mut strongest = Strongest::new(3, vec![0, 1, 2]);
            let numbers: Vec<usize> = images.clone().collect();
            strongest.observe(&numbers, &activations(&rows[images])).unwrap();
            strongest
        };
        let whole = of(0..20);
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
            let mut merged = Strongest::new(3, vec![0, 1, 2]);
            order.iter().for_each(|&i| merged.merge(&of([0..5, 5..13, 13..20][i].clone())));
            assert_eq!(merged, whole);
        }
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let mut strongest = Strongest::new(2, vec![0, 1, 2]);
        let row = [0.1, f32::MIN_POSITIVE, 1e-45, 0.0, 16_777_217.0, 1.0 / 3.0];
        strongest.observe(&[3], &activations(&[row])).unwrap();
        let text = serde_json::to_string(&strongest).unwrap();
        let read: Strongest = serde_json::from_str(&text).unwrap();
        assert_eq!(read, strongest);
        assert!(read.continues(&Strongest::new(2, vec![0, 1, 2]), 4, 2));
        assert!(!read.continues(&Strongest::new(2, vec![0, 1, 2]), 3, 2));
        assert!(!read.continues(&Strongest::new(2, vec![0, 1, 2]), 4, 0));
        assert!(!read.continues(&Strongest::new(3, vec![0, 1, 2]), 4, 2));
        assert!(!read.continues(&Strongest::new(2, vec![0, 2, 1]), 4, 2));
    }

    #[test]
    fn activations_that_are_no_number_are_an_error() {
        let mut strongest = Strongest::new(2, vec![0]);
        for wrong in [f32::NAN, f32::INFINITY] {
            let got = strongest.observe(&[0], &activations(&[[1.0, wrong, 0.0, 0.0, 0.0, 0.0]]));
            assert!(matches!(got, Err(EngineError::NotFinite { .. })), "{got:?}");
            assert!(strongest.peaks(0).is_empty());
        }
    }
}
