//! The files of a report: `predictions.csv`, `errors.csv`, `report.json`, `report.html`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use top5::data::files::read_text;
use top5::eval::KEPT;
use top5::graph::{counted, in_plain_words};
use top5::{WholeFile, make_folder};

use super::kinds;
use super::page;
use super::pictures::Thumbnails;
use super::result::{Details, Evaluation, Outcome, Report};
use crate::exit::Stop;
use crate::output::{Kind, Output, SCHEMA_VERSION};
use crate::table;

/// What a report consists of, by the names of its files.
pub(crate) const REPORT: &str = "report.json";
pub(crate) const PREDICTIONS: &str = "predictions.csv";

/// What its files are, and what is told by them.
const FILES: [(&str, Kind); 4] = [
    (PREDICTIONS, Kind::PredictionsCsv),
    (ERRORS, Kind::ErrorsCsv),
    (REPORT, Kind::ReportJson),
    (HTML, Kind::ReportHtml),
];
const ERRORS: &str = "errors.csv";
const HTML: &str = "report.html";

/// Fails where one of them cannot be written into a folder, or would take the place of what is not to be lost: asked before the work
/// that they tell of. A folder that is not there is not made yet.
pub(crate) fn check(folder: &Path, output: Output) -> Result<()> {
    let errors = folder.join(ERRORS);
    if kinds::is_filled(&errors) && !output.force {
        let message = format!(
            "{} has kinds of errors that somebody filled in: choose another folder, or give --force",
            errors.display()
        );
        return Err(Stop::Resource(message).into());
    }
    if folder.is_dir() {
        return FILES
            .iter()
            .try_for_each(|(name, kind)| output.check_file(&folder.join(name), *kind));
    }
    let there = |path: &&Path| path.as_os_str().is_empty() || path.exists();
    match folder.ancestors().find(there) {
        // What is begun and not finished goes away.
        Some(above) if above.as_os_str().is_empty() || above.is_dir() => {
            WholeFile::create(&above.join(REPORT))?;
        }
        // A file is in the way, and so nothing is made here.
        Some(_) | None => make_folder(folder)?,
    }
    Ok(())
}

/// Writes all of them into a folder.
pub(crate) fn write(
    outcome: &Outcome,
    details: Details,
    thumbnails: &Thumbnails,
    folder: &Path,
    output: Output,
) -> Result<()> {
    make_folder(folder)?;
    check(folder, output)?;
    let report =
        Report { schema_version: SCHEMA_VERSION, evaluation: outcome.evaluation(true), details };
    let json = serde_json::to_string_pretty(&report)? + "\n";
    let texts =
        [predictions(outcome), kinds::errors(outcome), json, page::html(&report, thumbnails)];
    let files: Vec<_> = (FILES.into_iter().zip(texts))
        .map(|((name, kind), text)| (folder.join(name), kind, text.into_bytes()))
        .collect();
    output.files(&files)
}

/// Reads a `report.json`.
pub(crate) fn read(path: &Path) -> Result<Report> {
    let shown = path.display();
    let text = read_text(path).with_context(|| format!("reading {shown}"))?;
    let wrong = |error: serde_json::Error| {
        let error = in_plain_words(&error.to_string());
        Stop::BadInput(format!("{shown} is no report.json of an evaluation: {error}"))
    };
    let Version { schema_version: found } = serde_json::from_str(&text).map_err(wrong)?;
    if found != SCHEMA_VERSION {
        let message = format!(
            "{shown} is a report of version {found}, and this program reads version {SCHEMA_VERSION}: write it once more, \
             for example from what --save kept"
        );
        return Err(Stop::BadInput(message).into());
    }
    let report: Report = serde_json::from_str(&text).map_err(wrong)?;
    let (Evaluation { images, top1_right, .. }, hits) =
        (&report.evaluation, &report.details.top1_hits);
    let all = |digit: u8| hits.bytes().filter(|&hit| hit == digit).count();
    if all(b'1') != *top1_right || all(b'0') + all(b'1') != hits.len() || hits.len() != *images {
        let message = format!(
            "{shown} contradicts itself: top1_hits is not a digit for each of {}, of which {top1_right} are 1",
            counted(*images, "image")
        );
        return Err(Stop::BadInput(message).into());
    }
    let Evaluation { top1, top5, top5_right, .. } = report.evaluation;
    for (name, share, right) in [("top1", top1, *top1_right), ("top5", top5, top5_right)] {
        let expected = 100.0 * right as f64 / (*images).max(1) as f64;
        if (share - expected).abs() > 1e-6 {
            // A number of hundreds of digits is not written out.
            let share =
                if share.abs() < 1e4 { format!("{share:.4}") } else { format!("{share:e}") };
            let message = format!(
                "{shown} contradicts itself: {name} is {share} %, and {right} of {} are {expected:.4} %",
                counted(*images, "image")
            );
            return Err(Stop::BadInput(message).into());
        }
    }
    Ok(report)
}

/// What says how the rest is to be read.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
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
