//! `top5 data check`: counts per part and class, bad files with reasons, images that are there more than once.

use std::fmt::Write;
use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;
use top5::data::survey::{PartSurvey, Place, survey};
use top5::data::{Dataset, Limits};
use top5::graph::counted;
use top5::sha256;

use super::{CheckArgs, open, parts};
use crate::exit::Stop;
use crate::output::Output;
use crate::printable;
use crate::progress::Progress;
use crate::table::{self, Column};

/// Groups of twins that are told on a screen; the document has all of them.
const TWINS_SHOWN: usize = 20;

/// The command, resolved.
pub(crate) struct Task {
    data: String,
    limits: Limits,
    threads: Option<u16>,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    data: String,
    images: usize,
    bad: usize,
    classes: Vec<String>,
    /// Of the classes' names, a line feed after each.
    classes_sha256: String,
    parts: Vec<PartDocument>,
    /// Images with the same pixels.
    twins: Vec<Twins>,
    /// What else was found and is not used.
    unused: Vec<String>,
}

#[derive(Serialize)]
struct PartDocument {
    part: &'static str,
    images: usize,
    /// Images of each class, in the order of the classes.
    counts: Vec<usize>,
    gray: usize,
    /// Least and greatest.
    height: Option<[usize; 2]>,
    width: Option<[usize; 2]>,
    bad: Vec<Bad>,
}

#[derive(Serialize)]
struct Bad {
    image: String,
    reason: String,
}

#[derive(Serialize)]
struct Twins {
    /// Whether they are in several parts: what is measured on one was learnt from the other.
    across_parts: bool,
    /// Whether they are said to be of several classes.
    across_classes: bool,
    images: Vec<Twin>,
}

#[derive(Serialize)]
struct Twin {
    part: &'static str,
    image: String,
    class: String,
}

impl Task {
    pub(super) fn resolve(args: CheckArgs) -> Self {
        let limits = args.source.images.limits();
        Self { data: args.source.data, limits, threads: args.threads }
    }

    pub(super) fn run(self, output: Output) -> Result<()> {
        let Self { data, limits, threads } = self;
        let splits = open(&data, limits)?;
        let parts = parts(&splits);
        let datasets: Vec<&dyn Dataset> = parts.iter().map(|(_, part)| part.as_ref()).collect();
        let images: usize = datasets.iter().map(|part| part.len()).sum();
        let progress = Progress::new(output, "reading", images);
        let found = survey(&datasets, super::threads(threads), &|read| {
            progress.set(read, String::new);
        });
        drop(progress);
        let classes = splits.train.classes().to_vec();
        let twins = found.twins.iter().map(|places| twins(&parts, places)).collect();
        let of_part = |((name, part), survey): (&(&'static str, Arc<dyn Dataset>), _)| {
            part_document(name, part.as_ref(), survey)
        };
        let bad = found.parts.iter().flat_map(|part| &part.bad);
        let unread = bad.map(|(_, error)| error).find(|error| !error.is_bad_sample());
        let unread = unread.map(ToString::to_string);
        let documents: Vec<_> = parts.iter().zip(found.parts).map(of_part).collect();
        let document = Document {
            data,
            images,
            bad: documents.iter().map(|part| part.bad.len()).sum(),
            classes_sha256: sha256(
                classes.iter().fold(String::new(), |t, c| t + c + "\n").as_bytes(),
            ),
            classes,
            parts: documents,
            twins,
            unused: splits.unused.to_vec(),
        };
        match output.json {
            true => output.document(&document)?,
            false => output.text(&document.text())?,
        }
        document.warn(output);
        if let Some(error) = unread {
            return Err(Stop::Resource(error).into());
        }
        match document.bad {
            0 => Ok(()),
            bad => {
                let message = format!(
                    "{bad} of {} cannot be read: mend or remove them, or train with --skip-bad",
                    counted(images, "image")
                );
                Err(Stop::BadInput(message).into())
            }
        }
    }
}

fn part_document(name: &'static str, part: &dyn Dataset, survey: PartSurvey) -> PartDocument {
    let PartSurvey { counts, bad, gray, height, width } = survey;
    let bad = bad
        .into_iter()
        .map(|(index, error)| Bad { image: part.sample_name(index), reason: error.to_string() });
    PartDocument { part: name, images: part.len(), counts, gray, height, width, bad: bad.collect() }
}

fn twins(parts: &[(&'static str, Arc<dyn Dataset>)], places: &[Place]) -> Twins {
    let label = |place: &Place| parts[place.part].1.label(place.index);
    let differ = |same: &dyn Fn(&Place) -> bool| !places.iter().all(same);
    let twin = |place: &Place| {
        let (name, part) = &parts[place.part];
        let class = part.classes()[label(place) as usize].clone();
        Twin { part: name, image: part.sample_name(place.index), class }
    };
    Twins {
        across_parts: differ(&|place| place.part == places[0].part),
        across_classes: differ(&|place| label(place) == label(&places[0])),
        images: places.iter().map(twin).collect(),
    }
}

impl Document {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text += &line;
            text.push('\n');
        };
        line(format!(
            "{}: {} of {}",
            printable::path(&self.data),
            counted(self.images, "image"),
            counted(self.classes.len(), "class")
        ));
        for part in &self.parts {
            let side = |side: Option<[usize; 2]>| match side {
                None => "?".to_owned(),
                Some([least, most]) if least == most => least.to_string(),
                Some([least, most]) => format!("{least}–{most}"),
            };
            line(format!(
                "{}: {}, {} high, {} wide, {} gray, {} bad",
                part.part,
                counted(part.images, "image"),
                side(part.height),
                side(part.width),
                part.gray,
                part.bad.len()
            ));
        }
        line(format!("class list: sha256 {}", self.classes_sha256));
        text.push('\n');
        text += &self.counts();
        for (part, bad) in
            self.parts.iter().flat_map(|part| part.bad.iter().map(|bad| (part.part, bad)))
        {
            let image = printable::path(&bad.image);
            let _ = writeln!(text, "bad: {part}: {image}: {}", printable::path(&bad.reason));
        }
        for twins in self.twins.iter().take(TWINS_SHOWN) {
            let name = |twin: &Twin| format!("{}: {} ({})", twin.part, twin.image, twin.class);
            let names: Vec<String> = twins.images.iter().map(name).collect();
            let _ = writeln!(text, "the same pixels: {}", printable::path(&names.join(", ")));
        }
        if self.twins.len() > TWINS_SHOWN {
            let more = self.twins.len() - TWINS_SHOWN;
            let _ = writeln!(text, "the same pixels: {more} more (--json lists them)");
        }
        text
    }

    /// Images of each class, in a column per part.
    fn counts(&self) -> String {
        const COLUMNS: [Column; 5] = [
            ("label", true),
            ("class", false),
            ("train", true),
            ("validation", true),
            ("test", true),
        ];
        let row = |(label, class): (usize, &String)| {
            let count = |name: &str| {
                let part = self.parts.iter().find(|part| part.part == name);
                part.map_or("-".to_owned(), |part| part.counts[label].to_string())
            };
            [label.to_string(), class.clone(), count("train"), count("validation"), count("test")]
        };
        let rows: Vec<_> = self.classes.iter().enumerate().map(row).collect();
        table::aligned(COLUMNS, &rows)
    }

    /// Says what is not wrong but may not be meant.
    fn warn(&self, output: Output) {
        let count = |is: fn(&Twins) -> bool| self.twins.iter().filter(|twins| is(twins)).count();
        for (groups, what, so) in [
            (count(|twins| twins.across_parts), "parts", "accuracy will be too high"),
            (count(|twins| twins.across_classes), "classes", "one of them is wrong"),
        ] {
            if groups > 0 {
                output.warn(&format!(
                    "the same pixels in several {what}, {}: {so}",
                    counted(groups, "time")
                ));
            }
        }
        for part in &self.parts {
            let empty: Vec<&str> = self
                .classes
                .iter()
                .zip(&part.counts)
                .filter(|(_, count)| **count == 0)
                .map(|(class, _)| class.as_str())
                .collect();
            if !empty.is_empty() {
                output.warn(&format!("{}: no images of {}", part.part, empty.join(", ")));
            }
            if part.gray > 0 && part.gray < part.images - part.bad.len() {
                output.warn(&format!(
                    "{}: gray are {}, the others in colour",
                    part.part,
                    counted(part.gray, "image")
                ));
            }
        }
        for unused in &self.unused {
            output.warn(&format!("left out: {unused}"));
        }
    }
}
