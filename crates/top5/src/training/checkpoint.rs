//! Checkpoints that survive whatever happens to the process or the disk.
//!
//! A checkpoint is `step-N.safetensors` and, written after it, `step-N.json` with its SHA-256. Each is written under another
//! name, brought to the disk and renamed, and so is the folder's list of names. Whatever moment the process dies at, the newest
//! checkpoint whose hash is right is whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use top5_formats::safetensors;
use top5_graph::{Tensor, Weights};

use super::fit::State;
use crate::files::{sha256, write_whole};

/// Checkpoints that are kept; the older ones are there for when the newest is damaged.
const KEPT: usize = 2;
/// What the names of tensors begin with.
const WEIGHTS: &str = "weights/";
const MOMENTA: &str = "momenta/";
/// The key of the rest in the metadata.
const PROGRESS: &str = "top5.progress";

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What vouches for a checkpoint.
#[derive(Serialize, Deserialize)]
struct Manifest {
    step: usize,
    sha256: String,
}

/// A checkpoint that cannot be used.
#[derive(Debug)]
pub struct CheckpointError {
    path: PathBuf,
    reason: String,
}

impl std::fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is damaged ({})", self.path.display(), self.reason)
    }
}

impl std::error::Error for CheckpointError {}

impl Checkpoints {
    /// The checkpoints in a folder, which is made when the first is written.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Writes a checkpoint, then deletes those that are too old. On an error the older ones are untouched.
    pub fn save(&self, state: &State) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("making {}", self.folder.display()))?;
        let bytes = to_bytes(state);
        let manifest = Manifest { step: state.step, sha256: sha256(&bytes) };
        write_whole(&self.path(state.step, "safetensors"), &bytes)?;
        write_whole(&self.path(state.step, "json"), serde_json::to_string(&manifest)?.as_bytes())?;
        for step in self.steps()?.into_iter().rev().skip(KEPT) {
            // The manifest first: a checkpoint without it does not count.
            for extension in ["json", "safetensors"] {
                let _ = fs::remove_file(self.path(step, extension));
            }
        }
        Ok(())
    }

    /// The newest checkpoint that is whole, and what was wrong with newer ones.
    pub fn newest(&self) -> Result<(Option<State>, Vec<CheckpointError>)> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step) {
                Ok(state) => return Ok((Some(state), damaged)),
                Err(error) => {
                    let path = self.path(step, "safetensors");
                    damaged.push(CheckpointError { path, reason: format!("{error:#}") });
                }
            }
        }
        Ok((None, damaged))
    }

    fn load(&self, step: usize) -> Result<State> {
        let manifest = fs::read(self.path(step, "json"))?;
        let manifest: Manifest = serde_json::from_slice(&manifest).context("its manifest")?;
        let bytes = fs::read(self.path(step, "safetensors"))?;
        anyhow::ensure!(sha256(&bytes) == manifest.sha256, "its SHA-256 is not the manifest's");
        from_bytes(&bytes)
    }

    /// The steps with a manifest, ascending.
    fn steps(&self) -> Result<Vec<usize>> {
        let reading = || format!("listing {}", self.folder.display());
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(reading)?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.with_context(reading)?.file_name();
            let step = name.to_str().and_then(|name| {
                name.strip_prefix("step-")?.strip_suffix(".json")?.parse::<usize>().ok()
            });
            steps.extend(step);
        }
        steps.sort_unstable();
        Ok(steps)
    }

    fn path(&self, step: usize, extension: &str) -> PathBuf {
        self.folder.join(Path::new(&format!("step-{step:08}.{extension}")))
    }
}

fn to_bytes(state: &State) -> Vec<u8> {
    let named = |prefix: &'static str, tensors: &Weights| -> Vec<(String, Tensor)> {
        tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
    };
    let mut tensors = named(WEIGHTS, &state.weights);
    tensors.extend(named(MOMENTA, &state.momenta));
    let progress = serde_json::to_string(state).expect("numbers always have a JSON form");
    let metadata = BTreeMap::from([(PROGRESS.to_owned(), progress)]);
    safetensors::write(&tensors.into_iter().collect(), &metadata)
}

fn from_bytes(bytes: &[u8]) -> Result<State> {
    let (tensors, metadata) = safetensors::read(bytes)?;
    let progress = metadata.get(PROGRESS).context("it says nothing about progress")?;
    let mut state: State = serde_json::from_str(progress)?;
    for (name, tensor) in tensors {
        if let Some(name) = name.strip_prefix(WEIGHTS) {
            state.weights.insert(name, tensor);
        } else if let Some(name) = name.strip_prefix(MOMENTA) {
            state.momenta.insert(name, tensor);
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: usize) -> State {
        let tensor = |value: f32| Tensor::new([2], vec![value, 0.1]).unwrap();
        State {
            step,
            weights: [("a".to_owned(), tensor(step as f32))].into_iter().collect(),
            momenta: [("a".to_owned(), tensor(-1.0))].into_iter().collect(),
            ..State::default()
        }
    }

    #[test]
    fn newest_whole_checkpoint_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().join("checkpoints"));
        assert_eq!(checkpoints.newest().unwrap().0, None);
        for step in 1..=12 {
            checkpoints.save(&state(step)).unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [11, 12]);
        assert_eq!(checkpoints.newest().unwrap().0, Some(state(12)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().to_owned());
        checkpoints.save(&state(1)).unwrap();
        checkpoints.save(&state(2)).unwrap();
        let path = checkpoints.path(2, "safetensors");
        let whole = fs::read(&path).unwrap();
        let found = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            let (state, damaged) = checkpoints.newest().unwrap();
            (state.unwrap().step, damaged.len())
        };
        for byte in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << (byte % 8);
            assert_eq!(found(&flipped), (1, 1), "byte {byte}");
            assert_eq!(found(&whole[..byte]), (1, 1), "cut at {byte}");
        }
        assert_eq!(found(&whole), (2, 0));
    }
}
