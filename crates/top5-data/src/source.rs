//! Opens a dataset by name or by path; a folder is recognised by what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cifar::{CIFAR10, CIFAR100, Cifar};
use crate::dataset::{Dataset, Splits};
use crate::decode::Limits;
use crate::digits::digits;
use crate::error::DataError;
use crate::folder::{ImageFolder, OnBad, class_folders};
use crate::idx::{find_mnist_like, read_pair};

/// Where Debian's package `dataset-fashion-mnist` puts its files.
const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// How a dataset is opened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OpenOptions {
    /// Share of the training part that becomes the validation part where the source has none; zero for no such part.
    pub validation: f64,
    /// Seed of that choice.
    pub seed: u64,
    /// What is done about bad files of an image folder.
    pub on_bad: OnBad,
    /// What an image file may claim.
    pub limits: Limits,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { validation: 0.1, seed: 0, on_bad: OnBad::Fail, limits: Limits::default() }
    }
}

/// Opens `digits` (embedded), `fashion-mnist` (Debian's package), or a folder: IDX files in MNIST's layout, CIFAR-10 or
/// CIFAR-100 binaries, images in `train/`, `val/` and `test/`, or images in one folder per class.
pub fn open(spec: &str, options: &OpenOptions) -> Result<Splits, DataError> {
    match spec {
        "digits" => return Ok(digits()),
        "fashion-mnist" => {
            let dir = Path::new(FASHION_MNIST);
            return open_idx(dir, options).unwrap_or_else(|| {
                let hint = "install Debian's package dataset-fashion-mnist, or give a folder";
                Err(DataError::Unrecognised {
                    spec: spec.to_owned(),
                    looked_for: vec![format!("IDX files in {FASHION_MNIST} ({hint})")],
                })
            });
        }
        _ => {}
    }
    let dir = Path::new(spec);
    if let Err(source) = fs::metadata(dir)
        && source.kind() != std::io::ErrorKind::NotFound
    {
        return Err(DataError::Io { path: dir.to_owned(), source });
    }
    let opened = open_idx(dir, options)
        .or_else(|| open_cifar(dir, options))
        .or_else(|| open_folder(dir, options));
    opened.unwrap_or_else(|| Err(unrecognised(spec, dir)))
}

fn unrecognised(spec: &str, dir: &Path) -> DataError {
    let mut looked_for = vec!["a name: digits, fashion-mnist".to_owned()];
    if dir.is_dir() {
        looked_for.extend(
            [
                "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                 t10k-labels-idx1-ubyte in it, plain or .gz (MNIST's layout)",
                "batches.meta.txt and test_batch.bin in it (CIFAR-10, binary version)",
                "fine_label_names.txt and test.bin in it (CIFAR-100, binary version)",
                "the folders train/ and val/ or test/ in it, with one folder per class",
                "one folder per class in it",
            ]
            .map(str::to_owned),
        );
    } else {
        let found = if dir.exists() { "a file is there" } else { "nothing is there" };
        looked_for.push(format!("a folder {} ({found})", dir.display()));
    }
    DataError::Unrecognised { spec: spec.to_owned(), looked_for }
}

fn carve(
    train: Arc<dyn Dataset>,
    test: Option<Arc<dyn Dataset>>,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    Splits::carve(train, test, options.validation, options.seed)
}

fn open_idx(dir: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    let files = find_mnist_like(dir)?;
    let path = dir.to_string_lossy().to_ascii_lowercase();
    let name = if path.contains("fashion") { "fashion-mnist" } else { "mnist" };
    let read = || {
        let [train, test] = [read_pair(name, &files.train)?, read_pair(name, &files.test)?];
        carve(train, Some(test), options)
    };
    Some(read())
}

fn open_cifar(dir: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    let places = [dir.to_owned(), dir.join("cifar-10-batches-bin"), dir.join("cifar-100-binary")];
    let in_place = |dir: &Path| [&CIFAR10, &CIFAR100].into_iter().find(|set| set.is_in(dir));
    let (set, dir): (&Cifar, _) = places.iter().find_map(|dir| Some((in_place(dir)?, dir)))?;
    let read = || carve(set.read_train(dir)?, Some(set.read_test(dir)?), options);
    Some(read())
}

fn open_folder(dir: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    if !dir.is_dir() {
        return None;
    }
    match class_folders(dir) {
        Ok(folders) if folders.is_empty() => None,
        Ok(_) => Some(read_folder(dir, options)),
        Err(error) => Some(Err(error)),
    }
}

fn read_folder(dir: &Path, options: &OpenOptions) -> Result<Splits, DataError> {
    let existing = |names: &[&str]| names.iter().map(|name| dir.join(name)).find(|p| p.is_dir());
    let validation = existing(&["val", "valid", "validation"]);
    let test = existing(&["test"]);
    let divided = dir.join("train").is_dir() && (validation.is_some() || test.is_some());

    let mut skipped = Vec::new();
    let mut read = |dir: &Path| -> Result<Arc<dyn Dataset>, DataError> {
        let (folder, bad) = ImageFolder::open(dir, options.on_bad, options.limits)?;
        skipped.extend(bad);
        Ok(Arc::new(folder))
    };
    let train = read(&if divided { dir.join("train") } else { dir.to_owned() })?;
    let mut part = |dir: Option<PathBuf>| {
        let Some(dir) = dir.filter(|_| divided) else { return Ok(None) };
        let part = read(&dir)?;
        same_classes(train.as_ref(), part.as_ref(), &dir)?;
        Ok(Some(part))
    };
    let (validation, test) = (part(validation)?, part(test)?);
    let splits = match validation {
        Some(validation) => Splits { train, validation, test, skipped: Arc::default() },
        None => carve(train, test, options)?,
    };
    Ok(Splits { skipped: skipped.into(), ..splits })
}

fn same_classes(train: &dyn Dataset, part: &dyn Dataset, dir: &Path) -> Result<(), DataError> {
    if train.classes() == part.classes() {
        return Ok(());
    }
    let lacking = |from: &dyn Dataset, other: &dyn Dataset| {
        other.classes().iter().filter(|class| !from.classes().contains(class)).cloned().collect()
    };
    let path = dir.to_owned();
    Err(DataError::ClassMismatch {
        path,
        missing: lacking(part, train),
        unexpected: lacking(train, part),
    })
}
