//! `top5 sanity`: whether explanations depend on what a network has learnt.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::draw::{Panel, Series, panels};
use top5::explain::sanity::{RECIPE, Similarity, Step, cascade, layers};
use top5::explain::score::ScoreError;
use top5::explain::{Method, Target};

use crate::explained::{
    Choice, ExplainedArgs, MethodsArgs, Picture, Subject, check_maps, images, map, new_weights,
};
use crate::output::{Kind, Output};
use crate::progress::Progress;
use crate::table;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 sanity lenet digit.png --methods gradient,guided,grad-cam
  top5 sanity runs/resnet20-photos photos/ --csv > curves.csv
  top5 sanity runs/resnet20-photos photos/ --plot curves.svg";

#[derive(Debug, Args)]
pub(crate) struct SanityArgs {
    #[command(flatten)]
    explained: ExplainedArgs,
    #[command(flatten)]
    methods: MethodsArgs,
    /// Write CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Draw the curves into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// The command, resolved.
pub(crate) struct Task {
    choice: Choice,
    methods: MethodsArgs,
    csv: bool,
    plot: Option<PathBuf>,
}

/// The document of `--json`.
#[derive(Serialize)]
pub(crate) struct Report {
    network: String,
    preprocess: String,
    recipe: &'static str,
    seed: u64,
    images: Vec<String>,
    methods: Vec<Curve>,
}

#[derive(Serialize)]
struct Curve {
    method: Method,
    points: Vec<Point>,
}

/// The means over the images.
#[derive(Serialize)]
struct Point {
    /// The last layer with new weights; none: the trained network.
    layer: Option<String>,
    spearman: Option<f64>,
    spearman_absolute: Option<f64>,
    ssim: f64,
    /// Images whose map was constant, which have no rank correlation.
    constant: usize,
}

impl Task {
    pub(crate) fn resolve(args: SanityArgs) -> Result<Self> {
        let SanityArgs { explained, methods, csv, plot } = args;
        Ok(Self { choice: Choice::resolve(explained)?, methods, csv, plot })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        if let Some(path) = &self.plot {
            output.check_file(path, Kind::Svg)?;
        }
        let mut subject = self.choice.open(output)?;
        let methods = self.methods.methods(subject.explainer.graph().input());
        self.choice.args.warn_of_idle_layer(&methods, output);
        let pictures = self.choice.pictures(&mut subject, output)?;
        let target = |picture: &Picture| Ok(Target::class(self.choice.class(&subject, picture)?));
        let targets = pictures.iter().map(target).collect::<Result<Vec<_>>>()?;
        let of = (&pictures[..], &targets[..]);
        let seed = self.methods.seed;
        let report = curves(&self.choice, &mut subject, of, &methods, seed, output)?;
        methods.iter().filter_map(Method::warning).take(1).for_each(|w| output.warn(w));
        if let Some(path) = &self.plot {
            output.file(path, Kind::Svg, report.svg().as_bytes())?;
        }
        match (output.json, self.csv) {
            (true, _) => output.document(&report),
            (false, true) => output.text(&report.csv()),
            (false, false) => output.text(&report.text()),
        }
    }
}

/// How alike the maps of pictures, each of a target, stay while layers get new weights drawn with `seed`. The network keeps the
/// last of these weights.
pub(crate) fn curves(
    choice: &Choice,
    subject: &mut Subject,
    (pictures, targets): (&[Picture], &[Target]),
    methods: &[Method],
    seed: u64,
    output: Output,
) -> Result<Report> {
    let graph = subject.explainer.graph().clone();
    let [_, height, width] = graph.input();
    let (count, methods_of_each) = (pictures.len(), methods.len());
    // The trained network's maps, those of a step, and the image at hand, which is read again at each step.
    let maps = count.saturating_mul(2 * methods_of_each);
    check_maps(maps, [height, width], &format!("{count} images by {methods_of_each} methods"))?;
    let trained = choice.model.open(output)?.inference().weights;
    let drawn = new_weights(&graph, seed);
    let progress = Progress::new(output, "layers", layers(&graph).len() + 1);
    let mut done = 0;
    let steps = cascade(&graph, &trained, &drawn, [height, width], &mut |weights| {
        progress.set(done, String::new);
        done += 1;
        subject.network.load(weights.clone()).map_err(ScoreError::Engine)?;
        let mut maps = vec![Vec::new(); methods.len() * count];
        for (image, (picture, &target)) in pictures.iter().zip(targets).enumerate() {
            let unread = |error: anyhow::Error| ScoreError::Explanation(error.into());
            let input = choice.input(subject, picture).map_err(unread)?;
            for (number, method) in methods.iter().enumerate() {
                maps[number * count + image] = map(&mut subject.explainer, method, &input, target)?;
            }
        }
        Ok(maps)
    })?;
    let curve = |(number, method): (usize, &Method)| Curve {
        method: method.clone(),
        points: steps.iter().map(|step| point(step, number * count, count)).collect(),
    };
    Ok(Report {
        network: graph.name().to_owned(),
        preprocess: subject.preprocess.describe(),
        recipe: RECIPE,
        seed,
        images: pictures.iter().map(|picture| picture.file.display().to_string()).collect(),
        methods: methods.iter().enumerate().map(curve).collect(),
    })
}

fn point(step: &Step, first: usize, count: usize) -> Point {
    let of_images = &step.similarities[first..first + count];
    let mean = |value: fn(&Similarity) -> Option<f64>| {
        let found: Vec<f64> = of_images.iter().filter_map(value).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    Point {
        layer: step.layer.clone(),
        spearman: mean(|s| s.spearman),
        spearman_absolute: mean(|s| s.spearman_absolute),
        ssim: mean(|s| Some(s.ssim)).unwrap_or(0.0),
        constant: of_images.iter().filter(|s| s.spearman.is_none()).count(),
    }
}

impl Report {
    fn rows(&self) -> Vec<[String; 6]> {
        let mut rows = Vec::new();
        for curve in &self.methods {
            for point in &curve.points {
                let of = |value: Option<f64>| {
                    value.map_or_else(|| "constant".to_owned(), |v| format!("{v:.3}"))
                };
                rows.push([
                    curve.method.name().to_owned(),
                    point.layer.clone().unwrap_or_else(|| "(trained)".to_owned()),
                    of(point.spearman),
                    of(point.spearman_absolute),
                    format!("{:.3}", point.ssim),
                    point.constant.to_string(),
                ]);
            }
        }
        rows
    }

    /// A chart for each comparison, a line for each method: from the trained network to new weights everywhere.
    pub(crate) fn svg(&self) -> String {
        let chart = |y: &str, value: fn(&Point) -> Option<f64>| {
            let line = |curve: &Curve| {
                let points = curve.points.iter().enumerate();
                // A constant map has no rank correlation: a gap.
                let place = |(i, point)| [i as f64, value(point).unwrap_or(f64::NAN)];
                Series { name: curve.method.name().to_owned(), points: points.map(place).collect() }
            };
            let x = "layers with new weights, from the logits down".to_owned();
            Panel { x, y: y.to_owned(), series: self.methods.iter().map(line).collect() }
        };
        let charts = [
            chart("Spearman, absolute values", |point| point.spearman_absolute),
            chart("Spearman, signed", |point| point.spearman),
            chart("SSIM, absolute values", |point| Some(point.ssim)),
        ];
        panels(&format!("{}: maps after new weights", self.network), &charts, charts.len())
    }

    pub(crate) fn text(&self) -> String {
        let columns = [
            ("method", false),
            ("new weights down to", false),
            ("Spearman", true),
            ("of absolute values", true),
            ("SSIM", true),
            ("constant maps", true),
        ];
        table::aligned(columns, &self.rows())
            + &format!(
                "\n{}: means over {}. A method whose maps stay alike explains the image, not the network.\n{}; seed {}.\n",
                self.network,
                images(self.images.len()),
                self.recipe,
                self.seed
            )
    }

    pub(crate) fn csv(&self) -> String {
        let columns = ["method", "layer", "spearman", "spearman_absolute", "ssim", "constant_maps"];
        table::csv(columns, &self.rows())
    }
}
