//! A model that is explained: its network with an explainer, and images as they are prepared for it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use top5::data::Limits;
use top5::explain::score::ScoreError;
use top5::explain::{ExplainError, Explainer, Method, Target};
use top5::graph::{Device, Graph, Network, Retain, Weights};
use top5::{Model, Options};

use crate::args::{ImageArgs, TunedArgs, WeightsArgs, positive};
use crate::exit::Stop;
use crate::inputs;
use crate::memory::{self, limited_beside};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::source::StoredModel;

/// Which methods explain which images of which model.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainedArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    pub(crate) model: String,
    /// Image files, folders of images, or - for stdin
    #[arg(required = true, value_name = "FILE|FOLDER|-")]
    pub(crate) inputs: Vec<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Methods, with their usual settings
    #[arg(long, value_name = "METHOD,…", value_delimiter = ',')]
    #[arg(default_value = "gradient-times-input,grad-cam,occlusion,ablation")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Method::NAMES))]
    pub(crate) methods: Vec<String>,
    /// The layer of methods that look at one, as `top5 show` names it; the network's usual one by default
    #[arg(long, value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// The class that is explained, by its number; the predicted one by default
    #[arg(long, value_name = "N")]
    pub(crate) class: Option<usize>,
    /// Seed of all that is random
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "16", value_parser = positive)]
    pub(crate) batch_size: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

/// The same, resolved.
pub(crate) struct Choice {
    model: StoredModel,
    limits: Limits,
    options: Options,
    pub(crate) args: ExplainedArgs,
}

/// A model, opened, with its explainer.
pub(crate) struct Explained {
    pub(crate) model: Model,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) explainer: Explainer,
    pub(crate) methods: Vec<Method>,
    /// Names of the images, and the images prepared.
    pub(crate) images: Vec<(String, Vec<f32>)>,
}

impl Choice {
    pub(crate) fn resolve(args: ExplainedArgs) -> Result<Self> {
        let model = StoredModel::resolve(&args.model, &args.weights)?;
        let (limits, options) = (args.images.limits(), args.engine.options()?);
        Ok(Self { model, limits, options, args })
    }

    pub(crate) fn open(&self, output: Output) -> Result<Explained> {
        let args = &self.args;
        let mut model = self.model.open(output)?.inference();
        model.preprocess = args.preprocess.apply(model.preprocess)?;
        let classes = model.graph.classes();
        if let Some(class) = args.class.filter(|&class| class >= classes) {
            let message = format!(
                "--class {class}: {} has {classes} classes, counted from 0",
                model.graph.name()
            );
            return Err(Stop::BadInput(message).into());
        }
        let [_, height, width] = model.graph.input();
        let usual = |name: &String| match Method::usual(name, height.min(width)) {
            Some(Method::Smoothgrad { samples, level, .. }) => {
                Some(Method::Smoothgrad { samples, level, seed: args.seed })
            }
            Some(Method::Rise { masks, cells, share, .. }) => {
                Some(Method::Rise { masks, cells, share, seed: args.seed })
            }
            method => method,
        };
        let methods = args.methods.iter().filter_map(usual).collect();
        let files = inputs::expand(&args.inputs)?;
        check_images(files.len(), &model.graph)?;
        let prepared = |file: &std::path::PathBuf| -> Result<(String, Vec<f32>)> {
            let image = inputs::read(Path::new(file), &self.limits)?;
            let mut prepared = vec![0.0; model.preprocess.size()];
            model.preprocess.apply(&image, &mut prepared);
            Ok((file.display().to_string(), prepared))
        };
        let images = files.iter().map(prepared).collect::<Result<_>>()?;
        let (weights, layer) = (model.weights.clone(), args.layer.as_deref());
        let (network, explainer) =
            explainer(&model.graph, weights, self.options.clone(), layer, args.batch_size)?;
        Ok(Explained { model, network, explainer, methods, images })
    }
}

/// An explainer that looks at `layer`, with a limit on memory that leaves room for the images of a batch.
pub(crate) fn explainer(
    graph: &Graph,
    weights: Weights,
    options: Options,
    layer: Option<&str>,
    batch: usize,
) -> Result<(Arc<dyn Network>, Explainer)> {
    let beside = memory::of_inputs(batch, graph.input());
    let device = top5::device(&limited_beside(options, beside, graph))?;
    let network = device.network(graph, weights, Retain::Tensors)?;
    let explainer = Explainer::new(Arc::clone(&network), layer, batch)?;
    Ok((network, explainer))
}

/// Fails where so many prepared images do not fit into memory.
pub(crate) fn check_images(count: usize, graph: &Graph) -> Result<()> {
    memory::check(memory::of_inputs(count, graph.input()), &format!("{count} prepared images"))
}

/// The class of this name, or of this number where none is called so: digits are called after numbers.
pub(crate) fn class_named(classes: &[String], said: &str) -> Option<usize> {
    let numbered = || said.parse().ok().filter(|&number| number < classes.len());
    classes.iter().position(|class| class == said).or_else(numbered)
}

/// The map of a method, one value per pixel.
pub(crate) fn map(
    explainer: &mut Explainer,
    method: &Method,
    image: &[f32],
    class: usize,
) -> Result<Vec<f32>, ScoreError> {
    let failed = |error: ExplainError| ScoreError::Explanation(Box::new(error));
    let explained = explainer.explain(method, image, Target::class(class), &mut |_, _| ());
    Ok(explained.map_err(failed)?.map.values().to_vec())
}

/// The weights that layers get when they are randomised: those that training would begin with.
pub(crate) fn new_weights(graph: &Graph, seed: u64) -> Weights {
    top5::train::initialise(graph, seed)
}

/// A number of images, in words.
pub(crate) fn images(count: usize) -> String {
    format!("{count} image{}", if count == 1 { "" } else { "s" })
}
