//! The samples of a run under the names that they had when it began, so that it can go on where files have gone or come since.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::dataset::{Dataset, Sample};
use crate::error::DataError;

/// The class of a sample and what it is called.
pub type Listing = (u32, String);

/// Samples of another dataset by their names. One that is gone keeps its number, and cannot be read.
pub struct Listed {
    parent: Arc<dyn Dataset>,
    list: Vec<Listing>,
    /// Their numbers in the parent.
    places: Vec<Option<usize>>,
    fingerprint: u64,
}

impl Listed {
    /// The samples of `parent` that are called so and are of these classes; the whole list had this fingerprint. None where the parent
    /// has two of one name, as datasets have whose samples are known by numbers.
    pub fn new(parent: Arc<dyn Dataset>, list: Vec<Listing>, fingerprint: u64) -> Option<Self> {
        let mut numbers = HashMap::new();
        for index in 0..parent.len() {
            let listing = (parent.label(index), parent.sample_name(index));
            if numbers.insert(listing, index).is_some() {
                return None;
            }
        }
        let places = list.iter().map(|listing| numbers.get(listing).copied()).collect();
        Some(Self { parent, list, places, fingerprint })
    }

    /// The names of those that are gone.
    pub fn gone(&self) -> impl Iterator<Item = &str> {
        let of = self.list.iter().zip(&self.places);
        of.filter(|(_, place)| place.is_none()).map(|((_, name), _)| name.as_str())
    }

    /// The number in the parent.
    fn place(&self, index: usize) -> Result<usize, DataError> {
        let name = self.name();
        let Some((_, file)) = self.list.get(index) else {
            return Err(DataError::Index { name: name.to_owned(), index, len: self.len() });
        };
        self.places[index].ok_or_else(|| DataError::Gone { path: Path::new(name).join(file) })
    }
}

impl Dataset for Listed {
    fn name(&self) -> &str {
        self.parent.name()
    }

    fn classes(&self) -> &[String] {
        self.parent.classes()
    }

    fn len(&self) -> usize {
        self.list.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        self.parent.sample(self.place(index)?)
    }

    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        self.parent.encoded(self.place(index)?)
    }

    fn label(&self, index: usize) -> u32 {
        self.list[index].0
    }

    fn sample_name(&self, index: usize) -> String {
        self.list[index].1.clone()
    }

    /// That of the whole list, though some may be gone.
    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// None of one that is gone.
    fn file_bytes(&self, index: usize) -> Option<u64> {
        self.places[index].and_then(|place| self.parent.file_bytes(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{MemoryDataset, Subset};

    #[test]
    fn what_is_gone_keeps_its_number_and_what_came_is_left_out() {
        let classes = ["a", "b"].map(str::to_owned).to_vec();
        let whole: Arc<dyn Dataset> = Arc::new(MemoryDataset::new(
            "letters",
            classes,
            [1, 1, 1],
            vec![7, 8, 9],
            vec![0, 0, 1],
        ));
        let list = [(0, "1"), (0, "5"), (1, "2")].map(|(label, name)| (label, name.to_owned()));
        let listed = Listed::new(Arc::clone(&whole), list.to_vec(), 3).unwrap();
        assert_eq!((listed.len(), listed.fingerprint()), (3, 3));
        assert_eq!(listed.gone().collect::<Vec<_>>(), ["5"]);
        assert_eq!([0, 2].map(|i| listed.sample(i).unwrap().image.pixels), [[8], [9]]);
        assert_eq!([0, 1, 2].map(|i| listed.label(i)), [0, 0, 1]);
        let error = listed.sample(1).unwrap_err();
        assert!(error.is_bad_sample() && !error.is_io(), "{error}");
        assert!(error.to_string().contains("letters/5"), "{error}");
        assert!(matches!(listed.sample(3), Err(DataError::Index { index: 3, .. })));

        let twice = Arc::new(Subset::new(whole, vec![1, 1]));
        assert!(Listed::new(twice, list.to_vec(), 3).is_none());
    }
}
