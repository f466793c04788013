//! `top5 predict`: what images show. A bad file is reported, the others go on, and the exit code tells.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use top5::data::digits::is_drawing;
use top5::data::folder::images_below;
use top5::data::{Image, Limits};
use top5::graph::counted;
use top5::{Classifier, Model, Options, Prediction, WeightFiles};

use crate::args::{ImageArgs, TunedArgs, WeightsArgs, positive};
use crate::exit::{self, Stop};
use crate::inputs;
use crate::memory::{self, limited_beside};
use crate::output::Output;
use crate::preprocess::PreprocessArgs;
use crate::printable;
use crate::source::StoredModel;

pub(crate) const EXAMPLES: &str = "\
Examples:
  top5 predict digit.png                              with the embedded LeNet
  top5 predict photos/ scan.jpg --model runs/mine --top 3
  top5 predict - --json < digit.png";

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Image files, folders of images, or - for stdin
    #[arg(required = true, value_name = "FILE|FOLDER|-")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// A run's folder, a weights file, a timm folder or a network's name; the embedded LeNet by default
    #[arg(long, short, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Classes per image
    #[arg(long, short = 'k', visible_alias = "topk", value_name = "K", default_value = "5")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) top: u16,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "1", value_parser = positive)]
    pub(crate) batch_size: usize,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

/// The model that is used unless another is named.
const DEFAULT_MODEL: &str = "lenet-digits";

/// The document of `--json`.
#[derive(Serialize)]
struct Predictions {
    network: String,
    preprocess: String,
    results: Vec<Classified>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Classified {
    file: String,
    predictions: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    label: u32,
    class: String,
    probability: f32,
}

#[derive(Serialize)]
struct Failed {
    file: String,
    error: String,
}

/// Images for which weights are not kept in their fastest form.
const FEW: usize = 4;

/// The command, resolved.
pub(crate) struct Task {
    /// Files, folders and `-`.
    inputs: Vec<PathBuf>,
    limits: Limits,
    model: StoredModel,
    /// Classes per image.
    top: usize,
    /// Images at once.
    batch: usize,
    preprocess: PreprocessArgs,
    options: Options,
}

impl Task {
    pub(crate) fn resolve(args: PredictArgs) -> Result<Self> {
        let name = match &args.model {
            Some(name) => name,
            None => {
                check_default(&args)?;
                DEFAULT_MODEL
            }
        };
        Ok(Self {
            inputs: args.inputs,
            limits: args.images.limits(),
            model: StoredModel::resolve(name, &args.weights)?,
            top: usize::from(args.top),
            batch: args.batch_size,
            preprocess: args.preprocess,
            options: args.engine.options()?,
        })
    }

    pub(crate) fn run(self, output: Output) -> Result<()> {
        let mut model = self.model.open(output)?;
        model.preprocess = self.preprocess.apply(model.preprocess)?;
        let files = inputs::expand(&self.inputs)?;
        let count = files.len();
        let inputs = memory::of_inputs(self.batch, model.graph.input());
        // The work of a few passes is not worth the memory of what makes many of them faster.
        let options =
            Options { compact: count <= FEW, ..limited_beside(self.options, inputs, &model.graph) };
        let device = top5::device(&options)?;
        let mut classifier = Classifier::on(&device, model, self.batch)?;
        let network = classifier.graph().name().to_owned();
        let preprocess = classifier.preprocess().describe();
        output.detail(&format!("{network}: {preprocess}"));

        let (mut results, mut failed, mut code) = (Vec::new(), Vec::new(), None);
        for files in files.chunks(self.batch) {
            let images: Vec<_> =
                files.iter().map(|file| inputs::read(file, &self.limits)).collect();
            if classifier.preprocess().drawn_digits {
                warn_of_photographs(files, &images, output);
            }
            let answers = predict(&mut classifier, files, images, self.top);
            if !classifier.culprit().is_empty() {
                let Model { graph, weights, .. } = self.model.open(output)?.inference();
                return Err(top5::trace(&device, &graph, weights, classifier.culprit()).into());
            }
            for (file, predicted) in answers {
                let name = file.display().to_string();
                match predicted {
                    Ok(predictions) if output.json => results.push(Classified {
                        file: name,
                        predictions: predictions.into_iter().map(Class::from).collect(),
                    }),
                    Ok(predictions) => output.text(&line(&name, &predictions))?,
                    Err(error) if count == 1 && !output.json => return Err(error),
                    Err(error) => {
                        let (found, error) = (exit::code(&error), exit::describe(&error));
                        output.warn(&error);
                        failed.push(Failed { file: name, error });
                        code = code.or(Some(found));
                    }
                }
            }
        }
        let bad = failed.len();
        if output.json {
            output.document(&Predictions { network, preprocess, results, failed })?;
        }
        if bad > 0 {
            let message =
                format!("{bad} of {} could not be used, see above", counted(count, "image"));
            let unreadable = code == Some(exit::RESOURCE);
            let stop = if unreadable { Stop::Resource(message) } else { Stop::BadInput(message) };
            return Err(stop.into());
        }
        Ok(())
    }
}

/// Fails where the arguments tell of another model than the default one, which they do not name.
fn check_default(args: &PredictArgs) -> Result<()> {
    let taken = args.inputs.iter().find_map(|input| {
        let name = input.to_str().filter(|_| !input.exists())?;
        top5::zoo::find(name).is_ok().then_some(name)
    });
    let stored = args.inputs.iter().find(|input| holds_weights(input));
    let message = match (taken, &args.weights.weights) {
        (Some(name), _) => format!("{name} is a network, no image: write --model {name}"),
        (None, None) if let Some(path) = stored => {
            format!("{0} holds weights, no image: write --model {0}", path.display())
        }
        (None, Some(weights)) => format!(
            "--weights {weights} needs the name of its network, as in --model resnet18; a run's or timm's folder, \
             and a file that top5 wrote, is opened by --model alone"
        ),
        (None, None) => return Ok(()),
    };
    Err(Stop::Usage(message).into())
}

/// Whether a path is called as weights are, or is a folder of a model and without images.
fn holds_weights(path: &Path) -> bool {
    let Ok(WeightFiles { weights, .. }) = WeightFiles::at(path) else { return false };
    let name = weights.to_string_lossy().to_lowercase();
    weights.is_file()
        && WeightFiles::ENDS.iter().any(|end| name.ends_with(end))
        && (weights == path || images_below(path).is_ok_and(|images| images.is_empty()))
}

/// What each file shows, or why that cannot be said.
fn predict<'f>(
    classifier: &mut Classifier,
    files: &'f [PathBuf],
    images: Vec<Result<Image>>,
    top: usize,
) -> Vec<(&'f Path, Result<Vec<Prediction>>)> {
    let readable: Vec<&Image> = images.iter().filter_map(|image| image.as_ref().ok()).collect();
    let (mut predictions, failed) = match classifier.predict_batch(&readable, top) {
        Ok(predictions) => (predictions.into_iter(), None),
        Err(error) => (Vec::new().into_iter(), Some(error)),
    };
    let mut next = || match (predictions.next(), &failed) {
        (Some(predictions), _) => Ok(predictions),
        (None, Some(error)) => Err(error.clone().into()),
        (None, None) => unreachable!("every readable image is classified"),
    };
    let answers = images.into_iter().map(|image| image.and_then(|_| next()));
    files.iter().map(PathBuf::as_path).zip(answers).collect()
}

/// A network of digits has no other answer, so that it must be said before.
fn warn_of_photographs(files: &[PathBuf], images: &[Result<Image>], output: Output) {
    for (file, image) in files.iter().zip(images) {
        if image.as_ref().is_ok_and(|image| !is_drawing(image)) {
            output.warn(&format!(
                "{} does not look like a drawn digit, and the network knows nothing else: --model names another",
                file.display()
            ));
        }
    }
}

impl From<Prediction> for Class {
    fn from(Prediction { label, class, probability }: Prediction) -> Self {
        Self { label, class, probability }
    }
}

/// `digit.png: 7 (98.1 %), 1 (1.2 %)`.
fn line(file: &str, predictions: &[Prediction]) -> String {
    let class =
        |p: &Prediction| format!("{} ({:.1} %)", printable::name(&p.class), 100.0 * p.probability);
    let classes: Vec<String> = predictions.iter().map(class).collect();
    format!("{}: {}\n", printable::path(file), classes.join(", "))
}
