//! The folder of a training run: which one, and that nobody else writes into it.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::exit::Stop;

/// The recipe as it was resolved; a folder with it is a run.
pub(super) const CONFIG: &str = "config.resolved.toml";
/// Holds the lock and, for whoever finds it held, the holder's process number.
const LOCK: &str = "lock";
/// Where runs go that are given no folder.
const RUNS: &str = "runs";

/// A run's folder. Its lock is held until it is dropped, and vanishes with the process.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes and locks a folder for a new run: the given one, which must hold no run, or the first free of `runs/NAME`,
    /// `runs/NAME-2`, …
    pub(super) fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let path = match out {
            Some(path) => path.to_owned(),
            None => {
                let numbered = (2..).map(|n| format!("{name}-{n}"));
                let names = std::iter::once(name.to_owned()).chain(numbered);
                let mut paths = names.map(|name| Path::new(RUNS).join(name));
                paths.find(|path| !path.exists()).expect("there is always another number")
            }
        };
        let empty = fs::read_dir(&path).map_or(true, |mut entries| entries.next().is_none());
        if !empty {
            let message = format!(
                "{} is not empty: give another folder, or go on with the run in it with --resume",
                path.display()
            );
            return Err(Stop::Resource(message).into());
        }
        Self::lock(path)
    }

    /// Locks the folder of a run that is to go on, or makes it where there is none.
    pub(super) fn reopen(path: &Path) -> Result<Self> {
        let foreign = |path: &Path| fs::read_dir(path).is_ok_and(|mut e| e.next().is_some());
        if foreign(path) && !path.join(CONFIG).exists() && !path.join(LOCK).exists() {
            let message = format!("{} is not empty and holds no run", path.display());
            return Err(Stop::BadInput(message).into());
        }
        Self::lock(path.to_owned())
    }

    fn lock(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        let lock = path.join(LOCK);
        let failed = || format!("locking {}", lock.display());
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).unwrap_or_default();
                let message = format!(
                    "{} is being written by process {}: wait for it, or give another folder",
                    path.display(),
                    holder.trim()
                );
                return Err(Stop::Resource(message).into());
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        file.set_len(0).with_context(failed)?;
        writeln!(file, "{}", std::process::id()).with_context(failed)?;
        Ok(Self { path, _lock: file })
    }

    /// The path of a file in the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_held_by_one_and_taken_folders_are_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run");
        let held = RunFolder::create(Some(&path), "").unwrap();
        let error = RunFolder::reopen(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        fs::write(held.join(CONFIG), "").unwrap();
        drop(held);
        assert!(RunFolder::create(Some(&path), "").is_err());
        assert_eq!(RunFolder::reopen(&path).unwrap().path(), path);

        let foreign = place.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("thesis.txt"), "").unwrap();
        assert!(RunFolder::create(Some(&foreign), "").is_err());
        assert!(RunFolder::reopen(&foreign).is_err());
    }
}
