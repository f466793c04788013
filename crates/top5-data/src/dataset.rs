//! What a dataset is: labelled images addressed by number, and the three parts that training keeps apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use top5_graph::counted;
use top5_graph::random::{Stream, hash};

use crate::error::DataError;
use crate::fingerprint::Fingerprint;
use crate::image::Image;

/// A labelled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The image as stored, before any preprocessing.
    pub image: Image,
    /// Index into the dataset's classes.
    pub label: u32,
}

/// Labelled images addressed by number. Reading a sample twice gives the same bytes.
pub trait Dataset: Send + Sync {
    /// Short name, for example `digits`.
    fn name(&self) -> &str;

    /// Name of each class; the position is the label.
    fn classes(&self) -> &[String];

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads sample `index`. Fails when there is no such sample, or when its file cannot be read or decoded.
    fn sample(&self, index: usize) -> Result<Sample, DataError>;

    /// The bytes of the image file that sample `index` is decoded from; None where it is none of its own. Fails as
    /// [`Dataset::sample`] does, but the bytes may be damaged.
    fn encoded(&self, _index: usize) -> Result<Option<Vec<u8>>, DataError> {
        Ok(None)
    }

    /// The label of sample `index`, without reading its image. Panics when `index >= len()`.
    fn label(&self, index: usize) -> u32;

    /// What sample `index` is called: its file below the dataset's folder, or its number. Panics when `index >= len()`.
    fn sample_name(&self, index: usize) -> String {
        index.to_string()
    }

    /// A number that identifies the samples: equal for equal data on every machine, different, almost surely, otherwise. Two
    /// folders with files of the same names are equal.
    fn fingerprint(&self) -> u64;

    /// Bytes that the file of sample `index` has, where it has one; known without reading it. Panics when `index >= len()`.
    fn file_bytes(&self, _index: usize) -> Option<u64> {
        None
    }

    /// A number that identifies the content, too, as far as it can be told without reading every file: of the fingerprint and the
    /// files' lengths.
    fn revision(&self) -> u64 {
        let mut print = Fingerprint::new();
        print.number(self.fingerprint());
        (0..self.len()).filter_map(|i| self.file_bytes(i)).for_each(|bytes| print.number(bytes));
        print.0
    }
}

/// A dataset held in memory: images of one size.
pub struct MemoryDataset {
    name: String,
    classes: Vec<String>,
    shape: [usize; 3],
    pixels: Vec<u8>,
    labels: Vec<u32>,
    fingerprint: u64,
}

impl MemoryDataset {
    /// A dataset of `labels.len()` images, each of `shape` [channels, height, width], stored H W C one after the other.
    /// The caller has checked that the lengths agree and the labels are classes; a mismatch is a bug and panics.
    pub fn new(
        name: &str,
        classes: Vec<String>,
        shape: [usize; 3],
        pixels: Vec<u8>,
        labels: Vec<u32>,
    ) -> Self {
        assert_eq!(pixels.len(), labels.len() * shape.iter().product::<usize>(), "pixels");
        assert!(labels.iter().all(|&label| (label as usize) < classes.len()), "labels");
        let mut print = Fingerprint::new();
        classes.iter().for_each(|class| print.text(class));
        shape.iter().for_each(|&side| print.number(side as u64));
        labels.iter().for_each(|&label| print.number(u64::from(label)));
        print.bytes(&pixels);
        Self { name: name.to_owned(), classes, shape, pixels, labels, fingerprint: print.0 }
    }
}

impl Dataset for MemoryDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let Some(&label) = self.labels.get(index) else {
            return Err(DataError::Index { name: self.name.clone(), index, len: self.len() });
        };
        let [channels, height, width] = self.shape;
        let size = channels * height * width;
        let pixels = self.pixels[index * size..(index + 1) * size].to_vec();
        Ok(Sample { image: Image { channels, height, width, pixels }, label })
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Some of the samples of another dataset, in a given order.
pub struct Subset {
    parent: Arc<dyn Dataset>,
    indices: Vec<usize>,
}

impl Subset {
    /// The samples of `parent` at `indices`. Panics when an index is out of range.
    pub fn new(parent: Arc<dyn Dataset>, indices: Vec<usize>) -> Self {
        assert!(indices.iter().all(|&i| i < parent.len()), "a subset's index is out of range");
        Self { parent, indices }
    }

    /// Numbers of the samples in the parent.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        self.parent.name()
    }

    fn classes(&self) -> &[String] {
        self.parent.classes()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let Some(&inner) = self.indices.get(index) else {
            return Err(DataError::Index { name: self.name().to_owned(), index, len: self.len() });
        };
        self.parent.sample(inner)
    }

    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let Some(&inner) = self.indices.get(index) else {
            return Err(DataError::Index { name: self.name().to_owned(), index, len: self.len() });
        };
        self.parent.encoded(inner)
    }

    fn label(&self, index: usize) -> u32 {
        self.parent.label(self.indices[index])
    }

    fn sample_name(&self, index: usize) -> String {
        self.parent.sample_name(self.indices[index])
    }

    fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint::new();
        print.number(self.parent.fingerprint());
        self.indices.iter().for_each(|&i| print.number(i as u64));
        print.0
    }

    fn file_bytes(&self, index: usize) -> Option<u64> {
        self.parent.file_bytes(self.indices[index])
    }
}

/// Several datasets of the same classes, one after the other.
pub struct Joined {
    parts: Vec<Arc<dyn Dataset>>,
}

impl Joined {
    /// The samples of all parts. Panics where there is no part, or one has other classes.
    pub fn new(parts: Vec<Arc<dyn Dataset>>) -> Self {
        let same = parts.iter().all(|part| part.classes() == parts[0].classes());
        assert!(same && !parts.is_empty(), "joined datasets have the same classes");
        Self { parts }
    }

    /// The part of a sample, and its number there.
    fn find(&self, mut index: usize) -> Option<(&Arc<dyn Dataset>, usize)> {
        for part in &self.parts {
            match index.checked_sub(part.len()) {
                Some(rest) => index = rest,
                None => return Some((part, index)),
            }
        }
        None
    }
}

impl Dataset for Joined {
    fn name(&self) -> &str {
        self.parts[0].name()
    }

    fn classes(&self) -> &[String] {
        self.parts[0].classes()
    }

    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let beyond = || DataError::Index { name: self.name().to_owned(), index, len: self.len() };
        let (part, index) = self.find(index).ok_or_else(beyond)?;
        part.sample(index)
    }

    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let beyond = || DataError::Index { name: self.name().to_owned(), index, len: self.len() };
        let (part, index) = self.find(index).ok_or_else(beyond)?;
        part.encoded(index)
    }

    fn label(&self, index: usize) -> u32 {
        let (part, index) = self.find(index).expect("the caller asks for a sample that is there");
        part.label(index)
    }

    fn sample_name(&self, index: usize) -> String {
        let (part, index) = self.find(index).expect("the caller asks for a sample that is there");
        part.sample_name(index)
    }

    fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint::new();
        self.parts.iter().for_each(|part| print.number(part.fingerprint()));
        print.0
    }

    fn file_bytes(&self, index: usize) -> Option<u64> {
        let (part, index) = self.find(index).expect("the caller asks for a sample that is there");
        part.file_bytes(index)
    }
}

/// The parts of a dataset. The best epoch is chosen on `validation`; `test` is looked at once, at the end.
#[derive(Clone)]
pub struct Splits {
    /// What the network learns from.
    pub train: Arc<dyn Dataset>,
    /// What decides between epochs and settings.
    pub validation: Arc<dyn Dataset>,
    /// What the result is reported on; absent when the source has no such part.
    pub test: Option<Arc<dyn Dataset>>,
    /// Why files of an image folder cannot be used, one entry per file, over all parts; only [`OnBad::Skip`] looks.
    ///
    /// [`OnBad::Skip`]: crate::OnBad::Skip
    pub skipped: Vec<Arc<DataError>>,
    /// What else was found and is not used, a sentence each.
    pub unused: Arc<[String]>,
}

impl Splits {
    /// All samples: those of the training, the validation and the test part, in this order.
    pub fn whole(&self) -> Arc<dyn Dataset> {
        let parts = [Some(&self.train), Some(&self.validation), self.test.as_ref()];
        Arc::new(Joined::new(parts.into_iter().flatten().map(Arc::clone).collect()))
    }

    /// Carves a validation part out of `train`: `fraction` of every class, drawn with `seed`, at least one sample of a
    /// class that has two; of a `fraction` of zero, none. Depends on the labels and the seed only. Fails when a side would be
    /// empty that is not meant to be.
    pub fn carve(
        train: Arc<dyn Dataset>,
        test: Option<Arc<dyn Dataset>>,
        fraction: f64,
        seed: u64,
    ) -> Result<Self, DataError> {
        let least = usize::from(fraction > 0.0);
        let share = |members| ((members as f64 * fraction).round() as usize).max(least);
        let [kept, held] = stratify(train.as_ref(), share, seed);
        if kept.is_empty() || held.len() < least {
            let (name, samples) = (train.name().to_owned(), train.len());
            return Err(DataError::TooFew { name, samples });
        }
        Ok(Self {
            train: Arc::new(Subset::new(Arc::clone(&train), kept)),
            validation: Arc::new(Subset::new(train, held)),
            test,
            skipped: Vec::new(),
            unused: Arc::default(),
        })
    }

    /// What there is, in one line: parts, numbers of images, classes and the names of the first ones.
    pub fn describe(&self) -> String {
        const SHOWN: usize = 3;
        let classes = self.train.classes();
        let names = classes[..classes.len().min(SHOWN)].join(", ");
        let more = if classes.len() > SHOWN { ", …" } else { "" };
        let test = self.test.as_ref().map_or("none".to_owned(), |test| test.len().to_string());
        let bad = match self.skipped.len() {
            0 => String::new(),
            bad => format!(" ({bad} of them cannot be used)"),
        };
        let validation = match self.validation.len() {
            0 => "none".to_owned(),
            images => images.to_string(),
        };
        format!(
            "{} to learn from, {validation} to choose the epoch, {test} to test{bad}; {}: {names}{more}",
            counted(self.train.len(), "image"),
            counted(classes.len(), "class")
        )
    }
}

/// Divides the numbers of a dataset's samples in two, both lists ascending: of each class with n samples, `held(n)` drawn with
/// `seed` go to the second list, but never its last one.
pub fn stratify(
    dataset: &dyn Dataset,
    held: impl Fn(usize) -> usize,
    seed: u64,
) -> [Vec<usize>; 2] {
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for index in 0..dataset.len() {
        classes.entry(dataset.label(index)).or_default().push(index);
    }
    let mut parts = [Vec::new(), Vec::new()];
    for (label, members) in classes {
        let mut stream = Stream::new(seed, hash("split")).substream(u64::from(label));
        let count = held(members.len()).min(members.len() - 1);
        for (position, which) in stream.permutation(members.len()).into_iter().enumerate() {
            parts[usize::from(position < count)].push(members[which]);
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(labels: Vec<u32>) -> Arc<dyn Dataset> {
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let pixels = (0..labels.len()).map(|i| i as u8).collect();
        Arc::new(MemoryDataset::new("letters", classes, [1, 1, 1], pixels, labels))
    }

    #[test]
    fn validation_is_stratified_disjoint_and_repeatable() {
        let all = dataset([vec![0; 40], vec![1; 20], vec![2; 1]].concat());
        let splits = Splits::carve(Arc::clone(&all), None, 0.25, 7).unwrap();
        let count =
            |part: &dyn Dataset, class| (0..part.len()).filter(|&i| part.label(i) == class).count();
        assert_eq!([0, 1, 2].map(|class| count(splits.validation.as_ref(), class)), [10, 5, 0]);
        let pixels = |part: &dyn Dataset| -> Vec<u8> {
            (0..part.len()).map(|i| part.sample(i).unwrap().image.pixels[0]).collect()
        };
        let mut both = [pixels(splits.train.as_ref()), pixels(splits.validation.as_ref())].concat();
        both.sort_unstable();
        assert_eq!(both, (0..61).collect::<Vec<u8>>());
        let again = Splits::carve(Arc::clone(&all), None, 0.25, 7).unwrap();
        assert_eq!(again.train.fingerprint(), splits.train.fingerprint());
        let other = Splits::carve(all, None, 0.25, 8).unwrap();
        assert_ne!(other.train.fingerprint(), splits.train.fingerprint());
    }

    #[test]
    fn whole_has_every_sample_once() {
        let (train, test) = (dataset([vec![0; 9], vec![1; 6]].concat()), dataset(vec![2, 2]));
        let whole = Splits::carve(train, Some(test), 0.3, 1).unwrap().whole();
        assert_eq!(whole.len(), 17);
        let mut labels: Vec<u32> = (0..17).map(|i| whole.sample(i).unwrap().label).collect();
        assert_eq!(labels, (0..17).map(|i| whole.label(i)).collect::<Vec<u32>>());
        labels.sort_unstable();
        assert_eq!(labels, [vec![0; 9], vec![1; 6], vec![2; 2]].concat());
        assert!(matches!(whole.sample(17), Err(DataError::Index { index: 17, len: 17, .. })));
    }

    #[test]
    fn too_few_samples_to_split_are_rejected() {
        let error = Splits::carve(dataset(vec![0, 1, 2]), None, 0.5, 0).err().unwrap();
        assert!(matches!(error, DataError::TooFew { samples: 3, .. }), "{error}");
        let error = Splits::carve(dataset(vec![]), None, 0.5, 0).err().unwrap();
        assert!(matches!(error, DataError::TooFew { samples: 0, .. }), "{error}");
        let undivided = Splits::carve(dataset(vec![0, 1, 2]), None, 0.0, 0).unwrap();
        assert_eq!((undivided.train.len(), undivided.validation.len()), (3, 0));
        assert_eq!(undivided.whole().len(), 3);
    }

    #[test]
    fn sample_beyond_the_end_is_an_error() {
        let all = dataset(vec![0, 1]);
        assert!(matches!(all.sample(2), Err(DataError::Index { index: 2, len: 2, .. })));
        let subset = Subset::new(all, vec![1]).sample(1);
        assert!(matches!(subset, Err(DataError::Index { index: 1, len: 1, .. })));
    }

    #[test]
    fn fingerprint_sees_every_part() {
        let print = |name: &str, pixels: Vec<u8>, labels: Vec<u32>| {
            MemoryDataset::new("x", vec![name.into(), "z".into()], [1, 1, 2], pixels, labels)
                .fingerprint()
        };
        let base = print("y", vec![1, 2], vec![0]);
        assert_eq!(base, print("y", vec![1, 2], vec![0]));
        assert_ne!(base, print("w", vec![1, 2], vec![0]));
        assert_ne!(base, print("y", vec![2, 1], vec![0]));
        assert_ne!(base, print("y", vec![1, 2], vec![1]));
    }
}
