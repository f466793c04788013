//! ONNX files, written and read back: every network is known by its structure, and what it computes stays.

use std::collections::{BTreeMap, BTreeSet};

use top5_formats::onnx::{Options, write};
use top5_formats::{FormatError, Onnx};
use top5_graph::random::{Stream, hash};
use top5_graph::{Graph, Tensor, Var, Weights, concat, k, net};
use top5_testkit::files::onnx::outward;
use top5_zoo::networks;

/// Parameters of the largest network that the gate goes through.
const GATE: u64 = 3_000_000;

/// Random weights; variances and scales are near one.
fn weights(graph: &Graph) -> Weights {
    graph
        .params()
        .map(|(name, param)| {
            let mut stream = Stream::new(7, hash(&name));
            let base = if name.ends_with("running_var") { 1.0 } else { 0.0 };
            let mut value = || base + 0.25 * stream.uniform();
            let values = (0..param.elements()).map(|_| value()).collect();
            (name, Tensor::new(param.shape.clone(), values).unwrap())
        })
        .collect()
}

fn file(graph: &Graph, weights: &Weights, fold: bool) -> Vec<u8> {
    write(graph, weights, Options { fold, batch: None }, &BTreeMap::new()).unwrap()
}

/// The largest difference of two sets of tensors, relative to the values.
fn distance(a: &Weights, b: &Weights) -> f32 {
    let pairs = a.iter().zip(b.iter());
    let pairs = pairs.inspect(|((a, _), (b, _))| assert_eq!(a, b));
    let values = pairs.flat_map(|((_, a), (_, b))| a.data().iter().zip(b.data()));
    values.map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f32::max)
}

#[test]
fn exhaustive_every_network_is_read_back() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let mut checked = 0;
    for network in networks().filter(|network| all || network.params <= GATE) {
        let graph = network.graph().unwrap().inference();
        let weights = weights(&graph);
        let bytes = file(&graph, &weights, false);
        let onnx = Onnx::read(&bytes).unwrap();
        let read = onnx.weights(&graph).unwrap_or_else(|| panic!("{}", network.name));
        assert_eq!(read.weights, weights, "{}", network.name);
        // Folded, the parameters are others and the values the same: folded again they are those of the file.
        let bytes = file(&graph, &weights, true);
        let onnx = Onnx::read(&bytes).unwrap();
        let read = onnx.weights(&graph).unwrap_or_else(|| panic!("{} folded", network.name));
        let again = file(&graph, &read.weights, true);
        let again = Onnx::read(&again).unwrap().weights(&graph).unwrap().weights;
        let far = distance(&read.weights, &again);
        assert!(far < 1e-5, "{}: {far}", network.name);
        checked += 1;
    }
    assert!(checked >= 6, "{checked} networks");
}

#[test]
fn networks_are_not_taken_for_each_other() {
    let small: Vec<Graph> = networks()
        .filter(|network| network.params <= GATE)
        .map(|network| network.graph().unwrap().inference())
        .collect();
    for graph in &small {
        let bytes = file(graph, &weights(graph), true);
        let onnx = Onnx::read(&bytes).unwrap();
        for other in small.iter().filter(|other| other.name() != graph.name()) {
            let taken = onnx.weights(other).is_some();
            // Two names may stand for one structure.
            assert!(!taken || other.macs() == graph.macs(), "{} {}", graph.name(), other.name());
        }
    }
}

/// A network with branches, a gate, a projection, and a normalisation that no convolution can take up.
fn branched(x: Var<'_>, filters: usize) -> Var<'_> {
    let y = x.batch_norm().relu();
    let y = concat([y.conv_bn(filters, 1).relu(), y.conv(4, k(3).pad(1)).max_pool(k(3).pad(1))]);
    let gate = y.global_avg_pool().linear(y.channels()).sigmoid();
    let z = y.scale(gate) + y.conv_bn(y.channels(), k(3).pad(1));
    z.relu().avg_pool(k(2).stride(2)).flatten().linear(5)
}

#[test]
fn structure_counts_and_names_do_not() {
    let graph = |filters| net("branched", [3, 8, 8], |x| branched(x.conv(6, 1), filters)).unwrap();
    let named = net("named", [3, 8, 8], |x| branched(x.conv(6, 1).named("first"), 4)).unwrap();
    let bytes = file(&graph(4), &weights(&graph(4)), true);
    let onnx = Onnx::read(&bytes).unwrap();
    assert_eq!(onnx.input(), [Some(3), Some(8), Some(8)]);
    assert_eq!(onnx.classes([3, 8, 8]), Ok(5));
    assert!(onnx.weights(&graph(4)).is_some());
    assert!(onnx.weights(&named).is_some());
    assert!(onnx.weights(&graph(5)).is_none());
    assert!(onnx.weights(&graph(4).with_input([3, 8, 8]).unwrap()).is_some());
    assert_eq!(onnx.census()[0], ("Conv", 4));
}

#[test]
fn damaged_files_are_errors_or_no_network() {
    let graph = net("branched", [3, 8, 8], |x| branched(x.conv(6, 1), 4)).unwrap();
    let bytes = file(&graph, &weights(&graph), true);
    let whole = Onnx::read(&bytes).unwrap().weights(&graph).unwrap().weights;
    for end in 0..bytes.len() {
        // The version of the operator set comes last, and is not needed.
        let cut = Onnx::read(&bytes[..end]).ok().and_then(|onnx| onnx.weights(&graph));
        assert!(cut.is_none_or(|cut| cut.weights == whole), "{end}");
    }
    let mut refused = 0;
    let mutants = if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 200_000 } else { 3_000 };
    for seed in 0..mutants {
        let mut mutant = bytes.clone();
        let mut stream = Stream::new(seed, 1);
        for _ in 0..=stream.below(3) {
            let at = stream.below(mutant.len());
            mutant[at] = stream.draw() as u8;
        }
        let read = Onnx::read(&mutant).map(|onnx| {
            drop(onnx.classes([3, 8, 8]));
            onnx.weights(&graph)
        });
        refused += usize::from(!matches!(read, Ok(Some(_))));
    }
    assert!(refused > 0);
}

/// What PyTorch's exporter writes: `model.onnx` and `model.onnx.data`.
#[test]
fn tensors_beside_the_file_are_read_and_nothing_else() {
    let graph = net("branched", [3, 8, 8], |x| branched(x.conv(6, 1), 4)).unwrap();
    let weights = weights(&graph);
    let whole = file(&graph, &weights, false);
    assert_eq!(Onnx::files_beside(&whole).unwrap().len(), 0);
    let name = "model.onnx.data";
    let [bytes, values] = outward(&whole, name);
    assert!(bytes.len() + values.len() < whole.len() + 10_000 && bytes.len() < whole.len());
    assert_eq!(Onnx::files_beside(&bytes).unwrap(), BTreeSet::from([name.to_owned()]));
    let beside = |name: &str, values: &[u8]| BTreeMap::from([(name.to_owned(), values.to_vec())]);
    let files = beside(name, &values);
    let read = Onnx::read_with(&bytes, &files).unwrap().weights(&graph).unwrap();
    assert_eq!(read.weights, weights);

    let error = Onnx::read(&bytes).unwrap_err().to_string();
    assert!(error.contains("`model.onnx.data`"), "{error}");
    let cut = beside(name, &values[..values.len() - 1]);
    let error = Onnx::read_with(&bytes, &cut).unwrap_err();
    assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
    for place in ["../model.data", "/etc/passwd", "sub/model.data", "", "..", "c:\\model.data"] {
        let [bytes, _] = outward(&whole, place);
        for error in [Onnx::files_beside(&bytes).unwrap_err(), Onnx::read(&bytes).unwrap_err()] {
            assert!(error.to_string().contains("not in a file beside it"), "{place}: {error}");
        }
    }
    for seed in 0..2_000 {
        let (mut mutant, mut stream) = (bytes.clone(), Stream::new(seed, 2));
        for _ in 0..=stream.below(3) {
            let at = stream.below(mutant.len());
            mutant[at] = stream.draw() as u8;
        }
        drop(Onnx::files_beside(&mutant));
        drop(Onnx::read_with(&mutant, &files).map(|onnx| onnx.weights(&graph)));
    }
}

#[test]
fn files_that_are_no_networks_are_named() {
    let empty = [8, 8];
    let error = Onnx::read(&empty).unwrap_err();
    assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
    let error = top5_formats::read_weights(b"\x08\x08\x12\x04top5").unwrap_err().to_string();
    assert!(error.contains("ONNX"), "{error}");
}
