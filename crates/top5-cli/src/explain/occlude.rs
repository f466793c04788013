//! `top5 occlude`: the five panels of ZFNet's figure 7.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::explain::method::figure7::{Panels, figure7};
use top5::explain::page::Page;
use top5::explain::picture::{self, Ramp, Scale};
use top5::explain::{Map, layers, npy};
use top5::graph::counted;

use super::PLACE;
use super::write::photograph;
use crate::args::positive;
use crate::explained::{Choice, ExplainedArgs, Picture, Subject};
use crate::folder::Folder;
use crate::interrupt::Interrupt;
use crate::output::{Output, Versioned};
use crate::printable;
use crate::progress::Progress;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 occlude lenet digit.png
  top5 occlude runs/mine cat.jpg --class cat --layer layer3 --size 32 --stride 8";

#[derive(Debug, Args)]
pub(crate) struct OccludeArgs {
    #[command(flatten)]
    explained: ExplainedArgs,
    /// The folder of the pictures, which must be empty; explained/figure7, numbered when taken, by default
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Side of the gray square in pixels; a seventh of the image by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    size: Option<usize>,
    /// Pixels between its places; half its side by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    stride: Option<usize>,
}

#[derive(Serialize)]
struct Document {
    network: String,
    preprocess: String,
    /// Where it is; not in the file itself, which may be moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    layer: String,
    size: usize,
    stride: usize,
    images: Vec<Occluded>,
}

#[derive(Serialize)]
struct Occluded {
    file: String,
    class: String,
    /// Of the class in the whole image, and the least behind any square.
    probability: f32,
    least: f32,
    /// The map of the layer that is strongest in the whole image.
    map: usize,
    /// Rows and columns of places.
    places: [usize; 2],
    /// The most probable class at each place.
    labels: Vec<String>,
    files: Vec<String>,
}

/// The command, resolved.
pub(crate) struct Task {
    args: OccludeArgs,
    choice: Choice,
}

impl Task {
    pub(crate) fn resolve(args: OccludeArgs) -> Result<Self> {
        Ok(Self { choice: Choice::resolve(args.explained.clone())?, args })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { args, choice } = self;
        let interrupt = Interrupt::default();
        let mut subject = choice.open(output)?.stopped_by(&interrupt);
        let graph = subject.explainer.graph().clone();
        let layer = layers::map_layer(&graph, args.explained.layer.as_deref())?;
        let pictures = choice.pictures(&mut subject, output)?;
        let classes = pictures.iter().map(|picture| choice.class(&subject, picture));
        let classes: Vec<usize> = classes.collect::<Result<_>>()?;
        let side = graph.input()[1].min(graph.input()[2]);
        let size = args.size.unwrap_or((side / 7).max(1));
        let stride = args.stride.unwrap_or((size / 2).max(1));
        top5::explain::method::perturb::Grid::new(
            [graph.input()[1], graph.input()[2]],
            size,
            stride,
        )?;
        let mut folder = Folder::fresh(args.out.as_deref(), PLACE, "figure7", output)?;
        interrupt.listen()?;
        let layer_name = graph.node(layer).name.clone();
        let title = format!("What a gray square changes in {}", subject.name());
        let mut page = folder.page(&title, output)?;
        page.text.paragraph(&format!(
            "Figure 7 of Zeiler & Fergus (2014), layer {layer_name}; a gray square of {size} pixels every {stride}: the \
             paper states neither. {}",
            "The projection is DeconvNet's: it recovers parts of the image and says little of the decision."
        ));
        let mut images = Vec::new();
        let fill = || -> Result<()> {
            for (picture, class) in pictures.iter().zip(classes) {
                let mut bar = None;
                let mut tick = |done, all| {
                    bar.get_or_insert_with(|| Progress::new(output, "occlusion", all))
                        .set(done, String::new);
                };
                let input = choice.input(&subject, picture)?;
                let explainer = &mut subject.explainer;
                let panels = figure7(explainer, &input, class, layer, [size, stride], &mut tick)?;
                drop(bar);
                let shown = Shown { picture, input: &input, class, number: images.len() };
                images.push(draw(&subject, &shown, &panels, &mut folder, &mut page.text)?);
                page.flush()?;
            }
            Ok(())
        };
        let filled = fill();
        let stopped = interrupt.ended(&filled, [images.len(), pictures.len()]);
        match (&stopped, filled) {
            (None, filled) => filled?,
            (Some(_), _) if images.is_empty() => return stopped.map_or(Ok(()), Err),
            (Some(_), _) => {}
        }
        let document = Document {
            network: subject.name().to_owned(),
            preprocess: subject.preprocess.describe(),
            folder: None,
            layer: layer_name,
            size,
            stride,
            images,
        };
        let json = serde_json::to_vec_pretty(&Versioned::new(&document))?;
        folder.write("occlusion.json", &json)?;
        folder.finish_page(page, output)?;
        let document = Document { folder: Some(folder.path().display().to_string()), ..document };
        folder.finish()?;
        match stopped {
            Some(stopped) => Err(stopped),
            None if output.json => output.document(&document),
            None => output.text(&document.text()),
        }
    }
}

impl Document {
    /// A line for each image.
    fn text(&self) -> String {
        let line = |image: &Occluded| {
            format!(
                "{}: {} from {:.1} % to {:.1} % at worst, map {}\n",
                printable::name(&image.file),
                printable::name(&image.class),
                100.0 * image.probability,
                100.0 * image.least,
                image.map
            )
        };
        self.images.iter().map(line).collect()
    }
}

/// What is drawn of an image.
struct Shown<'s> {
    picture: &'s Picture,
    input: &'s [f32],
    class: usize,
    number: usize,
}

fn draw(
    subject: &Subject,
    &Shown { picture, input, class, number }: &Shown<'_>,
    panels: &Panels,
    folder: &mut Folder,
    page: &mut Page,
) -> Result<Occluded> {
    let seen = photograph(input, &subject.preprocess);
    let zoom = (224 / seen.height.max(1)).max(1);
    let [rows, columns] = panels.grid.places;
    let ranked = ranked(&panels.labels);
    let rank = |label| ranked.iter().position(|&(other, _)| other == label);
    let ranks = panels.labels.iter().map(|&label| rank(label).unwrap_or(0) as f32).collect();
    let ranks = Map::new(ranks, rows, columns, false)?;
    let over = |map: &Map| panels.grid.spread(map.values(), false);
    let (activation, probability) = (over(&panels.activation)?, over(&panels.probability)?);
    let share = Scale { low: 0.0, high: 1.0, ramp: Ramp::Sequential };
    // Labels are no numbers: each place keeps its own colour. By rank, no two have nearly the same.
    let last = ranked.len().saturating_sub(1).max(1) as f32;
    let by_rank = Scale { low: 0.0, high: last, ramp: Ramp::Sequential };
    let places = picture::render(&ranks, &by_rank);
    let stem = format!("{number:03}");
    let mut files = Vec::new();
    let class_name = &subject.classes[class];
    page.heading(&format!(
        "{}: {class_name}",
        printable::name(&picture.file.display().to_string())
    ));
    page.begin_row();
    let shown = [
        ("a", seen.clone(), None, "the image as the network sees it".to_owned()),
        (
            "b",
            picture::render(&activation, &Scale::of(&activation)),
            Some(Scale::of(&activation)),
            format!("summed activation of map {}, strongest in the whole image", panels.channel),
        ),
        (
            "c",
            picture::projection(&panels.projection)?,
            None,
            "DeconvNet's projection of that map".to_owned(),
        ),
        (
            "d",
            picture::render(&probability, &share),
            Some(share),
            format!("probability of {class_name}; {:.3} in the whole image", panels.whole),
        ),
        (
            "e",
            picture::enlarge(&places, (seen.height / rows).max(1)),
            Some(by_rank),
            named(subject, &ranked),
        ),
    ];
    for (panel, image, scale, caption) in shown {
        let drawn = picture::side_by_side(&[picture::enlarge(&image, zoom)], scale.as_ref(), 6);
        let png = picture::encode(&drawn, &[("Title", &caption)])?;
        let name = format!("{stem}-{panel}.png");
        folder.write(&name, &png)?;
        page.figure(&png, &caption, &format!("({panel}) {caption}"));
        files.push(name);
    }
    page.end_row();
    for (name, map) in [("activation", &panels.activation), ("probability", &panels.probability)] {
        let name = format!("{stem}-{name}.npy");
        folder.write(&name, &npy::of_map(map))?;
        files.push(name);
    }
    Ok(Occluded {
        file: picture.file.display().to_string(),
        class: class_name.clone(),
        probability: panels.whole,
        least: panels.probability.range()[0],
        map: panels.channel,
        places: panels.grid.places,
        labels: panels.labels.iter().map(|&label| subject.classes[label].clone()).collect(),
        files,
    })
}

/// The labels and at how many places each is the answer, the commonest first.
fn ranked(labels: &[usize]) -> Vec<(usize, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    labels.iter().for_each(|&label| *counts.entry(label).or_insert(0) += 1);
    let mut counts: Vec<(usize, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|&(label, count)| (std::cmp::Reverse(count), label));
    counts
}

/// Most classes that panel (e) names.
const NAMED: usize = 6;

/// The classes of panel (e), by the numbers on its scale, and how often each is the answer.
fn named(subject: &Subject, ranked: &[(usize, usize)]) -> String {
    let words = ranked.iter().take(NAMED).enumerate().map(|(rank, &(label, count))| {
        format!("{rank}: {} at {}", subject.classes[label], counted(count, "place"))
    });
    let words: Vec<String> = words.collect();
    let more = match ranked.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("most probable class: {}{more}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_ranked_by_their_places() {
        assert_eq!(ranked(&[281, 3, 282, 281, 282]), [(281, 2), (282, 2), (3, 1)]);
    }
}
