//! `top5 probe`: how well a linear classifier does on what each layer of a network sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::data::{DataError, Dataset};
use top5::eval::wilson;
use top5::explain::probe::{self, Pooling, Regression, Standard, ZFNET_TABLE_7};
use top5::graph::random::{Stream, hash};
use top5::graph::{Device, Graph, NodeId, Retain, Session, SessionOptions, counted, several};
use top5::{Finite, Model, Options};

use crate::args::{DataArgs, TunedArgs, WeightsArgs, positive};
use crate::eval::{DataChoice, Split};
use crate::exit::Stop;
use crate::memory::{self, limited_beside};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::progress::Progress;
use crate::source::{StoredModel, traced};
use crate::table;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 probe lenet                                    on the embedded digits
  top5 probe runs/resnet20-photos --layers input,relu1,fc
  top5 probe vgg16 --weights vgg16.pth --data caltech/ --images 3000 --csv";

#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    model: String,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Layers, as `top5 show` names them; by default the last of each size of maps, the image first
    #[arg(long, value_name = "LAYER,…", value_delimiter = ',')]
    layers: Vec<String>,
    /// Training images, drawn from the training part
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    images: usize,
    /// Test images, drawn from the test part; from the validation part where there is none
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    test_images: usize,
    /// Most features of a layer: maps are pooled until no more are left
    #[arg(long, value_name = "N", default_value = "1024", value_parser = positive)]
    features: usize,
    /// The penalty on the classifiers' weights
    #[arg(long, value_name = "L2", default_value = "0.01", value_parser = penalty)]
    l2: f64,
    /// Most iterations of each classifier
    #[arg(long, value_name = "N", default_value = "200", value_parser = positive)]
    iterations: usize,
    /// Seed of which images are taken
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "16", value_parser = positive)]
    batch_size: usize,
    /// Write CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    #[command(flatten)]
    engine: TunedArgs,
}

fn penalty(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(l2) if (0.0..=1e6).contains(&l2) => Ok(l2),
        _ => Err("expected a number from 0 to 1000000".to_owned()),
    }
}

/// The command, resolved.
pub(crate) struct Task {
    model: StoredModel,
    choice: DataChoice,
    options: Options,
    args: ProbeArgs,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    network: String,
    data: String,
    preprocess: String,
    classes: usize,
    train_images: usize,
    test_part: &'static str,
    test_images: usize,
    /// Share of the test images that the commonest class has, in percent.
    majority: f64,
    seed: u64,
    regression: Regression,
    layers: Vec<Layer>,
    /// ZFNet's first version, table 7: an SVM on each layer.
    reference: Vec<Reference>,
}

#[derive(Serialize)]
struct Layer {
    layer: String,
    pooling: Pooling,
    features: usize,
    train_accuracy: f64,
    test_accuracy: f64,
    /// Wilson's 95 % interval.
    test_interval: [f64; 2],
    iterations: usize,
    converged: bool,
}

#[derive(Serialize)]
struct Reference {
    layer: u32,
    caltech_101: f64,
    caltech_256: f64,
}

/// A part of the data: of each layer its features, and the labels.
struct Part {
    features: Vec<Vec<f32>>,
    labels: Vec<u32>,
}

impl Reference {
    fn of(&(layer, caltech_101, caltech_256): &(u32, f64, f64)) -> Self {
        Self { layer, caltech_101, caltech_256 }
    }
}

impl Part {
    /// The features of a layer, which are given away, and the labels.
    fn layer(&mut self, number: usize) -> (Vec<f32>, &[u32]) {
        (std::mem::take(&mut self.features[number]), &self.labels)
    }

    /// Share of the images that the commonest class has, in percent.
    fn majority(&self, classes: usize) -> f64 {
        let mut counts = vec![0; classes];
        self.labels.iter().for_each(|&label| counts[label as usize] += 1);
        let most = counts.into_iter().max().unwrap_or(0);
        100.0 * f64::from(most) / self.labels.len() as f64
    }
}

impl Layer {
    /// What a classifier reaches that is fitted to the features of the first part and tested on those of the second.
    fn fit(
        name: String,
        pooling: &Pooling,
        [train, test]: [(Vec<f32>, &[u32]); 2],
        classes: usize,
        regression: &Regression,
    ) -> Self {
        let ((mut train, train_labels), (mut test, test_labels)) = (train, test);
        let width = pooling.features();
        let standard = Standard::of(&train, width);
        standard.apply(&mut train);
        standard.apply(&mut test);
        let fitted = probe::fit(&train, width, train_labels, classes, regression);
        let percent = |right: usize, of: usize| 100.0 * right as f64 / of as f64;
        let right = fitted.right(&test, test_labels);
        Self {
            layer: name,
            pooling: pooling.clone(),
            features: width,
            train_accuracy: percent(fitted.right(&train, train_labels), train_labels.len()),
            test_accuracy: percent(right, test_labels.len()),
            test_interval: wilson(right, test_labels.len()),
            iterations: fitted.iterations,
            converged: fitted.converged,
        }
    }
}

impl Task {
    pub(crate) fn resolve(args: ProbeArgs) -> Result<Self> {
        Ok(Self {
            model: StoredModel::resolve(&args.model, &args.weights)?,
            choice: DataChoice::resolve(args.data.clone(), Split::Test, Some(&args.model))?,
            options: args.engine.options()?,
            args,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let args = &self.args;
        let mut model = self.model.open(output)?.inference();
        model.preprocess = args.preprocess.apply(model.preprocess)?;
        let layers = layers(&model.graph, &args.layers)?;
        let (data, splits) = self.choice.splits(&model, Split::Test, output)?;
        let data = data.to_owned();
        let (test_part, test) = match splits.test {
            Some(test) => ("test", test),
            None => ("validation", splits.validation),
        };
        let train = taken(splits.train.len(), args.images, args.seed, "train");
        let tested = taken(test.len(), args.test_images, args.seed, test_part);
        if train.is_empty() || tested.is_empty() {
            let wanted = "expected images to train on and images to test on, in two parts";
            return Err(Stop::BadInput(format!("{data}: {wanted}")).into());
        }
        let pool = |&id: &NodeId| Pooling::of(model.graph.node(id).shape(), args.features);
        let pooling: Vec<Pooling> = layers.iter().map(pool).collect();
        let per_image: usize = pooling.iter().map(Pooling::features).sum();
        let images = (train.len() + tested.len()) as u64;
        let classes = test.classes().len().max(splits.train.classes().len());
        let widest = pooling.iter().map(Pooling::features).max().unwrap_or(0);
        let of_fit = probe::memory(widest, classes);
        let needed = images.saturating_mul(4 * per_image as u64).saturating_add(of_fit);
        let what =
            format!("fitting {classes} classes to features of {images} images, {per_image} each,");
        memory::check(needed, &what)?;

        let (preprocess, graph) = (model.preprocess.describe(), model.graph.clone());
        output.detail(&format!("{}: {preprocess}", graph.name()));
        let beside = needed.saturating_add(memory::of_inputs(args.batch_size, graph.input()));
        let options = limited_beside(self.options, beside, &graph);
        let mut looker = Looker::new(&options, &model, args.batch_size, &layers, pooling)?;
        let progress = Progress::new(output, "images", images as usize);
        let skip_bad = self.choice.skip_bad;
        let mut part = |dataset: &Arc<dyn Dataset>, chosen: &[usize], before: usize| {
            looker.look(
                &**dataset,
                chosen,
                skip_bad,
                |done| progress.set(before + done, String::new),
                output,
            )
        };
        let mut of_train = part(&splits.train, &train, 0)?;
        let mut of_test = part(&test, &tested, train.len())?;
        drop(progress);

        let regression =
            Regression { l2: args.l2, iterations: args.iterations, ..Regression::default() };
        let progress = Progress::new(output, "layers", layers.len());
        let mut rows = Vec::new();
        for (number, (id, pooling)) in layers.iter().zip(&looker.pooling).enumerate() {
            let name = graph.node(*id).name.clone();
            progress.set(number, || name.clone());
            let parts = [of_train.layer(number), of_test.layer(number)];
            rows.push(Layer::fit(name, pooling, parts, classes, &regression));
        }
        drop(progress);
        let report = Report {
            network: graph.name().to_owned(),
            data,
            preprocess,
            classes,
            train_images: of_train.labels.len(),
            test_part,
            test_images: of_test.labels.len(),
            majority: of_test.majority(classes),
            seed: args.seed,
            regression,
            layers: rows,
            reference: ZFNET_TABLE_7.iter().map(Reference::of).collect(),
        };
        match (output.json, args.csv) {
            (true, _) => output.document(&report),
            (false, true) => output.text(&report.csv()),
            (false, false) => output.text(&report.text()),
        }
    }
}

/// The layers of these names, or those that show how the network proceeds.
fn layers(graph: &Graph, names: &[String]) -> Result<Vec<NodeId>> {
    let choice = probe::layers(graph);
    if names.is_empty() {
        return Ok(choice);
    }
    let mut seen = BTreeSet::new();
    let names = names.iter().filter(|name| seen.insert(*name));
    let named = names.map(|name| match graph.find(name) {
        Some(node) => Ok(node.id),
        None => {
            let some: Vec<&str> = choice.iter().map(|&id| &*graph.node(id).name).collect();
            let message = format!(
                "{} has no layer {name:?}: `top5 show {}` lists them, for example {}",
                graph.name(),
                graph.name(),
                some.join(", ")
            );
            Err(Stop::BadInput(message).into())
        }
    });
    named.collect()
}

/// Which of so many images are taken, in ascending order.
fn taken(all: usize, most: usize, seed: u64, part: &str) -> Vec<usize> {
    let mut order = Stream::new(seed, hash("probe")).substream(hash(part)).permutation(all);
    order.truncate(most);
    order.sort_unstable();
    order
}

/// A network that gives the features of its layers.
struct Looker<'m> {
    session: Finite,
    options: &'m Options,
    model: &'m Model,
    /// For each layer where its activation is among those that are kept; none: it is the image, or the logits.
    pooling: Vec<Pooling>,
}

impl<'m> Looker<'m> {
    fn new(
        options: &'m Options,
        model: &'m Model,
        batch: usize,
        layers: &[NodeId],
        pooling: Vec<Pooling>,
    ) -> Result<Self> {
        let graph = &model.graph;
        let device = top5::device(options)?;
        let network = device.network(graph, model.weights.clone(), Retain::Nothing)?;
        let session = SessionOptions { keep: layers.to_vec(), ..SessionOptions::inference(batch) };
        let session = Finite::new(network.session(graph, &session)?);
        Ok(Self { session, options, model, pooling })
    }

    /// The features of these images. Bad files are an error, or left out.
    fn look(
        &mut self,
        dataset: &dyn Dataset,
        chosen: &[usize],
        skip_bad: bool,
        progress: impl Fn(usize),
        output: Output,
    ) -> Result<Part> {
        let preprocess = &self.model.preprocess;
        let room = |pooling: &Pooling| Vec::with_capacity(chosen.len() * pooling.features());
        let features = self.pooling.iter().map(room).collect();
        let mut part = Part { features, labels: Vec::with_capacity(chosen.len()) };
        let mut images = Vec::new();
        for (number, chosen) in chosen.chunks(self.session.batch()).enumerate() {
            images.clear();
            let before = part.labels.len();
            for &index in chosen {
                let sample = match dataset.sample(index) {
                    Err(error @ DataError::Image { .. }) if skip_bad => {
                        output.warn(&format!("left out: {error}"));
                        continue;
                    }
                    sample => sample?,
                };
                let at = images.len();
                images.resize(at + preprocess.size(), 0.0);
                preprocess.apply(&sample.image, &mut images[at..]);
                part.labels.push(sample.label);
            }
            if part.labels.len() > before {
                let forward = self.session.forward(&images).map_err(anyhow::Error::from);
                let again = || Ok(self.model.clone());
                let kept = traced(forward, self.session.culprit(), self.options, again)?.kept;
                for ((features, kept), pooling) in
                    part.features.iter_mut().zip(&kept).zip(&self.pooling)
                {
                    let size = kept.data().len() / (part.labels.len() - before);
                    kept.data().chunks_exact(size).for_each(|one| pooling.pool(one, features));
                }
            }
            progress(number * self.session.batch() + chosen.len());
        }
        if part.labels.is_empty() {
            return Err(Stop::BadInput("every image was left out".to_owned()).into());
        }
        Ok(part)
    }
}

impl Report {
    fn text(&self) -> String {
        let columns = [
            ("layer", false),
            ("maps", true),
            ("pooled", true),
            ("features", true),
            ("train %", true),
            ("test %", true),
            ("95 % interval", true),
            ("iterations", true),
        ];
        let row = |layer: &Layer| {
            let Pooling { channels, map, to } = layer.pooling;
            let more = if layer.converged { "" } else { "+" };
            [
                layer.layer.clone(),
                size(channels, map),
                size(channels, to),
                layer.features.to_string(),
                format!("{:.1}", layer.train_accuracy),
                format!("{:.1}", layer.test_accuracy),
                format!("{:.1} to {:.1}", layer.test_interval[0], layer.test_interval[1]),
                format!("{}{more}", layer.iterations),
            ]
        };
        let rows: Vec<[String; 8]> = self.layers.iter().map(row).collect();
        let mut text = table::aligned(columns, &rows);
        text += &format!(
            "\n{} on {}: a softmax regression per layer (l2 {}, standardised features), fitted to {} training {}, \
             tested on {} ({}), seed {}. The commonest of {} classes has {:.1} %.\n",
            self.network,
            self.data,
            self.regression.l2,
            self.train_images,
            several(self.train_images, "image"),
            counted(self.test_images, "image"),
            self.test_part,
            self.seed,
            self.classes,
            self.majority
        );
        if self.layers.iter().any(|layer| !layer.converged) {
            text += "+ stopped before the gradient was as small as was asked for: see --iterations and --l2.\n";
        }
        let of = |number: fn(&Reference) -> String| {
            self.reference.iter().map(number).collect::<Vec<_>>().join("  ")
        };
        text += &format!(
            "\nFor reference, ZFNet's first version (arXiv 1311.2901v1, table 7), an SVM on each layer:\n\
             layer        {}\nCaltech-101  {}\nCaltech-256  {}\n",
            of(|r| format!("{:>4}", r.layer)),
            of(|r| format!("{:>4.1}", r.caltech_101)),
            of(|r| format!("{:>4.1}", r.caltech_256))
        );
        text
    }

    fn csv(&self) -> String {
        let columns = [
            "layer",
            "channels",
            "height",
            "width",
            "pooled_height",
            "pooled_width",
            "features",
            "train_accuracy",
            "test_accuracy",
            "test_low",
            "test_high",
            "iterations",
            "converged",
        ];
        let row = |layer: &Layer| {
            let Pooling { channels, map, to } = layer.pooling;
            [
                layer.layer.clone(),
                channels.to_string(),
                map[0].to_string(),
                map[1].to_string(),
                to[0].to_string(),
                to[1].to_string(),
                layer.features.to_string(),
                format!("{:.3}", layer.train_accuracy),
                format!("{:.3}", layer.test_accuracy),
                format!("{:.3}", layer.test_interval[0]),
                format!("{:.3}", layer.test_interval[1]),
                layer.iterations.to_string(),
                layer.converged.to_string(),
            ]
        };
        let rows: Vec<[String; 13]> = self.layers.iter().map(row).collect();
        table::csv(columns, &rows)
    }
}

fn size(channels: usize, [height, width]: [usize; 2]) -> String {
    match [height, width] {
        [1, 1] => channels.to_string(),
        _ => format!("{channels} x {height} x {width}"),
    }
}
