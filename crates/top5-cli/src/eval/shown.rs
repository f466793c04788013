//! A report for the page of `top5 serve`: what `report.json` and `predictions.csv` hold, as one document, with the images where
//! they are at hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;
use top5::data::Dataset;
use top5::data::files;
use top5::eval::{Division, Origin};
use top5::graph::counted;
use top5_serve::Pictures;

use super::args::Split;
use super::data::{Choice, DIGITS};
use super::files as report;
use super::pictures::thumbnail;
use super::result::{Evaluation, Suspect};
use super::rows::published;
use crate::exit::Stop;
use crate::table;

/// Most bytes of a `predictions.csv`.
const MOST: u64 = 256 << 20;
/// Columns of it that the page has a use for: image, label, rank, index and probability of the first class.
const COLUMNS: [&str; 5] = ["image", "label", "rank", "top1_index", "top1_prob"];

/// The document of the page's view of an evaluation.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) evaluation: Evaluation,
    protocol: String,
    /// Images, protocol, top-1 and top-5 error, as published.
    published: Vec<Vec<String>>,
    suspects: Vec<Suspect>,
    answers: Answers,
}

/// Of each image, in the order of `predictions.csv`.
#[derive(Default, Serialize)]
struct Answers {
    image: Vec<String>,
    label: Vec<usize>,
    /// The first class, and its probability; absent where the answer was no number.
    taken: Vec<Option<usize>>,
    probability: Vec<Option<f64>>,
    /// From 1; absent where the answer was no number.
    rank: Vec<Option<usize>>,
}

impl Shown {
    /// Reads the folder of a report.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let report = report::read(&folder.join(report::REPORT))?;
        let evaluation = report.evaluation;
        let path = folder.join(report::PREDICTIONS);
        let shown = path.display();
        let bytes = files::read(&path, MOST).with_context(|| format!("reading {shown}"))?;
        let wrong = |reason: String| Stop::BadInput(format!("{shown}: {reason}"));
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
        let answers = Answers::read(&text, evaluation.per_class.len()).map_err(wrong)?;
        if answers.image.len() != evaluation.images {
            let reason = format!(
                "it has {}, and {} has {}: they are of two evaluations",
                counted(answers.image.len(), "image"),
                report::REPORT,
                evaluation.images
            );
            return Err(wrong(reason).into());
        }
        let origin = &evaluation.origin;
        let protocol = match (&origin.ensemble, &origin.protocol) {
            (None, Some(protocol)) => protocol.to_string(),
            _ => origin.looks(),
        };
        let published = published(&evaluation);
        let suspects = report.details.suspects;
        Ok(Self { evaluation, protocol, published, suspects, answers })
    }

    /// The images that it is about: those of the data that the user names, or the embedded digits. A folder that only a report
    /// names is not opened.
    pub(crate) fn pictures(&self, data: &Choice) -> Result<Option<Arc<dyn Pictures>>> {
        let origin = &self.evaluation.origin;
        if !data.is_given() && origin.data != DIGITS {
            return Ok(None);
        }
        // Nor is a folder that chose the epoch by a report's word, of which nothing but that part is made.
        let elsewhere = |of: &Division| of.validation_data.is_some();
        let division = origin.division.clone().filter(|of| !elsewhere(of));
        if division != origin.division && origin.split == Split::Validation.name() {
            return Ok(None);
        }
        let (part, _) = data.again(&Origin { division, ..origin.clone() })?;
        let all = 0..part.dataset.len();
        let places: BTreeMap<String, usize> =
            all.map(|at| (part.dataset.sample_name(at), at)).collect();
        let numbers = self.answers.image.iter().map(|name| places.get(name).copied()).collect();
        let wrong = |at: &usize| self.answers.taken[*at] != Some(self.answers.label[*at]);
        let wrong = (0..self.answers.image.len()).filter(wrong).take(KEPT).collect();
        Ok(Some(Arc::new(Images { dataset: part.dataset, numbers, wrong })))
    }
}

/// Most pictures that an exported page takes along.
const KEPT: usize = 500;

/// The images of an evaluation, small; `N.png` is that of the answer number N.
struct Images {
    dataset: Arc<dyn Dataset>,
    /// Numbers in the data, by answer.
    numbers: Vec<Option<usize>>,
    /// Answers that are wrong.
    wrong: Vec<usize>,
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("dataset", &self.dataset.name()).finish_non_exhaustive()
    }
}

impl Pictures for Images {
    fn picture(&self, name: &str) -> Option<Vec<u8>> {
        let at: usize = name.strip_suffix(".png")?.parse().ok()?;
        let number = (*self.numbers.get(at)?)?;
        thumbnail(&self.dataset.sample(number).ok()?.image).ok()
    }

    fn kept(&self) -> Vec<String> {
        self.wrong.iter().map(|at| format!("{at}.png")).collect()
    }
}

impl Answers {
    /// Of a `predictions.csv` about so many classes.
    fn read(text: &str, classes: usize) -> Result<Self, String> {
        let mut records = table::records(text);
        let (_, head) = records.next().unwrap_or_default();
        let place = |name: &&str| head.iter().position(|cell| cell == name);
        let places: Option<Vec<usize>> = COLUMNS.iter().map(place).collect();
        let Some(places) = places else {
            return Err(format!("expected the columns {} among others", COLUMNS.join(", ")));
        };
        let mut answers = Self::default();
        for (line, cells) in records {
            let cell = |at: usize| cells.get(places[at]).map_or("", String::as_str);
            let wrong = |at: usize| {
                let (found, column) = (cell(at), COLUMNS[at]);
                format!("line {line}: {found:?} is no {column} of one of {classes} classes")
            };
            let is_class = |class: &usize| *class < classes;
            let is_rank = |rank: &usize| (1..=classes).contains(rank);
            let is_probability = |p: &f64| (0.0..=1.0).contains(p);
            answers.image.push(cell(0).to_owned());
            let label = number(cell(1), is_class).flatten();
            answers.label.push(label.ok_or_else(|| wrong(1))?);
            answers.rank.push(number(cell(2), is_rank).ok_or_else(|| wrong(2))?);
            answers.taken.push(number(cell(3), is_class).ok_or_else(|| wrong(3))?);
            answers.probability.push(number(cell(4), is_probability).ok_or_else(|| wrong(4))?);
        }
        Ok(answers)
    }
}

/// What a cell holds: `Some(None)` where it is empty, `None` where it is no such number.
fn number<T: std::str::FromStr>(cell: &str, is: impl FnOnce(&T) -> bool) -> Option<Option<T>> {
    match cell {
        "" => Some(None),
        _ => cell.parse().ok().filter(is).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_the_names_of_columns() {
        let text =
            "label,image,rank,x,top1_index,top1_prob\n1,\"a,b.png\",2,,0,0.75\n0,c.png,,,,\n";
        let answers = Answers::read(text, 2).unwrap();
        assert_eq!(answers.image, ["a,b.png", "c.png"]);
        assert_eq!((answers.label, answers.taken), (vec![1, 0], vec![Some(0), None]));
        assert_eq!(
            (answers.rank, answers.probability),
            (vec![Some(2), None], vec![Some(0.75), None])
        );
        let read = |text: &str| Answers::read(text, 1).err().unwrap();
        assert!(read(text).contains("line 2: \"1\" is no label of one of 1 classes"));
        for (cells, what) in [
            ("0,a,x,0,1", "\"x\" is no rank of"),
            ("0,a,0,0,1", "\"0\" is no rank of"),
            ("0,a,2,0,1", "\"2\" is no rank of"),
            ("0,a,1,1,1", "\"1\" is no top1_index of"),
            ("0,a,1,0,y", "\"y\" is no top1_prob of"),
            ("0,a,1,0,NaN", "\"NaN\" is no top1_prob of"),
            ("0,a,1,0,-0.1", "\"-0.1\" is no top1_prob of"),
            (",a,1,0,1", "\"\" is no label of"),
        ] {
            let error = read(&format!("label,image,rank,top1_index,top1_prob\n{cells}\n"));
            assert!(error.contains(&format!("line 2: {what}")), "{error}");
        }
        assert!(read("image,label\n").contains("top1_prob"));
        assert!(read("").contains("expected the columns"));
    }
}
