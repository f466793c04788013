//! The folders that pictures go to: made where nothing would be lost.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use top5::{WholeFile, make_folder};

use crate::exit::Stop;
use crate::output::Output;

/// Most characters of a name that becomes part of a file's.
const LENGTH: usize = 60;

/// Makes the folder that is written, which must be empty, or hold `marker` from an earlier time if there is one.
pub(crate) fn claim(folder: &Path, marker: Option<&str>, output: Output) -> Result<()> {
    claim_or(folder, marker, "choose another folder with --out", output)
}

/// Makes the folder that was named without an option, which must be empty.
pub(crate) fn claim_named(folder: &Path, output: Output) -> Result<()> {
    claim_or(folder, None, "choose another folder", output)
}

fn claim_or(folder: &Path, marker: Option<&str>, advice: &str, output: Output) -> Result<()> {
    let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
    if taken && !output.force && !marker.is_some_and(|marker| folder.join(marker).is_file()) {
        let without = marker.map(|marker| format!(" and holds no {marker}")).unwrap_or_default();
        let message =
            format!("{} is not empty{without}: {advice}, or give --force", folder.display());
        return Err(Stop::Resource(message).into());
    }
    make_folder(folder)?;
    // Found before the work that is to be written there, not after it.
    WholeFile::create(&folder.join("index.html"))?;
    Ok(())
}

/// Makes `out`, which must be empty, or without it a new folder in `place` called `name`, numbered where that is taken.
pub(crate) fn fresh(
    out: Option<&Path>,
    place: &str,
    name: &str,
    output: Output,
) -> Result<PathBuf> {
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let path = match out {
        Some(path) => path.to_owned(),
        None => names
            .by_ref()
            .map(|name| Path::new(place).join(name))
            .find(|path| path.symlink_metadata().is_err())
            .expect("there is always another number"),
    };
    claim(&path, None, output)?;
    Ok(path)
}

/// A name, of a layer or an image, as part of a file's: what a file system might not take is replaced.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().take(LENGTH).map(plain).collect()
}
