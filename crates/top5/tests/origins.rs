//! Where a file of weights comes from decides how its images are prepared, and its input which heads are built.

use std::collections::BTreeMap;
use std::fs;

use top5::formats::{Pick, onnx, safetensors};
use top5::graph::{Tensor, Weights};
use top5::zoo::network;
use top5::{CONFIG_FILE, Model, ModelError, PREPROCESSOR_FILE, WEIGHTS_FILE, WeightFiles};

#[test]
fn weights_in_files_of_pytorch_want_its_images_where_they_were_converted() {
    let legacy = network("legacy_seresnet50").unwrap();
    let weights = Model::untrained(legacy, 0).unwrap().weights;
    let model = Model::from_bytes(&safetensors::write(&weights, &BTreeMap::new())).unwrap();
    assert_eq!(model.graph.name(), legacy.name);
    assert_eq!(model.preprocess.std, [0.229, 0.224, 0.225]);
    // Caffe's own are bytes less a mean.
    assert_eq!(top5::preprocessing(legacy, legacy.input).std, [1.0 / 255.0; 3]);
}

#[test]
fn heads_that_the_input_has_no_room_for_are_left_out() {
    let mut model = Model::untrained(network("inception_v3").unwrap(), 0).unwrap();
    assert!(model.weights.tensor("AuxLogits.fc.weight").is_some());
    model.preprocess.input_size = [3, 192, 256];
    let read = Model::from_bytes(&model.to_bytes()).unwrap();
    assert_eq!((read.graph.input(), read.graph.outputs().len()), ([3, 192, 256], 1));
    assert!(read.weights.tensor("AuxLogits.fc.weight").is_none());
    assert_eq!(read.weights.tensor("fc.weight"), model.weights.tensor("fc.weight"));
    let bytes = read.to_onnx(onnx::Options { fold: true, batch: None }).unwrap();
    assert_eq!(Model::from_bytes(&bytes).unwrap().graph.input(), [3, 192, 256]);
}

#[test]
fn folders_of_transformers_are_read_with_their_classes_and_preprocessing() {
    let resnet = network("resnet18").unwrap();
    let model = Model::untrained(resnet, 1).unwrap();
    let theirs = |name: &str| {
        let parts: Vec<&str> = name.split('.').collect();
        let of = |layer: &str| if layer.contains("conv") { "convolution" } else { "normalization" };
        let number = |layer: &str| layer[layer.len() - 1..].parse::<usize>().unwrap() - 1;
        match parts[..] {
            ["fc", role] => format!("classifier.1.{role}"),
            [layer, role] => format!("resnet.embedder.embedder.{}.{role}", of(layer)),
            [stage, block, ref rest @ ..] => {
                let block = format!("resnet.encoder.stages.{}.layers.{block}", number(stage));
                match rest {
                    ["downsample", "0", role] => format!("{block}.shortcut.convolution.{role}"),
                    ["downsample", _, role] => format!("{block}.shortcut.normalization.{role}"),
                    [layer, role] => {
                        format!("{block}.layer.{}.{}.{role}", number(layer), of(layer))
                    }
                    _ => unreachable!("{name}"),
                }
            }
            [] | [_] => unreachable!("{name}"),
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let renamed =
        model.weights.iter().map(|(name, tensor)| (theirs(name), tensor.clone())).collect();
    write(WEIGHTS_FILE, &safetensors::write(&renamed, &BTreeMap::new()));
    let names: BTreeMap<String, String> =
        (0..1000).map(|class| (class.to_string(), format!("kind {class}"))).collect();
    let config = serde_json::json!({
        "model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2],
        "hidden_sizes": [64, 128, 256, 512], "id2label": names,
    });
    write(CONFIG_FILE, config.to_string().as_bytes());
    write(
        PREPROCESSOR_FILE,
        br#"{"crop_pct": 0.95, "resample": 2, "size": {"shortest_edge": 192}}"#,
    );
    let read = Model::load(folder.path()).unwrap();
    assert_eq!((read.graph.name(), read.graph.input()), ("resnet18", [3, 192, 192]));
    assert!(read.weights == model.weights && read.classes[10] == "kind 10");
    assert_eq!(
        (read.preprocess.crop_pct, read.preprocess.interpolation.name()),
        (0.95, "bilinear")
    );
}

#[test]
fn a_file_with_a_usual_name_is_described_by_what_lies_beside_it() {
    let lenet = network("lenet").unwrap();
    let model = Model::untrained(lenet, 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let bytes = safetensors::write(&model.weights, &BTreeMap::new());
    let names: Vec<String> = (0..10).map(|digit| format!("digit {digit}")).collect();
    let config = |more: &str| {
        let names = serde_json::to_string(&names).unwrap();
        let text = format!(
            r#"{{"architecture": "lenet", "label_names": {names}, {more} "pretrained_cfg": {{"input_size": [1, 28, 28], "mean": [0.25],
                "std": [0.5]}}}}"#
        );
        fs::write(place(CONFIG_FILE), text).unwrap();
    };
    for name in [WEIGHTS_FILE, "other.safetensors"] {
        fs::write(place(name), &bytes).unwrap();
    }
    let std = |name: &str| Model::load(place(name)).unwrap().preprocess.std;
    let usual = std(WEIGHTS_FILE);
    config("");
    assert_eq!((std(WEIGHTS_FILE), std("other.safetensors")), (vec![0.5], usual.clone()));
    let opened = WeightFiles::at(place(WEIGHTS_FILE)).unwrap();
    let read = opened.open(None, &Pick::Weights).unwrap();
    assert_eq!(read.model.classes, names);
    assert!(read.notes[0].contains("config.json"), "{:?}", read.notes);
    // Who names the network says how its images are prepared.
    assert_eq!(opened.load(Some(lenet)).unwrap().preprocess.std, usual);
    config(r#""global_pool": "max","#);
    let error = Model::load(place(WEIGHTS_FILE)).unwrap_err();
    assert!(format!("{error:?}").contains("global_pool"), "{error:?}");
    for other in [r#"{"learning_rate": 0.1}"#, "[", ""] {
        fs::write(place(CONFIG_FILE), other).unwrap();
        assert_eq!(std(WEIGHTS_FILE), usual, "{other}");
    }
}

#[test]
fn tensors_that_are_not_read_are_the_reason_where_they_are_what_is_missing() {
    let lenet = Model::untrained(network("lenet").unwrap(), 0).unwrap().weights;
    let read = |weights: &Weights, unread: &str| {
        let bytes = safetensors::write(weights, &BTreeMap::new());
        let as_floats = format!("\"{unread}\":{{\"dtype\":\"F32\"");
        let at = bytes.windows(as_floats.len()).position(|text| text == as_floats.as_bytes());
        let at = at.unwrap() + as_floats.len() - 4;
        let file = [&bytes[..at], b"Q32", &bytes[at + 3..]].concat();
        Model::from_bytes(&file)
    };
    let (first, tensor) = lenet.iter().next().unwrap();
    let error = read(&lenet, first).unwrap_err();
    assert!(matches!(&error, ModelError::Format(_)), "{error}");
    assert!(error.to_string().contains(&format!("tensor `{first}` has the type `Q32`")), "{error}");

    let mut beside = lenet.clone();
    beside.insert("beside", tensor.clone());
    assert!(read(&beside, "beside").is_ok());
    let nan = vec![f32::NAN; tensor.data().len()];
    beside.insert(first, Tensor::new(tensor.shape(), nan).unwrap());
    let error = read(&beside, "beside").unwrap_err();
    assert!(matches!(error, ModelError::NonFinite { .. }), "{error}");
}

#[test]
fn weights_of_another_network_are_told_to_be_those() {
    let weights = |name: &str| Model::untrained(network(name).unwrap(), 0).unwrap().weights;
    let folder = tempfile::tempdir().unwrap();
    let error = |named: &str, weights: &Weights| {
        let path = folder.path().join(WEIGHTS_FILE);
        fs::write(&path, safetensors::write(weights, &BTreeMap::new())).unwrap();
        let error = WeightFiles::at(path).unwrap().load(Some(network(named).unwrap())).unwrap_err();
        if let ModelError::File { source, .. } = error { *source } else { error }
    };
    let own = weights("resnet20_cifar");
    let other = error("resnet32_cifar", &own);
    assert!(matches!(other, ModelError::Other { meant: "resnet20_cifar", .. }), "{other:?}");
    let said = other.to_string();
    assert!(said.starts_with("the weights are not those of resnet32_cifar\n  missing ("), "{said}");
    assert!(said.ends_with("\n  they are those of resnet20_cifar: name that network"), "{said}");

    // Who lacks a tensor is no other network.
    let mut lacking = Weights::default();
    for (name, tensor) in own.iter().skip(1) {
        lacking.insert(name, tensor.clone());
    }
    for named in ["resnet20_cifar", "resnet32_cifar"] {
        let error = error(named, &lacking);
        assert!(matches!(error, ModelError::Weights(_)), "{error:?}");
    }
}
