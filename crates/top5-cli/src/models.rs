//! `top5 models`: the registry as a table.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::zoo::{self, Found};
use top5::{Listed, PublishedError, draw};

use crate::exit::Stop;
use crate::output::{Kind, Output};
use crate::table::{self, Column, short};

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 models
  top5 models 'resnet*' --wide
  top5 models 'resnet*' --csv
  top5 models --plot history.svg";

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Names to list, with * and ?
    #[arg(default_value = "*")]
    pub(crate) pattern: String,
    /// All columns, whatever the terminal's width: input, activations, receptive field, how errors were measured, place
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    pub(crate) wide: bool,
    /// Write CSV
    #[arg(long, conflicts_with_all = ["json", "markdown"])]
    pub(crate) csv: bool,
    /// Write a Markdown table
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// Also draw the history: error by year, and error against MACs
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

/// The columns that fit a terminal of 80 characters.
const NARROW: [Column; 6] = [
    ("name", false),
    ("year", true),
    ("parameters", true),
    ("MACs", true),
    ("top-1 error", true),
    ("top-5 error", true),
];

/// All columns that people read.
const COLUMNS: [Column; 11] = [
    ("name", false),
    ("year", true),
    ("input", true),
    ("parameters", true),
    ("MACs", true),
    ("activations", true),
    ("sees", true),
    ("top-1 error", true),
    ("top-5 error", true),
    ("error measured", false),
    ("place", false),
];

/// The columns of `--csv`, under the names that timm's results have where they have them.
const RECORD: [&str; 15] = [
    "model",
    "year",
    "place",
    "input",
    "classes",
    "param_count",
    "macs",
    "activations",
    "receptive_field",
    "top1_err",
    "top5_err",
    "set",
    "protocol",
    "timm",
    "members",
];

/// The form of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Wide,
    Markdown,
    Csv,
}

/// The command, resolved.
pub(crate) struct Task {
    /// Names to list.
    pattern: String,
    form: Form,
    plot: Option<PathBuf>,
}

impl Task {
    pub(crate) fn resolve(args: ModelsArgs) -> Self {
        let form = match args {
            ModelsArgs { csv: true, .. } => Form::Csv,
            ModelsArgs { markdown: true, .. } => Form::Markdown,
            ModelsArgs { wide: true, .. } => Form::Wide,
            ModelsArgs { .. } => Form::Text,
        };
        Self { pattern: args.pattern, form, plot: args.plot }
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        // A name without wildcards may be any of a network's.
        let named = match zoo::find(&self.pattern) {
            Ok(Found::Network(network)) => network.name,
            Ok(Found::Ensemble(ensemble)) => ensemble.name,
            Err(_) => &self.pattern,
        };
        let networks = zoo::networks().filter(|network| matches(named, network.name));
        let mut rows = networks.map(Listed::of_network).collect::<Result<Vec<Listed>, _>>()?;
        for ensemble in zoo::ensembles().filter(|ensemble| matches(named, ensemble.name)) {
            rows.push(Listed::of_ensemble(ensemble)?);
        }
        if rows.is_empty() {
            let wanted = self.pattern.replace(['*', '?'], "");
            let near = zoo::find(&wanted).err().map(|error| error.nearest).unwrap_or_default();
            let message = format!(
                "no network's name matches {:?}; nearest: {}",
                self.pattern,
                near.join(", ")
            );
            return Err(Stop::BadInput(message).into());
        }
        if let Some(path) = &self.plot {
            let entries: Vec<draw::Entry> = rows.iter().filter_map(entry).collect();
            let human = f64::from(zoo::HUMAN_TOP5_ERROR);
            let history = draw::history(&contestants(), human, &entries);
            output.file(path, Kind::Svg, history.as_bytes())?;
        }
        if output.json {
            #[derive(Serialize)]
            struct Models {
                models: Vec<Listed>,
            }
            return output.document(&Models { models: rows });
        }
        match self.form {
            Form::Csv => {
                let records: Vec<_> = rows.iter().map(record).collect();
                output.text(&table::csv(RECORD, &records))
            }
            Form::Wide | Form::Markdown => {
                let cells: Vec<_> = rows.iter().map(cells).collect();
                let markdown = self.form == Form::Markdown;
                let form = if markdown { table::markdown } else { table::aligned };
                output.text(&form(COLUMNS, &cells))
            }
            Form::Text => {
                let cells: Vec<_> = rows.iter().map(narrow).collect();
                output.text(&table::aligned(NARROW, &cells))
            }
        }
    }
}

/// Its mark in the history: the first published top-5 error of a network of the contest's classes.
fn entry(row: &Listed) -> Option<draw::Entry> {
    // The contest's part of the picture has the ensembles.
    let alone = |error: &&PublishedError| row.members.is_empty() && error.set.starts_with("ILSVRC");
    let mut published = row.published.iter().filter(alone);
    let (error, top5) = published.find_map(|error| Some((error, error.top5?)))?;
    Some(draw::Entry {
        name: row.name.to_owned(),
        year: row.year,
        params: row.params,
        macs: row.macs,
        top5_error: f64::from(top5),
        protocol: format!("{}, {}", error.set, error.protocol),
    })
}

/// Its name, with what an ensemble is.
fn title(row: &Listed) -> String {
    let ensemble = if row.members.is_empty() { "" } else { " (ensemble)" };
    format!("{}{ensemble}", row.name)
}

fn narrow(row: &Listed) -> [String; 6] {
    let error = row.published.first();
    [
        title(row),
        row.year.to_string(),
        short(row.params),
        short(row.macs),
        percent(error.and_then(|error| error.top1)),
        percent(error.and_then(|error| error.top5)),
    ]
}

fn cells(row: &Listed) -> [String; 11] {
    let error = row.published.first();
    let measured = error.map(|error| format!("{}: {}", error.set, error.protocol));
    [
        title(row),
        row.year.to_string(),
        row.input.map(size).unwrap_or_default(),
        short(row.params),
        short(row.macs),
        short(row.activations),
        row.receptive_field.map(area).unwrap_or_default(),
        percent(error.and_then(|error| error.top1)),
        percent(error.and_then(|error| error.top5)),
        measured.unwrap_or_default(),
        row.place.unwrap_or_default().to_owned(),
    ]
}

/// Its line of `--csv`.
fn record(row: &Listed) -> [String; 15] {
    let error = row.published.first();
    let member = |(name, weight): &(&str, f32)| format!("{weight} {name}");
    let members: Vec<String> = row.members.iter().map(member).collect();
    [
        row.name.to_owned(),
        row.year.to_string(),
        row.place.unwrap_or_default().to_owned(),
        row.input.map(size).unwrap_or_default(),
        row.classes.map(|classes| classes.to_string()).unwrap_or_default(),
        row.params.to_string(),
        row.macs.to_string(),
        row.activations.to_string(),
        row.receptive_field.map(area).unwrap_or_default(),
        percent(error.and_then(|error| error.top1)),
        percent(error.and_then(|error| error.top5)),
        error.map(|error| error.set.clone()).unwrap_or_default(),
        error.map(|error| error.protocol.to_owned()).unwrap_or_default(),
        row.timm.to_string(),
        members.join("; "),
    ]
}

/// An error as the papers print it, with at least one decimal.
fn percent(value: Option<f32>) -> String {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    if text.is_empty() || text.contains('.') { text } else { text + ".0" }
}

/// The contest's entries for the history.
fn contestants() -> Vec<draw::Contestant> {
    let contestants = zoo::CONTEST.iter().map(|entry| draw::Contestant {
        name: entry.name.to_owned(),
        year: entry.year,
        top5_error: f64::from(entry.top5_error),
        winner: entry.winner,
    });
    contestants.collect()
}

/// `195×195`.
fn area([height, width]: [usize; 2]) -> String {
    format!("{height}×{width}")
}

/// `3×224×224`.
pub(crate) fn size([channels, height, width]: [usize; 3]) -> String {
    format!("{channels}×{height}×{width}")
}

/// Whether a name fits a pattern with `*` (anything) and `?` (one character), as timm's `list_models` has them. A `*` that took
/// too little takes one character more, and only the last one is ever taken back: time grows with the product of the lengths.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let [pattern, name] = [pattern, name].map(|text| text.chars().collect::<Vec<char>>());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || c.eq_ignore_ascii_case(&name[n]) => (p, n) = (p + 1, n + 1),
            Some(_) | None => match star {
                Some((at, taken)) => {
                    (p, n) = (at + 1, taken + 1);
                    star = Some((at, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*", ""),
            ("*net*", "resnet18"),
            ("VGG1?", "vgg16"),
            ("lenet", "lenet"),
            ("a*c*", "abc"),
            ("*b*bb", "abababb"),
            ("é?*", "éa"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("", "a"), ("vgg1?", "vgg16_bn"), ("?", ""), ("lenet", "lenet5"), ("é*", "e")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        // Trying every way for every star would take longer than the universe has.
        assert!(!matches(&("*a".repeat(200) + "b"), &"a".repeat(2000)));
    }
}
