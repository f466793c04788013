//! `top5 train`: a run in a folder of its own, which can be stopped and killed at any moment and goes on.

mod args;
mod data;
pub(crate) mod flags;
mod plan;
mod recipe;
mod record;
mod result;
mod start;
mod summary;
mod telling;
mod view;

pub(crate) use args::{EXAMPLES, TrainArgs};
use plan::Plan;
pub(crate) use plan::augment_as_usual;
use recipe::Resolved;
pub(crate) use recipe::{asked_for, is_usual, refused};

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use top5::data::{Limits, Loader, LoaderOptions, OnBad, Preprocess, Splits, files};
use top5::eval::EvaluationError;
use top5::graph::{Device, Graph, SessionOptions, Training, TrainingOptions, Weights, counted};
use top5::train::{
    Checkpoints, Event, FineTuning, FitError, Ranks, Recipe, State, Trainer, initialise_by,
    newest_folder, sentence,
};
use top5::zoo::{self, Settings};
use top5::{CpuDevice, Model, Transplanted, WEIGHTS_FILE, sha256};

use crate::args::EngineArgs;
use crate::environment::Environment;
use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::limits;
use crate::memory::{OfTraining, limited};
use crate::output::{Output, command_line};
use crate::parts;
use crate::ranks::{self, RanksArgs};
use crate::report::{self, Answers};
use crate::run_folder::{CHECKPOINTS, CONFIG, REPORT, RunFolder};
use crate::watch::Watched;
use record::Record;
use result::{Summary, Test, describe};
use telling::Teller;
pub(crate) use telling::TellingArgs;

/// The epochs as a table.
const SUMMARY: &str = "summary.csv";

/// A run, ready to go.
struct Run {
    recipe: Recipe,
    /// Whether the engine convolves directly only.
    exact: bool,
    threads: Option<usize>,
    folder: RunFolder,
    checkpoints: Checkpoints,
    splits: Splits,
    /// How training, validation and test images are prepared.
    preprocess: Preprocess,
    graph: Graph,
    tuning: FineTuning,
    output: Output,
    interrupt: Interrupt,
    /// Epochs whose models are kept.
    keep_epochs: Vec<usize>,
    telling: TellingArgs,
}

/// The command, resolved.
pub(crate) struct Task {
    recipe: Recipe,
    /// What the command line says of it.
    said: Vec<(String, String)>,
    /// What is to be said before anything else.
    warning: Option<String>,
    /// What is to be said of a run that gets more epochs.
    prolonged: Option<String>,
    /// Whether what is done to training images follows from the images.
    augment_unsaid: bool,
    offline: bool,
    /// Whether the data lie where they lay when the run began, for all that is known.
    data_unsaid: bool,
    on_bad: OnBad,
    limits: Limits,
    place: Place,
    /// What was asked of the engine, to which a run that goes on adds its own.
    engine: EngineArgs,
    /// Epochs whose models are kept.
    keep_epochs: Vec<usize>,
    telling: TellingArgs,
    ranks: RanksArgs,
}

/// Where the run is.
enum Place {
    /// In a new folder: this one, or one with a name of its own.
    New(Option<PathBuf>),
    /// Where it began, and how it computes if it has.
    Begun(PathBuf, Option<Environment>),
}

/// What a run needs to begin, or to go on.
struct Ready {
    splits: Splits,
    preprocess: Preprocess,
    graph: Graph,
    tuning: FineTuning,
    /// The weights that it begins with, where they are given.
    start: Option<Transplanted>,
    device: CpuDevice,
    exact: bool,
    threads: Option<usize>,
    interrupt: Interrupt,
    trainer: Trainer,
    of_batch: TrainingOptions,
    /// Bytes that the process takes.
    memory: u64,
}

impl Task {
    pub(crate) fn resolve(args: TrainArgs) -> Result<Self> {
        let Resolved { recipe, said, prolonged, augment_unsaid } = recipe::resolve(&args)?;
        let warning = data::about(&recipe, &args);
        let place = match args.out {
            Some(out) if args.resume => {
                let environment = Environment::read(&out)?;
                Place::Begun(out, environment)
            }
            out => Place::New(out),
        };
        let on_bad = if args.data.skip_bad { OnBad::Skip } else { OnBad::Fail };
        let (limits, data_unsaid) = (args.data.images.limits(), args.data.data.is_none());
        let (offline, keep_epochs, ranks) = (args.offline, args.keep_epochs, args.ranks);
        let precision = args.engine.precision.or(recipe.precision.map(Into::into));
        let engine = EngineArgs { precision, ..args.engine };
        let epochs = 1..=recipe.epochs;
        if let Some(none) = keep_epochs.iter().find(|epoch| !epochs.contains(epoch)) {
            let message =
                format!("--keep-epochs {none}: the run has {}", counted(recipe.epochs, "epoch"));
            return Err(Stop::Usage(message).into());
        }
        Ok(Self {
            recipe,
            said,
            warning,
            prolonged,
            augment_unsaid,
            offline,
            data_unsaid,
            on_bad,
            limits,
            place,
            engine,
            keep_epochs,
            telling: args.telling,
            ranks,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        ranks::share(self.ranks, output, |ranks, output| self.run_as(ranks, output))
    }

    /// Trains, as one of several ranks where there are. Those but the first leave all but the steps to it.
    fn run_as(mut self, ranks: Option<Arc<dyn Ranks>>, output: Output) -> Result<()> {
        let began = Instant::now();
        self.warning.iter().for_each(|warning| output.warn(warning));
        self.prolonged.iter().for_each(|prolonged| output.note(prolonged));
        let ready = self.prepare(ranks.as_ref(), output)?;
        match ranks {
            Some(ranks) if ranks.rank() > 0 => self.follow(ready),
            Some(_) | None => self.lead(ready, began, output),
        }
    }

    /// All that can fail before anything is written.
    fn prepare(&mut self, ranks: Option<&Arc<dyn Ranks>>, output: Output) -> Result<Ready> {
        let begins = matches!(self.place, Place::New(_));
        let reading = data::Reading { on_bad: self.on_bad, limits: self.limits, output };
        let splits = data::open(&self.recipe, &reading, self.data_unsaid && !begins)?;
        let splits = match &self.place {
            Place::Begun(out, Some(begun)) => {
                let whole = || parts::undivided(&self.recipe, self.limits);
                let skip = self.on_bad == OnBad::Skip;
                let own = begun.own_images(out, &self.recipe.data, splits, whole, skip)?;
                data::warn_of_changes(&own, output);
                own.found.splits
            }
            Place::Begun(_, None) | Place::New(_) => splits,
        };
        recipe::check_validation(&self.recipe, &self.said, splits.validation.len())?;
        // The program and the images that it holds.
        let taken = limits::resident();
        let network = zoo::network(&self.recipe.network)?;
        let has_state = match &self.place {
            Place::Begun(out, Some(_)) => newest_folder(&out.join(CHECKPOINTS))?.is_some(),
            Place::Begun(..) | Place::New(_) => false,
        };
        let from = match has_state {
            true => None,
            false => start::open(&mut self.recipe, network, self.offline, output)?,
        };
        let (graph, preprocess) = self.build(network, &splits)?;
        let tuning = FineTuning::new(&graph, &self.recipe)?;
        let of_start = |from| start::weights(&from, &graph, &self.recipe, output);
        let start = from.map(of_start).transpose()?;
        start::describe(&tuning, output);
        if !has_state {
            start::warn_of_drawn(&tuning, &graph, start.as_ref(), output);
        }
        let options = match &self.place {
            Place::Begun(_, Some(begun)) => begun.resume(&self.engine, output)?.options()?,
            Place::Begun(_, None) | Place::New(_) => self.engine.options()?,
        };
        let options = limited(options);
        let device = top5::device(&options)?;
        let (exact, threads, interrupt) = (options.exact, options.threads, Interrupt::default());
        let trainer = self.trainer(&splits, &preprocess, &tuning, threads);
        let (trainer, of_batch) = match ranks {
            Some(ranks) => ranks::divide(trainer, ranks, self.recipe.sync_bn, output)?,
            None => {
                let of_batch = TrainingOptions::new(trainer.batch());
                // Of several batches, those that are done could not be taken back.
                let stop = Some(interrupt.stop()).filter(|_| self.recipe.accumulate == 1);
                (trainer, TrainingOptions { stop, ..of_batch })
            }
        };
        let trainer = trainer.stop(interrupt.stop());
        // A step that does not fit would fail at its start.
        let of_rank = Recipe { batch_size: of_batch.batch, ..self.recipe.clone() };
        let needed = OfTraining::new(&device, tuning.graph(), &of_rank)?;
        needed.check(&options)?;
        trainer.check_batches(tuning.graph())?;
        let memory = taken.saturating_add(needed.memory());
        Ok(Ready {
            splits,
            preprocess,
            graph,
            tuning,
            start,
            device,
            exact,
            threads,
            interrupt,
            trainer,
            of_batch,
            memory,
        })
    }

    /// Trains as a rank that is not the first.
    fn follow(self, ready: Ready) -> Result<()> {
        let Ready { graph, tuning, start, device, interrupt, trainer, of_batch, .. } = ready;
        let weights = start.map(|start| start.weights);
        let Recipe { init, seed, .. } = self.recipe;
        let weights = weights.unwrap_or_else(|| initialise_by(init, &graph, seed));
        let training = device.training(tuning.graph(), &tuning.inward(&weights), &of_batch)?;
        ranks::follow(&trainer, training, trainer.begin(weights), &interrupt)
    }

    /// Trains as the only rank, or as the first, which writes.
    fn lead(self, ready: Ready, began: Instant, output: Output) -> Result<()> {
        let Self { recipe, place, keep_epochs, telling, .. } = self;
        let Ready { splits, preprocess, graph, tuning, start, device, exact, .. } = ready;
        let Ready { threads, interrupt, trainer, of_batch, memory, .. } = ready;
        let name = format!("{}-{}", recipe.network, data::folder_name(&recipe.data));
        let watched = telling.watch.clone().map(Watched::bind).transpose()?;
        let folder = match place {
            Place::Begun(out, _) => RunFolder::reopen(&out)?,
            Place::New(out) => RunFolder::create(out.as_deref(), &name)?,
        };
        let checkpoints = Checkpoints::open(folder.join(CHECKPOINTS))?;
        let mut run = Run {
            recipe,
            exact,
            threads,
            folder,
            checkpoints,
            splits,
            preprocess,
            graph,
            tuning,
            output,
            interrupt,
            keep_epochs,
            telling,
        };
        let state = run.begin(&trainer, &device, start)?;
        let steps = [trainer.steps(), trainer.epoch_steps()];
        let plan = Plan::new(&run.recipe, &run.splits, &run.graph, steps, memory);
        plan.say(&run.recipe, output);
        let serve =
            |watched: Watched| watched.serve(&device, run.folder.path(), &run.recipe, output);
        let _serving = watched.map(serve).transpose()?;
        let mut training = {
            // Not kept beside those that the training makes of them.
            let weights = run.tuning.inward(&state.weights);
            device.training(run.tuning.graph(), &weights, &of_batch)?
        };
        let state = run.train(&trainer, training.as_mut(), state)?;
        drop(training);
        let summary = run.finish(&device, &state, began, plan)?;
        if output.json {
            return output.document(&summary);
        }
        output.text(&describe(&summary))
    }

    /// What goes through the recipe's steps.
    fn trainer(
        &self,
        splits: &Splits,
        preprocess: &Preprocess,
        tuning: &FineTuning,
        threads: Option<usize>,
    ) -> Trainer {
        let trainer = Trainer::new(self.recipe.clone(), splits, preprocess.clone());
        let mut trainer = trainer.fine_tuning(tuning.clone());
        if let Some(threads) = threads {
            trainer = trainer.threads(threads);
        }
        if self.on_bad == OnBad::Skip {
            trainer = trainer.skip_unreadable();
        }
        trainer
    }

    /// The network for these classes and the recipe's input, and how images become it. What is done to training images is written
    /// into the recipe where nobody has said it.
    fn build(
        &mut self,
        network: &'static zoo::Network,
        splits: &Splits,
    ) -> Result<(Graph, Preprocess)> {
        let recipe = &mut self.recipe;
        let preprocess = top5::recipe_preprocessing(recipe, network);
        let input = preprocess.input_size;
        let classes = splits.train.classes().len();
        let graph = network.with(Settings { classes, input, ..network.settings() })?;
        if self.augment_unsaid {
            plan::augment_as_usual(recipe, splits.train.as_ref(), input);
        }
        Ok((graph, preprocess))
    }
}

impl Run {
    /// Writes down what the run is, and finds where it is; one that begins does so from `start`, where that is given.
    fn begin(
        &self,
        trainer: &Trainer,
        device: &CpuDevice,
        start: Option<Transplanted>,
    ) -> Result<State> {
        let Self { recipe, exact, folder, splits, graph, output, .. } = self;
        folder.sweep()?;
        let has_begun = files::exists(&folder.join(CONFIG))?;
        // The folder is a run with the second of them, and no run lacks the first.
        Environment::write(folder, device, *exact, splits)?;
        folder.write(CONFIG, recipe.to_toml().as_bytes())?;
        output.note(&format!(
            "{}: {}; {}: {}; {}",
            graph.name(),
            counted(graph.param_count(), "parameter"),
            recipe.data,
            splits.describe(),
            folder.path().display()
        ));
        if let Some(decay) = recipe.ema {
            output.note(&format!(
                "the average of the weights, of which {decay} stays in a step, is validated and kept"
            ));
        }
        let found = self.checkpoints.newest()?;
        for damaged in &found.damaged {
            output.warn(&damaged.to_string());
        }
        match found.state {
            Some(mut state) => {
                state.prolong(recipe);
                output.note(&format!("going on after step {}", state.step));
                if let Some(why) = start::stopped_early(&state) {
                    output.note(&format!("{why}; a greater --early-stopping lets it go on"));
                }
                // It may have been cut off between the checkpoint and these.
                folder.write(SUMMARY, summary::csv(&state.rows).as_bytes())?;
                let ended = state.rows.last().filter(|row| row.step == state.step);
                if let Some(row) = ended.filter(|row| self.keep_epochs.contains(&row.epoch)) {
                    let model = model(graph, splits, &self.preprocess, state.model());
                    folder.keep_epoch(row.epoch, &model)?;
                }
                Ok(state)
            }
            None if found.damaged.is_empty() => {
                if has_begun {
                    output.note("the run has no checkpoint: it begins again");
                }
                let given = start.map(|start| start.weights);
                Ok(trainer
                    .begin(given.unwrap_or_else(|| initialise_by(recipe.init, graph, recipe.seed))))
            }
            None => {
                let message = "every checkpoint is damaged: begin again in another folder";
                Err(Stop::BadInput(message.to_owned()).into())
            }
        }
    }

    /// Trains to the end of the last epoch. A signal ends it earlier, after a checkpoint, with an error.
    fn train(
        &mut self,
        trainer: &Trainer,
        training: &mut dyn Training,
        state: State,
    ) -> Result<State> {
        let Self { folder, checkpoints, output, interrupt, splits, .. } = self;
        let (graph, preprocess, keep_epochs) = (&self.graph, &self.preprocess, &self.keep_epochs);
        // From here on Ctrl-C means: stop within the step, and write a checkpoint.
        interrupt.listen().context("listening for signals")?;
        let mut record = Record::open(folder, &state, self.telling.tensorboard)?;
        let mut left_out: BTreeSet<String> =
            splits.skipped.iter().map(ToString::to_string).collect();
        let mut teller = Teller::new(self.telling.progress, *output, trainer.steps(), &state);
        let mut observe = |event: Event<'_>| -> Result<()> {
            match event {
                Event::Log(line) => record.log(line)?,
                Event::Step(step) => {
                    record.step(step)?;
                    teller.step(step);
                }
                Event::Epoch { row, best, state } => {
                    record.epoch(row)?;
                    folder.write(SUMMARY, summary::csv(&state.rows).as_bytes())?;
                    if keep_epochs.contains(&row.epoch) {
                        let model = model(graph, splits, preprocess, state.model());
                        folder.keep_epoch(row.epoch, &model)?;
                    }
                    teller.epoch(&state.rows, best);
                    start::stopped_early(state).iter().for_each(|why| teller.note(why));
                }
                Event::LeftOut { error } => {
                    if left_out.insert(error.to_owned()) {
                        teller.warn(&format!("left out: {error}"));
                    }
                }
                Event::Checkpoint(_) => {}
            }
            Ok(())
        };
        let ended = trainer.run(training, state, Some(checkpoints), &mut |event| {
            observe(event)?;
            Ok(match interrupt.signal() {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            })
        });
        let state = ended.map_err(|error| self.repairable(error))?;
        match self.interrupt.signal() {
            Some(signal) if !state.is_finished() => {
                Err(self.interrupted(signal, &format!("after step {}", state.step)))
            }
            Some(_) | None => Ok(state),
        }
    }

    /// How the user goes on with the run.
    fn next(&self) -> String {
        command_line(&["train", "--resume", "--out", &self.folder.path().display().to_string()])
    }

    fn interrupted(&self, signal: u8, when: &str) -> anyhow::Error {
        let message = format!("stopped {when}; go on with\n  {}", self.next());
        Stop::Interrupted { signal, message }.into()
    }

    /// The error, and what can be done where it is an image's.
    fn repairable(&self, error: FitError) -> anyhow::Error {
        let (FitError::Data(error) | FitError::Evaluation(EvaluationError::Data(error))) = error
        else {
            return error.into();
        };
        // What cannot be read is not left out.
        let (kind, way): (fn(String) -> Stop, _) = match error.is_io() {
            true => (Stop::Resource, "see to it that it can be read, and go on with"),
            false => (
                Stop::BadInput,
                "put a good file in its place, or add --skip-bad to leave it out, and go on with",
            ),
        };
        let next = self.next();
        kind(format!("{error}\n  the last step is kept: {way}\n  {next}")).into()
    }

    /// Makes the model of the best epoch and evaluates it on the test images.
    fn finish(
        &self,
        device: &CpuDevice,
        state: &State,
        start: Instant,
        plan: Plan,
    ) -> Result<Summary> {
        let best = state.best().context("the run has no epoch")?;
        let weights = match best.step == state.step {
            true => state.model(),
            false => self.checkpoints.load(best.step)?.model(),
        };
        let model = model(&self.graph, &self.splits, &self.preprocess, weights);
        let bytes = model.to_bytes();
        self.folder.write(WEIGHTS_FILE, &bytes)?;
        let answers =
            self.answers(device, model).map_err(|error| match self.interrupt.signal() {
                Some(signal) => self.interrupted(signal, "before the last images were classified"),
                None => error,
            })?;
        if !self.telling.no_report {
            let history = self.folder.history()?;
            report::write(&self.folder, &self.recipe, &history, answers.as_ref())?;
        }
        let test = answers.filter(|answers| answers.part == report::TEST).map(|answers| Test {
            images: answers.report.images,
            skipped: answers.report.errors.len(),
            top1: answers.report.top1_percent,
            top5: answers.report.top5_percent,
            loss: answers.report.loss,
        });
        Ok(Summary {
            run: self.folder.path().display().to_string(),
            network: self.recipe.network.clone(),
            data: self.recipe.data.clone(),
            epochs: state.rows.len(),
            best_epoch: best.epoch,
            validation_top1: best.eval_top1,
            sentence: sentence(&state.rows, state.recipe.epochs).unwrap_or_default(),
            test,
            weights_sha256: sha256(&bytes),
            seconds: start.elapsed().as_secs_f64(),
            peak_memory_bytes: limits::peak(),
            report: Some(REPORT)
                .filter(|_| !self.telling.no_report)
                .map(|page| self.folder.join(page).display().to_string()),
            plan,
            skipped: !self.splits.skipped.is_empty(),
        })
    }

    /// What the model says of the test images, or for the report of those that chose the epoch; None where there are none.
    fn answers(&self, device: &CpuDevice, model: Model) -> Result<Option<Answers>> {
        let unseen = report::unseen(&self.splits);
        let wanted = |part: &str| part == report::TEST || !self.telling.no_report;
        let Some((part, dataset)) = unseen.filter(|(part, _)| wanted(part)) else {
            return Ok(None);
        };
        let batch = self.recipe.batch_size.min(dataset.len());
        let stop = self.interrupt.stop();
        let inference = SessionOptions::inference(batch);
        let options = SessionOptions { stop: Some(stop.clone()), ..inference };
        let evaluation = LoaderOptions::evaluation(batch);
        let mut loader = Loader::new(dataset, self.preprocess.clone(), evaluation);
        loader = loader.stop(stop);
        if let Some(threads) = self.threads {
            loader = loader.threads(threads);
        }
        let answers = Answers::of(device, model, &options, loader, part)?;
        for unread in &answers.report.errors {
            self.output.warn(&format!("left out: {}", unread.error));
        }
        Ok(Some(answers))
    }
}

/// The model of these weights. One of digits is used on digits that somebody drew.
fn model(graph: &Graph, splits: &Splits, preprocess: &Preprocess, weights: Weights) -> Model {
    let digits = *preprocess == Preprocess::digits();
    Model {
        graph: graph.clone(),
        weights,
        classes: splits.train.classes().to_vec(),
        preprocess: if digits { Preprocess::drawn_digits() } else { preprocess.clone() },
    }
}
