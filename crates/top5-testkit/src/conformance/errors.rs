//! Wrong input, NaN and stop flags: what must be refused, what must show, and what must change nothing.

use super::report::{Report, all_identical};
use super::{Make, Tolerance};
use crate::oracle;
use top5_graph::{
    Bucket, Device, EngineError, Graph, Loss, NodeId, Optimizer, Purpose, Reducer, Retain, Rule,
    SessionOptions, Sgd, Statistics, StepOptions, Stop, Targets, Tensor, TrainingOptions, Update,
    Weights, k, net,
};

pub(super) fn check(make: &Make<'_>, tolerance: Tolerance) -> Vec<String> {
    let device = make();
    [
        check_sessions(device.as_ref(), tolerance),
        check_training(device.as_ref(), tolerance),
        check_stop(device.as_ref(), tolerance),
        check_nan(device.as_ref(), tolerance),
    ]
    .concat()
}

/// The tensors with one missing, one too many, and one of another shape.
pub(super) fn damaged(weights: &Weights) -> Vec<Weights> {
    let Some(first) = weights.iter().next().map(|(name, _)| name.to_owned()) else {
        return Vec::new();
    };
    let damaged = |damage: &dyn Fn(&mut Weights)| {
        let mut weights = weights.clone();
        damage(&mut weights);
        weights
    };
    vec![
        damaged(&|weights| drop(weights.remove(&first))),
        damaged(&|weights| drop(weights.insert("no layer's", Tensor::zeros([1])))),
        damaged(&|weights| drop(weights.insert(first.as_str(), Tensor::zeros([1, 2, 3, 4, 5])))),
    ]
}

fn graph() -> Graph {
    let graph = net("errors", [2, 3, 3], |x| {
        let x = x.conv_bn(4, 2).relu().conv_bn(5, 1).relu();
        x.flatten().dropout(0.5).linear(6).relu().linear(3)
    });
    graph.unwrap_or_else(|error| panic!("{error}"))
}

const WRONG: [usize; 7] = [0, 1, 17, 19, 35, 37, 54];

fn check_sessions(device: &dyn Device, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("errors of sessions", tolerance);
    let graph = graph();
    for wrong in damaged(&oracle::weights_for(&graph)) {
        report.refused("wrong weights", device.network(&graph, wrong, Retain::Nothing), |error| {
            matches!(error, EngineError::Weights(_))
        });
    }
    let network = device.network(&graph, oracle::weights_for(&graph), Retain::Tensors);
    let Some(network) = report.ok("network", network) else { return report.failures };
    let other = net("other", [2, 3, 3], |x| x.flatten().linear(3));
    let other = other.unwrap_or_else(|error| panic!("{error}"));
    let inference = SessionOptions::inference(2);
    report.refused("a form of another network", network.session(&other, &inference), |error| {
        matches!(error, EngineError::Form { .. })
    });
    let first = graph.nodes()[0].id;
    for purpose in [
        Purpose::training(),
        Purpose { statistics: Statistics::Batch, ..Purpose::inference() },
        Purpose { dropout: true, ..Purpose::inference() },
    ] {
        let options = SessionOptions { purpose, ..inference.clone() };
        report.refused("a session for training", network.session(&graph, &options), |error| {
            matches!(error, EngineError::Purpose { .. })
        });
    }
    let kept = SessionOptions { keep: vec![first, node_beyond()], ..inference.clone() };
    report.refused("a node of another graph", network.session(&graph, &kept), is_node);
    let images = oracle::image("input", &[3, 2, 3, 3]);
    let Some(mut session) = report.ok("session", network.session(&graph, &inference)) else {
        return report.failures;
    };
    let good = &images.data()[..36];
    let before = session.forward(good);
    for len in WRONG {
        let forward = session.forward(&images.data()[..len]);
        report.refused(
            &format!("{len} values of images of 18"),
            forward,
            |error| matches!(error, EngineError::Images { got, .. } if *got == len),
        );
    }
    let seed = Tensor::zeros([2, 3]);
    report.refused("backward without a purpose", session.backward(&seed), is_purpose);
    report.refused("switches without a purpose", session.switches(first), is_purpose);
    report.require(before == session.forward(good), "an error changes what forward computes");
    report.failures
}

/// A node that the graph of this file lacks.
fn node_beyond() -> NodeId {
    let larger = net("larger", [2, 3, 3], |x| (0..20).fold(x, |x, _| x.relu()));
    larger.unwrap_or_else(|error| panic!("{error}")).logits().id
}

fn is_node(error: &EngineError) -> bool {
    matches!(error, EngineError::Node { .. })
}

fn is_purpose(error: &EngineError) -> bool {
    matches!(error, EngineError::Purpose { .. })
}

/// Of sessions with a backward pass from a node.
pub(super) fn check_signals(device: &dyn Device, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("errors of signals", tolerance);
    let graph = graph();
    let network = device.network(&graph, oracle::weights_for(&graph), Retain::Tensors);
    let Some(network) = report.ok("network", network) else { return report.failures };
    let (first, logits) = (graph.nodes()[0].id, graph.logits().id);
    let signals = |from, to| SessionOptions {
        purpose: Purpose::explanation(from, vec![to], Rule::gradient()),
        ..SessionOptions::inference(2)
    };
    for options in [signals(node_beyond(), first), signals(first, node_beyond())] {
        report.refused("a node of another graph", network.session(&graph, &options), is_node);
    }
    let session = network.session(&graph, &signals(logits, first));
    let Some(mut session) = report.ok("session", session) else { return report.failures };
    let images = oracle::image("input", &[2, 2, 3, 3]);
    let seed = Tensor::zeros([2, 3]);
    report.refused("backward before forward", session.backward(&seed), is_purpose);
    let before = session.forward(images.data());
    for shape in [&[2, 4][..], &[1, 3], &[3, 3], &[6]] {
        let signals = session.backward(&Tensor::zeros(shape));
        report.refused(
            &format!("a seed of {shape:?}"),
            signals,
            |error| matches!(error, EngineError::Seed { expected, .. } if *expected == [2, 3]),
        );
    }
    report.refused("switches of a linear layer", session.switches(logits), |error| {
        matches!(error, EngineError::Unsupported { .. })
    });
    report.refused("switches of no node", session.switches(node_beyond()), is_node);
    report.ok("backward", session.backward(&seed));
    let same = before == session.forward(images.data());
    report.require(same, "an error changes what forward computes");
    report.failures
}

fn check_training(device: &dyn Device, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("errors of training", tolerance);
    let (graph, weights) = (graph(), oracle::weights_for(&graph()));
    let options = TrainingOptions::new(2);
    let is_weights = |error: &EngineError| matches!(error, EngineError::Weights(_));
    for wrong in damaged(&weights) {
        report.refused("wrong weights", device.training(&graph, &wrong, &options), is_weights);
    }
    let Some(mut training) = report.ok("training", device.training(&graph, &weights, &options))
    else {
        return report.failures;
    };
    let images = oracle::image("input", &[3, 2, 3, 3]);
    let good = &images.data()[..36];
    let step = StepOptions::new(0);
    for len in WRONG {
        let wrong = &images.data()[..len];
        let result = training.gradients(wrong, Targets::Classes(&[0, 1]), &step, None);
        report.refused(
            &format!("{len} values of images of 18"),
            result,
            |error| matches!(error, EngineError::Images { got, .. } if *got == len),
        );
    }
    for count in [0, 1, 3] {
        let labels = &[0, 1, 2][..count];
        let result = training.gradients(good, Targets::Classes(labels), &step, None);
        let expected = EngineError::Labels { expected: 2, got: count };
        report.refused(&format!("{count} labels for 2 images"), result, |e| *e == expected);
    }
    for label in [3, u32::MAX] {
        let result = training.gradients(good, Targets::Classes(&[0, label]), &step, None);
        let expected = EngineError::Label { index: 1, label, classes: 3 };
        report.refused(&format!("label {label} of 3 classes"), result, |e| *e == expected);
    }
    let thirds = [0.25, 0.25, 0.5, 0.5, 0.25, 0.0];
    let result = training.gradients(good, Targets::Distributions(&thirds), &step, None);
    report.refused("a distribution that sums to 0.75", result, |error| {
        matches!(error, EngineError::Distribution { index: 1, .. })
    });
    let result = training.gradients(good, Targets::Distributions(&thirds[..5]), &step, None);
    report.refused("five shares for two images", result, |error| {
        matches!(error, EngineError::Distributions { images: 2, classes: 3, got: 5 })
    });
    for wrong in damaged(&weights) {
        report.refused("wrong weights", training.load(&wrong), is_weights);
    }
    report.require(all_identical(&training.weights(), &weights), "an error changes weights");
    report.failures
}

/// Sets a flag when the first bucket is ready.
struct Stopping(Stop, Vec<Bucket>);

impl Reducer for Stopping {
    fn ready(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        self.0.set();
        self.1.push(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        Ok(std::mem::take(&mut self.1))
    }
}

/// A call that is stopped, before it begins or on its way, leaves no trace.
fn check_stop(device: &dyn Device, tolerance: Tolerance) -> Vec<String> {
    let mut report = Report::new("stop", tolerance);
    let (graph, weights) = (graph(), oracle::weights_for(&graph()));
    let images = oracle::image("input", &[2, 2, 3, 3]);
    let stop = Stop::new();
    let is_stopped = |error: &EngineError| *error == EngineError::Stopped;
    let network = device.network(&graph, weights.clone(), Retain::Nothing);
    let options = SessionOptions { stop: Some(stop.clone()), ..SessionOptions::inference(2) };
    let session = network.and_then(|network| network.session(&graph, &options));
    if let Some(mut session) = report.ok("session", session) {
        let before = session.forward(images.data());
        stop.set();
        report.refused("a stopped forward pass", session.forward(images.data()), is_stopped);
        stop.clear();
        let same = before == session.forward(images.data());
        report.require(same, "a stopped forward pass changes what the next computes");
    }
    // Buckets of one parameter each.
    let options =
        TrainingOptions { bucket: 1, stop: Some(stop.clone()), ..TrainingOptions::new(2) };
    let training =
        |report: &mut Report| report.ok("training", device.training(&graph, &weights, &options));
    let (Some(mut training), Some(mut twin)) = (training(&mut report), training(&mut report))
    else {
        return report.failures;
    };
    let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
    let update = Update { weight_decay: 0.01, ..Update::new(Optimizer::Sgd(sgd), 0.1) };
    let step = |training: &mut dyn top5_graph::Training,
                seed,
                reducer: Option<&mut dyn Reducer>|
     -> Result<Loss, EngineError> {
        let targets = Targets::Classes(&[2, 0]);
        let loss = training.gradients(images.data(), targets, &StepOptions::new(seed), reducer)?;
        training.update(&update);
        Ok(loss)
    };
    report.ok("step", step(training.as_mut(), 1, None));
    report.ok("step", step(twin.as_mut(), 1, None));
    stop.set();
    report.refused("a stopped step", step(training.as_mut(), 2, None), is_stopped);
    stop.clear();
    let mut reducer = Stopping(stop.clone(), Vec::new());
    let on_its_way = step(training.as_mut(), 2, Some(&mut reducer));
    report.refused("a step that is stopped on its way", on_its_way, is_stopped);
    report.require(reducer.1.len() == 1, "a stopped step hands over gradients");
    stop.clear();
    let same = all_identical(&training.weights(), &twin.weights())
        && all_identical(&training.state(), &twin.state());
    report.require(same, "a stopped step changes weights, running statistics or state");
    report.ok("step", step(training.as_mut(), 3, None));
    report.ok("step", step(twin.as_mut(), 3, None));
    let same = all_identical(&training.weights(), &twin.weights());
    report.require(same, "a stopped step changes the next");
    report.failures
}

/// A NaN in an image must reach the logits and the loss: a layer that hides it hides a run that has diverged. An infinite
/// gradient behind a finite loss must be told as well.
fn check_nan(device: &dyn Device, tolerance: Tolerance) -> Vec<String> {
    let through_relu = net("NaN through ReLU", [1, 4, 4], |x| {
        x.conv(3, 1).relu().conv_bn(3, 1).relu().flatten().linear(3)
    });
    let through_pool = net("NaN through a pool", [1, 4, 4], |x| {
        x.conv(3, 1).max_pool(k(2).stride(2)).flatten().linear(3)
    });
    let mut failures = Vec::new();
    for graph in [through_relu, through_pool] {
        let graph = graph.unwrap_or_else(|error| panic!("{error}"));
        let mut report = Report::new(graph.name(), tolerance);
        let weights = oracle::weights_for(&graph);
        let mut image = oracle::image("input", &[1, 1, 4, 4]);
        // The first element of its window: numbers follow it.
        image.data_mut()[0] = f32::NAN;
        let network = device.network(&graph, weights.clone(), Retain::Nothing);
        let session =
            network.and_then(|network| network.session(&graph, &SessionOptions::inference(1)));
        let forward = session.and_then(|mut session| session.forward(image.data()));
        if let Some(forward) = report.ok("forward", forward) {
            let all = forward.logits.data().iter().all(|v| v.is_nan());
            report.require(all, format!("logits {:?}", forward.logits.data()));
        }
        let loss = one_step(device, &graph, &weights, &image);
        if let Some(loss) = report.ok("gradients", loss) {
            report.require(loss.value.is_nan(), format!("loss {}", loss.value));
            report.require(!loss.finite, "a loss that is NaN is called finite");
        }
        failures.extend(report.failures);
    }
    let mut report = Report::new("infinite gradient", tolerance);
    let graph = net("product", [1, 1, 1], |x| {
        let x = x.flatten().linear(2);
        x.times(1e30).linear(2)
    });
    let graph = graph.unwrap_or_else(|error| panic!("{error}"));
    let mut weights = oracle::weights_for(&graph);
    // Scores of about 1, whose derivatives by the first layer are too large for f32.
    for (name, tensor) in weights.clone().iter() {
        let factor = if name.starts_with("fc1") { 0.0 } else { 1.0 };
        let data = tensor.data().iter().map(|&v| v * factor).collect();
        weights.insert(name, Tensor::new(tensor.shape(), data).expect("the shape stays"));
    }
    let image = Tensor::new([1, 1, 1, 1], vec![1e10]).expect("one value");
    if let Some(loss) = report.ok("gradients", one_step(device, &graph, &weights, &image)) {
        report.require(!loss.finite, "an infinite gradient is called finite");
    }
    failures.extend(report.failures);
    failures
}

fn one_step(
    device: &dyn Device,
    graph: &Graph,
    weights: &Weights,
    image: &Tensor,
) -> Result<Loss, EngineError> {
    let mut training = device.training(graph, weights, &TrainingOptions::new(1))?;
    training.gradients(image.data(), Targets::Classes(&[1]), &StepOptions::new(0), None)
}
