//! A network with trained weights, and how images become its input: what `eval` and `predict` use and `train` makes.
//!
//! It is a safetensors file whose metadata hold the network's name, the classes and the preprocessing. Weights of other
//! origin, without these metadata, are recognised by their tensors' names and shapes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use top5_data::Preprocess;
use top5_formats::{self as formats, Format, Loaded, Pick, safetensors, timm};
use top5_graph::{Graph, GraphError, Weights, WeightsError};
use top5_zoo::{Colours, Network, Settings};

use crate::error::ModelError;
use crate::files::{WriteError, write_whole};
use crate::onnx_file::Recognised;
use crate::preprocessing::{
    caffe_preprocessing, converted_preprocessing, from_timm, preprocessing, to_timm,
};
use crate::weight_files::{Opened, WeightFiles};

/// The embedded model: `lenet`, trained by `top5 train lenet` on the embedded digits (see `assets/README.md`).
static LENET_DIGITS: &[u8] = include_bytes!("../assets/lenet-digits.safetensors");

/// Keys of the metadata.
const NETWORK: &str = "top5.network";
const CLASSES: &str = "top5.classes";
const PREPROCESS: &str = "top5.preprocess";
/// Bytes of the longest that is read; 21,000 classes take half a million.
const LONGEST_METADATA: usize = 1 << 22;

/// Metadata that name a network and, where it is given, its preprocessing.
pub(crate) fn description(network: &str, preprocess: Option<&Preprocess>) -> Vec<(String, String)> {
    let network = (NETWORK.to_owned(), network.to_owned());
    let preprocess = preprocess.map(|own| (PREPROCESS.to_owned(), text(own)));
    [network].into_iter().chain(preprocess).collect()
}

/// As JSON, by way of text, in which single precision is not widened.
fn text(preprocess: &Preprocess) -> String {
    serde_json::to_string(preprocess).expect("numbers and words have a JSON form")
}

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
    /// The embedded LeNet, trained on the embedded digits.
    pub fn lenet_digits() -> Result<Self, ModelError> {
        Self::from_bytes(LENET_DIGITS)
    }

    /// A network before training: its weights are drawn as its layers declare, its classes have numbers for names.
    pub fn untrained(network: &'static Network, seed: u64) -> Result<Self, ModelError> {
        let weights = top5_train::initialise(&network.graph()?, seed);
        Self::assemble(weights, Format::Safetensors, Some(network), None, None)
    }

    /// Reads a file of [`Model::to_bytes`], or other weights in safetensors whose network is recognised.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Ok(Opened::read(bytes, None, None, Pick::Weights)?.model)
    }

    /// The model as a safetensors file: equal models give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = [
            ("format", "pt".to_owned()),
            (NETWORK, self.graph.name().to_owned()),
            (CLASSES, json!(self.classes).to_string()),
            (PREPROCESS, text(&self.preprocess)),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        safetensors::write(&self.weights, &metadata.into_iter().collect())
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

    /// Reads a model from a file, or from a folder (a run's, or timm's): see [`WeightFiles`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        WeightFiles::at(path.as_ref()).load(None)
    }

    /// Writes the model to a file, which is complete or not there: it replaces an older one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), WriteError> {
        write_whole(path.as_ref(), &self.to_bytes())
    }

    /// The model of these weights, as the file's metadata describe it; then as timm's `config.json` does; then as the
    /// registry does.
    pub(crate) fn described(
        file: Loaded,
        network: Option<&'static Network>,
        config: Option<timm::Config>,
    ) -> Result<Self, ModelError> {
        let metadata = &file.metadata;
        let wrong = |reason: String| ModelError::Metadata { reason };
        let of_json = |error: serde_json::Error| wrong(error.to_string());
        for key in [CLASSES, PREPROCESS] {
            if metadata.get(key).is_some_and(|text| text.len() > LONGEST_METADATA) {
                return Err(wrong(format!("{key} is longer than {LONGEST_METADATA} bytes")));
            }
        }
        let architecture = config.as_ref().map(|config| &config.architecture);
        let named = metadata.get(NETWORK).or(architecture);
        let network = match (network, named) {
            (None, Some(name)) => Some(top5_zoo::network(name)?),
            (network, _) => network,
        };
        let classes = metadata.get(CLASSES).map(|text| serde_json::from_str(text));
        let classes: Option<Vec<String>> = classes.transpose().map_err(of_json)?;
        let classes = classes.or(config.as_ref().and_then(|config| config.label_names.clone()));
        let said = config.as_ref().and_then(|config| config.num_classes);
        let preprocess = metadata.get(PREPROCESS).map(|text| -> Result<Preprocess, ModelError> {
            let preprocess: Preprocess = serde_json::from_str(text).map_err(of_json)?;
            preprocess.check().map_err(|error| wrong(error.to_string()))?;
            Ok(preprocess)
        });
        let preprocess = match (preprocess, config) {
            (Some(own), _) => Some(own?),
            (None, Some(config)) => Some(from_timm(config.pretrained_cfg).map_err(wrong)?),
            (None, None) => None,
        };
        let model = Self::assemble(file.weights, file.format, network, classes, preprocess)?;
        match said {
            Some(said) if said != model.graph.classes() => Err(wrong(format!(
                "config.json says {said} classes, the tensors have {}",
                model.graph.classes()
            ))),
            Some(_) | None => Ok(model),
        }
    }

    fn assemble(
        weights: Weights,
        format: Format,
        network: Option<&'static Network>,
        classes: Option<Vec<String>>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self, ModelError> {
        let input = preprocess.as_ref().map(|preprocess| preprocess.input_size);
        let network = match network {
            Some(network) => check_caffe(network, &weights, format)?,
            None => recognise(&weights, format)?,
        };
        let (graph, weights) = fit(network, weights, input)?;
        Self::complete(network, graph, weights, format, classes, preprocess)
    }

    /// The model in an ONNX file, described as [`Model::described`] does where there is a description beside it.
    pub(crate) fn of_onnx(
        file: Recognised,
        config: Option<timm::Config>,
    ) -> Result<Self, ModelError> {
        let wrong = |reason: String| ModelError::Metadata { reason };
        let preprocess = config.map(|config| from_timm(config.pretrained_cfg));
        let preprocess = preprocess.transpose().map_err(wrong)?;
        let Recognised { network, graph, weights } = file;
        Self::complete(network, graph, weights.weights, Format::Onnx, None, preprocess)
    }

    fn complete(
        network: &'static Network,
        graph: Graph,
        weights: Weights,
        format: Format,
        classes: Option<Vec<String>>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self, ModelError> {
        let bad = formats::non_finite(&weights);
        if !bad.is_empty() {
            let tensors = bad.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            return Err(ModelError::NonFinite { tensors });
        }
        let count = graph.classes();
        let classes = match classes {
            Some(classes) if classes.len() == count => classes,
            Some(classes) => {
                let reason = format!("{} class names for {count} classes", classes.len());
                return Err(ModelError::Metadata { reason });
            }
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        let preprocess = preprocess.unwrap_or_else(|| match format {
            Format::Caffe => caffe_preprocessing(network, graph.input()),
            Format::Overfeat(_) => preprocessing(network, graph.input()),
            Format::Safetensors | Format::Torch | Format::Onnx => {
                converted_preprocessing(network, graph.input())
            }
        });
        Ok(Self { graph, weights, classes, preprocess })
    }
}

/// Whether the classes have no names but their numbers.
fn is_numbered(classes: &[String]) -> bool {
    classes.iter().enumerate().all(|(number, name)| *name == number.to_string())
}

/// The network at the number of classes that the weights have, and at `input` if it is given, with the weights under its
/// names. Auxiliary heads that the file lacks are left out.
fn fit(
    network: &'static Network,
    weights: Weights,
    input: Option<[usize; 3]>,
) -> Result<(Graph, Weights), ModelError> {
    let settings = Settings { input: input.unwrap_or(network.input), ..network.settings() };
    let graph = match network.with(settings) {
        Ok(graph) => graph,
        // The heads, which only training needs, may be what does not fit the input.
        Err(error) => {
            let settings = Settings { auxiliary: false, ..settings };
            let graph = network.with(settings).map_err(|_| error)?;
            return fit_bare(network, settings, graph, weights);
        }
    };
    // As most files are: then no copy is made.
    if weights.check(&graph).is_ok() {
        return Ok((graph, weights));
    }
    let error = match formats::fit(weights.clone(), &graph) {
        Ok(weights) => return Ok((graph, weights)),
        Err(error) => error,
    };
    let mut graphs = vec![graph.inference()];
    if let Some(classes) = other_classes(&graph, &error) {
        let graph = network.with(Settings { classes, ..settings })?;
        graphs.extend([graph.inference(), graph]);
    }
    let fitted = graphs
        .into_iter()
        .rev()
        .find_map(|graph| Some((formats::fit(weights.clone(), &graph).ok()?, graph)));
    fitted.map(|(weights, graph)| (graph, weights)).ok_or_else(|| error.into())
}

/// As [`fit`], for a graph without auxiliary heads; those of the file are left out.
fn fit_bare(
    network: &'static Network,
    settings: Settings,
    graph: Graph,
    mut weights: Weights,
) -> Result<(Graph, Weights), ModelError> {
    let whole = network.graph()?;
    let needed: BTreeSet<String> = graph.params().map(|(name, _)| name).collect();
    for (name, _) in whole.params().filter(|(name, _)| !needed.contains(name)) {
        weights.remove(&name);
    }
    let error = match formats::fit(weights.clone(), &graph) {
        Ok(weights) => return Ok((graph, weights)),
        Err(error) => error,
    };
    let Some(classes) = other_classes(&graph, &error) else { return Err(error.into()) };
    let graph = network.with(Settings { classes, ..settings })?;
    let weights = formats::fit(weights, &graph)?;
    Ok((graph, weights))
}

/// The number of classes in a file whose last layer has another one than the graph's.
fn other_classes(graph: &Graph, error: &WeightsError) -> Option<usize> {
    let logits = graph.logits();
    let head = logits.param_name(logits.spec.params.first()?);
    error.mismatched.iter().find(|mismatch| mismatch.name == head)?.got.first().copied()
}

/// The network of the registry that has these tensors: of several, the one that is built as Caffe builds it if the file is
/// Caffe's, otherwise the one that is registered first, which is the usual one.
fn recognise(weights: &Weights, format: Format) -> Result<&'static Network, ModelError> {
    let graphs: Vec<Graph> =
        top5_zoo::networks().map(Network::graph).collect::<Result<_, GraphError>>()?;
    let found = formats::recognise(weights, &graphs);
    let found: Vec<_> = found.into_iter().map(top5_zoo::network).collect::<Result<_, _>>()?;
    let caffe = found.iter().find(|network| format == Format::Caffe && is_caffe(network));
    if let Some(network) = caffe.or(found.first()) {
        return Ok(network);
    }
    let differences = graphs.iter().filter_map(|graph| weights.check(graph).err());
    let wrong = |error: &WeightsError| {
        error.missing.len() + error.unexpected.len() + error.mismatched.len()
    };
    let nearest = differences.min_by_key(wrong).filter(|_| !weights.is_empty());
    Err(ModelError::Unrecognised { nearest })
}

/// The network, unless the file is Caffe's and another network has the same tensors and is built as Caffe builds it.
fn check_caffe(
    network: &'static Network,
    weights: &Weights,
    format: Format,
) -> Result<&'static Network, ModelError> {
    if format != Format::Caffe || is_caffe(network) {
        return Ok(network);
    }
    match recognise(weights, format) {
        Ok(meant) if is_caffe(meant) && network.params == meant.params => {
            Err(ModelError::Caffe { named: network.name, meant: meant.name })
        }
        Ok(_) | Err(_) => Ok(network),
    }
}

/// Whether the network is built, and its images prepared, as in Caffe.
fn is_caffe(network: &Network) -> bool {
    network.preprocessing.colours == Colours::Bgr
}
