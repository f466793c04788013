//! Batches in a seeded order, decoded ahead on a background thread.
use std::sync::Arc;

use crate::augment::Augment;
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::preprocess::Preprocess;

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
    /// Samples per batch.
    pub batch: usize,
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Whether every epoch has its own order; otherwise the dataset's.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out; it is never padded.
    pub drop_last: bool,
    /// Random changes, in order.
    pub augment: Vec<Augment>,
}

/// Makes batches from a dataset.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    preprocess: Preprocess,
    options: LoaderOptions,
}

impl Loader {
    /// A loader.
    pub fn new(dataset: Arc<dyn Dataset>, preprocess: Preprocess, options: LoaderOptions) -> Self {
        Self { dataset, preprocess, options }
    }

    /// Batches per epoch.
    pub fn steps(&self) -> usize {
        if self.options.drop_last {
            self.dataset.len() / self.options.batch
        } else {
            self.dataset.len().div_ceil(self.options.batch)
        }
    }

    /// The batches of `epoch` from `first_step` on. The same (epoch, step) always gives the same batch.
    pub fn epoch(&self, _epoch: u64, _first_step: usize) -> Batches {
        let _ = &self.preprocess;
        todo!()
    }
}

/// The rest of an epoch's batches. After an error it ends.
pub struct Batches {
    _private: (),
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
