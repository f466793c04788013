//! Evaluation: how often the right class is first, and how often among the first five.

use top5_data::{DataError, Loader};
use top5_graph::{Engine, EngineError};

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Images.
    pub images: usize,
    /// Images whose class is the most probable one.
    pub top1: usize,
    /// Images whose class is among the five most probable.
    pub top5: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// The same by class.
    pub classes: Vec<ClassReport>,
}

/// One class of a [`Report`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassReport {
    /// Images of the class.
    pub images: usize,
    /// Those whose class is the most probable one.
    pub top1: usize,
}

impl Report {
    /// Top-1 in percent.
    pub fn top1_percent(&self) -> f64 {
        percent(self.top1, self.images)
    }

    /// Top-5 in percent.
    pub fn top5_percent(&self) -> f64 {
        percent(self.top5, self.images)
    }
}

/// `part` of `all` in percent; 0 of nothing is 0.
pub fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

/// Why an evaluation ended early.
#[derive(Debug)]
pub enum EvaluationError {
    /// A sample cannot be read.
    Data(DataError),
    /// The engine refused a batch.
    Engine(EngineError),
}

impl std::fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EvaluationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Data(error) => Some(error),
            Self::Engine(error) => Some(error),
        }
    }
}

impl From<DataError> for EvaluationError {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

impl From<EngineError> for EvaluationError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Classifies every sample of the loader's dataset once with the engine's weights. `progress` is told the number of images
/// done. Of equal logits, the one with the smaller label counts as greater; NaN counts as smaller than any number.
pub fn evaluate(
    engine: &mut dyn Engine,
    loader: &Loader,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, EvaluationError> {
    let classes = engine.graph().classes();
    let mut report = Report {
        images: 0,
        top1: 0,
        top5: 0,
        loss: 0.0,
        classes: vec![ClassReport::default(); classes],
    };
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        let logits = engine.forward(&batch.images, &[])?.logits;
        for (logits, &label) in logits.data().chunks_exact(classes).zip(&batch.labels) {
            let label = label as usize;
            let Some(&right) = logits.get(label) else {
                let (index, label) = (report.images, label as u32);
                return Err(EngineError::Label { index, label, classes }.into());
            };
            let ahead = |(other, &logit): (usize, &f32)| {
                logit > right
                    || (logit == right && other < label)
                    || (right.is_nan() && other != label)
            };
            let rank = logits.iter().enumerate().filter(|&pair| ahead(pair)).count();
            let class = &mut report.classes[label];
            class.images += 1;
            report.images += 1;
            class.top1 += usize::from(rank < 1);
            report.top1 += usize::from(rank < 1);
            report.top5 += usize::from(rank < 5);
            report.loss += cross_entropy(logits, right);
        }
        progress(report.images);
    }
    report.loss /= report.images.max(1) as f64;
    Ok(report)
}

fn cross_entropy(logits: &[f32], right: f32) -> f64 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - greatest).exp()).sum();
    sum.ln() - f64::from(right - greatest)
}
