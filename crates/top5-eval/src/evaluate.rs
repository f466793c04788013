//! Classifies a whole dataset and counts.

use std::fmt;
use std::sync::Arc;

use top5_data::{Batch, DataError, Dataset, Image, Loader, LoaderOptions, Preprocess};
use top5_graph::{Engine, EngineError, GraphError};

use crate::metric;
use crate::report::{Report, Tally};

/// Why an evaluation ended early.
#[derive(Debug)]
pub enum EvaluationError {
    /// Not one image could be read, or the loader itself failed.
    Data(DataError),
    /// The dataset has no images.
    Empty {
        /// Its name.
        name: String,
    },
    /// The network and the dataset have different numbers of classes.
    Classes {
        /// The network's.
        network: usize,
        /// The dataset's.
        dataset: usize,
    },
    /// The network has no dense form at an image's size.
    Graph(GraphError),
    /// The engine refused its images.
    Engine(EngineError),
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Empty { name } => write!(f, "the dataset {name} has no images to evaluate on"),
            Self::Classes { network, dataset } => write!(
                f,
                "the network tells {network} classes apart, the dataset has {dataset}: use a dataset of the same classes"
            ),
            Self::Graph(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EvaluationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Data(error) => Some(error),
            Self::Graph(error) => Some(error),
            Self::Engine(error) => Some(error),
            Self::Empty { .. } | Self::Classes { .. } => None,
        }
    }
}

impl From<DataError> for EvaluationError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<GraphError> for EvaluationError {
    fn from(error: GraphError) -> Self {
        Self::Graph(error)
    }
}

impl From<EngineError> for EvaluationError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Classifies every image of the dataset once, in its order, with the weights that the engine has. An image that cannot
/// be read is listed in the report and left out of its counts; an error is returned only where none can be read.
/// `progress` is told the number of images done, unread ones included, after each batch.
pub fn evaluate(
    engine: &mut dyn Engine,
    dataset: &Arc<dyn Dataset>,
    preprocess: &Preprocess,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    let network = engine.graph().classes();
    let mut counter = Counter::new(dataset.as_ref())?;
    if network != dataset.classes().len() {
        return Err(EvaluationError::Classes { network, dataset: dataset.classes().len() });
    }
    let batch = engine.batch();
    let options = LoaderOptions::evaluation(batch);
    let loader = Loader::new(Arc::clone(dataset), preprocess.clone(), options);
    let mut step = 0;
    while step < loader.steps() {
        for read in loader.epoch(0, step) {
            let members = step * batch..dataset.len().min((step + 1) * batch);
            let read = match read {
                Ok(read) => read,
                Err(error @ DataError::Worker { .. }) => return Err(error.into()),
                // The loader ends at the first bad sample: this batch is read again, one by one.
                Err(_) => readable(dataset.as_ref(), preprocess, members, &mut counter),
            };
            if !read.labels.is_empty() {
                let logits = engine.forward(&read.images, &[])?.logits;
                for (logits, &label) in logits.data().chunks_exact(network).zip(&read.labels) {
                    let label = label as usize;
                    counter.tally.add(logits, label, metric::cross_entropy(logits, label));
                }
            }
            step += 1;
            progress(counter.tally.seen());
        }
    }
    counter.finish()
}

/// Asks `classify` for the probabilities of every image, one after the other, and counts as [`evaluate`] does.
pub fn evaluate_with<E: From<EvaluationError>>(
    dataset: &dyn Dataset,
    classify: &mut dyn FnMut(&Image) -> Result<Vec<f64>, E>,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, E> {
    let mut counter = Counter::new(dataset)?;
    let classes = dataset.classes().len();
    for index in 0..dataset.len() {
        match dataset.sample(index) {
            Ok(sample) => {
                let probabilities = classify(&sample.image)?;
                if probabilities.len() != classes {
                    let network = probabilities.len();
                    return Err(EvaluationError::Classes { network, dataset: classes }.into());
                }
                let label = sample.label as usize;
                counter.tally.add(&probabilities, label, -probabilities[label].ln());
            }
            Err(error) => counter.miss(index, error),
        }
        progress(counter.tally.seen());
    }
    Ok(counter.finish()?)
}

/// A tally, and the first error for when there is nothing else to tell.
struct Counter {
    tally: Tally,
    first: Option<DataError>,
}

impl Counter {
    fn new(dataset: &dyn Dataset) -> Result<Self, EvaluationError> {
        if dataset.is_empty() {
            return Err(EvaluationError::Empty { name: dataset.name().to_owned() });
        }
        Ok(Self { tally: Tally::new(dataset.classes()), first: None })
    }

    fn miss(&mut self, index: usize, error: DataError) {
        self.tally.miss(index, error.to_string());
        self.first.get_or_insert(error);
    }

    fn finish(self) -> Result<Report, EvaluationError> {
        let report = self.tally.finish();
        match self.first {
            Some(error) if report.images == 0 => Err(error.into()),
            Some(_) | None => Ok(report),
        }
    }
}

/// The samples of a batch that can be read; the others are listed.
fn readable(
    dataset: &dyn Dataset,
    preprocess: &Preprocess,
    members: std::ops::Range<usize>,
    counter: &mut Counter,
) -> Batch {
    let mut batch = Batch { images: Vec::new(), labels: Vec::new(), indices: Vec::new() };
    for index in members {
        match dataset.sample(index) {
            Ok(sample) => {
                let start = batch.images.len();
                batch.images.resize(start + preprocess.size(), 0.0);
                preprocess.apply(&sample.image, &mut batch.images[start..]);
                batch.labels.push(sample.label);
                batch.indices.push(index as u32);
            }
            Err(error) => counter.miss(index, error),
        }
    }
    batch
}
