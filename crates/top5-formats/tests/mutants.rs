//! Damaged files of every format: whatever is changed, the readers return, and return no more than the file can hold.
//!
//! `cargo xtask exhaustive` runs many more mutants than the gate.

use std::collections::BTreeMap;
use top5_formats::{self as formats, read_weights, safetensors, timm, torch};
use top5_graph::random::Stream;
use top5_graph::{Tensor, Weights};
use top5_testkit::files::Stored;
use top5_testkit::files::caffe::{self, Form, Layer};
use top5_testkit::files::torch::{Around, Container, checkpoint};

fn mutants() -> u64 {
    if std::env::var_os("TOP5_EXHAUSTIVE").is_some() { 2_000_000 } else { 20_000 }
}

/// A copy with up to four changes: a flipped bit, another byte, a cut, a repeated or a removed piece.
fn mutate(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut stream = Stream::new(seed, 0);
    let mut draw = |below: usize| stream.below(below.max(1));
    for _ in 0..=draw(4) {
        let at = draw(bytes.len());
        if bytes.is_empty() {
            break;
        }
        match draw(6) {
            0 => bytes[at] ^= 1 << draw(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][draw(5)],
            2 => bytes[at] = draw(256) as u8,
            3 => bytes.truncate(at),
            4 => {
                let piece = bytes[at..(at + 1 + draw(32)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.drain(at..(at + 1 + draw(32)).min(bytes.len()))),
        }
    }
    bytes
}

/// Whatever is read has at most as many values as its file has bytes: a value takes two bytes or more.
fn bounded(weights: &Weights, file: usize) {
    let values: usize = weights.iter().map(|(_, tensor)| tensor.data().len()).sum();
    assert!(values <= file, "{values} values from {file} bytes");
}

fn weights() -> Weights {
    [("conv1.weight", vec![2, 3, 1, 1]), ("bn1.running_mean", vec![2]), ("n", vec![])]
        .into_iter()
        .map(|(name, shape): (&str, Vec<usize>)| (name.to_owned(), Tensor::zeros(shape)))
        .collect()
}

#[test]
fn exhaustive_mutants_of_safetensors() {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::write(&weights(), &metadata);
    let mut read = 0;
    for seed in 0..mutants() {
        let mutant = mutate(&bytes, seed);
        if let Ok(file) = safetensors::read(&mutant) {
            let weights = file.weights;
            bounded(&weights, mutant.len());
            read += 1;
        }
    }
    assert!(read > 0, "no mutant was read: the mutation is too coarse");
}

#[test]
fn exhaustive_mutants_of_pytorch_checkpoints() {
    for container in Container::ALL {
        let bytes = checkpoint(&weights(), Stored::F32, container, Around::Training);
        for seed in 0..mutants() / 4 {
            let mutant = mutate(&bytes, seed);
            if let Ok(weights) = torch::read(&mutant) {
                bounded(&weights, mutant.len());
            }
        }
    }
}

#[test]
fn exhaustive_mutants_of_caffe_models() {
    let blob = |shape: &[usize]| Tensor::zeros(shape);
    let layers = [
        Layer::new("conv1", "Convolution", vec![blob(&[2, 3, 1, 1]), blob(&[2])]),
        Layer::new("bn", "BatchNorm", vec![blob(&[2]), blob(&[2]), blob(&[1])]),
        Layer::new("scale", "Scale", vec![blob(&[2]), blob(&[2])]),
        Layer::new("fc", "InnerProduct", vec![blob(&[1, 2])]),
    ];
    let forms = [caffe::model(&layers, Form::Current), caffe::model(&layers[..1], Form::V1)];
    for bytes in forms {
        assert!(formats::caffe::read(&bytes).is_ok());
        for seed in 0..mutants() / 2 {
            let mutant = mutate(&bytes, seed);
            if let Ok(weights) = formats::caffe::read(&mutant) {
                bounded(&weights, mutant.len());
            }
        }
    }
}

#[test]
fn exhaustive_mutants_of_anything_and_of_configs() {
    let config = timm::Config {
        architecture: "resnet18".to_owned(),
        num_classes: Some(10),
        label_names: None,
        pretrained_cfg: timm::Preprocessing::default(),
    };
    let config = config.write();
    let legacy = checkpoint(&weights(), Stored::F32, Container::Legacy, Around::Nothing);
    for seed in 0..mutants() {
        drop(timm::Config::read(&mutate(&config, seed)));
        // Random bytes, and a head of one format before the tail of another.
        let noise: Vec<u8> = (0..64).map(|i| Stream::new(seed, 1).at(i) as u8).collect();
        drop(read_weights(&noise));
        let at = (seed as usize) % legacy.len();
        drop(read_weights(&[&legacy[..at], &config].concat()));
    }
}
