//! Builds LeNet, trains it on the embedded digits, evaluates, saves, loads and uses it.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ops::ControlFlow;

use top5::data::{Preprocess, digits};
use top5::eval::evaluate;
use top5::graph::{Device, SessionOptions, TrainingOptions};
use top5::train::{Event, Recipe, Trainer, initialise};
use top5::{Classifier, Model, Options, recipe, zoo};

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let (data, preprocess) = (digits(), Preprocess::digits());
    let graph = zoo::network("lenet")?.graph()?;
    let recipe = Recipe { epochs: 12, ..recipe("lenet", "digits") };
    let (device, batch) = (top5::device(&Options::default())?, recipe.batch_size);
    let weights = initialise(&graph, recipe.seed);
    let mut training = device.training(&graph, &weights, &TrainingOptions::new(batch))?;
    let trainer = Trainer::new(recipe, &data, preprocess.clone());
    let state = trainer.run(training.as_mut(), trainer.begin(weights), None, &mut |event| {
        if let Event::Epoch { row, .. } = event {
            println!("{row:?}");
        }
        Ok(ControlFlow::Continue(()))
    })?;

    let test = data.test.expect("the digits have a test part");
    let network = training.publish()?;
    let mut session = network.session(&graph, &SessionOptions::inference(batch))?;
    let report = evaluate(session.as_mut(), &test, &preprocess, &mut |_| {})?;
    println!("{:.1} % of {} test images", report.top1_percent, report.images);

    let (weights, classes) = (state.weights, test.classes().to_vec());
    let preprocess = Preprocess::drawn_digits();
    let path = std::env::temp_dir().join("top5-digits.safetensors");
    Model { graph, weights, classes, preprocess }.save(&path)?;
    let mut classifier = Classifier::new(Model::load(&path)?, 1, &Options::default())?;
    let sample = test.sample(0)?;
    println!("a {} is taken for {:?}", sample.label, classifier.predict(&sample.image, 1)?);
    Ok(())
}
