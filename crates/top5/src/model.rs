//! A network with trained weights, and how images become its input: what `eval` and `predict` use and `train` makes.
//!
//! It is a safetensors file whose metadata hold the network's name, the classes and the preprocessing. Weights of other
//! origin, without these metadata, are recognised by their tensors' names and shapes.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use top5_data::Preprocess;
use top5_formats::{self as formats, Format, Loaded, safetensors, timm};
use top5_graph::{Graph, GraphError, Weights, WeightsError};
use top5_zoo::{Colours, Network, Settings};

use crate::files::{sha256, write_whole};
use crate::hub::{Hub, Repo};
use crate::pipeline::{Pipeline, caffe_preprocessing, preprocessing};

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

/// The embedded model: `lenet`, trained by `top5 train lenet` on the embedded digits (see `assets/README.md`).
static LENET_DIGITS: &[u8] = include_bytes!("../assets/lenet-digits.safetensors");
/// The names it answers to.
const EMBEDDED: [&str; 2] = ["lenet-digits", "lenet"];

/// Keys of the metadata.
const NETWORK: &str = "top5.network";
const CLASSES: &str = "top5.classes";
const PREPROCESS: &str = "top5.preprocess";
/// Bytes of the longest that is read; 21,000 classes take half a million.
const LONGEST_METADATA: usize = 1 << 22;

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
    /// The file's name ends with the beginning of another SHA-256 than its own.
    Hash {
        /// What the name says.
        expected: String,
        /// The file's SHA-256.
        found: String,
    },
    /// Weights of Caffe's for a network that is built in another way.
    Caffe {
        /// The network that was named.
        named: &'static str,
        /// The one that the weights belong to.
        meant: &'static str,
    },
    /// Weights that are NaN or infinite.
    NonFinite {
        /// The tensors that have some, with their number.
        tensors: Vec<(String, usize)>,
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
                "these are the weights of no network that top5 knows; the nearest is {}, of whose \
                 tensors {} are missing, {} have another shape and {} are too many: name the \
                 network and give the file as --weights for the list",
                error.network,
                error.missing.len(),
                error.mismatched.len(),
                error.unexpected.len()
            ),
            Self::Hash { expected, found } => write!(
                f,
                "its SHA-256 should begin with {expected}, as its name says, and is {found}: download \
                 it again"
            ),
            Self::Caffe { named, meant } => write!(
                f,
                "these weights were trained in Caffe, where strides, pooling or normalisation are not \
                 those of {named} although the tensors are: load them as {meant}"
            ),
            Self::NonFinite { tensors } => {
                let count: usize = tensors.iter().map(|(_, count)| count).sum();
                write!(f, "{count} weights are NaN or infinite:")?;
                const LISTED: usize = 8;
                for (name, count) in tensors.iter().take(LISTED) {
                    write!(f, "\n    {count} in {name}")?;
                }
                if let Some(more) = tensors.len().checked_sub(LISTED).filter(|&more| more > 0) {
                    write!(f, "\n    … and more in {more} other tensors")?;
                }
                f.write_str("\n  training diverged, or the file is damaged: take an older one")
            }
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

    /// A network before training: its weights are drawn as its layers declare, its classes have numbers for names.
    pub fn untrained(network: &'static Network, seed: u64) -> Result<Self> {
        let weights = top5_train::initialise(&network.graph()?, seed);
        Self::assemble(weights, Format::Safetensors, Some(network), None, None)
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
        let file = formats::read_weights(bytes)?;
        Self::described(file, None, None)
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
            num_classes: self.classes.len(),
            pretrained_cfg: Pipeline::from(&self.preprocess).to_timm(),
        };
        config.write()
    }

    /// Reads a model from a file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = || Self::from_bytes(&fs::read(path)?);
        read().with_context(|| reading(path))
    }

    /// Writes the model to a file, which is complete or not there: it replaces an older one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_whole(path.as_ref(), &self.to_bytes())
    }

    /// The model of these weights, as the file's metadata describe it; then as timm's `config.json` does; then as the
    /// registry does.
    fn described(
        file: Loaded,
        network: Option<&'static Network>,
        config: Option<timm::Config>,
    ) -> Result<Self> {
        let metadata = &file.metadata;
        let wrong = |reason: String| ModelError::Metadata { reason };
        let of_json = |error: serde_json::Error| wrong(error.to_string());
        for key in [CLASSES, PREPROCESS] {
            if metadata.get(key).is_some_and(|text| text.len() > LONGEST_METADATA) {
                return Err(wrong(format!("{key} is longer than {LONGEST_METADATA} bytes")).into());
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
        let pipeline = metadata.get(PREPROCESS).map(|text| serde_json::from_str(text));
        let pipeline: Option<Pipeline> = pipeline.transpose().map_err(of_json)?;
        let pipeline =
            pipeline.or_else(|| config.map(|config| Pipeline::from_timm(config.pretrained_cfg)));
        let preprocess = pipeline.map(Pipeline::resolve).transpose().map_err(wrong)?;
        Self::assemble(file.weights, file.format, network, classes, preprocess)
    }

    fn assemble(
        weights: Weights,
        format: Format,
        network: Option<&'static Network>,
        classes: Option<Vec<String>>,
        preprocess: Option<Preprocess>,
    ) -> Result<Self> {
        let input = preprocess.as_ref().map(Preprocess::shape);
        let network = match network {
            Some(network) => check_caffe(network, &weights, format)?,
            None => recognise(&weights, format)?,
        };
        let (graph, weights) = fit(network, weights, input)?;
        let bad = formats::non_finite(&weights);
        if !bad.is_empty() {
            let tensors = bad.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            return Err(ModelError::NonFinite { tensors }.into());
        }
        let count = graph.classes();
        let classes = match classes {
            Some(classes) if classes.len() == count => classes,
            Some(classes) => {
                let reason = format!("{} class names for {count} classes", classes.len());
                return Err(ModelError::Metadata { reason }.into());
            }
            None => (0..count).map(|class| class.to_string()).collect(),
        };
        let preprocess = preprocess.unwrap_or_else(|| match format {
            Format::Caffe => caffe_preprocessing(network, graph.input()),
            Format::Safetensors | Format::Torch | Format::Overfeat(_) | Format::Onnx => {
                preprocessing(network, graph.input())
            }
        });
        Ok(Self { graph, weights, classes, preprocess })
    }
}

/// Where weights lie.
struct Source {
    /// The file of weights.
    weights: PathBuf,
    /// timm's description of them.
    config: Option<PathBuf>,
}

impl Source {
    fn find(name: &str, hub: &Hub) -> Result<Self> {
        if let Some(repo) = name.strip_prefix(HUB) {
            let repo: Repo = repo.parse()?;
            let config = match hub.file(&repo, CONFIG_FILE) {
                Ok(config) => Some(config),
                Err(error) if error.is_absence() => None,
                Err(error) => return Err(error.into()),
            };
            return Ok(Self { weights: hub.first_file(&repo, &WEIGHTS_FILES)?, config });
        }
        let path = Path::new(name.strip_prefix(FOLDER).unwrap_or(name));
        if !path.is_dir() {
            return Ok(Self { weights: path.to_owned(), config: None });
        }
        let files = WEIGHTS_FILES.map(|file| path.join(file));
        let weights = files.iter().find(|file| file.is_file()).unwrap_or(&files[0]).clone();
        Ok(Self { weights, config: Some(path.join(CONFIG_FILE)).filter(|file| file.is_file()) })
    }

    fn load(&self, network: Option<&'static Network>) -> Result<Model> {
        let config = self.config.as_deref().map(|path| {
            let read = || anyhow::Ok(timm::Config::read(&fs::read(path)?)?);
            read().with_context(|| reading(path))
        });
        let config = config.transpose()?;
        let load = || {
            // A device or a pipe has no length that would bound what is read.
            if !fs::metadata(&self.weights)?.is_file() {
                return Err(
                    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file").into()
                );
            }
            let bytes = fs::read(&self.weights)?;
            check_name(&self.weights, &bytes)?;
            let file = formats::read_weights(&bytes)?;
            drop(bytes);
            Model::described(file, network, config)
        };
        load().with_context(|| reading(&self.weights))
    }
}

/// Torch hub's names end with the first digits of the SHA-256: `resnet50-0676ba61.pth`.
fn check_name(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let hashed = path.extension().is_some_and(|extension| extension == "pth" || extension == "pt");
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let Some((_, expected)) = stem.rsplit_once('-').filter(|_| hashed) else { return Ok(()) };
    const DIGITS: usize = 8;
    if expected.len() != DIGITS || !expected.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    let found = sha256(bytes);
    let expected = expected.to_lowercase();
    if found.starts_with(&expected) { Ok(()) } else { Err(ModelError::Hash { expected, found }) }
}

fn reading(path: &Path) -> String {
    format!("reading {}", path.display())
}

/// The network at the number of classes that the weights have, and at `input` if it is given, with the weights under its
/// names. Auxiliary heads that the file lacks are left out.
fn fit(
    network: &'static Network,
    weights: Weights,
    input: Option<[usize; 3]>,
) -> Result<(Graph, Weights)> {
    let settings = Settings { input: input.unwrap_or(network.input), ..network.settings() };
    let graph = network.with(settings)?;
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

/// The number of classes in a file whose last layer has another one than the graph's.
fn other_classes(graph: &Graph, error: &WeightsError) -> Option<usize> {
    let logits = graph.logits();
    let head = logits.param_name(logits.spec.params.first()?);
    error.mismatched.iter().find(|mismatch| mismatch.name == head)?.got.first().copied()
}

/// The network of the registry that has these tensors: of several, the one that is built as Caffe builds it if the file is
/// Caffe's, otherwise the one that is registered first, which is the usual one.
fn recognise(weights: &Weights, format: Format) -> Result<&'static Network> {
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
    Err(ModelError::Unrecognised { nearest }.into())
}

/// The network, unless the file is Caffe's and another network has the same tensors and is built as Caffe builds it.
fn check_caffe(
    network: &'static Network,
    weights: &Weights,
    format: Format,
) -> Result<&'static Network> {
    if format != Format::Caffe || is_caffe(network) {
        return Ok(network);
    }
    match recognise(weights, format) {
        Ok(meant) if is_caffe(meant) && network.params == meant.params => {
            Err(ModelError::Caffe { named: network.name, meant: meant.name }.into())
        }
        Ok(_) | Err(_) => Ok(network),
    }
}

/// Whether the network is built, and its images prepared, as in Caffe.
fn is_caffe(network: &Network) -> bool {
    network.preprocessing.colours == Colours::Bgr
}
