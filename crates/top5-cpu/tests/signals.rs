//! Backward passes from nodes: as the reference's by every rule, and as PyTorch's with respect to the image.

use top5_cpu::{CpuDevice, Isa, Options};
use top5_testkit::close::close;
use top5_testkit::{Tolerance, inside, signal_conformance};

fn device(options: &Options) -> CpuDevice {
    CpuDevice::new(options).unwrap()
}

fn conforms(options: &Options) {
    signal_conformance(&|| Box::new(device(options)), Tolerance::F32);
}

#[test]
fn signals_conform_on_every_instruction_set() {
    for isa in Isa::available() {
        conforms(&Options { isa: Some(isa), exact: true, ..Options::default() });
    }
}

#[test]
fn signals_conform_with_the_engines_own_choice_of_kernels() {
    conforms(&Options { threads: Some(3), ..Options::default() });
}

/// Relative L2. One ReLU or maximum on its other side would move a map by some tenths of a percent.
const TOLERANCE: f64 = 1e-5;

fn explains_as_pytorch(network: &str) {
    let Some(signals) = inside::inside(network) else { return };
    let graph = top5_zoo::network(network).unwrap().graph().unwrap();
    let device = device(&Options { exact: true, ..Options::default() });
    for (name, rule, want) in signals {
        let got = inside::explain(&device, &graph, rule).unwrap();
        if let Err(error) = close(got.data(), want.data(), TOLERANCE) {
            panic!("{network}, {name}: {error}");
        }
    }
}

#[test]
fn small_networks_explain_as_in_pytorch() {
    for network in ["lenet", "alexnet_28"] {
        explains_as_pytorch(network);
    }
}

#[test]
fn networks_of_cifar_explain_as_in_pytorch() {
    for network in [
        "vgg11_bn_cifar",
        "resnet18_cifar",
        "resnext50_cifar",
        "seresnet18_cifar",
        "googlenet_cifar",
    ] {
        explains_as_pytorch(network);
    }
}

#[test]
fn networks_of_imagenet_explain_as_in_pytorch() {
    for network in ["alexnet_owt", "vgg11", "resnet18"] {
        explains_as_pytorch(network);
    }
}
