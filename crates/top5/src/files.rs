//! Writing files so that nobody ever sees half of one, and telling whether they are what they should be. All files that the
//! program makes are written here, but for checkpoints and the hub's cache, whose order of writing is part of their format.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use top5_data::files::check_replaceable;

/// A file or folder that the system refused to write.
#[derive(Debug)]
pub struct WriteError {
    /// What was to be written.
    pub path: PathBuf,
    /// Its length, if it is a file.
    pub bytes: Option<u64>,
    /// The system's reason.
    pub source: io::Error,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "writing {}", self.path.display())?;
        self.bytes.map_or(Ok(()), |bytes| write!(f, " ({bytes} bytes)"))
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// From this many bytes on it is worth to look through the folder for what writes that were cut off left.
const LARGE: usize = 1 << 20;

/// Writes a file under a temporary name beside `path`, brings it to the disk, and only then gives it its name. Fails where a
/// link, a folder, a pipe or a device is in its place.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let write = || -> Result<(), WriteError> {
        if bytes.len() >= LARGE {
            remove_leftovers(path);
        }
        let mut file = WholeFile::begin(path)?;
        file.write(bytes)?;
        file.finish(path)
    };
    write().map_err(|error| WriteError { bytes: Some(bytes.len() as u64), ..error })
}

/// Adds bytes at the end of a file, or begins it with them. Fails where a link, a folder, a pipe or a device is in its place.
pub fn append(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let append = || {
        check_replaceable(path)?;
        File::options().create(true).append(true).open(path)?.write_all(bytes)
    };
    let bytes = Some(bytes.len() as u64);
    append().map_err(|source| WriteError { path: path.to_owned(), bytes, source })
}

/// A file that is written piece by piece under a temporary name, and goes away unless it is finished.
pub struct WholeFile {
    /// What it is to be called, for all that is known.
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    bytes: u64,
}

impl WholeFile {
    /// Begins a file in the folder of `path`. Fails where a link, a folder, a pipe or a device is in its place.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        remove_leftovers(path);
        Self::begin(path)
    }

    fn begin(path: &Path) -> Result<Self, WriteError> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = folder_of(path).join(name);
        let create = || {
            check_replaceable(path)?;
            // Whatever has the name already, a link perhaps, is not written to.
            let _ = fs::remove_file(&temporary);
            let file = File::create_new(&temporary)?;
            // Where the system has no locks, others cannot tell that it is being written, and leave it.
            let _ = file.try_lock();
            Ok(file)
        };
        match create() {
            Ok(file) => Ok(Self { path: path.to_owned(), temporary, file, bytes: 0 }),
            Err(source) => Err(WriteError { path: path.to_owned(), bytes: None, source }),
        }
    }

    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| self.failed(source))
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Brings it to the disk and gives it its name, in the folder where it was begun.
    pub fn finish(self, path: &Path) -> Result<(), WriteError> {
        let finish = || -> io::Result<()> {
            self.file.sync_all()?;
            check_replaceable(path)?;
            fs::rename(&self.temporary, path)?;
            sync_folder(folder_of(path))
        };
        finish().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError { path: self.path.clone(), bytes: Some(self.bytes), source }
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // Where it was finished, nothing has the name any more.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Removes what processes that were ended while they wrote this file have left of it. A file that is being written is locked by
/// its process before the first byte is in it, so that an empty one, which may not be locked yet, is left.
fn remove_leftovers(path: &Path) {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return };
    let is_leftover = |other: &str| {
        let number = other.strip_prefix('.').and_then(|rest| rest.strip_prefix(name));
        let number = number.and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp"));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    };
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let holds_something = || entry.metadata().is_ok_and(|of| of.is_file() && of.len() > 0);
        if entry.file_name().to_str().is_some_and(is_leftover) && holds_something() {
            let unlocked = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if unlocked {
                // Where that fails, it stays.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

/// Removes a file.
pub fn remove_file(path: &Path) -> Result<(), WriteError> {
    let removed = check_replaceable(path).and_then(|()| fs::remove_file(path));
    removed.map_err(|source| WriteError { path: path.to_owned(), bytes: None, source })
}

/// Makes a folder, and those above it that are missing, and brings their names to the disk.
pub fn make_folder(path: &Path) -> Result<(), WriteError> {
    let make = || -> io::Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
        fs::create_dir_all(path).map_err(|error| {
            // The system's words, "file exists", do not say what is wrong with that.
            let taken = "something that is no folder has this name: choose another one";
            let is_taken = error.kind() == io::ErrorKind::AlreadyExists;
            if is_taken { io::Error::other(taken) } else { error }
        })?;
        for made in missing {
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            sync_folder(above.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    };
    make().map_err(|source| WriteError { path: path.to_owned(), bytes: None, source })
}

/// Brings the names in a folder to the disk. Only Unix lets a folder be synced; elsewhere its journal keeps their order.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    sha256_of([bytes])
}

/// The SHA-256 of bytes that come in parts, in hexadecimal.
pub fn sha256_of(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
    let mut hash = Hash::default();
    parts.into_iter().for_each(|part| hash.0.update(part));
    hash.finish()
}

/// The SHA-256 of what is written to it.
#[derive(Default)]
pub(crate) struct Hash(Sha256);

impl Hash {
    /// In hexadecimal.
    pub(crate) fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finished_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut file = WholeFile::create(&path).unwrap();
        file.write(b"ab").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut file = WholeFile::create(&path).unwrap();
        [b"ab", b"cd"].iter().for_each(|bytes| file.write(*bytes).unwrap());
        assert_eq!(file.bytes(), 4);
        let other = folder.path().join("other");
        file.finish(&other).unwrap();
        assert_eq!(fs::read(other).unwrap(), b"abcd");
        assert!(!path.exists() && fs::read_dir(folder.path()).unwrap().count() == 1);
    }

    #[test]
    fn what_ended_processes_left_goes_away_and_what_others_write_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (left, other) = (".file.4294967294.tmp", ".file.x.tmp");
        [left, other, ".other.7.tmp"].iter().for_each(|name| fs::write(at(name), b"x").unwrap());
        let mut writing = File::create_new(at(".file.4294967295.tmp")).unwrap();
        writing.try_lock().unwrap();
        writing.write_all(b"x").unwrap();
        // One that was begun just now, and will be locked.
        let begun = ".file.4294967293.tmp";
        File::create_new(at(begun)).unwrap();
        write_whole(&at("file"), &vec![0; LARGE]).unwrap();
        assert!(!at(left).exists());
        for name in [other, begun, ".other.7.tmp", ".file.4294967295.tmp", "file"] {
            assert!(at(name).exists(), "{name}");
        }
    }

    #[test]
    fn folders_are_made_with_those_above_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        assert!(path.is_dir());
        fs::write(folder.path().join("file"), b"").unwrap();
        let error = make_folder(&folder.path().join("file/d")).unwrap_err();
        assert_eq!(error.path, folder.path().join("file/d"));
        assert!(error.bytes.is_none() && error.source.kind() != io::ErrorKind::NotFound, "{error}");
    }

    #[test]
    fn failed_write_leaves_nothing_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::create_dir(folder.path().join("taken")).unwrap();
        fs::write(folder.path().join("taken/inside"), b"").unwrap();
        for (name, missing) in [("taken", false), ("no/such/folder", true)] {
            let error = write_whole(&folder.path().join(name), b"x").unwrap_err();
            assert_eq!((error.path, error.bytes), (folder.path().join(name), Some(1)));
            assert_eq!(error.source.kind() == io::ErrorKind::NotFound, missing, "{}", error.source);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_neither_replaced_nor_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("victim"), b"old").unwrap();
        std::os::unix::fs::symlink(at("victim"), at("link")).unwrap();
        let error = write_whole(&at("link"), b"new").unwrap_err();
        assert_eq!(error.to_string(), format!("writing {} (3 bytes)", at("link").display()));
        assert!(error.source.to_string().contains("symbolic link"), "{}", error.source);
        let temporary = format!(".file.{}.tmp", std::process::id());
        std::os::unix::fs::symlink(at("victim"), at(&temporary)).unwrap();
        write_whole(&at("file"), b"new").unwrap();
        assert_eq!(fs::read(at("victim")).unwrap(), b"old");
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
        assert!(!at(&temporary).exists());
    }
}
