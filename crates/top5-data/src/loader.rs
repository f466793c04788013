//! Batches in a seeded order, prepared ahead in the background.
//!
//! A batch is a function of (seed, epoch, step), so a run resumes in the middle of an epoch without saved state, and the
//! number of threads that decode it does not matter.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use top5_graph::random::{Stream, hash};

use crate::augment::{Augment, apply};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocess::Preprocess;

/// Batches that wait, prepared, for the consumer.
const AHEAD: usize = 2;

/// Some samples, ready for the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Order N C H W.
    pub images: Vec<f32>,
    /// N labels.
    pub labels: Vec<u32>,
    /// Numbers of the N samples in the dataset.
    pub indices: Vec<u32>,
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
    /// Random changes, in order; none to evaluate.
    pub augment: Vec<Augment>,
}

impl LoaderOptions {
    /// Every sample once, in the dataset's order, unchanged.
    pub fn evaluation(batch: usize) -> Self {
        Self { batch, seed: 0, shuffle: false, drop_last: false, augment: Vec::new() }
    }
}

/// Makes batches from a dataset.
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    preprocess: Preprocess,
    options: LoaderOptions,
    threads: usize,
}

impl Loader {
    /// A loader. Panics when the batch size is 0.
    pub fn new(dataset: Arc<dyn Dataset>, preprocess: Preprocess, options: LoaderOptions) -> Self {
        assert!(options.batch > 0, "a batch has at least one sample");
        Self { dataset, preprocess, options, threads: 1 }
    }

    /// The same with the samples of each batch read and decoded on `threads` threads; 0 counts as 1. The batches are the
    /// same for any number.
    pub fn threads(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
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

    /// The batches of `epoch` from `first_step` on, prepared on a thread of their own. The same (epoch, step) always gives
    /// the same batch.
    pub fn epoch(&self, epoch: u64, first_step: usize) -> Batches {
        let (sender, receiver) = sync_channel(AHEAD);
        let loader = self.clone();
        let steps = self.steps();
        let work = move || {
            let order = loader.order(epoch);
            for step in first_step..steps {
                let batch = loader.prepare(epoch, step, &order);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let worker = thread::Builder::new().name("loader".to_owned()).spawn(work);
        Batches {
            remaining: steps.saturating_sub(first_step),
            receiver: Some(receiver),
            worker: worker.ok(),
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

    fn prepare(&self, epoch: u64, step: usize, order: &[usize]) -> Result<Batch, DataError> {
        let first = step * self.options.batch;
        let members = &order[first..order.len().min(first + self.options.batch)];
        let size = self.preprocess.size();
        let mut images = vec![0.0; members.len() * size];
        let stream = Stream::new(self.options.seed, hash("augment")).substream(epoch);
        let share = members.len().div_ceil(self.threads).max(1);
        let parts = members.chunks(share).zip(images.chunks_mut(share * size));
        let labels: Vec<Vec<u32>> = thread::scope(|scope| {
            let stream = &stream;
            let read = |(members, out)| scope.spawn(move || self.read(members, stream, out));
            let readers: Vec<_> = parts.map(read).collect();
            readers
                .into_iter()
                .map(|reader| reader.join().unwrap_or_else(|_| Err(panicked())))
                .collect::<Result<_, _>>()
        })?;
        let indices = members.iter().map(|&index| index as u32).collect();
        Ok(Batch { images, labels: labels.concat(), indices })
    }

    /// Reads `members` into `out` and gives their labels. `epoch` is the stream of the epoch's augmentation.
    fn read(
        &self,
        members: &[usize],
        epoch: &Stream,
        out: &mut [f32],
    ) -> Result<Vec<u32>, DataError> {
        let parts = members.iter().zip(out.chunks_exact_mut(self.preprocess.size()));
        let read = |(&index, out): (&usize, &mut [f32])| {
            let sample = self.dataset.sample(index)?;
            let stream = epoch.substream(index as u64);
            apply(&self.options.augment, &self.preprocess, &sample.image, stream, out);
            Ok(sample.label)
        };
        parts.map(read).collect()
    }
}

fn panicked() -> DataError {
    DataError::Worker { reason: "reading a sample panicked".to_owned() }
}

/// The rest of an epoch's batches. It ends after the last batch or the first error. Dropping it stops its thread.
pub struct Batches {
    remaining: usize,
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    worker: Option<JoinHandle<()>>,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let received = self.receiver.as_ref()?.recv();
        let batch = received.unwrap_or_else(|_| {
            Err(match self.worker {
                Some(_) => panicked(),
                None => DataError::Worker { reason: "the system refused to start it".to_owned() },
            })
        });
        self.remaining = if batch.is_ok() { self.remaining - 1 } else { 0 };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.remaining))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Without a receiver the worker's next send fails and it returns.
        self.receiver = None;
        if let Some(worker) = self.worker.take() {
            // A panic in it was reported by `next`, or nobody asked for the batch.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dataset::{MemoryDataset, Sample};
    use crate::image::Image;

    fn dataset(samples: usize) -> Arc<dyn Dataset> {
        let labels = (0..samples as u32).map(|i| i % 3).collect();
        let pixels = (0..samples * 12).map(|i| i as u8).collect();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        Arc::new(MemoryDataset::new("numbers", classes, [1, 3, 4], pixels, labels))
    }

    fn loader(samples: usize, seed: u64, drop_last: bool) -> Loader {
        let augment = vec![Augment::Shift { pixels: 1 }];
        let options = LoaderOptions { batch: 4, seed, shuffle: true, drop_last, augment };
        Loader::new(dataset(samples), Preprocess::squash([1, 3, 4]), options)
    }

    fn batches(loader: &Loader, epoch: u64, step: usize) -> Vec<Batch> {
        loader.epoch(epoch, step).map(Result::unwrap).collect()
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
        let loader = loader(30, 5, false);
        for epoch in [0, 3] {
            let whole = batches(&loader, epoch, 0);
            for step in 0..=whole.len() + 1 {
                assert_eq!(batches(&loader, epoch, step), whole[step.min(whole.len())..]);
            }
        }
    }

    #[test]
    fn batches_are_the_same_for_any_number_of_threads() {
        let one = batches(&loader(30, 5, false), 2, 0);
        for threads in [0, 2, 3, 4, 9] {
            assert_eq!(batches(&loader(30, 5, false).threads(threads), 2, 0), one, "{threads}");
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

    /// Ten samples of which number 6 cannot be read.
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
            assert!(!(self.panics && index == 6), "sample 6 panics in this test");
            match index {
                6 => Err(DataError::Index { name: "broken".to_owned(), index, len: 10 }),
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

    #[test]
    fn failing_worker_surfaces_its_error_and_the_epoch_ends() {
        for panics in [false, true] {
            let options = LoaderOptions::evaluation(2);
            let loader =
                Loader::new(Arc::new(Broken { panics }), Preprocess::squash([1, 3, 4]), options);
            for loader in [loader.clone(), loader.threads(3)] {
                let results: Vec<_> = loader.epoch(0, 0).collect();
                assert_eq!(results.len(), 4);
                assert!(results[..3].iter().all(Result::is_ok));
                match (&results[3], panics) {
                    (Err(DataError::Index { index: 6, .. }), false) => {}
                    (Err(DataError::Worker { .. }), true) => {}
                    (other, _) => panic!("{other:?}"),
                }
            }
        }
    }
}
