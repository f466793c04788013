//! A model that is explained: the arguments that say which, its explainer, and images as they are prepared for it.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use top5::data::{Limits, Preprocess};
use top5::explain::score::ScoreError;
use top5::explain::signal::strongest;
use top5::explain::{ExplainError, Explainer, Method, Target};
use top5::graph::{Device, Graph, Network, Retain, Weights, counted};
use top5::{Model, Options, softmax};

use crate::args::{ImageArgs, TunedArgs, WeightsArgs, positive};
use crate::exit::Stop;
use crate::inputs;
use crate::interrupt::Interrupt;
use crate::memory::{self, limited_beside};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::source::StoredModel;

/// Which images of which model are explained.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainedArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    #[arg(value_name = "MODEL")]
    model: String,
    /// Image files, folders of images, or - for stdin
    #[arg(required = true, value_name = "IMAGE")]
    inputs: Vec<PathBuf>,
    /// The class: its number, its name, or the one that the network finds most probable
    #[arg(long, value_name = "N|NAME|top", default_value = TOP)]
    pub(crate) class: String,
    /// The layer, by its name in `top5 show`; the last feature map by default
    #[arg(long, value_name = "NAME")]
    pub(crate) layer: Option<String>,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "8", value_parser = positive)]
    pub(crate) batch_size: usize,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    images: ImageArgs,
    #[command(flatten)]
    preprocess: PreprocessArgs,
    #[command(flatten)]
    engine: TunedArgs,
}

impl ExplainedArgs {
    /// Says so where a layer was named and none of the methods looks at one.
    pub(crate) fn warn_of_idle_layer(&self, methods: &[Method], output: Output) {
        if self.layer.is_some() {
            warn_of_idle("layer", methods, output);
        }
    }
}

/// Says so where none of the methods has this setting.
pub(crate) fn warn_of_idle(key: &str, methods: &[Method], output: Output) {
    if let Some(idle) = Method::idle(key, methods) {
        output.warn(&format!("--{key} {idle}"));
    }
}

/// What stands for the most probable class.
const TOP: &str = "top";

/// Which methods explain, with their usual settings.
#[derive(Clone, Debug, Args)]
pub(crate) struct MethodsArgs {
    /// Methods, with their usual settings
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    #[arg(default_value = "gradient-times-input,grad-cam,occlusion,ablation")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Method::NAMES))]
    methods: Vec<String>,
    /// Seed of all that is random
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
}

impl MethodsArgs {
    /// The methods for images of this size.
    pub(crate) fn methods(&self, [_, height, width]: [usize; 3]) -> Vec<Method> {
        let seed = self.seed;
        let usual = |name: &String| match Method::usual(name, height.min(width)) {
            Some(Method::Smoothgrad { samples, level, .. }) => {
                Some(Method::Smoothgrad { samples, level, seed })
            }
            Some(Method::Rise { masks, cells, share, .. }) => {
                Some(Method::Rise { masks, cells, share, seed })
            }
            method => method,
        };
        self.methods.iter().filter_map(usual).collect()
    }
}

/// The arguments, resolved.
pub(crate) struct Choice {
    pub(crate) model: StoredModel,
    limits: Limits,
    options: Options,
    pub(crate) args: ExplainedArgs,
}

/// A model that is open.
pub(crate) struct Subject {
    pub(crate) network: Arc<dyn Network>,
    pub(crate) explainer: Explainer,
    pub(crate) preprocess: Preprocess,
    pub(crate) classes: Vec<String>,
}

/// An image that can be explained, and what the network says of it.
pub(crate) struct Picture {
    pub(crate) file: PathBuf,
    pub(crate) probabilities: Vec<f32>,
    /// The prepared image, if it came from stdin; files are read again.
    once: Option<Vec<f32>>,
}

impl Choice {
    pub(crate) fn resolve(args: ExplainedArgs) -> Result<Self> {
        let model = StoredModel::resolve(&args.model, &args.weights)?;
        let (limits, options) = (args.images.limits(), args.engine.options()?);
        Ok(Self { model, limits, options, args })
    }

    /// What an image file may claim.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Opens the model, with a limit on memory that leaves room for the images of a batch.
    pub(crate) fn open(&self, output: Output) -> Result<Subject> {
        let Model { graph, weights, classes, preprocess } = self.model.open(output)?.inference();
        let preprocess = self.args.preprocess.apply(preprocess)?;
        let batch = self.args.batch_size;
        let beside = memory::of_inputs(batch, graph.input());
        let device = top5::device(&limited_beside(self.options.clone(), beside, &graph))?;
        let network = device.network(&graph, weights, Retain::Tensors)?;
        let layer = self.args.layer.as_deref();
        let explainer = Explainer::new(Arc::clone(&network), layer, batch)?;
        if classes.len() == 1 {
            output.warn(
                "the network has one class, whose probability is always 1: what is measured by it says nothing, what by \
                 the logit does",
            );
        }
        Ok(Subject { network, explainer, preprocess, classes })
    }

    /// The images that were named, each looked at once.
    pub(crate) fn pictures(&self, subject: &mut Subject, output: Output) -> Result<Vec<Picture>> {
        let files = inputs::expand(&self.args.inputs)?;
        files.into_iter().map(|file| self.picture(subject, file, output)).collect()
    }

    fn picture(&self, subject: &mut Subject, file: PathBuf, output: Output) -> Result<Picture> {
        let input = self.prepared(subject, &file)?;
        let logits = subject.explainer.logits(&input).map_err(anyhow::Error::from);
        let culprit = subject.explainer.culprit();
        let logits = self.model.traced(logits, culprit, &self.options, output)?;
        let once = inputs::is_stdin(&file).then_some(input);
        Ok(Picture { file, probabilities: softmax(logits.data()), once })
    }

    /// The picture as the network gets it.
    pub(crate) fn input<'p>(
        &self,
        subject: &Subject,
        picture: &'p Picture,
    ) -> Result<Cow<'p, [f32]>> {
        match &picture.once {
            Some(input) => Ok(Cow::Borrowed(input)),
            None => Ok(Cow::Owned(self.prepared(subject, &picture.file)?)),
        }
    }

    fn prepared(&self, subject: &Subject, file: &std::path::Path) -> Result<Vec<f32>> {
        let image = inputs::read(file, &self.limits)?;
        let mut input = vec![0.0; subject.preprocess.size()];
        subject.preprocess.apply(&image, &mut input);
        Ok(input)
    }

    /// The class that is explained of a picture.
    pub(crate) fn class(&self, subject: &Subject, picture: &Picture) -> Result<usize> {
        subject.class(&self.args.class, "--class", picture)
    }
}

impl Subject {
    /// The same, whose explainer ends what it does when a signal comes.
    pub(crate) fn stopped_by(self, interrupt: &Interrupt) -> Self {
        Self { explainer: self.explainer.stopped_by(interrupt.stop()), ..self }
    }

    /// The network's name.
    pub(crate) fn name(&self) -> &str {
        self.explainer.graph().name()
    }

    /// The name of the layer that methods look at.
    pub(crate) fn layer(&self) -> Option<String> {
        let graph = self.explainer.graph();
        self.explainer.layer().map(|id| graph.node(id).name.clone())
    }

    /// The class that `flag` means.
    pub(crate) fn class(&self, said: &str, flag: &str, picture: &Picture) -> Result<usize> {
        match said {
            TOP => Ok(strongest(&picture.probabilities).0),
            _ => class_named(&self.classes, said, flag),
        }
    }
}

/// Fails where so many maps of this size do not fit into memory at once; `what` is what they are of.
pub(crate) fn check_maps(count: usize, [height, width]: [usize; 2], what: &str) -> Result<()> {
    memory::check(memory::of_inputs(count, [1, height, width]), &format!("comparing {what}"))
}

/// The class of this name, or of this number where none is called so: digits are called after numbers.
pub(crate) fn class_named(classes: &[String], said: &str, flag: &str) -> Result<usize> {
    top5::class_named(classes, said).ok_or_else(|| {
        let low = said.to_lowercase();
        let near = classes.iter().filter(|class| class.to_lowercase().contains(&low));
        let near: Vec<&str> = near.take(5).map(String::as_str).collect();
        let hint = match &near[..] {
            [] => String::new(),
            near => format!(" (nearest: {})", near.join(", ")),
        };
        let message = format!(
            "{flag} {said}: the network has {} classes and none of that name{hint}: expected a name, a number from 0 to {}, \
             or top",
            classes.len(),
            classes.len() - 1
        );
        Stop::BadInput(message).into()
    })
}

/// The map of a method, one value per pixel.
pub(crate) fn map(
    explainer: &mut Explainer,
    method: &Method,
    image: &[f32],
    target: Target,
) -> Result<Vec<f32>, ScoreError> {
    let failed = |error: ExplainError| ScoreError::Explanation(Box::new(error));
    let explained = explainer.explain(method, image, target, &mut |_, _| ());
    Ok(explained.map_err(failed)?.map.values().to_vec())
}

/// The weights that layers get when they are randomised: those that training would begin with.
pub(crate) fn new_weights(graph: &Graph, seed: u64) -> Weights {
    top5::train::initialise(graph, seed)
}

/// A number of images, in words.
pub(crate) fn images(count: usize) -> String {
    counted(count, "image")
}
