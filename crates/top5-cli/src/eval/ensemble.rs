//! Several models as one: those that a file names, or those of a row of the article's table.

mod file;
mod row;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use top5::data::files;
use top5::eval::ensemble::{fit, fuse};
use top5::eval::{Average, Averaged, Origin, Predictions, Terms, Weighted, kept_row};

use super::args::Split;
use super::data;
use super::look::{Look, Settings};
use super::protocol::Choice;
use super::saved;
use crate::exit::Stop;
use crate::output::Output;
use crate::preprocess::PreprocessArgs;

/// Where the weights of the members come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Weighing {
    /// The file; 1 by default.
    #[default]
    Given,
    /// The validation part, which must not be the one that is reported.
    Fitted,
}

/// The ensemble, resolved.
pub(crate) struct Ensemble {
    name: String,
    average: Average,
    weighing: Weighing,
    members: Vec<Member>,
    /// What is known of it before its members have looked.
    averaged: Averaged,
}

/// What the command line gives to all members of an ensemble.
pub(crate) struct Given<'a> {
    pub(crate) weights: &'a [String],
    pub(crate) ema: bool,
    pub(crate) offline: bool,
    pub(crate) protocol: Option<&'a Choice>,
    pub(crate) preprocess: &'a PreprocessArgs,
    pub(crate) class_names: Option<&'a PathBuf>,
}

struct Member {
    name: String,
    answers: Answers,
    weight: f64,
    /// The network that it must be, where that is known.
    network: Option<&'static str>,
}

enum Answers {
    /// Those of a model that is yet to look.
    Model(Box<Look>),
    /// Those in a file, and in another one of the validation part.
    Saved(PathBuf, Option<PathBuf>),
}

impl Ensemble {
    /// What `--ensemble` stands for: a file, or the name of a row of the article's table, whose members' weights are `given`.
    /// Paths in a file are relative to the working folder.
    pub(crate) fn resolve(text: &str, given: &Given<'_>) -> Result<Self> {
        if !files::is_file(Path::new(text)).with_context(|| format!("reading {text}"))? {
            return row::resolve(text, given);
        }
        let of_members = [
            ("--weights", !given.weights.is_empty()),
            ("--ema", given.ema),
            ("--protocol", given.protocol.is_some()),
            ("preprocessing", !given.preprocess.is_empty()),
        ];
        match of_members.iter().find(|(_, is_given)| *is_given) {
            Some((what, _)) => {
                let message =
                    format!("{what}: the file of an ensemble says that itself, of each member");
                Err(Stop::Usage(message).into())
            }
            None => file::read(Path::new(text), given),
        }
    }

    /// Whether no member is to look at images.
    pub(crate) fn is_saved(&self) -> bool {
        self.members.iter().all(|member| matches!(member.answers, Answers::Saved(..)))
    }

    /// The members' answers as one, and what the members were.
    pub(crate) fn run(
        &self,
        data: &data::Choice,
        settings: &Settings,
        output: Output,
    ) -> Result<Predictions> {
        for missing in &self.averaged.missing {
            output.warn(&format!("without {missing}, which has no weights here"));
        }
        self.check(data, output)?;
        let given = || self.members.iter().map(|member| member.weight).collect();
        let (weights, fitted_to) = match self.weighing {
            Weighing::Given => (given(), Vec::new()),
            Weighing::Fitted => self.fit(data, settings, output)?,
        };
        let answers = self.answers(data, data.split, settings, output)?;
        for (fitted, reported) in fitted_to.iter().zip(&answers) {
            super::refuse_same(fitted, reported)?;
        }
        for (member, answers) in self.members.iter().zip(&answers) {
            let given = &answers.header.origin.network;
            if let Some(expected) = member.network.filter(|expected| expected != given) {
                let message =
                    format!("{}: these are answers of {given}, not of {expected}", member.name);
                return Err(Stop::BadInput(message).into());
            }
        }
        let members: Vec<(f64, &Predictions)> =
            weights.iter().copied().zip(answers.iter()).collect();
        let mut fused = fuse(&members, self.average).map_err(bad_input)?;
        let is_alike = fused.header.origin.preprocess.is_some();
        let mut averaged = Averaged { average: self.average, ..self.averaged.clone() };
        for ((weight, answers), member) in members.iter().zip(&self.members) {
            let weighted = (*weight, &answers.header.origin);
            add(&mut averaged, &member.name, weighted, is_alike);
        }
        let origin = &mut fused.header.origin;
        origin.network.clone_from(&self.name);
        origin.weights =
            answers.iter().map(|m| &*m.header.origin.weights).collect::<Vec<_>>().join(" ");
        origin.ensemble = Some(averaged);
        let weights = fitted_to.first().map(Predictions::fitted_to);
        origin.terms = Terms { weights, ..Terms::default() };
        Ok(fused)
    }

    /// Finds what would keep a member from answering before the first one looks, which may take a day.
    fn check(&self, data: &data::Choice, output: Output) -> Result<()> {
        if let [_, _, ..] = &self.members[..] {
            for member in &self.members {
                match &member.answers {
                    Answers::Model(look) => look.check(data, output)?,
                    Answers::Saved(path, _) => drop(saved::read(path)?),
                }
            }
        }
        Ok(())
    }

    /// Looks where rank 0 does in [`Ensemble::run`].
    pub(crate) fn follow(
        &self,
        data: &data::Choice,
        settings: &Settings,
        output: Output,
    ) -> Result<()> {
        let fitted = (self.weighing == Weighing::Fitted).then_some(Split::Validation);
        for split in fitted.into_iter().chain([data.split]) {
            for member in &self.members {
                if let Answers::Model(look) = &member.answers {
                    let model = look.open(output)?;
                    let part = data.open(&model, split, output)?;
                    look.at(model, &part, settings, output, &mut |_, _, _| ())?;
                }
            }
        }
        Ok(())
    }

    /// Weights at which the ensemble explains the validation part best, and its members' answers to that.
    fn fit(
        &self,
        data: &data::Choice,
        settings: &Settings,
        output: Output,
    ) -> Result<(Vec<f64>, Vec<Predictions>)> {
        if matches!(data.split, Split::Validation | Split::All) {
            let message = "weights are fitted on the validation part: report on another one, with --split test";
            return Err(Stop::Usage(message.to_owned()).into());
        }
        let answers = self.answers(data, Split::Validation, settings, output)?;
        let mut reported = None;
        for (member, fitted) in self.members.iter().zip(&answers) {
            if let Answers::Saved(path, _) = &member.answers {
                let own = reported.insert(saved::read(path)?);
                super::refuse_others(fitted, own, &format!("validation of {}", member.name))?;
                super::refuse_same(fitted, own)?;
            }
        }
        // What a model says of the validation part is not about what another's saved answers are.
        if let Some(reported) = &reported {
            answers.iter().try_for_each(|fitted| super::refuse_same(fitted, reported))?;
        }
        let weights = fit(&answers.iter().collect::<Vec<_>>()).map_err(bad_input)?;
        Ok((weights, answers))
    }

    fn answers(
        &self,
        data: &data::Choice,
        split: Split,
        settings: &Settings,
        output: Output,
    ) -> Result<Vec<Predictions>> {
        let answers = |member: &Member| match &member.answers {
            Answers::Saved(_, None) if split == Split::Validation && data.split != split => {
                let message = format!(
                    "{}: to fit weights, `validation` must name its predictions of the validation part",
                    member.name
                );
                Err(Stop::BadInput(message).into())
            }
            Answers::Saved(_, Some(path)) if split == Split::Validation && data.split != split => {
                saved::read(path)
            }
            Answers::Saved(path, _) => saved::read(path),
            Answers::Model(look) => {
                output.note(&member.name);
                let model = look.open(output)?;
                let part = data.open(&model, split, output)?;
                keep(look, model, &part, settings, output)
            }
        };
        self.members.iter().map(answers).collect()
    }
}

/// Adds a member to what is told of an ensemble: also what was fitted to its answers, what it is itself an ensemble of, and, unless
/// that is alike for all, how its images were prepared.
fn add(averaged: &mut Averaged, name: &str, (weight, origin): (f64, &Origin), is_alike: bool) {
    let (how, views, choices) = match &origin.ensemble {
        None => {
            let (views, choices) = origin
                .protocol
                .as_ref()
                .map_or((0, &[][..]), |protocol| (protocol.count(), &protocol.choices[..]));
            (origin.looks(), views, choices)
        }
        Some(of) => {
            let missing = of.missing.iter().map(|missing| format!("{missing} (of {name})"));
            averaged.missing.extend(missing);
            (format!("{of} ({})", of.members.join("; ")), of.views, &of.choices[..])
        }
    };
    let weighed = if weight < 1e-3 { format!("{weight:e}") } else { format!("{weight:.4}") };
    let mut line = format!("{name}: {}, {how}, weight {weighed}", origin.network);
    if let Some(preparation) = origin.preparation().filter(|_| !is_alike) {
        line += &format!(", {preparation}");
    }
    origin.terms.sentences().iter().for_each(|term| line += &format!(", {term}"));
    averaged.members.push(line);
    averaged.views = averaged.views.saturating_add(views);
    for choice in choices {
        if !averaged.choices.contains(choice) {
            averaged.choices.push(choice.clone());
        }
    }
    averaged.origins.push(Weighted { weight, origin: origin.clone() });
}

/// Lets a model look, and keeps what it says.
pub(crate) fn keep(
    look: &Look,
    model: top5::Model,
    part: &data::Part,
    settings: &Settings,
    output: Output,
) -> Result<Predictions> {
    let mut rows: Vec<(u32, Vec<f32>)> = Vec::new();
    let mut each = |_: usize, label: u32, probabilities: &[f64]| {
        rows.push((label, kept_row(probabilities)));
    };
    let header = look.at(model, part, settings, output, &mut each)?;
    let labels = rows.iter().map(|(label, _)| *label).collect();
    let log_probabilities = rows.into_iter().flat_map(|(_, row)| row).collect();
    Ok(Predictions { header, labels, log_probabilities })
}

fn bad_input(error: top5::eval::ensemble::EnsembleError) -> Stop {
    Stop::BadInput(error.to_string())
}
