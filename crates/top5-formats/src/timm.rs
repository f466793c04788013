//! The `config.json` that timm keeps beside `model.safetensors`: which network, and how its images are prepared.

use crate::error::{FormatError, quoted};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What timm needs to build the network and its preprocessing. A missing field reads as timm's default.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// timm's name of the network.
    pub architecture: String,
    /// Number of classes, where the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<usize>,
    /// Names of the classes, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_names: Option<Vec<String>>,
    /// Preprocessing.
    pub pretrained_cfg: Preprocessing,
}

/// [`Config`] as it lies in the file.
#[derive(Deserialize)]
struct File {
    architecture: String,
    num_classes: Option<usize>,
    /// `labels` in the old form.
    #[serde(alias = "labels")]
    label_names: Option<Vec<String>>,
    global_pool: Option<String>,
    /// What the network was built with beside its name.
    model_args: Option<BTreeMap<String, Value>>,
    pretrained_cfg: Option<Pretrained>,
}

/// What `pretrained_cfg` says. A field that is null counts as missing.
#[derive(Deserialize)]
struct Pretrained {
    global_pool: Option<String>,
    input_size: Option<[usize; 3]>,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    interpolation: Option<String>,
    mean: Option<Vec<f64>>,
    std: Option<Vec<f64>>,
}

/// timm's names of the pooling before the classifier that is an average; empty where the network has none of its own.
const AVERAGES: [&str; 4] = ["avg", "fast", "fastavg", ""];

/// Arguments that change nothing about the answers, or nothing that the tensors do not tell.
const HARMLESS: [&str; 6] =
    ["aux_logits", "img_size", "in_chans", "memory_efficient", "num_classes", "zero_init_last"];
/// Arguments and the values that networks have without them.
const DEFAULTS: [(&str, &str); 6] = [
    ("aa_layer", ""),
    ("act_layer", "relu"),
    ("norm_layer", "batchnorm2d"),
    ("output_stride", "32"),
    ("stem_type", ""),
    ("block_args", "{}"),
];

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether the network is the same without this argument.
fn is_usual(name: &str, value: &Value) -> bool {
    let text = plain(value);
    let drops = name.ends_with("_rate") && name.split('_').any(|word| word == "drop");
    value.is_null()
        || drops
        || HARMLESS.contains(&name)
        || DEFAULTS.contains(&(name, text.as_str()))
        || name == "global_pool" && AVERAGES.contains(&text.as_str())
}

/// How images are prepared: resized so that the crop is `crop_pct` of the shorter side, cropped in the centre, divided
/// by 255, then normalised per channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preprocessing {
    /// Channels, height, width.
    pub input_size: [usize; 3],
    /// Side of the crop over the shorter side of the resized image.
    pub crop_pct: f64,
    /// `center`, `squash` or `border`
    pub crop_mode: String,
    /// `bilinear`, `bicubic`, …
    pub interpolation: String,
    /// Per channel.
    pub mean: Vec<f64>,
    /// Per channel.
    pub std: Vec<f64>,
}

impl Default for Preprocessing {
    fn default() -> Self {
        Self {
            input_size: [3, 224, 224],
            crop_pct: 0.875,
            crop_mode: "center".to_owned(),
            interpolation: "bicubic".to_owned(),
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
        }
    }
}

impl From<Pretrained> for Preprocessing {
    fn from(given: Pretrained) -> Self {
        let Pretrained {
            global_pool: _,
            input_size,
            crop_pct,
            crop_mode,
            interpolation,
            mean,
            std,
        } = given;
        let default = Self::default();
        Self {
            input_size: input_size.unwrap_or(default.input_size),
            crop_pct: crop_pct.unwrap_or(default.crop_pct),
            crop_mode: crop_mode.unwrap_or(default.crop_mode),
            interpolation: interpolation.unwrap_or(default.interpolation),
            mean: mean.unwrap_or(default.mean),
            std: std.unwrap_or(default.std),
        }
    }
}

impl Config {
    /// The file's bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut text =
            serde_json::to_vec_pretty(self).expect("numbers and texts always have a JSON form");
        text.push(b'\n');
        text
    }

    /// Reads a file, also in the old form without `pretrained_cfg`. Whether its numbers make sense is for whoever uses them.
    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let malformed = |what: String| FormatError::malformed("timm config", what);
        let file: File =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        let File {
            architecture,
            num_classes,
            label_names,
            global_pool,
            model_args,
            pretrained_cfg,
        } = file;
        let pretrained = match pretrained_cfg {
            Some(pretrained) => pretrained,
            None => serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?,
        };
        // What stands at the top was asked for when the network was made.
        let pool = global_pool.as_deref().or(pretrained.global_pool.as_deref()).unwrap_or_default();
        if !AVERAGES.contains(&pool) {
            let what = format!(
                "its global_pool is {}, and networks are built with an average here; train or export it with `avg`",
                quoted(pool)
            );
            return Err(FormatError::refused("timm config", what));
        }
        let args = model_args.unwrap_or_default();
        if let Some((name, value)) = args.iter().find(|(name, value)| !is_usual(name, value)) {
            let what = format!(
                "its model_args build another network than its name tells: {} is {}",
                quoted(name),
                quoted(&plain(value))
            );
            return Err(FormatError::refused("timm config", what));
        }
        Ok(Self { architecture, num_classes, label_names, pretrained_cfg: pretrained.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let config = Config {
            architecture: "resnet18".to_owned(),
            num_classes: Some(10),
            label_names: Some(["zero", "one"].map(str::to_owned).to_vec()),
            pretrained_cfg: Preprocessing { crop_pct: 0.95, ..Preprocessing::default() },
        };
        assert_eq!(Config::read(&config.write()), Ok(config));
    }

    #[test]
    fn the_old_flat_form_and_missing_fields_are_read() {
        let text = br#"{"architecture": "vgg16", "num_classes": 1000, "crop_pct": 0.9,
            "interpolation": "bilinear", "label_names": ["tench"]}"#;
        let config = Config::read(text).unwrap();
        assert_eq!(config.pretrained_cfg.crop_pct, 0.9);
        assert_eq!(config.pretrained_cfg.interpolation, "bilinear");
        assert_eq!(config.pretrained_cfg.input_size, [3, 224, 224]);
        assert_eq!(config.label_names, Some(vec!["tench".to_owned()]));
        let bare = Config::read(br#"{"architecture": "vgg16"}"#).unwrap();
        assert_eq!((bare.num_classes, bare.pretrained_cfg), (None, Preprocessing::default()));
        let null = br#"{"architecture": "vgg16", "num_classes": null, "label_names": null, "global_pool": null,
            "pretrained_cfg": {"input_size": null, "crop_pct": null, "crop_mode": null, "interpolation": null,
            "mean": null, "std": null, "global_pool": null}}"#;
        let null = Config::read(null).unwrap();
        assert_eq!((null.label_names, null.pretrained_cfg), (None, Preprocessing::default()));
    }

    #[test]
    fn a_pooling_that_is_no_average_is_refused_by_name() {
        for text in [
            r#"{"architecture": "resnet18", "global_pool": "max", "pretrained_cfg": {}}"#,
            r#"{"architecture": "resnet18", "pretrained_cfg": {"global_pool": "catavgmax"}}"#,
        ] {
            let error = Config::read(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.contains("global_pool is `max`") || error.contains("`catavgmax`"),
                "{error}"
            );
        }
        let text = r#"{"architecture": "resnet18", "pretrained_cfg": {"global_pool": "avg"}}"#;
        assert!(Config::read(text.as_bytes()).is_ok());
    }

    #[test]
    fn arguments_that_build_another_network_are_refused_by_name() {
        let read = |args: &str| {
            let text = format!(r#"{{"architecture": "resnet18", "model_args": {args}}}"#);
            Config::read(text.as_bytes())
        };
        for usual in [
            "null",
            "{}",
            r#"{"num_classes": 10, "in_chans": 1, "global_pool": "avg", "img_size": null}"#,
            r#"{"drop_rate": 0.5, "drop_path_rate": 0.1, "output_stride": 32, "act_layer": "relu"}"#,
            r#"{"zero_init_last": false, "aa_layer": null, "block_args": {}}"#,
        ] {
            assert!(read(usual).is_ok(), "{usual}");
        }
        for (args, named) in [
            (r#"{"num_classes": 10, "act_layer": "silu"}"#, "`act_layer` is `silu`"),
            (r#"{"output_stride": 8}"#, "`output_stride` is `8`"),
            (r#"{"global_pool": "max"}"#, "`global_pool` is `max`"),
            (r#"{"aa_layer": "blurpool"}"#, "`aa_layer`"),
            (r#"{"block_args": {"attn_layer": "se"}}"#, "`block_args`"),
        ] {
            let error = read(args).unwrap_err();
            assert!(matches!(error, FormatError::Refused { .. }), "{args}: {error}");
            assert!(error.to_string().contains(named), "{args}: {error}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            r#"{}"#,
            r#"[]"#,
            r#"{"architecture": 3}"#,
            r#"{"architecture": "a", "pretrained_cfg": {"mean": 0.5}}"#,
            r#"{"architecture": "a", "pretrained_cfg": {"input_size": [3, -1, 224]}}"#,
            r#"{"architecture": "a", "pretrained_cfg": {"crop_pct": "most"}}"#,
        ] {
            let error = Config::read(text.as_bytes()).unwrap_err();
            assert!(matches!(error, FormatError::Malformed { .. }), "{text}: {error}");
        }
    }
}
