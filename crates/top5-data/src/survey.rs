//! What is in a dataset, found by reading every image of it once: counts, sizes, what cannot be read, and images that are there
//! more than once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::image::Image;
use crate::together::together;

/// A sample of one of several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the part.
    pub part: usize,
    /// Number of the sample in it.
    pub index: usize,
}

/// What is in one part.
#[derive(Debug)]
pub struct PartSurvey {
    /// Samples of each class, those included that cannot be read.
    pub counts: Vec<usize>,
    /// What cannot be read, and why, in order.
    pub bad: Vec<(usize, DataError)>,
    /// Images in gray.
    pub gray: usize,
    /// Least and greatest height; absent where nothing can be read.
    pub height: Option<[usize; 2]>,
    /// Least and greatest width.
    pub width: Option<[usize; 2]>,
}

/// What is in all parts.
#[derive(Debug)]
pub struct Survey {
    /// One for each part.
    pub parts: Vec<PartSurvey>,
    /// Images with the same size and pixels, two or more at a time, in order. Equality is that of a 64-bit hash.
    pub twins: Vec<Vec<Place>>,
}

/// What is kept of an image that was read.
struct Look {
    hash: u64,
    channels: usize,
    height: usize,
    width: usize,
}

/// Reads all samples of these parts on so many threads, at least one. `read` is called with the number of those that were
/// read so far, from any thread.
pub fn survey(parts: &[&dyn Dataset], threads: usize, read: &(dyn Fn(usize) + Sync)) -> Survey {
    let places: Vec<Place> = (0..parts.len())
        .flat_map(|part| (0..parts[part].len()).map(move |index| Place { part, index }))
        .collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let looks = together(threads, || {
        let mut mine = Vec::new();
        while let Some(&place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            mine.push((place, look(parts[place.part], place.index)));
            read(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
        mine
    });
    let mut looks: Vec<_> = looks.into_iter().flatten().collect();
    looks.sort_unstable_by_key(|(place, _)| *place);
    gather(parts, looks)
}

fn look(part: &dyn Dataset, index: usize) -> Result<Look, DataError> {
    let sample = catch_unwind(AssertUnwindSafe(|| part.sample(index)));
    let crashed = || DataError::Worker { reason: format!("{} panics", part.sample_name(index)) };
    let Image { channels, height, width, pixels } = sample.map_err(|_| crashed())??.image;
    let mut hasher = DefaultHasher::new();
    (channels, height, width, &pixels).hash(&mut hasher);
    Ok(Look { hash: hasher.finish(), channels, height, width })
}

fn gather(parts: &[&dyn Dataset], looks: Vec<(Place, Result<Look, DataError>)>) -> Survey {
    let of_part = |part: &&dyn Dataset| {
        let mut counts = vec![0; part.classes().len()];
        (0..part.len()).for_each(|index| counts[part.label(index) as usize] += 1);
        PartSurvey { counts, bad: Vec::new(), gray: 0, height: None, width: None }
    };
    let mut surveys: Vec<PartSurvey> = parts.iter().map(of_part).collect();
    let mut same: HashMap<u64, Vec<Place>> = HashMap::new();
    for (place, look) in looks {
        let survey = &mut surveys[place.part];
        match look {
            Err(error) => survey.bad.push((place.index, error)),
            Ok(Look { hash, channels, height, width }) => {
                survey.gray += usize::from(channels == 1);
                for (range, side) in [(&mut survey.height, height), (&mut survey.width, width)] {
                    let [least, most] = range.unwrap_or([side; 2]);
                    *range = Some([least.min(side), most.max(side)]);
                }
                same.entry(hash).or_default().push(place);
            }
        }
    }
    let mut twins: Vec<_> = same.into_values().filter(|places| places.len() > 1).collect();
    twins.sort_unstable();
    Survey { parts: surveys, twins }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::MemoryDataset;

    fn part(pixels: &[u8], labels: &[u32]) -> MemoryDataset {
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let pixels = pixels.iter().flat_map(|&v| [v; 6]).collect();
        MemoryDataset::new("letters", classes, [1, 2, 3], pixels, labels.to_vec())
    }

    #[test]
    fn counts_sizes_and_twins_are_found_on_any_number_of_threads() {
        let (train, test) = (part(&[1, 2, 1, 3, 1], &[0, 0, 1, 1, 0]), part(&[3, 9], &[0, 2]));
        let parts: [&dyn Dataset; 2] = [&train, &test];
        for threads in [1, 2, 5] {
            let last = AtomicUsize::new(0);
            let found = survey(&parts, threads, &|read| {
                last.fetch_max(read, Ordering::Relaxed);
            });
            assert_eq!(last.into_inner(), 7);
            let counts: Vec<_> = found.parts.iter().map(|part| part.counts.clone()).collect();
            assert_eq!(counts, [[3, 2, 0], [1, 0, 1]]);
            assert_eq!((found.parts[0].gray, found.parts[0].height), (5, Some([2, 2])));
            assert_eq!(found.parts[1].width, Some([3, 3]));
            let at = |part, index| Place { part, index };
            let twins = [vec![at(0, 0), at(0, 2), at(0, 4)], vec![at(0, 3), at(1, 0)]];
            assert_eq!(found.twins, twins);
        }
    }

    #[test]
    fn nothing_to_read_is_no_size() {
        let found = survey(&[&part(&[], &[])], 2, &|_| {});
        assert_eq!((found.parts[0].height, found.twins.len()), (None, 0));
    }
}
