//! `top5 correspond`: whether hiding the same part changes features alike in several images (table 1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use top5::data::{Image, Limits, Preprocess, files, read_image};
use top5::explain::zfnet::correspondence::{Score, hidden, score};
use top5::explain::zfnet::field::Rectangle;
use top5::graph::random::{Stream, hash};
use top5::graph::{Device, Retain, Session, SessionOptions};
use top5::{Finite, Model, Options};

use super::args::CorrespondArgs;
use super::subject::{first_and_last, layers};
use crate::exit::Stop;
use crate::memory::limited;
use crate::output::Output;
use crate::printable;
use crate::source::StoredModel;

/// The first line of a file of parts.
const HEADER: &str = "image,part,top,left,height,width";
/// What the random rectangles are called.
const RANDOM: &str = "random";

/// A part's rectangles: an image and where the part is in it.
type Places = Vec<(PathBuf, Rectangle)>;

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    layers: Vec<String>,
    parts: BTreeMap<String, Places>,
    limits: Limits,
    seed: u64,
    options: Options,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Correspondence {
    network: String,
    layers: Vec<String>,
    preprocess: String,
    /// What hides parts: the mean colour.
    colour: [u8; 3],
    seed: u64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    part: String,
    images: usize,
    /// For each layer.
    scores: Vec<Score>,
}

impl Task {
    pub(crate) fn resolve(args: CorrespondArgs) -> Result<Self> {
        let subject = args.subject;
        let reading = || format!("reading {}", args.parts.display());
        let text = files::read_text(&args.parts).with_context(reading)?;
        let folder = args.parts.parent().unwrap_or(Path::new(""));
        Ok(Self {
            model: StoredModel::resolve(&subject.model, &subject.weights)?,
            layers: subject.layers,
            parts: parse(&text, folder)
                .map_err(|why| Stop::BadInput(format!("{}: {why}", args.parts.display())))?,
            limits: args.images.limits(),
            seed: args.seed,
            options: subject.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = self.model.open(output)?.inference();
        let layers = layers(&model.graph, &self.layers, false, first_and_last)?;
        let device = top5::device(&limited(self.options.clone()))?;
        let Model { graph, weights, preprocess, .. } = model;
        let network = device.network(&graph, weights, Retain::Nothing)?;
        let keep = SessionOptions { keep: layers.clone(), ..SessionOptions::inference(1) };
        let mut session = Finite::new(network.session(&graph, &keep)?);
        let colour = mean_colour(&preprocess);

        let mut rows = Vec::new();
        let mut at_random = vec![Vec::new(); layers.len()];
        let mut stream = Stream::new(self.seed, hash("parts"));
        let mut images_at_random = 0;
        for (part, places) in &self.parts {
            let mut changes = vec![Vec::new(); layers.len()];
            for (file, rectangle) in places {
                let image = read_image(file, &self.limits)?;
                check(file, &image, *rectangle)?;
                let elsewhere = Rectangle {
                    top: stream.below(image.height - rectangle.height + 1),
                    left: stream.below(image.width - rectangle.width + 1),
                    ..*rectangle
                };
                let base = features(&mut session, &preprocess, &image)?;
                let mut change = |part: Rectangle| -> Result<Vec<Vec<f32>>> {
                    let hidden = hidden(&image, part, colour);
                    let hidden = features(&mut session, &preprocess, &hidden)?;
                    let pairs = base.iter().zip(hidden);
                    Ok(pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()).collect())
                };
                let own = change(*rectangle)?;
                let random = change(elsewhere)?;
                changes.iter_mut().zip(own).for_each(|(all, one)| all.push(one));
                // One random part per image and part, as many as there are of others.
                at_random.iter_mut().zip(random).for_each(|(all, one)| all.push(one));
                images_at_random += 1;
            }
            let scores = changes.iter().map(|changes| score(changes)).collect();
            rows.push(Row { part: part.clone(), images: places.len(), scores });
        }
        let scores = at_random.iter().map(|changes| score(changes)).collect();
        rows.push(Row { part: RANDOM.to_owned(), images: images_at_random, scores });
        let told = Correspondence {
            network: graph.name().to_owned(),
            layers: layers.iter().map(|&layer| graph.node(layer).name.clone()).collect(),
            preprocess: preprocess.describe(),
            colour,
            seed: self.seed,
            rows,
        };
        if output.json { output.document(&told) } else { output.text(&table(&told)) }
    }
}

/// The features that the session keeps, of an image.
fn features(session: &mut Finite, preprocess: &Preprocess, image: &Image) -> Result<Vec<Vec<f32>>> {
    let mut prepared = vec![0.0; preprocess.size()];
    preprocess.apply(image, &mut prepared);
    let kept = session.forward(&prepared)?.kept;
    Ok(kept.into_iter().map(top5::graph::Tensor::into_data).collect())
}

/// The colour that is zero once it is prepared.
fn mean_colour(preprocess: &Preprocess) -> [u8; 3] {
    let level = |mean: f32| (255.0 * mean).round() as u8;
    std::array::from_fn(|c| level(*preprocess.mean.get(c).unwrap_or(&preprocess.mean[0])))
}

fn check(file: &Path, image: &Image, part: Rectangle) -> Result<()> {
    let Rectangle { top, left, height, width } = part;
    let within = |from: usize, length: usize, side: usize| {
        length > 0 && from.checked_add(length).is_some_and(|end| end <= side)
    };
    if within(top, height, image.height) && within(left, width, image.width) {
        return Ok(());
    }
    let message = format!(
        "{}: the part at row {top}, column {left}, {height} high and {width} wide does not lie in the image of {}×{}",
        file.display(),
        image.height,
        image.width
    );
    Err(Stop::BadInput(message).into())
}

/// The parts in a file, by name. Says what is wrong, and in which line.
fn parse(text: &str, folder: &Path) -> Result<BTreeMap<String, Places>, String> {
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    if lines.next().map(str::trim) != Some(HEADER) {
        return Err(format!("expected {HEADER} in the first line"));
    }
    let mut parts: BTreeMap<String, Places> = BTreeMap::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong =
            || format!("line {}: expected {HEADER} with whole numbers, got {line:?}", number + 2);
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let [image, part, ref numbers @ ..] = cells[..] else { return Err(wrong()) };
        let numbers: Result<Vec<usize>, _> = numbers.iter().map(|cell| cell.parse()).collect();
        let Ok(&[top, left, height, width]) = numbers.as_deref() else { return Err(wrong()) };
        let rectangle = Rectangle { top, left, height, width };
        parts.entry(part.to_owned()).or_default().push((folder.join(image), rectangle));
    }
    match parts.iter().find(|(_, places)| places.len() < 2) {
        Some((part, _)) => Err(format!("the part {part:?} is in one image only: two make a pair")),
        None if parts.is_empty() => Err("it names no parts".to_owned()),
        None if parts.contains_key(RANDOM) => Err(format!("no part can be called {RANDOM:?}")),
        None => Ok(parts),
    }
}

/// The table as the paper prints it: per feature, mean ± standard deviation.
fn table(told: &Correspondence) -> String {
    let width = told.rows.iter().map(|row| row.part.chars().count()).max().unwrap_or(0);
    let head: String = told.layers.iter().map(|name| format!("  {name:>15}")).collect();
    let mut text = format!("{:width$}{head}\n", "part");
    for row in &told.rows {
        let cell = |score: &Score| {
            format!("  {:>15}", format!("{:.3} ± {:.3}", score.mean, score.deviation))
        };
        let cells: String = row.scores.iter().map(cell).collect();
        text += &format!("{:width$}{cells}\n", printable::name(&row.part));
    }
    text + "lower: more alike; Hamming distance of signs per feature, over all ordered pairs of images\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_parts_are_read_or_say_what_is_wrong() {
        let good = format!("{HEADER}\na.png,eye,1,2,3,4\nb.png,eye,5,6,7,8\n\n");
        let parts = parse(&good, Path::new("dogs")).unwrap();
        let first = Rectangle { top: 1, left: 2, height: 3, width: 4 };
        assert_eq!(parts["eye"][0], (PathBuf::from("dogs/a.png"), first));
        for (lines, word) in [
            ("a.png,eye,1,2,3,4", "two make a pair"),
            ("a.png,eye,1,2,3", "line 2"),
            ("a.png,eye,1,2,3,x", "line 2"),
            ("a.png,eye,1,2,3,-4", "line 2"),
            ("", "no parts"),
            ("a,random,0,0,1,1\nb,random,0,0,1,1", "random"),
        ] {
            let error = parse(&format!("{HEADER}\n{lines}\n"), Path::new("")).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(parse("image;part\n", Path::new("")).unwrap_err().contains("first line"));
    }
}
