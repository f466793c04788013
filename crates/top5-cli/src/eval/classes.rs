//! What the classes of the data are to the model.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use top5::Model;
use top5::data::files::read_text;
use top5::eval::imagenet;
use top5::eval::metric::softmax;

use crate::exit::Stop;
use crate::output::Output;
use crate::printable;

/// For each class of the data, one of the model's; none where they are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    chosen: Option<Vec<usize>>,
}

impl Classes {
    /// Matches the classes of some data with a model's: by number where there are equally many, else by name or WNID.
    pub(crate) fn new(model: &Model, data: &[String], output: Output) -> Result<Self> {
        if model.classes.len() == data.len() {
            warn_of_names(model, data, output);
            return Ok(Self { chosen: None });
        }
        let (ours, theirs) = (model.classes.len(), data.len());
        let chosen = imagenet::matching(data, &model.classes).map_err(|missing| {
            Stop::BadInput(format!(
                "the network tells {ours} classes apart, the dataset has {theirs}, and {missing:?} is none of the \
                 network's: use a dataset of the same classes, or name them with --class-names"
            ))
        })?;
        let distinct: BTreeSet<usize> = chosen.iter().copied().collect();
        if distinct.len() != chosen.len() {
            let message =
                "two classes of the dataset are one of the network's: rename one of its folders";
            return Err(Stop::BadInput(message.to_owned()).into());
        }
        output.note(&format!(
            "{theirs} of the network's {ours} classes are in the data: the others are left out of every answer"
        ));
        Ok(Self { chosen: Some(chosen) })
    }

    /// Whether classes were left out.
    pub(crate) fn is_subset(&self) -> bool {
        self.chosen.is_some()
    }

    /// The probabilities of the data's classes, which sum to one: as if the logits of all others were left out.
    pub(crate) fn restrict(&self, probabilities: Vec<f64>) -> Vec<f64> {
        match &self.chosen {
            None => probabilities,
            // The softmax of logarithms of probabilities is that of the logits, also where the sum would be zero.
            Some(chosen) => {
                let logs: Vec<f64> =
                    chosen.iter().map(|&class| probabilities[class].ln()).collect();
                softmax(&logs)
            }
        }
    }
}

/// The names in a file, a line each.
pub(crate) fn names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let text = read_text(path).with_context(|| format!("reading {}", path.display()))?;
    let names: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if names.len() != classes {
        let (found, path) = (names.len(), path.display());
        let message = format!("{path} names {found} classes, and the model has {classes}");
        return Err(Stop::BadInput(message).into());
    }
    Ok(names)
}

/// Classes are compared by their numbers. Names that differ are a hint that the numbers mean something else.
fn warn_of_names(model: &Model, theirs: &[String], output: Output) {
    let ours = &model.classes;
    let same = imagenet::matching(theirs, ours);
    if same.is_ok_and(|chosen| chosen.iter().enumerate().all(|(i, &to)| i == to)) {
        return;
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
