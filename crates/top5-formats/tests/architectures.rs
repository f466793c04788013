//! Files that almost fit, for every registered network: what is wrong is listed by name, with the nearest names.
//!
//! The gate goes through the smaller networks, `cargo xtask exhaustive` through all.

use std::collections::BTreeMap;
use top5_formats::{fit, non_finite, read_weights, safetensors};
use top5_graph::{Graph, Tensor, Weights};
use top5_zoo::{Settings, networks};

/// Parameters of the largest network that the gate goes through.
const GATE: u64 = 3_000_000;

fn zeros(graph: &Graph) -> Weights {
    graph.params().map(|(name, param)| (name, Tensor::zeros(param.shape.clone()))).collect()
}

/// As after a way through a file.
fn through_file(weights: &Weights) -> Weights {
    read_weights(&safetensors::write(weights, &BTreeMap::new())).unwrap().weights
}

/// The name of the first tensor with another shape when its dimensions are reversed.
fn first_oblong(weights: &Weights) -> String {
    let oblong = |shape: &[usize]| !shape.iter().eq(shape.iter().rev());
    let found = weights.iter().find(|(_, tensor)| oblong(tensor.shape()));
    found.expect("some tensor is no cube").0.to_owned()
}

#[test]
fn exhaustive_files_that_almost_fit_every_network() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let mut checked = 0;
    for network in networks().filter(|network| all || network.params <= GATE) {
        let graph = network.graph().unwrap();
        let name = graph.name();
        let whole = zeros(&graph);
        assert_eq!(fit(through_file(&whole), &graph).as_ref(), Ok(&whole), "{name}");

        let mut transposed = whole.clone();
        let victim = first_oblong(&transposed);
        let shape: Vec<usize> =
            whole.tensor(&victim).unwrap().shape().iter().rev().copied().collect();
        transposed.insert(&*victim, Tensor::zeros(shape.clone()));
        let error = fit(through_file(&transposed), &graph).unwrap_err();
        assert_eq!((error.mismatched.len(), error.missing.len()), (1, 0), "{name}: {error}");
        assert_eq!(
            (&error.mismatched[0].name, &error.mismatched[0].got),
            (&victim, &shape),
            "{name}"
        );

        let settings = Settings { classes: network.classes + 1, ..network.settings() };
        let other = network.with(settings).unwrap();
        let error = fit(whole.clone(), &other).unwrap_err();
        let head = graph.logits().param_name(&graph.logits().spec.params[0]);
        assert!(error.mismatched.iter().any(|mismatch| mismatch.name == head), "{name}: {error}");
        assert!(error.missing.is_empty() && error.unexpected.is_empty(), "{name}: {error}");

        let mut renamed = whole.clone();
        let tensor = renamed.remove(&victim).unwrap();
        let error = fit(through_file(&renamed), &graph).unwrap_err();
        assert_eq!((&error.missing, error.unexpected.len()), (&vec![victim.clone()], 0), "{name}");
        renamed.insert(format!("{victim}s"), tensor);
        let error = fit(through_file(&renamed), &graph).unwrap_err();
        assert_eq!(error.unexpected, [format!("{victim}s")], "{name}");
        assert_eq!(error.nearest(&victim), Some(format!("{victim}s").as_str()), "{name}");
        assert!(error.to_string().contains(&format!("nearest: {victim}s")), "{name}: {error}");

        let mut extra = whole.clone();
        extra.insert("one.too.many", Tensor::zeros([1]));
        let error = fit(through_file(&extra), &graph).unwrap_err();
        assert_eq!(error.unexpected, ["one.too.many"], "{name}");

        let mut nan = whole;
        let data = nan.tensor_mut(&victim).unwrap().data_mut();
        (data[0], data[1]) = (f32::NAN, f32::NEG_INFINITY);
        let fitted = fit(through_file(&nan), &graph).unwrap();
        assert_eq!(non_finite(&fitted), [(victim.as_str(), 2)], "{name}");
        checked += 1;
    }
    assert!(checked >= 6, "{checked} networks");
}
