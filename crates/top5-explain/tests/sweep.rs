//! Every network of the zoo is explained by every method, on one thread and on two with the same bytes. The gate goes through
//! small networks, `TOP5_EXHAUSTIVE` through all.

use top5_cpu::{CpuDevice, Options};
use top5_explain::{Explainer, Explanation, Method, Target};
use top5_graph::{Device, Graph, Retain};
use top5_testkit::oracle::{image, weights_for};
use top5_zoo::{Network, Settings, networks};

/// Most parameters of a network that the gate looks at.
const GATE: u64 = 2_000_000;

/// Sides of inputs that are tried before a network's own.
const SIDES: [usize; 4] = [32, 64, 96, 128];

/// The network for a few classes, and for the smallest input on which it has a layer of several cells.
fn small(network: &Network) -> Graph {
    let [channels, height, width] = network.input;
    let smaller = SIDES.into_iter().filter(|&side| side < height).map(|side| [side; 2]);
    let own = [height, width];
    smaller
        .chain([own])
        .find_map(|[height, width]| {
            let input = [channels, height, width];
            let graph =
                network.with(Settings { input, classes: 10, auxiliary: false }).ok()?.inference();
            top5_explain::layers::default_layer(&graph).map(|_| graph)
        })
        .unwrap_or_else(|| panic!("{}", network.name))
}

/// The method with so few passes that a sweep ends.
fn quick(name: &str, side: usize) -> Method {
    match Method::usual(name, side).unwrap() {
        Method::IntegratedGradients { .. } => Method::IntegratedGradients { steps: 2 },
        Method::Smoothgrad { level, seed, .. } => Method::Smoothgrad { samples: 2, level, seed },
        Method::Occlusion { .. } => Method::Occlusion { size: side / 2, stride: side / 2 },
        Method::Rise { cells, share, seed, .. } => Method::Rise { masks: 3, cells, share, seed },
        Method::Ablation { .. } => Method::Ablation { size: side / 2 },
        method @ (Method::Gradient
        | Method::Deconvnet
        | Method::Guided
        | Method::GradientTimesInput
        | Method::GradCam
        | Method::HiresCam
        | Method::GuidedGradCam) => method,
    }
}

/// The answers of all methods.
fn answers(graph: &Graph, threads: usize) -> Vec<Explanation> {
    let options = Options { threads: Some(threads), ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(graph, weights_for(graph), Retain::Tensors).unwrap();
    let mut explainer = Explainer::new(network, None, 2).unwrap();
    let [channels, height, width] = graph.input();
    let input = image("input", &[1, channels, height, width]);
    let mut answer = |name: &&str| {
        let (method, target) = (quick(name, height.min(width)), Target::class(1));
        let said = explainer.explain(&method, input.data(), target, &mut |_, _| ());
        said.unwrap_or_else(|error| panic!("{}, {name}: {error}", graph.name()))
    };
    Method::NAMES.iter().map(&mut answer).collect()
}

#[test]
fn exhaustive_every_network_is_explained_by_every_method_on_any_threads() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let chosen =
        |network: &&Network| all || network.params <= GATE || network.name == "googlenet_cifar";
    let mut count = 0;
    for network in networks().filter(chosen) {
        let graph = small(network);
        let [one, two] = [1, 2].map(|threads| answers(&graph, threads));
        for (name, (one, two)) in Method::NAMES.iter().zip(one.iter().zip(&two)) {
            assert!(one == two, "{}, {name}: other bytes on two threads", network.name);
            let [_, height, width] = graph.input();
            assert_eq!(
                [one.map.height(), one.map.width()],
                [height, width],
                "{}, {name}",
                network.name
            );
        }
        count += 1;
    }
    assert!(count >= 8, "{count} networks");
}
