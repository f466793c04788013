//! Kinds of errors: `errors.csv` lists the errors for somebody to sort, after Trimps-Soushen, and is counted when it comes back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::read_text;

use super::result::{Outcome, Sorted};
use crate::exit::Stop;
use crate::output::Kind;
use crate::printable;
use crate::table;

/// How Trimps-Soushen sorted the 1,458 errors that were left, with the share of each kind, 2016. The article prints 211 for the first;
/// its percentage gives 221.
pub(crate) const KINDS: [(&str, usize); 7] = [
    ("label may be wrong", 221),
    ("more than five objects", 118),
    ("main object not obvious", 355),
    ("confusing label", 206),
    ("fine-grained", 258),
    ("obviously wrong", 234),
    ("part of an object", 66),
];

const HEAD: &str = "image,label,class,rank,taken_for,prob,kind";

/// A row per image whose class did not come first, with an empty kind; first those whose class is not among the first five.
pub(crate) fn errors(outcome: &Outcome) -> String {
    let mut text = format!("{HEAD}\n");
    let header = &outcome.header;
    let wrong = || header.images.iter().zip(&outcome.judged).filter(|(_, one)| !one.is_among(1));
    let far = wrong().filter(|(_, one)| !one.is_among(5));
    for (image, one) in far.chain(wrong().filter(|(_, one)| one.is_among(5))) {
        let rank = one.rank.map_or(String::new(), |rank| (rank + 1).to_string());
        let (taken, p) = match one.top.first() {
            Some(&(taken, p)) => (outcome.name(taken), format!("{p:.6}")),
            None => (String::new(), String::new()),
        };
        let [image, class, taken] =
            [image, &outcome.name(one.label), &taken].map(|text| table::cell(text));
        let _ = writeln!(text, "{image},{},{class},{rank},{taken},{p},", one.label);
    }
    text
}

/// Whether somebody has filled kinds into the `errors.csv` at a path. What cannot be read as one that nobody has touched is one where
/// somebody was at work, and something is not yet right.
pub(crate) fn is_filled(path: &Path) -> bool {
    let untouched = |text: String| kinds(&text).is_ok_and(|kinds| kinds.is_empty());
    Kind::ErrorsCsv.is_at(path) && !read_text(path).is_ok_and(untouched)
}

/// An `errors.csv` that was filled in.
pub(crate) struct Kinds {
    shown: String,
    /// Line, image and kind of each error that has one.
    given: Vec<(usize, String, usize)>,
}

impl Kinds {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = read_text(path).with_context(|| format!("reading {shown}"))?;
        let given = kinds(&text).map_err(|reason| Stop::BadInput(format!("{shown}: {reason}")))?;
        Ok(Self { shown, given })
    }

    /// How many errors of a result are of each kind.
    pub(crate) fn count(&self, outcome: &Outcome) -> Result<Vec<Sorted>> {
        let mut sorted = KINDS.map(|(kind, _)| Sorted { kind: kind.to_owned(), errors: 0 });
        let judged = outcome.header.images.iter().map(String::as_str).zip(&outcome.judged);
        let mut open: BTreeMap<&str, bool> =
            judged.map(|(image, one)| (image, !one.is_among(1))).collect();
        for (line, image, kind) in &self.given {
            let what = match open.insert(image, false) {
                Some(true) => {
                    sorted[*kind].errors += 1;
                    continue;
                }
                Some(false) => "is no error of this result, or is listed twice",
                None => "is none of the images that were judged",
            };
            let message = format!("{}: line {line}: {} {what}", self.shown, printable::path(image));
            return Err(Stop::BadInput(message).into());
        }
        Ok(sorted.to_vec())
    }
}

/// Line, image and kind of each error that has one.
fn kinds(text: &str) -> Result<Vec<(usize, String, usize)>, String> {
    let mut records = table::records(text);
    let head = records.next().map(|(_, cells)| cells.join(","));
    if head.as_deref() != Some(HEAD) {
        return Err(format!("expected the errors.csv of a report, whose first line is {HEAD}"));
    }
    let mut kinds = Vec::new();
    for (line, cells) in records {
        let [image, .., kind] = &cells[..] else {
            return Err(format!("line {line}: expected as many cells as the first line has"));
        };
        let kind = kind.trim();
        let (found, expected) = (cells.len(), HEAD.split(',').count());
        if found != expected {
            return Err(format!("line {line}: {found} cells, expected {expected}"));
        }
        if kind.is_empty() {
            continue;
        }
        let by_name = || KINDS.iter().position(|(name, _)| name.eq_ignore_ascii_case(kind));
        let by_number = kind.parse().ok().filter(|number| (1..=KINDS.len()).contains(number));
        let Some(kind) = by_number.map(|number| number - 1).or_else(by_name) else {
            let numbered = |(i, (name, _)): (usize, &(&str, usize))| format!("{} {name}", i + 1);
            let all: Vec<String> = KINDS.iter().enumerate().map(numbered).collect();
            let all = all.join(", ");
            return Err(format!(
                "line {line}: {kind:?} is no kind: expected a number or name of {all}"
            ));
        };
        kinds.push((line, image.clone(), kind));
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_names_or_numbers() {
        let text = |kind: &str| {
            format!("{HEAD}\r\na.png,1,cat,2,dog,0.5,{kind}\r\nb.png,1,cat,2,dog,0.5,\n")
        };
        let one = |kind| vec![(2, "a.png".to_owned(), kind)];
        assert_eq!(kinds(&text("5")), Ok(one(4)));
        assert_eq!(kinds(&text(" Fine-Grained")), Ok(one(4)));
        assert_eq!(kinds(&text("")), Ok(vec![]));
        for wrong in ["8", "0", "nan", "odd"] {
            let error = kinds(&text(wrong)).unwrap_err();
            assert!(error.contains("line 2") && error.contains("7 part of an object"), "{error}");
        }
        assert!(kinds("a,b\n1,2").unwrap_err().contains(HEAD));
        for unquoted in
            ["fine-grained, I think", ""].map(|kind| text(kind) + "c.png,1,cat,2,dog,0.5\n")
        {
            let error = kinds(&unquoted).unwrap_err();
            assert!(error.contains("cells, expected 7"), "{error}");
        }
        assert!(KINDS.iter().map(|(_, errors)| errors).sum::<usize>() == 1458);
    }
}
