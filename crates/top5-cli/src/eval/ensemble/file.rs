//! An ensemble that a file describes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use top5::data::files::read_text;
use top5::eval::{Average, Averaged, ensemble::WEIGHTS};

use super::{Answers, Ensemble, Given, Member, Weighing};
use crate::args::WeightsArgs;
use crate::eval::look::Look;
use crate::eval::protocol::{Choice, wrong_toml};
use crate::exit::Stop;
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
    /// As `--weights-key`.
    weights_key: Option<String>,
    protocol: Option<String>,
    #[serde(default)]
    preprocess: PreprocessArgs,
    /// As `--class-names`, which else holds for all members.
    class_names: Option<PathBuf>,
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

/// Reads a file; paths in it are relative to the working folder.
pub(super) fn read(path: &Path, given: &Given<'_>) -> Result<Ensemble> {
    let shown = path.display();
    let text = read_text(path).with_context(|| format!("reading {shown}"))?;
    let wrong = |reason: String| Stop::BadInput(format!("{shown} is no ensemble: {reason}"));
    let file: File = toml::from_str(&text).map_err(|error| wrong(wrong_toml(&text, &error)))?;
    if file.name.trim().is_empty() {
        return Err(wrong("its name is empty".to_owned()).into());
    }
    if file.members.is_empty() {
        return Err(wrong("it has no members".to_owned()).into());
    }
    if (file.weights, file.average) == (Weighing::Fitted, Average::Logits) {
        let reason = "weights are fitted for the mean of probabilities only".to_owned();
        return Err(wrong(reason).into());
    }
    let member = |(number, member): (usize, MemberFile)| -> Result<Member> {
        if !WEIGHTS.contains(&member.weight) {
            let reason =
                format!("weight {:e} of member {number}: expected 1e-9 to 1e9", member.weight);
            return Err(wrong(reason).into());
        }
        let weight = member.weight;
        let of_models = member.weights.is_some()
            || member.ema
            || member.weights_key.is_some()
            || member.protocol.is_some()
            || member.class_names.is_some()
            || !member.preprocess.is_empty();
        match (&member.model, member.predictions) {
            (Some(_), None) if member.validation.is_some() => {
                let reason =
                    format!("validation of member {number}: only saved predictions need it");
                Err(wrong(reason).into())
            }
            (None, Some(_)) if of_models => {
                let reason = format!(
                    "member {number} has predictions: they were made with weights, protocol, preprocessing \
                     and names of classes of their own"
                );
                Err(wrong(reason).into())
            }
            (Some(_), None) if member.ema && member.weights_key.is_some() => {
                let reason = format!("member {number} has both `ema` and `weights_key`");
                Err(wrong(reason).into())
            }
            (Some(model), None) => {
                let MemberFile { weights, ema, weights_key, .. } = member;
                let args = WeightsArgs { weights, ema, weights_key, offline: given.offline };
                let look = Look::new(
                    StoredModel::resolve(model, &args)?,
                    Choice::resolve(member.protocol.as_deref().unwrap_or("1-crop"))?,
                    member.preprocess,
                    member.class_names.or_else(|| given.class_names.cloned()),
                )?;
                let answers = Answers::Model(Box::new(look));
                Ok(Member { name: model.clone(), answers, weight, network: None })
            }
            (None, Some(path)) => {
                let name = path.display().to_string();
                let answers = Answers::Saved(path, member.validation);
                Ok(Member { name, answers, weight, network: None })
            }
            (Some(_), Some(_)) | (None, None) => {
                let reason = format!("member {number} needs either a model or predictions");
                Err(wrong(reason).into())
            }
        }
    };
    let members = file.members.into_iter().enumerate().map(member).collect::<Result<_>>()?;
    Ok(Ensemble {
        name: file.name,
        average: file.average,
        weighing: file.weights,
        members,
        averaged: Averaged::default(),
    })
}
