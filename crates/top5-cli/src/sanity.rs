//! `top5 sanity`: whether explanations depend on what a network has learnt.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::explain::Method;
use top5::explain::sanity::{RECIPE, Similarity, Step, cascade, layers};
use top5::explain::score::ScoreError;

use crate::explained::{Choice, Explained, ExplainedArgs, images, map, new_weights};
use crate::output::Output;
use crate::progress::Progress;
use crate::table;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 sanity lenet digit.png --methods gradient,guided,grad-cam
  top5 sanity runs/resnet20-photos photos/ --csv > curves.csv";

#[derive(Debug, Args)]
pub(crate) struct SanityArgs {
    #[command(flatten)]
    explained: ExplainedArgs,
    /// Write CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// The command, resolved.
pub(crate) struct Task {
    choice: Choice,
    csv: bool,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
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
        Ok(Self { choice: Choice::resolve(args.explained)?, csv: args.csv })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Explained { model, network, mut explainer, methods, images } =
            self.choice.open(output)?;
        let logits = |image: &(String, Vec<f32>)| explainer.logits(&image.1);
        let logits = images.iter().map(logits).collect::<Result<Vec<_>, _>>()?;
        let class = |logits: &top5::graph::Tensor| {
            let logits = logits.data();
            let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            self.choice.args.class.or(best).unwrap_or(0)
        };
        let classes: Vec<usize> = logits.iter().map(class).collect();
        let seed = self.choice.args.seed;
        let (graph, drawn) = (model.graph.clone(), new_weights(&model.graph, seed));
        let [_, height, width] = graph.input();
        let progress = Progress::new(output, "layers", layers(&graph).len() + 1);
        let mut done = 0;
        let steps = cascade(&graph, &model.weights, &drawn, [height, width], &mut |weights| {
            progress.set(done, String::new);
            done += 1;
            network.load(weights.clone()).map_err(ScoreError::Engine)?;
            let mut maps = Vec::new();
            for method in &methods {
                for ((_, image), &class) in images.iter().zip(&classes) {
                    maps.push(map(&mut explainer, method, image, class)?);
                }
            }
            Ok(maps)
        })?;
        drop(progress);
        methods.iter().filter_map(Method::warning).take(1).for_each(|w| output.warn(w));
        let count = images.len();
        let curve = |(number, method): (usize, Method)| Curve {
            method,
            points: steps.iter().map(|step| point(step, number * count, count)).collect(),
        };
        let report = Report {
            network: graph.name().to_owned(),
            preprocess: model.preprocess.describe(),
            recipe: RECIPE,
            seed,
            images: images.into_iter().map(|(name, _)| name).collect(),
            methods: methods.into_iter().enumerate().map(curve).collect(),
        };
        match (output.json, self.csv) {
            (true, _) => output.document(&report),
            (false, true) => output.text(&report.csv()),
            (false, false) => output.text(&report.text()),
        }
    }
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

    fn text(&self) -> String {
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

    fn csv(&self) -> String {
        let columns = ["method", "layer", "spearman", "spearman_absolute", "ssim", "constant_maps"];
        table::csv(columns, &self.rows())
    }
}
