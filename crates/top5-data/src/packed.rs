//! Images in tar archives, read in place: packed ones, in one file or in shards, and any archive of an image folder.
//!
//! ```text
//! photos.tar                       or photos-00000.tar, photos-00001.tar, …
//!   classes.txt                    the classes in the order of their labels; sorted names of folders without it
//!   train/CLASS/IMAGE.jpg          also validation/ and test/, or CLASS/IMAGE.jpg without parts
//!   shard.txt                      "shard I, N files", and "; the last" in the last one
//! ```
//!
//! ImageNet's archives are read as they come, too: an archive in another one, or on its own, that is called `n01440764.tar` is the
//! folder of that class.
//!
//! Images of one archive are read from any thread, each by one read at its place, so that nothing but a list of places is kept.
//! A dataset that was packed as it was has the fingerprint of its folder: a run goes on with either.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Dataset, Sample, Splits};
use crate::decode::decode;
use crate::error::{DataError, ImageError, there};
use crate::files::{Regular, TEXT};
use crate::fingerprint::Fingerprint;
use crate::folder::{OnBad, file_name, has_image_extension, is_left_behind, several_classes};
use crate::limits::Limits;
use crate::options::OpenOptions;
use crate::parts::{Parts, no_part};
use crate::tar::{self, Entry};

/// The list of classes of a packed dataset, a name per line.
pub const CLASSES: &str = "classes.txt";
/// What says of a packed archive which shard it is.
pub const SHARD: &str = "shard.txt";

/// The text of [`SHARD`].
pub fn shard_text(shard: usize, files: usize, last: bool) -> String {
    format!("shard {shard}, {files} files{}\n", if last { "; the last" } else { "" })
}

/// The file of shard `shard` of a dataset that is packed as `out`: `photos-00002.tar` of `photos.tar`.
pub fn shard_path(out: &Path, shard: usize) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-{shard:05}.tar"))
}

/// A class's name as that of a folder: what cannot be in one is written in hexadecimal digits.
pub fn folder_of(class: &str) -> String {
    let safe = |c: char| !matches!(c, '/' | '\\' | '%' | '\0') && !c.is_control();
    let dots = class.starts_with('.');
    let escape = |c: char| -> String {
        let mut bytes = [0; 4];
        c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
    };
    let letter = |(at, c): (usize, char)| {
        if safe(c) && !(at == 0 && dots) { c.to_string() } else { escape(c) }
    };
    class.char_indices().map(letter).collect()
}

/// Images of tar archives, of one part.
pub struct Packed {
    name: String,
    classes: Arc<[String]>,
    shards: Arc<[Shard]>,
    samples: Vec<Place>,
    /// The samples' names, one after the other.
    names: String,
    limits: Limits,
    fingerprint: u64,
}

/// An archive, open.
pub(crate) struct Shard {
    path: PathBuf,
    file: Regular,
}

/// Where a sample is.
struct Place {
    shard: u32,
    label: u32,
    start: u64,
    len: u64,
    crc: Option<u32>,
    /// End of its name.
    name: usize,
}

/// A file of an archive, before it is known what it is.
pub(crate) struct File {
    pub(crate) shard: u32,
    pub(crate) entry: Entry,
}

impl Packed {
    /// Its classes.
    pub(crate) fn shared_classes(&self) -> Arc<[String]> {
        Arc::clone(&self.classes)
    }

    fn image_error(&self, place: &Place, name: &str, source: ImageError) -> DataError {
        DataError::Image { path: self.shards[place.shard as usize].path.join(name), source }
    }
}

impl Dataset for Packed {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.samples.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let bytes = self.encoded(index)?.unwrap_or_default();
        let place = &self.samples[index];
        match decode(&bytes, &self.limits) {
            Ok(image) => Ok(Sample { image, label: place.label }),
            Err(source) => Err(self.image_error(place, &self.sample_name(index), source)),
        }
    }

    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let Some(place) = self.samples.get(index) else {
            return Err(DataError::Index { name: self.name.clone(), index, len: self.len() });
        };
        let Shard { path, file } = &self.shards[place.shard as usize];
        if place.len > self.limits.bytes {
            let source = ImageError::LongFile { bytes: place.len, limit: self.limits.bytes };
            return Err(self.image_error(place, &self.sample_name(index), source));
        }
        let bytes = file.read_at(place.start, place.len);
        let bytes = bytes.map_err(|source| DataError::Io { path: path.clone(), source })?;
        if place.crc.is_some_and(|crc| crc != tar::crc32(&bytes)) {
            let reason = format!("{} is damaged", self.sample_name(index));
            return Err(DataError::Archive { path: path.clone(), reason });
        }
        Ok(Some(bytes))
    }

    fn label(&self, index: usize) -> u32 {
        self.samples[index].label
    }

    fn sample_name(&self, index: usize) -> String {
        let start = index.checked_sub(1).map_or(0, |before| self.samples[before].name);
        self.names[start..self.samples[index].name].to_owned()
    }

    /// Of the names, as that of an image folder.
    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn file_bytes(&self, index: usize) -> Option<u64> {
        Some(self.samples[index].len)
    }
}

/// The archives that hold a dataset: a file, its shards, or all that are in a folder. None where there are none.
fn archives(path: &Path) -> Result<Option<Vec<PathBuf>>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let is_tar = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("tar"));
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(failed)?;
        let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| Ok(entry?.path())).collect();
        let mut tars: Vec<PathBuf> = paths.map_err(failed)?;
        tars.retain(|path| is_tar(path) && !file_name(path).starts_with('.'));
        let mut regular = Vec::new();
        for path in tars {
            regular.extend(there(path)?);
        }
        regular.sort();
        return Ok((!regular.is_empty()).then_some(regular));
    }
    if !is_tar(path) {
        return Ok(None);
    }
    let name = file_name(path);
    let stem = name.get(..name.len() - ".tar".len()).unwrap_or_default();
    let numbered = |stem: &str| {
        let (whole, number) = stem.rsplit_once('-')?;
        let is_number = number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| path.with_file_name(format!("{whole}.tar")))
    };
    // A shard stands for all of them, and so does the name that they were packed as.
    let whole = match numbered(stem) {
        None if there(path.to_owned())?.is_some() => return Ok(Some(vec![path.to_owned()])),
        None => path.to_owned(),
        Some(whole) => whole,
    };
    let mut shards = Vec::new();
    while let Some(path) = there(shard_path(&whole, shards.len()))? {
        shards.push(path);
    }
    Ok((!shards.is_empty()).then_some(shards))
}

/// Opens the archives at a path; None where there are none.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    match archives(path) {
        Ok(None) => None,
        Ok(Some(paths)) => Some(read(path, paths, options)),
        Err(error) => Some(Err(error)),
    }
}

/// Opens archives.
pub(crate) fn shards(paths: Vec<PathBuf>) -> Result<Vec<Shard>, DataError> {
    let open = |path: PathBuf| match Regular::open(&path) {
        Ok(file) => Ok(Shard { path, file }),
        Err(source) => Err(DataError::Io { path, source }),
    };
    paths.into_iter().map(open).collect()
}

fn read(path: &Path, paths: Vec<PathBuf>, options: &OpenOptions) -> Result<Splits, DataError> {
    let shards = shards(paths)?;
    let (mut files, classes) = list(&shards, options)?;
    unwrap(&mut files);
    let shards: Arc<[Shard]> = shards.into();
    let classes = || classes.clone().map_or(Classes::Found, |names| Classes::Given(names.into()));
    let known = Parts::among(folders(&files));
    let is_part = |file: &File, wanted: usize| {
        let mut parts = file.entry.name.split('/');
        known.part(parts.next().unwrap_or_default()) == Some(wanted) && parts.count() > 1
    };
    if !files.iter().any(|file| is_part(file, 0)) {
        let part = part(path, &shards, files, classes(), options.limits)?;
        return finish(path, part, None, None, options);
    }
    let mut take = |wanted: usize| -> Vec<File> {
        let mut taken: Vec<File> = files.extract_if(.., |file| is_part(file, wanted)).collect();
        let rest = |name: &str| name.split_once('/').map_or("", |(_, rest)| rest).to_owned();
        taken.iter_mut().for_each(|file| file.entry.name = rest(&file.entry.name));
        taken
    };
    let to_learn = take(0);
    let train = part(path, &shards, to_learn, classes(), options.limits)?;
    let mut other = |wanted: usize| -> Result<Option<Arc<Packed>>, DataError> {
        let files = take(wanted);
        if files.is_empty() {
            return Ok(None);
        }
        let classes = Classes::Given(Arc::clone(&train.classes));
        part(path, &shards, files, classes, options.limits).map(Some)
    };
    let validation = other(1)?;
    let test = other(2)?;
    let unused = left_over(&files, known);
    Ok(Splits { unused: unused.into(), ..finish(path, train, validation, test, options)? })
}

/// What is said of the images beside the parts: their folders once each, by name.
fn left_over(files: &[File], known: Parts) -> Vec<String> {
    let said = |name: &str| match known.part(name).is_some() {
        true => format!("the images in {name}/ are in no folder of a class"),
        false => no_part(name),
    };
    folders(files).into_iter().map(said).collect()
}

/// All images of the archives, and the list of classes if there is one.
pub(crate) fn list(
    shards: &[Shard],
    options: &OpenOptions,
) -> Result<(Vec<File>, Option<Vec<String>>), DataError> {
    let (mut files, mut classes) = (Vec::new(), None);
    let mut taken = 0u64;
    for (number, shard) in shards.iter().enumerate() {
        let Shard { path, file } = shard;
        let damaged = |reason| DataError::Archive { path: path.clone(), reason };
        let text = |entry: &Entry| -> Result<String, DataError> {
            let too_long = || damaged(format!("{} of {} bytes", entry.name, entry.len));
            let len = Some(entry.len).filter(|&len| len <= TEXT).ok_or_else(too_long)?;
            let bytes = file.read_at(entry.start, len);
            let bytes = bytes.map_err(|source| DataError::Io { path: path.clone(), source })?;
            String::from_utf8(bytes).map_err(|_| damaged(format!("{} is no text", entry.name)))
        };
        let (mut said, before) = (None, files.len());
        let read = |start, len| file.read_at(start, len);
        let stem =
            |name: &str| name.strip_suffix(".tar").filter(|stem| is_wnid(stem)).map(str::to_owned);
        let mut add = |mut entry: Entry, class: Option<&str>| -> Result<(), DataError> {
            entry.name = clean(&entry.name);
            if let Some(class) = class.filter(|_| !entry.name.contains('/')) {
                entry.name = format!("{class}/{}", entry.name);
            }
            if entry.name == CLASSES {
                classes = Some(text(&entry)?.lines().map(str::to_owned).collect());
            } else if entry.name == SHARD {
                said = Some(text(&entry)?);
            } else if !hidden(&entry.name) && has_image_extension(Path::new(&entry.name)) {
                taken += (size_of::<File>() + entry.name.len()) as u64;
                if taken > options.memory {
                    let (needed, allowed) = (taken, options.memory);
                    return Err(DataError::Memory { path: path.clone(), needed, allowed });
                }
                files.push(File { shard: number as u32, entry });
            }
            Ok(())
        };
        let own = stem(&file_name(path));
        tar::scan((path, &read), 0..file.len(), &mut |entry| match stem(&entry.name) {
            Some(class) => {
                let part = entry.start..entry.start + entry.len;
                tar::scan((path, &read), part, &mut |entry| add(entry, Some(&class)))
            }
            None => add(entry, own.as_deref()),
        })?;
        let is_last = number + 1 == shards.len();
        let (own, ours) = (files.len() - before, said.is_some());
        if ours && said.as_ref() != Some(&shard_text(number, own, is_last)) {
            let said = said.unwrap_or_default();
            let found = shard_text(number, own, is_last);
            let reason =
                format!("it says {:?} and is {:?}: a shard is missing", said.trim(), found.trim());
            return Err(damaged(reason));
        }
    }
    Ok((files, classes))
}

/// Whether this is ImageNet's name for a class, as archives of the contest are called.
pub(crate) fn is_wnid(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// The path below the folder that an archive is unpacked into, without what says nothing: `/`, `./`, `//`.
fn clean(name: &str) -> String {
    let says = |part: &&str| !matches!(*part, "" | ".");
    name.split('/').filter(says).collect::<Vec<_>>().join("/")
}

/// Whether programs left it behind.
fn hidden(name: &str) -> bool {
    name.split('/').any(|part| is_left_behind(part.as_bytes()))
}

/// Leaves out a folder that everything is in, as `tar cf photos.tar photos/` makes it.
fn unwrap(files: &mut [File]) {
    let first = |file: &File| file.entry.name.split_once('/').map(|(first, _)| first.to_owned());
    let Some(common) = files.first().and_then(first) else { return };
    let is_deep = |file: &File| file.entry.name.split('/').count() > 2;
    let is_part = Parts::among([common.as_str()]).part(&common) == Some(0);
    if !is_part && files.iter().all(|file| is_deep(file) && first(file).as_ref() == Some(&common)) {
        for file in files {
            file.entry.name.drain(..=common.len());
        }
    }
}

/// What the classes of a part are.
pub(crate) enum Classes {
    /// Those of its folders, sorted.
    Found,
    /// These, in this order.
    Given(Arc<[String]>),
}

impl Classes {
    /// The names, and the folder of each.
    fn of(self, files: &[File]) -> (Arc<[String]>, Vec<String>) {
        match self {
            Self::Given(classes) => {
                let folders = classes.iter().map(|class| folder_of(class)).collect();
                (classes, folders)
            }
            Self::Found => {
                let mut folders: Vec<String> =
                    files.iter().map(|file| folder(file).to_owned()).collect();
                folders.sort_unstable();
                folders.dedup();
                (folders.clone().into(), folders)
            }
        }
    }
}

/// The folders that the files are in, once each.
fn folders(files: &[File]) -> BTreeSet<&str> {
    files.iter().map(folder).collect()
}

fn folder(file: &File) -> &str {
    file.entry.name.split('/').next().unwrap_or_default()
}

/// In the order of an image folder's paths: folder by folder.
fn by_path(a: &File, b: &File) -> Ordering {
    a.entry.name.split('/').cmp(b.entry.name.split('/'))
}

/// The part of these files, called `CLASS/…/IMAGE`.
pub(crate) fn part(
    path: &Path,
    shards: &Arc<[Shard]>,
    files: Vec<File>,
    classes: Classes,
    limits: Limits,
) -> Result<Arc<Packed>, DataError> {
    let empty = |expected: &str| {
        Err(DataError::Empty { path: path.to_owned(), expected: expected.to_owned() })
    };
    if files.is_empty() {
        return empty("images in one folder per class in the archive");
    }
    if let Some(file) = files.iter().find(|file| !file.entry.name.contains('/')) {
        let reason = format!("{} is in no folder of a class", file.entry.name);
        return Err(DataError::Archive { path: path.to_owned(), reason });
    }
    let (classes, folders) = classes.of(&files);
    let numbers: HashMap<&str, u32> = folders.iter().map(String::as_str).zip(0..).collect();
    let mut labelled = Vec::with_capacity(files.len());
    for file in files {
        match numbers.get(folder(&file)) {
            Some(&label) => labelled.push((label, file)),
            None => {
                let unexpected = vec![folder(&file).to_owned()];
                let path = path.to_owned();
                return Err(DataError::ClassMismatch { path, missing: Vec::new(), unexpected });
            }
        }
    }
    labelled.sort_by(|(a, first), (b, second)| a.cmp(b).then_with(|| by_path(first, second)));
    let names = || labelled.iter().map(|(_, file)| file.entry.name.as_str());
    if let Some((twice, _)) = names().zip(names().skip(1)).find(|(a, b)| a == b) {
        let reason = format!("{twice} is there twice, and unpacked it would be once");
        return Err(DataError::Archive { path: path.to_owned(), reason });
    }
    let mut prints = Fingerprint::new();
    let (mut names, mut samples) = (String::new(), Vec::with_capacity(labelled.len()));
    for (label, File { shard, entry: Entry { name, start, len, crc } }) in labelled {
        prints.bytes(name.as_bytes());
        names += &name;
        samples.push(Place { shard, label, start, len, crc, name: names.len() });
    }
    let fingerprint = prints.0;
    let (name, shards) = (file_name(path), Arc::clone(shards));
    Ok(Arc::new(Packed { name, classes, shards, samples, names, limits, fingerprint }))
}

/// The parts together; without a validation part, one is carved.
pub(crate) fn finish(
    path: &Path,
    train: Arc<Packed>,
    validation: Option<Arc<Packed>>,
    test: Option<Arc<Packed>>,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let mut counts = vec![0; train.classes.len()];
    train.samples.iter().for_each(|place| counts[place.label as usize] += 1);
    if let Some(class) = counts.iter().position(|&count| count == 0) {
        let expected = format!("images of the class {:?}", train.classes[class]);
        return Err(DataError::Empty { path: path.to_owned(), expected });
    }
    let mut skipped = Vec::new();
    if options.on_bad == OnBad::Skip {
        for part in [Some(&train), validation.as_ref(), test.as_ref()].into_iter().flatten() {
            for error in (0..part.len()).filter_map(|index| part.sample(index).err()) {
                if !error.is_bad_sample() {
                    return Err(error);
                }
                skipped.push(Arc::new(error));
            }
        }
    }
    let train = several_classes(path, train)?;
    let test = test.map(|test| -> Arc<dyn Dataset> { test });
    let splits = match validation {
        Some(validation) => {
            let (skipped, unused) = (Vec::new(), Arc::default());
            Splits { train, validation, test, skipped, unused }
        }
        None => Splits::carve(train, test, options.validation, options.seed)?,
    };
    Ok(Splits { skipped, ..splits })
}
