//! An evaluation as people read it.

use super::against::Against;
use super::beside::Beside;
use super::result::{Class, Evaluation, Outcome};
use crate::printable;
use crate::table::{self, Column};
use top5::eval::{Origin, Protocol};
use top5::graph::counted;

/// How a result is told on stdout where it is no JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    /// Tables alone, for a program or a page.
    Csv,
    Markdown,
}

/// What is said where the data lack classes.
pub(crate) const LEFT_OUT: &str =
    "classes of the network that the data lack were left out of its answers";

/// The text on stdout.
pub(crate) fn describe(evaluation: &Evaluation) -> String {
    let Evaluation { network, data, split, images, top1, top5, loss, .. } = evaluation;
    let (network, data) = (printable::name(network), printable::path(data));
    let interval = |[low, high]: [f64; 2]| format!("{low:.2} to {high:.2}");
    let mut text = format!(
        "{network} on {data} ({split}, {images}): top-1 {top1:.2} %, top-5 {top5:.2} %, loss \
         {loss:.4}\n95 % intervals: top-1 {}, top-5 {}\n",
        interval(evaluation.top1_interval),
        interval(evaluation.top5_interval),
        images = counted(*images, "image")
    );
    if let Some(preprocess) = &evaluation.preprocess {
        text += &format!("preprocessing: {preprocess}\n");
    }
    if let Some(averaged) = &evaluation.origin.ensemble {
        text += &format!("ensemble of {averaged}\n");
        for (what, lines) in [
            ("member", &averaged.members),
            ("missing:", &averaged.missing),
            ("chosen:", &averaged.choices),
        ] {
            lines.iter().for_each(|line| text += &format!("  {what} {}\n", printable::path(line)));
        }
    }
    if let Some(protocol) = &evaluation.origin.protocol
        && !protocol.is_own()
        && evaluation.members.is_empty()
    {
        text += &format!("protocol {}\n", printable::path(&protocol.to_string()));
        for choice in &protocol.choices {
            text += &format!("  chosen: {}\n", printable::path(choice));
        }
    }
    for term in evaluation.origin.terms.sentences() {
        text += &format!("{}\n", printable::path(&term));
    }
    if evaluation.subset {
        text += &format!("{LEFT_OUT}\n");
    }
    if evaluation.skipped > 0 {
        let left = counted(evaluation.skipped, "image");
        text += &format!("left out and not counted, because they could not be used: {left}\n");
    }
    if !evaluation.per_class.is_empty() {
        const COLUMNS: [Column; 4] =
            [("class", false), ("images", true), ("top-1 %", true), ("top-5 %", true)];
        let row = |class: &Class| {
            let [top1, top5] = [class.top1, class.top5].map(|share| format!("{share:.2}"));
            [class.class.clone(), class.images.to_string(), top1, top5]
        };
        let rows: Vec<_> = evaluation.per_class.iter().map(row).collect();
        text += &format!("\n{}", table::aligned(COLUMNS, &rows));
    }
    text
}

/// What it was compared with, a sentence each.
pub(crate) fn compared(evaluation: &Evaluation) -> impl Iterator<Item = String> {
    let Evaluation { beside, against, .. } = evaluation;
    let beside = beside.as_ref().map(Beside::sentence);
    beside.into_iter().chain(against.as_ref().map(Against::sentence))
}

/// The columns of timm's results.
const COLUMNS: [&str; 9] = [
    "model",
    "img_size",
    "top1",
    "top1_err",
    "top5",
    "top5_err",
    "param_count",
    "crop_pct",
    "interpolation",
];

/// The row of timm's results. What it has no column for is left empty: crops that are not one, members that differ.
fn row(outcome: &Outcome, evaluation: &Evaluation) -> [String; 9] {
    let Origin { preprocess, protocol, .. } = &evaluation.origin;
    let input = preprocess.as_ref().map(|preprocess| preprocess.input_size[1]);
    let centre = protocol.as_ref().zip(input).and_then(|(protocol, input)| protocol.centre(input));
    let own = preprocess.as_ref().filter(|_| protocol.as_ref().is_some_and(Protocol::is_own));
    let crop_pct = match centre {
        Some([side, shorter]) => Some(side as f64 / shorter as f64),
        None => own.map(|preprocess| preprocess.crop_pct),
    };
    let size = centre.map(|[side, _]| side).or(input);
    let share = |share: f64| format!("{share:.3}");
    [
        evaluation.network.clone(),
        size.map_or(String::new(), |size| size.to_string()),
        share(evaluation.top1),
        share(100.0 - evaluation.top1),
        share(evaluation.top5),
        share(100.0 - evaluation.top5),
        outcome.header.params.map_or(String::new(), |params| format!("{:.2}", params as f64 / 1e6)),
        crop_pct.map_or(String::new(), |share| share.to_string()),
        preprocess.as_ref().map_or("", |preprocess| preprocess.interpolation.name()).to_owned(),
    ]
}

pub(crate) fn csv(outcome: &Outcome, evaluation: &Evaluation) -> String {
    table::csv(COLUMNS, &[row(outcome, evaluation)])
}

pub(crate) fn markdown(outcome: &Outcome, evaluation: &Evaluation) -> String {
    let number = |(at, name): (usize, &'static str)| (name, (1..8).contains(&at));
    let mut columns = [("", false); 9];
    for (to, from) in columns.iter_mut().zip(COLUMNS.into_iter().enumerate().map(number)) {
        *to = from;
    }
    table::markdown(columns, &[row(outcome, evaluation)])
}
