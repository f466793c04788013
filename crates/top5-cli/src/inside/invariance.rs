//! `top5 invariance`: how far features move when images are translated, scaled and rotated (figure 5).

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use top5::draw::{Panel, Series, panels};
use top5::explain::page::Page;
use top5::explain::signal::strongest;
use top5::explain::zfnet::invariance::{Point, Transform, measure};
use top5::graph::{Device, Retain, Session, SessionOptions};
use top5::{Finite, Model, Options};

use super::args::InvarianceArgs;
use super::subject::{first_and_last, layers};
use crate::explained::class_named;
use crate::folder::Folder;
use crate::inputs;
use crate::memory::{limited_beside, of_inputs};
use crate::output::{Kind, Output, Versioned};
use crate::printable;
use crate::progress::Progress;
use crate::source::StoredModel;
use crate::table::cell;

pub(crate) const DOCUMENT: &str = "invariance.json";

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    layers: Vec<String>,
    inputs: Vec<PathBuf>,
    limits: top5::data::Limits,
    class: Option<String>,
    steps: usize,
    batch: usize,
    out: PathBuf,
    options: Options,
}

/// The document of `--json`, and `invariance.json`.
#[derive(Serialize)]
struct Invariance {
    network: String,
    layers: Vec<String>,
    preprocess: String,
    /// What the axes are in.
    units: [&'static str; 3],
    images: Vec<Curves>,
}

#[derive(Serialize)]
struct Curves {
    file: String,
    /// The class whose probability is followed.
    class: String,
    transform: Transform,
    points: Vec<Point>,
}

impl Task {
    pub(crate) fn resolve(args: InvarianceArgs) -> Result<Self> {
        let subject = args.subject;
        Ok(Self {
            model: StoredModel::resolve(&subject.model, &subject.weights)?,
            layers: subject.layers,
            inputs: args.inputs,
            limits: args.images.limits(),
            class: args.class,
            steps: args.steps,
            batch: args.batch_size,
            out: args.out,
            options: subject.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let model = self.model.open(output)?.inference();
        let layers = layers(&model.graph, &self.layers, false, first_and_last)?;
        let class = self.class.as_deref().map(|name| class_named(&model.classes, name, "--class"));
        let class = class.transpose()?;
        let files = inputs::expand(&self.inputs)?;
        // Files that are no images are found before a folder is made; stdin can be read once only.
        for file in files.iter().filter(|file| !inputs::is_stdin(file)) {
            inputs::read(file, &self.limits)?;
        }
        let folder = Folder::claim(&self.out, Some(DOCUMENT), output)?;
        let beside = of_inputs(self.batch, model.graph.input());
        let options = limited_beside(self.options.clone(), beside, &model.graph);
        let device = top5::device(&options)?;
        let Model { graph, weights, classes, preprocess } = model;
        let network = device.network(&graph, weights, Retain::Nothing)?;
        let keep = layers.clone();
        let batched = SessionOptions { keep, ..SessionOptions::inference(self.batch) };
        let mut session = Finite::new(network.session(&graph, &batched)?);
        let [_, height, width] = graph.input();
        if height != width {
            output.note("the input is no square: turned images lose what leaves it");
        }
        let progress = Progress::new(output, "measuring", 3 * files.len());
        let mut curves = Vec::new();
        for file in &files {
            let image = inputs::read(file, &self.limits)?;
            let mut prepared = vec![0.0; preprocess.size()];
            preprocess.apply(&image, &mut prepared);
            let logits = session.forward(&prepared).map_err(anyhow::Error::from);
            let culprit = session.culprit();
            let logits = self.model.traced(logits, culprit, &self.options, output)?.logits;
            let class = class.unwrap_or_else(|| strongest(logits.data()).0);
            for transform in Transform::ALL {
                let amounts = transform.amounts(height, self.steps);
                let points = measure(&mut session, &prepared, transform, &amounts, class);
                let (points, culprit) = (points.map_err(anyhow::Error::from), session.culprit());
                curves.push(Curves {
                    file: file.display().to_string(),
                    class: classes[class].clone(),
                    transform,
                    points: self.model.traced(points, culprit, &self.options, output)?,
                });
                progress.set(curves.len(), String::new);
            }
        }
        drop(progress);
        let told = Invariance {
            network: graph.name().to_owned(),
            layers: layers.iter().map(|&layer| graph.node(layer).name.clone()).collect(),
            preprocess: preprocess.describe(),
            units: Transform::ALL.map(Transform::unit),
            images: curves,
        };
        write(&told, folder, output)
    }
}

fn write(told: &Invariance, mut folder: Folder, output: Output) -> Result<()> {
    let json = serde_json::to_vec_pretty(&Versioned::new(told))?;
    folder.report(DOCUMENT, Kind::ReportJson, &json, output)?;
    let chart = chart(told);
    folder.report("invariance.svg", Kind::Svg, chart.as_bytes(), output)?;
    folder.report("index.html", Kind::ReportHtml, page(told, &chart).as_bytes(), output)?;
    folder.write("invariance.csv", csv(told).as_bytes())?;
    folder.finish()?;
    if output.json {
        return output.document(told);
    }
    for curves in &told.images {
        output.text(&line(curves, &told.layers))?;
    }
    Ok(())
}

/// `digit.png, rotation: relu1 moves by up to 3.2, …; 7 keeps at least 12.3 %`.
fn line(curves: &Curves, layers: &[String]) -> String {
    let greatest =
        |layer: usize| curves.points.iter().map(|point| point.distances[layer]).fold(0.0, f64::max);
    let moved: Vec<String> = layers
        .iter()
        .enumerate()
        .map(|(i, name)| format!("{name} moves by up to {:.3}", greatest(i)))
        .collect();
    let least = curves.points.iter().map(|point| point.probability).fold(1.0, f64::min);
    format!(
        "{}, {}: {}; {} keeps at least {:.1} %\n",
        printable::name(&curves.file),
        curves.transform.name(),
        moved.join(", "),
        printable::name(&curves.class),
        100.0 * least
    )
}

/// A row per change: a chart for each layer's distance and one for the probability, a line per image.
fn chart(told: &Invariance) -> String {
    let mut all = Vec::new();
    for transform in Transform::ALL {
        let own = || told.images.iter().filter(move |curves| curves.transform == transform);
        let mut add = |name: String, value: &dyn Fn(&Point) -> f64| {
            let lines = own().map(|curves| Series {
                name: format!("{} ({})", curves.file, curves.class),
                points: curves.points.iter().map(|point| [point.amount, value(point)]).collect(),
            });
            all.push(Panel { x: transform.unit().to_owned(), y: name, series: lines.collect() });
        };
        for (i, layer) in told.layers.iter().enumerate() {
            add(format!("distance at {layer}"), &|point| point.distances[i]);
        }
        add("probability of the class".to_owned(), &|point| point.probability);
    }
    let title = format!("{}: what translation, scale and rotation change", told.network);
    panels(&title, &all, told.layers.len() + 1)
}

/// The charts, and the lines that are printed.
fn page(told: &Invariance, chart: &str) -> String {
    let mut page =
        Page::new(&format!("{}: what translation, scale and rotation change", told.network));
    page.paragraph(&format!(
        "Figure 5 of Zeiler & Fergus (2014): how far the features of {} move (Euclidean distance to those of the image as it \
         is), and the probability of the class. Images are prepared so: {}.",
        told.layers.join(" and "),
        told.preprocess
    ));
    page.drawing(
        chart,
        "Charts of distances and probability, a row for each change",
        "A line per image.",
    );
    let row = |curves: &Curves| -> Vec<String> {
        let line = line(curves, &told.layers);
        line.trim_end().split(": ").map(str::to_owned).collect()
    };
    let rows: Vec<Vec<String>> = told.images.iter().map(row).collect();
    page.table("At most", &["image and change", "what moves"], &rows);
    page.finish()
}

fn csv(told: &Invariance) -> String {
    let distances: String = told.layers.iter().map(|name| format!(",distance {name}")).collect();
    let mut text = format!("file,class,transform,amount{distances},probability\n");
    for curves in &told.images {
        for point in &curves.points {
            let distances: String = point.distances.iter().map(|d| format!(",{d}")).collect();
            text += &format!(
                "{},{},{},{}{distances},{}\n",
                cell(&curves.file),
                cell(&curves.class),
                curves.transform.name(),
                point.amount,
                point.probability
            );
        }
    }
    text
}
