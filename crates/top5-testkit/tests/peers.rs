//! The reference engine against PyTorch: the files of `shared/reference`, with graphs built here.

use std::collections::BTreeMap;
use top5_graph::{
    Device, Graph, NodeId, Retain, SessionOptions, Tensor, TrainingOptions, Var, k, net,
};
use top5_testkit::close::assert_close;
use top5_testkit::inside;
use top5_testkit::oracle::{self, Tolerances, check_forward, check_taps, check_training};
use top5_testkit::{ReferenceDevice, oracle::ForwardCase};

fn lenet() -> Graph {
    net("lenet", [1, 28, 28], |x| {
        let x = x.conv(6, k(5)).relu().max_pool(k(2).stride(2));
        let x = x.conv(16, k(5)).relu().max_pool(k(2).stride(2));
        x.flatten().linear(120).relu().linear(84).relu().linear(10)
    })
    .unwrap()
}

fn basic_block(x: Var<'_>, channels: usize, stride: usize) -> Var<'_> {
    let y = x.conv_bn(channels, k(3).stride(stride).pad(1)).relu();
    let y = y.conv_bn(channels, k(3).pad(1));
    let quarter = (channels - x.channels()) / 2;
    let shortcut =
        if quarter == 0 { x } else { x.subsample(stride).pad_channels(quarter, quarter) };
    (y + shortcut).relu()
}

fn resnet20() -> Graph {
    net("resnet20_cifar", [3, 32, 32], |x| {
        let mut x = x.conv_bn(16, k(3).pad(1)).relu();
        for stage in 0..3 {
            for block in 0..3 {
                let _scope = x.scope(format!("layer{}.{block}", stage + 1));
                x = basic_block(x, 16 << stage, if stage > 0 && block == 0 { 2 } else { 1 });
            }
        }
        x.global_avg_pool().linear(10).named("linear")
    })
    .unwrap()
}

/// The activations that have the name of a tap.
fn taps(graph: &Graph, case: &ForwardCase) -> BTreeMap<String, Tensor> {
    let nodes: Vec<(String, NodeId)> = case
        .taps
        .iter()
        .filter_map(|(path, ..)| graph.find(path).map(|node| (path.clone(), node.id)))
        .collect();
    let keep: Vec<NodeId> = nodes.iter().map(|(_, id)| *id).collect();
    let images = oracle::image(&case.input.name, &case.input.shape);
    let network = ReferenceDevice.network(graph, oracle::weights_for(graph), Retain::Nothing);
    let options = SessionOptions { keep, ..SessionOptions::inference(case.input.shape[0]) };
    let mut session = network.unwrap().session(graph, &options).unwrap();
    let kept = session.forward(images.data()).unwrap().kept;
    nodes.into_iter().map(|(path, _)| path).zip(kept).collect()
}

fn check(graph: Graph, tap_count: usize) {
    let Some(case) = oracle::forward(graph.name()) else { return };
    let mut names: Vec<_> = graph.params().map(|(n, p)| (n, p.shape.clone())).collect();
    let mut peer = case.tensors.clone();
    names.sort();
    peer.sort();
    assert_eq!(names, peer);
    assert_eq!(graph.param_count(), case.parameters);
    check_forward(&ReferenceDevice, &graph, &case, 1e-7);
    let taps = taps(&graph, &case);
    assert_eq!(taps.len(), tap_count);
    check_taps(&case, &taps, 1e-6).unwrap();
}

fn train(graph: Graph, tolerances: Tolerances) {
    let Some(case) = oracle::training(graph.name()) else { return };
    let options = TrainingOptions::new(case.batch.shape[0]);
    let weights = oracle::weights_for(&graph);
    let mut training = ReferenceDevice.training(&graph, &weights, &options).unwrap();
    check_training(training.as_mut(), &case, tolerances);
}

#[test]
fn lenet_equals_pytorch() {
    check(lenet(), 5);
}

#[test]
fn resnet20_equals_pytorch() {
    check(resnet20(), 39);
}

// Gradients, state and logits are handed out in f32, which bounds the tolerance from below; so does the learning
// rate of 0.01 as an f32 for everything after the first step.

#[test]
fn lenet_trains_as_in_pytorch() {
    let tolerances = Tolerances { first_loss: 1e-10, losses: 1e-7, gradients: 1e-7, state: 1e-6 };
    train(lenet(), tolerances);
}

#[test]
fn resnet20_trains_as_in_pytorch() {
    let tolerances = Tolerances { first_loss: 1e-10, losses: 1e-7, gradients: 1e-7, state: 1e-6 };
    train(resnet20(), tolerances);
}

#[test]
fn lenet_explains_as_in_pytorch() {
    let Some(signals) = inside::inside("lenet") else { return };
    for (name, rule, want) in signals {
        let got = inside::explain(&ReferenceDevice, &lenet(), rule).unwrap();
        assert_close(name, got.data(), want.data(), 1e-6);
    }
}
