//! `top5 correspond`: whether hiding the same part changes features alike in several images (table 1).

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;
use top5::data::{Image, Limits, Preprocess, read_image};
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
use crate::rectangles::{self, Marked};
use crate::source::StoredModel;

/// What the random rectangles are called.
const RANDOM: &str = "random";

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    layers: Vec<String>,
    parts: BTreeMap<String, Vec<Marked>>,
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
        let marked = rectangles::read(&args.parts, "part")?;
        let parts = parts(marked)
            .map_err(|why| Stop::BadInput(format!("{}: {why}", args.parts.display())))?;
        Ok(Self {
            model: StoredModel::resolve(&subject.model, &subject.weights)?,
            layers: subject.layers,
            parts,
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
            for marked in places {
                let image = read_image(&marked.image, &self.limits)?;
                rectangles::check("part", marked, &image)?;
                let rectangle = marked.rectangle;
                let elsewhere = Rectangle {
                    top: stream.below(image.height - rectangle.height + 1),
                    left: stream.below(image.width - rectangle.width + 1),
                    ..rectangle
                };
                let mut features = |image: &Image| -> Result<Vec<Vec<f32>>> {
                    let features = features(&mut session, &preprocess, image);
                    self.model.traced(features, session.culprit(), &self.options, output)
                };
                let base = features(&image)?;
                let mut change = |part: Rectangle| -> Result<Vec<Vec<f32>>> {
                    let hidden = hidden(&image, part, colour);
                    let hidden = features(&hidden)?;
                    let pairs = base.iter().zip(hidden);
                    Ok(pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect()).collect())
                };
                let own = change(rectangle)?;
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

/// The rectangles by part. Says what is wrong.
fn parts(marked: Vec<Marked>) -> Result<BTreeMap<String, Vec<Marked>>, String> {
    let mut parts: BTreeMap<String, Vec<Marked>> = BTreeMap::new();
    for one in marked {
        parts.entry(one.name.clone()).or_default().push(one);
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
    use std::path::Path;

    use super::*;

    #[test]
    fn parts_are_in_two_images_and_not_called_random() {
        let of = |lines: &str| {
            let text = format!("image,part,top,left,height,width\n{lines}\n");
            parts(rectangles::parse(&text, "part", Path::new("")).unwrap())
        };
        assert_eq!(of("a,eye,1,2,3,4\nb,eye,5,6,7,8").unwrap()["eye"].len(), 2);
        for (lines, word) in [
            ("a,eye,1,2,3,4", "two make a pair"),
            ("", "no parts"),
            ("a,random,0,0,1,1\nb,random,0,0,1,1", "random"),
        ] {
            assert!(of(lines).unwrap_err().contains(word), "{lines}");
        }
    }
}
