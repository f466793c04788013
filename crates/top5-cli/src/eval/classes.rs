//! What the classes of the data are to the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use top5::Model;
use top5::data::files::read_text;
use top5::eval::imagenet;
use top5::eval::metric::softmax;

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
                    let i = chosen.iter().enumerate().position(|(i, &to)| i != to).unwrap_or(0);
                    let (our, their) = (&model.classes[i], &data[i]);
                    output.warn(&format!(
                        "the model and the data have the same classes in another order (class {i} is {:?} to the model \
                         and {:?} in the data): they are matched by name",
                        printable::name(our),
                        printable::name(their)
                    ));
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
            let message =
                "two classes of the dataset are one of the network's: rename one of its folders";
            return Err(Stop::BadInput(message.to_owned()).into());
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

/// The order of ImageNet's classes in the contest's development kit, by name.
const DEVKIT: &str = "devkit";

/// The names in a file, or those of the development kit: `classes` that differ.
pub(crate) fn names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let shown = path.display();
    let names = match path.to_str() {
        Some(DEVKIT) if !path.exists() => {
            imagenet::devkit().map(|(_, name)| name.to_owned()).collect()
        }
        _ => read_names(&read_text(path).with_context(|| format!("reading {shown}"))?),
    };
    let wrong = |message: String| Err(Stop::BadInput(message).into());
    if names.len() != classes {
        let found = names.len();
        return wrong(format!("{shown} names {found} classes, and the model has {classes}"));
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(before) = places.insert(name, i) {
            let name = printable::name(name);
            return wrong(format!("{shown}: classes {before} and {i} are both called {name:?}"));
        }
    }
    Ok(names)
}

/// Names of classes as they are published: a line each; a JSON list; or a JSON object or Python dictionary from numbers to names, or
/// to a WNID and a name.
fn read_names(text: &str) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(Value::Array(list)) = serde_json::from_str(text) {
        return list.iter().map(name_of).collect();
    }
    if let Ok(Value::Object(of)) = serde_json::from_str(text) {
        let number = |(key, value): (&String, &Value)| Some((key.parse().ok()?, name_of(value)));
        let numbered: Option<BTreeMap<usize, String>> = of.iter().map(number).collect();
        return numbered.into_iter().flatten().map(|(_, name)| name).collect();
    }
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if text.starts_with('{') {
        let entry = |line: &str| {
            let (key, value) = line.trim_matches(['{', '}', ',', ' ']).split_once(':')?;
            Some((key.trim().parse().ok()?, value.trim().trim_matches(['\'', '"']).to_owned()))
        };
        let numbered: Option<BTreeMap<usize, String>> = lines().map(entry).collect();
        if let Some(numbered) = numbered {
            return numbered.into_values().collect();
        }
    }
    lines().map(str::to_owned).collect()
}

/// A name, or several words that are one.
fn name_of(value: &Value) -> String {
    match value {
        Value::String(name) => name.trim().to_owned(),
        Value::Array(words) => words.iter().map(name_of).collect::<Vec<_>>().join(" "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_forms_that_they_are_published_in() {
        let pair = ["tench", "goldfish"];
        for text in [
            "tench\ngoldfish\n",
            "\u{feff}tench\r\n\r\n  goldfish  ",
            "[\"tench\", \"goldfish\"]",
            "{\"1\": \"goldfish\", \"0\": \"tench\"}",
            "{0: 'tench',\n 1: 'goldfish'}",
        ] {
            assert_eq!(read_names(text), pair, "{text}");
        }
        let keras = "{\"0\": [\"n01440764\", \"tench\"], \"1\": [\"n01443537\", \"goldfish\"]}";
        assert_eq!(read_names(keras), ["n01440764 tench", "n01443537 goldfish"]);
        let ten: String = (0..11).map(|i| format!("\"{i}\": \"c{i}\",")).collect();
        let ten = read_names(&format!("{{{}}}", ten.trim_end_matches(',')));
        assert_eq!((ten.len(), &*ten[10]), (11, "c10"));
    }
}
