//! The files of a report: `predictions.csv`, `errors.csv`, `report.json`, `report.html`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::read_text;
use top5::eval::KEPT;
use top5::make_folder;

use super::kinds;
use super::page;
use super::pictures::Thumbnails;
use super::result::{Details, Outcome, Report};
use crate::exit::Stop;
use crate::output::{Kind, Output, SCHEMA_VERSION};
use crate::table;

/// What a report consists of, by the names of its files.
pub(crate) const REPORT: &str = "report.json";
pub(crate) const PREDICTIONS: &str = "predictions.csv";

/// Writes all of them into a folder.
pub(crate) fn write(
    outcome: &Outcome,
    details: Details,
    thumbnails: &Thumbnails,
    folder: &Path,
    output: Output,
) -> Result<()> {
    make_folder(folder)?;
    let errors = folder.join("errors.csv");
    if kinds::is_filled(&errors) && !output.force {
        let message = format!(
            "{} has kinds of errors that somebody filled in: choose another folder, or give --force",
            errors.display()
        );
        return Err(Stop::Resource(message).into());
    }
    let report =
        Report { schema_version: SCHEMA_VERSION, evaluation: outcome.evaluation(true), details };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    for (name, kind, text) in [
        (PREDICTIONS, Kind::PredictionsCsv, predictions(outcome)),
        ("errors.csv", Kind::ErrorsCsv, kinds::errors(outcome)),
        (REPORT, Kind::ReportJson, json),
        ("report.html", Kind::ReportHtml, page::html(&report, thumbnails)),
    ] {
        output.file(&folder.join(name), kind, text.as_bytes())?;
    }
    Ok(())
}

/// Reads a `report.json`.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let shown = path.display();
    let text = read_text(path).with_context(|| format!("reading {shown}"))?;
    let wrong = |error: serde_json::Error| {
        Stop::BadInput(format!("{shown} is no report.json of an evaluation: {error}"))
    };
    Ok(serde_json::from_str(&text).map_err(wrong)?)
}

/// A row per image: its file or number, class, rank of the class from 1, loss, and the most probable classes. RFC 4180, with
/// bare line feeds.
fn predictions(outcome: &Outcome) -> String {
    let mut text = String::from("image,label,class,rank,loss");
    for k in 1..=KEPT {
        let _ = write!(text, ",top{k}_index,top{k}_class,top{k}_prob");
    }
    text.push('\n');
    let header = &outcome.header;
    for (image, one) in header.images.iter().zip(&outcome.judged) {
        let class = |class: u32| table::cell(&header.classes[class as usize]);
        let rank = one.rank.map_or(String::new(), |rank| (rank + 1).to_string());
        let (image, of) = (table::cell(image), class(one.label));
        let _ = write!(text, "{image},{},{of},{rank},{:.6}", one.label, one.loss);
        for k in 0..KEPT {
            match one.top.get(k) {
                Some(&(index, p)) => {
                    let _ = write!(text, ",{index},{},{p:.6}", class(index));
                }
                None => text.push_str(",,,"),
            }
        }
        text.push('\n');
    }
    text
}
