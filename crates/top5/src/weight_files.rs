//! Where a model's weights lie: a file, or a folder of a run or of timm's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use top5_data::files::{self, Regular};
use top5_formats::{
    self as formats, Format, FormatError, Group, Index, Loaded, Onnx, Pick, config, safetensors,
    timm,
};
use top5_graph::counted;
use top5_train::{
    CHECKPOINT_STATE, CHECKPOINT_WEIGHTS, CheckpointError, Recipe, State, newest_folder,
};
use top5_zoo::Network;

use crate::description::Description;
use crate::error::ModelError;
use crate::files::{Hash, sha256};
use crate::model::Model;
use crate::onnx_file::{self, prepared};
use crate::preprocessing::recipe_preprocessing;
use crate::published;
use crate::twins::about_twins;

/// The embedded model: `lenet`, trained by `top5 train lenet` on the embedded digits (see `assets/README.md`).
static LENET_DIGITS: &[u8] = include_bytes!("../assets/lenet-digits.safetensors");

impl Model {
    /// The embedded LeNet, trained on the embedded digits.
    pub fn lenet_digits() -> Result<Self, ModelError> {
        Self::from_bytes(LENET_DIGITS)
    }

    /// Reads a file of [`Model::to_bytes`], or weights of another origin and format, whose network is recognised.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        Ok(Opened::read(bytes, None, None, None, &Pick::Weights)?.model)
    }

    /// Reads a model from a file, or from a folder (a run's, or timm's): see [`WeightFiles`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        WeightFiles::at(path.as_ref())?.load(None)
    }
}

/// The name of the file of weights in a run's folder and in timm's.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of timm's description beside it.
pub const CONFIG_FILE: &str = "config.json";

/// The name of the second description that transformers keeps beside that.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// A file of weights, and what describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFiles {
    /// The file of weights.
    pub weights: PathBuf,
    /// timm's or transformers' description of them. What it says counts, also where the file says otherwise of itself: it is what people edit.
    pub config: Option<PathBuf>,
    /// What transformers' description has beside it: how images are prepared.
    pub preprocessor: Option<PathBuf>,
}

impl WeightFiles {
    /// The names that weights have in a folder, the preferred one first.
    pub const NAMES: [&str; 8] = [
        WEIGHTS_FILE,
        "pytorch_model.bin",
        "pytorch_model.pth",
        "model.pth",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
        CHECKPOINT_WEIGHTS,
        "model.onnx",
    ];

    /// How files of weights end that have other names, the preferred one first.
    pub const ENDS: [&str; 8] =
        [".safetensors", ".pth", ".pth.tar", ".pt", ".th", ".bin", ".ckpt", ".onnx"];

    /// Those of a folder, if `path` is one: the first of [`Self::NAMES`] that is there; in the folder of a run that is not
    /// finished, those of its newest checkpoint; the only file with the first of [`Self::ENDS`] that any has. Otherwise the file
    /// itself, without a description. Nothing is read yet; fails where the system does not let it be seen what is there.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if !path.is_dir() {
            return Ok(Self { weights: path, config: None, preprocessor: None });
        }
        let weights = match Self::usual(&path)? {
            Some(usual) => Some(usual),
            None => match newest_checkpoint(&path)? {
                Some(step) => Self::usual(&step)?,
                None => None,
            },
        };
        let only = || Some(Self::named_otherwise(&path)).filter(|of| of.len() == 1)?.pop();
        let weights = weights.or_else(only).unwrap_or_else(|| path.join(WEIGHTS_FILE));
        let beside = |name| there(path.join(name));
        let (config, preprocessor) = (beside(CONFIG_FILE)?, beside(PREPROCESSOR_FILE)?);
        Ok(Self { weights, config, preprocessor })
    }

    /// The first of [`Self::NAMES`] that a folder has.
    fn usual(folder: &Path) -> Result<Option<PathBuf>, ModelError> {
        for name in Self::NAMES {
            if let Some(file) = there(folder.join(name))? {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// The files of a folder that have the first of [`Self::ENDS`] that any has, sorted; none where it cannot be listed.
    pub fn named_otherwise(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.is_file());
        files.sort();
        let ends = |file: &Path, end: &str| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.') && name.to_lowercase().ends_with(end)
        };
        let first = Self::ENDS.iter().find(|end| files.iter().any(|file| ends(file, end)));
        files.retain(|file| first.is_some_and(|end| ends(file, end)));
        files
    }

    /// The files that hold the weights, all in one folder: of an index those that it names, of an ONNX file itself and those in which
    /// its tensors lie, otherwise the file.
    pub fn all(&self) -> Result<Vec<PathBuf>, ModelError> {
        if self.is_index() {
            return self.shards();
        }
        let names = || match formats::detect(&Regular::open(&self.weights)?.start(START)?) {
            Ok(Format::Onnx) => {
                Ok(Onnx::read(&files::read(&self.weights, u64::MAX)?)?.files_beside())
            }
            // What it is, is told when it is read.
            Ok(_) | Err(_) => Ok(BTreeSet::new()),
        };
        let names = names().map_err(|error: ModelError| error.at(&self.weights))?;
        let beside = names.iter().map(|name| self.weights.with_file_name(name));
        Ok(std::iter::once(self.weights.clone()).chain(beside).collect())
    }

    /// The files that an index names.
    fn shards(&self) -> Result<Vec<PathBuf>, ModelError> {
        let read = || Ok(Index::read(&files::read(&self.weights, files::TEXT)?)?);
        let index = read().map_err(|error: ModelError| error.at(&self.weights))?;
        Ok(index.names().map(|name| self.weights.with_file_name(name)).collect())
    }

    /// SHA-256 of [`Self::all`] files, one after another, piece by piece.
    pub fn sha256(&self) -> Result<String, ModelError> {
        let mut hash = Hash::default();
        for path in self.all()? {
            let hashed = Regular::open(&path).and_then(|file| {
                let length = file.len();
                io::copy(&mut file.into_file().take(length), &mut hash)
            });
            hashed.map_err(|error| ModelError::from(error).at(&path))?;
        }
        Ok(hash.finish())
    }

    fn is_index(&self) -> bool {
        self.weights.to_string_lossy().ends_with(".index.json")
    }

    /// Reads the model: of `network`, if it is given; otherwise of the one that the file names, or that its tensors belong to.
    pub fn load(&self, network: Option<&'static Network>) -> Result<Model, ModelError> {
        Ok(self.open(network, &Pick::Weights)?.model)
    }

    /// As [`Self::load`], of the tensors that `pick` asks for, with what was decided on the way.
    pub fn open(
        &self,
        network: Option<&'static Network>,
        pick: &Pick,
    ) -> Result<Opened, ModelError> {
        let config = self.description()?;
        let beside = if config.is_none() && network.is_none() { self.beside()? } else { None };
        let note = beside.as_ref().map(|_| {
            format!("the network, its classes and its preprocessing are those of the {CONFIG_FILE} beside the file")
        });
        let config = config.or(beside);
        let open = || {
            if self.is_index() {
                let parts = self.shards()?;
                let parts = parts.iter().map(|path| {
                    let read = || match streamed(path, pick)? {
                        Some(file) => Ok(file),
                        None => {
                            Ok(formats::read_weights_with(&files::read(path, u64::MAX)?, pick)?)
                        }
                    };
                    read().map_err(|error: ModelError| error.at(path))
                });
                let parts = parts.collect::<Result<Vec<_>, _>>()?;
                let file = Index::join(parts)?;
                let description = Description::read(&file.metadata, config)?;
                return Opened::assemble(file, network, description, pick);
            }
            if let Some(file) = streamed(&self.weights, pick)? {
                let description = Description::read(&file.metadata, config)?;
                let description = description.or(of_checkpoint(&self.weights)?);
                return Opened::assemble(file, network, description, pick);
            }
            let bytes = files::read(&self.weights, u64::MAX)?;
            check_name(&self.weights, &bytes)?;
            Opened::read(&bytes, Some(&self.weights), network, config, pick)
        };
        let mut opened = open().map_err(|error: ModelError| error.at(&self.weights))?;
        opened.notes.splice(0..0, note);
        Ok(opened)
    }

    /// What the description says.
    fn description(&self) -> Result<Option<timm::Config>, ModelError> {
        let preprocessor = self.preprocessor.as_deref();
        let preprocessor = preprocessor.map(|path| files::read(path, files::TEXT));
        let preprocessor = preprocessor.transpose()?;
        let read = |path: &Path| {
            let text = files::read(path, files::TEXT)?;
            Ok(config::read(&text, preprocessor.as_deref())?)
        };
        let config = self.config.as_deref();
        config.map(|path| read(path).map_err(|error: ModelError| error.at(path))).transpose()
    }

    /// What the description of the folder says in which a file has a usual name, where it is that file which was given. Another
    /// file that is called so is none.
    fn beside(&self) -> Result<Option<timm::Config>, ModelError> {
        let name = self.weights.file_name().unwrap_or_default().to_string_lossy();
        let beside = |name| there(self.weights.with_file_name(name));
        if !Self::NAMES.contains(&&*name) {
            return Ok(None);
        }
        let (config, preprocessor) = (beside(CONFIG_FILE)?, beside(PREPROCESSOR_FILE)?);
        let described = Self { config, preprocessor, weights: self.weights.clone() }.description();
        let refused = |error: &ModelError| {
            matches!(error, ModelError::File { source, .. }
                if matches!(**source, ModelError::Format(FormatError::Refused { .. })))
        };
        described.or_else(|error| if refused(&error) { Err(error) } else { Ok(None) })
    }
}

/// The file, if it is there.
fn there(file: PathBuf) -> Result<Option<PathBuf>, ModelError> {
    let is_there = files::is_file(&file).map_err(|error| ModelError::from(error).at(&file))?;
    Ok(Some(file).filter(|_| is_there))
}

/// The newest checkpoint of those in a folder, or in that of a run.
fn newest_checkpoint(folder: &Path) -> Result<Option<PathBuf>, ModelError> {
    for folder in [folder, &folder.join(CHECKPOINTS)] {
        match newest_folder(folder) {
            Ok(None) => {}
            Ok(newest) => return Ok(newest),
            Err(CheckpointError::Io { source, path, .. }) => {
                return Err(ModelError::from(source).at(&path));
            }
            Err(error) => return Err(ModelError::from(io::Error::other(error)).at(folder)),
        }
    }
    Ok(None)
}

/// The folder of checkpoints in a run's.
const CHECKPOINTS: &str = "checkpoints";

/// How the run of a checkpoint, whose state lies beside its weights, describes them; nothing beside other files.
fn of_checkpoint(weights: &Path) -> Result<Description, ModelError> {
    let path = weights.with_file_name(CHECKPOINT_STATE);
    if !weights.ends_with(CHECKPOINT_WEIGHTS) || there(path.clone())?.is_none() {
        return Ok(Description::default());
    }
    let read = || -> Result<Recipe, ModelError> {
        let state = serde_json::from_slice::<State>(&files::read(&path, files::TEXT)?);
        Ok(state.map_err(|error| ModelError::Metadata { reason: error.to_string() })?.recipe)
    };
    let recipe = read().map_err(|error| error.at(&path))?;
    let network = top5_zoo::network(&recipe.network).ok();
    let preprocess = network.map(|network| recipe_preprocessing(&recipe, network));
    Ok(Description { network: Some(recipe.network), preprocess, ..Description::default() })
}

/// The tensors of a safetensors file, which need not be in memory beside them; `None` for another file.
fn streamed(path: &Path, pick: &Pick) -> Result<Option<Loaded>, ModelError> {
    let mut file = Regular::open(path)?;
    let start = file.start(START)?;
    let is_safetensors = formats::detect(&start) == Ok(Format::Safetensors);
    if !is_safetensors || hash_in_name(path).is_some() || *pick != Pick::Weights {
        return Ok(None);
    }
    let (length, mut file) = (file.len(), file.into_file());
    file.rewind()?;
    Ok(Some(safetensors::read_from(&mut file, length)?))
}

/// A model that was read.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The model.
    pub model: Model,
    /// What its file left open, and how it was taken, one sentence each.
    pub notes: Vec<String>,
}

impl Opened {
    /// The model in the bytes of a file, which is at a place where others may lie beside it.
    pub(crate) fn read(
        bytes: &[u8],
        place: Option<&Path>,
        network: Option<&'static Network>,
        config: Option<timm::Config>,
        pick: &Pick,
    ) -> Result<Self, ModelError> {
        if *pick != Pick::Weights || formats::detect(bytes)? != Format::Onnx {
            let file = formats::read_weights_with(bytes, pick)?;
            let description = Description::read(&file.metadata, config)?;
            let published =
                place.and_then(hash_in_name).and_then(|hash| published::preprocess(&hash));
            let preprocess = published.filter(|_| description.preprocess.is_none());
            let note = preprocess.as_ref().map(|_| {
                "by its hash it is a published file: images are prepared as for that one".to_owned()
            });
            let description = description.or(Description { preprocess, ..Description::default() });
            let mut opened = Self::assemble(file, network, description, pick)?;
            opened.notes.extend(note);
            return Ok(opened);
        }
        let onnx = Onnx::read(bytes)?;
        let beside =
            place.map_or_else(|| Ok(BTreeMap::new()), |place| files_beside(&onnx, place))?;
        let onnx = onnx.with_files(&beside)?;
        let description = Description::read(onnx.metadata(), config)?;
        let file = onnx_file::recognise(&onnx, network, &description)?;
        let mut notes = Vec::new();
        if network.is_none() && description.preprocess.is_none() && onnx.intake().is_none() {
            notes.push(format!(
                "recognised {} by the structure of the ONNX file; images are prepared as for that network's usual weights",
                file.network.name
            ));
        }
        if !onnx.tail().is_empty() {
            notes.push(format!(
                "after its logits the file has {}, which was left out: probabilities are their softmax",
                onnx.tail().join(", ")
            ));
        }
        let described = description.preprocess.is_some();
        let name = file.network.name;
        let model = Model::of_onnx(file, description)?;
        if let Some(intake) = onnx.intake() {
            let (preprocess, note) = prepared(intake, described, &model.preprocess)?;
            notes.push(format!("recognised {name} by the structure of the ONNX file; {note}"));
            let model = Model { preprocess, ..model };
            return Ok(Self { model, notes });
        }
        notes.extend(about_channels(&model).filter(|_| !described));
        Ok(Self { model, notes })
    }

    fn assemble(
        file: Loaded,
        network: Option<&'static Network>,
        description: Description,
        pick: &Pick,
    ) -> Result<Self, ModelError> {
        let unread = file.refusal();
        let mut notes: Vec<String> = about_groups(&file.groups).into_iter().collect();
        notes.extend(about_unread(&file.unread));
        let (weights, picked) = formats::picked(file.weights, &file.groups, pick)?;
        notes.extend(picked);
        let (weights, computed) = formats::compute(weights)?;
        notes.extend(computed);
        let names: Vec<String> = weights.iter().map(|(name, _)| name.to_owned()).collect();
        let nameless = network.is_none() && description.network.is_none();
        let described = description.preprocess.is_some();
        let model = Model::assemble(weights, file.format, network, description);
        let model = model.map_err(|error| match unread {
            Some(unread) if error.lacks_tensors() => ModelError::Format(unread),
            _ => error,
        })?;
        notes.extend(formats::renamings(names.iter().map(String::as_str), &model.graph));
        notes.extend(about_channels(&model).filter(|_| !described));
        if nameless {
            notes.extend(about_twins(model.graph.name()));
        }
        Ok(Self { model, notes })
    }
}

/// The bytes of the files in which an ONNX file's tensors lie, by name.
fn files_beside(onnx: &Onnx<'_>, place: &Path) -> Result<BTreeMap<String, Vec<u8>>, ModelError> {
    let read = |name: String| {
        let path = place.with_file_name(&name);
        let bytes = files::read(&path, u64::MAX).map_err(|error| ModelError::from(error).at(&path));
        Ok((name, bytes?))
    };
    onnx.files_beside().into_iter().map(read).collect()
}

/// How images are prepared for a network that takes another number of channels than it usually does, of which nobody says how they
/// should be.
fn about_channels(model: &Model) -> Option<String> {
    let [channels, ..] = model.graph.input();
    let usual = top5_zoo::network(model.graph.name()).ok()?.input[0];
    (channels != usual).then(|| {
        let (word, what) = match channels {
            1 => ("channel", "images become gray"),
            _ => ("channels", "images are in colour"),
        };
        format!(
            "the network takes {channels} {word} and not {usual}: {what}, with mean {:?} and std {:?}; say with --mean and --std what it \
             learnt with",
            model.preprocess.mean, model.preprocess.std
        )
    })
}

/// Which tensors were left out since their types are not read.
fn about_unread(unread: &[String]) -> Option<String> {
    let first = unread.first()?;
    let more = match unread.len() - 1 {
        0 => String::new(),
        more => format!(", and {} more", counted(more, "tensor")),
    };
    Some(format!("left out: {first}{more}"))
}

/// Which group of tensors was taken, where weights and averages of them are there, or others that may be meant.
fn about_groups(groups: &[Group]) -> Option<String> {
    let taken = groups.iter().find(|group| group.taken)?;
    let place =
        if taken.path.is_empty() { "the file itself" } else { &format!("`{}`", taken.path) };
    let rivals = groups.iter().filter(|group| {
        !group.taken && (group.average, group.tensors) == (taken.average, taken.tensors)
    });
    let rivals: Vec<String> = rivals.map(|group| format!("`{}`", group.path)).collect();
    let rivals = if rivals.is_empty() {
        String::new()
    } else {
        format!("; as many tensors are in {}, which --weights-key takes", rivals.join(", "))
    };
    let others: Vec<String> = groups
        .iter()
        .filter(|group| !group.taken && group.average != taken.average)
        .map(|group| format!("`{}`", group.path))
        .collect();
    let averages = groups.iter().any(|group| group.average);
    if !averages {
        return (!rivals.is_empty()).then(|| format!("took the weights in {place}{rivals}"));
    }
    let what = if taken.average { "the average of weights" } else { "the weights" };
    let hint = match (taken.average, others.is_empty()) {
        (_, true) => String::new(),
        (false, false) => {
            format!("; their average is in {}: take it with --ema", others.join(", "))
        }
        (true, false) => format!("; the weights themselves are in {}", others.join(", ")),
    };
    Some(format!("took {what} in {place}{hint}{rivals}"))
}

/// Bytes of a file's beginning by which safetensors are told.
const START: u64 = 1 << 9;

/// Torch hub's names end with the first digits of the SHA-256: `resnet50-0676ba61.pth`.
fn hash_in_name(path: &Path) -> Option<String> {
    const DIGITS: usize = 8;
    let hashed = path.extension().is_some_and(|extension| extension == "pth" || extension == "pt");
    let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let (_, digits) = stem.rsplit_once('-').filter(|_| hashed)?;
    let is_hash = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hash.then(|| digits.to_lowercase())
}

fn check_name(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let Some(expected) = hash_in_name(path) else { return Ok(()) };
    let found = sha256(bytes);
    if found.starts_with(&expected) { Ok(()) } else { Err(ModelError::Hash { expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    #[test]
    fn groups_that_may_be_meant_are_told() {
        let group = |path: &str, tensors, average, taken| Group {
            path: path.to_owned(),
            tensors,
            average,
            taken,
        };
        let taken = group("model", 122, false, true);
        let told = |other: &[Group]| about_groups(&[from_ref(&taken), other].concat());
        assert_eq!(told(&[]), None);
        // Gradients, for instance, which counters have none of.
        assert_eq!(told(&[group("grads", 62, false, false)]), None);
        let best = group("best_model", 122, false, false);
        let rival = "; as many tensors are in `best_model`, which --weights-key takes";
        assert_eq!(told(from_ref(&best)), Some(format!("took the weights in `model`{rival}")));
        let ema = group("model_ema", 122, true, false);
        let average =
            "took the weights in `model`; their average is in `model_ema`: take it with --ema";
        assert_eq!(told(from_ref(&ema)).as_deref(), Some(average));
        assert_eq!(told(&[ema, best]), Some(format!("{average}{rival}")));
    }
}
