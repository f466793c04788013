//! Every recipe of the program runs for two epochs. A sample of them does so with its own network, the others with a small one
//! in its place, since a step of VGG's takes a minute of a test's time; `TOP5_EXHAUSTIVE` runs each with its own.

use std::ops::ControlFlow;
use std::sync::Arc;

use top5::data::{Dataset, MemoryDataset, Splits};
use top5::graph::random::Stream;
use top5::graph::{Device, TrainingOptions};
use top5::train::{FineTuning, Recipe, Schedule, Trainer, initialise_by};
use top5::zoo::{self, Settings};
use top5::{Options, preprocessing, recipes};

const CLASSES: usize = 3;

/// Coloured squares with noise, dark, medium and bright.
fn images(samples: usize, side: usize) -> Arc<dyn Dataset> {
    let mut stream = Stream::new(samples as u64, 0);
    let labels: Vec<u32> = (0..samples).map(|i| (i % CLASSES) as u32).collect();
    let size = 3 * side * side;
    let mut pixels = Vec::with_capacity(samples * size);
    for &label in &labels {
        pixels.extend((0..size).map(|_| label as u8 * 70 + stream.below(100) as u8));
    }
    let classes = ["dark", "medium", "bright"].map(str::to_owned).to_vec();
    Arc::new(MemoryDataset::new("squares", classes, [3, side, side], pixels, labels))
}

/// Two epochs of the recipe with this network, whose input has this side.
fn run(name: &str, recipe: Recipe, network: &str, side: usize) {
    let (train, validation) = (images(12, side + 8), images(6, side + 8));
    let splits =
        Splits { train, validation, test: None, skipped: Vec::new(), unused: Arc::default() };
    let network = zoo::network(network).unwrap();
    let input = [network.input[0], side, side];
    let settings = Settings { classes: CLASSES, input, ..network.settings() };
    let graph =
        network.with(settings).or_else(|_| network.with(Settings { auxiliary: false, ..settings }));
    let graph = graph.unwrap_or_else(|error| panic!("{name}: {error}"));
    let batch_size = recipe.batch_size.min(4);
    let short = recipe.with(&[("epochs", "2".to_owned()), ("batch_size", batch_size.to_string())]);
    // A rate for batches of 1,024 images is none for 4.
    let short = Recipe { lr: 0.001, schedule: at_rate(&recipe.schedule), ..short.unwrap() };
    short.check().unwrap_or_else(|error| panic!("{name}: {error}"));
    let device = top5::device(&Options::default()).unwrap();
    let tuning = FineTuning::new(&graph, &short).unwrap();
    let weights = initialise_by(short.init, &graph, short.seed);
    let trainer = Trainer::new(short, &splits, preprocessing(network, input));
    let trainer = trainer.fine_tuning(tuning);
    let options = TrainingOptions::new(batch_size);
    let mut training = device.training(&graph, &weights, &options).unwrap();
    let state = trainer
        .run(training.as_mut(), trainer.begin(weights), None, &mut |_| {
            Ok(ControlFlow::Continue(()))
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(state.rows.len(), 2, "{name}");
    assert!(state.rows.iter().all(|row| row.train_loss.is_finite()), "{name}: {:?}", state.rows);
}

/// The schedule without the rate that it does not fall below, which is of the recipe's own rate.
fn at_rate(schedule: &Schedule) -> Schedule {
    let mut schedule = schedule.clone();
    if let Schedule::Plateau(plateau) = &mut schedule {
        plateau.min = 0.0;
    }
    schedule
}

#[test]
fn every_recipe_runs_for_two_epochs_exhaustive() {
    let exhaustive = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let mut own = 0;
    for (name, recipe) in recipes() {
        let network = zoo::network(&recipe.network).unwrap();
        if exhaustive || network.params < 1_000_000 {
            let [_, height, _] = network.input;
            run(
                name,
                recipe.clone(),
                network.name,
                if exhaustive { height } else { height.min(32) },
            );
            own += 1;
        } else {
            run(name, recipe.clone(), "resnet20_cifar", 16);
        }
    }
    assert!(own >= 4, "{own}");
}
