//! The reader of the reference files in `shared/reference`: what PyTorch, torchvision and timm computed from weights
//! that are a hash of their names. The folder's README defines the files and the hash.

use crate::close::{assert_close, close, close_abs};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;
use top5_graph::random::{hash, mix};
use top5_graph::{
    Device, Graph, Optimizer, Retain, SessionOptions, Sgd, StepOptions, Targets, Tensor, Training,
    Update, Weights,
};

/// The folder `shared` beside the repository, or the one that the variable `TOP5_SHARED` names. `None`, with a
/// message, where there is none: then a test that needs it is skipped.
///
/// # Panics
/// If there is none and the variable `CI` is set.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn shared() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("TOP5_SHARED").map_or(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
    eprintln!("skipped: {} is missing", path.display());
    None
}

/// The `n` values in [−1, 1) that belong to a name.
pub fn values(name: &str, n: usize) -> Vec<f32> {
    let start = hash(name);
    let unit = 1.0 / (1u64 << 24) as f32;
    (0..n as u64).map(|i| 2.0 * ((mix(start.wrapping_add(i)) >> 40) as f32 * unit) - 1.0).collect()
}

/// The values of the tensor `name`; `batch_norm` says whether it belongs to one.
fn tensor(name: &str, shape: &[usize], batch_norm: bool) -> Tensor {
    let role = name.rsplit('.').next().unwrap_or(name);
    let (factor, offset) = match role {
        "running_mean" => (0.1, 0.0),
        "running_var" => (0.5, 1.0),
        "weight" if batch_norm => (0.25, 0.5),
        _ if shape.len() == 1 => (0.1, 0.0),
        _ => {
            let fan_in: usize = shape[1..].iter().product();
            ((6.0 / fan_in as f64).sqrt() as f32, 0.0)
        }
    };
    let values = values(name, shape.iter().product());
    let values = values.into_iter().map(|v| factor * v + offset).collect();
    Tensor::new(shape, values).expect("as many values as the shape says")
}

/// The weights of a graph, each from the name of its tensor.
pub fn weights_for(graph: &Graph) -> Weights {
    weights_renamed(graph, &str::to_owned)
}

/// The weights of a graph, each from the name that the peer has for its tensor.
pub fn weights_renamed(graph: &Graph, peer: &dyn Fn(&str) -> String) -> Weights {
    let nodes = graph.nodes().iter();
    let params = nodes.flat_map(|node| node.spec.params.iter().map(move |param| (node, param)));
    params
        .map(|(node, param)| {
            let name = node.param_name(param);
            let batch_norm = node.spec.affine.is_some();
            let tensor = tensor(&peer(&name), &param.shape, batch_norm);
            (name, tensor)
        })
        .collect()
}

/// The weights with about a third of the values moved by one unit in their last place, which depends on the seed: what
/// differs between runs from these is luck of rounding.
pub fn rounded(weights: &Weights, seed: u64) -> Weights {
    let change = |(name, tensor): (&str, &Tensor)| {
        let draws = values(&format!("{name}, rounded {seed}"), tensor.data().len());
        let data = tensor.data().iter().zip(draws).map(|(value, draw)| value * (1.0 + 1e-7 * draw));
        let tensor = Tensor::new(tensor.shape(), data.collect()).expect("the shape stays");
        (name.to_owned(), tensor)
    };
    weights.iter().map(change).collect()
}

/// The image tensor of a name, in `[batch, channels, height, width]`.
pub fn image(name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(shape, values(name, shape.iter().product())).expect("one value per element")
}

/// The image tensor that a forward file names.
#[derive(Clone, Debug, Deserialize)]
pub struct Input {
    /// Its name, which defines its values.
    pub name: String,
    /// Batch, channels, height, width.
    pub shape: Vec<usize>,
}

/// A file of `reference/forward`: inference on a batch of two.
#[derive(Clone, Debug, Deserialize)]
pub struct ForwardCase {
    /// The network's name in the registry.
    pub network: String,
    /// The images.
    pub input: Input,
    /// Number of learned parameters.
    pub parameters: usize,
    /// Names and shapes of the peer's tensors.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// For each image, the logits.
    pub logits: Vec<Vec<f64>>,
    /// For every leaf module of the peer in the order in which it ran: path, mean and L2 norm of its output.
    pub taps: Vec<(String, f64, f64)>,
}

/// The batches of a training file.
#[derive(Clone, Debug, Deserialize)]
pub struct Batch {
    /// Batch, channels, height, width.
    pub shape: Vec<usize>,
}

/// L2 norm, then the first (at most four) values of a tensor.
pub type Digest = Vec<f64>;

/// A file of `reference/training`: three steps of stochastic gradient descent.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainingCase {
    /// The network's name in the registry.
    pub network: String,
    /// Learning rate.
    pub lr: f32,
    /// Momentum.
    pub momentum: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
    /// Weight decay.
    pub weight_decay: f64,
    /// What each step sees.
    pub batch: Batch,
    /// The loss before each step.
    pub losses: Vec<f64>,
    /// The gradients of the first step.
    pub gradients: BTreeMap<String, Digest>,
    /// Parameters and buffers after the last step.
    pub state: BTreeMap<String, Digest>,
}

impl TrainingCase {
    /// Images and labels of a step.
    pub fn step(&self, step: usize, classes: usize) -> (Tensor, Vec<u32>) {
        let label = |i: usize| ((7 * i + 3 * step) % classes) as u32;
        let labels = (0..self.batch.shape[0]).map(label).collect();
        (image(&format!("step{step}"), &self.batch.shape), labels)
    }

    /// The update of a step, counted from 0.
    pub fn update(&self, step: usize) -> Update {
        let &Self { lr, momentum, nesterov, weight_decay, .. } = self;
        let optimizer = Optimizer::Sgd(Sgd { momentum, nesterov, ..Sgd::default() });
        Update { weight_decay, step: step as u64 + 1, ..Update::new(optimizer, lr) }
    }
}

/// The file `reference/forward/NAME.json`; `None` where the reference is missing (see [`shared`]).
pub fn forward(name: &str) -> Option<ForwardCase> {
    load("forward", name)
}

/// The file `reference/training/NAME.json`; `None` where the reference is missing (see [`shared`]).
pub fn training(name: &str) -> Option<TrainingCase> {
    load("training", name)
}

fn load<T: DeserializeOwned>(kind: &str, name: &str) -> Option<T> {
    let path = shared()?.join("reference").join(kind).join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let case = serde_json::from_str(&text);
    Some(case.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Runs the graph with the weights of its names and compares the logits with the file's.
#[track_caller]
pub fn check_forward(device: &dyn Device, graph: &Graph, case: &ForwardCase, tolerance: f64) {
    check_forward_with(device, graph, weights_for(graph), case, tolerance);
}

/// As [`check_forward`], with these weights (see [`weights_renamed`]).
#[track_caller]
pub fn check_forward_with(
    device: &dyn Device,
    graph: &Graph,
    weights: Weights,
    case: &ForwardCase,
    tolerance: f64,
) {
    let images = image(&case.input.name, &case.input.shape);
    let run = || {
        let network = device.network(graph, weights, Retain::Nothing)?;
        let options = SessionOptions::inference(case.input.shape[0]);
        network.session(graph, &options)?.forward(images.data())
    };
    let logits = run().unwrap_or_else(|error| panic!("{}: {error}", case.network)).logits;
    let what = format!("{}: logits", case.network);
    assert_close(&what, logits.data(), &case.logits.concat(), tolerance);
}

/// How far a training run may be from the file, relatively, in every value that the file holds.
#[derive(Clone, Copy, Debug)]
pub struct Tolerances {
    /// Of the loss before the first step.
    pub first_loss: f64,
    /// Of the losses before the other steps.
    pub losses: f64,
    /// Of each gradient of the first step: norm and first values, relative to the norm.
    pub gradients: f64,
    /// Of each parameter and buffer after the last step: norm and first values, relative to the norm.
    pub state: f64,
}

/// Loads the weights by name, trains as the file says and compares every value. The graph must be without dropout.
#[track_caller]
pub fn check_training(training: &mut dyn Training, case: &TrainingCase, tolerances: Tolerances) {
    let weights = weights_for(training.graph());
    let run = TrainingRun::new(training, &weights, case, case.losses.len());
    for (step, (&got, &want)) in run.losses.iter().zip(&case.losses).enumerate() {
        let tolerance = if step == 0 { tolerances.first_loss } else { tolerances.losses };
        let what = format!("{}: loss of step {step}", case.network);
        assert_close(&what, &[got], &[want], tolerance);
    }
    for (what, tensors, digests, tolerance) in [
        ("gradient", &run.gradients, &case.gradients, tolerances.gradients),
        ("state", &run.state, &case.state, tolerances.state),
    ] {
        for (name, got, want, scale) in paired(&case.network, what, tensors, digests) {
            if let Err(message) = close_abs(&got, want, tolerance * scale) {
                let network = &case.network;
                panic!("{network}: {what} of {name} (norm, then first values): {message}");
            }
        }
    }
}

/// How far a training run was from the file, relatively, in the norms of its tensors.
#[derive(Clone, Debug)]
pub struct TrainingErrors {
    /// Of the loss before each step.
    pub losses: Vec<f64>,
    /// Of the norm of each gradient of the first step, in ascending order.
    pub gradients: Vec<f64>,
    /// Of the norm of each parameter and buffer after the last step, in ascending order; empty of fewer steps than the file has.
    pub state: Vec<f64>,
}

/// Trains from these weights as [`check_training`] does, for as many of the file's steps, and measures. Panics where
/// something is not finite.
#[track_caller]
pub fn training_errors(
    training: &mut dyn Training,
    weights: &Weights,
    case: &TrainingCase,
    steps: usize,
) -> TrainingErrors {
    let run = TrainingRun::new(training, weights, case, steps);
    let relative = |got: f64, want: f64, scale: f64| {
        assert!(got.is_finite(), "{}: {got}, expected {want}", case.network);
        (got - want).abs() / scale
    };
    let norms = |what, tensors, digests| {
        let pairs = paired(&case.network, what, tensors, digests).into_iter();
        let mut errors: Vec<f64> =
            pairs.map(|(_, got, want, scale)| relative(got[0], want[0], scale)).collect();
        errors.sort_by(f64::total_cmp);
        errors
    };
    let losses = run.losses.iter().zip(&case.losses);
    let complete = run.losses.len() == case.losses.len();
    TrainingErrors {
        losses: losses.map(|(&got, &want)| relative(got, want, want)).collect(),
        gradients: norms("gradient", &run.gradients, &case.gradients),
        state: if complete { norms("state", &run.state, &case.state) } else { Vec::new() },
    }
}

/// What an engine made of a training file.
struct TrainingRun {
    losses: Vec<f64>,
    gradients: Weights,
    state: Weights,
}

impl TrainingRun {
    #[track_caller]
    fn new(
        training: &mut dyn Training,
        weights: &Weights,
        case: &TrainingCase,
        steps: usize,
    ) -> Self {
        let network = &case.network;
        training.load(weights).unwrap_or_else(|error| panic!("{network}: {error}"));
        let classes = training.graph().classes();
        let options = StepOptions::new(0);
        let mut run = Self { losses: Vec::new(), gradients: Weights::new(), state: Weights::new() };
        for step in 0..steps.min(case.losses.len()) {
            let (images, labels) = case.step(step, classes);
            let targets = Targets::Classes(&labels);
            let loss = training.gradients(images.data(), targets, &options, None);
            run.losses.push(loss.unwrap_or_else(|error| panic!("{network}: {error}")).value);
            if step == 0 {
                run.gradients = training.gradient_tensors();
            }
            training.update(&case.update(step));
        }
        run.state = training.weights();
        run
    }
}

/// A tensor's name, its digest, the file's digest of it, and what differences of the two are relative to.
type Paired<'a> = (&'a str, Digest, &'a Digest, f64);

/// Pairs tensors with the digests of the file, which must be those of the same tensors.
#[track_caller]
fn paired<'a>(
    network: &str,
    what: &str,
    tensors: &'a Weights,
    digests: &'a BTreeMap<String, Digest>,
) -> Vec<Paired<'a>> {
    assert_eq!(tensors.len(), digests.len(), "{network}: number of {what} tensors");
    let largest: f64 = digests.values().map(|digest| digest[0]).fold(0.0, f64::max);
    let pair = |(name, tensor): (&'a str, &Tensor)| {
        let want = digests.get(name);
        let want = want.unwrap_or_else(|| panic!("{network}: the file has no {what} {name}"));
        let values = tensor.data().iter().copied().map(f64::from);
        let norm = values.clone().map(|v| v * v).sum::<f64>().sqrt();
        let got = std::iter::once(norm).chain(values.take(want.len() - 1)).collect();
        // The gradient of a bias in front of a batch normalisation is zero up to rounding.
        let zero = want[0] < 1e-7 * largest;
        (name, got, want, if zero { largest } else { want[0] })
    };
    tensors.iter().map(pair).collect()
}

/// Compares means and L2 norms of activations with the peer's: `pairs` are (path of the tap, our activation). Names the
/// first that differs, in the order of the file.
pub fn check_taps(
    case: &ForwardCase,
    pairs: &BTreeMap<String, Tensor>,
    tolerance: f64,
) -> Result<(), String> {
    for (path, mean, norm) in &case.taps {
        let Some(tensor) = pairs.get(path) else { continue };
        let values = tensor.data().iter().copied().map(f64::from);
        let count = tensor.data().len() as f64;
        let got = [
            values.clone().sum::<f64>() / count,
            values.map(|v| v * v).sum::<f64>().sqrt() / count.sqrt(),
        ];
        close(&got, &[*mean, norm / count.sqrt()], tolerance).map_err(|message| {
            format!("{}: {path} (mean, root mean square): {message}", case.network)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_readme() {
        assert_eq!(values("input", 4), [-0.804_363_37, -0.705_042_84, 0.148_168_8, 0.705_455_54]);
        assert_eq!(values("conv1.weight", 3), [0.090_149_88, -0.850_370_5, 0.920_037_75]);
    }
}
