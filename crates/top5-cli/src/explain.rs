//! `top5 explain` and `top5 occlude`: why a network says what it says of an image, as numbers, pictures and a page.

mod occlude;
mod write;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::explain::method::Settings;
use top5::explain::signal::{Path, Start, strongest};
use top5::explain::{ExplainError, Explainer, Explanation, Map, Method, Target, layers};
use top5::graph::Tensor;

pub(crate) use occlude::{EXAMPLES as OCCLUDE_EXAMPLES, OccludeArgs, Task as OccludeTask};

use crate::args::{finite, positive};
use crate::exit::Stop;
use crate::explained::{Choice, ExplainedArgs, Picture, Subject, warn_of_idle};
use crate::folder::Folder;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::sanity;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 explain grad-cam lenet digit.png
  top5 explain gradient,hires-cam runs/mine cat.jpg --class cat --against dog --out why
  top5 explain deconvnet runs/mine cat.jpg --layer conv5 --map strongest
  top5 explain guided,grad-cam runs/mine cat.jpg --sanity

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
    explained: ExplainedArgs,
    /// The folder of the pictures, which must be empty; explained/METHOD, numbered when taken, by default
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Why the class and not this one: the difference of the two logits
    #[arg(long, value_name = "N|NAME")]
    against: Option<String>,
    /// Project this map of the layer instead of a class, by number, or the strongest: gradient, deconvnet and guided
    #[arg(long, value_name = "N|strongest", value_parser = channel)]
    #[arg(conflicts_with_all = ["class", "against"])]
    map: Option<Channel>,
    /// Points of integrated gradients; 50 by default
    #[arg(long, value_name = "N", value_parser = positive)]
    steps: Option<usize>,
    /// Noisy copies of SmoothGrad; 25 by default
    #[arg(long, value_name = "N", value_parser = positive)]
    samples: Option<usize>,
    /// SmoothGrad's standard deviation over the range of the prepared image's values; 0.15 by default
    #[arg(long, value_name = "SHARE", value_parser = finite::<f32>)]
    level: Option<f32>,
    /// Masks of RISE; 1000 by default
    #[arg(long, value_name = "N", value_parser = positive)]
    masks: Option<usize>,
    /// Side of the gray square or tile in pixels; a seventh of the image, or a fourteenth, by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    size: Option<usize>,
    /// Pixels between places of the gray square; half its side by default
    #[arg(long, value_name = "PIXELS", value_parser = positive)]
    stride: Option<usize>,
    /// Seed of noise, masks and new weights; 0 by default
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also give layers new random weights, one more at each step from the top, and tell how alike the maps stay
    #[arg(long, conflicts_with = "map")]
    sanity: bool,
}

/// Where folders go that are not named.
const PLACE: &str = "explained";

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

/// Which map of a layer is projected.
#[derive(Clone, Copy, Debug)]
enum Channel {
    Number(usize),
    Strongest,
}

fn channel(text: &str) -> Result<Channel, String> {
    match text {
        "strongest" => Ok(Channel::Strongest),
        _ => text
            .parse()
            .map(Channel::Number)
            .map_err(|_| "expected the number of a map, or strongest".to_owned()),
    }
}

impl Channel {
    /// Fails unless the layer that is looked at has it.
    fn check(self, explainer: &Explainer) -> Result<(), ExplainError> {
        let layer = explainer.layer().map_or_else(|| layers::layer(explainer.graph(), None), Ok)?;
        let node = explainer.graph().node(layer);
        let channels = node.shape().channels();
        match self {
            Self::Number(channel) if channel >= channels => {
                Err(ExplainError::Channel { layer: node.name.clone(), channel, channels })
            }
            Self::Number(_) | Self::Strongest => Ok(()),
        }
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

/// The document of `--json`, and `explanation.json`.
#[derive(Serialize)]
pub(super) struct Document {
    network: String,
    preprocess: String,
    /// Where it is; not in the file itself, which may be moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    explanations: Vec<Said>,
    /// The curves of `--sanity`.
    sanity: Option<sanity::Report>,
}

/// The command, resolved.
pub(crate) struct Task {
    args: ExplainArgs,
    choice: Choice,
}

impl Task {
    pub(crate) fn resolve(args: ExplainArgs) -> Result<Self> {
        if args.map.is_some() {
            let projects =
                |name: &&String| ["gradient", "deconvnet", "guided"].contains(&name.as_str());
            if let Some(other) = args.methods.0.iter().find(|name| !projects(name)) {
                let message =
                    format!("--map goes with gradient, deconvnet and guided, not with {other}");
                return Err(Stop::Usage(message).into());
            }
        }
        Ok(Self { choice: Choice::resolve(args.explained.clone())?, args })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let Self { args, choice } = self;
        let interrupt = Interrupt::default();
        let mut subject = choice.open(output)?.stopped_by(&interrupt);
        let pictures = choice.pictures(&mut subject, output)?;
        let methods = args.methods(subject.explainer.graph().input());
        // Everything that can be wrong is found before a folder is made.
        let of_picture = |picture| args.target(&choice, &subject, picture);
        let targets = pictures.iter().map(of_picture).collect::<Result<Vec<_>>>()?;
        methods.iter().try_for_each(|method| subject.explainer.check(method))?;
        args.map.as_ref().map_or(Ok(()), |map| map.check(&subject.explainer))?;
        args.warn_of_idle(&methods, output);
        let mut folder = Folder::fresh(args.out.as_deref(), PLACE, &args.methods.0[0], output)?;
        interrupt.listen()?;
        let mut report = write::Report::new(&subject, &mut folder, output)?;
        let warnings: BTreeSet<&str> = methods.iter().filter_map(Method::warning).collect();
        warnings.into_iter().for_each(|warning| output.warn(warning));
        let mut fill = || {
            for method in &methods {
                for (picture, &target) in pictures.iter().zip(&targets) {
                    let input = choice.input(&subject, picture)?;
                    let said = args.explain(&mut subject, method, &input, target, output)?;
                    report.add(&subject, picture, &input, said)?;
                }
            }
            if !args.sanity {
                return Ok(None);
            }
            let targets: Vec<Target> = targets.iter().copied().flatten().collect();
            let of = (&pictures[..], &targets[..]);
            let seed = args.seed.unwrap_or_default();
            let curves = sanity::curves(&choice, &mut subject, of, &methods, seed, output)?;
            report.add_sanity(&curves)?;
            Ok(Some(curves))
        };
        let curves = fill();
        let counts = [report.count(), methods.len() * pictures.len()];
        if let Some(stopped) = interrupt.ended(&curves, counts) {
            if report.count() > 0 {
                report.finish(&subject, None, output)?;
                folder.finish()?;
            }
            return Err(stopped);
        }
        let document = report.finish(&subject, curves?, output)?;
        let document = Document { folder: Some(folder.path().display().to_string()), ..document };
        folder.finish()?;
        if output.json {
            return output.document(&document);
        }
        for said in &document.explanations {
            output.text(&said.line())?;
        }
        document.sanity.iter().try_for_each(|curves| output.text(&curves.text()))
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
        let chosen = Settings {
            steps: self.steps,
            samples: self.samples,
            level: self.level,
            masks: self.masks,
            size: self.size,
            stride: self.stride,
            seed: self.seed,
        };
        let usual = |name: &String| {
            let method = Method::usual(name, height.min(width));
            method.expect("the parser knows the names").with(&chosen)
        };
        self.methods.0.iter().map(usual).collect()
    }

    /// Names what was set and no method has.
    fn warn_of_idle(&self, methods: &[Method], output: Output) {
        if self.map.is_none() {
            self.explained.warn_of_idle_layer(methods, output);
        }
        let set = [
            ("steps", self.steps.is_some()),
            ("samples", self.samples.is_some()),
            ("level", self.level.is_some()),
            ("masks", self.masks.is_some()),
            ("size", self.size.is_some()),
            ("stride", self.stride.is_some()),
            ("seed", self.seed.is_some() && !self.sanity),
        ];
        for key in set.into_iter().filter_map(|(key, set)| set.then_some(key)) {
            warn_of_idle(key, methods, output);
        }
    }

    fn target(
        &self,
        choice: &Choice,
        subject: &Subject,
        picture: &Picture,
    ) -> Result<Option<Target>> {
        if self.map.is_some() {
            return Ok(None);
        }
        let class = choice.class(subject, picture)?;
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
        input: &[f32],
        target: Option<Target>,
        output: Output,
    ) -> Result<Answer> {
        let layer = subject.layer();
        let explainer = &mut subject.explainer;
        let method = method.clone();
        let Some(of) = target else {
            let map = self.map.expect("without a target there is a map");
            let (channel, signal) = project(explainer, &method, map, input)?;
            let map = Map::magnitude_of(&signal)?;
            let explanation =
                Explanation { map, signal: Some(signal), cells: None, notes: Vec::new() };
            return Ok(Answer { method, target, layer, map: Some(channel), explanation });
        };
        let mut bar = None;
        let name = method.name();
        let mut tick = |done, all| {
            bar.get_or_insert_with(|| Progress::new(output, name, all)).set(done, String::new);
        };
        let explanation = explainer.explain(&method, input, of, &mut tick)?;
        let layer = layer.filter(|_| method.needs_layer());
        Ok(Answer { method, target, layer, map: None, explanation })
    }
}

/// The map that was meant, and its projection.
fn project(
    explainer: &mut Explainer,
    method: &Method,
    map: Channel,
    image: &[f32],
) -> Result<(usize, Tensor)> {
    let layer = explainer.layer().expect("the map was found in a layer");
    let channel = match map {
        Channel::Number(channel) => channel,
        Channel::Strongest => {
            let rule = method.rule().expect("projections have a rule");
            let path = Path::projection(explainer.graph(), layer, rule);
            let projector = explainer.projector(&path)?;
            projector.forward(image)?;
            let activation = projector.activation().expect("a pass went before");
            let plane = activation.data().len() / activation.shape()[1];
            strongest(activation.data()).0 / plane
        }
    };
    let signal = explainer.project(method, layer, Start::Strongest(channel), image)?;
    Ok((channel, signal))
}
