//! The conformance suite: what every engine must do, compared with the reference engine on every case.
//!
//! Before each training step the reference takes the weights and momenta of the engine under test, so that each step is
//! judged from one and the same state and the tolerances need not grow.

use crate::cases::{Case, cases};
use crate::close::close_abs;
use crate::reference::ReferenceEngine;
use crate::{fill, oracle};
use top5_graph::{
    Engine, EngineError, Graph, Loss, NodeId, Sgd, StepOptions, Tensor, Weights, k, net,
};

/// Largest relative L2 distance of an activation, a loss or an updated value.
const FORWARD: f64 = 1e-5;
/// Largest relative L2 distance of a gradient.
const GRADIENT: f64 = 1e-4;

/// Failures of one case that are listed; the first say most.
const LISTED: usize = 8;

/// Makes an engine for a graph and a largest batch.
pub type Make<'a> = dyn FnMut(&Graph, usize) -> Box<dyn Engine> + 'a;

/// Checks an engine on all cases and on what no case says: errors, and NaN.
///
/// # Panics
/// If anything differs, with a list of the first that do.
pub fn conformance(make: &mut Make<'_>) {
    conformance_except(make, &[]);
}

/// As [`conformance`], without the cases that are named in `known`, each with the reason why.
///
/// # Panics
/// If anything differs, or if there is no case of such a name.
pub fn conformance_except(make: &mut Make<'_>, known: &[(&str, &str)]) {
    let cases = cases();
    for (name, why) in known {
        assert!(cases.iter().any(|case| case.name() == *name), "no case {name:?} ({why})");
    }
    let mut failures = Vec::new();
    let is_known = |name: &str| known.iter().any(|(known, _)| *known == name);
    for case in cases.iter().filter(|case| !is_known(case.name())) {
        let mut of_case = check_case(case, make);
        if of_case.len() > LISTED {
            let rest = of_case.split_off(LISTED).len();
            of_case.push(format!("{}: … and {rest} more", case.name()));
        }
        failures.extend(of_case);
    }
    failures.extend(check_errors(make));
    failures.extend(check_nan(make));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Collects what differs.
struct Report {
    case: String,
    failures: Vec<String>,
}

impl Report {
    fn new(case: &str) -> Self {
        Self { case: case.to_owned(), failures: Vec::new() }
    }

    fn fail(&mut self, message: impl AsRef<str>) {
        self.failures.push(format!("{}: {}", self.case, message.as_ref()));
    }

    fn require(&mut self, holds: bool, message: impl AsRef<str>) {
        if !holds {
            self.fail(message);
        }
    }

    /// The value, or a failure.
    fn ok<T>(&mut self, what: &str, result: Result<T, EngineError>) -> Option<T> {
        result.map_err(|error| self.fail(format!("{what}: {error}"))).ok()
    }

    /// Relative L2 distance, with `floor` added to the norm of `want`.
    fn close(&mut self, what: &str, got: &Tensor, want: &Tensor, tolerance: f64, floor: f64) {
        if got.shape() != want.shape() {
            self.fail(format!("{what}: shape {:?}, expected {:?}", got.shape(), want.shape()));
            return;
        }
        let pairs = || got.data().iter().zip(want.data());
        let squares = pairs().map(|(&g, &w)| (f64::from(g) - f64::from(w)).powi(2));
        let distance = squares.sum::<f64>().sqrt();
        let bound = tolerance * (norm(want) + floor);
        // A NaN is not within any bound.
        let within = distance <= bound;
        if !within {
            let worst = close_abs(got.data(), want.data(), 0.0).err().unwrap_or_default();
            self.fail(format!("{what}: distance {distance:.2e} > {bound:.2e}; {worst}"));
        }
    }

    /// Named tensors, each against the one of its name.
    fn close_all(&mut self, what: &str, got: &Weights, want: &Weights, tolerance: f64) {
        let names =
            |weights: &Weights| weights.iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>();
        if names(got) != names(want) {
            self.fail(format!("{what}: tensors {:?}, expected {:?}", names(got), names(want)));
            return;
        }
        // A tensor that is zero but for rounding, like the gradient of a bias before a batch normalisation.
        let floor = 1e-2 * want.iter().map(|(_, tensor)| norm(tensor)).fold(0.0, f64::max);
        for ((name, got), (_, want)) in got.iter().zip(want.iter()) {
            self.close(&format!("{what} {name}"), got, want, tolerance, floor);
        }
    }
}

fn norm(tensor: &Tensor) -> f64 {
    tensor.data().iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

/// Whether two tensors hold the same bits.
fn identical(a: &Tensor, b: &Tensor) -> bool {
    let bits = |t: &Tensor| t.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.shape() == b.shape() && bits(a) == bits(b)
}

fn all_identical(a: &Weights, b: &Weights) -> bool {
    a.len() == b.len() && a.iter().zip(b.iter()).all(|((n, a), (m, b))| n == m && identical(a, b))
}

fn images(case: &Case, name: &str, n: usize) -> Tensor {
    let shape = [&[n], &case.graph.input()[..]].concat();
    if case.integers { fill::integer_tensor(name, &shape) } else { oracle::image(name, &shape) }
}

fn weights(case: &Case) -> Weights {
    let weights = oracle::weights_for(&case.graph);
    if !case.integers {
        return weights;
    }
    let integers = |(name, tensor): (String, Tensor)| {
        let integers = fill::integer_tensor(&name, tensor.shape());
        (name, integers)
    };
    weights.into_iter().map(integers).collect()
}

fn labels(n: usize, step: usize, classes: usize) -> Vec<u32> {
    (0..n).map(|i| ((7 * i + 3 * step + 1) % classes) as u32).collect()
}

/// Runs one case; returns what differs.
pub fn check_case(case: &Case, make: &mut Make<'_>) -> Vec<String> {
    let mut report = Report::new(case.name());
    let weights = weights(case);
    let mut engine = make(&case.graph, case.batch);
    let mut reference = ReferenceEngine::new(case.graph.clone(), case.batch);
    report.require(engine.batch() == case.batch, "the engine has another batch");
    report.ok("load", engine.load(&weights));
    report.ok("load", reference.load(&weights));
    report.require(all_identical(&engine.weights(), &weights), "weights() are not those loaded");
    check_forward(&mut report, case, engine.as_mut(), &mut reference, "");
    if case.graph.logits().shape().size() != [1, 1] {
        let images = images(case, "step0", case.batch);
        let labels = labels(case.batch, 0, case.graph.classes());
        let result = engine.gradients(images.data(), &labels, &options(case, 0));
        let refused = matches!(result, Err(EngineError::Unsupported { .. }));
        report.require(refused, "training on a map of logits is not refused");
        return report.failures;
    }
    let mut twin = make(&case.graph, case.batch);
    report.ok("load", twin.load(&weights));
    for step in 0..3 {
        check_step(&mut report, case, step, engine.as_mut(), twin.as_mut(), &mut reference);
    }
    // Inference must see the trained weights and the running statistics.
    report.ok("load", reference.load(&engine.weights()));
    check_forward(&mut report, case, engine.as_mut(), &mut reference, "after training, ");
    check_momenta(&mut report, engine.as_mut(), &weights);
    report.failures
}

fn options(case: &Case, step: usize) -> StepOptions {
    StepOptions { label_smoothing: case.label_smoothing, seed: 1000 + step as u64 }
}

/// Inference with all batch sizes, and with every activation kept.
fn check_forward(
    report: &mut Report,
    case: &Case,
    engine: &mut dyn Engine,
    reference: &mut ReferenceEngine,
    when: &str,
) {
    for n in (1..=case.batch).rev() {
        let images = images(case, "input", n);
        let what = format!("{when}logits of {n}");
        let want = report.ok(&what, reference.forward(images.data(), &[]));
        let got = report.ok(&what, engine.forward(images.data(), &[]));
        let again = report.ok(&what, engine.forward(images.data(), &[]));
        let (Some(want), Some(got), Some(again)) = (want, got, again) else { continue };
        report.close(&what, &got.logits, &want.logits, FORWARD, 0.0);
        report.require(
            identical(&got.logits, &again.logits),
            format!("{what} differ when run again"),
        );
    }
    // Only what the logits need is sure to be computed.
    let inference = case.graph.inference();
    let ids: Vec<NodeId> = case
        .graph
        .nodes()
        .iter()
        .filter(|node| inference.find(&node.name).is_some())
        .map(|node| node.id)
        .collect();
    let twice = [&ids[..], &ids[..1]].concat();
    let each = ids.iter().map(|&id| vec![id]);
    let n = case.batch.div_ceil(2);
    let images = images(case, "kept", n);
    for keep in each.chain([twice]) {
        let name = |id: NodeId| case.graph.node(id).name.clone();
        let what = match keep[..] {
            [id] => format!("{when}keeping {}", name(id)),
            _ => format!("{when}keeping all"),
        };
        let want = report.ok(&what, reference.forward(images.data(), &keep));
        let got = report.ok(&what, engine.forward(images.data(), &keep));
        let (Some(want), Some(got)) = (want, got) else { continue };
        report.close(&format!("{what}, logits"), &got.logits, &want.logits, FORWARD, 0.0);
        report.require(got.kept.len() == keep.len(), format!("{what}: {} kept", got.kept.len()));
        for ((&id, got), want) in keep.iter().zip(&got.kept).zip(&want.kept) {
            report.close(&format!("{what}, {}", name(id)), got, want, FORWARD, 0.0);
        }
    }
}

/// The optimiser of each step, so that each of its terms is used and left out once.
fn sgd(step: usize) -> Sgd {
    let plain = Sgd { lr: 0.05, momentum: 0.0, weight_decay: 0.0, nesterov: false };
    match step {
        0 => Sgd { momentum: 0.9, weight_decay: 0.01, ..plain },
        1 => Sgd { momentum: 0.8, weight_decay: 0.02, nesterov: true, ..plain },
        _ => plain,
    }
}

/// One training step of the engine, of an engine that must do the same to the bit, and of the reference.
fn check_step(
    report: &mut Report,
    case: &Case,
    step: usize,
    engine: &mut dyn Engine,
    twin: &mut dyn Engine,
    reference: &mut ReferenceEngine,
) {
    report.ok("load", reference.load(&engine.weights()));
    report.ok("load_momenta", reference.load_momenta(&engine.momenta()));
    // The last step is one of a smaller batch.
    let n = if step == 2 { case.batch.saturating_sub(1).max(1) } else { case.batch };
    let images = images(case, &format!("step{step}"), n);
    let labels = labels(n, step, case.graph.classes());
    let options = options(case, step);
    let what = format!("step {step}");
    let mut run = |engine: &mut dyn Engine| -> Option<Loss> {
        report.ok(&what, engine.gradients(images.data(), &labels, &options))
    };
    let (got, same, want) = (run(engine), run(twin), run(reference));
    let (Some(got), Some(same), Some(want)) = (got, same, want) else { return };
    let scalar = |value: f64| Tensor::new([1], vec![value as f32]).expect("one value");
    report.close(&format!("{what}, loss"), &scalar(got.value), &scalar(want.value), FORWARD, 0.0);
    report.close(&format!("{what}, logits"), &got.logits, &want.logits, FORWARD, 0.0);
    let gradients = engine.gradient_tensors();
    report.close_all(
        &format!("{what}, gradient of"),
        &gradients,
        &reference.gradient_tensors(),
        GRADIENT,
    );
    report.close_all(
        &format!("{what}, before the update,"),
        &engine.weights(),
        &reference.weights(),
        FORWARD,
    );
    if step == 1 {
        // Whatever the order of the elements, the buffer is what the update uses.
        engine.gradient_buffer().iter_mut().for_each(|g| *g *= 0.5);
        twin.gradient_buffer().iter_mut().for_each(|g| *g *= 0.5);
        reference.gradient_buffer().iter_mut().for_each(|g| *g *= 0.5);
    }
    engine.update(&sgd(step));
    twin.update(&sgd(step));
    reference.update(&sgd(step));
    report.close_all(
        &format!("{what}, momentum of"),
        &engine.momenta(),
        &reference.momenta(),
        GRADIENT,
    );
    report.close_all(&format!("{what}, updated"), &engine.weights(), &reference.weights(), FORWARD);
    let same = got.value.to_bits() == same.value.to_bits()
        && identical(&got.logits, &same.logits)
        && (step == 1 || all_identical(&gradients, &twin.gradient_tensors()))
        && all_identical(&engine.momenta(), &twin.momenta())
        && all_identical(&engine.weights(), &twin.weights());
    report.require(same, format!("{what}: two engines differ"));
}

/// Momenta are taken as they are given, refused where they do not fit, and zero after a load.
fn check_momenta(report: &mut Report, engine: &mut dyn Engine, weights: &Weights) {
    let mut momenta = engine.momenta();
    for name in momenta.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>() {
        if let Some(tensor) = momenta.tensor_mut(&name) {
            let values = fill::signed(&format!("momentum of {name}"), tensor.data().len());
            tensor.data_mut().copy_from_slice(&values);
        }
    }
    report.ok("load_momenta", engine.load_momenta(&momenta));
    report.require(all_identical(&engine.momenta(), &momenta), "momenta() are not those loaded");
    for wrong in damaged(&momenta) {
        let refused = matches!(engine.load_momenta(&wrong), Err(EngineError::Weights(_)));
        report.require(refused, "wrong momenta are not refused");
        report
            .require(all_identical(&engine.momenta(), &momenta), "wrong momenta change something");
    }
    report.ok("load", engine.load(weights));
    let zero = engine.momenta().iter().all(|(_, tensor)| tensor.data().iter().all(|&v| v == 0.0));
    report.require(zero, "momenta are not zero after a load");
}

/// The tensors with one missing, one too many, and one of another shape.
fn damaged(weights: &Weights) -> Vec<Weights> {
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

/// What is wrong with the engine's answers to wrong input.
fn check_errors(make: &mut Make<'_>) -> Vec<String> {
    let graph = net("errors", [2, 3, 3], |x| x.conv_bn(4, 2).relu().flatten().linear(3));
    let graph = graph.unwrap_or_else(|error| panic!("{error}"));
    let mut report = Report::new("errors");
    let weights = oracle::weights_for(&graph);
    let mut engine = make(&graph, 2);
    report.ok("load", engine.load(&weights));
    let images = oracle::image("input", &[3, 2, 3, 3]);
    let good = &images.data()[..36];
    let before = report.ok("forward", engine.forward(good, &[]));
    let options = StepOptions { label_smoothing: 0.0, seed: 0 };
    for len in [0, 1, 17, 19, 35, 37, 54] {
        let wrong = &images.data()[..len];
        let forward = matches!(engine.forward(wrong, &[]), Err(EngineError::Images { got, .. }) if got == len);
        let step = engine.gradients(wrong, &[0, 1], &options);
        let step = matches!(step, Err(EngineError::Images { got, .. }) if got == len);
        report.require(forward && step, format!("{len} values of images of 18 are not refused"));
    }
    for count in [0, 1, 3] {
        let step = engine.gradients(good, &[0, 1, 2][..count], &options);
        let refused = step == Err(EngineError::Labels { expected: 2, got: count });
        report.require(refused, format!("{count} labels for 2 images are not refused"));
    }
    for label in [3, u32::MAX] {
        let step = engine.gradients(good, &[0, label], &options);
        let refused = step == Err(EngineError::Label { index: 1, label, classes: 3 });
        report.require(refused, format!("label {label} of 3 classes is not refused"));
    }
    for wrong in damaged(&weights) {
        let refused = matches!(engine.load(&wrong), Err(EngineError::Weights(_)));
        report.require(refused, "wrong weights are not refused");
    }
    report.require(all_identical(&engine.weights(), &weights), "an error changes weights");
    let after = report.ok("forward", engine.forward(good, &[]));
    let unchanged = match (before, after) {
        (Some(before), Some(after)) => identical(&before.logits, &after.logits),
        _ => false,
    };
    report.require(unchanged, "an error changes what forward computes");
    report.failures
}

/// A NaN in an image must reach the logits and the loss: a layer that hides it hides a run that has diverged.
fn check_nan(make: &mut Make<'_>) -> Vec<String> {
    let through_relu = net("NaN through ReLU", [1, 4, 4], |x| {
        x.conv(3, 1).relu().conv_bn(3, 1).relu().flatten().linear(3)
    });
    let through_pool = net("NaN through a pool", [1, 4, 4], |x| {
        x.conv(3, 1).max_pool(k(2).stride(2)).flatten().linear(3)
    });
    let mut failures = Vec::new();
    for graph in [through_relu, through_pool] {
        let graph = graph.unwrap_or_else(|error| panic!("{error}"));
        let mut report = Report::new(graph.name());
        let mut engine = make(&graph, 1);
        report.ok("load", engine.load(&oracle::weights_for(&graph)));
        let mut image = oracle::image("input", &[1, 1, 4, 4]);
        // The first element of its window: numbers follow it.
        image.data_mut()[0] = f32::NAN;
        if let Some(forward) = report.ok("forward", engine.forward(image.data(), &[])) {
            let all = forward.logits.data().iter().all(|v| v.is_nan());
            report.require(all, format!("logits {:?}", forward.logits.data()));
        }
        let options = StepOptions { label_smoothing: 0.0, seed: 0 };
        if let Some(loss) = report.ok("gradients", engine.gradients(image.data(), &[1], &options)) {
            report.require(loss.value.is_nan(), format!("loss {}", loss.value));
        }
        failures.extend(report.failures);
    }
    failures
}
