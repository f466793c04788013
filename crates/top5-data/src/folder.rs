//! Image folders, as torchvision's `ImageFolder` reads them: one folder per class, classes numbered in the order of their
//! sorted names, images at any depth below.
//!
//! Symbolic links are followed; a link to a folder above itself is not entered again. Folders whose name starts with a dot
//! are no classes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Fingerprint, Sample};
use crate::decode::{Limits, decode};
use crate::error::{DataError, ImageError};
use crate::image::Image;

/// Extensions of files that count as images, in lower case.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];

/// What is done about files that are not usable images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBad {
    /// Reading one is an error, when it is reached.
    Fail,
    /// Every file is decoded once when the folder is opened; bad ones are left out and reported.
    Skip,
}

/// Reads and decodes an image file.
pub fn read_image(path: &Path, limits: &Limits) -> Result<Image, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let image = if metadata.len() > limits.bytes {
        Err(ImageError::LongFile { bytes: metadata.len(), limit: limits.bytes })
    } else {
        decode(&fs::read(path).map_err(failed)?, limits)
    };
    image.map_err(|source| DataError::Image { path: path.to_owned(), source })
}

/// A folder of labelled images; they are decoded each time they are asked for.
pub struct ImageFolder {
    name: String,
    classes: Vec<String>,
    files: Vec<(PathBuf, u32)>,
    limits: Limits,
    fingerprint: u64,
}

impl ImageFolder {
    /// Lists the images of `root`, and says which bad ones were left out: none with [`OnBad::Fail`]. Fails when there is no
    /// class, a class has no image, or a folder cannot be listed.
    pub fn open(
        root: &Path,
        on_bad: OnBad,
        limits: Limits,
    ) -> Result<(Self, Vec<DataError>), DataError> {
        let empty = |path: &Path, expected: &str| DataError::Empty {
            path: path.to_owned(),
            expected: expected.to_owned(),
        };
        let folders = class_folders(root)?;
        if folders.is_empty() {
            return Err(empty(root, "one folder per class"));
        }
        let (mut classes, mut files, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let mut print = Fingerprint::new();
        for folder in folders {
            let label = classes.len() as u32;
            let mut found = Vec::new();
            find_images(&folder, &mut vec![real(root)?], &mut found)?;
            if found.is_empty() {
                return Err(empty(&folder, &format!("images ({})", EXTENSIONS.join(", "))));
            }
            found.sort();
            for path in found {
                if on_bad == OnBad::Skip
                    && let Err(error) = read_image(&path, &limits)
                {
                    skipped.push(error);
                    continue;
                }
                let relative = path.strip_prefix(root).unwrap_or(&path);
                print.bytes(relative.as_os_str().as_encoded_bytes());
                print.number(fs::metadata(&path).map_or(0, |metadata| metadata.len()));
                files.push((path, label));
            }
            classes.push(file_name(&folder));
        }
        if files.is_empty() {
            return Err(empty(root, &format!("usable images, all {} are bad", skipped.len())));
        }
        let fingerprint = print.0;
        Ok((Self { name: file_name(root), classes, files, limits, fingerprint }, skipped))
    }

    /// The file of sample `index`. Panics when `index >= len()`.
    pub fn path(&self, index: usize) -> &Path {
        &self.files[index].0
    }
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
        let Some((path, label)) = self.files.get(index) else {
            return Err(DataError::Index { name: self.name.clone(), index, len: self.len() });
        };
        Ok(Sample { image: read_image(path, &self.limits)?, label: *label })
    }

    fn label(&self, index: usize) -> u32 {
        self.files[index].1
    }

    /// Of the files' names and lengths, not of their bytes: it must not take a pass over a million files.
    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// The folders in `root` that are classes, sorted by name.
pub(crate) fn class_folders(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut folders = list(root)?;
    folders.retain(|path| path.is_dir() && !file_name(path).starts_with('.'));
    folders.sort();
    Ok(folders)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |source| DataError::Io { path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

/// The path without symbolic links.
fn real(dir: &Path) -> Result<PathBuf, DataError> {
    fs::canonicalize(dir).map_err(|source| DataError::Io { path: dir.to_owned(), source })
}

/// Appends the images below `dir`. `above` holds the real paths of the folders on the way down.
fn find_images(
    dir: &Path,
    above: &mut Vec<PathBuf>,
    found: &mut Vec<PathBuf>,
) -> Result<(), DataError> {
    let here = real(dir)?;
    if above.contains(&here) {
        return Ok(());
    }
    above.push(here);
    for path in list(dir)? {
        if path.is_dir() {
            find_images(&path, above, found)?;
        } else if has_image_extension(&path) {
            found.push(path);
        }
    }
    above.pop();
    Ok(())
}

/// Whether the file's extension is one of an image's, in either case.
pub fn has_image_extension(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|&known| extension == known))
}
