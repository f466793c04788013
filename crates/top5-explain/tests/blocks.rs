//! Blocks are found in every network, and a network without a branch computes what one built without it does.

use std::collections::BTreeSet;

use top5_cpu::{CpuDevice, Options};
use top5_explain::blocks::{blocks, without};
use top5_graph::{Device, Graph, NodeId, Retain, SessionOptions, concat, k, net};
use top5_testkit::oracle::{image, weights_for};

/// An inception module, a residual unit with gates, and a classifier.
fn branched(name: &str, [inception, residual, shortcut, gates]: [bool; 4]) -> Graph {
    net(name, [3, 8, 8], |x| {
        let x = x.conv(8, k(3).pad(1)).named("stem").relu();
        let a = x.conv(4, 1).named("a").relu();
        let b = x.conv(4, k(3).pad(1)).named("b").relu();
        let b = if inception { b } else { b.times(0.0) };
        let x = concat([a, b]);
        let y = x.conv_bn(8, k(3).pad(1));
        let factors = y.global_avg_pool().conv(8, 1).named("gate").sigmoid();
        let y = if gates { y.scale(factors) } else { y };
        let y = if residual { y } else { y.times(0.0) };
        let x = if shortcut { x } else { x.times(0.0) };
        (y + x).relu().global_avg_pool().linear(5)
    })
    .unwrap()
}

fn logits(of: &Graph, form: &Graph) -> Vec<f32> {
    let options = Options { threads: Some(1), exact: true, ..Options::default() };
    let device = CpuDevice::new(&options).unwrap();
    let network = device.network(of, weights_for(of), Retain::Tensors).unwrap();
    let mut session = network.session(form, &SessionOptions::inference(1)).unwrap();
    let input = image("input", &[&[1], &of.input()[..]].concat()).into_data();
    session.forward(&input).unwrap().logits.into_data()
}

#[test]
fn networks_without_branches_answer_as_those_that_never_had_them() {
    let graph = branched("whole", [true; 4]);
    let found = blocks(&graph);
    assert_eq!(found.len(), 3);
    let [inception, gates, residual] = &found[..] else { unreachable!() };
    let names = |nodes: &[NodeId]| -> Vec<String> {
        nodes.iter().map(|&node| graph.node(node).name.clone()).collect()
    };
    assert_eq!(names(&inception.branches[1].layers), ["b", "relu3"]);
    assert_eq!([inception.gated, gates.gated, residual.gated], [false, true, false]);
    assert_eq!(names(&[inception.fork, gates.fork, residual.fork]), ["relu1", "bn1", "concat1"]);
    assert!(gates.branches[0].layers.is_empty() && residual.branches[1].layers.is_empty());
    assert_eq!(residual.branches[0].layers.len(), 6);
    let whole = logits(&graph, &graph);
    assert_eq!(logits(&graph, &without(&graph, &BTreeSet::new()).unwrap()), whole);
    for (off, parts) in [
        ((inception.join, 1), [false, true, true, true]),
        ((residual.join, 0), [true, false, true, true]),
        ((residual.join, 1), [true, true, false, true]),
        ((gates.join, 1), [true, true, true, false]),
    ] {
        let said = logits(&graph, &without(&graph, &[off].into()).unwrap());
        assert_ne!(said, whole, "{parts:?}");
        let built = branched("without", parts);
        assert_eq!(said, logits(&graph, &built.inference()), "{parts:?}");
    }
}

#[test]
fn every_network_is_rebuilt_as_it_was_and_without_each_branch() {
    for network in top5_zoo::networks() {
        let graph = network.graph().unwrap().inference();
        let same = without(&graph, &BTreeSet::new()).unwrap();
        assert_eq!(graph.nodes().len(), same.nodes().len(), "{}", network.name);
        for (old, new) in graph.nodes().iter().zip(same.nodes()) {
            assert_eq!((&old.name, &old.op, &old.inputs), (&new.name, &new.op, &new.inputs));
        }
        let Some(block) = blocks(&graph).pop() else { continue };
        assert!(block.fork < block.join && block.branches.len() > 1, "{}", network.name);
        let less = without(&graph, &[(block.join, 1)].into()).unwrap();
        assert_eq!(less.classes(), graph.classes());
        let own: BTreeSet<String> = graph.params().map(|(name, _)| name).collect();
        assert!(less.params().all(|(name, _)| own.contains(&name)), "{}", network.name);
    }
}
