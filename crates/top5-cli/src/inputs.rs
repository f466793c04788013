//! The images that `predict` is given: files, folders and stdin, in the order given; a folder's in the order of their names.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::data::folder::images_below;
use top5::data::{DataError, Image, Limits, decode, read_image};

use crate::exit::Stop;

/// The name of stdin among the arguments.
const STDIN: &str = "-";

/// Replaces folders by the image files in and below them. Fails where a folder holds none, or cannot be listed.
pub(crate) fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        if !input.is_dir() {
            files.push(input.clone());
            continue;
        }
        let found = images_below(input)?;
        if found.is_empty() {
            let message = format!(
                "{}: no image in this folder: expected files named .png, .jpg, .jpeg, .webp, .bmp, \
                 .ppm or .pgm",
                input.display()
            );
            return Err(Stop::BadInput(message).into());
        }
        files.extend(found);
    }
    Ok(files)
}

/// Whether this is the name of stdin, which is read once only.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// Reads and decodes one image; `-` is stdin.
pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Image> {
    if !is_stdin(path) {
        return Ok(read_image(path, limits)?);
    }
    let mut bytes = Vec::new();
    io::stdin().lock().take(limits.bytes + 1).read_to_end(&mut bytes).context("reading stdin")?;
    let image = decode(&bytes, limits);
    Ok(image.map_err(|source| DataError::Image { path: "stdin".into(), source })?)
}
