//! Opens a dataset by name or by path; a folder is recognised by what is in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cifar::{CIFAR10, CIFAR100, Cifar};
use crate::dataset::{Dataset, Splits, Subset};
use crate::digits::digits;
use crate::error::DataError;
use crate::folder::{
    EmptyClass, ImageFolder, class_folders, file_name, has_images, several_classes,
};
use crate::idx::{find_mnist_like, read_pair};
use crate::ilsvrc;
use crate::options::OpenOptions;
use crate::packed;
use crate::parts::{Parts, no_part};
use top5_graph::counted;

/// Where Debian's package `dataset-fashion-mnist` puts its files.
const FASHION_MNIST: &str = "/usr/share/datasets/fashion-mnist";

/// The names of datasets; everything else is a folder.
pub const NAMES: [&str; 2] = ["digits", "fashion-mnist"];

/// Opens `digits` (embedded), `fashion-mnist` (Debian's package), or a folder: IDX files in MNIST's layout, CIFAR-10 or
/// CIFAR-100 binaries, images in `train/`, with `val/` and `test/` if there
/// are, or images in one folder per class; or such a folder in tar archives, packed or not.
pub fn open(spec: &str, options: &OpenOptions) -> Result<Splits, DataError> {
    match spec {
        "digits" => return Ok(digits()),
        "fashion-mnist" => {
            let dir = Path::new(FASHION_MNIST);
            return open_idx(dir, options).transpose().unwrap_or_else(|| {
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
    let opened = ilsvrc::open(dir, options)
        .or_else(|| open_idx(dir, options).transpose())
        .or_else(|| open_cifar(dir, options).transpose())
        .or_else(|| open_folder(dir, options))
        .or_else(|| packed::open(dir, options));
    opened.unwrap_or_else(|| Err(unrecognised(spec, dir)))
}

fn unrecognised(spec: &str, dir: &Path) -> DataError {
    let mut looked_for = vec![format!("a name: {}", NAMES.join(", "))];
    if dir.is_dir() {
        looked_for.extend(
            [
                "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and \
                 t10k-labels-idx1-ubyte in it, plain or .gz (MNIST's layout)",
                "batches.meta.txt and test_batch.bin in it (CIFAR-10, binary version), or batches.meta and \
                 test_batch (Python version)",
                "fine_label_names.txt and test.bin in it (CIFAR-100, binary version), or meta and test \
                 (Python version)",
                "the folder train/ in it, and val/ and test/ if there are, with one folder per class",
                "one folder per class in it",
                "tar archives of such folders in it",
                "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz in it (ImageNet)",
            ]
            .map(str::to_owned),
        );
    } else {
        let packed = ["zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar"];
        let is_packed = dir.extension().is_some_and(|of| packed.iter().any(|one| of == *one));
        let found = match (dir.exists(), is_packed) {
            (true, true) => "a compressed file is there: unpack it",
            (true, false) => "a file is there",
            (false, _) => "nothing is there",
        };
        looked_for.push(format!("a folder or a tar archive {} ({found})", dir.display()));
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

fn open_idx(dir: &Path, options: &OpenOptions) -> Result<Option<Splits>, DataError> {
    let Some(files) = find_mnist_like(dir)? else { return Ok(None) };
    let both = ["MNIST", "FashionMNIST"].map(|name| dir.join(name));
    if files.train[0].starts_with(&both[0]) && find_mnist_like(&both[1])?.is_some() {
        let expected = "one of MNIST and FashionMNIST, which are both there".to_owned();
        return Err(DataError::Parts { path: dir.to_owned(), expected });
    }
    let path = files.train[0].to_string_lossy().to_ascii_lowercase();
    let name = if path.contains("fashion") { "fashion-mnist" } else { "mnist" };
    let read = |files| read_pair(name, files, options.memory);
    carve(read(&files.train)?, Some(read(&files.test)?), options).map(Some)
}

fn open_cifar(dir: &Path, options: &OpenOptions) -> Result<Option<Splits>, DataError> {
    let below =
        ["cifar-10-batches-bin", "cifar-10-batches-py", "cifar-100-binary", "cifar-100-python"];
    let places: Vec<PathBuf> =
        std::iter::once(dir.to_owned()).chain(below.map(|name| dir.join(name))).collect();
    let sets: [&Cifar; 2] = [&CIFAR10, &CIFAR100];
    for (dir, set) in places.iter().flat_map(|dir| sets.map(|set| (dir, set))) {
        if set.is_in(dir)? {
            let train = set.read_train(dir, options.memory)?;
            let test = set.read_test(dir, options.memory)?;
            return carve(train, Some(test), options).map(Some);
        }
    }
    Ok(None)
}

fn open_folder(dir: &Path, options: &OpenOptions) -> Option<Result<Splits, DataError>> {
    if !dir.is_dir() {
        return None;
    }
    match class_folders(dir) {
        Ok(folders) if folders.is_empty() => None,
        Ok(folders) => Some(read_folder(dir, &folders, options)),
        Err(error) => Some(Err(error)),
    }
}

/// The folders that hold the parts of a dataset.
struct PartFolders {
    train: Option<PathBuf>,
    validation: Option<PathBuf>,
    test: Option<PathBuf>,
    /// Names of the folders beside them.
    others: Vec<String>,
}

impl PartFolders {
    /// The parts among `folders`, known by their names in any case. A class may be called so, too: a part to learn from
    /// holds folders and no images. Fails where two folders are the same part, or there are parts and none to learn from though one
    /// is needed.
    fn find(
        root: &Path,
        folders: &[PathBuf],
        needs_train: bool,
    ) -> Result<Option<Self>, DataError> {
        let (mut parts, mut others) = ([None, None, None], Vec::new());
        let names: Vec<String> = folders.iter().map(|folder| file_name(folder)).collect();
        let known = Parts::among(names.iter().map(String::as_str));
        for (folder, name) in folders.iter().zip(names) {
            let Some(part) = known.part(&name) else {
                others.push(name);
                continue;
            };
            if let Some(other) = parts[part].replace(folder.clone()) {
                let expected = format!("one of {} and {}", file_name(&other), file_name(folder));
                return Err(DataError::Parts { path: root.to_owned(), expected });
            }
        }
        let [train, validation, test] = parts;
        let holds_classes = |part: &Option<PathBuf>| -> Result<bool, DataError> {
            let Some(part) = part else { return Ok(false) };
            Ok(!class_folders(part)?.is_empty() && !has_images(part)?)
        };
        match train.clone() {
            // Several folders that are all called like parts are no classes.
            Some(train) if others.is_empty() && folders.len() > 1 => {
                if class_folders(&train)?.is_empty() {
                    let expected = format!("a folder for each class in {}/", file_name(&train));
                    return Err(DataError::Parts { path: root.to_owned(), expected });
                }
                Ok(Some(Self { train: Some(train), validation, test, others }))
            }
            Some(_) if !holds_classes(&train)? => Ok(None),
            None if !others.is_empty()
                || !(holds_classes(&validation)? || holds_classes(&test)?) =>
            {
                Ok(None)
            }
            None if needs_train => {
                let expected =
                    "a part to learn from (train/), or the folder of one part".to_owned();
                Err(DataError::Parts { path: root.to_owned(), expected })
            }
            train => Ok(Some(Self { train, validation, test, others })),
        }
    }
}

fn read_folder(
    dir: &Path,
    folders: &[PathBuf],
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let (mut skipped, mut unused) = (Vec::new(), Vec::new());
    let mut unread = 0;
    let mut read = |dir: &Path, empty| -> Result<Arc<dyn Dataset>, DataError> {
        let (folder, bad) = ImageFolder::open(dir, options.on_bad, empty, options.limits)?;
        skipped.extend(bad.into_iter().map(Arc::new));
        unread += folder.unread();
        Ok(Arc::new(folder))
    };
    let splits = match PartFolders::find(dir, folders, options.needs_train)? {
        None => carve(several_classes(dir, read(dir, EmptyClass::Refused)?)?, None, options)?,
        Some(PartFolders { train, validation, test, others }) => {
            unused.extend(others.iter().map(|name| no_part(name)));
            let mut first: Option<Arc<dyn Dataset>> = None;
            let mut part = |dir: PathBuf, empty| -> Result<Arc<dyn Dataset>, DataError> {
                let part = read(&dir, empty)?;
                match &first {
                    None => first = Some(several_classes(&dir, Arc::clone(&part))?),
                    Some(first) => same_classes(first.as_ref(), part.as_ref(), &dir)?,
                }
                Ok(part)
            };
            let train = train.map(|dir| part(dir, EmptyClass::Refused)).transpose()?;
            let validation = validation.map(|dir| part(dir, EmptyClass::Allowed)).transpose()?;
            let test = match (test, train.as_ref().or(validation.as_ref())) {
                (Some(test), Some(known)) if unlabelled(&test, known.as_ref())? => {
                    let name = file_name(&test);
                    unused.push(format!("the images in {name}/ are in no folder of a class"));
                    None
                }
                (test, _) => test.map(|dir| part(dir, EmptyClass::Allowed)).transpose()?,
            };
            let parts = |train, validation, test| {
                let (skipped, unused) = (Vec::new(), Arc::default());
                Splits { train, validation, test, skipped, unused }
            };
            match (train, validation, first) {
                (Some(train), Some(validation), _) => parts(train, validation, test),
                (Some(train), None, _) => carve(train, test, options)?,
                (None, validation, Some(first)) => {
                    let none: Arc<dyn Dataset> = Arc::new(Subset::new(first, Vec::new()));
                    parts(Arc::clone(&none), validation.unwrap_or(none), test)
                }
                (None, _, None) => return Err(unrecognised(&dir.to_string_lossy(), dir)),
            }
        }
    };
    if unread > 0 {
        unused
            .push(format!("{}: TIFF and other images that are not read", counted(unread, "file")));
    }
    Ok(Splits { skipped, unused: unused.into(), ..splits })
}

/// Whether nothing says what the images of a test part show: it has no folders, or one that is no class.
fn unlabelled(dir: &Path, train: &dyn Dataset) -> Result<bool, DataError> {
    Ok(match &class_folders(dir)?[..] {
        [] => true,
        [only] => !train.classes().contains(&file_name(only)),
        _ => false,
    })
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
