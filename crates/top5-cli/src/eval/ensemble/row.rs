//! An ensemble of the article's table: which networks it averages is known, and their weights are given.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::eval::rows::{ResultRow, article};
use top5::eval::{Average, Averaged};

use super::{Answers, Ensemble, Given, Member, Weighing};
use crate::args::WeightsArgs;
use crate::eval::look::Look;
use crate::eval::protocol::Choice;
use crate::eval::saved;
use crate::exit::Stop;
use crate::source::StoredModel;

/// The ensemble of the row called `name`, of those members that `given` has weights or saved answers for.
pub(super) fn resolve(name: &str, given: &Given<'_>) -> Result<Ensemble> {
    let row = find(name)?;
    let mut names = row.names().into_iter();
    let places = places(&row, given.weights)?;
    let (mut members, mut missing) = (Vec::new(), Vec::new());
    for of in &row.members {
        for name in names.by_ref().take(of.models) {
            let Some((_, place)) = places.iter().find(|(member, _)| *member == name) else {
                missing.push(format!("{name}: {}, {}", of.network, of.protocol.name));
                continue;
            };
            let answers = match saved::is(Path::new(place)) {
                true => Answers::Saved(PathBuf::from(place), None),
                false => {
                    let (weights, ema) = (Some(place.clone()), given.ema);
                    let args =
                        WeightsArgs { weights, ema, weights_key: None, offline: given.offline };
                    let protocol = given.protocol.cloned();
                    Answers::Model(Box::new(Look::new(
                        StoredModel::resolve(of.network, &args)?,
                        protocol.unwrap_or(Choice::File(of.protocol.clone())),
                        given.preprocess.clone(),
                        given.class_names.cloned(),
                    )?))
                }
            };
            let (weight, network) = (of.weight, Some(of.network));
            members.push(Member { name, answers, weight, network });
        }
    }
    if members.is_empty() {
        let reason = match row.members.is_empty() {
            true => row.note.to_owned(),
            false => format!(
                "its members have no weights here: give them with --weights MEMBER=WEIGHTS, once for each, or \
                 --weights FOLDER with a file or folder called as each member. Missing:\n  {}",
                missing.join("\n  ")
            ),
        };
        return Err(Stop::BadInput(format!("--ensemble {}: {reason}", row.name)).into());
    }
    let mut choices: Vec<String> = row.choices.iter().map(|&choice| choice.to_owned()).collect();
    if given.protocol.is_some() {
        choices.push("the protocol is the user's".to_owned());
    }
    let averaged =
        Averaged { row: Some(row.name.to_owned()), missing, choices, ..Averaged::default() };
    let (name, average, weighing) = (row.name.to_owned(), Average::Probabilities, Weighing::Given);
    Ok(Ensemble { name, average, weighing, members, averaged })
}

fn find(name: &str) -> Result<ResultRow> {
    let rows = article();
    let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    let names = names.join(", ");
    rows.into_iter().find(|row| row.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let message = format!(
            "--ensemble {name}: no file of that name, and no ensemble of the article's table: expected one of {names}"
        );
        Stop::Usage(message).into()
    })
}

/// Each member that was given something, with where that is.
fn places(row: &ResultRow, given: &[String]) -> Result<Vec<(String, String)>> {
    let names = row.names();
    let mut places: Vec<(String, String)> = Vec::new();
    for given in given {
        let found = match given.split_once('=') {
            _ if Path::new(given).is_dir() => in_folder(&names, Path::new(given))?,
            Some((name, place)) if names.iter().any(|known| known == name) => {
                vec![(name.to_owned(), place.to_owned())]
            }
            _ => {
                let message = format!(
                    "--weights {given}: expected MEMBER=WEIGHTS or a folder; the members of {} are {}",
                    row.name,
                    names.join(", ")
                );
                return Err(Stop::Usage(message).into());
            }
        };
        for (name, place) in found {
            if places.iter().any(|(known, _)| *known == name) {
                let message = format!("--weights: {name} is given twice");
                return Err(Stop::Usage(message).into());
            }
            places.push((name, place));
        }
    }
    Ok(places)
}

/// The members that a folder has a file or folder for: called as they are, whatever the extension.
fn in_folder(names: &[String], folder: &Path) -> Result<Vec<(String, String)>> {
    let shown = folder.display();
    let mut files: Vec<String> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {shown}"))? {
        let entry = entry.with_context(|| format!("reading {shown}"))?;
        files.extend(entry.file_name().into_string().ok());
    }
    files.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        let is_its = |file: &&String| {
            file.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match files.iter().filter(is_its).collect::<Vec<_>>()[..] {
            [] => {}
            [file] => found.push((name.clone(), folder.join(file).display().to_string())),
            [one, other, ..] => {
                let message = format!("{shown} has {one} and {other} for {name}: keep one of them");
                return Err(Stop::BadInput(message).into());
            }
        }
    }
    Ok(found)
}
