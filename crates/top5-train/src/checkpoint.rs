//! Checkpoints that survive whatever happens to the process or the disk.
//!
//! ```text
//! checkpoints/lock                         held while a run writes here
//! checkpoints/step-00000042/weights.safetensors
//!                           optimizer.safetensors   what the optimiser keeps, as `exp_avg/conv1.weight`
//!                           state.json     where the run is, and its recipe
//!                           manifest.json  SHA-256 of the other three
//! ```
//!
//! A checkpoint is written into a folder with another name: each file, then fsync, the manifest last, then fsync of that
//! folder. Only then it is renamed, and the folder above is fsynced. So a folder called `step-…` is whole whatever moment
//! the process died at; whether the disk kept it so is what the manifest tells. One that takes the place of another of the same
//! step has a name of its own, `step-00000042-2`: no checkpoint is deleted before its successor is there.
//!
//! Checkpoints of format 1 are read, too: they have `momenta.safetensors` in the place of `optimizer.safetensors`, with the
//! momenta of plain descent under the parameters' names.
//!
//! The lock is the operating system's: it vanishes with the process that held it, however that ended.
//!
//! A run's folder may come from elsewhere, so no link in it is written through: the folder of checkpoints and its lock must be
//! what they seem.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use top5_data::files;
use top5_formats::safetensors;
use top5_graph::{StateName, Weights};

use crate::state::State;

/// Checkpoints kept beside the best one: the older are for when the newest is damaged.
const KEPT: usize = 2;
/// Version of the layout above.
const FORMAT: u32 = 2;

/// How the name of a folder ends that is being written.
const UNFINISHED: &str = ".tmp";

const LOCK: &str = "lock";
/// Most bytes of the lock that are read.
const HOLDER: u64 = 64;
/// The weights in a checkpoint's folder.
pub const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
/// In the place of [`OPTIMIZER`] in format 1.
const MOMENTA: &str = "momenta.safetensors";
/// The state in a checkpoint's folder, beside its weights.
pub const STATE: &str = "state.json";
const MANIFEST: &str = "manifest.json";

/// Why checkpoints cannot be read or written.
#[derive(Debug)]
pub enum CheckpointError {
    /// Another process writes into the folder.
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process, as it wrote it down; may be empty.
        holder: String,
    },
    /// The operating system refused.
    Io {
        /// What was being done, for example `writing`.
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of a checkpoint could not be read. Nothing is known about what it holds: the checkpoint may well be whole.
    Unread {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// The file in it.
        name: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A checkpoint was read, and its content is not what was written.
    Damaged(Damaged),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { folder, holder } => write!(
                f,
                "{} is being written by process {holder}: wait for it, or use another folder",
                folder.display()
            ),
            Self::Io { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Self::Unread { folder, name, source } => write!(
                f,
                "reading {}: {source}: this checkpoint may be whole, so that no older one is taken in its place: put right \
                 what keeps it from being read (rights, disk, memory) and try again, or move its folder away",
                folder.join(name).display()
            ),
            Self::Damaged(damaged) => damaged.fmt(f),
        }
    }
}

impl std::error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Locked { .. } | Self::Damaged(_) => None,
            Self::Io { source, .. } | Self::Unread { source, .. } => Some(source),
        }
    }
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the checkpoint {} is damaged: {}", self.path.display(), self.reason)
    }
}

/// What was found in a folder of checkpoints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The newest checkpoint that is whole.
    pub state: Option<State>,
    /// Newer ones that are not.
    pub damaged: Vec<Damaged>,
}

/// The hashes of a checkpoint's files, in hexadecimal.
#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    weights: String,
    #[serde(alias = "momenta")]
    optimizer: String,
    state: String,
}

impl Manifest {
    fn of(format: u32, weights: &[u8], optimizer: &[u8], state: &[u8]) -> Self {
        let [weights, optimizer, state] = [weights, optimizer, state].map(sha256);
        Self { format, weights, optimizer, state }
    }
}

/// The checkpoints of a run, for as long as it is the only one to write them.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    _lock: File,
}

impl Checkpoints {
    /// Opens a folder of checkpoints, which is made where it is missing, locks it and sweeps it of what was cut off. Fails where another process has it
    /// locked; a process that was killed has not.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let folder = folder.into();
        let is_link = |metadata: fs::Metadata| metadata.is_symlink();
        if fs::symlink_metadata(&folder).is_ok_and(is_link) {
            let why = io::Error::new(io::ErrorKind::InvalidInput, "a symbolic link: remove it");
            return Err(io_error("locking", &folder)(why));
        }
        fs::create_dir_all(&folder).map_err(io_error("making", &folder))?;
        let path = folder.join(LOCK);
        files::check_own(&path).map_err(io_error("locking", &path))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&path).map_err(io_error("locking", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy; that it is held is the error.
                let _ = (&mut lock).take(HOLDER).read_to_string(&mut holder);
                return Err(CheckpointError::Locked { folder, holder: holder.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io_error("locking", &path)(source)),
        }
        let name = |lock: &mut File| {
            lock.set_len(0)?;
            writeln!(lock, "{}", std::process::id())
        };
        name(&mut lock).map_err(io_error("writing", &path))?;
        sweep(&folder)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Writes a checkpoint of this state, then deletes those that are neither among the newest nor the best epoch's, and
    /// those of later steps. On an error the earlier ones are untouched.
    pub fn save(&mut self, state: &State) -> Result<(), CheckpointError> {
        let mut places = self.places()?;
        let same = places.iter().rev().find(|place| place.step == state.step);
        let generation = same.map_or(1, |same| same.generation.saturating_add(1));
        let place = Place { step: state.step, generation };
        let path = self.folder.join(place.name());
        let unfinished = self.folder.join(format!(".{}{UNFINISHED}", place.name()));
        remove_folder(&unfinished)?;
        let written = write_folder(&unfinished, state).and_then(|()| {
            fs::rename(&unfinished, &path).map_err(io_error("renaming", &unfinished))?;
            sync_folder(&self.folder)
        });
        if written.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_dir_all(&unfinished);
        }
        written?;
        let best = state.best().map(|row| row.step);
        // A run goes on from the newest that is whole: whatever lies ahead of it, or at its step, is damaged or older.
        places.retain(|place| place.step < state.step);
        places.push(place);
        let mut steps: Vec<usize> = places.iter().map(|place| place.step).collect();
        steps.dedup();
        let recent: Vec<usize> = steps.into_iter().rev().take(KEPT).collect();
        for old in self.places()? {
            let wanted =
                places.contains(&old) && (recent.contains(&old.step) || Some(old.step) == best);
            if !wanted {
                remove_folder(&self.folder.join(old.name()))?;
            }
        }
        Ok(())
    }

    /// The newest checkpoint that is whole, and what is wrong with those that are newer. Fails where one cannot be read: only
    /// damage makes an older one serve.
    pub fn newest(&self) -> Result<Found, CheckpointError> {
        let mut found = Found::default();
        for place in self.places()?.into_iter().rev() {
            match self.read(place) {
                Ok(state) => {
                    found.state = Some(state);
                    break;
                }
                Err(CheckpointError::Damaged(damaged)) => found.damaged.push(damaged),
                Err(unread) => return Err(unread),
            }
        }
        Ok(found)
    }

    /// The checkpoint after `step` steps, for example the best epoch's.
    pub fn load(&self, step: usize) -> Result<State, CheckpointError> {
        let newest = self.places()?.into_iter().rev().find(|place| place.step == step);
        self.read(newest.unwrap_or(Place { step, generation: 1 }))
    }

    /// The steps that have a checkpoint, whole or not, ascending.
    pub fn steps(&self) -> Result<Vec<usize>, CheckpointError> {
        let mut steps: Vec<usize> = self.places()?.into_iter().map(|place| place.step).collect();
        steps.dedup();
        Ok(steps)
    }

    fn read(&self, place: Place) -> Result<State, CheckpointError> {
        let path = self.folder.join(place.name());
        read_folder(&path).map_err(|flaw| match flaw {
            Flaw::Unread { name, source } => CheckpointError::Unread { folder: path, name, source },
            Flaw::Content(reason) => CheckpointError::Damaged(Damaged { path, reason }),
        })
    }

    /// The folders of checkpoints, whole or not, ascending.
    fn places(&self) -> Result<Vec<Place>, CheckpointError> {
        let names = names(&self.folder)?;
        let mut places: Vec<Place> = names.iter().filter_map(|name| Place::of(name)).collect();
        places.sort_unstable();
        Ok(places)
    }
}

/// A checkpoint's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    step: usize,
    /// Which of those of this step, from 1.
    generation: usize,
}

impl Place {
    fn name(self) -> String {
        match self {
            Self { step, generation: 1 } => format!("step-{step:08}"),
            Self { step, generation } => format!("step-{step:08}-{generation}"),
        }
    }

    /// The place of this name; other spellings of it are no checkpoints of ours.
    fn of(name: &str) -> Option<Self> {
        let (step, generation) = match name.strip_prefix("step-")?.split_once('-') {
            None => (name.strip_prefix("step-")?, 1),
            Some((step, generation)) => (step, generation.parse().ok()?),
        };
        let place = Self { step: step.parse().ok()?, generation };
        (place.name() == name).then_some(place)
    }
}

/// The folder of the newest checkpoint in a folder of them, whole or not, for those who only read it; None where there is no
/// such folder, or no checkpoint in it.
pub fn newest_folder(folder: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    let names = match names(folder) {
        Err(CheckpointError::Io { source, .. }) if files::tells_content(&source) => {
            return Ok(None);
        }
        names => names?,
    };
    let newest = names.iter().filter_map(|name| Place::of(name)).max();
    Ok(newest.map(|newest| folder.join(newest.name())))
}

/// The names in a folder that are text.
fn names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error("listing", folder))? {
        let name = entry.map_err(io_error("listing", folder))?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}

/// Deletes what saves that were cut off left behind.
fn sweep(folder: &Path) -> Result<(), CheckpointError> {
    let left = |name: &String| name.starts_with(".step-") && name.ends_with(UNFINISHED);
    for name in names(folder)?.iter().filter(|name| left(name)) {
        remove_folder(&folder.join(name))?;
    }
    Ok(())
}

fn write_folder(folder: &Path, state: &State) -> Result<(), CheckpointError> {
    fs::create_dir(folder).map_err(io_error("making", folder))?;
    let tensors = |weights: &Weights| safetensors::write(weights, &BTreeMap::new());
    let (weights, optimizer) = (tensors(&state.weights), tensors(&state.optimizer));
    let state = serde_json::to_vec(state).expect("finite numbers and texts have a JSON form");
    let manifest = Manifest::of(FORMAT, &weights, &optimizer, &state);
    let manifest = serde_json::to_vec(&manifest).expect("texts have a JSON form");
    for (name, bytes) in
        [(WEIGHTS, weights), (OPTIMIZER, optimizer), (STATE, state), (MANIFEST, manifest)]
    {
        let path = folder.join(name);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(&bytes)?;
            file.sync_all()
        };
        write().map_err(io_error("writing", &path))?;
    }
    sync_folder(folder)
}

/// Why a checkpoint's folder gives no state.
enum Flaw {
    /// The system does not let one of its files be read.
    Unread { name: &'static str, source: io::Error },
    /// What is there is not what was written.
    Content(String),
}

impl From<String> for Flaw {
    fn from(reason: String) -> Self {
        Self::Content(reason)
    }
}

fn read_folder(folder: &Path) -> Result<State, Flaw> {
    let read = |name: &'static str, limit| {
        files::read(&folder.join(name), limit).map_err(|source| {
            match files::tells_content(&source) {
                true => Flaw::Content(format!("{name}: {source}")),
                false => Flaw::Unread { name, source },
            }
        })
    };
    let manifest: Manifest = serde_json::from_slice(&read(MANIFEST, files::TEXT)?)
        .map_err(|error| format!("{MANIFEST}: {error}"))?;
    let kept = match manifest.format {
        1 => MOMENTA,
        FORMAT => OPTIMIZER,
        other => {
            let why = format!("{MANIFEST} has format {other}, this version reads 1 and {FORMAT}");
            return Err(why.into());
        }
    };
    let (weights, optimizer) = (read(WEIGHTS, u64::MAX)?, read(kept, u64::MAX)?);
    let state = read(STATE, files::TEXT)?;
    if manifest != Manifest::of(manifest.format, &weights, &optimizer, &state) {
        return Err("its SHA-256 is not the one in its manifest".to_owned().into());
    }
    let tensors = |name: &str, bytes: &[u8]| match safetensors::read(bytes) {
        Ok(file) => Ok(file.weights),
        Err(error) => Err(format!("{name}: {error}")),
    };
    let state: State =
        serde_json::from_slice(&state).map_err(|error| format!("{STATE}: {error}"))?;
    let (weights, optimizer) = (tensors(WEIGHTS, &weights)?, tensors(kept, &optimizer)?);
    let optimizer = match manifest.format {
        1 => StateName::MomentumBuffer.label(optimizer).collect(),
        _ => optimizer,
    };
    Ok(State { weights, optimizer, ..state })
}

fn remove_folder(folder: &Path) -> Result<(), CheckpointError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error("deleting", folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Brings the names in a folder to the disk. Only Unix lets a folder be synced; elsewhere its journal keeps their order.
fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    let sync = || if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) };
    sync().map_err(io_error("syncing", folder))
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |source| CheckpointError::Io { doing, path, source }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::EpochRow;
    use crate::recipe::Recipe;
    use tempfile::TempDir;
    use top5_graph::Tensor;

    fn state(step: usize) -> State {
        let tensor = |value: f32| -> Weights {
            [("a".to_owned(), Tensor::new([2], vec![value, 0.1]).unwrap())].into_iter().collect()
        };
        let recipe = Recipe::from_toml(include_str!("../../../recipes/lenet-digits.toml"));
        let fresh = State::new(recipe.unwrap(), ["0".to_owned(), "1".to_owned()], tensor(1.0));
        State { step, optimizer: tensor(step as f32), loss_sum: 1.0 / 3.0, ..fresh }
    }

    fn open(folder: &TempDir) -> Checkpoints {
        Checkpoints::open(folder.path().join("checkpoints")).unwrap()
    }

    /// Two checkpoints, and each file of the second: where it lies and what it holds.
    fn two(folder: &TempDir) -> (Checkpoints, [(PathBuf, Vec<u8>); 4]) {
        let mut checkpoints = open(folder);
        checkpoints.save(&state(1)).unwrap();
        checkpoints.save(&state(2)).unwrap();
        let files = [WEIGHTS, OPTIMIZER, STATE, MANIFEST].map(|name| {
            let path = checkpoints.folder.join("step-00000002").join(name);
            let whole = fs::read(&path).unwrap();
            (path, whole)
        });
        (checkpoints, files)
    }

    #[test]
    fn newest_and_best_are_kept_and_found() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        assert_eq!(checkpoints.newest().unwrap(), Found::default());
        let row = |epoch, eval_top1| EpochRow {
            epoch,
            step: epoch * 2,
            train_loss: 1.0,
            train_top1: 0.0,
            train_top5: None,
            eval_loss: Some(1.0),
            eval_top1: Some(eval_top1),
            eval_top5: Some(100.0),
            ema: false,
            lr: 0.1,
        };
        let mut last = state(0);
        for step in 1..=12 {
            last.step = step;
            if step % 2 == 0 {
                last.rows.push(row(step / 2, if step == 4 { 90.0 } else { 50.0 }));
            }
            checkpoints.save(&last).unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [4, 11, 12]);
        let found = checkpoints.newest().unwrap();
        assert_eq!(found, Found { state: Some(last.clone()), damaged: Vec::new() });
        assert_eq!(checkpoints.load(last.best().unwrap().step).unwrap().rows.len(), 2);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let folder = TempDir::new().unwrap();
        let (checkpoints, files) = two(&folder);
        for (path, whole) in files {
            let name = path.display();
            let found = |bytes: &[u8]| {
                fs::write(&path, bytes).unwrap();
                let found = checkpoints.newest().unwrap();
                (found.state.unwrap().step, found.damaged.len())
            };
            for byte in 0..whole.len() {
                let mut flipped = whole.clone();
                flipped[byte] ^= 1 << (byte % 8);
                assert_eq!(found(&flipped), (1, 1), "{name}: byte {byte}");
                assert_eq!(found(&whole[..byte]), (1, 1), "{name}: cut at {byte}");
            }
            assert_eq!(found(&whole), (2, 0));
        }
    }

    /// What cannot be read may be whole: an older checkpoint is no answer to it, and nothing is deleted.
    #[cfg(unix)]
    #[test]
    fn unread_file_is_not_taken_for_damage() {
        let folder = TempDir::new().unwrap();
        let (checkpoints, files) = two(&folder);
        for (path, whole) in files {
            let name = path.display();
            fs::remove_file(&path).unwrap();
            // The system refuses to follow it, as it refuses for want of rights or for a broken disk.
            std::os::unix::fs::symlink(&path, &path).unwrap();
            for error in [checkpoints.newest().unwrap_err(), checkpoints.load(2).unwrap_err()] {
                assert!(matches!(error, CheckpointError::Unread { .. }), "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains(path.to_str().unwrap()), "{name}: {text}");
            }
            assert_eq!(checkpoints.steps().unwrap(), [1, 2]);
            fs::remove_file(&path).unwrap();
            fs::write(&path, whole).unwrap();
            assert_eq!(checkpoints.newest().unwrap().state.unwrap().step, 2);
        }
        let place = checkpoints.folder.clone();
        drop(checkpoints);
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(newest_folder(&place).unwrap(), None);
        std::os::unix::fs::symlink(&place, &place).unwrap();
        assert!(matches!(newest_folder(&place), Err(CheckpointError::Io { .. })));
    }

    #[test]
    fn missing_files_and_foreign_names_are_passed_over() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        checkpoints.save(&state(3)).unwrap();
        fs::create_dir(checkpoints.folder.join("step-00000009")).unwrap();
        fs::create_dir(checkpoints.folder.join("step-x")).unwrap();
        fs::create_dir(checkpoints.folder.join(".step-00000010.tmp")).unwrap();
        let found = checkpoints.newest().unwrap();
        assert_eq!(found.state, Some(state(3)));
        assert_eq!(found.damaged.len(), 1);
        assert!(found.damaged[0].to_string().contains("step-00000009"), "{}", found.damaged[0]);
    }

    #[test]
    fn damaged_checkpoint_gives_way_and_an_unfinished_one_too() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        fs::create_dir(checkpoints.folder.join("step-00000005")).unwrap();
        fs::create_dir(checkpoints.folder.join(".step-00000005.tmp")).unwrap();
        fs::create_dir(checkpoints.folder.join("step-00000009")).unwrap();
        for step in 3..=5 {
            checkpoints.save(&state(step)).unwrap();
        }
        assert_eq!(checkpoints.steps().unwrap(), [4, 5]);
        assert_eq!(checkpoints.newest().unwrap().state, Some(state(5)));
    }

    /// A run that was stopped after an epoch's last step saves that step once more.
    #[test]
    fn successor_of_the_same_step_is_there_before_the_other_goes() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        checkpoints.save(&state(5)).unwrap();
        // What the folder has at the instant of the new one's rename.
        let (first, second) = (checkpoints.folder.join("step-00000005"), "step-00000005-2");
        let kept = folder.path().join("kept");
        fs::rename(&first, &kept).unwrap();
        let later = State { loss_sum: 2.0, ..state(5) };
        fs::create_dir(&first).unwrap();
        checkpoints.save(&later).unwrap();
        assert!(!first.exists() && checkpoints.folder.join(second).exists());
        fs::rename(&kept, &first).unwrap();
        assert_eq!(checkpoints.steps().unwrap(), [5]);
        assert_eq!(checkpoints.newest().unwrap().state, Some(later.clone()));
        assert_eq!(checkpoints.load(5).unwrap(), later);

        // The second one damaged, the first one serves.
        fs::remove_file(checkpoints.folder.join(second).join(STATE)).unwrap();
        assert_eq!(checkpoints.newest().unwrap().state, Some(state(5)));
        checkpoints.save(&later).unwrap();
        checkpoints.save(&state(6)).unwrap();
        let mut left = names(&checkpoints.folder).unwrap();
        left.sort();
        assert_eq!(left, [LOCK, "step-00000005-3", "step-00000006"]);
    }

    #[test]
    fn only_our_own_spelling_is_a_place() {
        for (step, generation) in [(0, 1), (42, 1), (42, 2), (123_456_789, 10)] {
            let place = Place { step, generation };
            assert_eq!(Place::of(&place.name()), Some(place));
        }
        for name in
            ["step-42", "step-00000042-1", "step-00000042-02", "step-x", "step-+0000042", "lock"]
        {
            assert_eq!(Place::of(name), None, "{name}");
        }
    }

    #[test]
    fn leftovers_are_swept_when_a_run_goes_on() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        checkpoints.save(&state(3)).unwrap();
        let left = checkpoints.folder.join(".step-00000004.tmp");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(STATE), b"{").unwrap();
        drop(checkpoints);
        let checkpoints = open(&folder);
        assert!(!left.exists());
        assert_eq!(checkpoints.newest().unwrap().state, Some(state(3)));
    }

    /// Format 1: plain descent's momenta under the parameters' names.
    #[test]
    fn checkpoints_with_momenta_are_read() {
        let folder = TempDir::new().unwrap();
        let checkpoints = open(&folder);
        let momenta: Weights =
            [("a".to_owned(), Tensor::new([2], vec![0.5, 0.1]).unwrap())].into_iter().collect();
        let state = state(7);
        let tensors = |weights: &Weights| safetensors::write(weights, &BTreeMap::new());
        let (weights, kept) = (tensors(&state.weights), tensors(&momenta));
        let json = serde_json::to_vec(&state).unwrap();
        let manifest = format!(
            "{{\"format\":1,\"weights\":\"{}\",\"momenta\":\"{}\",\"state\":\"{}\"}}",
            sha256(&weights),
            sha256(&kept),
            sha256(&json)
        );
        let place = checkpoints.folder.join("step-00000007");
        fs::create_dir(&place).unwrap();
        for (name, bytes) in
            [(WEIGHTS, weights), (MOMENTA, kept), (STATE, json), (MANIFEST, manifest.into_bytes())]
        {
            fs::write(place.join(name), bytes).unwrap();
        }
        let optimizer: Weights = StateName::MomentumBuffer.label(momenta).collect();
        let found = checkpoints.newest().unwrap();
        assert_eq!(found, Found { state: Some(State { optimizer, ..state }), damaged: Vec::new() });
    }

    #[test]
    fn failed_save_says_where_and_leaves_the_rest() {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = open(&folder);
        checkpoints.save(&state(1)).unwrap();
        // A file stands where the unfinished folder belongs.
        fs::write(checkpoints.folder.join(".step-00000002.tmp"), b"").unwrap();
        let error = checkpoints.save(&state(2)).unwrap_err().to_string();
        assert!(error.contains(".step-00000002.tmp"), "{error}");
        assert_eq!(checkpoints.newest().unwrap().state, Some(state(1)));
    }

    #[test]
    fn only_one_run_writes_and_a_dropped_lock_is_free() {
        let folder = TempDir::new().unwrap();
        let first = open(&folder);
        let error = Checkpoints::open(folder.path().join("checkpoints")).unwrap_err();
        let CheckpointError::Locked { holder, .. } = &error else { panic!("{error}") };
        assert_eq!(*holder, std::process::id().to_string());
        drop(first);
        open(&folder);
    }

    #[test]
    fn lock_of_a_killed_process_is_taken_over() {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("checkpoints")).unwrap();
        fs::write(folder.path().join("checkpoints").join(LOCK), "999999999\n").unwrap();
        open(&folder);
        let name = fs::read_to_string(folder.path().join("checkpoints").join(LOCK)).unwrap();
        assert_eq!(name.trim(), std::process::id().to_string());
    }
}
