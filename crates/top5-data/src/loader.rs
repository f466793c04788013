//! Batches in a seeded order, prepared ahead in the background.
//!
//! A batch is a function of (seed, epoch, step), so a run resumes in the middle of an epoch without saved state, and the
//! number of threads that decode it does not matter.

mod mix;
mod pool;

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use top5_graph::Stop;
use top5_graph::random::{Stream, hash};

use crate::augment::{Augment, apply};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocess::Preprocess;
use pool::{Filled, Plan, Pool};

use mix::Before;
pub use mix::{Mix, Mixed};

/// Most threads that are used where no number is asked for: each holds a decoded image.
const MOST_THREADS: usize = 32;

/// Some samples, ready for the network.
#[derive(Debug, Default)]
pub struct Batch {
    /// Order N C H W.
    pub images: Vec<f32>,
    /// N labels.
    pub labels: Vec<u32>,
    /// Numbers of the N samples in the dataset.
    pub indices: Vec<u32>,
    /// Number in the dataset of each sample that is missing here because it cannot be read, and why. Empty unless
    /// [`LoaderOptions::skip_unreadable`] is set.
    pub unread: Vec<(u32, DataError)>,
    /// What was mixed into the images, whose labels are those before.
    pub mixed: Option<Mixed>,
}

/// How batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Samples per batch, at least 1.
    pub batch: usize,
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Whether every epoch has an order of its own; otherwise it is the dataset's.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out; it is never padded.
    pub drop_last: bool,
    /// Whether a sample that cannot be read makes its batch smaller; otherwise it ends the epoch with its error.
    pub skip_unreadable: bool,
    /// Random changes, in order; none to evaluate.
    pub augment: Vec<Augment>,
    /// How the images of a batch are mixed; not at all to evaluate.
    pub mix: Mix,
}

impl LoaderOptions {
    /// Every sample that can be read once, in the dataset's order, unchanged.
    pub fn evaluation(batch: usize) -> Self {
        Self {
            batch,
            seed: 0,
            shuffle: false,
            drop_last: false,
            skip_unreadable: true,
            augment: Vec::new(),
            mix: Mix::default(),
        }
    }
}

/// Makes batches from a dataset.
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    preprocess: Preprocess,
    options: LoaderOptions,
    threads: usize,
    stop: Option<Stop>,
    /// Which share of each batch is made, of how many.
    share: [usize; 2],
}

/// The places of `total` samples that are the share of one `rank` of `ranks`: shares follow each other, and differ by one sample
/// at most.
pub fn share(total: usize, [rank, ranks]: [usize; 2]) -> Range<usize> {
    let start = |rank: usize| rank * (total / ranks) + rank.min(total % ranks);
    start(rank)..start(rank + 1)
}

impl Loader {
    /// A loader whose samples are read and decoded on as many threads as the process may use cores, at most 32. Panics
    /// when the batch size is 0.
    pub fn new(dataset: Arc<dyn Dataset>, preprocess: Preprocess, options: LoaderOptions) -> Self {
        assert!(options.batch > 0, "a batch has at least one sample");
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(MOST_THREADS);
        Self { dataset, preprocess, options, threads, stop: None, share: [0, 1] }
    }

    /// The same with `threads` threads; 0 counts as 1. While the caller waits for a batch, his thread is one of them. The
    /// batches are the same for any number.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// The same, but a sample that cannot be read makes its batch smaller.
    pub fn skip_unreadable(mut self) -> Self {
        self.options.skip_unreadable = true;
        self
    }

    /// The same with a flag that ends an epoch early: where it is set, the next batch is [`DataError::Stopped`], at the
    /// latest after the sample that each thread is at.
    pub fn stop(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// The same, but only one rank's [`share`] of each batch, of `ranks` that make a batch together. Steps are counted as before;
    /// a last batch that is too small for all leaves some ranks without. Panics where a full batch does.
    pub fn shared(self, rank: usize, ranks: usize) -> Self {
        assert!(rank < ranks && ranks <= self.options.batch, "each rank has a sample of a batch");
        Self { share: [rank, ranks], ..self }
    }

    /// Most bytes of batches of so many samples, of `size` values each, that wait or are filled while one is used.
    pub fn memory(batch: usize, size: usize) -> u64 {
        let values = (batch as u64).saturating_mul(size as u64);
        values.saturating_mul(size_of::<f32>() as u64 * (pool::WINDOW as u64 + 1))
    }

    /// The dataset behind it.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// Batches per epoch.
    pub fn steps(&self) -> usize {
        let (samples, batch) = (self.dataset.len(), self.options.batch);
        if self.options.drop_last { samples / batch } else { samples.div_ceil(batch) }
    }

    /// The batches of `epoch` from `first_step` on, prepared in the background. The same (epoch, step) always gives the
    /// same batch.
    pub fn epoch(&self, epoch: u64, first_step: usize) -> Batches {
        let whole = self.options.batch;
        let mut order = self.order(epoch);
        if self.options.drop_last {
            order.truncate(self.steps() * whole);
        }
        order.drain(..first_step.saturating_mul(whole).min(order.len()));
        // A share is mixed as in the whole batch: with the sample before it there.
        let borrows = self.share[1] > 1 && !self.options.mix.is_none();
        let own = |batch: &[usize]| -> Vec<usize> {
            let places = share(batch.len(), self.share);
            let before = (places.start + batch.len() - 1) % batch.len();
            let before = (borrows && !places.is_empty()).then(|| batch[before]);
            before.into_iter().chain(batch[places].iter().copied()).collect()
        };
        let order: Vec<usize> = order.chunks(whole).flat_map(own).collect();
        let batch = share(whole, self.share).len() + usize::from(borrows);
        let loader = self.clone();
        let stream = Stream::new(self.options.seed, hash("augment")).substream(epoch);
        let read = move |index, out: &mut [f32]| loader.read(index, &stream, out);
        let indices: Vec<u32> = order.iter().map(|&index| index as u32).collect();
        let (size, stop) = (self.preprocess.size(), self.stop.clone());
        let plan = Plan { read: Box::new(read), order, batch, size, stop };
        // One thread works ahead in any case; of several, one is the caller's.
        let pool = Pool::start(plan, (self.threads - 1).max(1));
        Batches {
            pool: Some(pool),
            indices: indices.into_iter(),
            options: LoaderOptions { batch, ..self.options.clone() },
            size: self.preprocess.input_size,
            mixing: Stream::new(self.options.seed, hash("mix")).substream(epoch),
            step: first_step as u64,
            borrows,
        }
    }

    /// Numbers of the samples in the order of `epoch`.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let samples = self.dataset.len();
        if self.options.shuffle {
            Stream::new(self.options.seed, hash("order")).substream(epoch).permutation(samples)
        } else {
            (0..samples).collect()
        }
    }

    /// Writes sample `index` into `out` and gives its label. `epoch` is the stream of the epoch's augmentation.
    fn read(&self, index: usize, epoch: &Stream, out: &mut [f32]) -> Result<u32, DataError> {
        let sample = self.dataset.sample(index)?;
        let stream = epoch.substream(index as u64);
        apply(&self.options.augment, &self.preprocess, &sample.image, stream, out);
        Ok(sample.label)
    }
}

/// The rest of an epoch's batches. It ends after the last batch or the first error. Dropping it stops its threads, at the
/// latest after the sample that each is at.
pub struct Batches {
    /// None after an error.
    pool: Option<Pool>,
    /// Numbers in the dataset of the samples to come.
    indices: std::vec::IntoIter<u32>,
    options: LoaderOptions,
    /// Channels, height and width of a sample.
    size: [usize; 3],
    /// What the epoch's mixing is drawn from.
    mixing: Stream,
    /// The epoch's step that comes next.
    step: u64,
    /// Whether the first sample of each batch is the one before it in the whole batch.
    borrows: bool,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Filled { mut images, labels: read } = match self.pool.as_mut()?.next()? {
            Ok(filled) => filled,
            Err(error) => {
                self.pool = None;
                return Some(Err(error));
            }
        };
        let mut batch = Batch {
            labels: Vec::with_capacity(read.len()),
            indices: Vec::with_capacity(read.len()),
            ..Batch::default()
        };
        let size = self.size.iter().product::<usize>();
        let mut before = None;
        for (place, (label, index)) in read.into_iter().zip(&mut self.indices).enumerate() {
            match label {
                Ok(label) if self.borrows && place == 0 => {
                    before = Some(Before { image: images[..size].to_vec(), label, index });
                }
                // The rank whose sample it is tells of it.
                Err(_) if self.borrows && place == 0 && self.options.skip_unreadable => {}
                Ok(label) => {
                    let kept = batch.labels.len();
                    if kept < place {
                        let sample = place * size..(place + 1) * size;
                        images.copy_within(sample, kept * size);
                    }
                    batch.labels.push(label);
                    batch.indices.push(index);
                }
                Err(error) if self.options.skip_unreadable && error.is_bad_sample() => {
                    batch.unread.push((index, error));
                }
                Err(error) => {
                    self.pool = None;
                    return Some(Err(error));
                }
            }
        }
        images.truncate(batch.labels.len() * size);
        batch.images = images;
        // The only one of its batch.
        let before = before.filter(|before| batch.indices.first() != Some(&before.index));
        self.options.mix.apply(&mut batch, self.size, before, self.mixing.substream(self.step));
        self.step += 1;
        Some(Ok(batch))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left =
            self.pool.as_ref().map_or(0, |_| self.indices.len().div_ceil(self.options.batch));
        (0, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;

    use super::*;
    use crate::augment::crop::Padding;
    use crate::dataset::{MemoryDataset, Sample};
    use crate::image::Image;

    fn dataset(samples: usize) -> Arc<dyn Dataset> {
        let labels = (0..samples as u32).map(|i| i % 3).collect();
        let pixels = (0..samples * 12).map(|i| i as u8).collect();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        Arc::new(MemoryDataset::new("numbers", classes, [1, 3, 4], pixels, labels))
    }

    fn loader(samples: usize, seed: u64, drop_last: bool) -> Loader {
        let options = LoaderOptions {
            batch: 4,
            seed,
            shuffle: true,
            drop_last,
            skip_unreadable: false,
            augment: vec![Augment::RandomCrop { padding: 1, padding_mode: Padding::Constant }],
            mix: Mix::default(),
        };
        Loader::new(dataset(samples), Preprocess::squash([1, 3, 4]), options)
    }

    fn mixing_loader() -> Loader {
        let mut loader = loader(30, 5, false);
        loader.options.mix = Mix { mixup: 0.4, cutmix: 1.0 };
        loader
    }

    /// What two batches are compared by.
    #[derive(Clone, Debug, PartialEq)]
    struct Content {
        images: Vec<f32>,
        labels: Vec<u32>,
        indices: Vec<u32>,
        mixed: Option<Mixed>,
    }

    impl Content {
        /// With what follows in the same batch.
        fn then(mut self, next: Self) -> Self {
            self.images.extend(next.images);
            self.labels.extend(next.labels);
            self.indices.extend(next.indices);
            match (&mut self.mixed, next.mixed) {
                (Some(mixed), Some(next)) => {
                    assert_eq!(mixed.share, next.share);
                    mixed.labels.extend(next.labels);
                }
                (mixed, next) => assert_eq!(*mixed, next),
            }
            self
        }
    }

    fn batches(loader: &Loader, epoch: u64, step: usize) -> Vec<Content> {
        let content = |batch: Result<Batch, DataError>| {
            let Batch { images, labels, indices, unread, mixed } = batch.unwrap();
            assert!(unread.is_empty(), "{unread:?}");
            Content { images, labels, indices, mixed }
        };
        loader.epoch(epoch, step).map(content).collect()
    }

    #[test]
    fn every_sample_comes_once_and_the_last_batch_is_not_padded() {
        let loader = loader(10, 1, false);
        let batches = batches(&loader, 0, 0);
        assert_eq!(batches.len(), loader.steps());
        assert_eq!(batches.iter().map(|b| b.labels.len()).collect::<Vec<_>>(), [4, 4, 2]);
        assert_eq!(batches[2].images.len(), 2 * 12);
        let seen: BTreeSet<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
        assert_eq!(seen, (0..10).collect());
        for batch in &batches {
            assert!(
                batch.indices.iter().zip(&batch.labels).all(|(index, label)| index % 3 == *label)
            );
        }
    }

    #[test]
    fn drop_last_leaves_the_partial_batch_out() {
        assert_eq!(batches(&loader(10, 1, true), 0, 0).len(), 2);
        assert_eq!(batches(&loader(3, 1, true), 0, 0).len(), 0);
        assert_eq!(batches(&loader(0, 1, false), 0, 0).len(), 0);
    }

    #[test]
    fn resuming_anywhere_gives_the_same_batches() {
        let loader = mixing_loader();
        for epoch in [0, 3] {
            let whole = batches(&loader, epoch, 0);
            assert!(whole.iter().all(|batch| batch.mixed.is_some()));
            for step in 0..=whole.len() + 1 {
                assert_eq!(batches(&loader, epoch, step), whole[step.min(whole.len())..]);
            }
        }
    }

    #[test]
    fn ranks_share_each_batch_in_its_order() {
        for (samples, batch_steps) in [(30, 8), (29, 8), (4, 1)] {
            for mix in [Mix::default(), Mix { mixup: 0.4, cutmix: 1.0 }] {
                let mut loader = loader(samples, 5, false);
                loader.options.mix = mix;
                let whole = batches(&loader, 1, 0);
                assert_eq!(whole.len(), batch_steps);
                for ranks in 1..=4 {
                    let shares: Vec<_> = (0..ranks)
                        .map(|rank| batches(&loader.clone().shared(rank, ranks), 1, 0))
                        .collect();
                    for (step, whole) in whole.iter().enumerate() {
                        let of_step = shares.iter().filter_map(|batches| batches.get(step));
                        let joined = of_step.cloned().reduce(Content::then).unwrap();
                        assert_eq!(joined, *whole, "{samples} samples, {ranks} ranks, step {step}");
                    }
                    let late = batches(&loader.clone().shared(ranks - 1, ranks), 1, 3);
                    assert_eq!(late, shares[ranks - 1][3.min(shares[ranks - 1].len())..]);
                }
            }
        }
    }

    #[test]
    fn batches_are_the_same_for_any_number_of_threads() {
        let one = batches(&mixing_loader(), 2, 0);
        for threads in [0, 2, 3, 4, 9] {
            assert_eq!(batches(&mixing_loader().threads(threads), 2, 0), one, "{threads}");
        }
    }

    #[test]
    fn epochs_and_seeds_have_orders_of_their_own() {
        let first = batches(&loader(30, 5, false), 0, 0);
        assert_ne!(first, batches(&loader(30, 5, false), 1, 0));
        assert_ne!(first, batches(&loader(30, 6, false), 0, 0));
        let ordered =
            Loader::new(dataset(5), Preprocess::squash([1, 3, 4]), LoaderOptions::evaluation(5));
        assert_eq!(batches(&ordered, 7, 0)[0].indices, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn stopping_early_does_not_hang() {
        let loader = loader(1000, 1, false);
        let mut batches = loader.epoch(0, 0);
        assert!(batches.next().unwrap().is_ok());
        drop(batches);
        drop(loader.epoch(0, 0));
    }

    /// Ten samples of which the numbers 5 and 6 cannot be read.
    struct Broken {
        panics: bool,
    }

    impl Dataset for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn len(&self) -> usize {
            10
        }
        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            assert!(!(self.panics && index == 5), "sample 5 panics in this test");
            match index {
                5 | 6 => Err(DataError::Index { name: "broken".to_owned(), index, len: 10 }),
                _ => Ok(Sample { image: Image::filled(1, 3, 4, index as u8), label: index as u32 }),
            }
        }
        fn label(&self, index: usize) -> u32 {
            index as u32
        }
        fn fingerprint(&self) -> u64 {
            0
        }
    }

    fn broken(panics: bool, skip_unreadable: bool, threads: usize) -> Loader {
        let options = LoaderOptions { skip_unreadable, ..LoaderOptions::evaluation(2) };
        let dataset = Arc::new(Broken { panics });
        Loader::new(dataset, Preprocess::squash([1, 3, 4]), options).threads(threads)
    }

    #[test]
    fn an_epoch_ends_with_the_error_of_its_first_unreadable_sample() {
        for (panics, threads) in [(false, 1), (true, 1), (false, 4), (true, 4)] {
            let mut batches = broken(panics, false, threads).epoch(0, 0);
            assert_eq!(batches.size_hint(), (0, Some(5)));
            let results: Vec<_> = batches.by_ref().collect();
            assert_eq!(results.len(), 3);
            assert!(results[..2].iter().all(Result::is_ok));
            match (&results[2], panics) {
                (Err(DataError::Index { index: 5, .. }), false) => {}
                (Err(DataError::Worker { reason }), true) if reason.contains("sample 5") => {}
                (other, _) => panic!("{other:?}"),
            }
            assert!(batches.next().is_none());
            assert_eq!(batches.size_hint(), (0, Some(0)));
        }
    }

    /// A sample that the system did not let be read may be good.
    #[test]
    fn samples_are_left_out_for_what_they_are_only() {
        struct Refused(io::ErrorKind);
        impl Dataset for Refused {
            fn name(&self) -> &str {
                "refused"
            }
            fn classes(&self) -> &[String] {
                &[]
            }
            fn len(&self) -> usize {
                3
            }
            fn sample(&self, index: usize) -> Result<Sample, DataError> {
                match index {
                    1 => Err(DataError::Io { path: "x.png".into(), source: self.0.into() }),
                    _ => Ok(Sample { image: Image::filled(1, 3, 4, 0), label: 0 }),
                }
            }
            fn label(&self, _: usize) -> u32 {
                0
            }
            fn fingerprint(&self) -> u64 {
                0
            }
        }
        for (kind, left_out) in [
            (io::ErrorKind::NotFound, true),
            (io::ErrorKind::InvalidInput, true),
            (io::ErrorKind::PermissionDenied, false),
            (io::ErrorKind::StaleNetworkFileHandle, false),
            (io::ErrorKind::Other, false),
        ] {
            let options = LoaderOptions { skip_unreadable: true, ..LoaderOptions::evaluation(3) };
            let dataset = Arc::new(Refused(kind));
            let loader = Loader::new(dataset, Preprocess::squash([1, 3, 4]), options);
            match (loader.threads(1).epoch(0, 0).next().unwrap(), left_out) {
                (Ok(batch), true) => assert_eq!((batch.labels.len(), batch.unread.len()), (2, 1)),
                (Err(DataError::Io { .. }), false) => {}
                (other, _) => panic!("{kind}: {other:?}"),
            }
        }
    }

    #[test]
    fn unreadable_samples_are_skipped_where_that_is_asked_for() {
        for (panics, threads) in [(false, 1), (true, 3)] {
            let batches: Vec<Batch> =
                broken(panics, true, threads).epoch(0, 0).map(Result::unwrap).collect();
            assert_eq!(batches.len(), 5);
            let all = |of: fn(&Batch) -> &Vec<u32>| -> Vec<u32> {
                batches.iter().flat_map(of).copied().collect()
            };
            let kept = [0, 1, 2, 3, 4, 7, 8, 9];
            assert_eq!((all(|b| &b.labels), all(|b| &b.indices)), (kept.to_vec(), kept.to_vec()));
            let unread: Vec<u32> =
                batches.iter().flat_map(|b| &b.unread).map(|(index, _)| *index).collect();
            assert_eq!(unread, [5, 6]);
            for batch in &batches {
                assert_eq!(batch.images.len(), batch.labels.len() * 12);
                for (image, &label) in batch.images.chunks(12).zip(&batch.labels) {
                    let mut expected = [0.0; 12];
                    let image_of_label = Image::filled(1, 3, 4, label as u8);
                    Preprocess::squash([1, 3, 4]).apply(&image_of_label, &mut expected);
                    assert_eq!(image, expected);
                }
            }
        }
    }
}
