//! `top5 predict`: what images show. A bad file is reported, the others go on, and the exit code tells.

use anyhow::Result;
use serde::Serialize;
use top5::{Classifier, Options, Prediction};

use crate::args::PredictArgs;
use crate::exit::{self, Stop};
use crate::inputs;
use crate::output::Output;

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

/// Runs the command.
pub(crate) fn run(args: &PredictArgs, output: Output) -> Result<()> {
    let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
    let mut model = args.weights.open(name)?;
    model.preprocess = args.preprocess.apply(model.preprocess)?;
    let files = inputs::expand(&args.inputs)?;
    // The work of a few passes is not worth the memory of what makes many of them faster.
    let options = Options { compact: files.len() <= FEW, ..args.engine.options()? };
    let mut classifier = Classifier::new(model, 1, &options)?;
    let network = classifier.graph().name().to_owned();
    let preprocess = classifier.preprocess().describe();
    output.detail(&format!("{network}: {preprocess}"));

    let (mut results, mut failed, mut code) = (Vec::new(), Vec::new(), None);
    for file in &files {
        let name = file.display().to_string();
        let predicted = inputs::read(file)
            .and_then(|image| Ok(classifier.predict(&image, usize::from(args.top))?));
        match predicted {
            Ok(predictions) if output.json => results.push(Classified {
                file: name,
                predictions: predictions.into_iter().map(Class::from).collect(),
            }),
            Ok(predictions) => output.text(&line(&name, &predictions))?,
            Err(error) if files.len() == 1 && !output.json => return Err(error),
            Err(error) => {
                let (found, error) = (exit::code(&error), exit::describe(&error));
                output.warn(&error);
                failed.push(Failed { file: name, error });
                code = code.or(Some(found));
            }
        }
    }
    let bad = failed.len();
    if output.json {
        output.document(&Predictions { network, preprocess, results, failed })?;
    }
    if bad > 0 {
        let message = format!("{bad} of {} images could not be used, see above", files.len());
        let unreadable = code == Some(exit::RESOURCE);
        let stop = if unreadable { Stop::Resource(message) } else { Stop::BadInput(message) };
        return Err(stop.into());
    }
    Ok(())
}

impl From<Prediction> for Class {
    fn from(Prediction { label, class, probability }: Prediction) -> Self {
        Self { label, class, probability }
    }
}

/// `digit.png: 7 (98.1 %), 1 (1.2 %)`.
fn line(file: &str, predictions: &[Prediction]) -> String {
    let class = |p: &Prediction| format!("{} ({:.1} %)", p.class, 100.0 * p.probability);
    let classes: Vec<String> = predictions.iter().map(class).collect();
    format!("{file}: {}\n", classes.join(", "))
}
