//! Whole Caffe models through the program: the same weights, preprocessing and predictions as from safetensors.

use std::fs;

use top5::data::Image;
use top5::graph::{Tensor, Weights};
use top5::{Model, zoo};
use top5_testkit::files::caffe::{Form, Layer, model};
use top5_testkit::oracle::weights_for;

use crate::program::Place;

/// Caffe's layers, made of our weights as they are taken.
struct Layers {
    weights: Weights,
    layers: Vec<Layer>,
}

impl Layers {
    fn new(network: &str) -> Self {
        let graph = zoo::network(network).unwrap().graph().unwrap();
        Self { weights: weights_for(&graph), layers: Vec::new() }
    }

    fn take(&self, name: &str) -> Tensor {
        self.weights.tensor(name).unwrap_or_else(|| panic!("no {name}")).clone()
    }

    /// A layer with the weight and, where there is one, the bias of `ours`. The first convolution takes blue first.
    fn plain(&mut self, name: &str, kind: &'static str, ours: &str) {
        let mut weight = self.take(&format!("{ours}.weight"));
        if let (&[_, 3, h, w], true) = (weight.shape(), self.layers.is_empty()) {
            for filter in weight.data_mut().chunks_exact_mut(3 * h * w) {
                let reversed: Vec<f32> = filter.chunks(h * w).rev().flatten().copied().collect();
                filter.copy_from_slice(&reversed);
            }
        }
        let bias = self.weights.tensor(&format!("{ours}.bias")).cloned();
        self.layers.push(Layer::new(name, kind, [weight].into_iter().chain(bias).collect()));
    }

    /// A batch normalisation: sums with the factor that divides them, then scale and shift in a layer of their own.
    fn norm(&mut self, name: &str, scale: &str, ours: &str) {
        const FACTOR: f32 = 1024.0;
        let sums = ["running_mean", "running_var"].map(|role| {
            let mut sum = self.take(&format!("{ours}.{role}"));
            sum.data_mut().iter_mut().for_each(|value| *value *= FACTOR);
            sum
        });
        let factor = Tensor::new([1], vec![FACTOR]).unwrap();
        let blobs = sums.into_iter().chain([factor]).collect();
        self.layers.push(Layer::new(name, "BatchNorm", blobs));
        let blobs = ["weight", "bias"].map(|role| self.take(&format!("{ours}.{role}"))).into();
        self.layers.push(Layer::new(scale, "Scale", blobs));
    }
}

/// He et al.'s ResNet-50: names of stages and letters, and a bias in the first convolution, which we do not have.
fn resnet50() -> Layers {
    let mut caffe = Layers::new("resnet50_v1");
    // A mean that is exact when the bias was added and is taken off again.
    let bias = 0.5;
    let mean = caffe.weights.tensor_mut("bn1.running_mean").unwrap();
    mean.data_mut().iter_mut().for_each(|mean| *mean = (*mean + bias) - bias);
    caffe.plain("conv1", "Convolution", "conv1");
    caffe.layers[0].blobs.push(Tensor::new([64], vec![bias; 64]).unwrap());
    caffe.norm("bn_conv1", "scale_conv1", "bn1");
    caffe.layers[1].blobs[0].data_mut().iter_mut().for_each(|mean| *mean += 1024.0 * bias);
    for (layer, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for (block, letter) in ('a'..='f').take(blocks).enumerate() {
            let (theirs, ours) =
                (format!("{}{letter}_branch", layer + 2), format!("layer{}.{block}", layer + 1));
            let mut pair = |branch: &str, conv: &str, bn: &str| {
                let (conv, bn) = (format!("{ours}.{conv}"), format!("{ours}.{bn}"));
                caffe.plain(&format!("res{theirs}{branch}"), "Convolution", &conv);
                caffe.norm(&format!("bn{theirs}{branch}"), &format!("scale{theirs}{branch}"), &bn);
            };
            if block == 0 {
                pair("1", "downsample.0", "downsample.1");
            }
            pair("2a", "conv1", "bn1");
            pair("2b", "conv2", "bn2");
            pair("2c", "conv3", "bn3");
        }
    }
    caffe.plain("fc1000", "InnerProduct", "fc");
    caffe
}

/// Hu et al.'s SE-ResNet-50.
fn seresnet50() -> Layers {
    let mut caffe = Layers::new("legacy_seresnet50");
    let pair = |caffe: &mut Layers, name: &str, conv: &str, bn: &str| {
        caffe.plain(name, "Convolution", conv);
        caffe.norm(&format!("{name}/bn"), &format!("{name}/bn/scale"), bn);
    };
    pair(&mut caffe, "conv1/7x7_s2", "layer0.conv1", "layer0.bn1");
    for (layer, blocks) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..blocks {
            let name = |part: &str| format!("conv{}_{}_{part}", layer + 2, block + 1);
            let ours = |part: &str| format!("layer{}.{block}.{part}", layer + 1);
            pair(&mut caffe, &name("1x1_reduce"), &ours("conv1"), &ours("bn1"));
            pair(&mut caffe, &name("3x3"), &ours("conv2"), &ours("bn2"));
            pair(&mut caffe, &name("1x1_increase"), &ours("conv3"), &ours("bn3"));
            caffe.plain(&name("1x1_down"), "Convolution", &ours("se_module.fc1"));
            caffe.plain(&name("1x1_up"), "Convolution", &ours("se_module.fc2"));
            if block == 0 {
                pair(&mut caffe, &name("1x1_proj"), &ours("downsample.0"), &ours("downsample.1"));
            }
        }
    }
    caffe.plain("classifier", "InnerProduct", "last_linear");
    caffe
}

/// BVLC's GoogLeNet.
fn googlenet() -> Layers {
    let mut caffe = Layers::new("googlenet");
    caffe.plain("conv1/7x7_s2", "Convolution", "conv1.conv");
    caffe.plain("conv2/3x3_reduce", "Convolution", "conv2.conv");
    caffe.plain("conv2/3x3", "Convolution", "conv3.conv");
    for module in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"] {
        for (theirs, ours) in [
            ("1x1", "branch1"),
            ("3x3_reduce", "branch2.0"),
            ("3x3", "branch2.1"),
            ("5x5_reduce", "branch3.0"),
            ("5x5", "branch3.1"),
            ("pool_proj", "branch4.1"),
        ] {
            let (theirs, ours) =
                (format!("inception_{module}/{theirs}"), format!("inception{module}.{ours}.conv"));
            caffe.plain(&theirs, "Convolution", &ours);
        }
    }
    for head in [1, 2] {
        caffe.plain(&format!("loss{head}/conv"), "Convolution", &format!("aux{head}.conv.conv"));
        caffe.plain(&format!("loss{head}/fc"), "InnerProduct", &format!("aux{head}.fc1"));
        caffe.plain(&format!("loss{head}/classifier"), "InnerProduct", &format!("aux{head}.fc2"));
    }
    caffe.plain("loss3/classifier", "InnerProduct", "fc");
    caffe
}

/// The VGG group's 16 layers.
fn vgg16() -> Layers {
    let mut caffe = Layers::new("vgg16");
    let mut place = 0;
    for (stage, convs) in [2, 2, 3, 3, 3].into_iter().enumerate() {
        for conv in 1..=convs {
            caffe.plain(
                &format!("conv{}_{conv}", stage + 1),
                "Convolution",
                &format!("features.{place}"),
            );
            place += 2;
        }
        place += 1;
    }
    for (theirs, ours) in [("fc6", 0), ("fc7", 3), ("fc8", 6)] {
        caffe.plain(theirs, "InnerProduct", &format!("classifier.{ours}"));
    }
    caffe
}

/// The model file through `convert` and `predict`, against our weights in safetensors.
fn check(network: &str, caffe: &Layers, form: Form) {
    let place = Place::new();
    fs::write(place.path("theirs.caffemodel"), model(&caffe.layers, form)).unwrap();
    let said =
        place.json(&format!("convert {network} theirs.safetensors --weights theirs.caffemodel"));
    assert_eq!(said["network"], network);
    let theirs = Model::load(place.path("theirs.safetensors")).unwrap();
    let inference = theirs.graph.inference();
    for (name, _) in inference.params() {
        assert_eq!(theirs.weights.tensor(&name), caffe.weights.tensor(&name), "{network}: {name}");
    }

    // Bytes of 200 less Caffe's means, in the order of our channels.
    let image = Image::filled(3, 300, 300, 200);
    let mut input = vec![0.0; theirs.preprocess.size()];
    theirs.preprocess.apply(&image, &mut input);
    for (channel, mean) in input.chunks(input.len() / 3).zip([123.68, 116.779, 103.939]) {
        assert!(channel.iter().all(|value| (value - (200.0 - mean)).abs() < 1e-3), "{network}");
    }

    let ours = Model { weights: caffe.weights.clone(), ..theirs };
    ours.save(place.path("ours.safetensors")).unwrap();
    let photo =
        image::RgbImage::from_fn(320, 260, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    photo.save(place.path("photo.png")).unwrap();
    let predict = |model: &str| place.json(&format!("predict photo.png -k 1000 {model}"));
    let wanted = predict("--model ours.safetensors");
    let named = predict(&format!("--model {network} --weights theirs.caffemodel"));
    assert_eq!(named["results"], wanted["results"], "{network}");
    assert_eq!(named["preprocess"], wanted["preprocess"], "{network}");
    assert_eq!(predict("--model theirs.caffemodel"), named, "{network} is recognised");
}

#[test]
fn googlenet_in_the_old_form_predicts_as_from_safetensors() {
    check("googlenet", &googlenet(), Form::V1);
}

#[test]
fn seresnet50_predicts_as_from_safetensors() {
    check("legacy_seresnet50", &seresnet50(), Form::Current);
}

#[test]
fn resnet50_predicts_as_from_safetensors_and_what_is_wrong_is_told() {
    let mut caffe = resnet50();
    check("resnet50_v1", &caffe, Form::Current);

    let place = Place::new();
    let fails = |caffe: &Layers, network: &str, words: &[&str]| {
        fs::write(place.path("bad.caffemodel"), model(&caffe.layers, Form::Current)).unwrap();
        place.fails(
            &format!("convert {network} out.safetensors --weights bad.caffemodel"),
            3,
            words,
        );
        assert!(!place.path("out.safetensors").exists());
    };
    fails(&caffe, "resnet50", &["Caffe", "resnet50_v1"]);
    let name = std::mem::replace(&mut caffe.layers[3].name, "res2a_branch9".to_owned());
    fails(&caffe, "resnet50_v1", &["layer1.0.downsample.0.weight", "res2a_branch9.weight"]);
    caffe.layers[3].name = name;
    let whole = std::mem::replace(&mut caffe.layers[3].blobs[0], Tensor::zeros([64, 256, 1, 1]));
    fails(&caffe, "resnet50_v1", &["layer1.0.downsample.0.weight", "[64, 256, 1, 1]"]);
    caffe.layers[3].blobs[0] = whole;
    let removed = caffe.layers.remove(3);
    fails(&caffe, "resnet50_v1", &["layer1.0.downsample.0.weight"]);
    caffe.layers.insert(3, removed);
    caffe.layers[3].blobs[0].data_mut()[7] = f32::NAN;
    fails(&caffe, "resnet50_v1", &["1 weights are NaN or infinite"]);
}

/// Large ones: in the gate only their layers are made, which names every tensor; the sweep goes through the program.
#[test]
fn exhaustive_vgg16_predicts_as_from_safetensors() {
    let caffe = vgg16();
    assert_eq!(2 * caffe.layers.len(), caffe.weights.len());
    if std::env::var_os("TOP5_EXHAUSTIVE").is_some() {
        check("vgg16", &caffe, Form::V1);
    }
}
