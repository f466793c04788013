//! All that is written can be opened: every network, with another number of classes than its own, in every format, comes back as
//! it was. Nothing is computed with it.
//!
//! The gate goes through the smallest network of each kind of last layers, `cargo xtask exhaustive` through all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use top5::data::{CropMode, Image, Preprocess};
use top5::formats::{Pick, onnx, safetensors};
use top5::graph::{Graph, Tensor, Weights};
use top5::train::{Checkpoints, Recipe, State};
use top5::zoo::{Network, Settings, networks};
use top5::{CONFIG_FILE, Classifier, Model, Options, WEIGHTS_FILE, WeightFiles, preprocessing};
use top5_testkit::files::Stored;
use top5_testkit::files::torch::{Around, Container, checkpoint};

/// The kinds of the layers from the last one with parameters on, and how many heads there are.
fn ending(graph: &Graph) -> (Vec<&'static str>, usize) {
    let mut node = graph.logits();
    let mut kinds = vec![node.spec.kind];
    while node.spec.params.is_empty() {
        node = graph.node(node.inputs[0]);
        kinds.push(node.spec.kind);
    }
    (kinds, graph.outputs().len())
}

/// All networks, or the smallest of each ending.
fn cases() -> Vec<&'static Network> {
    let mut all: Vec<_> = networks().collect();
    if std::env::var_os("TOP5_EXHAUSTIVE").is_some() {
        return all;
    }
    all.sort_by_key(|network| network.params);
    let mut seen = BTreeSet::new();
    all.retain(|network| seen.insert(ending(&network.graph().unwrap())));
    all
}

/// Values that all types of elements hold exactly; no two tensors begin alike.
fn weights(graph: &Graph) -> Weights {
    let values = |at: usize, n: usize| (at..at + n).map(|i| (1 + i % 128) as f32 / 128.0).collect();
    let params = graph.params().enumerate();
    params
        .map(|(at, (name, param))| {
            let tensor = Tensor::new(param.shape.clone(), values(at, param.elements()));
            (name, tensor.unwrap())
        })
        .collect()
}

/// A model with more classes than its network is registered with, named, and images prepared in an unusual way.
fn model(network: &Network) -> Model {
    let classes = network.classes + 7;
    let graph = network.with(Settings { classes, ..network.settings() }).unwrap();
    let usual = preprocessing(network, graph.input());
    let preprocess = Preprocess { crop_pct: 0.75, crop_mode: CropMode::Squash, ..usual };
    let classes = (0..classes).map(|class| format!("class \"{class}\"")).collect();
    Model { weights: weights(&graph), graph, classes, preprocess }
}

fn assert_same(read: &Model, written: &Model, case: &str) {
    assert_eq!(read.graph.name(), written.graph.name(), "{case}");
    assert_eq!(read.graph.classes(), written.graph.classes(), "{case}");
    assert!(read.weights == written.weights, "{case}: other weights");
    assert_eq!(read.classes, written.classes, "{case}");
    assert_eq!(read.preprocess, written.preprocess, "{case}");
}

/// top5's own files, which describe themselves.
fn own_files_come_back(model: &Model, case: &str) {
    let read = Model::from_bytes(&model.to_bytes()).unwrap();
    assert_same(&read, model, case);
}

/// timm's folder, whose networks have no auxiliary heads; by its configuration alone, too.
fn timm_folders_come_back(model: &Model, folder: &Path, case: &str) {
    let model = model.clone().inference();
    let bare = safetensors::write(&model.weights, &BTreeMap::new());
    fs::write(folder.join(CONFIG_FILE), model.to_timm_config()).unwrap();
    for bytes in [model.to_bytes(), bare] {
        fs::write(folder.join(WEIGHTS_FILE), bytes).unwrap();
        assert_same(&Model::load(folder).unwrap(), &model, case);
    }
}

/// A file of tensors without a description.
type Writer = fn(&Weights) -> Vec<u8>;

/// Tensors alone, as others write them: the network is named, and its usual preprocessing taken. Where no tensor tells the number
/// of classes, it is the network's own.
fn tensors_come_back(network: &'static Network, model: &Model, folder: &Path, case: &str) {
    let tells = model.graph.logits().spec.kind != "rbf";
    let file = folder.join("tensors");
    let writers: [Writer; 3] = [
        |weights| safetensors::write(weights, &BTreeMap::new()),
        |weights| checkpoint(weights, Stored::F32, Container::Zip, Around::Training),
        |weights| checkpoint(weights, Stored::F16, Container::Legacy, Around::Nothing),
    ];
    for write in writers {
        fs::write(&file, write(&model.weights)).unwrap();
        let files = WeightFiles { weights: file.clone(), config: None, preprocessor: None };
        let read = files.open(Some(network), &Pick::Weights).unwrap().model;
        assert!(read.weights == model.weights, "{case}");
        let classes = if tells { model.graph.classes() } else { network.classes };
        assert_eq!((read.graph.name(), read.graph.classes()), (network.name, classes), "{case}");
    }
}

/// ONNX files: weights come back to the bit where nothing is folded, and the rest always.
fn onnx_files_come_back(model: &Model, case: &str) {
    let model = model.clone().inference();
    for fold in [false, true] {
        let bytes = model.to_onnx(onnx::Options { fold, batch: None }).unwrap();
        let read = Model::from_bytes(&bytes).unwrap();
        let weights = if fold { read.weights.clone() } else { model.weights.clone() };
        assert_same(&read, &Model { weights, ..model.clone() }, case);
    }
}

/// A run's checkpoints, of which the newest counts, also where it is a second one of its step.
fn checkpoints_come_back(model: &Model, folder: &Path, case: &str) {
    let classes = model.graph.classes();
    let recipe = Recipe {
        classes: Some(classes),
        preprocess: Some(model.preprocess.clone()),
        ..Recipe::usual(model.graph.name(), "photographs")
    };
    let mut state = State {
        recipe,
        data: [String::new(), String::new()],
        step: 3,
        loss_sum: 0.0,
        right: 0,
        right_top5: Some(0),
        images: 0,
        rows: Vec::new(),
        log_bytes: 0,
        weights: Weights::new(),
        optimizer: Weights::new(),
    };
    let mut checkpoints = Checkpoints::open(folder.join("checkpoints")).unwrap();
    for (step, weights) in [(3, Weights::new()), (7, Weights::new()), (7, model.weights.clone())] {
        (state.step, state.weights) = (step, weights);
        checkpoints.save(&state).unwrap();
    }
    let read = Model::load(folder).unwrap();
    let numbered = (0..classes).map(|class| class.to_string()).collect();
    assert_same(&read, &Model { classes: numbered, ..model.clone() }, case);
}

#[test]
fn exhaustive_every_network_comes_back_from_every_format() {
    let mut endings = BTreeSet::new();
    for network in cases() {
        let model = model(network);
        endings.insert(ending(&model.graph));
        let case = |format: &str| format!("{}: {format}", network.name);
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        own_files_come_back(&model, &case("its own file"));
        timm_folders_come_back(&model, &inside("timm"), &case("timm's folder"));
        tensors_come_back(network, &model, &inside("bare"), &case("tensors alone"));
        onnx_files_come_back(&model, &case("ONNX"));
        checkpoints_come_back(&model, &inside("run"), &case("a checkpoint"));
    }
    assert!(endings.len() >= 5, "{endings:?}");
}

/// A file of OverFeat's with nothing but a few biases in its last layer, where the published offsets put them; the rest is a hole.
fn overfeat_file(path: &Path, floats: u64, biases: &[(u64, f32)]) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = fs::File::create(path).unwrap();
    file.set_len(4 * floats).unwrap();
    for (class, bias) in biases {
        file.seek(SeekFrom::Start(4 * (floats - 1000 + class))).unwrap();
        file.write_all(&bias.to_le_bytes()).unwrap();
    }
}

#[test]
fn exhaustive_overfeats_raw_files_reach_a_top_five() {
    let all = std::env::var_os("TOP5_EXHAUSTIVE").is_some();
    let files = [("overfeat_fast", 145_920_872), ("overfeat_accurate", 144_656_488)];
    let biases = [(892, 5.0), (3, 4.0), (999, 3.0), (0, 2.0), (500, 1.0)];
    for (name, floats) in files.into_iter().take(if all { 2 } else { 1 }) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net_weight");
        overfeat_file(&path, floats, &biases);
        let model = Model::load(&path).unwrap();
        assert_eq!(model.graph.name(), name);
        // One mean of bytes for all pixels.
        assert!(model.preprocess.mean.iter().all(|mean| (mean - 118.381 / 255.0).abs() < 1e-5));
        let mut classifier = Classifier::new(model, 1, &Options::default()).unwrap();
        let predictions = classifier.predict(&Image::filled(3, 300, 260, 7), 5).unwrap();
        let labels: Vec<u64> = predictions.iter().map(|guess| guess.label.into()).collect();
        assert_eq!(labels, biases.map(|(class, _)| class));
        // Their names as OverFeat's own program has them.
        let classes: Vec<&str> = predictions.iter().map(|guess| &*guess.class).collect();
        let names = ["stinkhorn", "Australian terrier", "dumbbell", "kit fox", "tailed frog"];
        assert_eq!(classes, names);
    }
}
