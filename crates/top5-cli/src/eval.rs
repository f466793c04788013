//! `top5 eval`: top-1, top-5 and loss of a model on a part of a dataset.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use top5::data::{self, Dataset, Limits, Loader, LoaderOptions, OnBad, OpenOptions, Preprocess};
use top5::eval::{ClassCount, Report, evaluate_loaded, percent};
use top5::graph::{Device, Retain, SessionOptions};
use top5::train::Recipe;
use top5::{Finite, Model, Options};

use crate::args::{EvalArgs, Split};
use crate::exit::Stop;
use crate::memory::{self, limited_beside};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::printable;
use crate::progress::Progress;
use crate::source::StoredModel;
use crate::table::{self, Column};
use crate::train::read_saved;

/// The dataset of a model of drawn digits that comes from no run.
const DIGITS: &str = "digits";

/// The document of `--json`.
#[derive(Serialize)]
struct Evaluation {
    network: String,
    data: String,
    split: &'static str,
    preprocess: String,
    images: usize,
    /// Files that were left out because they are bad.
    skipped: usize,
    top1: f64,
    top5: f64,
    /// Images whose class came first, and was among the first five.
    top1_right: usize,
    top5_right: usize,
    loss: f64,
    per_class: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: String,
    images: usize,
    top1: f64,
}

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    /// Name or folder; the run's, or those of a model of digits, if absent.
    data: Option<String>,
    skip_bad: bool,
    limits: Limits,
    /// The recipe of the run that the model is of: its data are divided as they were when it learnt.
    recipe: Option<Recipe>,
    split: Split,
    batch: usize,
    per_class: bool,
    min_top1: Option<f64>,
    preprocess: PreprocessArgs,
    options: Options,
}

impl Task {
    pub(crate) fn resolve(args: EvalArgs) -> Result<Self> {
        Ok(Self {
            model: StoredModel::resolve(&args.model, &args.weights)?,
            data: args.data.data,
            skip_bad: args.data.skip_bad,
            limits: args.data.images.limits(),
            recipe: read_saved(Path::new(&args.model))?,
            split: args.split,
            batch: args.batch_size,
            per_class: args.per_class,
            min_top1: args.min_top1,
            preprocess: args.preprocess,
            options: args.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = self.model.open(output)?;
        let (data, open) = self.data(&model)?;
        let (split, part) = self.part(data, &open, output)?;
        warn_of_names(&model, part.as_ref(), output);
        // The embedded digits already look like what drawn ones are brought to.
        let preprocess = match data {
            DIGITS => Preprocess { drawn_digits: false, ..model.preprocess.clone() },
            _ => model.preprocess.clone(),
        };
        let preprocess = self.preprocess.apply(preprocess)?;
        let network = model.graph.name().to_owned();
        let report = self.evaluate(model, &part, &preprocess, output)?;
        let per_class = report.per_class.iter().filter(|_| self.per_class);
        let evaluation = Evaluation {
            network,
            data: data.to_owned(),
            split,
            preprocess: preprocess.describe(),
            images: report.images,
            skipped: report.errors.len(),
            top1: report.top1_percent,
            top5: report.top5_percent,
            top1_right: report.top1,
            top5_right: report.top5,
            loss: report.loss,
            per_class: per_class.map(Class::from).collect(),
        };
        match output.json {
            true => output.document(&evaluation)?,
            false => output.text(&describe(&evaluation))?,
        }
        match self.min_top1 {
            Some(least) if evaluation.top1 < least => {
                let message = format!("top-1 is {:.2} %, below {least} %", evaluation.top1);
                Err(Stop::CheckFailed(message).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The data's name or folder, and how they are divided.
    fn data(&self, model: &Model) -> Result<(&str, OpenOptions)> {
        // The evaluation itself finds bad files: looking for them before would decode every file twice.
        let (on_bad, limits) = (OnBad::Fail, self.limits);
        let usual =
            OpenOptions { on_bad, limits, memory: memory::available(), ..OpenOptions::default() };
        let digits = || Some(DIGITS).filter(|_| model.preprocess.drawn_digits);
        let (data, open) = match &self.recipe {
            Some(Recipe { data, validation, seed, .. }) => {
                let open = OpenOptions { validation: *validation, seed: *seed, ..usual };
                (self.data.as_deref().unwrap_or(data), open)
            }
            None => match self.data.as_deref().or_else(digits) {
                Some(data) => (data, usual),
                None => {
                    let message = "on which images? give --data, a dataset's name or a folder";
                    return Err(Stop::Usage(message.to_owned()).into());
                }
            },
        };
        // A class with one image can only be evaluated whole.
        let validation = if self.split == Split::All { 0.0 } else { open.validation };
        Ok((data, OpenOptions { validation, ..open }))
    }

    fn part(
        &self,
        data: &str,
        open: &OpenOptions,
        output: Output,
    ) -> Result<(&'static str, Arc<dyn Dataset>)> {
        let splits = data::open(data, open)?;
        output.note(&format!("{data}: {}", splits.describe()));
        for unused in splits.unused.iter() {
            output.warn(&format!("left out: {unused}"));
        }
        let (split, part) = match self.split {
            Split::Train => ("train", Some(splits.train)),
            Split::Validation => ("validation", Some(splits.validation)),
            Split::Test => ("test", splits.test),
            Split::All => ("all", Some(splits.whole())),
        };
        // The images that chose the epoch, which are no test but the nearest to one.
        let validation = || match &self.recipe {
            Some(_) => " validation (those that chose the epoch)",
            None => " all",
        };
        let missing = || {
            Stop::BadInput(format!(
                "{data} has no test images: give --split{}, or other --data",
                validation()
            ))
        };
        Ok((split, part.ok_or_else(missing)?))
    }

    fn evaluate(
        &self,
        model: Model,
        part: &Arc<dyn Dataset>,
        preprocess: &Preprocess,
        output: Output,
    ) -> Result<Report> {
        let images = Loader::memory(self.batch, preprocess.size());
        let options = limited_beside(self.options.clone(), images, &model.graph);
        let Model { graph, weights, .. } = model;
        let device = top5::device(&options)?;
        let network = device.network(&graph, weights, Retain::Nothing)?;
        let session = network.session(&graph, &SessionOptions::inference(self.batch))?;
        let mut session = Finite::new(session);
        let evaluation = LoaderOptions::evaluation(self.batch);
        let mut loader = Loader::new(Arc::clone(part), preprocess.clone(), evaluation);
        if let Some(threads) = options.threads {
            loader = loader.threads(threads);
        }
        let progress = Progress::new(output, "evaluating", part.len());
        let report = evaluate_loaded(&mut session, &loader, &mut |images| {
            progress.set(images, String::new);
        });
        drop(progress);
        if !session.culprit().is_empty() {
            let weights = self.model.open(output)?.weights;
            return Err(top5::trace(&device, &graph, weights, session.culprit()).into());
        }
        let report = report?;
        for unread in &report.errors {
            output.warn(&format!("left out: {}", unread.error));
        }
        if !report.errors.is_empty() && !self.skip_bad {
            let (bad, all) = (report.errors.len(), part.len());
            let message = format!(
                "{bad} of {all} images could not be used, see above: replace them, or leave them out \
                 with --skip-bad"
            );
            return Err(Stop::BadInput(message).into());
        }
        Ok(report)
    }
}

/// Reads a number to compare a percentage with.
pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| "expected a number of percent, for example 90".to_owned())
}

/// Classes are compared by their numbers. Names that differ are a hint that the numbers mean something else.
fn warn_of_names(model: &Model, part: &dyn Dataset, output: Output) {
    let (ours, theirs) = (&model.classes, part.classes());
    if ours.len() != theirs.len() {
        return; // which is an error
    }
    let numbered = |names: &[String]| names.iter().enumerate().all(|(i, n)| *n == i.to_string());
    let differing = (0..ours.len()).find(|&i| ours[i] != theirs[i]);
    let Some(i) = differing else { return };
    let known: BTreeSet<&String> = ours.iter().collect();
    let shared = theirs.iter().filter(|name| known.contains(name)).count();
    let name = |names: &[String]| printable::name(&names[i]).into_owned();
    let (our, their) = (name(ours), name(theirs));
    let example = format!("class {i} is {our:?} to the model and {their:?} in the data");
    // The digits' names are their numbers.
    let nameless = !model.preprocess.drawn_digits && numbered(ours) || numbered(theirs);
    match shared {
        0 if nameless => output.note(&format!(
            "classes are compared by number: one side has no names for them ({example})"
        )),
        0 => output.warn(&format!(
            "these are other classes than the model learnt, and the figures mean nothing unless the numbers agree: {example}: \
             classes are compared by number"
        )),
        _ => output.warn(&format!(
            "{example}: classes are compared by number, and {shared} of {} have a name in common",
            ours.len()
        )),
    }
}

impl From<&ClassCount> for Class {
    fn from(count: &ClassCount) -> Self {
        let ClassCount { name, images, right } = count;
        Self { class: name.clone(), images: *images, top1: percent(*right, *images) }
    }
}

fn describe(evaluation: &Evaluation) -> String {
    let Evaluation { network, data, split, images, top1, top5, loss, .. } = evaluation;
    let data = printable::path(data);
    let mut text = format!(
        "{network} on {data} ({split}, {images} images): top-1 {top1:.2} %, top-5 {top5:.2} %, loss \
         {loss:.4}\npreprocessing: {}\n",
        evaluation.preprocess
    );
    if evaluation.skipped > 0 {
        text += &format!("{} bad files were left out and not counted\n", evaluation.skipped);
    }
    if !evaluation.per_class.is_empty() {
        const COLUMNS: [Column; 3] = [("class", false), ("images", true), ("top-1 %", true)];
        let row = |class: &Class| {
            [class.class.clone(), class.images.to_string(), format!("{:.2}", class.top1)]
        };
        let rows: Vec<_> = evaluation.per_class.iter().map(row).collect();
        text += &format!("\n{}", table::aligned(COLUMNS, &rows));
    }
    text
}
