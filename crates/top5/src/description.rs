//! What a file says about its model besides the tensors: the network, the classes and the preprocessing. It is the metadata of
//! safetensors and ONNX files, timm's `config.json`, or the recipe in a checkpoint.

use std::collections::BTreeMap;

use serde_json::json;
use top5_data::Preprocess;
use top5_formats::timm;

use crate::error::ModelError;
use crate::preprocessing::from_timm;

/// Keys of the metadata.
const NETWORK: &str = "top5.network";
const CLASSES: &str = "top5.classes";
const PREPROCESS: &str = "top5.preprocess";
/// Bytes of the longest that is read; 21,000 classes take half a million.
const LONGEST: usize = 1 << 22;

/// What is said about a model, as far as it is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Description {
    /// The network's name.
    pub(crate) network: Option<String>,
    /// The classes' names.
    pub(crate) classes: Option<Vec<String>>,
    /// How many classes there are.
    pub(crate) class_count: Option<usize>,
    pub(crate) preprocess: Option<Preprocess>,
}

impl Description {
    /// What timm's configuration says, which is the text that people edit; what it leaves open, the metadata say.
    pub(crate) fn read(
        metadata: &BTreeMap<String, String>,
        config: Option<timm::Config>,
    ) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::Metadata { reason };
        let of_json = |error: serde_json::Error| wrong(error.to_string());
        for key in [CLASSES, PREPROCESS] {
            if metadata.get(key).is_some_and(|text| text.len() > LONGEST) {
                return Err(wrong(format!("{key} is longer than {LONGEST} bytes")));
            }
        }
        let text = |key| metadata.get(key);
        let classes = text(CLASSES).map(|text| serde_json::from_str::<Vec<String>>(text));
        let classes = classes.transpose().map_err(of_json)?;
        let preprocess = text(PREPROCESS).map(|text| serde_json::from_str(text));
        let own = Self {
            network: text(NETWORK).cloned(),
            class_count: classes.as_ref().map(Vec::len),
            classes,
            preprocess: preprocess.transpose().map_err(of_json)?,
        };
        match config {
            Some(config) => Self::of_config(config, own),
            None => Ok(own),
        }
    }

    fn of_config(config: timm::Config, own: Self) -> Result<Self, ModelError> {
        let preprocess = from_timm(config.pretrained_cfg);
        let wrong = |reason| ModelError::Metadata { reason: format!("config.json: {reason}") };
        let preprocess = preprocess.map_err(wrong)?;
        let drawn_digits = own.preprocess.is_some_and(|own| own.drawn_digits);
        Ok(Self {
            network: Some(config.architecture),
            class_count: config.num_classes.or(config.label_names.as_ref().map(Vec::len)),
            classes: config.label_names.or(own.classes),
            // timm has no word for it.
            preprocess: Some(Preprocess { drawn_digits, ..preprocess }),
        })
    }

    /// The same, with what `other` says where this says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            network: self.network.or(other.network),
            classes: self.classes.or(other.classes),
            // Of two that speak, the one that contradicts the tensors shall be heard: the outer one is nearer to the reader.
            class_count: other.class_count.or(self.class_count),
            preprocess: self.preprocess.or(other.preprocess),
        }
    }

    /// As metadata.
    pub(crate) fn to_metadata(&self) -> BTreeMap<String, String> {
        let json = |key: &str, value: serde_json::Value| (key.to_owned(), value.to_string());
        let network = self.network.iter().map(|name| (NETWORK.to_owned(), name.clone()));
        let classes = self.classes.iter().map(|classes| json(CLASSES, json!(classes)));
        let preprocess = self.preprocess.iter().map(|own| {
            // By way of text, in which single precision is not widened.
            let text = serde_json::to_string(own).expect("numbers and words have a JSON form");
            (PREPROCESS.to_owned(), text)
        });
        network.chain(classes).chain(preprocess).collect()
    }
}
