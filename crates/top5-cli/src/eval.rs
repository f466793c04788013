//! `top5 eval`: top-1, top-5 and loss of a model, of an ensemble or of saved predictions on a part of a dataset, by the protocols
//! of the papers.

mod against;
mod args;
mod beside;
mod blocks;
mod classes;
mod data;
mod ensemble;
mod files;
mod kinds;
mod look;
mod names;
mod page;
mod pictures;
pub(crate) mod protocol;
mod real;
mod result;
mod rows;
mod saved;
mod shown;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use top5::eval::metric::softmax;
use top5::eval::rows::ResultRow;
use top5::eval::{
    Averaged, Judged, Origin, Predictions, TEMPERATURES, Temperature, Weighted, at_temperature,
    kept_row, temperature,
};
use top5::train::Ranks;

use crate::args::WeightsArgs;
use crate::exit::Stop;
use crate::memory::readers;
use crate::output::{Kind, Output};
use crate::ranks::{self, RanksArgs};
use crate::source::StoredModel;
pub(crate) use args::{EXAMPLES, EvalArgs, Split};
use beside::Beside;
pub(crate) use data::{Choice as DataChoice, DIGITS, Part};
use ensemble::{Ensemble, Given};
pub(crate) use files::REPORT;
use kinds::Kinds;
pub(crate) use look::hash as hash_of_weights;
use look::{Look, Settings};
use pictures::Wanted;
use protocol::Choice;
use real::Real;
use result::{Evaluation, Failures, Outcome, Report};
pub(crate) use shown::Shown;
use text::Form;

/// The command, resolved.
pub(crate) struct Task {
    what: What,
    data: data::Choice,
    settings: Settings,
    ranks: RanksArgs,
    real: Option<Real>,
    temperature_from: Option<PathBuf>,
    /// Saved answers whose probabilities are compared with.
    beside: Option<PathBuf>,
    tell: Tell,
}

/// What is judged.
enum What {
    /// A model's answers.
    Model(Box<Look>),
    /// Several models' answers as one.
    Ensemble(Ensemble),
    /// Answers in a file, or in one for each shard.
    Saved(Vec<PathBuf>),
    /// Nothing: published rows are printed.
    Nothing,
}

impl What {
    fn resolve(
        model: Option<&str>,
        ensemble: Option<String>,
        predictions: Vec<PathBuf>,
        weights_key: Option<String>,
        given: Given<'_>,
    ) -> Result<Self> {
        if let Some(model) = model {
            let weights = match given.weights {
                [_, other, ..] => {
                    let message =
                        format!("--weights {other}: one model has its weights in one place");
                    return Err(Stop::Usage(message).into());
                }
                weights => weights.first().cloned(),
            };
            let weights =
                WeightsArgs { weights, ema: given.ema, weights_key, offline: given.offline };
            let protocol = given.protocol.cloned().map_or_else(|| Choice::resolve("1-crop"), Ok)?;
            let model = StoredModel::resolve(model, &weights)?;
            let (preprocess, names) = (given.preprocess.clone(), given.class_names.cloned());
            return Ok(Self::Model(Box::new(Look::new(model, protocol, preprocess, names)?)));
        }
        if let Some(text) = ensemble {
            return Ok(Self::Ensemble(Ensemble::resolve(&text, &given)?));
        }
        if predictions.is_empty() {
            return Ok(Self::Nothing);
        }
        if !(given.weights.is_empty() && given.preprocess.is_empty()) {
            let message = "--predictions: saved answers were made with weights and preprocessing of their own";
            return Err(Stop::Usage(message.to_owned()).into());
        }
        Ok(Self::Saved(predictions))
    }

    /// Refuses what was said of data that nothing looks at. `opens`: the report shows images of them.
    fn takes(&self, data: &data::Choice, opens: bool) -> Result<()> {
        match self {
            Self::Nothing if data.is_given() => {
                let message = "--data: nothing is evaluated: give a model, an ensemble or predictions beside --row";
                Err(Stop::Usage(message.to_owned()).into())
            }
            Self::Saved(_) if data.is_given() && !opens => Err(unused("--data")),
            Self::Ensemble(of) if of.is_saved() && data.is_given() && !opens => {
                Err(unused("--data"))
            }
            Self::Ensemble(of) if of.is_saved() && data.split != Split::Test => {
                Err(unused("--split"))
            }
            Self::Model(_) | Self::Ensemble(_) | Self::Saved(_) | Self::Nothing => Ok(()),
        }
    }
}

/// How the result is told, and what it must be.
struct Tell {
    per_class: bool,
    form: Form,
    save: Option<PathBuf>,
    report: Option<PathBuf>,
    /// What the report needs images for.
    pictures: Wanted,
    /// An errors.csv that was filled in.
    kinds: Option<Kinds>,
    /// An earlier report, with what it is called.
    against: Option<(String, Report)>,
    rows: Option<Vec<ResultRow>>,
    /// Earlier results, to be printed beside the rows.
    measured: Vec<(String, Evaluation)>,
    min_top1: Option<f64>,
}

impl Task {
    pub(crate) fn resolve(args: EvalArgs) -> Result<Self> {
        let EvalArgs { model, predictions, ensemble, weights, ema, weights_key, offline, .. } =
            args;
        let preprocess = args.preprocess;
        let data = data::Choice::resolve(args.data, args.split, model.as_deref())?;
        let protocol = args.protocol.as_deref().map(Choice::resolve).transpose()?;
        let class_names = args.class_names;
        let given = Given {
            weights: &weights,
            ema,
            offline,
            protocol: protocol.as_ref(),
            preprocess: &preprocess,
            class_names: class_names.as_ref(),
        };
        let what = What::resolve(model.as_deref(), ensemble, predictions, weights_key, given)?;
        what.takes(&data, args.thumbnails || args.twins)?;
        let against = args.against.map(|path| -> Result<(String, Report)> {
            Ok((path.display().to_string(), files::read(&path)?))
        });
        let settings = Settings {
            batch: args.batch_size,
            skip_bad: data.skip_bad,
            shard: args.shard,
            options: args.engine.options()?,
            hash: args.save.is_some() || args.report.is_some() || args.temperature_from.is_some(),
            ranks: None,
        };
        let tell = Tell {
            per_class: args.per_class,
            form: match (args.csv, args.markdown) {
                (true, _) => Form::Csv,
                (false, true) => Form::Markdown,
                (false, false) => Form::Text,
            },
            save: args.save,
            report: args.report,
            pictures: Wanted {
                thumbnails: args.thumbnails,
                twins: args.twins,
                threads: readers(&settings.options),
            },
            kinds: args.kinds.as_deref().map(Kinds::read).transpose()?,
            against: against.transpose()?,
            rows: args.row.as_deref().map(rows::find).transpose()?,
            measured: args
                .measured
                .iter()
                .map(|path| Ok((path.display().to_string(), files::read(path)?.evaluation)))
                .collect::<Result<_>>()?,
            min_top1: args.min_top1,
        };
        Ok(Self {
            what,
            data,
            settings,
            ranks: args.ranks,
            real: args.real.as_deref().map(Real::read).transpose()?,
            temperature_from: args.temperature_from,
            beside: args.beside,
            tell,
        })
    }

    /// Looks and tells, as one of several processes where `mpirun` has started them. Each of them looks at a shard of its own where
    /// that is asked for.
    pub(crate) fn run(self, output: Output) -> Result<()> {
        if self.settings.shard.is_some() {
            return self.run_as(None, output);
        }
        ranks::share(self.ranks, output, |ranks, output| self.run_as(ranks, output))
    }

    fn run_as(mut self, ranks: Option<Arc<dyn Ranks>>, output: Output) -> Result<()> {
        let follows = ranks.as_ref().is_some_and(|ranks| ranks.rank() > 0);
        self.settings.ranks = ranks;
        if follows {
            return self.follow(output);
        }
        self.tell.check(output)?;
        let earlier = Earlier::read(&self)?;
        let outcome = match &self.what {
            What::Nothing => {
                let Tell { rows, measured, form, .. } = &self.tell;
                let rows = rows.as_deref().unwrap_or_default();
                return rows::print(rows, None, measured, *form, output);
            }
            What::Model(look) => self.look(look, &earlier, output)?,
            What::Ensemble(ensemble) => {
                self.judge(ensemble.run(&self.data, &self.settings, output)?, &earlier, output)?
            }
            What::Saved(paths) => self.judge(saved::read_all(paths)?, &earlier, output)?,
        };
        self.tell.tell(outcome, &self.data, output)
    }

    /// Looks where rank 0 does, which judges and tells.
    fn follow(&self, output: Output) -> Result<()> {
        match &self.what {
            What::Model(look) => {
                let model = look.open(output)?;
                let part = self.data.open(&model, self.data.split, output)?;
                look.at(model, &part, &self.settings, output, &mut |_, _, _| ())?;
                Ok(())
            }
            What::Ensemble(ensemble) => ensemble.follow(&self.data, &self.settings, output),
            What::Saved(_) | What::Nothing => Ok(()),
        }
    }

    /// Judges a model's answers as they come; they are kept only where they must be.
    fn look(&self, look: &Look, earlier: &Earlier, output: Output) -> Result<Outcome> {
        let model = look.open(output)?;
        let part = self.data.open(&model, self.data.split, output)?;
        if self.tell.save.is_some() || earlier.are() || self.real.is_some() {
            let answers = ensemble::keep(look, model, &part, &self.settings, output)?;
            return self.judge(answers, earlier, output);
        }
        let mut judged = Vec::new();
        let mut each = |index: usize, label: u32, probabilities: &[f64]| {
            // As if they had been saved, so that both give the same numbers.
            let probabilities = softmax(&kept_row(probabilities));
            judged.push(Judged::new(index, &probabilities, label));
        };
        let header = look.at(model, &part, &self.settings, output, &mut each)?;
        Ok(Outcome { header, judged, beside: None, against: None, failures: Failures::default() })
    }

    /// Judges answers that were kept, at a temperature and with several right answers if that is asked for; saves them.
    fn judge(
        &self,
        mut answers: Predictions,
        earlier: &Earlier,
        output: Output,
    ) -> Result<Outcome> {
        let mut failures = Failures::default();
        let scaled = (earlier.fitted.as_ref())
            .map_or(Ok(()), |(shown, fitted)| scale(&mut answers, fitted, shown, output));
        // Where there is no such temperature, what was said is not lost.
        if let Some(path) = &self.tell.save {
            failures.note(saved::write(&answers, path, output));
        }
        scaled?;
        if let Some(shard) = &answers.header.shard {
            output.note(&format!("{shard}: judge all shards with --predictions, file after file"));
        }
        let beside = (earlier.beside.as_ref())
            .and_then(|(shown, other)| failures.note(Beside::new(&answers, other, shown)));
        let judged = match &self.real {
            Some(real) => real.judge(&mut answers, output)?,
            None => (answers.labels.iter().enumerate())
                .map(|(image, &label)| Judged::new(image, &answers.probabilities(image), label))
                .collect(),
        };
        Ok(Outcome { header: answers.header, judged, beside, against: None, failures })
    }
}

/// Saved answers that are asked for beside what is judged, with the files' names: read before the work, so that it is not done in
/// vain where they cannot be.
struct Earlier {
    /// To which a temperature is fitted.
    fitted: Option<(String, Predictions)>,
    /// Whose probabilities are compared with.
    beside: Option<(String, Predictions)>,
}

impl Earlier {
    fn read(task: &Task) -> Result<Self> {
        let read = |path: &PathBuf| -> Result<(String, Predictions)> {
            Ok((path.display().to_string(), saved::read(path)?))
        };
        let fitted = task.temperature_from.as_ref().map(read).transpose()?;
        let beside = task.beside.as_ref().map(read).transpose()?;
        Ok(Self { fitted, beside })
    }

    /// Whether there are any.
    fn are(&self) -> bool {
        self.fitted.is_some() || self.beside.is_some()
    }
}

/// What says which images are looked at, where none are.
fn unused(flag: &str) -> anyhow::Error {
    let message = format!(
        "{flag}: these answers are saved and about images of their own: only --thumbnails and --twins look at images again"
    );
    Stop::Usage(message).into()
}

/// Brings answers to the temperature that fits the saved ones of the file that is `shown`.
fn scale(
    answers: &mut Predictions,
    fitted: &Predictions,
    shown: &str,
    output: Output,
) -> Result<()> {
    if answers.header.origin.terms.temperature.is_some() {
        let message = "--temperature-from: the answers have a temperature already: give some that were saved without one";
        return Err(Stop::BadInput(message.to_owned()).into());
    }
    refuse_same(fitted, answers)?;
    refuse_others(fitted, answers, shown)?;
    if fitted.header.classes != answers.header.classes {
        let message = "the predictions that the temperature is fitted to have other classes";
        return Err(Stop::BadInput(message.to_owned()).into());
    }
    let rows = || -> Box<dyn Iterator<Item = (&[f32], u32)> + '_> {
        Box::new((0..fitted.len()).map(|i| (fitted.row(i), fitted.labels[i])))
    };
    let value = temperature(rows);
    if TEMPERATURES.iter().any(|bound| (value / bound).ln().abs() < 0.01) {
        output.warn(&format!(
            "the temperature is {value:.2}, the end of the range that is tried: these images say too little, as where every \
             answer is right"
        ));
    }
    let at = |image| kept_row(&at_temperature(answers.row(image), value));
    answers.log_probabilities = (0..answers.len()).flat_map(at).collect();
    answers.header.origin.terms.temperature =
        Some(Temperature { value, fitted_to: fitted.fitted_to() });
    Ok(())
}

/// Fails where something is fitted to images that it is reported on, all of them or some: wherever they lay, whatever they are called
/// and however they were divided.
fn refuse_same(fitted: &Predictions, reported: &Predictions) -> Result<()> {
    if [fitted, reported].iter().any(|answers| answers.header.pixels.is_empty()) {
        let message = "nothing can be fitted to answers that do not tell which images they are about, as older ones: save them \
                       once more";
        return Err(Stop::BadInput(message.to_owned()).into());
    }
    match fitted.shares_images_with(reported) {
        true => {
            let message = "it would be fitted to images that the result is reported on: fit it to the validation part";
            Err(Stop::BadInput(message.to_owned()).into())
        }
        false => Ok(()),
    }
}

/// Fails where something is fitted to answers of another network than the one that it is used for, or given in another way. `shown`
/// names their file.
fn refuse_others(fitted: &Predictions, reported: &Predictions, shown: &str) -> Result<()> {
    let [a, b] = [fitted, reported].map(|answers| &answers.header.origin);
    let Some(differs) = difference(a, b) else { return Ok(()) };
    let message = format!(
        "{shown} holds answers of {}{differs}, to which nothing can be fitted for those of {}",
        a.network, b.network
    );
    Err(Stop::BadInput(message).into())
}

/// By how much two weights of a member may differ that are one: as many digits are told.
const SAME_WEIGHT: f64 = 1e-4;

/// What tells answers from others that are given in another way, in words after what the first ones are of; of ensembles, of any of
/// their members.
fn difference(a: &Origin, b: &Origin) -> Option<String> {
    if a.network != b.network {
        return Some(String::new());
    }
    if a.weights != b.weights {
        return Some(" with other weights".to_owned());
    }
    if !a.terms.is_as_warm_as(&b.terms) {
        return Some(" at another temperature".to_owned());
    }
    match (&a.ensemble, &b.ensemble) {
        (None, None) if !looks_alike(a, b) => Some(format!(" by {}, not {}", a.looks(), b.looks())),
        (None, None) => (a.preprocess != b.preprocess).then(|| {
            let [a, b] = [a, b].map(|origin| origin.preparation().unwrap_or_default());
            format!(" with other preprocessing ({a}, not {b})")
        }),
        (Some(a), Some(b)) if a.average != b.average => {
            let [a, b] = [a, b].map(|averaged| averaged.average.name());
            Some(format!(" by the mean of the {a}, not of the {b}"))
        }
        (Some(a), Some(b)) => {
            let all = |of: &Averaged| of.origins.iter().map(|one| one.weight).sum::<f64>();
            let all = [a, b].map(all);
            let same = |(one, other): (&Weighted, &Weighted)| {
                (one.weight / all[0] - other.weight / all[1]).abs() <= SAME_WEIGHT
            };
            let mut pairs = a.origins.iter().zip(&b.origins);
            if a.origins.len() != b.origins.len() || !pairs.clone().all(same) {
                return Some(" with other weights of its members".to_owned());
            }
            let of_members = |(one, other): (&Weighted, &Weighted)| {
                let differs = difference(&one.origin, &other.origin)?;
                Some(format!(", a member of which is {}{differs}", one.origin.network))
            };
            pairs.find_map(of_members)
        }
        (Some(_), None) | (None, Some(_)) => Some(" as another ensemble".to_owned()),
    }
}

fn looks_alike(a: &Origin, b: &Origin) -> bool {
    a.protocol.as_ref().zip(b.protocol.as_ref()).is_some_and(|(a, b)| a.looks_as(b))
}

impl Tell {
    /// Fails where a file that is asked for could not be written: before the work, not after it.
    fn check(&self, output: Output) -> Result<()> {
        if let Some(path) = &self.save {
            output.check_file(path, Kind::Predictions)?;
        }
        self.report.as_deref().map_or(Ok(()), |folder| files::check(folder, output))
    }

    /// Tells a result, and then what failed of what was asked for beside it: the work is not lost for that.
    fn tell(self, mut outcome: Outcome, data: &data::Choice, output: Output) -> Result<()> {
        let mut failures = std::mem::take(&mut outcome.failures);
        let against = self.against.as_ref().and_then(|(name, earlier)| {
            let earlier = (&earlier.evaluation, &earlier.details);
            failures.note(outcome.against(name, earlier).map_err(Into::into))
        });
        outcome.against.clone_from(&against);
        let outcome = &outcome;
        if let Some(folder) = &self.report {
            failures.note(self.write(folder, outcome, data, output));
        }
        let evaluation = outcome.evaluation(self.per_class);
        let form = self.form;
        if let Some(rows) = self.rows.as_deref() {
            if form == Form::Text && !output.json {
                output.text(&text::describe(&evaluation))?;
            }
            rows::print(rows, Some(&evaluation), &self.measured, form, output)?;
        } else if output.json {
            output.document(&evaluation)?;
        } else {
            output.text(&match form {
                Form::Text => text::describe(&evaluation),
                Form::Csv => text::csv(outcome, &evaluation),
                Form::Markdown => text::markdown(outcome, &evaluation),
            })?;
        }
        for line in text::compared(&evaluation).filter(|_| !output.json) {
            match form {
                Form::Text => output.text(&(line + "\n"))?,
                // A table is all that its reader expects.
                Form::Csv | Form::Markdown => output.note(&line),
            }
        }
        failures.end(output)?;
        if let Some(against) = against {
            against.check()?;
        }
        match self.min_top1 {
            Some(least) if evaluation.top1 < least => {
                let message = format!("top-1 is {:.2} %, below {least} %", evaluation.top1);
                Err(Stop::CheckFailed(message).into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes the report.
    fn write(
        &self,
        folder: &Path,
        outcome: &Outcome,
        data: &data::Choice,
        output: Output,
    ) -> Result<()> {
        let mut details = outcome.details();
        if let Some(kinds) = &self.kinds {
            details.kinds = kinds.count(outcome)?;
        }
        let thumbnails = pictures::look(outcome, &mut details, data, self.pictures, output)?;
        files::write(outcome, details, &thumbnails, folder, output)
    }
}
