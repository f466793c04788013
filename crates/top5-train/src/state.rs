//! Where a run is: with the data, all that the rest of the run depends on.

use serde::{Deserialize, Serialize};
use top5_graph::{StateName, Weights};

use crate::log::EpochRow;
use crate::recipe::Recipe;

/// The state of a run between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The run's recipe.
    pub recipe: Recipe,
    /// Fingerprints of the training and the validation images.
    pub data: [String; 2],
    /// Steps done.
    pub step: usize,
    /// Sum over this epoch's images of their losses while learning.
    pub loss_sum: f64,
    /// Images of this epoch that were classified right while learning.
    pub right: usize,
    /// Those whose class was among the first five; None in an epoch that was begun without counting them.
    #[serde(default)]
    pub right_top5: Option<usize>,
    /// Images of this epoch so far.
    pub images: usize,
    /// The epochs that are complete.
    pub rows: Vec<EpochRow>,
    /// Length of the log in bytes; whatever follows was written after this state.
    pub log_bytes: u64,
    /// Parameters and buffers.
    #[serde(skip)]
    pub weights: Weights,
    /// What the optimiser keeps: `momentum_buffer/conv1.weight`.
    #[serde(skip)]
    pub optimizer: Weights,
}

impl State {
    /// A run that has not begun.
    pub(crate) fn new(recipe: Recipe, data: [String; 2], weights: Weights) -> Self {
        Self {
            recipe,
            data,
            step: 0,
            loss_sum: 0.0,
            right: 0,
            right_top5: Some(0),
            images: 0,
            rows: Vec::new(),
            log_bytes: 0,
            weights,
            optimizer: Weights::new(),
        }
    }

    /// The epoch that is best on the validation images: the greatest top-1, then the smallest loss, then the first. Where there
    /// are no such images it is the last.
    pub fn best(&self) -> Option<&EpochRow> {
        let figures = |row: &EpochRow| Some([row.eval_top1?, row.eval_loss?]);
        let rows = self.rows.iter().filter_map(|row| Some((row, figures(row)?)));
        let best = rows.min_by(|(_, [top1, loss]), (_, [other_top1, other_loss])| {
            other_top1.total_cmp(top1).then(loss.total_cmp(other_loss))
        });
        best.map(|(row, _)| row).or(self.rows.last())
    }

    /// What is validated and kept of it: the average of the weights where there is one, else the weights.
    pub fn model(&self) -> Weights {
        StateName::Ema.select(&self.optimizer).unwrap_or_else(|| self.weights.clone())
    }

    /// Lets the run go on as far as this recipe, which is otherwise its own: to as many epochs, if it has fewer, and until
    /// as many in a row are no better than the best.
    pub fn prolong(&mut self, recipe: &Recipe) {
        self.recipe.epochs = self.recipe.epochs.max(recipe.epochs);
        self.recipe.early_stopping = recipe.early_stopping;
    }

    /// Whether nothing is left to do: all epochs are done, or so many in a row were no better than the best that the recipe
    /// wants no more.
    pub fn is_finished(&self) -> bool {
        self.rows.len() >= self.recipe.epochs || self.stopped_early()
    }

    /// Whether it has ended because validation stopped improving.
    pub fn stopped_early(&self) -> bool {
        let since = self.best().map_or(0, |best| self.rows.len() - best.epoch);
        self.recipe.early_stopping.is_some_and(|most| since >= most)
    }
}
