//! Image folders, as torchvision's `ImageFolder` reads them: one folder per class, classes numbered in the order of their
//! sorted names, images at any depth below.
//!
//! Symbolic links are followed; a link to a folder above itself is not entered again. What programs leave behind is
//! passed over at any depth: names that start with a dot, and the folders that systems keep in others, of thumbnails for instance.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Dataset, Sample};
use crate::decode::decode;
use crate::error::{DataError, ImageError};
use crate::files::{self, Regular};
use crate::fingerprint::Fingerprint;
use crate::image::Image;
use crate::limits::Limits;

/// Extensions of files that count as images, in lower case.
const EXTENSIONS: [&str; 11] =
    ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "webp", "jfif", "jpe", "pbm", "pnm"];

/// Extensions of files that are images of a kind that is not read.
const UNREAD: [&str; 10] =
    ["tif", "tiff", "gif", "heic", "heif", "avif", "jp2", "jxl", "ico", "tga"];

/// Folders of systems: of archives made on a Mac, of Synology's and QNAP's disks, of Windows and of Linux.
const LEFT_BEHIND: [&[u8]; 7] = [
    b"__MACOSX",
    b"@eaDir",
    b"#recycle",
    b"@Recycle",
    b"$RECYCLE.BIN",
    b"System Volume Information",
    b"lost+found",
];

/// What is done about files that are not usable images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// Reading one is an error, when it is reached.
    Fail,
    /// Every file is decoded once when the folder is opened, and bad ones are reported. They keep their numbers, so that a
    /// file that is repaired changes nothing else; whoever reads them gets their error.
    Skip,
}

/// Reads and decodes an image file.
pub fn read_image(path: &Path, limits: &Limits) -> Result<Image, DataError> {
    let image = decode(&read_file(path, limits)?, limits);
    image.map_err(|source| DataError::Image { path: path.to_owned(), source })
}

/// Reads an image file, as it is.
fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let file = Regular::open(path).map_err(failed)?;
    let bytes = file.len();
    if bytes > limits.bytes {
        let source = ImageError::LongFile { bytes, limit: limits.bytes };
        return Err(DataError::Image { path: path.to_owned(), source });
    }
    file.read(bytes).map_err(failed)
}

/// A folder of labelled images; they are decoded each time they are asked for.
pub struct ImageFolder {
    root: PathBuf,
    name: String,
    classes: Vec<String>,
    files: Vec<File>,
    unread: usize,
    limits: Limits,
    fingerprint: u64,
}

/// The file of a sample.
struct File {
    path: PathBuf,
    label: u32,
    bytes: u64,
}

/// Whether a class may be without images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyClass {
    /// A class to learn must have one.
    Refused,
    /// A class to be tested need not.
    Allowed,
}

impl ImageFolder {
    /// Lists the images of `root`, and says which are bad: none with [`OnBad::Fail`]. Fails when there is no class, no usable
    /// image, a class without one that is refused, or a folder that cannot be listed.
    pub fn open(
        root: &Path,
        on_bad: OnBad,
        empty_class: EmptyClass,
        limits: Limits,
    ) -> Result<(Self, Vec<DataError>), DataError> {
        let folders = class_folders(root)?;
        if folders.is_empty() {
            return Err(empty(root, "one folder per class"));
        }
        let (mut classes, mut files, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = Fingerprint::new();
        let (mut unread, mut without) = (0, None);
        for folder in folders {
            let label = classes.len() as u32;
            let mut found = Found::default();
            find_images(&folder, &mut vec![real(root)?], &mut found)?;
            unread += found.unread;
            let (before, bad_before) = (files.len(), skipped.len());
            for path in found.sorted() {
                if on_bad == OnBad::Skip
                    && let Err(error) = read_image(&path, &limits)
                {
                    if !error.is_bad_sample() {
                        return Err(error);
                    }
                    skipped.push(error);
                }
                names.bytes(&below(root, &path));
                let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
                files.push(File { path, label, bytes });
            }
            let bad = skipped.len() - bad_before;
            if files.len() - before == bad && without.is_none() {
                without = Some((folder.clone(), bad));
            }
            classes.push(file_name(&folder));
        }
        if files.len() == skipped.len() && !skipped.is_empty() {
            return Err(empty(root, &format!("usable images, all {} are bad", skipped.len())));
        }
        if let Some((folder, bad)) = without
            && (files.is_empty() || empty_class == EmptyClass::Refused)
        {
            let expected = match bad {
                0 => format!("images ({}), or no such folder", EXTENSIONS.join(", ")),
                bad => format!("usable images, all {bad} are bad"),
            };
            return Err(empty(&folder, &expected));
        }
        let (name, fingerprint) = (file_name(root), names.0);
        let root = root.to_owned();
        let folder = Self { root, name, classes, files, unread, limits, fingerprint };
        Ok((folder, skipped))
    }

    /// How many files are images of a kind that is not read (TIFF, for instance), and therefore no samples.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// The file of sample `index`. Panics when `index >= len()`.
    pub fn path(&self, index: usize) -> &Path {
        &self.files[index].path
    }
}

/// The path from `root` on, with `/` between its folders on every system: the same files are the same data.
fn below(root: &Path, path: &Path) -> Vec<u8> {
    let parts = path.strip_prefix(root).unwrap_or(path).components();
    let parts: Vec<&[u8]> = parts.map(|part| part.as_os_str().as_encoded_bytes()).collect();
    parts.join(&b'/')
}

impl Dataset for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn len(&self) -> usize {
        self.files.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let Some(File { path, label, .. }) = self.files.get(index) else {
            return Err(DataError::Index { name: self.name.clone(), index, len: self.len() });
        };
        Ok(Sample { image: read_image(path, &self.limits)?, label: *label })
    }

    fn encoded(&self, index: usize) -> Result<Option<Vec<u8>>, DataError> {
        let Some(File { path, .. }) = self.files.get(index) else {
            return Err(DataError::Index { name: self.name.clone(), index, len: self.len() });
        };
        read_file(path, &self.limits).map(Some)
    }

    fn label(&self, index: usize) -> u32 {
        self.files[index].label
    }

    fn sample_name(&self, index: usize) -> String {
        String::from_utf8_lossy(&below(&self.root, self.path(index))).into_owned()
    }

    /// Of the files' names: wherever they lie, and when one was repaired.
    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What it was when the folder was listed.
    fn file_bytes(&self, index: usize) -> Option<u64> {
        Some(self.files[index].bytes)
    }
}

fn empty(path: &Path, expected: &str) -> DataError {
    DataError::Empty { path: path.to_owned(), expected: expected.to_owned() }
}

/// The folders in `root` that are classes, sorted by name.
pub(crate) fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = Vec::new();
    for path in list(root)? {
        folders.extend(is_dir(&path)?.then_some(path));
    }
    folders.sort();
    Ok(folders)
}

/// The dataset, if there is something to tell apart.
pub(crate) fn several_classes(
    dir: &Path,
    dataset: Arc<dyn Dataset>,
) -> Result<Arc<dyn Dataset>, DataError> {
    match dataset.classes() {
        [only] => {
            let inner = class_folders(&dir.join(only)).is_ok_and(|inner| inner.len() > 1);
            Err(DataError::OneClass { path: dir.to_owned(), class: only.clone(), inner })
        }
        _ => Ok(dataset),
    }
}

/// Whether images lie in `dir` itself.
pub(crate) fn has_images(dir: &Path) -> Result<bool, DataError> {
    for path in list(dir)? {
        if has_image_extension(&path) && !is_dir(&path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_dir(path: &Path) -> Result<bool, DataError> {
    files::is_dir(path).map_err(|source| DataError::Io { path: path.to_owned(), source })
}

/// The last part of a path, as text.
pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What is in `dir`, but for what programs leave behind.
fn list(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if !is_left_behind(name.as_encoded_bytes()) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// Whether a file or folder of this name was left behind by programs.
pub(crate) fn is_left_behind(name: &[u8]) -> bool {
    name.starts_with(b".") || LEFT_BEHIND.contains(&name)
}

/// The path without symbolic links.
fn real(dir: &Path) -> Result<PathBuf, DataError> {
    fs::canonicalize(dir).map_err(|source| DataError::Io { path: dir.to_owned(), source })
}

/// What lies in a class's folder.
#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    /// Number of images of a kind that is not read.
    unread: usize,
}

impl Found {
    fn sorted(mut self) -> Vec<PathBuf> {
        self.images.sort();
        self.images
    }
}

/// The image files in and below `dir`, sorted.
pub fn images_below(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Found::default();
    find_images(dir, &mut Vec::new(), &mut found)?;
    Ok(found.sorted())
}

/// Adds the images below `dir`. `above` holds the real paths of the folders on the way down.
fn find_images(dir: &Path, above: &mut Vec<PathBuf>, found: &mut Found) -> Result<(), DataError> {
    let here = real(dir)?;
    if above.contains(&here) {
        return Ok(());
    }
    above.push(here);
    for path in list(dir)? {
        if is_dir(&path)? {
            find_images(&path, above, found)?;
        } else if has_image_extension(&path) {
            found.images.push(path);
        } else {
            found.unread += usize::from(has_extension(&path, &UNREAD));
        }
    }
    above.pop();
    Ok(())
}

/// Whether the file's extension is one of an image's that is read, in either case.
pub fn has_image_extension(path: &Path) -> bool {
    has_extension(path, &EXTENSIONS)
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| known.iter().any(|&known| extension == known))
}
