//! Weights from the Hugging Face hub, in the cache that its own tools share:
//! `models--ORG--NAME/{blobs,refs,snapshots,.no_exist}` (huggingface.co/docs/hub/local-cache).
//!
//! The cache is looked at first, and what is there is used without a connection. What it says about files that the
//! repository lacks holds offline and for a commit; a branch may have got them since, and is asked again. A download goes to
//! `blobs/ETAG.incomplete`, continues there if it was cut off, and gets its final name only after its length and its hash
//! were compared with those that the hub states; a file of which it states none is refused. The ETag of a large file is its
//! SHA-256, that of a small file git's SHA-1. A cache may have come from elsewhere: no link in it is written through.

#![forbid(unsafe_code)]

mod cache;
mod error;
mod remote;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::cache::{at, check_own, create, is_file, link, make_folder, own_file};
pub use crate::error::HubError;
use crate::remote::{Described, Remote, is_hex};

/// The hub's own address.
pub const ENDPOINT: &str = "https://huggingface.co";
/// How long the hub may usually send nothing, or next to nothing, before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A repository of models, as `hf-hub:ORG/NAME@REVISION` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    /// Organisation and name, separated by a slash.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
}

impl FromStr for Repo {
    type Err = HubError;

    /// Reads `ORG/NAME` or `ORG/NAME@REVISION`.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
        let word = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.contains("..") && part.chars().all(plain)
        };
        let valid = id.split('/').count() == 2
            && id.split('/').all(|part| word(part) && !part.contains("--"))
            && revision.split('/').all(word);
        if !valid {
            return Err(HubError::Name { text: text.to_owned() });
        }
        Ok(Self { id: id.to_owned(), revision: revision.to_owned() })
    }
}

impl Repo {
    /// Its folder in the cache.
    fn folder(&self) -> String {
        format!("models--{}", self.id.replace('/', "--"))
    }
}

/// The hub, seen through its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The folder that holds `models--ORG--NAME`.
    pub cache: PathBuf,
    /// Where files are downloaded from: scheme and host, as [`ENDPOINT`], without a slash at the end.
    pub endpoint: String,
    /// Whether no connection may be opened.
    pub offline: bool,
    /// How long the hub may send nothing, or next to nothing, before it is given up.
    pub patience: Duration,
}

impl Hub {
    /// The path of the first of the repository's files `names` that is in the cache; of the first that the hub has,
    /// downloaded, if none is.
    ///
    /// # Panics
    /// If there are no names.
    pub fn first_file(&self, repo: &Repo, names: &[&str]) -> Result<PathBuf, HubError> {
        for name in names {
            let cached = self.place(repo, name);
            if is_file(&cached)? {
                return Ok(cached);
            }
        }
        let mut missing = None;
        for name in names {
            match self.file(repo, name) {
                Err(error) if error.is_absence() => {
                    missing.get_or_insert(error);
                }
                found => return found,
            }
        }
        Err(missing.expect("the caller gives names"))
    }

    /// Where the file is in the cache, if it is there.
    fn place(&self, repo: &Repo, name: &str) -> PathBuf {
        let folder = self.cache.join(repo.folder());
        folder.join("snapshots").join(self.commit(repo)).join(name)
    }

    /// The commit that the revision is in the cache, or the revision itself.
    fn commit(&self, repo: &Repo) -> String {
        let reference = self.cache.join(repo.folder()).join("refs").join(&repo.revision);
        let commit = fs::read_to_string(reference).ok().filter(|commit| is_hex(commit));
        commit.unwrap_or_else(|| repo.revision.clone())
    }

    /// The empty file that says that a commit lacks a file.
    fn absence(&self, repo: &Repo, commit: &str, name: &str) -> PathBuf {
        self.cache.join(repo.folder()).join(".no_exist").join(commit).join(name)
    }

    /// The path of the repository's file `name` in the cache, downloaded if it is not there.
    pub fn file(&self, repo: &Repo, name: &str) -> Result<PathBuf, HubError> {
        let cached = self.place(repo, name);
        if is_file(&cached)? {
            return Ok(cached);
        }
        let commit = self.commit(repo);
        let record = self.absence(repo, &commit, name);
        if (self.offline || commit == repo.revision) && is_file(&record)? {
            return Err(HubError::Absent { record });
        }
        if self.offline {
            return Err(HubError::Offline { path: cached });
        }
        let url = format!("{}/{}/resolve/{}/{name}", self.endpoint, repo.id, repo.revision);
        let remote = match Remote::describe(&url, self.patience)? {
            Described::File(remote) => remote,
            Described::Missing { commit } => {
                if let Some(commit) = commit {
                    // It is asked again where this cannot be written.
                    let _ = self.remember_absence(repo, &commit, name);
                }
                return Err(HubError::Status { url, status: 404 });
            }
        };
        let folder = self.cache.join(repo.folder());
        let blob = folder.join("blobs").join(&remote.etag);
        self.download(repo, &remote, &blob)?;

        let snapshot = folder.join("snapshots").join(&remote.commit);
        make_folder(&snapshot)?;
        let path = snapshot.join(name);
        if !is_file(&path)? {
            link(&blob, &path)?;
        }
        self.remember_commit(repo, &remote.commit)?;
        Ok(path)
    }

    fn remember_absence(&self, repo: &Repo, commit: &str, name: &str) -> Result<(), HubError> {
        let path = self.absence(repo, commit, name);
        make_folder(path.parent().unwrap_or(&self.cache))?;
        own_file(&path)?;
        self.remember_commit(repo, commit)
    }

    /// Writes down which commit the revision is.
    fn remember_commit(&self, repo: &Repo, commit: &str) -> Result<(), HubError> {
        if repo.revision == commit {
            return Ok(());
        }
        let reference = self.cache.join(repo.folder()).join("refs").join(&repo.revision);
        make_folder(reference.parent().unwrap_or(&self.cache))?;
        let written = reference.with_extension(format!("{}.tmp", std::process::id()));
        let write = || create(&written)?.write_all(commit.as_bytes());
        write().map_err(at(&written))?;
        fs::rename(&written, &reference).map_err(at(&reference))
    }

    /// Downloads the blob, unless another process has done so while this one waited for the lock.
    fn download(&self, repo: &Repo, remote: &Remote, blob: &Path) -> Result<(), HubError> {
        let locks = self.cache.join(".locks").join(repo.folder());
        make_folder(&locks)?;
        let lock = locks.join(format!("{}.lock", remote.etag));
        let lock_file = own_file(&lock)?;
        lock_file.lock().map_err(at(&lock))?;
        if blob.is_file() {
            return Ok(());
        }
        make_folder(blob.parent().unwrap_or(&self.cache))?;
        let incomplete = blob.with_extension("incomplete");
        check_own(&incomplete)?;
        remote.fetch(&incomplete, self.patience)?;
        remote.verify(&incomplete)?;
        fs::rename(&incomplete, blob).map_err(at(blob))
    }
}
