//! `top5 explain` and `top5 occlude`: why a network says what it says of an image, as numbers, pictures and a page.

mod occlude;
mod write;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::data::Preprocess;
use top5::explain::method::perturb::softmax;
use top5::explain::{ExplainError, Explainer, Explanation, Map, Method, Target};

pub(crate) use occlude::{EXAMPLES as OCCLUDE_EXAMPLES, OccludeArgs, Task as OccludeTask};

use crate::args::{EngineArgs, ImageArgs, WeightsArgs, positive};
use crate::exit::Stop;
use crate::explained;
use crate::inputs;
use crate::output::Output;
use crate::progress::Progress;
use crate::source::StoredModel;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 explain grad-cam lenet digit.png
  top5 explain gradient,hires-cam runs/mine cat.jpg --class cat --against dog --out why
  top5 explain deconvnet runs/mine cat.jpg --layer conv5 --map strongest

Methods:
  gradient               how fast the score changes with each pixel
  deconvnet              DeconvNet's projection (warned of: it says little of the decision)
  guided                 guided backpropagation (warned of, too)
  gradient-times-input   the change of the score per pixel times its value
  integrated-gradients   shares of the pixels in the score, along the way from gray
  smoothgrad             the gradient's mean over noisy copies
  grad-cam, hires-cam    where cells of a layer raise the score
  guided-grad-cam        guided backpropagation where Grad-CAM is positive
  occlusion              by how much the score falls where a gray square hides the image
  rise                   mean probability over random masks
  ablation               by how much the score falls when one tile is gray";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The method, or several with commas
    #[arg(value_name = "METHOD", value_parser = methods)]
    methods: Methods,
    #[command(flatten)]
    pub(super) subject: SubjectArgs,
    /// Why the class and not this one: the difference of the two logits
    #[arg(long, value_name = "N|NAME")]
    against: Option<String>,
    /// Project this map of the layer instead of a class, by number, or the strongest: gradient, deconvnet and guided
    #[arg(long, value_name = "N|strongest", conflicts_with_all = ["class", "against"])]
    map: Option<String>,
    /// Points of integrated gradients
    #[arg(long, value_name = "N", default_value = "50", value_parser = positive)]
    steps: usize,
    /// Noisy copies of SmoothGrad
    #[arg(long, value_name = "N", default_value = "25", value_parser = positive)]
    samples: usize,
    /// SmoothGrad's standard deviation over the range of the prepared image's values
    #[arg(long, value_name = "SHARE", default_value = "0.15")]
    level: f32,
    /// Masks of RISE
    #[arg(long, value_name = "N", default_value = "1000", value_parser = positive)]
    masks: usize,
    /// Side of the gray square or tile in pixels; a seventh of the image, or a fourteenth, by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    size: Option<usize>,
    /// Pixels between places of the gray square; half its side by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    stride: Option<usize>,
    /// Seed of noise and masks
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

/// Names of methods.
#[derive(Clone, Debug)]
struct Methods(Vec<String>);

fn methods(text: &str) -> Result<Methods, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !Method::NAMES.contains(&name.as_str())) {
        None => Ok(Methods(names)),
        Some(wrong) => {
            Err(format!("{wrong:?} is no method: expected of {}", Method::NAMES.join(", ")))
        }
    }
}

/// What is explained, and where the answers go.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Image files, folders of images, or - for stdin
    #[arg(required = true, value_name = "IMAGE")]
    inputs: Vec<PathBuf>,
    /// The class: its number, its name, or the one that the network finds most probable
    #[arg(long, value_name = "N|NAME|top", default_value = "top")]
    class: String,
    /// The layer, by its name in `top5 show`; the last feature map by default
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The folder of the pictures, which must be empty; explained/METHOD, numbered when taken, by default
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "8", value_parser = positive)]
    batch_size: usize,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A subject that is open.
struct Subject {
    explainer: Explainer,
    preprocess: Preprocess,
    classes: Vec<String>,
    network: String,
}

/// One image, prepared.
struct Picture {
    file: PathBuf,
    input: Vec<f32>,
    probabilities: Vec<f32>,
}

impl SubjectArgs {
    fn open(&self, model: &StoredModel, output: Output) -> Result<Subject> {
        let model = model.open(output)?.inference();
        let (options, layer) = (self.engine.options()?, self.layer.as_deref());
        let (_, explainer) =
            explained::explainer(&model.graph, model.weights, options, layer, self.batch_size)?;
        let name = model.graph.name().to_owned();
        let (preprocess, classes) = (model.preprocess, model.classes);
        Ok(Subject { explainer, preprocess, classes, network: name })
    }

    /// The images that were named.
    fn pictures(&self, subject: &mut Subject) -> Result<Vec<Picture>> {
        let files = inputs::expand(&self.inputs)?;
        explained::check_images(files.len(), subject.explainer.graph())?;
        files.into_iter().map(|file| self.picture(subject, file)).collect()
    }

    fn picture(&self, subject: &mut Subject, file: PathBuf) -> Result<Picture> {
        let image = inputs::read(&file, &self.images.limits())?;
        let mut input = vec![0.0; subject.preprocess.size()];
        subject.preprocess.apply(&image, &mut input);
        let logits = subject.explainer.logits(&input)?;
        Ok(Picture { file, probabilities: softmax(logits.data()), input })
    }
}

impl Subject {
    /// The class that was meant.
    fn class(&self, said: &str, flag: &str, picture: &Picture) -> Result<usize> {
        if said == "top" {
            return Ok(top5::explain::signal::strongest(&picture.probabilities).0);
        }
        explained::class_named(&self.classes, said).ok_or_else(|| {
            let low = said.to_lowercase();
            let near = self.classes.iter().filter(|class| class.to_lowercase().contains(&low));
            let near: Vec<&str> = near.take(5).map(String::as_str).collect();
            let hint = if near.is_empty() { String::new() } else { format!(" (nearest: {})", near.join(", ")) };
            let message = format!(
                "{flag} {said}: the network has no such class{hint}: expected a name, a number from 0 to {} or top",
                self.classes.len() - 1
            );
            Stop::BadInput(message).into()
        })
    }
}

/// What one method said of one image, in the JSON document.
#[derive(Serialize)]
pub(super) struct Said {
    file: String,
    method: Method,
    class: Option<String>,
    against: Option<String>,
    probability: Option<f32>,
    layer: Option<String>,
    map: Option<usize>,
    fact: String,
    least: f32,
    most: f32,
    meaning: &'static str,
    warning: Option<&'static str>,
    notes: Vec<String>,
    files: Vec<String>,
}

#[derive(Serialize)]
struct Document {
    network: String,
    preprocess: String,
    folder: String,
    explanations: Vec<Said>,
}

/// The command, resolved.
pub(crate) struct Task {
    args: ExplainArgs,
    model: StoredModel,
}

impl Task {
    pub(crate) fn resolve(args: ExplainArgs) -> Result<Self> {
        let model = StoredModel::resolve(&args.subject.model, &args.subject.weights)?;
        if args.map.is_some() {
            let projects =
                |name: &&String| ["gradient", "deconvnet", "guided"].contains(&name.as_str());
            if let Some(other) = args.methods.0.iter().find(|name| !projects(name)) {
                let message =
                    format!("--map goes with gradient, deconvnet and guided, not with {other}");
                return Err(Stop::Usage(message).into());
            }
        }
        Ok(Self { args, model })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { args, model } = self;
        let mut subject = args.subject.open(&model, output)?;
        let pictures = args.subject.pictures(&mut subject)?;
        let methods = args.methods(subject.explainer.graph().input());
        // Everything that can be wrong is found before a folder is made.
        for picture in &pictures {
            args.target(&subject, picture)?;
        }
        let folder =
            write::Folder::create(args.subject.out.as_deref(), &args.methods.0[0], output)?;
        let mut report = write::Report::new(&subject, &folder);
        let warnings: BTreeSet<&str> = methods.iter().filter_map(Method::warning).collect();
        warnings.into_iter().for_each(|warning| output.warn(warning));
        for method in &methods {
            for picture in &pictures {
                let said = args.explain(&mut subject, method, picture, output)?;
                report.add(&subject, picture, said)?;
            }
        }
        let preprocess = subject.preprocess.describe();
        let (network, folder) = (subject.network, folder.path().display().to_string());
        let document =
            Document { network, preprocess, folder, explanations: report.finish(output)? };
        if output.json {
            return output.document(&document);
        }
        for said in &document.explanations {
            output.text(&said.line())?;
        }
        Ok(())
    }
}

/// What was said, before it is drawn.
struct Answer {
    method: Method,
    target: Option<Target>,
    layer: Option<String>,
    map: Option<usize>,
    explanation: Explanation,
}

impl ExplainArgs {
    fn methods(&self, [_, height, width]: [usize; 3]) -> Vec<Method> {
        let usual = |name: &String| {
            let method =
                Method::usual(name, height.min(width)).expect("the parser knows the names");
            match method {
                Method::IntegratedGradients { .. } => {
                    Method::IntegratedGradients { steps: self.steps }
                }
                Method::Smoothgrad { .. } => {
                    let Self { samples, level, seed, .. } = *self;
                    Method::Smoothgrad { samples, level, seed }
                }
                Method::Occlusion { size, .. } => {
                    let size = self.size.unwrap_or(size);
                    Method::Occlusion { size, stride: self.stride.unwrap_or((size / 2).max(1)) }
                }
                Method::Rise { cells, share, .. } => {
                    Method::Rise { masks: self.masks, cells, share, seed: self.seed }
                }
                Method::Ablation { size } => Method::Ablation { size: self.size.unwrap_or(size) },
                Method::Gradient
                | Method::Deconvnet
                | Method::Guided
                | Method::GradientTimesInput
                | Method::GradCam
                | Method::HiresCam
                | Method::GuidedGradCam => method,
            }
        };
        self.methods.0.iter().map(usual).collect()
    }

    fn target(&self, subject: &Subject, picture: &Picture) -> Result<Option<Target>> {
        if self.map.is_some() {
            return Ok(None);
        }
        let class = subject.class(&self.subject.class, "--class", picture)?;
        let against = self.against.as_deref();
        let against = against.map(|said| subject.class(said, "--against", picture)).transpose()?;
        let target = Target { class, against };
        target.check(subject.classes.len())?;
        Ok(Some(target))
    }

    fn explain(
        &self,
        subject: &mut Subject,
        method: &Method,
        picture: &Picture,
        output: Output,
    ) -> Result<Answer> {
        let target = self.target(subject, picture)?;
        let explainer = &mut subject.explainer;
        let named = |explainer: &Explainer| {
            explainer.layer().map(|id| explainer.graph().node(id).name.clone())
        };
        let method = method.clone();
        let Some(of) = target else {
            let said = self.map.as_deref().expect("without a target there is a map");
            let (channel, signal) = project(explainer, &method, said, &picture.input)?;
            let map = Map::magnitude_of(&signal)?;
            let explanation = Explanation { map, signal: Some(signal), cells: None };
            let (layer, map) = (named(explainer), Some(channel));
            return Ok(Answer { method, target, layer, map, explanation });
        };
        let mut bar = None;
        let name = method.name();
        let mut tick = |done, all| {
            bar.get_or_insert_with(|| Progress::new(output, name, all)).set(done, String::new);
        };
        let explanation = explainer.explain(&method, &picture.input, of, &mut tick)?;
        let layer = named(explainer).filter(|_| method.needs_layer());
        Ok(Answer { method, target, layer, map: None, explanation })
    }
}

/// The map that was meant, and its projection.
fn project(
    explainer: &mut Explainer,
    method: &Method,
    said: &str,
    image: &[f32],
) -> Result<(usize, top5::graph::Tensor)> {
    use top5::explain::signal::{Path, Start, strongest};
    let missing = || Stop::BadInput("the network has no layer with maps: give --layer".to_owned());
    let layer = explainer.layer().ok_or_else(missing)?;
    let channel = match said.parse::<usize>() {
        Ok(channel) => channel,
        Err(_) if said == "strongest" => {
            let rule = method.rule().expect("projections have a rule");
            let path = Path::projection(explainer.graph(), layer, rule);
            let projector = explainer.projector(&path)?;
            projector.forward(image)?;
            let activation = projector.activation().expect("a pass went before");
            let plane = activation.data().len() / activation.shape()[1];
            strongest(activation.data()).0 / plane
        }
        Err(_) => {
            let message = format!("--map {said}: expected the number of a map, or strongest");
            return Err(Stop::BadInput(message).into());
        }
    };
    let signal = explainer.project(method, layer, Start::Strongest(channel), image)?;
    Ok((channel, signal))
}

/// The exit code of an explanation's error.
pub(crate) fn code(error: &ExplainError) -> u8 {
    use top5::graph::EngineError;
    let full = matches!(error, ExplainError::Engine(EngineError::Memory { .. }));
    if full { crate::exit::RESOURCE } else { 3 }
}
