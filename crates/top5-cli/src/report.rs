//! `top5 report`: a run as one file that opens from a folder, without network or scripts. `top5 train` writes it at its end.

mod page;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use top5::data::{Dataset, Loader, LoaderOptions, OnBad, OpenOptions, Preprocess, Splits, files};
use top5::eval::metric::softmax;
use top5::eval::{Report, evaluate_each};
use top5::graph::{Device, Retain, Session, SessionOptions};
use top5::train::{History, Recipe, newest_folder, sentence};
use top5::{CpuDevice, Model, Options, WEIGHTS_FILE};

use crate::args::{DataArgs, EngineArgs};
use crate::memory::{self, limited};
use crate::output::{Kind, Output};
use crate::parts;
use crate::run_folder::{CHECKPOINTS, REPORT, RunFolder, read_recipe};
use crate::tensorboard;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 report runs/lenet-digits                       into runs/lenet-digits/report.html
  top5 report runs/flowers --data photos/ --out flowers.html
  top5 report runs/flowers --no-images --tensorboard  from its logs alone, and as TensorBoard's file";

/// Mistakes that are kept, the worst ones.
const MISTAKES: usize = 40;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The run's folder; it may still train
    run: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// The file to write; report.html in the run's folder by default
    #[arg(long, short, value_name = "FILE.html")]
    out: Option<PathBuf>,
    /// Look at no images: the report tells neither mistakes nor confusions
    #[arg(long)]
    no_images: bool,
    /// Also make TensorBoard's event file from the logs, if the run has none
    #[arg(long)]
    tensorboard: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

/// The command, resolved.
pub(crate) struct Task {
    folder: RunFolder,
    recipe: Recipe,
    data: Option<DataArgs>,
    out: PathBuf,
    tensorboard: bool,
    options: Options,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Told {
    report: String,
    steps: usize,
    epochs: usize,
    /// The last epoch in words.
    sentence: Option<String>,
    /// The part whose images were looked at, how many there were, and the shares that were right, in percent.
    part: Option<&'static str>,
    images: usize,
    top1: Option<f64>,
    top5: Option<f64>,
}

impl Task {
    pub(crate) fn resolve(args: ReportArgs) -> Result<Self> {
        let folder = RunFolder::look(&args.run)?;
        let recipe = read_recipe(&args.run)?.context("the run has no recipe")?;
        Ok(Self {
            out: args.out.unwrap_or_else(|| folder.join(REPORT)),
            folder,
            recipe,
            data: Some(args.data).filter(|_| !args.no_images),
            tensorboard: args.tensorboard,
            options: args.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        output.check_file(&self.out, Kind::ReportHtml)?;
        let answers = match &self.data {
            Some(data) => self.answers(data, output)?,
            None => None,
        };
        let history = self.folder.history()?;
        if self.tensorboard {
            match tensorboard::convert(&self.folder, &history)? {
                Some(name) => {
                    output.note(&format!("written: {}", self.folder.join(&name).display()))
                }
                None => output.note("the run has TensorBoard's files already"),
            }
        }
        let html = page::html(&self.folder, &self.recipe, &history, answers.as_ref())?;
        output.file(&self.out, Kind::ReportHtml, html.as_bytes())?;
        if output.json {
            let report = answers.as_ref().map(|answers| &answers.report);
            return output.document(&Told {
                report: self.out.display().to_string(),
                steps: history.steps.len(),
                epochs: history.rows.len(),
                sentence: sentence(&history.rows, self.recipe.epochs),
                part: answers.as_ref().map(|answers| answers.part),
                images: report.map_or(0, |report| report.images),
                top1: report.map(|report| report.top1_percent),
                top5: report.map(|report| report.top5_percent),
            });
        }
        Ok(())
    }

    /// What the run's model says of images that it has not learnt from; None where it has no model yet, or there are no such
    /// images.
    fn answers(&self, data: &DataArgs, output: Output) -> Result<Option<Answers>> {
        let path = self.folder.path();
        let weights = path.join(WEIGHTS_FILE);
        let has_model = files::exists(&weights)
            .with_context(|| format!("reading {}", weights.display()))?
            || newest_folder(&self.folder.join(CHECKPOINTS))?.is_some();
        if !has_model {
            output.note("the run has no weights yet: its report tells of its steps only");
            return Ok(None);
        }
        let model = Model::load(path).with_context(|| {
            format!(
                "reading the run's model: --no-images makes the report without it; {}",
                weights.display()
            )
        })?;
        let open = OpenOptions {
            on_bad: if data.skip_bad { OnBad::Skip } else { OnBad::Fail },
            limits: data.images.limits(),
            memory: memory::available(),
            ..OpenOptions::default()
        };
        let recipe = match &data.data {
            Some(data) => &Recipe { data: data.clone(), ..self.recipe.clone() },
            None => &self.recipe,
        };
        let opened = parts::open(&recipe.data, Some(&parts::division(recipe)), open).context(
            "opening the run's images: say with --data where they are by now, or leave them out with --no-images",
        )?;
        let splits = match opened.test {
            Some(_) => opened,
            None => {
                let (limits, skip) = (data.images.limits(), data.skip_bad);
                let found = parts::of_run(path, recipe, opened, limits, skip)?;
                found.warn_of_new(output);
                found.splits
            }
        };
        let Some((part, dataset)) = unseen(&splits) else { return Ok(None) };
        // Those of the data sets look already as drawn digits are brought to.
        let preprocess = Preprocess { drawn_digits: false, ..model.preprocess.clone() };
        let device = top5::device(&limited(self.options.clone()))?;
        let batch = self.recipe.batch_size.min(dataset.len());
        let mut loader = Loader::new(dataset, preprocess, LoaderOptions::evaluation(batch));
        if let Some(threads) = self.options.threads {
            loader = loader.threads(threads);
        }
        let answers = Answers::of(&device, model, &SessionOptions::inference(batch), loader, part)?;
        answers.report.errors.iter().for_each(|unread| {
            output.warn(&format!("left out: {}", unread.error));
        });
        Ok(Some(answers))
    }
}

/// The part whose images say how good a model is: the test images, else those that chose the epoch.
pub(crate) fn unseen(splits: &Splits) -> Option<(&'static str, Arc<dyn Dataset>)> {
    let validation = Some(&splits.validation).filter(|part| !part.is_empty());
    let test = splits.test.as_ref().map(|test| (TEST, test));
    let (part, dataset) = test.or(validation.map(|part| ("validation", part)))?;
    Some((part, Arc::clone(dataset)))
}

/// The part that no choice was made by.
pub(crate) const TEST: &str = "test";

/// What a model said of the images of a part.
pub(crate) struct Answers {
    pub(crate) part: &'static str,
    pub(crate) report: Report,
    dataset: Arc<dyn Dataset>,
    /// The worst first.
    mistakes: Vec<Mistake>,
}

/// A wrong answer.
#[derive(Clone, Copy, Debug)]
struct Mistake {
    index: usize,
    label: usize,
    taken: usize,
    probability: f64,
    of_class: f64,
}

impl Answers {
    /// Has a model look at a loader's images.
    pub(crate) fn of(
        device: &CpuDevice,
        model: Model,
        options: &SessionOptions,
        loader: Loader,
        part: &'static str,
    ) -> Result<Self> {
        let Model { graph, weights, .. } = model;
        let network = device.network(&graph, weights, Retain::Nothing)?;
        let mut session = network.session(&graph, options)?;
        let (report, mistakes) = look(session.as_mut(), &loader)?;
        let dataset = Arc::clone(loader.dataset());
        Ok(Self { part, report, dataset, mistakes })
    }
}

/// Classifies the images and keeps the mistakes that were most certain.
fn look(session: &mut dyn Session, loader: &Loader) -> Result<(Report, Vec<Mistake>)> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    let worst = |mistakes: &mut Vec<Mistake>| {
        let order = |a: &Mistake, b: &Mistake| {
            a.of_class.total_cmp(&b.of_class).then(a.index.cmp(&b.index))
        };
        mistakes.sort_by(order);
        mistakes.truncate(MISTAKES);
    };
    let report = evaluate_each(session, loader, &mut |index, label, logits| {
        let best = top5::eval::metric::best(logits);
        let Some(taken) = best.filter(|&best| best != label) else { return };
        let probabilities = softmax(logits);
        let (probability, of_class) = (probabilities[taken], probabilities[label]);
        mistakes.push(Mistake { index, label, taken, probability, of_class });
        if mistakes.len() > 10 * MISTAKES {
            worst(&mut mistakes);
        }
    })?;
    worst(&mut mistakes);
    Ok((report, mistakes))
}

/// Writes the report of a run that has ended into its folder.
pub(crate) fn write(
    folder: &RunFolder,
    recipe: &Recipe,
    history: &History,
    answers: Option<&Answers>,
) -> Result<()> {
    let html = page::html(folder, recipe, history, answers)?;
    folder.write(REPORT, html.as_bytes())
}
