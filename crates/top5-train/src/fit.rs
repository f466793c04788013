//! The loop: steps, epochs, checkpoints, and the choice of the best epoch on validation images.
//!
//! ```text
//! for each epoch:
//!     for each batch of the epoch's order:
//!         gradients; stop where the loss or a gradient is not finite; update
//!     evaluate on the validation images
//! ```
//!
//! Everything random is a function of (seed, position), and the state holds everything else, so a run that goes on from
//! any state ends with the bits of one that was never stopped.
//!
//! What ends a run between two steps, a stop flag or an image that cannot be read, leaves a checkpoint of the last step.
//! Images that are left out keep their places in the order, so that their batches are smaller and nothing else changes.

mod step;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use top5_data::{DataError, Loader, LoaderOptions, Preprocess, Splits, share};
use top5_eval::{Report, evaluate_loaded, percent};
use top5_graph::{
    EngineError, Graph, Session, SessionOptions, StateName, Stop, Tensor, Training, Weights,
};

use crate::checkpoint::Checkpoints;
use crate::failure::{Diverged, FitError, NotFinite, ObserverError};
use crate::fine_tune::FineTuning;
use crate::group::Group;
use crate::log::{EpochRow, Record, StepRecord, line};
use crate::ranks::{RankError, Ranks};
use crate::recipe::{Recipe, RecipeError};
use crate::schedule::Rate;
use crate::state::State;

/// What has just happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A line for the log, line feed included. It comes before the event it tells of.
    Log(&'a str),
    /// A step was done.
    Step(&'a StepRecord),
    /// An epoch was done and evaluated.
    Epoch {
        /// What it came to.
        row: &'a EpochRow,
        /// Whether it is the best so far.
        best: bool,
        /// The state after it, weights included.
        state: &'a State,
    },
    /// A checkpoint of this state was written.
    Checkpoint(&'a State),
    /// An image could not be read, and was left out.
    LeftOut {
        /// Which, and why.
        error: &'a str,
    },
}

/// Is told what happens and says whether to go on. A `Break` counts at a step, after which a checkpoint is written and the
/// run ends, and at an epoch, which has its checkpoint; at other events it is passed over.
pub type Observer<'a> = dyn FnMut(Event<'_>) -> Result<ControlFlow<()>, ObserverError> + 'a;

/// A recipe and the data it is followed on.
pub struct Trainer {
    recipe: Recipe,
    train: Loader,
    validation: Loader,
    rate: Rate,
    stop: Option<Stop>,
    tuning: Option<FineTuning>,
    /// The ranks of a run that has several.
    ranks: Option<Arc<dyn Ranks>>,
}

impl Trainer {
    /// Training by this recipe on the training part, chosen on the validation part. A last step that is not full is left
    /// out, unless it is the only one. Panics where the recipe's batch size or number of batches per step is 0.
    pub fn new(recipe: Recipe, splits: &Splits, preprocess: Preprocess) -> Self {
        let images = recipe.step_images();
        let options = LoaderOptions {
            batch: images,
            seed: recipe.seed,
            shuffle: true,
            drop_last: splits.train.len() >= images,
            skip_unreadable: false,
            augment: recipe.augment.clone(),
            mix: recipe.mix(),
        };
        let train = Loader::new(Arc::clone(&splits.train), preprocess.clone(), options);
        let rate = recipe.rate(train.steps());
        // No larger than the training's, in whose plan they are looked at.
        let batch = pass_images(&recipe, splits.train.len());
        let evaluation = LoaderOptions::evaluation(batch);
        let options = LoaderOptions { skip_unreadable: false, ..evaluation };
        let validation = Loader::new(Arc::clone(&splits.validation), preprocess, options);
        Self { recipe, train, validation, rate, stop: None, tuning: None, ranks: None }
    }

    /// The same with images read and decoded on this many threads; as many as the process may use cores otherwise. The
    /// run is the same for any number.
    pub fn threads(self, threads: usize) -> Self {
        let [train, validation] = [self.train, self.validation].map(|part| part.threads(threads));
        Self { train, validation, ..self }
    }

    /// The same, but an image that cannot be read is left out, for as long as it cannot, and ends nothing.
    pub fn skip_unreadable(self) -> Self {
        let [train, validation] = [self.train, self.validation].map(Loader::skip_unreadable);
        Self { train, validation, ..self }
    }

    /// The same with a flag that ends the run within a step, or within a validation: after a checkpoint of the last step that
    /// was done. The training should have the same flag, unless the recipe accumulates gradients: statistics that follow the
    /// first batches of a step that is then stopped would be kept.
    pub fn stop(self, stop: Stop) -> Self {
        let [train, validation] = [self.train, self.validation].map(|part| part.stop(stop.clone()));
        Self { train, validation, stop: Some(stop), ..self }
    }

    /// The same with what the recipe means for this network. The training must be of its graph; without it the training is of
    /// the network itself, which needs it only where a batch normalisation is frozen.
    pub fn fine_tuning(self, tuning: FineTuning) -> Self {
        Self { tuning: Some(tuning), ..self }
    }

    /// The same run, shared by these ranks: of each batch each learns from a [`share`], and their gradients are added while the
    /// backward pass goes on. Every rank calls this and [`Trainer::run`], with a training of its own that takes
    /// [`Trainer::batch`] images and has no stop flag, in which one would leave the others waiting; this trainer's own flag
    /// stops all of them between two steps. The state is rank 0's, whatever the others give, and so are running statistics
    /// where batch normalisation is over each rank's own images, which it is unless the recipe synchronises it. A single rank
    /// runs as if there were none.
    pub fn ranks(self, ranks: Arc<dyn Ranks>) -> Result<Self, RankError> {
        let (rank, size) = (ranks.rank(), ranks.size());
        if size <= 1 {
            return Ok(self);
        }
        let batch = pass_images(&self.recipe, self.train.dataset().len());
        if size > batch {
            return Err(RankError::TooMany { ranks: size, batch });
        }
        let [train, validation] = [self.train, self.validation].map(|part| part.shared(rank, size));
        Ok(Self { train, validation, ranks: Some(ranks), ..self })
    }

    /// The most images that a training takes at once: a batch, or the share of it that is this rank's.
    pub fn batch(&self) -> usize {
        self.step_images().div_ceil(self.recipe.accumulate)
    }

    /// The most images that this rank learns from in a step.
    pub fn step_images(&self) -> usize {
        share(self.whole_batch(), self.rank()).len()
    }

    /// Which of how many ranks this is.
    fn rank(&self) -> [usize; 2] {
        self.ranks.as_ref().map_or([0, 1], |ranks| [ranks.rank(), ranks.size()])
    }

    /// Images of a step of all ranks: the data may have fewer than the recipe's.
    fn whole_batch(&self) -> usize {
        self.recipe.step_images().min(self.train.dataset().len())
    }

    /// The place of this rank's first image among them.
    fn first(&self) -> usize {
        share(self.whole_batch(), self.rank()).start
    }

    /// What makes the batches that it learns from.
    pub fn training_images(&self) -> &Loader {
        &self.train
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> usize {
        self.rate.steps
    }

    /// Steps of an epoch.
    pub fn epoch_steps(&self) -> usize {
        self.rate.epoch
    }

    /// The state of a run that begins with these weights.
    pub fn begin(&self, weights: Weights) -> State {
        State::new(self.recipe.clone(), self.fingerprints(), weights)
    }

    /// Goes on from `state` to the end of the last epoch, or until the observer does not want to; which of the two,
    /// [`State::is_finished`] tells. Where there are `checkpoints`, one is written after every epoch, every
    /// `checkpoint_steps` of the recipe, and when the observer stops the run.
    ///
    /// Fails before anything is computed where the state is of a run with another recipe or other data. The training must
    /// take [`Trainer::batch`] images at once.
    pub fn run(
        &self,
        training: &mut dyn Training,
        state: State,
        checkpoints: Option<&mut Checkpoints>,
        observe: &mut Observer<'_>,
    ) -> Result<State, FitError> {
        match &self.ranks {
            None => self.run_in(Group::alone(), training, state, checkpoints, observe),
            Some(ranks) => thread::scope(|scope| {
                let group = Group::of(scope, ranks.as_ref(), self.recipe.sync_bn)?;
                self.run_in(group, training, state, checkpoints, observe)
            }),
        }
    }

    fn run_in(
        &self,
        mut group: Group<'_>,
        training: &mut dyn Training,
        state: State,
        mut checkpoints: Option<&mut Checkpoints>,
        observe: &mut Observer<'_>,
    ) -> Result<State, FitError> {
        let mut state = group.state(state)?;
        let tuning = group.together(self.prepare(training, &state), &mut [])?;
        let least = self.check_batches(training.graph())?;
        let mut saved = state.step;
        let mut validation = None;
        while !state.is_finished() {
            let mut going = Going {
                least,
                tuning: &tuning,
                group: &mut group,
                validation: &mut validation,
                saved: &mut saved,
            };
            let ended =
                self.epoch(training, &mut state, &mut going, &mut checkpoints, &mut *observe);
            match ended {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break,
                Err(error) => {
                    if group.keeps_state(&error) && saved != state.step {
                        let loss = state.loss_sum / state.images as f64;
                        remember(training, &tuning, &mut group, &mut state, loss)?;
                        save(&mut group, &mut checkpoints, &state, observe)?;
                    }
                    return if error.is_stop() { Ok(state) } else { Err(error) };
                }
            }
        }
        Ok(state)
    }

    /// The rest of the state's epoch, and its end. A `Break` after a checkpoint at which the observer wants to end.
    fn epoch(
        &self,
        training: &mut dyn Training,
        state: &mut State,
        going: &mut Going<'_, '_>,
        checkpoints: &mut Option<&mut Checkpoints>,
        observe: &mut Observer<'_>,
    ) -> Result<ControlFlow<()>, FitError> {
        let first = state.step - state.rows.len() * self.rate.epoch;
        let mut unread = None;
        // What ends the run on this rank, until the others hear of it.
        let mut asked = Ok(());
        for batch in self.train.epoch(state.rows.len() as u64, first) {
            let batch = asked.and_then(|()| batch.map_err(FitError::Data));
            asked = Ok(());
            let images = batch.as_ref().map_or(0, |batch| batch.labels.len());
            let mut sums = [images as f64, f64::from(u8::from(images < going.least))];
            let mut batch = going.group.together(batch, &mut sums)?;
            let too_few = if going.group.is_alone() { images < going.least } else { sums[1] > 0.0 };
            for (_, error) in batch.unread.drain(..) {
                left_out(&error.to_string(), observe)?;
                unread = Some(error);
            }
            if too_few {
                // Nothing is learnt from what is left of it.
                state.step += 1;
                continue;
            }
            let record = self.step(training, going, state, (&batch, sums[0] as usize))?;
            note(state, &Record::Step(record), observe)?;
            let stop = observe(Event::Step(&record)).map_err(FitError::Observer)?.is_break();
            let every = self.recipe.checkpoint_steps;
            let due = every.is_some_and(|every| state.step.is_multiple_of(every))
                && !state.step.is_multiple_of(self.rate.epoch);
            if due {
                remember(training, going.tuning, going.group, state, record.loss)?;
                save(going.group, checkpoints, state, observe)?;
                *going.saved = state.step;
            }
            if stop {
                asked = Err(FitError::Data(DataError::Stopped));
                if going.group.is_alone() {
                    break;
                }
            }
        }
        let nothing = unread.filter(|_| state.images == 0).map(FitError::Data);
        going.group.together(asked.and(nothing.map_or(Ok(()), Err)), &mut [])?;
        let report = self.validate(training, going, state, observe)?;
        let ended = self.close(training, going, report, state, checkpoints, observe)?;
        *going.saved = state.step;
        Ok(ended)
    }

    /// How the weights do on the validation images, if there are any.
    fn validate(
        &self,
        training: &mut dyn Training,
        going: &mut Going<'_, '_>,
        state: &State,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Report>, FitError> {
        if self.validation.dataset().is_empty() {
            return Ok(None);
        }
        let mut session = self.publish(training, going)?;
        let report = evaluate_loaded(session.as_mut(), &self.validation, &mut |_| {});
        *going.validation = Some(session);
        let report = going.group.report(report.map_err(FitError::Evaluation))?;
        for unread in &report.errors {
            left_out(&unread.error, observe)?;
        }
        if !report.loss.is_finite() {
            let (epoch, what) = (state.rows.len() + 1, NotFinite::ValidationLoss);
            let diverged = Diverged { epoch, step: state.step, loss: report.loss, what };
            return Err(FitError::Diverged(diverged));
        }
        Ok(Some(report))
    }

    /// Ends an epoch that came to this on the validation images.
    fn close(
        &self,
        training: &dyn Training,
        going: &mut Going<'_, '_>,
        report: Option<Report>,
        state: &mut State,
        checkpoints: &mut Option<&mut Checkpoints>,
        observe: &mut Observer<'_>,
    ) -> Result<ControlFlow<()>, FitError> {
        let epoch = state.rows.len() + 1;
        let report = report.as_ref();
        let row = EpochRow {
            epoch,
            step: state.step,
            train_loss: state.loss_sum / state.images as f64,
            train_top1: percent(state.right, state.images),
            train_top5: state.right_top5.map(|right| percent(right, state.images)),
            eval_loss: report.map(|report| report.loss),
            eval_top1: report.map(|report| report.top1_percent),
            eval_top5: report.map(|report| report.top5_percent),
            ema: self.recipe.ema.is_some(),
            lr: self.rate.at(state.step - 1, &state.rows),
        };
        // Before the state becomes that of the epoch's end: a run that diverged has no such state.
        remember(training, going.tuning, going.group, state, row.train_loss)?;
        state.rows.push(row.clone());
        (state.loss_sum, state.right, state.right_top5, state.images) = (0.0, 0, Some(0), 0);
        note(state, &Record::Epoch(row.clone()), observe)?;
        save(going.group, checkpoints, state, observe)?;
        let best = state.best().is_some_and(|best| best.epoch == epoch);
        let seen = observe(Event::Epoch { row: &row, best, state }).map_err(FitError::Observer);
        let mut stops = [f64::from(u8::from(seen.as_ref().is_ok_and(ControlFlow::is_break)))];
        let seen = going.group.together(seen, &mut stops)?;
        Ok(if stops[0] > 0.0 { ControlFlow::Break(()) } else { seen })
    }

    /// The session for validation with today's weights, or with their average; it is made once.
    fn publish(
        &self,
        training: &mut dyn Training,
        going: &mut Going<'_, '_>,
    ) -> Result<Box<dyn Session>, FitError> {
        let network = training.publish()?;
        let is_averaged = self.recipe.ema.is_some();
        let average = StateName::Ema.select(&training.state()).filter(|_| is_averaged);
        if !going.group.is_alone() {
            let own = average.unwrap_or_else(|| training.weights());
            network.load(going.group.weights(own)?)?;
        } else if let Some(average) = average {
            network.load(average)?;
        }
        if let Some(made) = going.validation.take() {
            return Ok(made);
        }
        let stop = self.stop.clone();
        let options = SessionOptions { stop, ..SessionOptions::inference(training.batch()) };
        Ok(network.session(training.graph(), &options)?)
    }

    /// What the recipe means for the network, of which the training must be.
    fn tuning_of(&self, graph: &Graph) -> Result<FineTuning, FitError> {
        let tuning = match &self.tuning {
            Some(tuning) => tuning.clone(),
            None => FineTuning::new(graph, &self.recipe).map_err(FitError::Recipe)?,
        };
        if tuning.graph().params().eq(graph.params()) {
            return Ok(tuning);
        }
        let why = "the training is of another graph than that of the trainer's fine-tuning";
        Err(EngineError::Unsupported { node: graph.name().to_owned(), why: why.to_owned() }.into())
    }

    /// Loads a state of this run.
    fn prepare(&self, training: &mut dyn Training, state: &State) -> Result<FineTuning, FitError> {
        self.check(state)?;
        let images = self.validation.dataset().len();
        self.recipe.check_validation(images).map_err(FitError::Recipe)?;
        let tuning = self.tuning_of(training.graph())?;
        training.load(&tuning.inward(&state.weights))?;
        training.load_state(&tuning.inward_state(state.optimizer.clone()))?;
        Ok(tuning)
    }

    /// The fewest images of a step that a rank can learn from. Refuses a network that normalises batches smaller than that, as
    /// PyTorch does, and more batches per step than there are images.
    pub fn check_batches(&self, graph: &Graph) -> Result<usize, FitError> {
        let (whole, parts, [_, ranks]) = (self.whole_batch(), self.recipe.accumulate, self.rank());
        // The last rank has the smallest share, and the last part of it is the smallest.
        let own = share(whole, [ranks - 1, ranks]).len() / parts;
        if own == 0 {
            let expected = "at most the number of images that a process learns from in a step";
            let wrong = RecipeError::value("accumulate", expected);
            return Err(FitError::Recipe(wrong));
        }
        let least = if ranks > 1 && self.recipe.sync_bn {
            step::check_statistics(graph, whole / parts)?.min(1)
        } else {
            step::check_statistics(graph, own)?
        };
        Ok(least * parts)
    }

    /// Whether a state is of this run.
    fn check(&self, state: &State) -> Result<(), FitError> {
        let mut differences = self.recipe.differences(&state.recipe);
        let parts = ["training images", "validation images"];
        for ((part, here), there) in parts.iter().zip(self.fingerprints()).zip(&state.data) {
            if here != *there {
                differences.push(format!("{part}: {here}, {there}"));
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(FitError::Mismatch { differences }) }
    }

    fn fingerprints(&self) -> [String; 2] {
        [&self.train, &self.validation].map(|part| format!("{:016x}", part.dataset().fingerprint()))
    }
}

/// What lasts over the epochs of one call.
struct Going<'a, 'g> {
    /// Fewest images to learn from.
    least: usize,
    tuning: &'a FineTuning,
    group: &'a mut Group<'g>,
    validation: &'a mut Option<Box<dyn Session>>,
    /// The step of the newest checkpoint.
    saved: &'a mut usize,
}

/// Images that go through the networks of all ranks at once, of this many to learn from.
fn pass_images(recipe: &Recipe, images: usize) -> usize {
    (recipe.step_images().min(images) / recipe.accumulate).max(1)
}

fn is_infinite(tensor: &Tensor) -> bool {
    tensor.data().iter().any(|value| !value.is_finite())
}

/// Tells of an image that was left out.
fn left_out(error: &str, observe: &mut Observer<'_>) -> Result<(), FitError> {
    observe(Event::LeftOut { error }).map_err(FitError::Observer).map(|_| ())
}

/// Gives a line to the log.
fn note(state: &mut State, record: &Record, observe: &mut Observer<'_>) -> Result<(), FitError> {
    let line = line(record);
    state.log_bytes += line.len() as u64;
    observe(Event::Log(&line)).map_err(FitError::Observer).map(|_| ())
}

/// Takes weights and the optimiser's state into the run's, if they are finite.
fn remember(
    training: &dyn Training,
    tuning: &FineTuning,
    group: &mut Group<'_>,
    state: &mut State,
    loss: f64,
) -> Result<(), FitError> {
    let weights = group.model(training.weights(), training.graph())?;
    let weights = tuning.outward(weights, &state.weights);
    let optimizer = tuning.outward_state(group.weights(training.state())?, &state.weights);
    let infinite = |tensors: &Weights| {
        let mut tensors = tensors.iter();
        tensors.find(|(_, tensor)| is_infinite(tensor)).map(|(name, _)| name.to_owned())
    };
    if let Some(name) = infinite(&weights).or_else(|| infinite(&optimizer)) {
        let what = NotFinite::Weight(name);
        let (epoch, step) = (state.rows.len() + 1, state.step);
        return Err(FitError::Diverged(Diverged { epoch, step, loss, what }));
    }
    (state.weights, state.optimizer) = (weights, optimizer);
    Ok(())
}

fn save(
    group: &mut Group<'_>,
    checkpoints: &mut Option<&mut Checkpoints>,
    state: &State,
    observe: &mut Observer<'_>,
) -> Result<(), FitError> {
    let saved = match checkpoints {
        Some(checkpoints) => checkpoints.save(state).map_err(FitError::Checkpoint),
        None => return group.together(Ok(()), &mut []),
    };
    group.together(saved, &mut [])?;
    observe(Event::Checkpoint(state)).map_err(FitError::Observer).map(|_| ())
}
