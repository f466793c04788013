//! Whole runs of 50 steps are PyTorch's: `whole_runs.json`, which `scripts/run_vectors.py` writes. What a run is made of is
//! compared elsewhere, piece by piece; here all of it works together.

#[path = "common/patterns.rs"]
mod patterns;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Deserialize;
use top5_cpu::{CpuDevice, Options};
use top5_graph::TrainingOptions;
use top5_train::{Event, FineTuning, Recipe, initialise};

#[derive(Deserialize)]
struct Case {
    name: String,
    /// In TOML.
    recipe: String,
    /// Of each step, before its update.
    losses: Vec<f64>,
    /// What is kept at the end.
    model: BTreeMap<String, Vec<f64>>,
}

#[test]
fn losses_and_weights_are_those_of_pytorch() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("whole_runs.json")).unwrap();
    assert_eq!(cases.len(), 14);
    let device =
        CpuDevice::new(&Options { threads: Some(2), exact: true, ..Options::default() }).unwrap();
    for Case { name, recipe, losses, model } in cases {
        let recipe = Recipe::from_toml(&recipe).unwrap();
        let trainer = patterns::trainer(&recipe);
        let weights = initialise(&patterns::graph(), recipe.seed);
        // Frozen batch normalisation makes it another network.
        let tuning = FineTuning::new(&patterns::graph(), &recipe).unwrap();
        let options = TrainingOptions::new(trainer.batch());
        let mut training =
            device.cpu_training(tuning.graph(), &tuning.inward(&weights), &options).unwrap();
        let mut got = Vec::new();
        let mut observe = |event: Event<'_>| {
            if let Event::Step(step) = event {
                got.push(step.loss);
            }
            Ok(ControlFlow::Continue(()))
        };
        let end = trainer.run(&mut training, trainer.begin(weights), None, &mut observe).unwrap();
        assert_eq!((got.len(), losses.len()), (50, 50), "{name}");
        for (step, (got, want)) in (1..).zip(got.iter().zip(&losses)) {
            assert!((got - want).abs() <= 1e-5, "{name}, step {step}: {got}, not {want}");
        }
        let kept = end.model();
        assert_eq!(kept.len(), model.len(), "{name}");
        for (tensor, want) in model {
            let got = kept.tensor(&tensor).unwrap().data();
            assert_eq!(got.len(), want.len(), "{name}: {tensor}");
            for (&got, want) in got.iter().zip(want) {
                let close = (f64::from(got) - want).abs() <= 1e-5 * want.abs().max(1.0);
                assert!(close, "{name}: {tensor} is {got}, not {want}");
            }
        }
    }
}
