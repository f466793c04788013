//! What a model's name on the command line stands for, and where the hub's files are.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::data::files;
use top5::formats::{Pick, config};
use top5::zoo::{self, Network};
use top5::{CONFIG_FILE, Model, Options, PREPROCESSOR_FILE, WEIGHTS_FILE, WeightFiles};
use top5_hub::{ENDPOINT, Hub, PATIENCE, Repo};

use crate::args::WeightsArgs;
use crate::exit::Stop;
use crate::memory;
use crate::output::Output;
use crate::printable;

/// What the names of repositories and folders begin with, as timm has it.
const HUB: &str = "hf-hub:";
const FOLDER: &str = "local-dir:";

/// The names that the embedded model answers to.
const EMBEDDED: [&str; 2] = ["lenet-digits", "lenet"];

/// A model that is not read yet.
#[derive(Clone, Debug)]
enum ModelSource {
    /// The one that is part of the program.
    Embedded,
    /// Weights, of this network or of the one that is recognised.
    Weights(Place, Option<&'static Network>),
}

/// A model that is not read yet, and the hub that it may come from.
#[derive(Clone, Debug)]
pub(crate) struct StoredModel {
    source: ModelSource,
    /// Which tensors of a checkpoint are meant.
    pick: Pick,
    hub: Hub,
}

impl StoredModel {
    /// What `name` stands for, together with the weights that the arguments give.
    pub(crate) fn resolve(name: &str, args: &WeightsArgs) -> Result<Self> {
        let source = ModelSource::resolve(name, args.weights.as_deref())?;
        let pick = match &args.weights_key {
            Some(key) => Pick::Key(key.clone()),
            None if args.ema => Pick::Average,
            None => Pick::Weights,
        };
        let message = match (&source, &pick) {
            (ModelSource::Embedded, Pick::Average) => {
                "the embedded model has no average of its weights (--ema)"
            }
            (ModelSource::Embedded, Pick::Key(_)) => {
                "the embedded model is one network (--weights-key)"
            }
            _ => return Ok(Self { source, pick, hub: hub_from_environment(args.offline) }),
        };
        Err(Stop::BadInput(message.to_owned()).into())
    }

    /// Where it comes from.
    pub(crate) fn origin(&self) -> String {
        match &self.source {
            ModelSource::Embedded => "part of the program".to_owned(),
            ModelSource::Weights(place, _) => place.to_string(),
        }
    }

    /// Reads the model, downloaded if need be, and tells what its file left open.
    pub(crate) fn open(&self, output: Output) -> Result<Model> {
        let (place, network) = match &self.source {
            ModelSource::Embedded => return Ok(Model::lenet_digits()?),
            ModelSource::Weights(place, network) => (place, *network),
        };
        let files = place.files(&self.hub)?;
        memory::check_weights(&files)?;
        let opened = files.open(network, &self.pick)?;
        opened.notes.iter().for_each(|note| output.note(note));
        Ok(opened.model)
    }

    /// What a network answered; where that failed because the answer to `culprit`, a prepared image, is not finite, the error
    /// names the layer that it comes from. The weights are read again for it.
    pub(crate) fn traced<T>(
        &self,
        answer: Result<T>,
        culprit: &[f32],
        options: &Options,
        output: Output,
    ) -> Result<T> {
        traced(answer, culprit, options, || self.open(output))
    }
}

/// The same for a model that `open` reads.
pub(crate) fn traced<T>(
    answer: Result<T>,
    culprit: &[f32],
    options: &Options,
    open: impl FnOnce() -> Result<Model>,
) -> Result<T> {
    if answer.is_ok() || culprit.is_empty() {
        return answer;
    }
    let Model { graph, weights, .. } = open()?.inference();
    let device = top5::device(&memory::limited(options.clone()))?;
    Err(top5::trace(&device, &graph, weights, culprit).into())
}

/// Weights that a run starts from.
pub(crate) struct Start {
    pub(crate) model: Model,
    /// SHA-256 of their file.
    pub(crate) sha256: String,
    /// Where they come from.
    pub(crate) origin: String,
}

impl Start {
    /// Reads the weights of `network` that `name` stands for, downloaded if need be: a file, a folder or `hf-hub:ORG/NAME`. Of a
    /// file with several networks, `key` tells which.
    pub(crate) fn open(
        name: &str,
        key: Option<&str>,
        network: &'static Network,
        offline: bool,
        output: Output,
    ) -> Result<Self> {
        let place = Place::resolve(name)?;
        let files = place.files(&hub_from_environment(offline))?;
        memory::check_weights(&files)?;
        let pick = key.map_or(Pick::Weights, |key| Pick::Key(key.to_owned()));
        let opened = files.open(Some(network), &pick)?;
        opened.notes.iter().for_each(|note| output.note(note));
        Ok(Self { model: opened.model, sha256: files.sha256()?, origin: place.to_string() })
    }
}

/// Weights as a name that holds in every working directory.
pub(crate) fn anywhere(name: &str) -> String {
    if name.starts_with(HUB) {
        return name.to_owned();
    }
    let path = std::path::absolute(name.strip_prefix(FOLDER).unwrap_or(name)).ok();
    path.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

/// What a name stands for where weights are not needed.
pub(crate) enum Named {
    /// A network of the registry.
    Network(&'static Network),
    Model(StoredModel),
}

impl Named {
    /// A model where there is one of that name, or where the arguments give weights; otherwise a network.
    pub(crate) fn resolve(name: &str, args: &WeightsArgs) -> Result<Self> {
        let path = Path::new(name);
        let wants_model = args.weights.is_some()
            || args.ema
            || args.weights_key.is_some()
            || [HUB, FOLDER].iter().any(|prefix| name.starts_with(prefix))
            || is_there(path)? && (holds_weights(path) || zoo::network(name).is_err());
        let network = || zoo::find(name).is_ok().then(|| zoo::network(name));
        match network().filter(|_| !wants_model) {
            Some(network) => Ok(Self::Network(network?)),
            None => Ok(Self::Model(StoredModel::resolve(name, args)?)),
        }
    }
}

/// Where weights are to be had.
#[derive(Clone, Debug)]
enum Place {
    /// A file or folder.
    Path(PathBuf),
    /// A repository of the hub.
    Hub(Repo),
}

impl ModelSource {
    /// What `name` stands for: a file of weights, a folder with `model.safetensors` (a run's or timm's), `hf-hub:ORG/NAME`, or,
    /// together with `weights` (any of these), a network's name. Without weights, `lenet` is the embedded model.
    fn resolve(name: &str, weights: Option<&str>) -> Result<Self> {
        if let Some(weights) = weights {
            let network = zoo::network(name)?;
            return Ok(Self::Weights(Place::resolve(weights)?, Some(network)));
        }
        let path = Path::new(name);
        let is_meant = || -> Result<bool> {
            Ok(is_there(path)? && (holds_weights(path) || !EMBEDDED.contains(&name)))
        };
        if name.starts_with(HUB) || name.starts_with(FOLDER) || is_meant()? {
            return Ok(Self::Weights(Place::resolve(name)?, None));
        }
        if EMBEDDED.contains(&name) {
            return Ok(Self::Embedded);
        }
        let message = match zoo::network(name) {
            Ok(network) => format!(
                "{0} is a network without weights: give a file or folder of them with --weights, or name a run's \
                 folder: `top5 train {0} --data FOLDER` makes one",
                network.name
            ),
            Err(error) if error.nearest.is_empty() => error.to_string(),
            Err(error) => format!(
                "{name:?} is neither a file or folder nor a network (nearest: {}): expected a run's folder, a \
                 file of weights, a timm folder, {HUB}ORG/NAME or a name from `top5 models`",
                error.nearest.join(", ")
            ),
        };
        Err(Stop::BadInput(message).into())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => match WeightFiles::at(path) {
                Ok(files) => files.weights.display().fmt(f),
                Err(_) => path.display().fmt(f),
            },
            Self::Hub(repo) => write!(f, "{HUB}{}@{}", repo.id, repo.revision),
        }
    }
}

impl Place {
    fn resolve(name: &str) -> Result<Self> {
        Ok(match name.strip_prefix(HUB) {
            Some(repo) => Self::Hub(repo.parse()?),
            None => Self::Path(name.strip_prefix(FOLDER).unwrap_or(name).into()),
        })
    }

    fn files(&self, hub: &Hub) -> Result<WeightFiles> {
        let repo = match self {
            Self::Path(path) => return of_path(path),
            Self::Hub(repo) => repo,
        };
        let optional = |name| match hub.file(repo, name) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        };
        let config = optional(CONFIG_FILE)?;
        let preprocessor = match &config {
            Some(path) if config::wants_preprocessor(&files::read(path, files::TEXT)?) => {
                optional(PREPROCESSOR_FILE)?
            }
            Some(_) | None => None,
        };
        let weights = hub.first_file(repo, &WeightFiles::NAMES)?;
        let found = WeightFiles { weights, config, preprocessor };
        // Those of an index, or of an ONNX file, lie beside it in the cache once they are asked for.
        for file in found.all()? {
            let name = file.file_name().and_then(|name| name.to_str());
            hub.file(repo, name.expect("files are named by text"))?;
        }
        Ok(found)
    }
}

/// Whether a name is that of a file or folder.
fn is_there(path: &Path) -> Result<bool> {
    files::exists(path).with_context(|| format!("reading {}", path.display()))
}

/// Whether what is at a path may be weights: a folder, of data perhaps, may happen to be called as a network is.
fn holds_weights(path: &Path) -> bool {
    path.is_file() || WeightFiles::at(path).map_or(true, |files| files.weights.is_file())
}

/// The files of weights at a path. Fails where it is a folder that holds none, or several of which none is preferred.
fn of_path(path: &Path) -> Result<WeightFiles> {
    let files = WeightFiles::at(path)?;
    if files.weights.is_file() || !path.is_dir() {
        return Ok(files);
    }
    let several = WeightFiles::named_otherwise(path);
    let names = several.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy()));
    let names: Vec<_> = names.collect();
    let message = match names.is_empty() {
        true => format!(
            "{}: no weights in this folder: expected {}, or one file named {}",
            path.display(),
            WEIGHTS_FILE,
            WeightFiles::ENDS.join(", ")
        ),
        false => format!(
            "{}: several files of weights: name one of {}",
            path.display(),
            printable::list(names.iter().map(|name| &**name), 8)
        ),
    };
    Err(Stop::BadInput(message).into())
}

/// The hub with the cache and the address that the environment gives: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or
/// `huggingface/hub` in `XDG_CACHE_HOME` or `~/.cache`; `HF_ENDPOINT`; `HF_HUB_OFFLINE`.
fn hub_from_environment(offline: bool) -> Hub {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = |name: &str| variable(name).map(PathBuf::from);
    let cache = folder("HF_HUB_CACHE")
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(std::env::home_dir()?.join(".cache/huggingface/hub")))
        .unwrap_or_else(|| ".cache/huggingface/hub".into());
    let forbidden = variable("HF_HUB_OFFLINE").is_some_and(|value| {
        !["0", "false", "no", "off"].iter().any(|no| value.eq_ignore_ascii_case(no))
    });
    let endpoint = variable("HF_ENDPOINT").and_then(|value| value.into_string().ok());
    Hub {
        cache,
        endpoint: endpoint.as_deref().unwrap_or(ENDPOINT).trim_end_matches('/').to_owned(),
        offline: offline || forbidden,
        patience: PATIENCE,
    }
}
