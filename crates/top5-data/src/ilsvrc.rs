//! ImageNet as the contest of 2012 hands it out, read in place: the archive of training images (one archive per class in it), that of
//! the 50,000 validation images, and the development kit, which says what those show.
//!
//! The kit numbers classes in an order of its own (`ILSVRC2012_ID`); here they are in the order of their WordNet identifiers, as in an
//! image folder and in every published network.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;

use crate::dataset::Splits;
use crate::error::{DataError, there};
use crate::files::{self, Regular};
use crate::matlab::{Value, structures};
use crate::options::OpenOptions;
use crate::packed::{self, Classes, File, is_wnid};
use crate::tar;

const TRAIN: &str = "ILSVRC2012_img_train.tar";
const VALIDATION: &str = "ILSVRC2012_img_val.tar";
const KIT: &str = "ILSVRC2012_devkit_t12";
/// The kit's files.
const META: &str = "data/meta.mat";
const TRUTH: &str = "data/ILSVRC2012_validation_ground_truth.txt";
/// Most bytes of the unpacked kit: fifteen times those that it has.
const MOST: u64 = 64 << 20;

/// Opens the archives in this folder; None unless one of them is there. Without training images, those of validation are all
/// that there is.
pub(crate) fn open(dir: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    match (there(dir.join(TRAIN)), there(dir.join(VALIDATION))) {
        (Ok(None), Ok(None)) => None,
        (Ok(train), Ok(validation)) => Some(read(dir, train, validation, options)),
        (Err(error), _) | (_, Err(error)) => Some(Err(error)),
    }
}

fn read(
    dir: &Path,
    train: Option<PathBuf>,
    validation: Option<PathBuf>,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let has_train = train.is_some();
    let truth = validation.as_ref().map(|_| ground_truth(dir)).transpose()?;
    let shards = packed::shards(train.into_iter().chain(validation).collect())?;
    let (files, _) = packed::list(&shards, options)?;
    let shards: Arc<[_]> = shards.into();
    let in_train = |file: &File| has_train && file.shard == 0;
    let (train, mut validation): (Vec<File>, Vec<File>) = files.into_iter().partition(in_train);
    if let Some(truth) = truth {
        label(dir, &mut validation, &truth)?;
    }
    if !has_train {
        let whole = packed::part(dir, &shards, validation, Classes::Found, options.limits)?;
        return packed::finish(dir, whole, None, None, options);
    }
    let train = packed::part(dir, &shards, train, Classes::Found, options.limits)?;
    let validation = match validation.is_empty() {
        true => None,
        false => {
            let classes = Classes::Given(train.shared_classes());
            Some(packed::part(dir, &shards, validation, classes, options.limits)?)
        }
    };
    packed::finish(dir, train, validation, None, options)
}

/// Puts images of validation, `ILSVRC2012_val_00000001.JPEG`, into the folders of their classes.
fn label(dir: &Path, files: &mut [File], truth: &[String]) -> Result<(), DataError> {
    let path = dir.join(VALIDATION);
    for file in files.iter_mut() {
        let name = &mut file.entry.name;
        let stem = name.rsplit('/').next().unwrap_or_default();
        let number = stem.strip_prefix("ILSVRC2012_val_").and_then(|rest| rest.split('.').next());
        let number = number.and_then(|digits| digits.parse::<usize>().ok());
        let Some(class) = number.and_then(|number| truth.get(number.checked_sub(1)?)) else {
            let reason =
                format!("{name} is not one of the {} images that the kit knows", truth.len());
            return Err(DataError::Archive { path, reason });
        };
        *name = format!("{class}/{stem}");
    }
    if files.len() != truth.len() {
        let reason = format!("it has {} images, and the kit knows {}", files.len(), truth.len());
        return Err(DataError::Archive { path, reason });
    }
    Ok(())
}

/// What each image of validation shows, as a WordNet identifier.
fn ground_truth(dir: &Path) -> Result<Vec<String>, DataError> {
    let (path, meta, truth) = kit(dir)?;
    let damaged =
        |reason: &str| DataError::Archive { path: path.clone(), reason: reason.to_owned() };
    let found = structures(&meta, "synsets", ["ILSVRC2012_ID", "WNID"]);
    let found = found.ok_or_else(|| damaged("meta.mat has no list of synsets"))?;
    let mut names: Vec<Option<String>> = Vec::new();
    for synset in found {
        let [Value::Number(id), Value::Text(wnid)] = synset else {
            return Err(damaged("a synset of meta.mat has no number or no name"));
        };
        // Some thousand, of which the first are the classes.
        let place = Some(id as usize).filter(|&id| (1..=100_000).contains(&id) && is_wnid(&wnid));
        let place = place
            .ok_or_else(|| damaged("a synset of meta.mat has a number or a name that is none"))?
            - 1;
        names.resize(names.len().max(place + 1), None);
        names[place] = Some(wnid);
    }
    let text = String::from_utf8(truth).map_err(|_| damaged("the ground truth is no text"))?;
    let class = |line: &str| names.get(line.trim().parse::<usize>().ok()?.checked_sub(1)?)?.clone();
    let known = |line| {
        class(line).ok_or_else(|| damaged("the ground truth has a number that meta.mat lacks"))
    };
    text.lines().map(known).collect()
}

/// Where the kit is, and the two files of it: from its archive, or from its folder.
fn kit(dir: &Path) -> Result<(PathBuf, Vec<u8>, Vec<u8>), DataError> {
    let folder = dir.join(KIT);
    let is_there = files::is_dir(&folder);
    if is_there.map_err(|source| DataError::Io { path: folder.clone(), source })? {
        let read = |name: &str| {
            let path = folder.join(name);
            let file = Regular::open(&path).and_then(|file| file.read(MOST));
            file.map_err(|source| DataError::Io { path, source })
        };
        let (meta, truth) = (read(META)?, read(TRUTH)?);
        return Ok((folder, meta, truth));
    }
    let path = dir.join(format!("{KIT}.tar.gz"));
    if there(path.clone())?.is_none() {
        let expected = format!("{KIT}.tar.gz, which says what the validation images show");
        return Err(DataError::Empty { path: dir.to_owned(), expected });
    }
    let failed = |source| DataError::Io { path: path.clone(), source };
    let packed = Regular::open(&path).and_then(|file| file.read(MOST)).map_err(failed)?;
    let mut bytes = Vec::new();
    let unpacked = GzDecoder::new(packed.as_slice()).take(MOST).read_to_end(&mut bytes);
    unpacked.map_err(|error| DataError::Gzip { path: path.clone(), reason: error.to_string() })?;
    let (mut meta, mut truth) = (None, None);
    let read = |start: u64, len: u64| Ok(bytes[start as usize..(start + len) as usize].to_vec());
    tar::scan((&path, &read), 0..bytes.len() as u64, &mut |entry| {
        for (name, found) in [(META, &mut meta), (TRUTH, &mut truth)] {
            if entry.name.ends_with(name) {
                *found =
                    Some(bytes[entry.start as usize..(entry.start + entry.len) as usize].to_vec());
            }
        }
        Ok(())
    })?;
    let missing = |name: &str| DataError::Archive {
        path: path.clone(),
        reason: format!("{name} is not in it"),
    };
    let (meta, truth) = (meta.ok_or_else(|| missing(META))?, truth.ok_or_else(|| missing(TRUTH))?);
    Ok((path, meta, truth))
}
