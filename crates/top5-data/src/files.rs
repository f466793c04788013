//! The one way in which files are read here and in the crates above, and what may be written to.
//!
//! A file that somebody names may be a pipe that never ends, a device, or a text that the kernel makes up while it is read
//! (`/proc/kmsg` waits for its next line for ever). So only regular files are read, no further than the length that the
//! system states for them, and none that is longer than whoever reads it can use. Folders from elsewhere may hold links that
//! lead out of them: what is written there must be a file of its own.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a text that people or programs write to describe something: a recipe, a model's settings, names.
pub const TEXT: u64 = 16 << 20;

/// A regular file, open for reading.
#[derive(Debug)]
pub struct Regular {
    file: File,
    len: u64,
}

impl Regular {
    /// Opens a file. Fails where it is a folder, a pipe, a device or a socket; links are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for its writer.
        check_regular(&fs::metadata(path)?)?;
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        check_regular(&metadata)?;
        Ok(Self { file, len: metadata.len() })
    }

    /// Its length in bytes, as the system stated when it was opened: 0 for what the kernel makes up.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether that is 0.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `most` bytes, or as many as there are.
    pub fn start(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Read::take(&mut self.file, most.min(self.len)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// All of it. Fails where it is longer than `limit`, or memory does not hold it.
    pub fn read(self, limit: u64) -> io::Result<Vec<u8>> {
        let Self { file, len } = self;
        if len > limit {
            let why = format!("the file has {len} bytes, over the limit of {limit}");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let mut bytes = Vec::new();
        let room = usize::try_from(len).ok().filter(|&len| bytes.try_reserve_exact(len).is_ok());
        if room.is_none() {
            let why = format!("{len} bytes do not fit into memory");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
        }
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// `len` bytes from byte `start` on, from any thread. Fails where the file does not have them, or memory does not hold them.
    pub fn read_at(&self, start: u64, len: u64) -> io::Result<Vec<u8>> {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = Vec::new();
        let room = usize::try_from(len).ok().filter(|&len| bytes.try_reserve_exact(len).is_ok());
        let Some(room) = room else {
            let why = format!("{len} bytes do not fit into memory");
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, why));
        };
        bytes.resize(room, 0);
        read_exact_at(&self.file, &mut bytes, start)?;
        Ok(bytes)
    }

    /// The file itself, of which no more than [`Regular::len`] bytes should be read.
    pub fn into_file(self) -> File {
        self.file
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                start += read as u64;
            }
        }
    }
    Ok(())
}

/// Where there are no threads.
#[cfg(not(any(unix, windows)))]
fn read_exact_at(mut file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

/// Reads a regular file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    Regular::open(path)?.read(limit)
}

/// Reads a regular file of UTF-8 text, of at most [`TEXT`] bytes. The mark that some editors put in front is no part of it.
pub fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut text = String::from_utf8(read(path, TEXT)?).map_err(invalid)?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

/// Whether something is at `path`. Fails where that cannot be found out: what may not be looked at is not absent.
pub fn exists(path: &Path) -> io::Result<bool> {
    looked_at(path).map(|found| found.is_some())
}

/// Whether a regular file is at `path`, or a link to one. Fails as [`exists`] does.
pub fn is_file(path: &Path) -> io::Result<bool> {
    looked_at(path).map(|found| found.is_some_and(|metadata| metadata.is_file()))
}

/// Whether a folder is at `path`, or a link to one. Fails as [`exists`] does.
pub fn is_dir(path: &Path) -> io::Result<bool> {
    looked_at(path).map(|found| found.is_some_and(|metadata| metadata.is_dir()))
}

/// Whether an error says that no file can have this name: it is too long, or has a zero in it.
fn is_no_name(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput)
}

/// Whether an error says that nothing is there.
pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error says what is in the place of a file, not that the file could not be read: nothing, something that is no
/// regular file, or one that is longer than any that can be used.
pub fn tells_content(error: &io::Error) -> bool {
    let unsuited =
        matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge);
    is_absence(error) || unsuited && error.raw_os_error().is_none()
}

fn looked_at(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absence(&error) || is_no_name(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fails unless a file may be put at `path` in the place of what is there: nothing, or a regular file. A link is none.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    found(path).map(|_| ())
}

/// Fails unless `path` may be written into: there is nothing, or a regular file that has no other name.
pub fn check_own(path: &Path) -> io::Result<()> {
    match found(path)? {
        Some(metadata) if names(&metadata) > 1 => {
            Err(unsuited("the file has other names (hard links), to which it would be written too"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The regular file that is there, if something is.
fn found(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            Err(unsuited("a symbolic link is there, and none is followed to write: remove it"))
        }
        Ok(metadata) => check_regular(&metadata).map(|()| Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    match metadata {
        metadata if metadata.is_file() => Ok(()),
        metadata if metadata.is_dir() => Err(unsuited("a folder, and not a regular file")),
        _ => Err(unsuited("not a regular file")),
    }
}

fn unsuited(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(unix)]
fn names(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names(_: &Metadata) -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_read_up_to_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "text").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"text");
        assert_eq!(read_text(&path).unwrap(), "text");
        fs::write(folder.path().join("marked"), "\u{feff}[1]").unwrap();
        assert_eq!(read_text(&folder.path().join("marked")).unwrap(), "[1]");
        assert_eq!(Regular::open(&path).unwrap().start(2).unwrap(), b"te");
        assert_eq!(Regular::open(&path).unwrap().read_at(1, 2).unwrap(), b"ex");
        for (start, len) in [(3, 2), (u64::MAX, 2), (0, u64::MAX)] {
            let error = Regular::open(&path).unwrap().read_at(start, len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        let error = read(&path, 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("4 bytes, over the limit of 3"), "{error}");
        let error = read(folder.path(), 3).unwrap_err();
        assert!(error.to_string().contains("a folder"), "{error}");
        // A hole of an exabyte takes no room on the disk.
        let large = folder.path().join("large");
        if File::create(&large).and_then(|file| file.set_len(1 << 43)).is_ok() {
            let error = read(&large, u64::MAX).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_and_what_the_kernel_makes_up_are_not_read() {
        for path in ["/dev/zero", "/dev/null"] {
            let error = read(Path::new(path), u64::MAX).unwrap_err();
            assert_eq!(error.to_string(), "not a regular file", "{path}");
        }
        for path in ["/proc/self/pagemap", "/proc/self/maps"] {
            assert_eq!(read(Path::new(path), u64::MAX).unwrap(), b"", "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        for check in [check_own, check_replaceable] {
            check(&at("absent")).unwrap();
            check(&at("file")).unwrap();
            assert!(check(folder.path()).unwrap_err().to_string().contains("a folder"));
        }
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        for name in ["link", "absent", "file/below", &"n".repeat(5000), "zero\0"] {
            let found = [exists, is_file, is_dir].map(|look| look(&at(name)).unwrap());
            assert_eq!(found, [false; 3], "{name}");
        }
        let found = [exists, is_file, is_dir].map(|look| look(&at("file")).unwrap());
        assert_eq!(found, [true, true, false]);
        assert!(is_dir(folder.path()).unwrap() && !is_file(folder.path()).unwrap());
        for look in [exists, is_file, is_dir] {
            assert_ne!(look(&at("loop")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
        for check in [check_own, check_replaceable] {
            assert!(check(&at("link")).unwrap_err().to_string().contains("symbolic link"));
        }
        fs::hard_link(at("file"), at("other")).unwrap();
        check_replaceable(&at("file")).unwrap();
        assert!(check_own(&at("file")).unwrap_err().to_string().contains("hard links"));
    }
}
