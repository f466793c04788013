//! A program outside the workspace that uses top5 as a library: what `cargo xtask outside` builds and runs, in a folder of its
//! own. Two threads classify digits with one network, whose weights they share.

use std::error::Error;
use std::thread;

use top5::data::{self, Sample};
use top5::graph::EngineError;
use top5::{Classifier, Model, Options};

/// Digits that each thread classifies.
const SHARE: usize = 100;
/// Images that are classified at once.
const BATCH: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let test = data::digits().test.ok_or("the digits have no test part")?;
    let samples: Result<Vec<_>, _> = (0..2 * SHARE).map(|index| test.sample(index)).collect();
    let samples = samples?;
    let (first, second) = samples.split_at(SHARE);
    let one = Classifier::new(Model::lenet_digits()?, BATCH, &Options::default())?;
    let two = one.share()?;
    let right = thread::scope(|scope| {
        let there = scope.spawn(|| count(two, second));
        let here = count(one, first)?;
        Ok::<_, EngineError>(here + there.join().expect("no thread panics")?)
    })?;
    println!("{right} of {} digits are right", samples.len());
    if 10 * right < 9 * samples.len() {
        return Err("that is too few".into());
    }
    Ok(())
}

/// How many of the samples are classified right.
fn count(mut classifier: Classifier, samples: &[Sample]) -> Result<usize, EngineError> {
    let images: Vec<_> = samples.iter().map(|sample| &sample.image).collect();
    let predictions = classifier.predict_batch(&images, 1)?;
    let pairs = predictions.iter().zip(samples);
    Ok(pairs.filter(|(predicted, sample)| predicted[0].label == sample.label).count())
}
