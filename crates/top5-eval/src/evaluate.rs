//! Classifies a whole dataset and counts.

use std::sync::Arc;

use top5_data::{Batch, DataError, Dataset, Loader, LoaderOptions, Preprocess};
use top5_graph::Session;

use crate::error::EvaluationError;
use crate::metric;
use crate::pipe::Pipe;
use crate::report::{Report, Tally};

/// Classifies every image of the dataset once, in its order, with the weights that the network has. An image that cannot
/// be read is listed in the report and left out of its counts; an error is returned only where none can be read.
/// `progress` is told the number of images done, unread ones included, after each batch.
pub fn evaluate(
    session: &mut dyn Session,
    dataset: &Arc<dyn Dataset>,
    preprocess: &Preprocess,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    let options = LoaderOptions::evaluation(session.batch());
    let loader = Loader::new(Arc::clone(dataset), preprocess.clone(), options);
    evaluate_loaded(session, &loader, progress)
}

/// As [`evaluate`], with the images of the loader's first epoch. Its batches must not be larger than the session's, and
/// it must skip unreadable samples: otherwise the first of them is an error.
pub fn evaluate_loaded(
    session: &mut dyn Session,
    loader: &Loader,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    run(session, loader, &mut |_, _, _| {}, progress)
}

/// As [`evaluate_loaded`]; `each` is told of every image its number in the dataset, its class and the logits.
pub fn evaluate_each(
    session: &mut dyn Session,
    loader: &Loader,
    each: &mut dyn FnMut(usize, usize, &[f32]),
) -> Result<Report, EvaluationError> {
    run(session, loader, each, &mut |_| {})
}

fn run(
    session: &mut dyn Session,
    loader: &Loader,
    each: &mut dyn FnMut(usize, usize, &[f32]),
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    let network = session.graph().classes();
    let dataset = loader.dataset();
    let mut counter = Counter::new(dataset.as_ref())?;
    if network != dataset.classes().len() {
        return Err(EvaluationError::Classes { network, dataset: dataset.classes().len() });
    }
    for batch in loader.epoch(0, 0) {
        let Batch { images, labels, indices, unread, .. } = batch?;
        for (index, error) in unread {
            counter.miss(index as usize, error.into())?;
        }
        if !labels.is_empty() {
            let logits = session.forward(&images)?.logits;
            let answered = logits.data().chunks_exact(network).zip(&labels).zip(&indices);
            for ((logits, &label), &index) in answered {
                let label = label as usize;
                each(index as usize, label, logits);
                counter.tally.add(logits, label, metric::cross_entropy(logits, label));
            }
        }
        progress(counter.tally.seen());
    }
    counter.finish()
}

/// Looks at every image of the dataset through `pipe` and counts as [`evaluate`] does. `progress` is told the number of images
/// done after each.
pub fn evaluate_by(
    pipe: &mut Pipe<'_>,
    dataset: &dyn Dataset,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    let (network, classes) = (pipe.graph().classes(), dataset.classes().len());
    if network != classes {
        return Err(EvaluationError::Classes { network, dataset: classes });
    }
    let mut counter = Counter::new(dataset)?;
    pipe.run(dataset, 0..dataset.len(), &mut |answer| {
        match answer.probabilities {
            Ok(probabilities) => {
                let label = dataset.label(answer.index) as usize;
                counter.tally.add(&probabilities, label, -probabilities[label].ln());
            }
            Err(error) => counter.miss(answer.index, error)?,
        }
        progress(counter.tally.seen());
        Ok::<(), EvaluationError>(())
    })?;
    counter.finish()
}

/// A tally, and the first error for when there is nothing else to tell.
struct Counter {
    tally: Tally,
    first: Option<EvaluationError>,
}

impl Counter {
    fn new(dataset: &dyn Dataset) -> Result<Self, EvaluationError> {
        if dataset.is_empty() {
            return Err(EvaluationError::Empty { name: dataset.name().to_owned() });
        }
        Ok(Self { tally: Tally::new(dataset.classes()), first: None })
    }

    /// Lists an image that has no answer. A fault of the program is none of the image's.
    fn miss(&mut self, index: usize, error: EvaluationError) -> Result<(), EvaluationError> {
        if matches!(error, EvaluationError::Data(DataError::Worker { .. })) {
            return Err(error);
        }
        self.tally.miss(index, error.to_string());
        self.first.get_or_insert(error);
        Ok(())
    }

    fn finish(self) -> Result<Report, EvaluationError> {
        let report = self.tally.finish();
        match self.first {
            Some(error) if report.images == 0 => Err(error),
            Some(_) | None => Ok(report),
        }
    }
}
