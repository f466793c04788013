//! ONNX files, written and read back: every network is known by its structure, and what it computes stays.

use std::collections::{BTreeMap, BTreeSet};

use top5_formats::onnx::{Options, write};
use top5_formats::{FormatError, Onnx};
use top5_graph::random::{Stream, hash};
use top5_graph::{Graph, Tensor, Var, Weights, concat, k, net};
use top5_testkit::files::onnx::{after, before, floats, ints, node, outward};
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
    assert_eq!(onnx.classes([3, 8, 8]), Ok(vec![5]));
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
    assert_eq!(Onnx::read(&whole).unwrap().files_beside().len(), 0);
    let name = "model.onnx.data";
    let [bytes, values] = outward(&whole, name);
    assert!(bytes.len() + values.len() < whole.len() + 10_000 && bytes.len() < whole.len());
    let names = Onnx::read(&bytes).unwrap().files_beside();
    assert_eq!(names, BTreeSet::from([name.to_owned()]));
    let beside = |name: &str, values: &[u8]| BTreeMap::from([(name.to_owned(), values.to_vec())]);
    let files = beside(name, &values);
    let with = |files| Onnx::read(&bytes).unwrap().with_files(files);
    let read = with(&files).unwrap().weights(&graph).unwrap();
    assert_eq!(read.weights, weights);

    let none = BTreeMap::new();
    let error = with(&none).unwrap_err().to_string();
    assert!(error.contains("`model.onnx.data`"), "{error}");
    let cut = beside(name, &values[..values.len() - 1]);
    let error = with(&cut).unwrap_err();
    assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
    for place in ["../model.data", "/etc/passwd", "sub/model.data", "", "..", "c:\\model.data"] {
        let [bytes, _] = outward(&whole, place);
        let error = Onnx::read(&bytes).unwrap_err();
        assert!(error.to_string().contains("not in a file beside it"), "{place}: {error}");
    }
    for seed in 0..2_000 {
        let (mut mutant, mut stream) = (bytes.clone(), Stream::new(seed, 2));
        for _ in 0..=stream.below(3) {
            let at = stream.below(mutant.len());
            mutant[at] = stream.draw() as u8;
        }
        let read = Onnx::read(&mutant).and_then(|onnx| onnx.with_files(&files));
        drop(read.map(|onnx| onnx.weights(&graph)));
    }
}

/// Before a network of three channels of 8×8: nodes with their tensors, the input's type and size, and what is found: for each channel
/// the input's, its factor and its term.
type Prepared = (Vec<Vec<u8>>, u8, [u64; 4], [(usize, [f64; 2]); 3]);

fn preparations() -> Vec<Prepared> {
    const FLOAT: u8 = 1;
    const UINT8: u8 = 2;
    let (first, last) = ([1, 3, 8, 8], [1, 8, 8, 3]);
    let mean = |dims: &[u64]| floats("mean", dims, &[0.5, 0.25, 0.125]);
    let std = floats("std", &[3, 1, 1], &[0.5, 0.25, 0.125]);
    let normal = [(0, [2.0, -1.0]), (1, [4.0, -1.0]), (2, [8.0, -1.0])];
    let falling = [(0, [1.0, -0.5]), (1, [1.0, -0.25]), (2, [1.0, -0.125])];
    let turned = [(2, [1.0, -0.125]), (1, [1.0, -0.25]), (0, [1.0, -0.5])];
    let less = |input| node("Sub", &[input, "mean"], "input", &[]);
    vec![
        // Torchvision's normalisation, and the same as a factor and a term that the file has still to compute.
        (
            vec![
                node("Sub", &["pixels", "mean"], "less", &[]),
                node("Div", &["less", "std"], "input", &[]),
                mean(&[1, 3, 1, 1]),
                std.clone(),
            ],
            FLOAT,
            first,
            normal,
        ),
        (
            vec![
                node("Reciprocal", &["std"], "factor", &[]),
                node("Neg", &["mean"], "minus", &[]),
                node("Mul", &["minus", "factor"], "term", &[]),
                node("Reshape", &["term", "shape"], "terms", &[]),
                node("Mul", &["factor", "pixels"], "times", &[]),
                node("Add", &["times", "terms"], "input", &[]),
                ints("shape", &[1, 3, 1, 1]),
                mean(&[3]),
                std,
            ],
            FLOAT,
            first,
            normal,
        ),
        // Bytes with their channels last.
        (
            vec![
                node("Transpose", &["pixels"], "turned", &[("perm", &[0, 3, 1, 2])]),
                node("Cast", &["turned"], "floats", &[("to", &[1])]),
                node("Div", &["floats", "most"], "input", &[]),
                floats("most", &[], &[256.0]),
            ],
            UINT8,
            last,
            [0, 1, 2].map(|channel| (channel, [1.0 / 256.0, 0.0])),
        ),
        (
            vec![
                node("Sub", &["pixels", "mean"], "less", &[]),
                node("Transpose", &["less"], "input", &[("perm", &[0, 3, 1, 2])]),
                mean(&[3]),
            ],
            FLOAT,
            last,
            falling,
        ),
        // Turned to blue first, as Caffe's means tell that rise from it.
        (
            vec![
                node("Gather", &["pixels", "order"], "blue", &[("axis", &[1])]),
                less("blue"),
                floats("mean", &[3, 1, 1], &[0.125, 0.25, 0.5]),
                ints("order", &[2, 1, 0]),
            ],
            FLOAT,
            first,
            turned,
        ),
        // Turned from blue first, since the means fall.
        (
            vec![
                node("Slice", &["pixels", "back", "end", "axis", "back"], "red", &[]),
                less("red"),
                mean(&[3, 1, 1]),
                ints("back", &[-1]),
                ints("end", &[i64::MIN]),
                ints("axis", &[1]),
            ],
            FLOAT,
            first,
            falling,
        ),
        // Channel by channel.
        (
            [
                [0, 1, 2].map(|c| ints(["i0", "i1", "i2"][c], &[c as i64])).to_vec(),
                [0, 1, 2]
                    .map(|c| {
                        let [index, one, two] =
                            [["i0", "i1", "i2"][c], ["a0", "a1", "a2"][c], ["b0", "b1", "b2"][c]];
                        let gather = node("Gather", &["pixels", index], one, &[("axis", &[1])]);
                        [gather, node("Mul", &[one, "two"], two, &[])].concat()
                    })
                    .to_vec(),
                vec![
                    node("Concat", &["b0", "b1", "b2"], "input", &[("axis", &[1])]),
                    floats("two", &[], &[2.0]),
                ],
            ]
            .concat(),
            FLOAT,
            first,
            [0, 1, 2].map(|channel| (channel, [2.0, 0.0])),
        ),
    ]
}

#[test]
fn what_a_file_does_to_its_input_is_told_apart_from_the_network() {
    let graph = net("branched", [3, 8, 8], |x| branched(x.conv(6, 1), 4)).unwrap();
    let weights = weights(&graph);
    let whole = file(&graph, &weights, false);
    for (case, (added, kind, dims, expected)) in preparations().into_iter().enumerate() {
        let bytes = before(&whole, kind, &dims, &added);
        let onnx = Onnx::read(&bytes).unwrap();
        assert_eq!(onnx.input(), [Some(3), Some(8), Some(8)], "{case}");
        let intake = onnx.intake().unwrap_or_else(|| panic!("{case}"));
        assert_eq!(intake.bytes, kind == 2, "{case}");
        let red = added.iter().any(|part| part.windows(3).any(|text| text == b"red"));
        assert_eq!(intake.blue_first, red, "{case}");
        for (&(source, line), (wanted, other)) in intake.channels.iter().zip(expected) {
            assert_eq!(source, wanted, "{case}");
            assert!(line.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-7), "{case}: {line:?}");
        }
        let read = onnx.weights(&graph).unwrap_or_else(|| panic!("{case}")).weights;
        let turned = intake.channels[0].0 == 2;
        for (name, tensor) in read.iter() {
            let mut wanted = weights.tensor(name).unwrap().data().to_vec();
            if turned && name == "conv1.weight" {
                wanted.chunks_mut(3).for_each(<[f32]>::reverse);
            }
            assert_eq!(tensor.data(), wanted, "{case}: {name}");
        }
    }
    // What is read before and after is no preparation of the network's input.
    let added = [node("Neg", &["pixels"], "input", &[])];
    let bytes = before(&whole, 1, &[1, 3, 8, 8], &added);
    let onnx = Onnx::read(&bytes).unwrap();
    assert!(onnx.intake().is_none() && onnx.weights(&graph).is_none());
    let departs = onnx.alike(&graph).unwrap().departs;
    assert_eq!(departs, ["Neg", "input"].map(str::to_owned));
    for (op, number) in [("Mul", 0.0), ("Mul", f32::NAN), ("Div", 0.0), ("Add", f32::INFINITY)] {
        let added = [node(op, &["pixels", "by"], "input", &[]), floats("by", &[1], &[number])];
        let bytes = before(&whole, 1, &[1, 3, 8, 8], &added);
        let onnx = Onnx::read(&bytes).unwrap();
        assert!(onnx.intake().is_none() && onnx.weights(&graph).is_none(), "{op} {number}");
    }
    let added = [
        node("Add", &["pixels", "one"], "input", &[]),
        node("Sum", &["pixels", "logits"], "y", &[]),
        floats("one", &[1], &[1.0]),
    ];
    let bytes = before(&whole, 1, &[1, 3, 8, 8], &added);
    let reason = Onnx::read(&bytes).unwrap().classes([3, 8, 8]).unwrap_err();
    assert!(reason.contains("in several forms"), "{reason}");
}

#[test]
fn logits_are_found_before_what_is_made_of_them() {
    let graph = net("branched", [3, 8, 8], |x| branched(x.conv(6, 1), 4)).unwrap();
    let weights = weights(&graph);
    let whole = file(&graph, &weights, false);
    let softmax = || node("Softmax", &["logits"], "softmax", &[("axis", &[1])]);
    for (results, added, left_out) in [
        (vec!["softmax"], vec![softmax()], vec![]),
        (vec!["y"], vec![node("LogSoftmax", &["logits"], "y", &[])], vec![]),
        (vec!["y", "logits"], vec![node("ArgMax", &["logits"], "y", &[])], vec!["ArgMax"]),
        (vec!["logits", "softmax"], vec![softmax()], vec![]),
        (
            vec!["best"],
            vec![softmax(), node("TopK", &["softmax", "k"], "best", &[]), ints("k", &[5])],
            vec!["TopK"],
        ),
        (
            vec!["y"],
            vec![node("Mul", &["one", "logits"], "y", &[]), floats("one", &[], &[1.0])],
            vec![],
        ),
        // The second result, beside another of the network's values.
        (vec!["relu1", "softmax"], vec![softmax()], vec![]),
    ] {
        let bytes = after(&whole, &results, &added);
        let onnx = Onnx::read(&bytes).unwrap();
        assert_eq!(onnx.tail(), left_out, "{results:?}");
        let read = onnx.weights(&graph).unwrap_or_else(|| panic!("{results:?}"));
        assert_eq!(read.weights, weights, "{results:?}");
    }
}

#[test]
fn normalisation_by_the_batch_is_refused() {
    let graph =
        net("normal", [3, 8, 8], |x| x.conv(4, 1).batch_norm().flatten().linear(2)).unwrap();
    let whole = file(&graph, &weights(&graph), false);
    assert!(Onnx::read(&whole).unwrap().weights(&graph).is_some());
    let tensors = [["g", "b", "m", "v"].map(|name| floats(name, &[3], &[1.0; 3])).concat()];
    let norm = node(
        "BatchNormalization",
        &["pixels", "g", "b", "m", "v"],
        "input",
        &[("training_mode", &[1])],
    );
    let bytes = before(&whole, 1, &[1, 3, 8, 8], &[tensors.concat(), norm]);
    let reason = Onnx::read(&bytes).unwrap().classes([3, 8, 8]).unwrap_err();
    assert!(reason.contains("`model.eval()`"), "{reason}");
}

#[test]
fn files_that_are_no_networks_are_named() {
    let empty = [8, 8];
    let error = Onnx::read(&empty).unwrap_err();
    assert!(matches!(error, FormatError::Malformed { .. }), "{error}");
    let error = top5_formats::read_weights(b"\x08\x08\x12\x04top5").unwrap_err().to_string();
    assert!(error.contains("ONNX"), "{error}");
}
