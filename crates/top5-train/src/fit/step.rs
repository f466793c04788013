//! A step: the gradients of its images, in one pass through the network or in several that count as one, and the update.

use top5_data::{Batch, share};
use top5_eval::{metric, percent};
use top5_graph::random::{Stream, hash};
use top5_graph::{EngineError, Graph, StepOptions, Targets, Training, Update};

use super::{Going, Trainer, is_infinite};
use crate::failure::{Diverged, FitError, NotFinite};
use crate::filters::renormalise;
use crate::log::StepRecord;
use crate::state::State;

/// What the passes of a step came to on this rank.
struct Passed {
    /// Sum of the images' losses.
    loss_sum: f64,
    /// Its mean.
    loss: f64,
    /// Images whose class was the first, and among the first five.
    right: [usize; 2],
    finite: bool,
}

impl Trainer {
    /// Learns from one batch, which has `total` images on all ranks.
    pub(super) fn step(
        &self,
        training: &mut dyn Training,
        going: &mut Going<'_, '_>,
        state: &mut State,
        (batch, total): (&Batch, usize),
    ) -> Result<StepRecord, FitError> {
        let passed = self.passes(training, going, state.step, (batch, total))?;
        let infinite = f64::from(u8::from(!passed.finite));
        let [right, right_top5] = passed.right.map(|right| right as f64);
        let mut sums = [passed.loss_sum, right, right_top5, infinite];
        going.group.together(Ok(()), &mut sums)?;
        let [loss_sum, right, right_top5, infinite] = sums;
        let [right, right_top5] = [right, right_top5].map(|sum| sum as usize);
        let alone = batch.labels.len() == total;
        let value = if alone { passed.loss } else { loss_sum / total as f64 };
        let (epoch, step) = (state.rows.len() + 1, state.step + 1);
        let diverged = |what| Diverged { epoch, step, loss: value, what };
        if infinite > 0.0 {
            return Err(FitError::Diverged(diverged(non_finite(training, value))));
        }
        let lr = self.rate.at(state.step, &state.rows);
        if !lr.is_finite() {
            return Err(FitError::Diverged(diverged(NotFinite::Rate)));
        }
        let groups = going.tuning.groups().to_vec();
        training.update(&Update { groups, ..self.recipe.update(lr, step) });
        if let Some(most) = self.recipe.max_filter_rms {
            renormalise(training, going.tuning, most)?;
        }
        state.right += right;
        state.right_top5 = state.right_top5.map(|sum| sum + right_top5);
        state.images += total;
        state.loss_sum += loss_sum;
        state.step = step;
        let [top1, top5] = [right, right_top5].map(|right| Some(percent(right, total)));
        Ok(StepRecord { step, epoch, images: Some(total), loss: value, top1, top5, lr })
    }

    /// Forward and backward with this rank's share of a step's images, cut into the recipe's number of parts, whose gradients
    /// are added. Only the last pass adds them over the ranks.
    fn passes(
        &self,
        training: &mut dyn Training,
        going: &mut Going<'_, '_>,
        step: usize,
        (batch, total): (&Batch, usize),
    ) -> Result<Passed, FitError> {
        let seed = Stream::new(self.recipe.seed, hash("dropout")).at(step as u64);
        let (label_smoothing, parts) = (self.recipe.label_smoothing, self.recipe.accumulate);
        let classes = training.graph().classes();
        let images = batch.labels.len();
        let size = batch.images.len() / images;
        let mixed = batch.mixed.as_ref();
        let shares = mixed.map(|mixed| mixed.distributions(&batch.labels, classes));
        let labels = mixed.map_or(&batch.labels[..], |mixed| mixed.main_labels(&batch.labels));
        let mut passed = Passed { loss_sum: 0.0, loss: 0.0, right: [0; 2], finite: true };
        for part in 0..parts {
            let places = share(images, [part, parts]);
            let targets = match &shares {
                Some(shares) => {
                    Targets::Distributions(&shares[places.start * classes..places.end * classes])
                }
                None => Targets::Classes(&batch.labels[places.clone()]),
            };
            let options = StepOptions {
                label_smoothing,
                seed,
                first: self.first() + places.start,
                scale: (places.len() as f64 / total as f64) as f32,
                accumulate: part > 0,
            };
            let inputs = &batch.images[places.start * size..places.end * size];
            let reducer = going.group.reducer(part + 1 < parts);
            let loss = training.gradients(inputs, targets, &options, reducer)?;
            let rows = loss.logits.data().chunks_exact(classes);
            let answered = rows.zip(&labels[places.clone()]);
            for (row, &label) in answered {
                for (right, k) in passed.right.iter_mut().zip([1, 5]) {
                    *right += usize::from(metric::is_among(row, label as usize, k));
                }
            }
            passed.loss_sum += loss.value * places.len() as f64;
            passed.loss = if parts == 1 { loss.value } else { passed.loss_sum / images as f64 };
            passed.finite &= loss.finite;
        }
        Ok(passed)
    }
}

/// The fewest images that a step can learn from: 2 where a batch normalisation would see one value per channel, whose output
/// is its bias whatever the image. Refuses batches that are smaller, as PyTorch does.
pub(super) fn check_statistics(graph: &Graph, batch: usize) -> Result<usize, EngineError> {
    let mut nodes = graph.nodes().iter();
    let small = nodes.find(|node| node.spec.affine.is_some() && node.shape().size() == [1, 1]);
    match small {
        None => Ok(1),
        Some(_) if batch > 1 => Ok(2),
        Some(node) => {
            let why = "batch normalisation needs more than one value per channel in training: take batches of 2 images or \
                       more, or larger images";
            Err(EngineError::Unsupported { node: node.name.clone(), why: why.to_owned() })
        }
    }
}

/// What is not finite of a step's loss and gradients, of which something is not.
fn non_finite(training: &dyn Training, loss: f64) -> NotFinite {
    if !loss.is_finite() {
        return NotFinite::Loss;
    }
    let gradients = training.gradient_tensors();
    let infinite = |name: &String| gradients.tensor(name).is_some_and(is_infinite);
    let first = training.graph().params().map(|(name, _)| name).find(infinite);
    NotFinite::Gradient(first.unwrap_or_else(|| "some parameter".to_owned()))
}
