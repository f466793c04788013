//! Published results beside measured ones.

use anyhow::Result;
use serde::Serialize;
use top5::eval::rows::{Row, article};
use top5::zoo;

use super::result::Evaluation;
use crate::exit::Stop;
use crate::output::Output;
use crate::table::{self, Column};

/// The document of `--json` without anything measured.
#[derive(Serialize)]
struct Rows {
    rows: Vec<Row>,
}

/// The rows of the article's table that are of this network, or of this year.
pub(crate) fn find(name: &str) -> Result<Vec<Row>> {
    let wanted = name.to_lowercase();
    let fits = |row: &Row| {
        row.network.to_lowercase() == wanted
            || row.network.to_lowercase().split(' ').next() == Some(&*wanted)
            || row.year.is_some_and(|year| year.to_string() == wanted)
    };
    let rows: Vec<Row> = article().into_iter().filter(fits).collect();
    if rows.is_empty() {
        let mut names: Vec<&str> = article().iter().map(|row| row.network).collect();
        names.dedup();
        let message = format!("--row {name}: expected one of {}, or a year", names.join(", "));
        return Err(Stop::Usage(message).into());
    }
    Ok(rows)
}

/// Prints rows, and what was measured, if anything was.
pub(crate) fn print(rows: Vec<Row>, measured: Option<&Evaluation>, output: Output) -> Result<()> {
    match (output.json, measured) {
        (true, None) => output.document(&Rows { rows }),
        // The measured document is printed by itself.
        (true, Some(_)) => Ok(()),
        (false, _) => output.text(&text(&rows, measured)),
    }
}

fn text(rows: &[Row], measured: Option<&Evaluation>) -> String {
    const COLUMNS: [Column; 6] = [
        ("year", false),
        ("network", false),
        ("val top-1 err", true),
        ("val top-5 err", true),
        ("test top-5 err", true),
        ("how", false),
    ];
    let error = |error: Option<f32>| error.map_or(String::new(), |error| error.to_string());
    let how = |row: &Row| {
        let member = |member: &top5::eval::rows::Member| {
            let weight = if member.weight == 1.0 {
                String::new()
            } else {
                format!(", weight {}", member.weight)
            };
            format!("{} {} ({}{weight})", member.models, member.network, member.protocol.name)
        };
        let members: Vec<String> = row.members.iter().map(member).collect();
        let note = if row.note.is_empty() { String::new() } else { format!("; {}", row.note) };
        members.join(" + ") + &note
    };
    let mut cells: Vec<[String; 6]> = rows
        .iter()
        .map(|row| {
            let year = row.year.map_or(String::new(), |year| year.to_string());
            let [a, b, c] = [row.val_top1, row.val_top5, row.test_top5].map(error);
            [year, row.network.to_owned(), a, b, c, how(row)]
        })
        .collect();
    if let Some(measured) = measured {
        let [top1, top5] =
            [measured.top1, measured.top5].map(|share| format!("{:.2}", 100.0 - share));
        let Evaluation { network, data, split, images, .. } = measured;
        let how = format!(
            "measured on {data} ({split}, {images} images), {}",
            measured.origin.protocol.name
        );
        cells.push([String::new(), network.clone(), top1, top5, String::new(), how]);
    }
    let mut text = table::aligned(COLUMNS, &cells);
    text += match measured {
        None => "nothing was measured: give a model, or --ensemble with the members of a row\n",
        Some(_) => {
            "the measured line is what its protocol says and no more; test images of the contest are not public\n"
        }
    };
    text
}

/// What was published for a network of the zoo: images, protocol and source, top-1 and top-5 error.
pub(crate) fn published(network: &str) -> Vec<Vec<String>> {
    let Ok(network) = zoo::network(network) else { return Vec::new() };
    let known = network.published.known().copied().unwrap_or_default();
    let error = |error: Option<f32>| error.map_or(String::new(), |error| error.to_string());
    let row = |row: &zoo::Published| {
        let how = format!("{} ({})", row.protocol, row.source);
        vec![row.set.to_string(), how, error(row.top1), error(row.top5)]
    };
    known.iter().map(row).collect()
}
