//! What an evaluation came to.

use serde::Serialize;

use crate::metric;

/// Counts over all images of a dataset that could be read. Nothing in it depends on the size of the batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Images that were classified.
    pub images: usize,
    /// Those whose class is ranked first.
    pub top1: usize,
    /// Those whose class is among the first five.
    pub top5: usize,
    /// `top1` as a share of `images`, in percent.
    pub top1_percent: f64,
    /// `top5` as a share of `images`, in percent.
    pub top5_percent: f64,
    /// Mean cross-entropy, natural logarithm.
    pub loss: f64,
    /// The same by class, in the order of the labels.
    pub per_class: Vec<ClassCount>,
    /// Images that could not be read; they are not among `images`.
    pub errors: Vec<Unread>,
    /// Which class was taken for which. Not serialised.
    #[serde(skip)]
    pub confusion: Confusion,
}

/// One class of a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// Name of the class.
    pub name: String,
    /// Images of the class.
    pub images: usize,
    /// Those that were classified right.
    pub right: usize,
}

/// An image that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Its number in the dataset.
    pub index: usize,
    /// What is wrong with it.
    pub error: String,
}

/// How often images of one class were taken for another: `classes` × `classes` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u32>,
}

impl Confusion {
    /// All counts zero.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Images of class `label` that were taken for class `predicted`. Panics unless both are classes.
    pub fn count(&self, label: usize, predicted: usize) -> u32 {
        self.row(label)[predicted]
    }

    /// What the images of class `label` were taken for, by class. An image with a NaN among its scores is in no count.
    pub fn row(&self, label: usize) -> &[u32] {
        &self.counts[label * self.classes..][..self.classes]
    }
}

/// `part` of `all` in percent; of nothing it is 0.
pub fn percent(part: usize, all: usize) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

/// A report in the making.
pub(crate) struct Tally {
    report: Report,
    loss_sum: f64,
}

impl Tally {
    pub(crate) fn new(names: &[String]) -> Self {
        let class = |name: &String| ClassCount { name: name.clone(), images: 0, right: 0 };
        let report = Report {
            images: 0,
            top1: 0,
            top5: 0,
            top1_percent: 0.0,
            top5_percent: 0.0,
            loss: 0.0,
            per_class: names.iter().map(class).collect(),
            errors: Vec::new(),
            confusion: Confusion::new(names.len()),
        };
        Self { report, loss_sum: 0.0 }
    }

    /// Counts an image with these scores, one per class; `label` is a class.
    pub(crate) fn add<T: PartialOrd + Copy>(&mut self, scores: &[T], label: usize, loss: f64) {
        let report = &mut self.report;
        let [top1, top5] = [1, 5].map(|k| metric::is_among(scores, label, k));
        report.images += 1;
        report.top1 += usize::from(top1);
        report.top5 += usize::from(top5);
        let class = &mut report.per_class[label];
        class.images += 1;
        class.right += usize::from(top1);
        if let Some(predicted) = metric::best(scores) {
            let classes = report.confusion.classes;
            report.confusion.counts[label * classes + predicted] += 1;
        }
        self.loss_sum += loss;
    }

    /// Lists an image that could not be read.
    pub(crate) fn miss(&mut self, index: usize, error: String) {
        self.report.errors.push(Unread { index, error });
    }

    /// Images so far, the unread ones included.
    pub(crate) fn seen(&self) -> usize {
        self.report.images + self.report.errors.len()
    }

    pub(crate) fn finish(self) -> Report {
        let Report { images, top1, top5, .. } = self.report;
        Report {
            top1_percent: percent(top1, images),
            top5_percent: percent(top5, images),
            loss: self.loss_sum / images.max(1) as f64,
            ..self.report
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_class_and_confusion() {
        let names: Vec<String> = (0..6).map(|i| format!("c{i}")).collect();
        let mut tally = Tally::new(&names);
        let one_hot = |class: usize| (0..6).map(|i| f32::from(u8::from(i == class))).collect();
        let rows: [(Vec<f32>, usize); 4] =
            [(one_hot(2), 2), (one_hot(1), 2), (one_hot(1), 5), (vec![f32::NAN; 6], 0)];
        for (scores, label) in rows {
            tally.add(&scores, label, 0.5);
        }
        tally.miss(9, "damaged".to_owned());
        assert_eq!(tally.seen(), 5);
        let report = tally.finish();
        assert_eq!((report.images, report.top1), (4, 1));
        // Class 5 ties with four zeros of smaller index behind class 1: it is sixth.
        assert_eq!(report.top5, 2);
        assert_eq!((report.top1_percent, report.top5_percent, report.loss), (25.0, 50.0, 0.5));
        assert_eq!((report.per_class[2].images, report.per_class[2].right), (2, 1));
        assert_eq!(report.confusion.row(2), [0, 1, 1, 0, 0, 0]);
        assert_eq!(report.confusion.count(5, 1), 1);
        assert_eq!(report.confusion.row(0), [0; 6]);
    }
}
