//! `top5 models`: the registry as a table.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::draw;
use top5::zoo::{self, Ensemble, Fact, Found, Network, Published};

use crate::args::ModelsArgs;
use crate::exit::Stop;
use crate::output::{Kind, Output};
use crate::table::{self, Column, short};

/// One network or ensemble.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    aliases: &'static [&'static str],
    family: &'static str,
    year: u16,
    place: Option<&'static str>,
    paper: String,
    section: &'static str,
    input: Option<[usize; 3]>,
    classes: Option<usize>,
    /// Learned parameters, auxiliary heads included; an ensemble's members together.
    params: u64,
    /// Multiply-accumulates of one image.
    macs: u64,
    /// Values of all activations of one image.
    activations: u64,
    /// Height and width of the input that one element of the last feature map sees.
    receptive_field: Option<[usize; 2]>,
    published: Vec<Error>,
    /// Whether timm has it, under this name.
    timm: bool,
    /// An ensemble's networks with their weights.
    members: &'static [(&'static str, f32)],
}

/// Published errors in percent.
#[derive(Serialize)]
struct Error {
    top1: Option<f32>,
    top5: Option<f32>,
    set: String,
    protocol: &'static str,
    source: &'static str,
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
        let mut rows = networks.map(of_network).collect::<Result<Vec<Row>>>()?;
        for ensemble in zoo::ensembles().filter(|ensemble| matches(named, ensemble.name)) {
            rows.push(of_ensemble(ensemble)?);
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
            let entries: Vec<draw::Entry> = rows.iter().filter_map(Row::entry).collect();
            let human = f64::from(zoo::HUMAN_TOP5_ERROR);
            let history = draw::history(&contestants(), human, &entries);
            output.file(path, Kind::Svg, history.as_bytes())?;
        }
        if output.json {
            #[derive(Serialize)]
            struct Models {
                models: Vec<Row>,
            }
            return output.document(&Models { models: rows });
        }
        match self.form {
            Form::Csv => {
                let records: Vec<_> = rows.iter().map(Row::record).collect();
                output.text(&table::csv(RECORD, &records))
            }
            Form::Wide | Form::Markdown => {
                let cells: Vec<_> = rows.iter().map(Row::cells).collect();
                let markdown = self.form == Form::Markdown;
                let form = if markdown { table::markdown } else { table::aligned };
                output.text(&form(COLUMNS, &cells))
            }
            Form::Text => {
                let cells: Vec<_> = rows.iter().map(Row::narrow).collect();
                output.text(&table::aligned(NARROW, &cells))
            }
        }
    }
}

impl Row {
    /// Its mark in the history: the first published top-5 error of a network of the contest's classes.
    fn entry(&self) -> Option<draw::Entry> {
        // The contest's part of the picture has the ensembles.
        let alone = |error: &&Error| self.members.is_empty() && error.set.starts_with("ILSVRC");
        let mut published = self.published.iter().filter(alone);
        let (error, top5) = published.find_map(|error| Some((error, error.top5?)))?;
        Some(draw::Entry {
            name: self.name.to_owned(),
            year: self.year,
            params: self.params,
            macs: self.macs,
            top5_error: f64::from(top5),
            protocol: format!("{}, {}", error.set, error.protocol),
        })
    }

    /// Its name, with what an ensemble is.
    fn title(&self) -> String {
        let ensemble = if self.members.is_empty() { "" } else { " (ensemble)" };
        format!("{}{ensemble}", self.name)
    }

    fn narrow(&self) -> [String; 6] {
        let error = self.published.first();
        [
            self.title(),
            self.year.to_string(),
            short(self.params),
            short(self.macs),
            percent(error.and_then(|error| error.top1)),
            percent(error.and_then(|error| error.top5)),
        ]
    }

    fn cells(&self) -> [String; 11] {
        let error = self.published.first();
        let measured = error.map(|error| format!("{}: {}", error.set, error.protocol));
        [
            self.title(),
            self.year.to_string(),
            self.input.map(size).unwrap_or_default(),
            short(self.params),
            short(self.macs),
            short(self.activations),
            self.receptive_field.map(area).unwrap_or_default(),
            percent(error.and_then(|error| error.top1)),
            percent(error.and_then(|error| error.top5)),
            measured.unwrap_or_default(),
            self.place.unwrap_or_default().to_owned(),
        ]
    }

    /// Its line of `--csv`.
    fn record(&self) -> [String; 15] {
        let error = self.published.first();
        let member = |(name, weight): &(&str, f32)| format!("{weight} {name}");
        let members: Vec<String> = self.members.iter().map(member).collect();
        [
            self.name.to_owned(),
            self.year.to_string(),
            self.place.unwrap_or_default().to_owned(),
            self.input.map(size).unwrap_or_default(),
            self.classes.map(|classes| classes.to_string()).unwrap_or_default(),
            self.params.to_string(),
            self.macs.to_string(),
            self.activations.to_string(),
            self.receptive_field.map(area).unwrap_or_default(),
            percent(error.and_then(|error| error.top1)),
            percent(error.and_then(|error| error.top5)),
            error.map(|error| error.set.clone()).unwrap_or_default(),
            error.map(|error| error.protocol.to_owned()).unwrap_or_default(),
            self.timm.to_string(),
            members.join("; "),
        ]
    }
}

/// An error as the papers print it, with at least one decimal.
fn percent(value: Option<f32>) -> String {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    if text.is_empty() || text.contains('.') { text } else { text + ".0" }
}

fn of_network(network: &'static Network) -> Result<Row> {
    let graph = network.graph()?;
    let seen = graph.inference();
    let is_map = |id: &usize| seen.nodes()[*id].shape().size() != [1, 1];
    let last_map = (0..seen.nodes().len()).rev().find(is_map);
    Ok(Row {
        name: network.name,
        aliases: network.aliases,
        family: network.family,
        year: network.year,
        place: network.place.known().copied(),
        paper: describe(&network.paper),
        section: network.section,
        input: Some(network.input),
        classes: Some(network.classes),
        params: network.params,
        macs: network.macs,
        activations: seen.activations() as u64,
        receptive_field: last_map.map(|id| seen.receptive_fields()[id].size),
        published: errors(&network.published),
        timm: network.is_in_timm(),
        members: &[],
    })
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

fn of_ensemble(ensemble: &'static Ensemble) -> Result<Row> {
    let members = ensemble.members.iter().map(|(name, _)| of_network(zoo::network(name)?));
    let members = members.collect::<Result<Vec<Row>>>()?;
    let sum = |part: fn(&Row) -> u64| members.iter().map(part).sum();
    Ok(Row {
        name: ensemble.name,
        aliases: ensemble.aliases,
        family: ensemble.family,
        year: ensemble.year,
        place: ensemble.place.known().copied(),
        paper: describe(&ensemble.paper),
        section: ensemble.section,
        input: None,
        classes: members.first().and_then(|member| member.classes),
        params: sum(|row| row.params),
        macs: sum(|row| row.macs),
        activations: sum(|row| row.activations),
        receptive_field: None,
        published: errors(&ensemble.published),
        timm: false,
        members: ensemble.members,
    })
}

/// Authors, title and venue in one line.
pub(crate) fn describe(paper: &zoo::Paper) -> String {
    let arxiv = paper.arxiv.map(|number| format!(", arXiv:{number}")).unwrap_or_default();
    format!("{}, \"{}\", {}{arxiv}", paper.authors, paper.title, paper.venue)
}

fn errors(published: &Fact<&'static [Published]>) -> Vec<Error> {
    let published = published.known().copied().unwrap_or_default();
    let row = |error: &Published| Error {
        top1: error.top1,
        top5: error.top5,
        set: error.set.to_string(),
        protocol: error.protocol,
        source: error.source,
    };
    published.iter().map(row).collect()
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
fn matches(pattern: &str, name: &str) -> bool {
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
