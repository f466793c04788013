//! A training step gives the same bits for any number of threads.

use top5_cpu::{CpuDevice, Isa, Options, Precision};
use top5_graph::{
    Clip, Device, Ema, Graph, Lars, Optimizer, Sgd, StepOptions, Targets, Tensor, TrainingOptions,
    Update, Weights, k, net,
};
use top5_testkit::fill::signed;

const BATCH: usize = 6;

/// Convolutions that Winograd's algorithm splits by tiles and by channels, strided and 1×1 ones, sums and poolings.
fn graph() -> Graph {
    net("threads", [3, 24, 24], |x| {
        let x = x.conv_bn(32, k(3).pad(1)).relu();
        let y = x.conv_bn(32, k(3).pad(1)).relu();
        let y = y.conv_bn(32, k(3).pad(1));
        let x = (y + x).relu().max_pool(k(3).stride(2).pad(1));
        let y = x.conv_bn(96, k(3).stride(2).pad(1)).relu();
        let y = y.conv_bn(96, k(3).pad(1));
        let x = (x.conv_bn(96, k(1).stride(2)) + y).relu();
        x.conv(160, k(3).pad(1)).relu().dropout(0.2).global_avg_pool().linear(5)
    })
    .unwrap()
}

/// Gradients, weights and the optimiser's state after two steps.
fn train(threads: usize, options: &Options, update: &Update) -> [Weights; 3] {
    let options = Options { threads: Some(threads), oversubscribe: true, ..options.clone() };
    let device = CpuDevice::new(&options).unwrap();
    let mut weights = Weights::new();
    for (name, param) in graph().params() {
        let mut tensor = Tensor::zeros(param.shape.clone());
        let values = signed(&name, tensor.data().len());
        let positive = name.ends_with("running_var");
        for (to, value) in tensor.data_mut().iter_mut().zip(values) {
            *to = if positive { 1.0 + value.abs() } else { 0.2 * value };
        }
        weights.insert(name, tensor);
    }
    let of_batch = TrainingOptions::new(BATCH);
    let mut training = device.training(&graph(), &weights, &of_batch).unwrap();
    for step in 0..2 {
        let images = signed(&format!("images{step}"), BATCH * 3 * 24 * 24);
        let options = StepOptions { label_smoothing: 0.1, ..StepOptions::new(step) };
        let targets = Targets::Classes(&[0, 1, 2, 3, 4, 0]);
        assert!(training.gradients(&images, targets, &options, None).unwrap().finite);
        training.update(&Update { step: step + 1, ..update.clone() });
    }
    [training.gradient_tensors(), training.weights(), training.state()]
}

const SGD: Sgd = Sgd { momentum: 0.9, dampening: 0.0, nesterov: true };

fn descent() -> Update {
    Update { weight_decay: 1e-4, ..Update::new(Optimizer::Sgd(SGD), 0.05) }
}

fn does_not_depend_on_the_number_of_threads(options: &Options, update: &Update) {
    let one = train(1, options, update);
    assert!(one[0].iter().all(|(_, tensor)| tensor.data().iter().any(|&value| value != 0.0)));
    for threads in [2, 3, 7] {
        for (one, other) in one.iter().zip(&train(threads, options, update)) {
            for ((name, a), (_, b)) in one.iter().zip(other.iter()) {
                assert_eq!(a.data(), b.data(), "{name}, {threads} threads");
            }
        }
    }
}

#[test]
fn a_training_step_does_not_depend_on_the_number_of_threads() {
    does_not_depend_on_the_number_of_threads(&Options::default(), &descent());
}

#[test]
fn nor_does_one_in_bf16() {
    let mut options = Options { precision: Precision::Bf16, ..Options::default() };
    if CpuDevice::new(&options).is_err() {
        options.isa = Some(Isa::Scalar);
    }
    does_not_depend_on_the_number_of_threads(&options, &descent());
}

/// The norms of all gradients and of each tensor are sums over many parts.
#[test]
fn norms_do_not_depend_on_the_number_of_threads() {
    let lars = Lars { sgd: SGD, ..Lars::default() };
    let (clip, ema) = (Some(Clip::Norm(0.1)), Some(Ema::new(0.9)));
    let update = Update { clip, ema, optimizer: Optimizer::Lars(lars), ..descent() };
    does_not_depend_on_the_number_of_threads(&Options::default(), &update);
}
