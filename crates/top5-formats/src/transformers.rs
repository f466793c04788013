//! The `config.json` of a ResNet of Hugging Face's transformers (`ResNetForImageClassification`) and the
//! `preprocessor_config.json` beside it, brought into timm's form.
//!
//! Sources: `ResNetConfig`, `ConvNextImageProcessor` and `ViTImageProcessor` in the documentation of transformers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{FormatError, quoted};
use crate::timm::{Config, Preprocessing};

/// What errors call the files.
const FORMAT: &str = "transformers config";

/// The keys that tell which network it is; a missing one reads as `ResNetConfig`'s default.
#[derive(Deserialize)]
#[serde(default)]
struct Network {
    model_type: String,
    num_channels: usize,
    embedding_size: usize,
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    layer_type: String,
    hidden_act: String,
    downsample_in_first_stage: bool,
    downsample_in_bottleneck: bool,
    id2label: Option<BTreeMap<usize, String>>,
    num_labels: Option<usize>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            model_type: String::new(),
            num_channels: 3,
            embedding_size: 64,
            hidden_sizes: vec![256, 512, 1024, 2048],
            depths: vec![3, 4, 6, 3],
            layer_type: "bottleneck".to_owned(),
            hidden_act: "relu".to_owned(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            id2label: None,
            num_labels: None,
        }
    }
}

/// The size that a preprocessor brings images to.
#[derive(Deserialize)]
#[serde(untagged)]
enum Size {
    /// The side of the crop; the old form.
    Side(usize),
    Edge {
        shortest_edge: usize,
    },
    /// Without keeping proportions.
    Exact {
        height: usize,
        width: usize,
    },
}

#[derive(Deserialize)]
#[serde(default)]
struct Preprocessor {
    do_resize: bool,
    size: Size,
    crop_pct: Option<f64>,
    /// Whether what is cut out has a size of its own; `ConvNextImageProcessor` has no such key.
    do_center_crop: bool,
    crop_size: Size,
    /// Pillow's number of the filter.
    resample: u8,
    do_normalize: bool,
    do_rescale: bool,
    rescale_factor: f64,
    image_mean: Vec<f64>,
    image_std: Vec<f64>,
}

impl Default for Preprocessor {
    fn default() -> Self {
        let Preprocessing { mean, std, .. } = Preprocessing::default();
        Self {
            do_resize: true,
            size: Size::Edge { shortest_edge: 224 },
            crop_pct: None,
            do_center_crop: false,
            crop_size: Size::Exact { height: 224, width: 224 },
            resample: 3,
            do_normalize: true,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            image_mean: mean,
            image_std: std,
        }
    }
}

/// Whether the bytes of a `config.json` are transformers', not timm's.
pub(crate) fn is_config(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Keys {
        model_type: Option<serde::de::IgnoredAny>,
        architecture: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Keys>(bytes)
        .is_ok_and(|keys| keys.model_type.is_some() && keys.architecture.is_none())
}

/// A file's value; a field that is null counts as missing.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let malformed = |error: serde_json::Error| FormatError::malformed(FORMAT, error.to_string());
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    fields.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(fields)).map_err(malformed)
}

/// Reads `config.json`, and `preprocessor_config.json` if it is there. Whether the numbers make sense is for whoever uses
/// them.
pub(crate) fn read(config: &[u8], preprocessor: Option<&[u8]>) -> Result<Config, FormatError> {
    let network: Network = parse(config)?;
    let architecture = architecture(&network)?.to_owned();
    let pretrained_cfg = match preprocessor {
        Some(bytes) => preprocessing(parse(bytes)?)?,
        None => Preprocessing::default(),
    };
    let label_names = match network.id2label {
        Some(labels) if labels.keys().copied().eq(0..labels.len()) => {
            Some(labels.into_values().collect::<Vec<String>>())
        }
        Some(labels) => {
            let what = format!("id2label numbers {} classes, but not from 0 on", labels.len());
            return Err(FormatError::malformed(FORMAT, what));
        }
        None => None,
    };
    let num_classes = label_names.as_ref().map(Vec::len).or(network.num_labels);
    Ok(Config { architecture, num_classes, label_names, pretrained_cfg })
}

/// The name that the network has here.
fn architecture(network: &Network) -> Result<&'static str, FormatError> {
    let refused = |what: String| Err(FormatError::refused(FORMAT, what));
    if network.model_type != "resnet" {
        return refused(format!(
            "its model_type is {}; of transformers' networks, resnet is read",
            quoted(&network.model_type)
        ));
    }
    let bottleneck = network.layer_type == "bottleneck";
    let sizes: &[usize] = if bottleneck { &[256, 512, 1024, 2048] } else { &[64, 128, 256, 512] };
    let usual = network.num_channels == 3
        && network.embedding_size == 64
        && network.hidden_sizes == sizes
        && network.hidden_act == "relu"
        && !network.downsample_in_first_stage;
    // With the stride on the first 1×1, as He et al. have it, or on the 3×3.
    let first = network.downsample_in_bottleneck;
    match (network.layer_type.as_str(), &network.depths[..]) {
        ("basic", [2, 2, 2, 2]) if usual => Ok("resnet18"),
        ("basic", [3, 4, 6, 3]) if usual => Ok("resnet34"),
        ("bottleneck", [3, 4, 6, 3]) if usual => Ok(if first { "resnet50_v1" } else { "resnet50" }),
        ("bottleneck", [3, 4, 23, 3]) if usual => {
            Ok(if first { "resnet101_v1" } else { "resnet101" })
        }
        ("bottleneck", [3, 8, 36, 3]) if usual => {
            Ok(if first { "resnet152_v1" } else { "resnet152" })
        }
        (layer_type, depths) => refused(format!(
            "its resnet has {} layers, depths {:?} and hidden_sizes {:?}, and is none of ResNet-18 to -152",
            quoted(layer_type),
            &depths[..depths.len().min(8)],
            &network.hidden_sizes[..network.hidden_sizes.len().min(8)],
        )),
    }
}

fn preprocessing(preprocessor: Preprocessor) -> Result<Preprocessing, FormatError> {
    /// From this side on, `ConvNextImageProcessor` does not crop.
    const UNCROPPED: usize = 384;
    let Preprocessor {
        do_resize,
        size,
        crop_pct,
        do_center_crop,
        crop_size,
        resample,
        do_normalize,
        do_rescale,
        rescale_factor,
        image_mean,
        image_std,
    } = preprocessor;
    for (done, key) in [(do_resize, "do_resize"), (do_rescale, "do_rescale")] {
        if !done {
            let what = format!("its {key} is false, where images are resized and divided by 255");
            return Err(FormatError::refused(FORMAT, what));
        }
    }
    if (rescale_factor * 255.0 - 1.0).abs() > 1e-3 {
        let what =
            format!("its rescale_factor is {rescale_factor}, where images are divided by 255");
        return Err(FormatError::refused(FORMAT, what));
    }
    let interpolation = match resample {
        0 => "nearest",
        1 => "lanczos",
        2 => "bilinear",
        3 => "bicubic",
        other => {
            let what = format!("resample {other}: expected Pillow's 0, 1, 2 or 3");
            return Err(FormatError::refused(FORMAT, what));
        }
    };
    let (height, width, crop_pct) = match (size, do_center_crop.then_some(crop_size)) {
        (Size::Exact { height, width }, None) => (height, width, None),
        (Size::Side(side) | Size::Edge { shortest_edge: side }, None) => {
            let share = crop_pct.unwrap_or(0.875);
            (side, side, Some(share).filter(|_| side < UNCROPPED))
        }
        (Size::Edge { shortest_edge: side }, Some(Size::Exact { height, width }))
            if height == width && crop_pct.is_none() =>
        {
            (height, width, Some(height as f64 / side as f64))
        }
        (_, Some(_)) => {
            let what = "its do_center_crop is true: read is that of a square crop_size from a size with shortest_edge and no crop_pct";
            return Err(FormatError::refused(FORMAT, what));
        }
    };
    let (mean, std) = match do_normalize {
        true => (image_mean, image_std),
        false => (vec![0.0; 3], vec![1.0; 3]),
    };
    Ok(Preprocessing {
        input_size: [3, height, width],
        crop_pct: crop_pct.unwrap_or(1.0),
        crop_mode: if crop_pct.is_none() { "squash" } else { "center" }.to_owned(),
        interpolation: interpolation.to_owned(),
        mean,
        std,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that microsoft/resnet-50 has.
    const CONFIG: &str = r#"{"architectures": ["ResNetForImageClassification"], "depths": [3, 4, 6, 3],
        "downsample_in_first_stage": false, "embedding_size": 64, "hidden_act": "relu",
        "hidden_sizes": [256, 512, 1024, 2048], "id2label": {"1": "goldfish", "0": "tench", "10": "k",
        "2": "c", "3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i", "9": "j"},
        "layer_type": "bottleneck", "model_type": "resnet", "num_channels": 3, "torch_dtype": "float32"}"#;

    #[test]
    fn network_classes_and_preprocessing_are_read() {
        assert!(is_config(CONFIG.as_bytes()) && !is_config(br#"{"architecture": "resnet50"}"#));
        let preprocessor = br#"{"crop_pct": 0.875, "do_normalize": true, "do_resize": true,
            "feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.2, 0.2], "resample": 2, "size": 224}"#;
        let config = read(CONFIG.as_bytes(), Some(preprocessor)).unwrap();
        assert_eq!((config.architecture.as_str(), config.num_classes), ("resnet50", Some(11)));
        let names = config.label_names.unwrap();
        assert_eq!((names[1].as_str(), names[10].as_str()), ("goldfish", "k"));
        let Preprocessing { interpolation, mean, crop_pct, .. } = config.pretrained_cfg;
        assert_eq!((interpolation.as_str(), mean[0], crop_pct), ("bilinear", 0.5, 0.875));
        let exact = br#"{"size": {"height": 192, "width": 224}, "do_normalize": false}"#;
        let exact = read(CONFIG.as_bytes(), Some(exact)).unwrap().pretrained_cfg;
        assert_eq!((exact.input_size, exact.crop_mode.as_str()), ([3, 192, 224], "squash"));
        assert_eq!((exact.mean[0], exact.std[0]), (0.0, 1.0));
        // As `ConvNextImageProcessorFast` and `BitImageProcessor` write it.
        let fast = br#"{"crop_pct": 0.875, "crop_size": null, "data_format": "channels_first", "device": null,
            "do_center_crop": null, "do_convert_rgb": null, "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "image_processor_type": "ConvNextImageProcessorFast",
            "resample": 2, "rescale_factor": null, "size": {"shortest_edge": 224}}"#;
        let null = CONFIG.replacen(
            '{',
            r#"{"num_labels": null, "problem_type": null, "hidden_act": null,"#,
            1,
        );
        let fast =
            read(null.replace(r#""hidden_act": "relu","#, "").as_bytes(), Some(fast)).unwrap();
        assert_eq!((fast.num_classes, fast.pretrained_cfg.crop_pct), (Some(11), 0.875));
        let bit = br#"{"size": {"shortest_edge": 232}, "do_center_crop": true, "crop_size": {"height": 224, "width": 224}}"#;
        let bit = read(CONFIG.as_bytes(), Some(bit)).unwrap().pretrained_cfg;
        assert_eq!((bit.crop_pct, bit.crop_mode.as_str()), (224.0 / 232.0, "center"));
    }

    #[test]
    fn other_networks_are_named() {
        let basic = r#"{"model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2],
            "hidden_sizes": [64, 128, 256, 512]}"#;
        assert_eq!(read(basic.as_bytes(), None).unwrap().architecture, "resnet18");
        let first = CONFIG.replacen('{', r#"{"downsample_in_bottleneck": true,"#, 1);
        assert_eq!(read(first.as_bytes(), None).unwrap().architecture, "resnet50_v1");
        for (text, told) in [
            (r#"{"model_type": "vit"}"#.to_owned(), "model_type is `vit`"),
            (basic.replace("2, 2, 2, 2", "1, 1"), "depths [1, 1]"),
            (CONFIG.replace("relu", "gelu"), "none of ResNet-18"),
            (CONFIG.replace(r#""0": "tench""#, r#""11": "tench""#), "not from 0 on"),
        ] {
            let error = read(text.as_bytes(), None).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        for (preprocessor, told) in [
            (r#"{"resample": 9}"#, "resample 9: expected"),
            (r#"{"rescale_factor": 1}"#, "rescale_factor is 1"),
            (r#"{"do_resize": false}"#, "do_resize is false"),
            (r#"{"do_center_crop": true, "size": 224}"#, "do_center_crop is true"),
            (r#"{"size": "big"}"#, "did not match any variant"),
        ] {
            let read = read(CONFIG.as_bytes(), Some(preprocessor.as_bytes()));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
