//! The engine against PyTorch: every file of `shared/reference` whose network is in the zoo.

use std::path::PathBuf;
use top5_cpu::{CpuDevice, Isa, Options};
use top5_graph::{Device, Graph, TrainingOptions};
use top5_testkit::oracle::{
    self, Tolerances, check_forward, check_forward_with, check_training, weights_for,
};
use top5_zoo::Network;

fn graph(name: &str) -> Graph {
    top5_zoo::network(name).unwrap().graph().unwrap()
}

fn forward(name: &str, options: &Options, tolerance: f64) {
    let Some(case) = oracle::forward(name) else { return };
    let [channels, height, width] = case.input.shape[1..] else { panic!("{name}: not images") };
    let graph = graph(name).with_input([channels, height, width]).unwrap();
    assert_eq!(graph.param_count(), case.parameters, "{name}");
    check_forward(&CpuDevice::new(options).unwrap(), &graph, &case, tolerance);
}

/// The networks that `shared/reference/forward` has a file for.
fn files() -> Vec<&'static Network> {
    let Some(shared) = oracle::shared() else { return Vec::new() };
    let files = std::fs::read_dir(shared.join("reference/forward")).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<String> = files.map(|file| name(file.unwrap().path())).collect();
    names.sort();
    assert!(names.len() > 60, "only {} files", names.len());
    names.iter().map(|name| top5_zoo::network(name).unwrap()).collect()
}

/// Every network of a family that there is a file for: parameters equal, logits within 1e-5 with exact kernels and
/// within 1e-4 with those that the engine chooses.
fn equals_its_peers(family: &str) {
    for network in files().into_iter().filter(|network| network.family == family) {
        let Some(case) = oracle::forward(network.name) else { return };
        let graph = network.graph().unwrap();
        assert_eq!(graph.input(), case.input.shape[1..], "{}", network.name);
        assert_eq!(graph.param_count(), case.parameters, "{}", network.name);
        let weights = weights_for(&graph);
        for (exact, tolerance) in [(true, 1e-5), (false, 1e-4)] {
            let options = Options { exact, ..Options::default() };
            let device = CpuDevice::new(&options).unwrap();
            check_forward_with(&device, &graph, weights.clone(), &case, tolerance);
        }
    }
}

macro_rules! families {
    ($($test:ident: $family:literal,)*) => {
        const FAMILIES: &[&str] = &[$($family),*];
        $(#[test]
        fn $test() {
            equals_its_peers($family);
        })*
    };
}

families! {
    lenets_equal_the_articles: "LeNet",
    alexnets_equal_their_peers: "AlexNet",
    vggs_equal_their_peers: "VGG",
    googlenets_equal_their_peers: "GoogLeNet",
    inceptions_equal_their_peers: "Inception",
    resnets_equal_their_peers: "ResNet",
    preactivation_resnets_equal_timms: "ResNet-v2",
    wide_resnets_equal_torchvisions: "Wide ResNet",
    resnexts_equal_their_peers: "ResNeXt",
    densenets_equal_torchvisions: "DenseNet",
    senets_equal_their_peers: "SENet",
    dpns_equal_timms: "DPN",
}

#[test]
fn every_file_is_compared() {
    for network in files() {
        assert!(FAMILIES.contains(&network.family), "{}: {}", network.name, network.family);
    }
}

fn train(name: &str, options: &Options, tolerances: Tolerances) {
    let Some(case) = oracle::training(name) else { return };
    let (graph, options_of) = (graph(name), TrainingOptions::new(case.batch.shape[0]));
    let device = CpuDevice::new(options).unwrap();
    let mut training = device.training(&graph, &weights_for(&graph), &options_of).unwrap();
    check_training(training.as_mut(), &case, tolerances);
}

#[test]
fn lenet_equals_pytorch_on_every_instruction_set() {
    for isa in Isa::available() {
        let options = Options { isa: Some(isa), exact: true, ..Options::default() };
        forward("lenet", &options, 1e-6);
        forward("alexnet_28", &options, 1e-5);
        let tolerances =
            Tolerances { first_loss: 1e-6, losses: 1e-6, gradients: 1e-5, state: 1e-5 };
        train("lenet", &options, tolerances);
    }
}
