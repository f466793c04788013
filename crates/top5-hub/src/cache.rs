//! Files of the cache, which may have come from elsewhere: no link in it is written through.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::Digest;

use crate::error::HubError;

/// Bytes that are read at once.
pub(crate) const BUFFER: usize = 1 << 16;

/// A function that names the path in an error of the system.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Io { path, source }
}

/// A new file in place of what has the name already, a link perhaps.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    File::create_new(path)
}

/// Opens a file of the cache to be written, made where it is missing.
pub(crate) fn own_file(path: &Path) -> Result<File, HubError> {
    check_own(path)?;
    File::options().create(true).write(true).truncate(false).open(path).map_err(at(path))
}

/// Fails where a file that is to be written is a link, a device or a pipe, or has other names.
pub(crate) fn check_own(path: &Path) -> Result<(), HubError> {
    let foreign = |metadata: fs::Metadata| !metadata.is_file() || names(&metadata) > 1;
    if fs::symlink_metadata(path).is_ok_and(foreign) {
        let why = "a link, or no regular file: remove it";
        return Err(at(path)(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    Ok(())
}

#[cfg(unix)]
fn names(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names(_: &fs::Metadata) -> u64 {
    1
}

/// Whether a regular file is at `path`, or a link to one. Fails where that cannot be found out: it is not absent then.
pub(crate) fn is_file(path: &Path) -> Result<bool, HubError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) => {
            let kind = error.kind();
            let absent = matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            if absent { Ok(false) } else { Err(at(path)(error)) }
        }
    }
}

pub(crate) fn make_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Makes the snapshot's file: a relative link to the blob, or a copy where there are no links.
pub(crate) fn link(blob: &Path, path: &Path) -> Result<(), HubError> {
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        let target = Path::new("../../blobs").join(name);
        let _ = fs::remove_file(path); // a link to a blob that is gone
        std::os::unix::fs::symlink(target, path).map_err(at(path))
    }
    #[cfg(not(unix))]
    {
        fs::copy(blob, path).map(|_| ()).map_err(at(path))
    }
}

/// The hash of a file, in hexadecimal.
pub(crate) fn hash<D: Digest>(mut hasher: D, path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
