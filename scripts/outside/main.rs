//! A program outside the workspace that uses top5 as a library: what `cargo xtask outside` builds and runs, in a folder of its
//! own. Two threads classify digits with one model.

use std::error::Error;
use std::thread;

use top5::graph::EngineError;
use top5::{Classifier, Model, Options, data};

/// Digits that each thread classifies.
const SHARE: usize = 100;
/// Images that are classified at once.
const BATCH: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let model = Model::lenet_digits()?;
    let test = data::digits().test.ok_or("the digits have no test part")?;
    let samples: Result<Vec<_>, _> = (0..2 * SHARE).map(|index| test.sample(index)).collect();
    let samples = samples?;
    let count = |samples: &[data::Sample]| -> Result<usize, EngineError> {
        let mut classifier = Classifier::new(&model, BATCH, &Options::default())?;
        let images: Vec<_> = samples.iter().map(|sample| &sample.image).collect();
        let predictions = classifier.predict_batch(&images, 1)?;
        let pairs = predictions.iter().zip(samples);
        Ok(pairs.filter(|(predicted, sample)| predicted[0].label == sample.label).count())
    };
    let right = thread::scope(|scope| {
        let halves: Vec<_> = samples.chunks(SHARE).map(|half| scope.spawn(|| count(half))).collect();
        halves.into_iter().map(|half| half.join().expect("no thread panics")).sum::<Result<usize, _>>()
    })?;
    println!("{right} of {} digits are right", samples.len());
    if 10 * right < 9 * samples.len() {
        return Err("that is too few".into());
    }
    Ok(())
}
