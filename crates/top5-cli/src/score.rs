//! `top5 score`: how good explanations are, by several measures and beside two controls.

mod boxes;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::Finite;
use top5::explain::score::{
    self, Candidate, Removal, Row, Settings, Substrate, Table, max_sensitivity,
};
use top5::explain::{Method, Target};
use top5::graph::SessionOptions;

use crate::args::finite;
use crate::explained::{Choice, ExplainedArgs, MethodsArgs, Picture, Subject, images, map};
use crate::output::Output;
use crate::progress::Progress;
use crate::table;
use boxes::{Boxes, Pointing};

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 score lenet digit.png
  top5 score runs/resnet20-photos photos/ --methods grad-cam,hires-cam,occlusion,rise
  top5 score vgg16 dog.jpg --weights vgg16.pth --methods gradient --csv
  top5 score runs/mine photos/ --boxes boxes.csv       the pointing game; lines: image,class,top,left,height,width";

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    explained: ExplainedArgs,
    #[command(flatten)]
    methods: MethodsArgs,
    /// Subsets of each size for sensitivity-n
    #[arg(long, value_name = "N", default_value = "100")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..))]
    subsets: u16,
    /// Squares for infidelity
    #[arg(long, value_name = "N", default_value = "200")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    squares: u16,
    /// Changed images that max-sensitivity explains; 0 leaves it out
    #[arg(long, value_name = "N", default_value = "10")]
    changes: u16,
    /// How far max-sensitivity changes the values of the prepared image
    #[arg(long, value_name = "RADIUS", default_value = "0.02", value_parser = radius)]
    radius: f32,
    /// The pointing game: a CSV file with the header image,class,top,left,height,width, rectangles of objects in pixels of images,
    /// whose files are named from the CSV's folder. Each object's class is explained
    #[arg(long, value_name = "FILE")]
    boxes: Option<PathBuf>,
    /// How many pixels of the prepared image beside an object still hit it
    #[arg(long, value_name = "PIXELS", default_value = "15", value_parser = finite::<f64>, requires = "boxes")]
    tolerance: f64,
    /// Write CSV, which has no place for the pointing game
    #[arg(long, conflicts_with_all = ["json", "boxes"])]
    csv: bool,
}

fn radius(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(radius) if radius > 0.0 && radius < 1e6 => Ok(radius),
        _ => Err("expected a number above 0".to_owned()),
    }
}

/// The command, resolved.
pub(crate) struct Task {
    choice: Choice,
    methods: MethodsArgs,
    settings: Settings,
    boxes: Option<Boxes>,
    csv: bool,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    network: String,
    preprocess: String,
    layer: Option<String>,
    methods: Vec<Method>,
    images: Vec<Scored>,
    /// The pointing game, where rectangles are given.
    pointing: Option<Pointing>,
}

#[derive(Serialize)]
struct Scored {
    file: String,
    class_name: String,
    #[serde(flatten)]
    table: Table,
}

impl Task {
    pub(crate) fn resolve(args: ScoreArgs) -> Result<Self> {
        let mut settings = Settings::seeded(args.methods.seed);
        settings.sensitivity_n.subsets = usize::from(args.subsets);
        settings.infidelity.samples = usize::from(args.squares);
        settings.max_sensitivity.samples = usize::from(args.changes);
        settings.max_sensitivity.radius = args.radius;
        let boxes = args.boxes.map(|path| Boxes::read(&path, args.tolerance)).transpose()?;
        let choice = Choice::resolve(args.explained)?;
        Ok(Self { choice, methods: args.methods, settings, boxes, csv: args.csv })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut subject = self.choice.open(output)?;
        let pictures = self.choice.pictures(&mut subject, output)?;
        let methods = self.methods.methods(subject.explainer.graph().input());
        self.choice.args.warn_of_idle_layer(&methods, output);
        let progress = Progress::new(output, "maps", pictures.len() * (methods.len() + 1));
        let mut scored = Vec::new();
        for (number, picture) in pictures.iter().enumerate() {
            let file = picture.file.display().to_string();
            let table = self.score(&mut subject, picture, &methods, |done| {
                progress.set(number * (methods.len() + 1) + done, || file.clone());
            })?;
            let class_name = subject.classes[table.class].clone();
            scored.push(Scored { file, class_name, table });
        }
        drop(progress);
        let pointing = self.boxes.as_ref().map(|boxes| {
            let seed = self.methods.seed;
            boxes.play(&self.choice, &mut subject, &methods, seed, output)
        });
        let report = Report {
            network: subject.name().to_owned(),
            preprocess: subject.preprocess.describe(),
            layer: subject.layer().filter(|_| methods.iter().any(Method::needs_layer)),
            methods,
            images: scored,
            pointing: pointing.transpose()?,
        };
        report.methods.iter().filter_map(Method::warning).take(1).for_each(|w| output.warn(w));
        match (output.json, self.csv) {
            (true, _) => output.document(&report),
            (false, true) => output.text(&report.csv()),
            (false, false) => {
                output.text(&report.text(&self.settings))?;
                report.pointing.iter().try_for_each(|pointing| output.text(&pointing.text()))
            }
        }
    }

    fn score(
        &self,
        subject: &mut Subject,
        picture: &Picture,
        methods: &[Method],
        progress: impl Fn(usize),
    ) -> Result<Table> {
        let image = self.choice.input(subject, picture)?;
        let target = Target::class(self.choice.class(subject, picture)?);
        let Subject { network, explainer, .. } = subject;
        let options = SessionOptions::inference(self.choice.args.batch_size);
        let graph = explainer.graph().clone();
        let mut session = Finite::new(network.session(&graph, &options)?);
        let mut asked = score::Subject::new(&mut session, &image, Some(target.class))?;
        let (mut candidates, mut sensitivities) = (Vec::new(), Vec::new());
        for (number, method) in methods.iter().enumerate() {
            progress(number);
            let own = map(explainer, method, &image, target)?;
            let mut again = |changed: &[f32]| map(explainer, method, changed, target);
            let options = &self.settings.max_sensitivity;
            sensitivities.push(match options.samples {
                0 => None,
                _ => max_sensitivity(&image, &own, options, &mut again)?,
            });
            candidates.push(Candidate { name: method.name().to_owned(), map: own, explain: None });
        }
        progress(methods.len());
        let mut table = score::table(&mut asked, candidates, self.settings.clone())?;
        for (row, sensitivity) in table.rows.iter_mut().zip(sensitivities) {
            row.max_sensitivity = sensitivity;
        }
        Ok(table)
    }
}

/// The measures of a row: deletion, insertion, ROAD, sensitivity-n, infidelity over scale, max-sensitivity.
fn measures(row: &Row) -> [Option<f64>; 6] {
    [
        Some(row.deletion.auc),
        Some(row.insertion.auc),
        Some(row.road.score),
        row.sensitivity_n.mean,
        row.infidelity.scaled,
        row.max_sensitivity,
    ]
}

impl Report {
    fn text(&self, settings: &Settings) -> String {
        let columns = [
            ("method", false),
            ("deletion (low)", true),
            ("insertion (high)", true),
            ("ROAD (high)", true),
            ("sensitivity-n (high)", true),
            ("infidelity (low)", true),
            ("max-sensitivity (low)", true),
        ];
        let count = self.images.first().map_or(0, |image| image.table.rows.len());
        let row = |index: usize| {
            let rows = || self.images.iter().map(|image| &image.table.rows[index]);
            let mean = |measure: usize| {
                let found: Vec<f64> = rows().filter_map(|row| measures(row)[measure]).collect();
                match found.len() {
                    0 => "-".to_owned(),
                    n => format!("{:.3}", found.iter().sum::<f64>() / n as f64),
                }
            };
            let first = &self.images[0].table.rows[index];
            let name = first.name.clone() + if first.control { " (control)" } else { "" };
            [name, mean(0), mean(1), mean(2), mean(3), mean(4), mean(5)]
        };
        let rows: Vec<[String; 7]> = (0..count).map(row).collect();
        let mut text = table::aligned(columns, &rows);
        let Settings { road, sensitivity_n, infidelity, max_sensitivity, control_seed, .. } =
            settings;
        let layer = self.layer.as_ref().map(|l| format!(", layer {l}")).unwrap_or_default();
        text += &format!(
            "\n{}: means over {}{layer}; -: not defined (a constant map) or not measured. Measures disagree with \
             each other (arXiv 1912.01451): no rank is made of them.\n\
             deletion, insertion: area under the class's probability, a row's number of pixels at a time; deleted to zero \
             of the prepared image, inserted into it blurred (11 taps, deviation 5)\n\
             ROAD: (LeRF - MoRF)/2 at {} to {} %, noise {}\n\
             sensitivity-n: mean correlation over {} sizes from {} to {} % of the pixels, {} subsets each, of logits\n\
             infidelity: {} squares of an eighth of the side, the map scaled to fit best, 1 for one that says nothing\n\
             max-sensitivity: {} images changed by up to {}\n\
             controls: uniform random values; a Gaussian in the middle, deviation a quarter of each side\n\
             seed {control_seed}\n",
            self.network,
            images(self.images.len()),
            road.percentiles[0],
            road.percentiles[road.percentiles.len() - 1],
            road.noise,
            sensitivity_n.percents.len(),
            sensitivity_n.percents[0],
            sensitivity_n.percents[sensitivity_n.percents.len() - 1],
            sensitivity_n.subsets,
            infidelity.samples,
            max_sensitivity.samples,
            max_sensitivity.radius,
        );
        text
    }

    fn csv(&self) -> String {
        let columns = [
            "image",
            "class",
            "method",
            "control",
            "deletion",
            "insertion",
            "road",
            "sensitivity_n",
            "infidelity_scaled",
            "max_sensitivity",
            "infidelity",
            "parameters",
        ];
        let mut rows = Vec::new();
        for image in &self.images {
            let parameters = parameters(&image.table.settings);
            for row in &image.table.rows {
                let of = |value: Option<f64>| value.map(|v| format!("{v:.6}")).unwrap_or_default();
                let [deletion, insertion, road, sensitivity, infidelity, most] =
                    measures(row).map(of);
                rows.push([
                    image.file.clone(),
                    image.table.class.to_string(),
                    row.name.clone(),
                    row.control.to_string(),
                    deletion,
                    insertion,
                    road,
                    sensitivity,
                    infidelity,
                    most,
                    format!("{:.6}", row.infidelity.raw),
                    parameters.clone(),
                ]);
            }
        }
        table::csv(columns, &rows)
    }
}

/// All parameters of the measures, in one cell.
fn parameters(settings: &Settings) -> String {
    let Settings { deletion, insertion, road, sensitivity_n, infidelity, max_sensitivity, .. } =
        settings;
    let from = |removal: &Removal| match removal.substrate {
        Substrate::Zero => "zero".to_owned(),
        Substrate::Blur { side, sigma } => format!("blur of {side} taps and deviation {sigma}"),
    };
    let list =
        |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<String>>().join(" ");
    format!(
        "deletion: {} pixels a step to {}; insertion: {} pixels a step from {}; ROAD: {} %, noise {}; sensitivity-n: {} \
         subsets of {} %; infidelity: {} squares of side {}; max-sensitivity: {} changes up to {}; seed {}",
        deletion.step,
        from(deletion),
        insertion.step,
        from(insertion),
        list(&road.percentiles),
        road.noise,
        sensitivity_n.subsets,
        list(&sensitivity_n.percents),
        infidelity.samples,
        infidelity.side,
        max_sensitivity.samples,
        max_sensitivity.radius,
        settings.control_seed
    )
}
