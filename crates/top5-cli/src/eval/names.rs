//! `--class-names`: the names of a model's classes, as they are published.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use top5::data::files::read_text;
use top5::eval::imagenet;

use crate::exit::Stop;
use crate::printable;

/// The order of ImageNet's classes in the contest's development kit, by name.
const DEVKIT: &str = "devkit";

/// The names in a file, or those of the development kit: `classes` that differ.
pub(crate) fn names(path: &Path, classes: usize) -> Result<Vec<String>> {
    let shown = path.display();
    let wrong = |message: String| Stop::BadInput(message);
    let mut names = match path.to_str() {
        Some(DEVKIT) if !path.exists() => {
            imagenet::devkit().map(|(_, name)| name.to_owned()).collect()
        }
        _ => {
            let text = read_text(path).with_context(|| format!("reading {shown}"))?;
            read(&text).map_err(|reason| wrong(format!("{shown}: {reason}")))?
        }
    };
    if names.len() != classes {
        let found = names.len();
        let message = format!("{shown} names {found} classes, and the model has {classes}");
        return Err(wrong(message).into());
    }
    imagenet::tell_apart(&mut names);
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, name) in names.iter().enumerate() {
        if let Some(before) = places.insert(name, i) {
            let name = printable::name(name);
            let message = format!("{shown}: classes {before} and {i} are both called {name:?}");
            return Err(wrong(message).into());
        }
    }
    Ok(names)
}

/// Names of classes: a line each; a JSON list; a JSON object or Python dictionary from numbers to names, or to a WNID and a name, or
/// from names to numbers; or a Python list. Says what is wrong.
fn read(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    if !text.starts_with(['[', '{']) {
        return Ok(text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect());
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(list)) => list.iter().enumerate().map(name_of).collect(),
        Ok(Value::Object(of)) => {
            let names = |(key, value): (&String, &Value)| Some((key.parse().ok()?, value.clone()));
            let numbers = |(key, value): (&String, &Value)| {
                Some((usize::try_from(value.as_u64()?).ok()?, Value::from(key.clone())))
            };
            let of_names: Option<Vec<(usize, Value)>> = of.iter().map(names).collect();
            let numbered = of_names.or_else(|| of.iter().map(numbers).collect()).ok_or(
                "expected names by their numbers, {\"0\": \"tench\"}, or numbers by their names",
            )?;
            let named = numbered.iter().map(|(number, value)| {
                Ok((*number, name_of((*number, value))?))
            });
            in_order(named.collect::<Result<_, String>>()?)
        }
        Ok(_) | Err(_) => in_order(python(text).ok_or(
            "expected a name in each line, a JSON list or object, or a Python list or dictionary of numbers and names",
        )?),
    }
}

/// The names in the order of their numbers, which must be all from 0 or all from 1 on.
fn in_order(mut numbered: Vec<(usize, String)>) -> Result<Vec<String>, String> {
    numbered.sort_by_key(|(number, _)| *number);
    let first = numbered.first().map_or(0, |(number, _)| (*number).min(1));
    match (first..).zip(&numbered).find(|(expected, (number, _))| expected != number) {
        Some((expected, (number, _))) if *number < expected => {
            Err(format!("two classes have the number {number}"))
        }
        Some((expected, _)) => Err(format!("no class has the number {expected}")),
        None => Ok(numbered.into_iter().map(|(_, name)| name).collect()),
    }
}

/// The name of class `at`, or several words that are one.
fn name_of((at, value): (usize, &Value)) -> Result<String, String> {
    match value {
        Value::String(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Value::Array(words) if !words.is_empty() => {
            let words = words.iter().map(|word| name_of((at, word)));
            Ok(words.collect::<Result<Vec<_>, _>>()?.join(" "))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Err(format!("class {at}: {value} is no name")),
    }
}

/// The numbered names of a Python list or dictionary.
fn python(text: &str) -> Option<Vec<(usize, String)>> {
    let is_list = text.starts_with('[');
    let mut rest = text.get(1..)?.trim_start();
    let end = if is_list { ']' } else { '}' };
    let mut found = Vec::new();
    while !rest.is_empty() && !rest.starts_with(end) {
        let (number, name) = match is_list {
            true => (found.len(), rest),
            false => {
                let (key, value) = rest.split_once(':')?;
                (key.trim().parse().ok()?, value.trim_start())
            }
        };
        let (name, after) = quoted(name)?;
        found.push((number, name));
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.starts_with(end) => after,
            None => return None,
        };
    }
    (rest.strip_prefix(end)?.trim().is_empty()).then_some(found)
}

/// A Python string at the beginning of a text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().filter(|(_, c)| matches!(c, '\'' | '"'))?;
    let mut string = String::new();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => string.push(characters.next()?.1),
            c if c == quote => return Some((string.trim().to_owned(), &text[at + 1..])),
            c => string.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_the_forms_that_they_are_published_in() {
        for text in [
            "tench\ngoldfish\n",
            "tench\r\n\r\n  goldfish  ",
            "[\"tench\", \"goldfish\"]",
            "['tench', \"goldfish\",]",
            "{\"1\": \"goldfish\", \"0\": \"tench\"}",
            "{\"goldfish\": 1, \"tench\": 0}",
            "{\"2\": \"goldfish\", \"1\": \"tench\"}",
            "{0: 'tench',\n 1: 'goldfish'}",
            "{0: 'tench', 1: 'goldfish'}",
        ] {
            assert_eq!(read(text).unwrap(), ["tench", "goldfish"], "{text}");
        }
        let keras = "{\"0\": [\"n01440764\", \"tench\"], \"1\": [\"n01443537\", \"goldfish\"]}";
        assert_eq!(read(keras).unwrap(), ["n01440764 tench", "n01443537 goldfish"]);
        assert_eq!(
            read("{0: 'a: \"b\", c', 1: \"d's\", 2: 'e\\'s'}").unwrap(),
            ["a: \"b\", c", "d's", "e's"]
        );
        let ten: String = (0..11).map(|i| format!("\"{i}\": \"c{i}\",")).collect();
        let ten = read(&format!("{{{}}}", ten.trim_end_matches(','))).unwrap();
        assert_eq!((ten.len(), &*ten[10]), (11, "c10"));
    }

    #[test]
    fn what_is_missing_or_doubled_is_not_guessed() {
        for (text, says) in [
            ("{\"0\": \"a\", \"2\": \"c\"}", "no class has the number 1"),
            ("{\"2\": \"a\", \"3\": \"c\"}", "no class has the number 1"),
            ("{0: 'a', 0: 'b'}", "two classes have the number 0"),
            ("{\"a\": 0, \"b\": 0}", "two classes have the number 0"),
            ("{\"a\": \"x\"}", "names by their numbers"),
            ("{\"a\": -1}", "names by their numbers"),
            ("[\"a\", null]", "class 1: null is no name"),
            ("[\"a\", \" \"]", "is no name"),
            ("{\"0\": 7}", "class 0: 7 is no name"),
            ("{0: 'a' 1: 'b'}", "a name in each line"),
            ("{0: 'a'", "a name in each line"),
            ("['a'] x", "a name in each line"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
