//! Published results beside measured ones.

use anyhow::Result;
use serde::Serialize;
use top5::eval::rows::{Member, ResultRow, article};
use top5::eval::{Protocol, Weighted};
use top5::graph::counted;
use top5::zoo;

use super::result::Evaluation;
use super::text::{Form, LEFT_OUT};
use crate::exit::Stop;
use crate::output::Output;
use crate::table::{self, Column};

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    /// The measurement itself, where there is one.
    #[serde(flatten)]
    evaluation: Option<&'a Evaluation>,
    rows: Vec<Beside<'a>>,
}

/// A published row, and what was measured of the same networks.
#[derive(Serialize)]
struct Beside<'a> {
    #[serde(flatten)]
    row: &'a ResultRow,
    measured: Option<Measured<'a>>,
}

/// Errors in percent.
#[derive(Serialize)]
struct Measured<'a> {
    top1_error: f64,
    top5_error: f64,
    data: &'a str,
    split: &'a str,
    images: usize,
    /// What was averaged.
    members: &'a [String],
    /// What was not there.
    missing: &'a [String],
    /// The members that looked by another protocol than the row's.
    otherwise: Vec<&'a str>,
    /// What else the errors depend on: right answers that are not the labels, what was fitted, classes that were left out.
    judged: Vec<String>,
}

impl<'a> Measured<'a> {
    fn new(evaluation: &'a Evaluation) -> Self {
        let Evaluation { top1, top5, data, split, images, .. } = evaluation;
        let averaged = evaluation.origin.ensemble.as_ref();
        let usual = of(evaluation).map_or(Vec::new(), |row| usual(&row));
        let is_other = |(line, member): &(&str, &Weighted)| {
            let is_it = |(beginning, protocol): &(String, Protocol)| {
                let looked = member.origin.protocol.as_ref();
                line.starts_with(beginning)
                    && looked.is_some_and(|looked| looked.looks_as(protocol))
            };
            !usual.is_empty() && !usual.iter().any(is_it)
        };
        let members = averaged.into_iter().flat_map(|averaged| {
            averaged.members.iter().map(String::as_str).zip(&averaged.origins)
        });
        let otherwise = members.filter(is_other).map(|(line, _)| line).collect();
        let mut judged = evaluation.origin.terms.sentences();
        judged.extend(evaluation.subset.then(|| LEFT_OUT.to_owned()));
        Self {
            top1_error: 100.0 - top1,
            top5_error: 100.0 - top5,
            data,
            split,
            images: *images,
            members: averaged.map_or(&[], |averaged| &averaged.members),
            missing: averaged.map_or(&[], |averaged| &averaged.missing),
            otherwise,
            judged,
        }
    }

    /// Where it was measured, and how much of the row.
    fn text(&self) -> String {
        let Self { data, split, images, members, missing, otherwise, judged, .. } = self;
        let mut text = format!("measured on {data} ({split}, {})", counted(*images, "image"));
        if !missing.is_empty() {
            let all = members.len() + missing.len();
            let without = missing.join("; ");
            text += &format!(" with {} of {all} members, without {without}", members.len());
        }
        if !otherwise.is_empty() {
            text += &format!("; not by the row's protocol: {}", otherwise.join("; "));
        }
        judged.iter().for_each(|what| text += &format!("; {what}"));
        text
    }
}

/// How the lines begin that say what a row's members were, and how these look.
fn usual(row: &ResultRow) -> Vec<(String, Protocol)> {
    let of = row.members.iter().flat_map(|of| std::iter::repeat_n(of, of.models));
    let line =
        |(name, of): (String, &Member)| (format!("{name}: {}, ", of.network), of.protocol.clone());
    row.names().into_iter().zip(of).map(line).collect()
}

/// The rows of the article's table of this name, of this network, or of this year; `all` are all of them.
pub(crate) fn find(name: &str) -> Result<Vec<ResultRow>> {
    let wanted = name.to_lowercase();
    let fits = |row: &ResultRow| {
        let network = row.network.to_lowercase();
        wanted == "all"
            || row.name == wanted
            || network == wanted
            || network.split(' ').next() == Some(&*wanted)
            || row.year.is_some_and(|year| year.to_string() == wanted)
    };
    let rows: Vec<ResultRow> = article().into_iter().filter(fits).collect();
    if rows.is_empty() {
        let table = article();
        let names: Vec<&str> = table.iter().map(|row| row.name).collect();
        let mut networks: Vec<&str> = table.iter().map(|row| row.network).collect();
        networks.dedup();
        let (names, networks) = (names.join(", "), networks.join(", "));
        let message = format!(
            "--row {name}: expected one of {names}; or one of {networks}; or a year, or all"
        );
        return Err(Stop::Usage(message).into());
    }
    Ok(rows)
}

/// The row that an ensemble was made for, if it was made for one.
pub(crate) fn of(evaluation: &Evaluation) -> Option<ResultRow> {
    let name = evaluation.origin.ensemble.as_ref()?.row.as_deref()?;
    article().into_iter().find(|row| row.name == name)
}

/// Prints rows, and what was measured beside those whose networks it was measured of: now, after which there is more to print,
/// or in `earlier` results.
pub(crate) fn print(
    rows: &[ResultRow],
    now: Option<&Evaluation>,
    earlier: &[(String, Evaluation)],
    form: Form,
    output: Output,
) -> Result<()> {
    let row_of = |one: &Evaluation| -> Option<String> { one.origin.ensemble.as_ref()?.row.clone() };
    let measured = |row: &ResultRow| {
        let is_of = |one: &&Evaluation| row_of(one).as_deref() == Some(row.name);
        now.into_iter().chain(earlier.iter().map(|(_, one)| one)).find(is_of).map(Measured::new)
    };
    let mut seen: Vec<String> = now.and_then(row_of).into_iter().collect();
    for (file, one) in earlier {
        match row_of(one).filter(|name| rows.iter().any(|row| row.name == name)) {
            None => output.warn(&format!("{file} is about none of these rows")),
            Some(name) if seen.contains(&name) => {
                output.warn(&format!("{file} is left out: {name} was measured already"));
            }
            Some(name) => seen.push(name),
        }
    }
    let rows: Vec<Beside<'_>> =
        rows.iter().map(|row| Beside { row, measured: measured(row) }).collect();
    if output.json {
        return output.document(&Document { evaluation: now, rows });
    }
    let (cells, is_a_row) = cells(&rows, now);
    output.text(&match form {
        Form::Text => text(&rows, now.filter(|_| !is_a_row), &cells),
        // A table alone must say itself what its numbers are of.
        Form::Csv => table::csv(ALONE.map(|(title, _)| title), &alone(&rows, now, cells)),
        Form::Markdown => table::markdown(ALONE, &alone(&rows, now, cells)),
    })
}

const COLUMNS: [Column; 8] = [
    ("row", false),
    ("year", false),
    ("network", false),
    ("val top-1 err", true),
    ("val top-5 err", true),
    ("test top-5 err", true),
    ("top-1 err here", true),
    ("top-5 err here", true),
];

/// The columns of a table that nothing follows.
const ALONE: [Column; 9] = {
    let mut columns = [("measured here", false); 9];
    let mut at = 0;
    while at < COLUMNS.len() {
        columns[at] = COLUMNS[at];
        at += 1;
    }
    columns
};

/// The cells of a table that nothing follows.
fn alone(
    rows: &[Beside<'_>],
    now: Option<&Evaluation>,
    cells: Vec<[String; 8]>,
) -> Vec<[String; 9]> {
    let how = |at: usize| match rows.get(at) {
        Some(row) => row.measured.as_ref().map_or(String::new(), Measured::text),
        None => now.map_or(String::new(), |now| Measured::new(now).text()),
    };
    let longer = |(at, cells): (usize, [String; 8])| {
        let mut cells = cells.into_iter();
        std::array::from_fn(|_| cells.next().unwrap_or_else(|| how(at)))
    };
    cells.into_iter().enumerate().map(longer).collect()
}

/// The table's cells, and whether what was measured now is one of its rows. Otherwise it is the last.
fn cells(rows: &[Beside<'_>], now: Option<&Evaluation>) -> (Vec<[String; 8]>, bool) {
    let published = |error: Option<f32>| error.map_or(String::new(), |error| error.to_string());
    let cells = |Beside { row, measured }: &Beside<'_>| {
        let year = row.year.map_or(String::new(), |year| year.to_string());
        let [a, b, c] = [row.val_top1, row.val_top5, row.test_top5].map(published);
        let here = |error: fn(&Measured<'_>) -> f64| match measured {
            Some(measured) => format!("{:.2}", error(measured)),
            None => "not run".to_owned(),
        };
        let (d, e) = (here(|m| m.top1_error), here(|m| m.top5_error));
        [row.name.to_owned(), year, row.network.to_owned(), a, b, c, d, e]
    };
    let mut cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let is_a_row =
        now.is_some_and(|now| rows.iter().any(|one| of(now).is_some_and(|row| row == *one.row)));
    if let Some(now) = now.filter(|_| !is_a_row) {
        let [d, e] = [now.top1, now.top5].map(|share| format!("{:.2}", 100.0 - share));
        let none = String::new;
        cells.push([none(), none(), now.network.clone(), none(), none(), none(), d, e]);
    }
    (cells, is_a_row)
}

/// All that is known of rows; `now` was measured and is none of them.
fn text(rows: &[Beside<'_>], now: Option<&Evaluation>, cells: &[[String; 8]]) -> String {
    let mut text = table::aligned(COLUMNS, cells);
    for Beside { row, measured } in rows {
        text += &format!("\n{}: {}\n", row.name, how(row));
        for choice in row.chosen() {
            text += &format!("  chosen: {choice}\n");
        }
        if let Some(measured) = measured {
            text += &format!("  {}\n", measured.text());
        }
    }
    if let Some(now) = now {
        let (network, measured) = (&now.network, Measured::new(now).text());
        let looks = now.origin.looks();
        text += &format!("\n{network}, {looks}: {measured}; it is none of these ensembles\n");
    }
    let ran = rows.iter().filter(|row| row.measured.is_some()).count();
    let (of, more) = (rows.len(), "top5 eval --ensemble ROW measures one");
    text + &format!(
        "\n{ran} of {of} rows were run here: {more}; the contest's test images are not public\n"
    )
}

/// Who was averaged and how.
fn how(row: &ResultRow) -> String {
    let member = |member: &Member| {
        let weight = match member.weight {
            1.0 => String::new(),
            weight => format!(", weight {weight}"),
        };
        let named = match member.name == member.network {
            true => String::new(),
            false => format!(" as {}", member.name),
        };
        format!("{} {}{named} ({}{weight})", member.models, member.network, member.protocol.name)
    };
    let members: Vec<String> = row.members.iter().map(member).collect();
    let parts = [members.join(" + "), row.note.to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What was published for a network of the zoo, or for an ensemble of the article's table: images, protocol and source, top-1 and
/// top-5 error.
pub(crate) fn published(evaluation: &Evaluation) -> Vec<Vec<String>> {
    let error = |error: Option<f32>| error.map_or(String::new(), |error| error.to_string());
    if let Some(row) = of(evaluation) {
        let line = |images: &str, top1, top5| {
            let how = format!("the article's table, {}", row.name);
            vec![images.to_owned(), how, error(top1), error(top5)]
        };
        let validation = line("val", row.val_top1, row.val_top5);
        let test = line("test", None, row.test_top5);
        let is_known = row.val_top1.is_some() || row.val_top5.is_some();
        return [validation].into_iter().filter(|_| is_known).chain([test]).collect();
    }
    let Ok(network) = zoo::network(&evaluation.network) else { return Vec::new() };
    let known = network.published.known().copied().unwrap_or_default();
    let row = |row: &zoo::Published| {
        let how = format!("{} ({})", row.protocol, row.source);
        vec![row.set.to_string(), how, error(row.top1), error(row.top5)]
    };
    known.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_networks_of_the_registry_as_it_has_them_in_ensembles() {
        for row in article() {
            for member in &row.members {
                let network = zoo::network(member.network).unwrap();
                assert_eq!(network.name, member.network);
            }
        }
        for (row, ensemble) in [("clarifai", "clarifai"), ("trimps-5", "trimps_soushen")] {
            let row = article().into_iter().find(|known| known.name == row).unwrap();
            let all: f64 = row.members.iter().map(|one| one.weight * one.models as f64).sum();
            let of = |one: &Member| vec![(one.network, (one.weight / all) as f32); one.models];
            let ours: Vec<(&str, f32)> = row.members.iter().flat_map(of).collect();
            let known = zoo::ensembles().find(|known| known.name == ensemble).unwrap();
            assert_eq!(ours, known.members);
        }
    }

    #[test]
    fn rows_are_found_by_name_network_and_year() {
        let names = |text| find(text).unwrap().iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names("VGG"), ["vgg-7", "vgg-2"]);
        assert_eq!(names("vgg-2"), ["vgg-2"]);
        assert_eq!(names("googlenet").len(), 4);
        assert_eq!(names("2016"), ["trimps-5", "resnext"]);
        assert_eq!(names("all").len(), 17);
        let error = find("lenet").unwrap_err().to_string();
        assert!(error.contains("alexnet-5") && error.contains("Clarifai"), "{error}");
    }
}
