//! Damaged files of every format: whatever is changed, the readers return, and return no more than the file can hold.
//!
//! `cargo xtask exhaustive` runs many more mutants than the gate.

use std::collections::BTreeMap;
use top5_formats::{caffe, read_weights, safetensors, timm, torch};
use top5_graph::random::Stream;
use top5_graph::{Tensor, Weights};

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
        if let Ok((weights, _)) = safetensors::read(&mutant) {
            bounded(&weights, mutant.len());
            read += 1;
        }
    }
    assert!(read > 0, "no mutant was read: the mutation is too coarse");
}

/// A legacy checkpoint with one tensor of two floats, in PyTorch's own opcodes.
fn legacy() -> Vec<u8> {
    let text = |text: &str| {
        [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
    };
    let tensor = [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("7"),
        text("cpu"),
        b"K\x02NtQK\x00K\x02\x85K\x01\x85\x89}tR".to_vec(),
    ];
    [
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec(),
        b"\x80\x02}.\x80\x02}(".to_vec(),
        text("fc.bias"),
        tensor.concat(),
        b"u.\x80\x02](".to_vec(),
        text("7"),
        b"e.\x02\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40".to_vec(),
    ]
    .concat()
}

#[test]
fn exhaustive_mutants_of_pytorch_checkpoints() {
    let bytes = legacy();
    let weights = torch::read(&bytes).unwrap();
    assert_eq!(weights.tensor("fc.bias").unwrap().data(), [1.0, 2.0]);
    for end in 0..bytes.len() {
        assert!(torch::read(&bytes[..end]).is_err(), "cut at {end}");
    }
    for seed in 0..mutants() {
        let mutant = mutate(&bytes, seed);
        if let Ok(weights) = torch::read(&mutant) {
            bounded(&weights, mutant.len());
        }
    }
}

#[test]
fn exhaustive_mutants_of_caffe_models() {
    // One layer, `fc`, InnerProduct, with a blob of shape 1×2.
    let blob = b"\x3a\x04\x08\x01\x08\x02\x2a\x08\0\0\x80\x3f\0\0\0\x40";
    let layer =
        [b"\x0a\x02fc\x12\x0cInnerProduct\x3a".as_slice(), &[blob.len() as u8], blob].concat();
    let bytes =
        [b"\x0a\x04tiny\xa2\x06".as_slice(), &[layer.len() as u8], layer.as_slice()].concat();
    let weights = caffe::read(&bytes).unwrap();
    assert_eq!(weights.tensor("fc.weight").unwrap().data(), [1.0, 2.0]);
    for seed in 0..mutants() {
        let mutant = mutate(&bytes, seed);
        if let Ok(weights) = caffe::read(&mutant) {
            bounded(&weights, mutant.len());
        }
    }
}

#[test]
fn exhaustive_mutants_of_anything_and_of_configs() {
    let config = timm::Config {
        architecture: "resnet18".to_owned(),
        num_classes: 10,
        pretrained_cfg: timm::Preprocessing::default(),
    };
    let (config, legacy) = (config.write(), legacy());
    for seed in 0..mutants() {
        drop(timm::Config::read(&mutate(&config, seed)));
        // Random bytes, and a head of one format before the tail of another.
        let noise: Vec<u8> = (0..64).map(|i| Stream::new(seed, 1).at(i) as u8).collect();
        drop(read_weights(&noise));
        let at = (seed as usize) % legacy.len();
        drop(read_weights(&[&legacy[..at], &config].concat()));
    }
}
