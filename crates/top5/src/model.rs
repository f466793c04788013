//! A network with trained weights, and how images become its input: what `eval` and `predict` use and `train` makes.
//!
//! It is a safetensors file whose metadata hold the network's name, the classes and the preprocessing. Weights of other
//! origin, without these metadata, are recognised by their tensors' names and shapes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use top5_data::Preprocess;
use top5_formats::{FormatError, safetensors, torch};
use top5_graph::{Graph, Weights, WeightsError};
use top5_zoo::{Network, Settings};

use crate::files::write_whole;
use crate::hub::{Hub, Repo};
use crate::pipeline::{Pipeline, of_network};

/// The name of the file of weights in a run's folder and in timm's.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of timm's description beside it.
pub const CONFIG_FILE: &str = "config.json";
/// The names that weights have in a folder, the preferred one first.
const WEIGHTS_FILES: [&str; 4] =
    [WEIGHTS_FILE, "pytorch_model.bin", "pytorch_model.pth", "model.pth"];
/// What the names of repositories and folders begin with, as timm has it.
const HUB: &str = "hf-hub:";
const FOLDER: &str = "local-dir:";
/// The end of the names of tensors that PyTorch keeps and nobody needs.
const UNUSED: &str = "num_batches_tracked";

/// The embedded model: `lenet`, trained by `top5 train lenet` on the embedded digits (see `assets/README.md`).
static LENET_DIGITS: &[u8] = include_bytes!("../assets/lenet-digits.safetensors");
/// The names it answers to.
const EMBEDDED: [&str; 2] = ["lenet-digits", "lenet"];

/// Keys of the metadata.
const NETWORK: &str = "top5.network";
const CLASSES: &str = "top5.classes";
const PREPROCESS: &str = "top5.preprocess";

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

/// Why something is no model.
#[derive(Clone, Debug)]
pub enum ModelError {
    /// The metadata of a file contradict themselves or the tensors.
    Metadata {
        /// What is wrong.
        reason: String,
    },
    /// No network has these tensors.
    Unrecognised {
        /// The network that comes nearest, and what differs.
        nearest: Option<WeightsError>,
    },
    /// A network's name where weights are needed.
    Untrained {
        /// The network.
        network: String,
    },
    /// Neither a network nor a file.
    Unknown {
        /// What was given.
        given: String,
        /// Networks with similar names.
        nearest: Vec<&'static str>,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata { reason } => write!(
                f,
                "the model's description is not usable ({reason}): name the network and give the \
                 file as --weights"
            ),
            Self::Unrecognised { nearest: None } => f.write_str("the file holds no tensors"),
            Self::Unrecognised { nearest: Some(error) } => write!(
                f,
                "these are the weights of no network that top5 knows; the nearest is {}: {error}",
                error.network
            ),
            Self::Untrained { network } => write!(
                f,
                "{network} is a network without weights: give --weights, or a run's folder after \
                 `top5 train {network}`"
            ),
            Self::Unknown { given, nearest } => write!(
                f,
                "'{given}' is neither a file or folder nor a network (nearest: {}): expected a \
                 run's folder, a .safetensors file, a timm folder, {HUB}ORG/NAME or a name from \
                 `top5 models`",
                nearest.join(", ")
            ),
        }
    }
}

impl std::error::Error for ModelError {}

impl Model {
    /// The embedded LeNet, trained on the embedded digits.
    pub fn lenet_digits() -> Result<Self> {
        Self::from_bytes(LENET_DIGITS)
    }

    /// The model that `name` stands for: a file of weights, a folder with `model.safetensors` (a run's or timm's),
    /// `hf-hub:ORG/NAME`, or, together with `weights` (any of these), a network's name. Without weights, `lenet` is the
    /// embedded model.
    pub fn open(name: &str, weights: Option<&str>, hub: &Hub) -> Result<Self> {
        if let Some(weights) = weights {
            let network = top5_zoo::network(name)?;
            return Source::find(weights, hub)?.load(Some(network));
        }
        if name.starts_with(HUB) || name.starts_with(FOLDER) || Path::new(name).exists() {
            return Source::find(name, hub)?.load(None);
        }
        if EMBEDDED.contains(&name) {
            return Self::lenet_digits();
        }
        let error = match top5_zoo::network(name) {
            Ok(network) => ModelError::Untrained { network: network.name.to_owned() },
            Err(error) => ModelError::Unknown { given: name.to_owned(), nearest: error.nearest },
        };
        Err(error.into())
    }

    /// Reads a file of [`Model::to_bytes`], or other weights in safetensors whose network is recognised.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (weights, metadata) = read_weights(bytes)?;
        Self::described(weights, &metadata, None)
    }

    /// The model as a safetensors file: equal models give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let pipeline = Pipeline::from(&self.preprocess);
        let metadata = [
            ("format", "pt".to_owned()),
            (NETWORK, self.graph.name().to_owned()),
            (CLASSES, json!(self.classes).to_string()),
            (PREPROCESS, json!(pipeline).to_string()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        safetensors::write(&self.weights, &metadata.into_iter().collect())
    }

    /// timm's `config.json` for this model.
    pub fn to_timm_config(&self) -> String {
        let classes = self.classes.len();
        let config = json!({
            "architecture": self.graph.name(),
            "num_classes": classes,
            "label_names": self.classes,
            "pretrained_cfg": Pipeline::from(&self.preprocess).to_timm(classes),
        });
        format!("{config:#}\n")
    }

    /// Reads a model from a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = || Self::from_bytes(&fs::read(path)?);
        read().with_context(|| format!("reading {}", path.display()))
    }

    /// Writes the model to a file, which is complete or not there: it replaces an older one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), &self.to_bytes())
    }

    /// The model of these weights, as the file's metadata describe it, with the gaps filled from the registry.
    fn described(
        weights: Weights,
        metadata: &BTreeMap<String, String>,
        network: Option<&'static Network>,
    ) -> Result<Self> {
        let wrong = |reason: String| ModelError::Metadata { reason };
        let named = metadata.get(NETWORK).map(|name| top5_zoo::network(name)).transpose()?;
        let classes: Option<Vec<String>> = metadata
            .get(CLASSES)
            .map(|text| serde_json::from_str(text).map_err(|error| wrong(error.to_string())))
            .transpose()?;
        let preprocess = metadata
            .get(PREPROCESS)
            .map(|text| {
                let pipeline: Pipeline =
                    serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
                pipeline.resolve().map_err(wrong)
            })
            .transpose()?;
        Self::assemble(weights, network.or(named), classes, preprocess)
    }

    /// The model of these weights, as timm's `config.json` describes it.
    fn described_by_timm(
        weights: Weights,
        config: &Value,
        network: Option<&'static Network>,
    ) -> Result<Self> {
        let wrong = |reason: String| ModelError::Metadata { reason };
        let architecture = config.get("architecture").and_then(Value::as_str);
        let named = architecture.map(top5_zoo::network).transpose();
        let network = match network {
            Some(network) => Some(network),
            None => named?,
        };
        let labels = config.get("label_names").or_else(|| config.get("labels"));
        let classes = labels.and_then(|labels| serde_json::from_value(labels.clone()).ok());
        let pipeline = Pipeline::from_timm(config).map_err(wrong)?;
        Self::assemble(weights, network, classes, Some(pipeline.resolve().map_err(wrong)?))
    }

    fn assemble(
        weights: Weights,
        network: Option<&'static Network>,
        classes: Option<Vec<String>>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self> {
        let weights: Weights =
            weights.into_iter().filter(|(name, _)| !name.ends_with(UNUSED)).collect();
        let input = preprocess.as_ref().map(Preprocess::shape);
        let (network, graph) = match network {
            Some(network) => (network, matching(&fit(network, &weights, input)?, &weights)?),
            None => recognise(&weights, input)?,
        };
        let count = graph.classes();
        let classes = match classes {
            Some(classes) if classes.len() == count => classes,
            Some(classes) => {
                let reason = format!("{} class names for {count} classes", classes.len());
                return Err(ModelError::Metadata { reason }.into());
            }
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        let preprocess =
            preprocess.unwrap_or_else(|| of_network(&network.preprocessing, graph.input()));
        Ok(Self { graph, weights, classes, preprocess })
    }
}

/// Where weights lie.
enum Source {
    /// A file of weights.
    File(PathBuf),
    /// A file of weights and timm's description of it.
    Timm { weights: PathBuf, config: PathBuf },
}

impl Source {
    fn find(name: &str, hub: &Hub) -> Result<Self> {
        if let Some(repo) = name.strip_prefix(HUB) {
            let repo: Repo = repo.parse()?;
            let config = hub.file(&repo, CONFIG_FILE)?;
            return Ok(Self::Timm { weights: hub.file(&repo, WEIGHTS_FILE)?, config });
        }
        let path = Path::new(name.strip_prefix(FOLDER).unwrap_or(name));
        if !path.is_dir() {
            return Ok(Self::File(path.to_owned()));
        }
        let weights = WEIGHTS_FILES.map(|file| path.join(file));
        let weights = weights.iter().find(|path| path.is_file()).unwrap_or(&weights[0]).clone();
        let config = path.join(CONFIG_FILE);
        Ok(if config.is_file() { Self::Timm { weights, config } } else { Self::File(weights) })
    }

    fn load(&self, network: Option<&'static Network>) -> Result<Model> {
        let (Self::File(path) | Self::Timm { weights: path, .. }) = self;
        let load = || {
            let (weights, metadata) = read_weights(&fs::read(path)?)?;
            let Self::Timm { config, .. } = self else {
                return Model::described(weights, &metadata, network);
            };
            let reading = || format!("reading {}", config.display());
            let text = fs::read_to_string(config).with_context(reading)?;
            let config = serde_json::from_str(&text)
                .map_err(|error| ModelError::Metadata { reason: error.to_string() })
                .with_context(reading)?;
            Model::described_by_timm(weights, &config, network)
        };
        load().with_context(|| format!("reading {}", path.display()))
    }
}

/// The tensors and metadata of a file of weights: PyTorch's own, which have no metadata, or safetensors.
fn read_weights(bytes: &[u8]) -> Result<(Weights, BTreeMap<String, String>), FormatError> {
    /// The beginnings of a zip archive and of a pickle. safetensors begin with a length.
    const TORCH: [&[u8]; 2] = [b"PK\x03\x04", b"\x80\x02\x8a"];
    if TORCH.iter().any(|start| bytes.starts_with(start)) {
        return Ok((torch::read(bytes)?, BTreeMap::new()));
    }
    safetensors::read(bytes)
}

/// The network at the number of classes that the weights have, and at `input` if it is given.
fn fit(
    network: &'static Network,
    weights: &Weights,
    input: Option<[usize; 3]>,
) -> Result<Graph, top5_graph::GraphError> {
    let settings = Settings { input: input.unwrap_or(network.input), ..network.settings() };
    let graph = network.with(settings)?;
    let logits = graph.logits();
    let head = logits.spec.params.first().map(|param| logits.param_name(param));
    let classes = head.and_then(|name| weights.tensor(&name)?.shape().first().copied());
    match classes {
        Some(classes) if classes != settings.classes => {
            network.with(Settings { classes, ..settings })
        }
        Some(_) | None => Ok(graph),
    }
}

/// The part of the graph that has exactly these weights: all of it, or what inference needs.
fn matching(graph: &Graph, weights: &Weights) -> Result<Graph, WeightsError> {
    let Err(error) = weights.check(graph) else { return Ok(graph.clone()) };
    let inference = graph.inference();
    weights.check(&inference).map(|()| inference).map_err(|_| error)
}

/// The first network of the registry that has these tensors.
fn recognise(
    weights: &Weights,
    input: Option<[usize; 3]>,
) -> Result<(&'static Network, Graph), ModelError> {
    let mut nearest: Option<(usize, WeightsError)> = None;
    for network in top5_zoo::networks() {
        // An input that does not fit rules the network out.
        let Ok(graph) = fit(network, weights, input) else { continue };
        match matching(&graph, weights) {
            Ok(graph) => return Ok((network, graph)),
            Err(error) => {
                let wrong = error.missing.len() + error.unexpected.len() + error.mismatched.len();
                if nearest.as_ref().is_none_or(|(least, _)| wrong < *least) {
                    nearest = Some((wrong, error));
                }
            }
        }
    }
    let nearest = nearest.filter(|_| !weights.is_empty()).map(|(_, error)| error);
    Err(ModelError::Unrecognised { nearest })
}
