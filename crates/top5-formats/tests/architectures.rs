//! Files that almost fit, for every registered network: what is wrong is listed by name, with the nearest names.
//!
//! The gate goes through the smaller networks, `cargo xtask exhaustive` through all.

use std::collections::BTreeMap;
use top5_formats::{fit, non_finite, read_weights, recognise, safetensors};
use top5_graph::{Graph, Tensor, Weights, WeightsError};
use top5_testkit::files::Stored;
use top5_testkit::files::torch::{Around, Container, checkpoint};
use top5_zoo::{Network, Settings, networks};

/// Parameters of the largest network that the gate goes through.
const GATE: u64 = 3_000_000;

fn zeros(graph: &Graph) -> Weights {
    graph.params().map(|(name, param)| (name, Tensor::zeros(param.shape.clone()))).collect()
}

/// A file of some format.
type Writer = fn(&Weights) -> Vec<u8>;

/// Files of every format that has names for tensors, in every type of elements.
const WRITERS: [Writer; 7] = [
    |weights| safetensors::write(weights, &BTreeMap::new()),
    |weights| typed_safetensors(weights, Stored::F16),
    |weights| typed_safetensors(weights, Stored::F64),
    |weights| checkpoint(weights, Stored::Bf16, Container::Zip, Around::Nothing),
    |weights| checkpoint(weights, Stored::F64, Container::EarlyZip, Around::Training),
    |weights| checkpoint(weights, Stored::F16, Container::Legacy, Around::Training),
    |weights| checkpoint(weights, Stored::F32, Container::Tar, Around::Nothing),
];

fn typed_safetensors(weights: &Weights, stored: Stored) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, tensor) in weights.iter() {
        let start = data.len();
        data.extend(stored.encode(tensor.data()));
        let (dtype, shape, end) = (stored.name(), tensor.shape(), data.len());
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// The name of the first tensor with another shape when its dimensions are reversed.
fn first_oblong(weights: &Weights) -> String {
    let oblong = |shape: &[usize]| !shape.iter().eq(shape.iter().rev());
    let found = weights.iter().find(|(_, tensor)| oblong(tensor.shape()));
    found.expect("some tensor is no cube").0.to_owned()
}

/// The tensors that this graph takes from a file with these: what `fit` says, through the file.
struct Import<'g> {
    writer: Writer,
    graph: &'g Graph,
}

impl Import<'_> {
    fn run(&self, weights: &Weights) -> Result<Weights, WeightsError> {
        fit(read_weights(&(self.writer)(weights)).unwrap().weights, self.graph)
    }
}

fn check(graph: &Graph, network: &Network, writer: Writer, case: &str) {
    let import = Import { writer, graph };
    let whole = zeros(graph);
    assert_eq!(import.run(&whole).as_ref(), Ok(&whole), "{case}");

    let mut transposed = whole.clone();
    // Not in an auxiliary head, whose tensors a file may have or lack.
    let victim = first_oblong(&zeros(&graph.inference()));
    let shape: Vec<usize> = whole.tensor(&victim).unwrap().shape().iter().rev().copied().collect();
    transposed.insert(&*victim, Tensor::zeros(shape.clone()));
    let error = import.run(&transposed).unwrap_err();
    assert_eq!((error.mismatched.len(), error.missing.len()), (1, 0), "{case}: {error}");
    let mismatch = &error.mismatched[0];
    assert_eq!((&mismatch.name, &mismatch.got), (&victim, &shape), "{case}");

    let settings = Settings { classes: network.classes + 1, ..network.settings() };
    let other = network.with(settings).unwrap();
    let error = Import { writer, graph: &other }.run(&whole).unwrap_err();
    assert!(!error.mismatched.is_empty(), "{case}: {error}");
    // Some networks end in a layer without parameters.
    if let Some(param) = graph.logits().spec.params.first() {
        let head = graph.logits().param_name(param);
        assert!(error.mismatched.iter().any(|mismatch| mismatch.name == head), "{case}: {error}");
    }
    assert!(error.missing.is_empty() && error.unexpected.is_empty(), "{case}: {error}");

    let mut renamed = whole.clone();
    let tensor = renamed.remove(&victim).unwrap();
    let error = import.run(&renamed).unwrap_err();
    assert_eq!((&error.missing, error.unexpected.len()), (&vec![victim.clone()], 0), "{case}");
    renamed.insert(format!("{victim}s"), tensor);
    let error = import.run(&renamed).unwrap_err();
    // A wrapper's prefix stays in the names of what is not known.
    let bare = |name: &String| name.strip_prefix("module.").unwrap_or(name).to_owned();
    let [unexpected] = &error.unexpected[..] else { panic!("{case}: {error}") };
    assert_eq!(bare(unexpected), format!("{victim}s"), "{case}: {error}");
    assert_eq!(error.nearest(&victim), Some(unexpected.as_str()), "{case}");
    assert!(error.to_string().contains(&format!("nearest: {unexpected}")), "{case}: {error}");

    let mut extra = whole.clone();
    extra.insert("one.too.many", Tensor::zeros([1]));
    let error = import.run(&extra).unwrap_err();
    let unexpected: Vec<String> = error.unexpected.iter().map(bare).collect();
    assert_eq!(unexpected, ["one.too.many"], "{case}");

    let mut nan = whole;
    let data = nan.tensor_mut(&victim).unwrap().data_mut();
    (data[0], data[1]) = (f32::NAN, f32::NEG_INFINITY);
    let fitted = import.run(&nan).unwrap();
    assert_eq!(non_finite(&fitted), [(victim.as_str(), 2)], "{case}");
}

/// The ResNets of kuangliu's pytorch-cifar compute what the article's code does, under names of their own.
#[test]
fn resnets_of_pytorch_cifar_are_those_of_the_articles_code() {
    let candidates: Vec<Graph> = networks().map(|network| network.graph().unwrap()).collect();
    for name in ["resnet18_cifar", "resnet50_cifar"] {
        let graph = top5_zoo::network(name).unwrap().graph().unwrap();
        let whole: Weights = graph
            .params()
            .enumerate()
            .map(|(at, (name, param))| {
                let values = vec![at as f32; param.elements()];
                (name, Tensor::new(param.shape.clone(), values).unwrap())
            })
            .collect();
        let theirs = |name: &str| {
            let mut name = name.replace("conv1.0.", "conv1.").replace("conv1.1.", "bn1.");
            for stage in 1..5 {
                name = name.replace(&format!("conv{}_x.", stage + 1), &format!("layer{stage}."));
            }
            for (at, part) in
                ["conv1", "bn1", "", "conv2", "bn2", "", "conv3", "bn3"].iter().enumerate()
            {
                name = name.replace(&format!("residual_function.{at}."), &format!("{part}."));
            }
            format!("module.{}", name.replace("fc.", "linear."))
        };
        let file: Weights =
            whole.iter().map(|(name, tensor)| (theirs(name), tensor.clone())).collect();
        assert!(file.tensor("module.layer4.1.conv2.weight").is_some());
        assert_eq!(recognise(&file, &candidates), [name]);
        assert_eq!(fit(file, &graph), Ok(whole));
    }
}

#[test]
fn exhaustive_files_that_almost_fit_every_network() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let mut checked = 0;
    for network in networks().filter(|network| all || network.params <= GATE) {
        let graph = network.graph().unwrap();
        let writers = if network.params <= GATE { &WRITERS[..] } else { &WRITERS[..1] };
        for (i, &writer) in writers.iter().enumerate() {
            check(&graph, network, writer, &format!("{} in format {i}", graph.name()));
        }
        checked += 1;
    }
    assert!(checked >= 6, "{checked} networks");
}
