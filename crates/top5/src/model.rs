//! A network with trained weights, and how images become its input: what `eval` and `predict` use and `train` makes.
//!
//! It is a safetensors file whose metadata hold the network's name, the classes and the preprocessing. Weights of other
//! origin, without these metadata, are recognised by their tensors' names and shapes.

use std::collections::BTreeSet;
use std::path::Path;

use top5_data::Preprocess;
use top5_eval::imagenet;
use top5_formats::{self as formats, Format, FormatError, onnx, safetensors, timm};
use top5_graph::{Graph, Weights, WeightsError, counted};
use top5_zoo::Network;

use crate::description::Description;
use crate::error::ModelError;
use crate::files::{WriteError, write_whole};
use crate::fit::{check_caffe, fit, recognise};
use crate::onnx_file::Recognised;
use crate::preprocessing::{caffe_preprocessing, converted_preprocessing, preprocessing, to_timm};

/// A trained network.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network; its name is the registry's.
    pub graph: Graph,
    /// Its parameters and buffers.
    pub weights: Weights,
    /// The name of each class.
    pub classes: Vec<String>,
    /// How an image of any size becomes its input.
    pub preprocess: Preprocess,
}

impl Model {
    /// A network before training: its weights are drawn as its layers declare, its classes have numbers for names.
    pub fn untrained(network: &'static Network, seed: u64) -> Result<Self, ModelError> {
        let weights = top5_train::initialise(&network.graph()?, seed);
        Self::assemble(weights, Format::Safetensors, Some(network), Description::default())
    }

    /// The model as a safetensors file: equal models give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut metadata = self.description().to_metadata();
        metadata.insert("format".to_owned(), "pt".to_owned());
        safetensors::write(&self.weights, &metadata)
    }

    /// The model as an ONNX file without its auxiliary heads; names of classes and preprocessing are in its metadata.
    pub fn to_onnx(&self, options: onnx::Options) -> Result<Vec<u8>, WeightsError> {
        onnx::write(&self.graph, &self.weights, options, &self.description().to_metadata())
    }

    /// The model without auxiliary heads: only what its logits need.
    pub fn inference(self) -> Self {
        let graph = self.graph.inference();
        let needed: BTreeSet<String> = graph.params().map(|(name, _)| name).collect();
        let weights = self.weights.into_iter().filter(|(name, _)| needed.contains(name)).collect();
        Self { graph, weights, ..self }
    }

    /// timm's `config.json` for this model.
    pub fn to_timm_config(&self) -> Vec<u8> {
        let config = timm::Config {
            architecture: self.graph.name().to_owned(),
            num_classes: Some(self.classes.len()),
            label_names: (!is_numbered(&self.classes)).then(|| self.classes.clone()),
            pretrained_cfg: to_timm(&self.preprocess),
        };
        config.write()
    }

    /// Writes the model to a file, which is complete or not there: it replaces an older one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), WriteError> {
        write_whole(path.as_ref(), &self.to_bytes())
    }

    /// The model of these weights, as they are described; what is left open, the registry says.
    pub(crate) fn assemble(
        weights: Weights,
        format: Format,
        network: Option<&'static Network>,
        description: Description,
    ) -> Result<Self, ModelError> {
        let named = description.network.as_deref().filter(|_| network.is_none());
        let network = match named.map(top5_zoo::network).transpose()?.or(network) {
            Some(network) => check_caffe(network, &weights, format)?,
            None => recognise(&weights, format)?,
        };
        let input = description.preprocess.as_ref().map(|preprocess| preprocess.input_size);
        let (graph, weights) = fit(network, weights, input, description.class_count)?;
        Self::complete(network, graph, weights, format, description)
    }

    /// The model in an ONNX file.
    pub(crate) fn of_onnx(file: Recognised, description: Description) -> Result<Self, ModelError> {
        let Recognised { network, graph, weights } = file;
        Self::complete(network, graph, weights.weights, Format::Onnx, description)
    }

    fn complete(
        network: &'static Network,
        graph: Graph,
        weights: Weights,
        format: Format,
        description: Description,
    ) -> Result<Self, ModelError> {
        let bad = formats::non_finite(&weights);
        if !bad.is_empty() {
            let tensors = bad.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            return Err(ModelError::NonFinite { tensors });
        }
        let wrong = |reason: String| Err(ModelError::Metadata { reason });
        let count = graph.classes();
        let classes = match description.classes {
            Some(classes) if classes.len() == count => classes,
            Some(classes) => {
                return wrong(format!(
                    "{} for {}",
                    counted(classes.len(), "class name"),
                    counted(count, "class")
                ));
            }
            // OverFeat learnt the classes in the order of the contest's development kit.
            None if matches!(format, Format::Overfeat(_)) => {
                imagenet::devkit().map(|(_, name)| name.to_owned()).collect()
            }
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        if let Some(said) = description.class_count.filter(|&said| said != count) {
            return wrong(format!(
                "config.json says {}, the tensors have {count}",
                counted(said, "class")
            ));
        }
        let [channels, ..] = graph.input();
        if !matches!(channels, 1 | 3) {
            let what = format!(
                "its network takes {}, and images have 1 or 3",
                counted(channels, "channel")
            );
            return Err(FormatError::Refused { format: "weights", what }.into());
        }
        let preprocess = description.preprocess.unwrap_or_else(|| match format {
            Format::Caffe => caffe_preprocessing(network, graph.input()),
            Format::Overfeat(_) => preprocessing(network, graph.input()),
            Format::Safetensors | Format::Torch | Format::Onnx => {
                converted_preprocessing(network, graph.input())
            }
        });
        if let Err(error) = preprocess.check() {
            return wrong(error.to_string());
        }
        Ok(Self { graph, weights, classes, preprocess })
    }

    fn description(&self) -> Description {
        Description {
            network: Some(self.graph.name().to_owned()),
            class_count: Some(self.classes.len()),
            classes: Some(self.classes.clone()),
            preprocess: Some(self.preprocess.clone()),
        }
    }
}

/// Whether the classes have no names but their numbers.
fn is_numbered(classes: &[String]) -> bool {
    classes.iter().enumerate().all(|(number, name)| *name == number.to_string())
}
