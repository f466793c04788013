//! Several models as one, as a file says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use top5::data::files::read_text;
use top5::eval::ensemble::{fit, fuse};
use top5::eval::{Average, Predictions, kept_row};

use super::args::Split;
use super::data;
use super::look::{Look, Settings};
use super::protocol::Choice;
use super::saved;
use crate::args::WeightsArgs;
use crate::exit::Stop;
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::source::StoredModel;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    /// What is averaged.
    #[serde(default)]
    average: Average,
    /// Where weights come from.
    #[serde(default)]
    weights: Weighing,
    members: Vec<MemberFile>,
}

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberFile {
    /// As on the command line; either this or `predictions`.
    model: Option<String>,
    /// As `--weights`.
    weights: Option<String>,
    /// As `--ema`.
    #[serde(default)]
    ema: bool,
    protocol: Option<String>,
    #[serde(default)]
    preprocess: PreprocessArgs,
    /// What `--save` wrote of the part that is reported.
    predictions: Option<PathBuf>,
    /// What `--save` wrote of the validation part, to fit weights to.
    validation: Option<PathBuf>,
    #[serde(default = "one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

/// The ensemble, resolved.
pub(crate) struct Ensemble {
    name: String,
    average: Average,
    weighing: Weighing,
    members: Vec<Member>,
}

struct Member {
    name: String,
    answers: Answers,
    weight: f64,
}

enum Answers {
    /// Those of a model that is yet to look.
    Model(Box<Look>),
    /// Those in a file, and in another one of the validation part.
    Saved(PathBuf, Option<PathBuf>),
}

impl Ensemble {
    /// Reads a file; paths in it are relative to the working folder.
    pub(crate) fn resolve(path: &Path, offline: bool) -> Result<Self> {
        let shown = path.display();
        let text = read_text(path).with_context(|| format!("reading {shown}"))?;
        let wrong = |reason: String| Stop::BadInput(format!("{shown} is no ensemble: {reason}"));
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if file.members.is_empty() {
            return Err(wrong("it has no members".to_owned()).into());
        }
        if (file.weights, file.average) == (Weighing::Fitted, Average::Logits) {
            let reason = "weights are fitted for the mean of probabilities only".to_owned();
            return Err(wrong(reason).into());
        }
        let member = |(number, member): (usize, MemberFile)| -> Result<Member> {
            if !(member.weight > 0.0 && member.weight.is_finite()) {
                let reason =
                    format!("weight {} of member {number}: expected more than 0", member.weight);
                return Err(wrong(reason).into());
            }
            let weight = member.weight;
            match (&member.model, member.predictions) {
                (Some(model), None) => {
                    let args = WeightsArgs { weights: member.weights, ema: member.ema, offline };
                    let look = Look {
                        model: StoredModel::resolve(model, &args)?,
                        protocol: Choice::resolve(member.protocol.as_deref().unwrap_or("1-crop"))?,
                        preprocess: member.preprocess,
                    };
                    let answers = Answers::Model(Box::new(look));
                    Ok(Member { name: model.clone(), answers, weight })
                }
                (None, Some(path)) => {
                    let name = path.display().to_string();
                    Ok(Member { name, answers: Answers::Saved(path, member.validation), weight })
                }
                (Some(_), Some(_)) | (None, None) => {
                    let reason = format!("member {number} needs either a model or predictions");
                    Err(wrong(reason).into())
                }
            }
        };
        let members = file.members.into_iter().enumerate().map(member).collect::<Result<_>>()?;
        Ok(Self { name: file.name, average: file.average, weighing: file.weights, members })
    }

    /// The members' answers as one, and what the members were.
    pub(crate) fn run(
        &self,
        data: &data::Choice,
        settings: &Settings,
        output: Output,
    ) -> Result<(Predictions, Vec<String>)> {
        let weights = match self.weighing {
            Weighing::Given => self.members.iter().map(|member| member.weight).collect(),
            Weighing::Fitted => self.fit(data, settings, output)?,
        };
        let answers = self.answers(data, data.split, settings, output)?;
        let members: Vec<(f64, &Predictions)> =
            weights.iter().copied().zip(answers.iter()).collect();
        let mut fused = fuse(&members, self.average).map_err(bad_input)?;
        let lines: Vec<String> = members
            .iter()
            .zip(&self.members)
            .map(|((weight, answers), member)| {
                let origin = &answers.header.origin;
                let (network, protocol) = (&origin.network, &origin.protocol.name);
                format!("{}: {network}, {protocol}, weight {weight:.4}", member.name)
            })
            .collect();
        let origin = &mut fused.header.origin;
        origin.network.clone_from(&self.name);
        origin.weights =
            answers.iter().map(|m| &*m.header.origin.weights).collect::<Vec<_>>().join(" ");
        if self.weighing == Weighing::Fitted {
            origin.fitted.push("weights of the members, on the validation part".to_owned());
        }
        Ok((fused, lines))
    }

    /// Weights at which the ensemble explains the validation part best.
    fn fit(&self, data: &data::Choice, settings: &Settings, output: Output) -> Result<Vec<f64>> {
        if matches!(data.split, Split::Validation | Split::All) {
            let message = "weights are fitted on the validation part: report on another one, with --split test";
            return Err(Stop::Usage(message.to_owned()).into());
        }
        let answers = self.answers(data, Split::Validation, settings, output)?;
        let reported = self.fingerprint();
        for answers in &answers {
            super::refuse_same(&answers.header.origin, reported.as_deref())?;
        }
        Ok(fit(&answers.iter().collect::<Vec<_>>()).map_err(bad_input)?)
    }

    /// What identifies the images of the saved answers that are reported, if there are any.
    fn fingerprint(&self) -> Option<String> {
        self.members.iter().find_map(|member| match &member.answers {
            Answers::Saved(path, _) => Some(saved::read(path).ok()?.header.origin.fingerprint),
            Answers::Model(_) => None,
        })
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
                let model = look.model.open(output)?;
                let part = data.open(&model, split, output)?;
                keep(look, model, &part, settings, output)
            }
        };
        self.members.iter().map(answers).collect()
    }
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
