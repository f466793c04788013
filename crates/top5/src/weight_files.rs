//! Where a model's weights lie: a file, or a folder of a run or of timm's.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use top5_formats::{self as formats, Format, Loaded, safetensors, timm};
use top5_zoo::Network;

use crate::error::ModelError;
use crate::files::sha256;
use crate::model::Model;

/// The name of the file of weights in a run's folder and in timm's.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The name of timm's description beside it.
pub const CONFIG_FILE: &str = "config.json";

/// A file of weights, and what describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFiles {
    /// The file of weights.
    pub weights: PathBuf,
    /// timm's description of them, which counts where the file does not describe itself.
    pub config: Option<PathBuf>,
}

impl WeightFiles {
    /// The names that weights have in a folder, the preferred one first.
    pub const NAMES: [&str; 4] =
        [WEIGHTS_FILE, "pytorch_model.bin", "pytorch_model.pth", "model.pth"];

    /// Those of a folder, if `path` is one: the first of [`Self::NAMES`] that is there. Otherwise the file itself, without a
    /// description. Nothing is read yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        if !path.is_dir() {
            return Self { weights: path, config: None };
        }
        let files = Self::NAMES.map(|file| path.join(file));
        let weights = files.iter().find(|file| file.is_file()).unwrap_or(&files[0]).clone();
        Self { weights, config: Some(path.join(CONFIG_FILE)).filter(|file| file.is_file()) }
    }

    /// Reads the model: of `network`, if it is given; otherwise of the one that the file names, or that its tensors belong to.
    pub fn load(&self, network: Option<&'static Network>) -> Result<Model, ModelError> {
        let read = |path: &Path| Ok(timm::Config::read(&fs::read(path)?)?);
        let config = self.config.as_deref();
        let config = config.map(|path| read(path).map_err(|error: ModelError| error.at(path)));
        let config = config.transpose()?;
        self.load_as(network, config).map_err(|error| error.at(&self.weights))
    }

    fn load_as(
        &self,
        network: Option<&'static Network>,
        config: Option<timm::Config>,
    ) -> Result<Model, ModelError> {
        // A device or a pipe has no length that would bound what is read.
        if !fs::metadata(&self.weights)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file").into());
        }
        Model::described(self.read()?, network, config)
    }

    /// The tensors. A file that need not be in memory at once is not.
    fn read(&self) -> Result<Loaded, ModelError> {
        let mut file = File::open(&self.weights)?;
        let mut start = Vec::new();
        (&mut file).take(START).read_to_end(&mut start)?;
        let is_safetensors = formats::detect(&start) == Ok(Format::Safetensors);
        if is_safetensors && hash_in_name(&self.weights).is_none() {
            file.rewind()?;
            let length = file.metadata()?.len();
            let (weights, metadata) = safetensors::read_from(&mut file, length)?;
            return Ok(Loaded { weights, format: Format::Safetensors, metadata });
        }
        let bytes = fs::read(&self.weights)?;
        check_name(&self.weights, &bytes)?;
        Ok(formats::read_weights(&bytes)?)
    }
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
