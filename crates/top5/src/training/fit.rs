//! The loop: steps, epochs, and the choice of the best epoch on validation images.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use top5_data::{Batch, Dataset, Loader, LoaderOptions, Preprocess, Splits};
use top5_eval::{Report, evaluate, percent};
use top5_graph::random::{Stream, hash};
use top5_graph::{Engine, StepOptions, Weights};

use super::recipe::Recipe;

/// Where a run is: with the recipe and the data, all that the rest of the run depends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Sum of the losses of this epoch's steps.
    pub loss_sum: f64,
    /// Training images of this epoch that were classified right when they were learnt from.
    pub hits: usize,
    /// Training images of this epoch so far.
    pub images: usize,
    /// The epochs that are complete.
    pub rows: Vec<Row>,
    /// Parameters and buffers.
    #[serde(skip)]
    pub weights: Weights,
    /// Momenta.
    #[serde(skip)]
    pub momenta: Weights,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its number, from 1.
    pub epoch: usize,
    /// Mean loss of its steps.
    pub train_loss: f64,
    /// Share of the training images classified right while learning, in percent.
    pub train_top1: f64,
    /// Mean loss on the validation images.
    pub eval_loss: f64,
    /// Top-1 on the validation images, in percent.
    pub eval_top1: f64,
    /// Top-5 on the validation images, in percent.
    pub eval_top5: f64,
    /// Learning rate of its last step.
    pub lr: f32,
}

impl State {
    /// The epoch that is best on the validation images: the greatest top-1, then the smallest loss, then the first.
    pub fn best(&self) -> Option<&Row> {
        let better = |a: &Row, b: &Row| {
            b.eval_top1.total_cmp(&a.eval_top1).then(a.eval_loss.total_cmp(&b.eval_loss))
        };
        self.rows.iter().min_by(|a, b| better(a, b))
    }
}

/// The loss is infinite or no number. Nothing was updated.
#[derive(Clone, Debug, PartialEq)]
pub struct Diverged {
    /// The step, from 1.
    pub step: usize,
    /// The loss.
    pub loss: f64,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loss of step {} is {}: the weights were not updated with it; lower the learning \
             rate, or look for infinite values in the data",
            self.step, self.loss
        )
    }
}

impl std::error::Error for Diverged {}

/// What has just happened.
pub enum Event<'a> {
    /// A step was done.
    Step {
        /// Steps done in all.
        step: usize,
        /// The step's loss.
        loss: f64,
    },
    /// An epoch was done, with this state after it, which is to be kept.
    Epoch {
        /// The state.
        state: &'a State,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A checkpoint is due: this state is to be kept.
    Checkpoint {
        /// The state.
        state: &'a State,
    },
}

/// Told what happens, says whether to go on.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> Result<ControlFlow<()>> + 'a;

/// A training run.
pub struct Trainer {
    recipe: Recipe,
    train: Loader,
    validation: Arc<dyn Dataset>,
    preprocess: Preprocess,
}

impl Trainer {
    /// A run by this recipe on these data.
    pub fn new(recipe: Recipe, splits: &Splits, preprocess: &Preprocess) -> Self {
        let options = LoaderOptions {
            batch: recipe.batch_size,
            seed: recipe.seed,
            shuffle: true,
            drop_last: splits.train.len() >= recipe.batch_size,
            augment: recipe.augment(),
        };
        Self {
            train: Loader::new(splits.train.clone(), preprocess.clone(), options),
            validation: Arc::clone(&splits.validation),
            preprocess: preprocess.clone(),
            recipe,
        }
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> usize {
        self.recipe.epochs * self.train.steps()
    }

    /// Goes on from `state` to the end, or until `watch` does not want to: then the state at that moment comes as the
    /// last checkpoint. Going on from any state gives the same bits as never having stopped. `every` so many steps, and
    /// after every epoch, the state is given to `watch`.
    pub fn run(
        &self,
        engine: &mut dyn Engine,
        mut state: State,
        every: Option<usize>,
        watch: &mut Watch<'_>,
    ) -> Result<State> {
        engine.load(&state.weights)?;
        if !state.momenta.is_empty() {
            engine.load_momenta(&state.momenta)?;
        }
        let steps = self.train.steps();
        while state.rows.len() < self.recipe.epochs {
            let epoch = state.rows.len();
            for batch in self.train.epoch(epoch as u64, state.step - epoch * steps) {
                let batch = batch?;
                let loss = self.step(engine, &mut state, &batch)?;
                let flow = watch(Event::Step { step: state.step, loss })?;
                if flow.is_break() || every.is_some_and(|every| state.step.is_multiple_of(every)) {
                    remember(engine, &mut state);
                    let asked = watch(Event::Checkpoint { state: &state })?;
                    if flow.is_break() || asked.is_break() {
                        return Ok(state);
                    }
                }
            }
            let report = evaluate(engine, &self.validation, &self.preprocess, &mut |_| {})?;
            self.close(&mut state, &report);
            remember(engine, &mut state);
            let best = state.best().is_some_and(|row| row.epoch == epoch + 1);
            if watch(Event::Epoch { state: &state, best })?.is_break() {
                return Ok(state);
            }
        }
        Ok(state)
    }

    /// Learns from one batch.
    fn step(&self, engine: &mut dyn Engine, state: &mut State, batch: &Batch) -> Result<f64> {
        let seed = Stream::new(self.recipe.seed, hash("dropout")).at(state.step as u64);
        let options = StepOptions { label_smoothing: self.recipe.label_smoothing, seed };
        let loss = engine.gradients(&batch.images, &batch.labels, &options)?;
        if !loss.value.is_finite() {
            return Err(Diverged { step: state.step + 1, loss: loss.value }.into());
        }
        engine.update(&self.recipe.sgd(state.step, self.train.steps()));
        let classes = engine.graph().classes();
        let right = |(logits, &label): (&[f32], &u32)| {
            let own = logits[label as usize];
            logits.iter().enumerate().all(|(other, &logit)| other == label as usize || logit < own)
        };
        let rows = loss.logits.data().chunks_exact(classes).zip(&batch.labels);
        state.hits += rows.filter(|&row| right(row)).count();
        state.images += batch.labels.len();
        state.loss_sum += loss.value;
        state.step += 1;
        Ok(loss.value)
    }

    /// Ends an epoch.
    fn close(&self, state: &mut State, report: &Report) {
        let steps = self.train.steps();
        state.rows.push(Row {
            epoch: state.rows.len() + 1,
            train_loss: state.loss_sum / steps as f64,
            train_top1: percent(state.hits, state.images),
            eval_loss: report.loss,
            eval_top1: report.top1_percent,
            eval_top5: report.top5_percent,
            lr: self.recipe.sgd(state.step - 1, steps).lr,
        });
        (state.loss_sum, state.hits, state.images) = (0.0, 0, 0);
    }
}

fn remember(engine: &dyn Engine, state: &mut State) {
    state.weights = engine.weights();
    state.momenta = engine.momenta();
}
