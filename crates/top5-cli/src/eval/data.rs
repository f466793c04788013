//! Which images are looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use top5::Model;
use top5::data::{DataError, Dataset, Limits, OnBad, OpenOptions, Splits};
use top5::eval::{Division, Origin};
use top5::train::Recipe;

use super::args::Split;
use crate::args::DataArgs;
use crate::exit::Stop;
use crate::image_list::Found;
use crate::memory;
use crate::output::Output;
use crate::parts;
use crate::run_folder::read_recipe;

/// The dataset of a model of drawn digits that comes from no run.
pub(crate) const DIGITS: &str = "digits";

/// The data, as they were asked for.
pub(crate) struct Choice {
    /// Name or folder; the run's, or those of a model of digits, if absent.
    data: Option<String>,
    pub(crate) skip_bad: bool,
    limits: Limits,
    /// The run that the model is of, its folder and recipe: its data are divided as they were when it learnt.
    run: Option<(PathBuf, Recipe)>,
    pub(crate) split: Split,
}

/// A part that came before another one, with its name.
pub(crate) type Before = (&'static str, Arc<dyn Dataset>);

/// A part of some data.
pub(crate) struct Part {
    /// Name or folder of the data.
    pub(crate) data: String,
    pub(crate) split: Split,
    /// How a run divided the data.
    pub(crate) division: Option<Division>,
    pub(crate) dataset: Arc<dyn Dataset>,
}

impl Part {
    /// What identifies the images: their names and, as far as it can be told, what is in them.
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:016x}", self.dataset.revision())
    }
}

/// How the data are divided for a part, and for those `before` it where these are wanted, too. Images that a run chose its epoch by in
/// another folder are no part of the whole.
fn divided(division: Option<Division>, split: Split, before: bool) -> Option<Division> {
    let usual = OpenOptions::default();
    let division = division.unwrap_or(Division {
        validation: usual.validation,
        seed: usual.seed,
        validation_data: None,
    });
    Some(match (split, before) {
        // A class with one image can only be evaluated whole.
        (Split::All, _) => Division { validation: 0.0, validation_data: None, ..division },
        (Split::Test, false) if division.validation_data.is_some() => {
            Division { validation: 0.0, validation_data: None, ..division }
        }
        _ => division,
    })
}

/// Whether it depends on how a run divided its data which images a part has.
fn is_divided(split: Split) -> bool {
    match split {
        Split::Train | Split::Validation => true,
        Split::Test | Split::All => false,
    }
}

fn is_too_few(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(DataError::TooFew { .. }))
}

/// The part that is meant.
fn part_of(splits: Splits, split: Split) -> Option<Arc<dyn Dataset>> {
    match split {
        Split::Train => Some(splits.train),
        Split::Validation => Some(splits.validation),
        Split::Test => splits.test,
        Split::All => Some(splits.whole()),
    }
}

impl Choice {
    pub(crate) fn resolve(args: DataArgs, split: Split, model: Option<&str>) -> Result<Self> {
        let run = match model.map(Path::new) {
            Some(folder) => read_recipe(folder)?.map(|recipe| (folder.to_owned(), recipe)),
            None => None,
        };
        let limits = args.images.limits();
        Ok(Self { data: args.data, skip_bad: args.skip_bad, limits, run, split })
    }

    /// Whether the user has said which data.
    pub(crate) fn is_given(&self) -> bool {
        self.data.is_some()
    }

    /// Whether it is known which data are looked at without asking.
    pub(crate) fn is_known(&self, model: &Model) -> bool {
        self.data.is_some() || self.run.is_some() || model.preprocess.drawn_digits
    }

    /// The part that was asked for, or another one of the same data.
    pub(crate) fn open(&self, model: &Model, split: Split, output: Output) -> Result<Part> {
        let (data, splits) = self.parts(model, split, split == Split::Train, output)?;
        let part = part_of(splits, split);
        // The images that chose the epoch, which are no test but the nearest to one.
        let other = match &self.run {
            Some(_) => " validation (those that chose the epoch)",
            None => " all, --split validation where there is val/",
        };
        let division = self.division();
        let missing = || {
            Stop::BadInput(format!(
                "{data} has no test images: give --split{other}, or other --data"
            ))
        };
        Ok(Part { data: data.to_owned(), split, division, dataset: part.ok_or_else(missing)? })
    }

    fn division(&self) -> Option<Division> {
        self.run.as_ref().map(|(_, recipe)| parts::division(recipe))
    }

    /// The data's name or folder, and all their parts; `split` is the one that is meant.
    pub(crate) fn splits(
        &self,
        model: &Model,
        split: Split,
        output: Output,
    ) -> Result<(&str, Splits)> {
        self.parts(model, split, true, output)
    }

    fn parts(
        &self,
        model: &Model,
        split: Split,
        needs_train: bool,
        output: Output,
    ) -> Result<(&str, Splits)> {
        let digits = Some(DIGITS).filter(|_| model.preprocess.drawn_digits);
        let (data, open) = self.data(digits)?;
        let options = OpenOptions { needs_train, ..open };
        let division = divided(self.division(), split, needs_train);
        let found = self.find(data, division, split, options)?;
        found.warn_of_new(output);
        let splits = found.splits;
        output.note(&format!("{data}: {}", splits.describe()));
        for unused in splits.unused.iter() {
            output.warn(&format!("left out: {unused}"));
        }
        Ok((data, splits))
    }

    /// All parts of some data; of the run's own, those that it began with.
    fn find(
        &self,
        data: &str,
        division: Option<Division>,
        split: Split,
        options: OpenOptions,
    ) -> Result<Found> {
        let opened = match (parts::open(data, division.as_ref(), options), &self.run) {
            // No run divided them: where no class has images for two parts, nothing is to be divided.
            (Err(error), None) if is_too_few(&error) => {
                parts::open(data, divided(None, Split::All, false).as_ref(), options)?
            }
            (opened, _) => opened?,
        };
        let Some((folder, recipe)) = self.run.as_ref().filter(|_| is_divided(split)) else {
            return Ok(Found::all(opened));
        };
        if recipe.data == data {
            return parts::of_run(folder, recipe, opened, self.limits, self.skip_bad);
        }
        // The run's own images may have been moved, or another way leads to them.
        let there = Recipe { data: data.to_owned(), ..recipe.clone() };
        let (limits, skip) = (self.limits, self.skip_bad);
        let found = parts::of_run_elsewhere(folder, &there, opened.clone(), limits, skip)?;
        Ok(found.unwrap_or_else(|| Found::all(opened)))
    }

    /// The images that answers are about, once more, and the parts that came before them: what was learnt from, what chose the
    /// epoch.
    pub(crate) fn again(&self, origin: &Origin) -> Result<(Part, Vec<Before>)> {
        let split = Split::from_str(&origin.split, true).unwrap_or(Split::All);
        let division = origin.division.clone();
        let (data, open) = self.data(Some(&origin.data))?;
        let options = OpenOptions { needs_train: false, ..open };
        let divided = divided(division.clone(), split, true);
        let splits = self.find(data, divided, split, options)?.splits;
        let train = || (Split::Train.name(), Arc::clone(&splits.train));
        let before = match split {
            Split::Test => {
                vec![train(), (Split::Validation.name(), Arc::clone(&splits.validation))]
            }
            Split::Validation => vec![train()],
            Split::Train | Split::All => Vec::new(),
        };
        let (of, data) = (part_of(splits, split), data.to_owned());
        let part = of.map(|dataset| Part { data: data.clone(), split, division, dataset });
        match part.filter(|part| part.fingerprint() == origin.fingerprint) {
            Some(part) => Ok((part, before)),
            None => {
                let message = format!(
                    "the images of {data} ({}) are not those that were judged: give --data with these",
                    origin.split
                );
                Err(Stop::BadInput(message).into())
            }
        }
    }

    /// The data's name or folder, or else `usual`, and how they are opened.
    fn data<'a>(&'a self, usual: Option<&'a str>) -> Result<(&'a str, OpenOptions)> {
        // The evaluation itself finds bad files: looking for them before would decode every file twice.
        let (on_bad, limits) = (OnBad::Fail, self.limits);
        let options =
            OpenOptions { on_bad, limits, memory: memory::available(), ..OpenOptions::default() };
        let own = self.run.as_ref().map(|(_, recipe)| recipe.data.as_str());
        let Some(data) = self.data.as_deref().or(own).or(usual) else {
            let message = "on which images? give --data, a dataset's name or a folder";
            return Err(Stop::Usage(message.to_owned()).into());
        };
        Ok((data, options))
    }
}
