//! Training against PyTorch: every file of `shared/reference/training`.
//!
//! The file is in float64. How far an f32 run may be from it is what PyTorch's own f32 runs differ from it by, three times:
//! the largest of those that the reference's README states and of those that `scripts/training_spread.py` measures with
//! PyTorch's other kernels and with weights that differ by a rounding.
//!
//! Where rounding puts one ReLU or one maximum on its other side, the gradients of all layers before it move by orders of
//! magnitude more than by rounding itself, and so does every later loss. That is luck, which an error of the engine is not:
//! where the run from the file's weights misses, two from weights that differ from them by roundings get a chance. The
//! first loss depends on no luck and is held in every run.

use top5_cpu::{CpuDevice, Isa, Options};
use top5_graph::{Device, TrainingOptions};
use top5_testkit::oracle::{self, TrainingErrors, rounded, training_errors, weights_for};

/// What PyTorch's f32 runs differ by at most.
struct Spread {
    network: &'static str,
    first_loss: f64,
    /// Of all losses; infinite where the file is too ill-conditioned to say.
    losses: f64,
    /// Of the norms of the first step's gradients, the median over tensors.
    gradients: f64,
    /// Of the norms of parameters and buffers after the last step; infinite as for the losses.
    state: f64,
}

const fn spread(network: &'static str, [losses, gradients, state]: [f64; 3]) -> Spread {
    Spread { network, first_loss: losses.min(1e-6), losses, gradients, state }
}

const SPREADS: &[Spread] = &[
    spread("lenet", [6.5e-8, 7.0e-8, 2.5e-7]),
    spread("alexnet_28", [7.4e-7, 4.9e-7, 4.4e-4]),
    spread("alexnet_owt", [2.4e-3, 1.2e-5, 1.6e-3]),
    spread("vgg11_bn_cifar", [1.3e-7, 2.3e-7, 4.4e-4]),
    spread("resnet20_cifar", [4.7e-6, 2.0e-7, 3.2e-4]),
    spread("resnet18_cifar", [7.4e-5, 6.5e-6, 7.0e-4]),
    spread("resnet18", [2.9e-5, 8.5e-5, 2.2e-4]),
    spread("seresnet18_cifar", [2.1e-7, 1.3e-6, 3.6e-5]),
    spread("seresnet50_cifar", [2.4e-4, 1.1e-4, 2.3e-3]),
    spread("googlenet_cifar", [f64::INFINITY, 3.8e-4, f64::INFINITY]),
    spread("resnext50_cifar", [f64::INFINITY, 2.5e-4, f64::INFINITY]),
];

/// Trains, and fails where the engine is further from the file than `factor` times the spread: in the first loss of any run,
/// or in anything of the run from the file's weights and of two more from weights that differ from them by roundings.
fn check(spread: &Spread, options: &Options, factor: f64) {
    let Some(case) = oracle::training(spread.network) else { return };
    let network = top5_zoo::network(spread.network).unwrap();
    let graph = network.graph().unwrap().without_dropout();
    let weights = weights_for(&graph);
    let device = CpuDevice::new(options).unwrap();
    let of_batch = TrainingOptions::new(case.batch.shape[0]);
    let mut training = device.training(&graph, &weights, &of_batch).unwrap();
    let mut failures = Vec::new();
    for run in 0..3 {
        let start = if run == 0 { weights.clone() } else { rounded(&weights, run) };
        let TrainingErrors { losses, gradients, state } =
            training_errors(training.as_mut(), &start, &case, case.losses.len());
        let largest = losses.iter().copied().fold(0.0, f64::max);
        let bound = |spread: f64| (factor * spread).max(1e-6 * factor / 3.0);
        let figures = [
            ("losses", largest, bound(spread.losses)),
            ("gradients, median", gradients[gradients.len() / 2], bound(spread.gradients)),
            ("state", state[state.len() - 1], bound(spread.state)),
        ];
        let tight = bound(spread.first_loss);
        assert!(losses[0] <= tight, "{}: first loss {:e} > {tight:e}", network.name, losses[0]);
        let missed: Vec<_> =
            figures.into_iter().filter(|(_, error, bound)| error > bound).collect();
        if missed.is_empty() {
            return;
        }
        failures.push(missed);
    }
    panic!("{}, {options:?}: (what, error, bound) of each run: {failures:?}", network.name);
}

/// Direct convolution, which every f32 run is compared with.
fn exact(isa: Option<Isa>) -> Options {
    Options { isa, exact: true, ..Options::default() }
}

/// Winograd's transforms round some ten times more than direct convolution, so more often to the other side.
const WINOGRAD: Spread = Spread {
    network: "",
    first_loss: 3e-5,
    losses: f64::INFINITY,
    gradients: 3e-4,
    state: f64::INFINITY,
};

fn train(network: &'static str) {
    let spread = SPREADS.iter().find(|spread| spread.network == network).unwrap();
    check(spread, &exact(None), 3.0);
    check(&Spread { network, ..WINOGRAD }, &Options::default(), 3.0);
}

#[test]
fn every_file_is_compared() {
    let Some(shared) = oracle::shared() else { return };
    let files = std::fs::read_dir(shared.join("reference/training")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().into())
        .collect();
    let mut compared: Vec<&str> = SPREADS.iter().map(|spread| spread.network).collect();
    files.sort();
    compared.sort_unstable();
    assert_eq!(files, compared);
}

#[test]
fn small_networks_train_as_in_pytorch_on_every_instruction_set() {
    for isa in Isa::available() {
        for spread in SPREADS {
            if ["lenet", "alexnet_28", "resnet20_cifar"].contains(&spread.network) {
                check(spread, &exact(Some(isa)), 3.0);
            }
        }
    }
}

#[test]
fn lenet_trains_as_in_pytorch() {
    train("lenet");
}

#[test]
fn alexnet_28_trains_as_in_pytorch() {
    train("alexnet_28");
}

#[test]
fn alexnet_owt_trains_as_in_pytorch() {
    train("alexnet_owt");
}

#[test]
fn vgg11_bn_cifar_trains_as_in_pytorch() {
    train("vgg11_bn_cifar");
}

#[test]
fn resnet20_cifar_trains_as_in_pytorch() {
    train("resnet20_cifar");
}

#[test]
fn resnet18_cifar_trains_as_in_pytorch() {
    train("resnet18_cifar");
}

#[test]
fn resnet18_trains_as_in_pytorch() {
    train("resnet18");
}

#[test]
fn googlenet_cifar_trains_as_in_pytorch() {
    train("googlenet_cifar");
}

#[test]
fn seresnet18_cifar_trains_as_in_pytorch() {
    train("seresnet18_cifar");
}

#[test]
fn seresnet50_cifar_trains_as_in_pytorch() {
    train("seresnet50_cifar");
}

#[test]
fn resnext50_cifar_trains_as_in_pytorch() {
    train("resnext50_cifar");
}
