//! Every network of the zoo is explained by every method, on one thread and on two, in passes of any number of images, with the
//! same bytes. The gate goes through small networks, `TOP5_EXHAUSTIVE` through all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use top5_cpu::{CpuDevice, Options};
use top5_explain::method::figure7::figure7;
use top5_explain::signal::Start;
use top5_explain::{ExplainError, Explainer, Explanation, Method, Pace, Target};
use top5_graph::{Device, EngineError, Graph, Retain, Stop};
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

/// The answers of all methods, in passes of at most two images.
fn answers(graph: &Graph, threads: usize, pace: Pace) -> Vec<Explanation> {
    let options = Options { threads: Some(threads), ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(graph, weights_for(graph), Retain::Tensors).unwrap();
    let mut explainer = Explainer::new(network, None, 2).unwrap().paced_by(pace);
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
fn exhaustive_every_network_is_explained_by_every_method_on_any_threads_in_any_passes() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let chosen =
        |network: &&Network| all || network.params <= GATE || network.name == "googlenet_cifar";
    let mut count = 0;
    for network in networks().filter(chosen) {
        let graph = small(network);
        let one = answers(&graph, 1, Arc::new(|| 2));
        // One by one, and some together.
        let turn = AtomicUsize::new(0);
        let two = answers(&graph, 2, Arc::new(move || turn.fetch_add(1, Relaxed) % 3));
        for (name, (one, two)) in Method::NAMES.iter().zip(one.iter().zip(&two)) {
            assert!(
                one == two,
                "{}, {name}: other bytes on two threads in other passes",
                network.name
            );
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

/// Somebody who has left, or whose time is over, has nothing computed on: whatever is asked ends at the next pass.
#[test]
fn everything_ends_when_it_is_stopped() {
    let graph = small(networks().find(|network| network.name == "lenet5").unwrap());
    let device = CpuDevice::new(&Options { threads: Some(1), ..Options::default() }).unwrap();
    let network = device.network(&graph, weights_for(&graph), Retain::Tensors).unwrap();
    let [channels, height, width] = graph.input();
    let input = image("input", &[1, channels, height, width]);
    let (input, stop) = (input.data(), Stop::new());
    let mut explainer = Explainer::new(network, None, 2).unwrap().stopped_by(stop.clone());
    let layer = explainer.layer().unwrap();
    let stopped = ExplainError::Engine(EngineError::Stopped);
    stop.set();
    for name in Method::NAMES {
        let (method, target) = (quick(name, height.min(width)), Target::class(1));
        let done = explainer.explain(&method, input, target, &mut |_, _| ());
        assert_eq!(done.map(|_| ()), Err(stopped.clone()), "{name}");
        if method.rule().is_some() {
            let done = explainer.project(&method, layer, Start::Strongest(0), input);
            assert_eq!(done.map(|_| ()), Err(stopped.clone()), "{name}");
        }
    }
    // In their midst, too.
    let mut told = 0;
    let mut leave = |_: usize, _: usize| {
        told += 1;
        stop.set();
    };
    stop.clear();
    let occlusion = Method::Occlusion { size: 4, stride: 4 };
    let done = explainer.explain(&occlusion, input, Target::class(1), &mut leave);
    assert_eq!(done.map(|_| ()), Err(stopped.clone()));
    stop.clear();
    let done = figure7(&mut explainer, input, 1, layer, [4, 4], &mut leave);
    assert_eq!(done.map(|_| ()), Err(stopped));
    assert_eq!(told, 2, "they went on after they were stopped");
}
