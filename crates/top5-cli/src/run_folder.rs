//! The folder of a training run.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::data::files::{check_own, exists, read, read_text};
use top5::train::{History, Recipe};
use top5::{Model, make_folder, write_whole};

use crate::exit::Stop;

/// The recipe as it was resolved; a folder with it is a run.
pub(crate) const CONFIG: &str = "config.resolved.toml";
/// The log of steps and epochs, one JSON object per line.
pub(crate) const LOG: &str = "metrics.jsonl";
/// When each of them was done, likewise.
pub(crate) const MOMENTS: &str = "times.jsonl";
/// Most bytes of either that are read.
pub(crate) const LONGEST_LOG: u64 = 1 << 30;
/// The run as a page.
pub(crate) const REPORT: &str = "report.html";
/// How the names of TensorBoard's files begin.
pub(crate) const EVENTS: &str = "events.out.tfevents.";
/// The folder of the checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// The folder of the models after epochs that were to be kept.
pub(crate) const EPOCHS: &str = "epochs";
/// Where runs go that are given no folder.
const RUNS: &str = "runs";

/// The file of the model after an epoch, in [`EPOCHS`].
fn epoch_file(epoch: usize) -> String {
    format!("epoch-{epoch:04}.safetensors")
}

/// The epoch whose model has a file of this name.
pub(crate) fn kept_epoch(name: &str) -> Option<usize> {
    let epoch = name.strip_prefix("epoch-")?.strip_suffix(".safetensors")?.parse().ok()?;
    (epoch_file(epoch) == name).then_some(epoch)
}

/// A run's folder.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes a folder for a new run: the given one, which must be empty, or the first free of `runs/NAME`, `runs/NAME-2`, …
    pub(crate) fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(path) => path.to_owned(),
            None => {
                let numbered = (2..).map(|n| format!("{name}-{n}"));
                let names = std::iter::once(name.to_owned()).chain(numbered);
                let mut paths = names.map(|name| Path::new(RUNS).join(name));
                paths.find(|path| !path.exists()).expect("there is always another number")
            }
        };
        if holds_something(&path)? {
            let message = format!(
                "{} is not empty: give another folder, or go on with the run in it with --resume",
                path.display()
            );
            return Err(Stop::Resource(message).into());
        }
        Self::make(path)
    }

    /// The folder of a run that is only looked at. Fails where it holds none.
    pub(crate) fn look(path: &Path) -> Result<Self> {
        if !is_there(&path.join(CONFIG))? {
            let message = format!(
                "{} holds no run: give the folder that `top5 train` made, with {CONFIG} in it",
                path.display()
            );
            return Err(Stop::BadInput(message).into());
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The folder of a run that is to go on; it is made where there is none.
    pub(crate) fn reopen(path: &Path) -> Result<Self> {
        let is_run = is_there(&path.join(CONFIG))? || is_there(&path.join(CHECKPOINTS))?;
        if !is_run && holds_something(path)? {
            let message = format!("{} is not empty and holds no run", path.display());
            return Err(Stop::BadInput(message).into());
        }
        Self::make(path.to_owned())
    }

    fn make(path: PathBuf) -> Result<Self> {
        make_folder(&path)?;
        Ok(Self { path })
    }

    /// Deletes what writes that were cut off left behind, `.NAME.PROCESS.tmp`. For whoever holds the run's lock.
    pub(crate) fn sweep(&self) -> Result<()> {
        let epochs = self.join(EPOCHS);
        let has_epochs = epochs.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        sweep(&self.path)?;
        if has_epochs { sweep(&epochs) } else { Ok(()) }
    }

    /// Keeps the model after an epoch.
    pub(crate) fn keep_epoch(&self, epoch: usize, model: &Model) -> Result<()> {
        make_folder(&self.join(EPOCHS))?;
        Ok(model.save(self.join(EPOCHS).join(epoch_file(epoch)))?)
    }

    /// Writes one of its files.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(write_whole(&self.path.join(name), bytes)?)
    }

    /// Opens one of its files to be added to, after what it has within `length` bytes. No link is followed: the folder may
    /// come from elsewhere.
    pub(crate) fn append(&self, name: &str, length: u64) -> Result<File> {
        let path = self.path.join(name);
        let open = || {
            check_own(&path)?;
            let file = File::options().create(true).append(true).open(&path)?;
            file.set_len(length.min(file.metadata()?.len()))?;
            Ok::<_, std::io::Error>(file)
        };
        open().with_context(|| format!("opening {}", path.display()))
    }

    /// The bytes of one of its logs; none where there is none.
    pub(crate) fn log(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path.join(name);
        match is_there(&path)? {
            true => read(&path, LONGEST_LOG).with_context(|| format!("reading {}", path.display())),
            false => Ok(Vec::new()),
        }
    }

    /// What its logs tell.
    pub(crate) fn history(&self) -> Result<History> {
        Ok(History::read(&self.log(LOG)?, &self.log(MOMENTS)?))
    }

    /// The names of TensorBoard's files in it, the oldest first.
    pub(crate) fn events(&self) -> Result<Vec<String>> {
        let reading = || format!("reading {}", self.path.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).with_context(reading)? {
            let name = entry.with_context(reading)?.file_name().to_string_lossy().into_owned();
            names.extend(Some(name).filter(|name| name.starts_with(EVENTS)));
        }
        names.sort();
        Ok(names)
    }

    /// The path of a file in the folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn sweep(folder: &Path) -> Result<()> {
    let reading = || format!("reading {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut parts = name.strip_prefix('.').unwrap_or_default().rsplit('.');
        let ours = parts.next() == Some("tmp")
            && parts.next().is_some_and(|process| process.parse::<u32>().is_ok());
        if ours && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            fs::remove_file(&path).with_context(|| format!("deleting {}", path.display()))?;
        }
    }
    Ok(())
}

fn is_there(path: &Path) -> Result<bool> {
    exists(path).with_context(|| format!("reading {}", path.display()))
}

/// Whether a folder is there and not empty. One that cannot be listed is an error, since it may hold a run.
fn holds_something(folder: &Path) -> Result<bool> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        entries => {
            let entries = entries.with_context(|| format!("reading {}", folder.display()));
            Ok(entries?.next().is_some())
        }
    }
}

/// The recipe of a run's folder; None where none has begun.
pub(crate) fn read_recipe(folder: &Path) -> Result<Option<Recipe>> {
    let path = folder.join(CONFIG);
    let reading = || format!("reading {}", path.display());
    if !exists(&path).with_context(reading)? {
        return Ok(None);
    }
    let text = read_text(&path).with_context(reading)?;
    Ok(Some(Recipe::from_toml(&text).with_context(reading)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_folders_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let run = RunFolder::create(Some(&path), "").unwrap();
        fs::write(run.join(CONFIG), "").unwrap();
        assert!(RunFolder::create(Some(&path), "").is_err());
        assert_eq!(RunFolder::reopen(&path).unwrap().path(), path);

        for name in [".summary.csv.77.tmp", ".summary.csv.x.tmp", "notes.7.tmp"] {
            fs::write(run.join(name), "").unwrap();
        }
        fs::create_dir(run.join(EPOCHS)).unwrap();
        fs::write(run.join("epochs/.epoch-0001.safetensors.77.tmp"), "").unwrap();
        run.sweep().unwrap();
        assert_eq!(fs::read_dir(run.join(EPOCHS)).unwrap().count(), 0);
        let left = [".summary.csv.77.tmp", ".summary.csv.x.tmp", "notes.7.tmp"];
        assert_eq!(left.map(|name| run.join(name).exists()), [false, true, true]);

        let foreign = place.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "").unwrap();
        assert!(RunFolder::create(Some(&foreign), "").is_err());
        assert!(RunFolder::reopen(&foreign).is_err());
    }
}
