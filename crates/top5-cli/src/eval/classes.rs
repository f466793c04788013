//! What the classes of the data are to the model.

use std::collections::BTreeSet;

use anyhow::Result;
use top5::Model;
use top5::eval::{Pipe, imagenet};

use crate::exit::Stop;
use crate::output::Output;
use crate::printable;

/// For each class of the data, one of the model's; none where they are the same ones in the same order.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    chosen: Option<Vec<usize>>,
    subset: bool,
}

impl Classes {
    /// Matches the classes of some data with a model's: by name or WNID; where there are equally many and their names say nothing,
    /// by number.
    pub(crate) fn new(model: &Model, data: &[String], output: Output) -> Result<Self> {
        let (ours, theirs) = (model.classes.len(), data.len());
        let matched = imagenet::matching(data, &model.classes);
        let distinct =
            |chosen: &[usize]| chosen.iter().collect::<BTreeSet<_>>().len() == chosen.len();
        if ours == theirs {
            let chosen = matched.ok().filter(|chosen| distinct(chosen));
            let is_other = |chosen: &Vec<usize>| chosen.iter().enumerate().any(|(i, &to)| i != to);
            let chosen = match chosen {
                None => {
                    warn_of_names(model, data, output);
                    None
                }
                Some(chosen) if is_other(&chosen) => {
                    output.warn(&in_another_order(model, data, &chosen));
                    Some(chosen)
                }
                Some(_) => None,
            };
            return Ok(Self { chosen, subset: false });
        }
        let chosen = matched.map_err(|missing| {
            Stop::BadInput(format!(
                "the network tells {ours} classes apart, the dataset has {theirs}, and {missing:?} is none of the \
                 network's: use a dataset of the same classes, or name them with --class-names"
            ))
        })?;
        if !distinct(&chosen) {
            let twice = |&at: &usize| chosen[..at].contains(&chosen[at]);
            let at = (0..chosen.len()).find(twice).unwrap_or_default();
            let before = chosen.iter().position(|&class| class == chosen[at]).unwrap_or_default();
            let [one, other] = [before, at].map(|at| printable::name(&data[at]));
            let message = format!(
                "two classes of the dataset, {one:?} and {other:?}, are one of the network's: rename one of its folders"
            );
            return Err(Stop::BadInput(message).into());
        }
        output.note(&format!(
            "{theirs} of the network's {ours} classes are in the data: the others are left out of every answer"
        ));
        Ok(Self { chosen: Some(chosen), subset: true })
    }

    /// Whether classes were left out.
    pub(crate) fn is_subset(&self) -> bool {
        self.subset
    }

    /// The pipe whose answers are about the data's classes.
    pub(crate) fn narrow<'n>(&self, pipe: Pipe<'n>) -> Pipe<'n> {
        match &self.chosen {
            None => pipe,
            Some(chosen) => pipe.among(chosen.clone()),
        }
    }
}

/// What is said where a model and some data have the same classes, each of the data's being the `chosen` one of the model's.
fn in_another_order(model: &Model, data: &[String], chosen: &[usize]) -> String {
    let i = chosen.iter().enumerate().position(|(i, &to)| i != to).unwrap_or(0);
    let [our, their] = [&model.classes[i], &data[i]].map(|name| printable::name(name));
    let as_texts = match is_nameless(model) {
        true => {
            "; the model's have no names but their numbers: where it learnt these folders in the order of texts, as \
             torchvision's ImageFolder sorts them, list them so for --class-names"
        }
        false => "",
    };
    format!(
        "the model and the data have the same classes in another order (class {i} is {our:?} to the model and {their:?} in \
         the data): they are matched by name{as_texts}"
    )
}

/// Whether a model's classes have no names but their numbers. Those of digits are their names.
fn is_nameless(model: &Model) -> bool {
    !model.preprocess.drawn_digits && are_numbers(&model.classes)
}

fn are_numbers(names: &[String]) -> bool {
    names.iter().enumerate().all(|(number, name)| *name == number.to_string())
}

/// Classes are compared by their numbers. Names that differ are a hint that the numbers mean something else.
fn warn_of_names(model: &Model, theirs: &[String], output: Output) {
    let ours = &model.classes;
    let same = imagenet::matching(theirs, ours);
    if same.is_ok_and(|chosen| chosen.iter().enumerate().all(|(i, &to)| i == to)) {
        return;
    }
    let differing = (0..ours.len()).find(|&i| ours[i] != theirs[i]);
    let Some(i) = differing else { return };
    let known: BTreeSet<&String> = ours.iter().collect();
    let shared = theirs.iter().filter(|name| known.contains(name)).count();
    let name = |names: &[String]| printable::name(&names[i]).into_owned();
    let (our, their) = (name(ours), name(theirs));
    let example = format!("class {i} is {our:?} to the model and {their:?} in the data");
    let nameless = is_nameless(model) || are_numbers(theirs);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_may_be_sorted_as_texts_are_told_of() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let model = |classes: &[&str]| {
            let mut model = Model::lenet_digits().unwrap();
            model.preprocess.drawn_digits = false;
            Model { classes: names(classes), ..model }
        };
        let told = |ours: &[&str], theirs: &[&str]| {
            in_another_order(&model(ours), &names(theirs), &[1, 0])
        };
        assert!(told(&["0", "1"], &["1", "0"]).contains("ImageFolder"));
        let named = told(&["cat", "dog"], &["dog", "cat"]);
        assert!(named.ends_with("matched by name") && named.contains("class 0 is \"cat\""));
    }
}
