//! Weights from strangers, as a user runs into them: damaged, hostile, or another network's.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use top5::formats::{self, safetensors};
use top5::graph::{Tensor, Weights};
use top5::{Model, zoo};
use top5_testkit::files::caffe::field;
use top5_testkit::files::onnx::outward;

use crate::program::Place;
use crate::train::three_classes;

fn file(weights: &Weights) -> Vec<u8> {
    safetensors::write(weights, &BTreeMap::new())
}

fn resnet20() -> Weights {
    let graph = zoo::network("resnet20_cifar").unwrap().graph().unwrap();
    let variance = |name: &str| if name.ends_with("running_var") { 1.0 } else { 0.25 };
    graph
        .params()
        .map(|(name, param)| {
            let values = vec![variance(&name); param.elements()];
            (name, Tensor::new(param.shape.clone(), values).unwrap())
        })
        .collect()
}

/// A pickle in PyTorch's legacy container that would call `os.system("touch CANARY")`.
fn touching(canary: &str) -> Vec<u8> {
    let command = format!("touch {canary}");
    [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02cos\nsystem\nX".as_slice(),
        &(command.len() as u32).to_le_bytes(),
        command.as_bytes(),
        b"\x85R.",
    ]
    .concat()
}

#[test]
fn hostile_files_end_with_3_and_a_message_and_run_nothing() {
    let place = Place::new();
    let canary = place.path("canary");
    let whole = file(&resnet20());
    let mut infinite = resnet20();
    infinite.tensor_mut("linear.bias").unwrap().data_mut()[3] = f32::INFINITY;
    let mut foreign = resnet20();
    let tensor = foreign.remove("conv1.weight").unwrap();
    foreign.insert("conv1.weights", tensor);
    for (name, bytes, word) in [
        ("code.pth", touching(canary.to_str().unwrap()), "os.system"),
        ("cut.safetensors", whole[..whole.len() / 2].to_vec(), "damaged safetensors"),
        ("long.safetensors", [whole.as_slice(), b"x"].concat(), "after the last tensor"),
        ("huge.safetensors", [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat(), "weights"),
        ("page.pth", b"<!DOCTYPE html><title>Sign in</title>".to_vec(), "web page"),
        ("layers.caffemodel", b"\x0a\x04tiny\xa2\x06\x7f".to_vec(), "Caffe"),
        ("infinite.safetensors", file(&infinite), "1 weights are NaN or infinite"),
        ("foreign.safetensors", file(&foreign), "nearest: conv1.weights"),
        ("empty.pt", Vec::new(), "empty"),
    ] {
        fs::write(place.path(name), bytes).unwrap();
        let line = format!("convert resnet20_cifar out.safetensors --weights {name}");
        place.fails(&line, 3, &[word, name]);
        assert!(!place.path("out.safetensors").exists(), "{name}");
    }
    assert!(!canary.exists());
}

#[test]
fn weights_are_recognised_and_survive_every_way_through_the_program() {
    let place = Place::new();
    let wrapped: Weights =
        resnet20().into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    fs::write(place.path("theirs.safetensors"), file(&wrapped)).unwrap();
    assert_eq!(place.json("convert theirs.safetensors folder")["network"], "resnet20_cifar");
    place.text("convert local-dir:folder again.safetensors");
    assert_eq!(Model::load(place.path("again.safetensors")).unwrap().weights, resnet20());
}

/// PyTorch's exporter puts the tensors into a file of their own.
#[test]
fn onnx_files_with_their_tensors_beside_them_are_models() {
    let place = Place::new();
    place.text("convert lenet whole.onnx");
    let [file, values] = outward(&fs::read(place.path("whole.onnx")).unwrap(), "model.data");
    fs::create_dir(place.path("folder")).unwrap();
    fs::write(place.path("folder/model.onnx"), &file).unwrap();
    fs::write(place.path("folder/model.data"), &values).unwrap();
    let eval = |model: &str| place.json(&format!("eval {model}"));
    let told = |report: &Value| report["loss"].clone();
    let (whole, beside) = (eval("whole.onnx"), eval("folder"));
    assert_eq!(told(&beside), told(&whole));
    let weights = |report: &Value| report["origin"]["weights"].clone();

    // Its tensors are part of what it is.
    let mut others = values.clone();
    others[0] ^= 1;
    fs::write(place.path("folder/model.data"), &others).unwrap();
    assert_ne!(weights(&eval("folder/model.onnx")), weights(&beside));
    fs::write(place.path("folder/model.data"), &values[..values.len() / 2]).unwrap();
    place.fails("eval folder", 3, &["model.onnx", "`model.data`", "damaged"]);
    fs::remove_file(place.path("folder/model.data")).unwrap();
    place.fails("eval folder", 4, &["folder/model.data"]);
}

/// As `timm.create_model(…, in_chans=1)` makes them.
#[test]
fn weights_for_gray_images_are_recognised_and_their_preprocessing_is_asked_for() {
    let place = Place::new();
    let first = |channels: usize| {
        let mut weights = resnet20();
        let weight = Tensor::new([16, channels, 3, 3], vec![0.25; 16 * channels * 9]).unwrap();
        weights.insert("conv1.weight", weight);
        file(&weights)
    };
    fs::write(place.path("gray.safetensors"), first(1)).unwrap();
    let ran = place.run("show gray.safetensors");
    assert!(ran.stdout.contains("input 1×32×32, 10 classes"), "{ran:?}");
    for word in ["takes 1 channel and not 3", "images become gray", "--std what it learnt with"] {
        assert!(ran.stderr.contains(word), "no {word}: {ran:?}");
    }
    place.text("convert gray.safetensors gray.onnx");
    // The file says by now how images are prepared.
    let ran = place.run("show gray.onnx");
    assert!(ran.stdout.contains("input 1×32×32") && !ran.stderr.contains("--mean"), "{ran:?}");
    fs::write(place.path("four.safetensors"), first(4)).unwrap();
    place.fails("show four.safetensors", 3, &["takes 4 channels, and images have 1 or 3"]);
    place.fails("show resnet20_cifar --weights four.safetensors", 3, &["takes 4 channels"]);
}

#[test]
fn rewritten_onnx_files_are_named() {
    let place = Place::new();
    for (op, words) in [("QuantizeLinear", "it is quantised"), ("FusedConv", "ONNX Runtime")] {
        let node = [field(1, b"x"), field(2, b"y"), field(4, op.as_bytes())].concat();
        let [input, output] = ["x", "y"].map(|name| field(1, name.as_bytes()));
        let graph = [field(1, &node), field(11, &input), field(12, &output)].concat();
        let model = [vec![8, 8], field(7, &graph)].concat();
        fs::write(place.path("x.onnx"), model).unwrap();
        place.fails("show x.onnx", 3, &["no network that top5 knows (1", op, words]);
    }
}

#[test]
fn timms_folder_is_without_auxiliary_heads_and_the_other_file_has_them() {
    let place = Place::new();
    let written = |out: &str| {
        let parameters =
            place.json(&format!("convert inception_v3 {out} --init 0"))["parameters"].clone();
        let path = if out == "folder" { "folder/model.safetensors" } else { out };
        let file = formats::read_weights(&fs::read(place.path(path)).unwrap()).unwrap();
        (parameters, file.weights.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
    };
    let (all, names) = written("whole.safetensors");
    assert_eq!(all, 27_161_264);
    assert!(names.iter().any(|name| name == "AuxLogits.fc.weight"));
    let (needed, main) = written("folder");
    assert_eq!(needed, 23_834_568);
    let names: Vec<_> = names.into_iter().filter(|name| !name.starts_with("AuxLogits.")).collect();
    assert_eq!(main, names);
    assert_eq!(place.json("convert folder again.safetensors")["parameters"], 23_834_568);
}

#[test]
fn a_folder_is_a_model_by_its_only_file_of_weights() {
    let place = Place::new();
    fs::create_dir_all(place.path("folder/sub")).unwrap();
    fs::write(place.path("folder/README.md"), "a model").unwrap();
    let nothing = ["folder: no weights in this folder", "model.safetensors", ".pth"];
    place.fails("show folder", 3, &nothing);
    place.fails("predict x.png --model folder", 3, &nothing);
    fs::write(place.path("folder/best.SafeTensors"), file(&resnet20())).unwrap();
    fs::write(place.path("folder/.hidden.safetensors"), "").unwrap();
    fs::write(place.path("folder/optimizer.pth"), "").unwrap();
    assert!(place.text("show folder").contains("resnet20_cifar"));
    fs::write(place.path("folder/last.safetensors"), file(&resnet20())).unwrap();
    place.fails("show folder", 3, &["several files of weights", "best.SafeTensors, last.safe"]);
    fs::write(place.path("folder/model.safetensors"), file(&resnet20())).unwrap();
    assert!(place.text("show folder").contains("resnet20_cifar"));
    // What is far from every network has no nearest.
    let lone: Weights = [("a.weight".to_owned(), Tensor::zeros([2, 2]))].into_iter().collect();
    fs::write(place.path("lone.safetensors"), file(&lone)).unwrap();
    place.fails("show lone.safetensors", 3, &["no network that top5 knows (1 tensors)"]);
}

/// As `torch.nn.utils` and self-supervised trainings leave them: a weight that is computed, and one network of two.
#[test]
fn weights_are_computed_and_one_network_of_several_is_taken() {
    let place = Place::new();
    let plain = resnet20();
    let mut pruned = plain.clone();
    let weight = pruned.remove("linear.weight").unwrap();
    pruned.insert("linear.weight_mask", Tensor::new(weight.shape(), vec![1.0; 640]).unwrap());
    pruned.insert("linear.weight_orig", weight);
    fs::write(place.path("pruned.safetensors"), file(&pruned)).unwrap();
    let written = |line: &str| {
        place.text(line);
        formats::read_weights(&fs::read(place.path("out.safetensors")).unwrap()).unwrap().weights
    };
    assert_eq!(written("convert pruned.safetensors out.safetensors"), plain);
    let ran = place.run("show pruned.safetensors");
    assert!(ran.stderr.contains("computed from what pruning keeps of them: 1 tensor"), "{ran:?}");

    let mut both = Weights::new();
    for (beginning, bias) in [("encoder_k", 1.0), ("encoder_q", 2.0)] {
        for (name, tensor) in plain.iter() {
            both.insert(format!("{beginning}.{name}"), tensor.clone());
        }
        let bias = Tensor::new([10], vec![bias; 10]).unwrap();
        both.insert(format!("{beginning}.linear.bias"), bias);
    }
    both.insert("queue", Tensor::zeros([16, 64]));
    fs::write(place.path("moco.safetensors"), file(&both)).unwrap();
    let words =
        ["`encoder_k` (resnet20_cifar), `encoder_q` (resnet20_cifar)", "--weights-key encoder_k"];
    place.fails("show moco.safetensors", 3, &words);
    place.fails("show resnet20_cifar --weights moco.safetensors", 3, &words);
    for (key, bias) in [("encoder_q", 2.0), ("encoder_k.", 1.0)] {
        let taken = written(&format!(
            "convert moco.safetensors out.safetensors --weights-key {key} --force"
        ));
        assert_eq!(taken.tensor("linear.bias").unwrap().data()[0], bias, "{key}");
    }
    // The weights and their average, told by what names begin with, in a format without dicts.
    let renamed = both.iter().map(|(name, tensor)| {
        let name = name.replace("encoder_k", "model").replace("encoder_q", "ema_model");
        (name, tensor.clone())
    });
    fs::write(place.path("ema.safetensors"), file(&renamed.collect())).unwrap();
    for (flag, bias) in [("", 1.0), ("--ema", 2.0)] {
        let taken = written(&format!("convert ema.safetensors out.safetensors {flag} --force"));
        assert_eq!(taken.tensor("linear.bias").unwrap().data()[0], bias, "{flag}");
    }
    let ran = place.run("show ema.safetensors");
    assert!(ran.stderr.contains("below `ema_model`: take it with --ema"), "{ran:?}");
    place.fails("show pruned.safetensors --ema", 3, &["no average of the weights"]);

    let words = ["begin with `encoder`", "`encoder_k`", "`queue`"];
    place.fails("show moco.safetensors --weights-key encoder", 3, &words[..2]);
    for flag in ["--weights-key x", "--ema"] {
        let name = flag.split(" ").next().unwrap();
        place.fails(&format!("show lenet {flag}"), 3, &[name]);
        place.fails(&format!("show resnet18 {flag}"), 3, &["a network without weights"]);
    }

    three_classes(&place);
    let line = "train resnet20_cifar --data photos --epochs 1 --batch-size 8 --out run";
    place.fails(&format!("{line} --weights-key encoder_q"), 2, &["weights_key must be left out"]);
    let line = format!("{line} --weights moco.safetensors");
    place.fails(&line, 3, &["--weights-key encoder_k"]);
    place.text(&format!("{line} --weights-key encoder_q"));
    let recipe = fs::read_to_string(place.path("run/config.resolved.toml")).unwrap();
    assert!(recipe.contains("weights_key = \"encoder_q\""), "{recipe}");
    place.text("train --resume --out run");

    for (key, words) in [
        ("weights_key = \"encoder\"", "begin with `encoder`"),
        ("weights_key = \"encoder_q\"\nema = true", "both `ema` and `weights_key`"),
    ] {
        let member = "[[members]]\nmodel = \"resnet20_cifar\"\nweights = \"moco.safetensors\"";
        fs::write(place.path("one.toml"), format!("name = \"one\"\n{member}\n{key}\n")).unwrap();
        place.fails("eval --ensemble one.toml --data photos", 3, &[words]);
    }
}
