//! What a file is, from its first bytes, and the one entry to all readers of weights.

use crate::error::FormatError;
use crate::loaded::{Format, Loaded};
use crate::{Pick, overfeat, safetensors, torch};
use std::collections::BTreeMap;

/// Beginnings of files that people take for weights, and what to tell them.
const MISTAKEN: [(&[u8], &str); 13] = [
    (
        b"version https://git-lfs",
        "a Git LFS pointer, which stands for the file: fetch it with `git lfs pull` or download it from the site",
    ),
    (
        b"<",
        "a web page or XML: the download went to a login or error page; open the address in a browser",
    ),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x89HDF", "HDF5, perhaps of Keras: convert it to safetensors first"),
    (b"\x93NUMPY", "a NumPy array (.npy): the weights of a network are several, each with a name"),
    (
        b"GGUF",
        "GGUF, in which language models are kept: take the safetensors that it was made from",
    ),
    (b"\x1c\0\0\0TFL3", "a TensorFlow Lite model: take the model that it was made from"),
    (
        b"\x18\0\0\0ORTM",
        "a model in ONNX Runtime's own format: take the .onnx file that it was made from",
    ),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"{", "JSON text, perhaps a config.json: the weights are in the file beside it"),
];

/// Names the format, or says what the bytes are instead.
pub fn detect(bytes: &[u8]) -> Result<Format, FormatError> {
    let trimmed = bytes.trim_ascii_start();
    if torch::is_zip(bytes) || torch::is_legacy(bytes) || torch::is_tar(bytes) {
        return Ok(Format::Torch);
    }
    if safetensors::is_safetensors(bytes) {
        return Ok(Format::Safetensors);
    }
    if let Some(model) = overfeat::Model::of_length(bytes.len()) {
        return Ok(Format::Overfeat(model));
    }
    if let Some((_, what)) = MISTAKEN.iter().find(|(start, _)| trimmed.starts_with(start)) {
        return Err(FormatError::NotWeights { what: (*what).to_owned() });
    }
    let what = match bytes {
        [] => "the file is empty",
        [0x80, 1..=5, ..] => "a bare pickle; save a state dict with `torch.save`",
        [..] if bytes.get(257..262) == Some(b"ustar") => "a tar archive: unpack it first",
        // ModelProto begins with its version, NetParameter with its name or a layer.
        [0x08, 1..=20, ..] => return Ok(Format::Onnx),
        [0x0a | 0x12, ..] | [0xa2, 0x06, ..] => return Ok(Format::Caffe),
        [..] => {
            "no format that is known here; read are safetensors, PyTorch checkpoints, ONNX files, Caffe models and \
             OverFeat's weights"
        }
    };
    Err(FormatError::NotWeights { what: what.to_owned() })
}

/// Reads weights of any format: of a checkpoint with averages too, the weights themselves.
pub fn read_weights(bytes: &[u8]) -> Result<Loaded, FormatError> {
    read_weights_with(bytes, &Pick::Weights)
}

/// Reads weights of any format: of a PyTorch checkpoint with several groups of tensors those that `pick` asks for.
pub fn read_weights_with(bytes: &[u8], pick: &Pick) -> Result<Loaded, FormatError> {
    let format = detect(bytes)?;
    let weights = match format {
        Format::Safetensors => return safetensors::read(bytes),
        Format::Torch => return torch::read_with(bytes, pick),
        Format::Overfeat(model) => model.read(bytes)?,
        Format::Caffe => crate::caffe::read(bytes)?,
        Format::Onnx => {
            let what = "its weights belong to its structure: compare it with networks by `Onnx`";
            return Err(FormatError::refused("ONNX", what));
        }
    };
    let (metadata, groups, unread) = (BTreeMap::new(), Vec::new(), Vec::new());
    Ok(Loaded { weights, format, metadata, groups, unread })
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::Weights;

    #[test]
    fn files_that_are_no_weights_are_named() {
        for (bytes, word) in [
            (b"".as_slice(), "empty"),
            (b"\n <!DOCTYPE html>", "web page"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"{\"architecture\":\"resnet18\"}", "config.json"),
            (b"\x80\x04\x95", "pickle"),
            (b"\x93NUMPY\x01\0", ".npy"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
            (b"\x18\0\0\0ORTM", "ONNX Runtime's own"),
            (b"hello", "no format"),
        ] {
            let error = read_weights(bytes).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn safetensors_are_recognised() {
        let bytes = safetensors::write(&Weights::new(), &BTreeMap::new());
        assert_eq!(read_weights(&bytes).unwrap().format, Format::Safetensors);
        assert_eq!(detect(b"\x08\x08\x12\x04top5"), Ok(Format::Onnx));
    }
}
