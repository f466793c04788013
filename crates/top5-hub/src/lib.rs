//! Weights from the Hugging Face hub, in the cache that its own tools share:
//! `models--ORG--NAME/{blobs,refs,snapshots,.no_exist}` (huggingface.co/docs/hub/local-cache).
//!
//! The cache is looked at first, and what is there is used without a connection. What it says about files that the
//! repository lacks holds offline and for a commit; a branch may have got them since, and is asked again. A download goes to
//! `blobs/ETAG.incomplete`, continues there if it was cut off, and gets its final name only after its length and its hash
//! were compared with those that the hub states. The ETag of a large file is its SHA-256, that of a small file git's SHA-1.
//! A cache may have come from elsewhere: no link in it is written through.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Timeout};

/// The hub's own address.
pub const ENDPOINT: &str = "https://huggingface.co";
/// How long the hub may usually send nothing before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a download that must come in a second, on average over as long as it may send nothing.
const SLOWEST: f64 = 1024.0;
/// Redirections that a file's description may take within the hub.
const HOPS: usize = 5;

/// Digits of git's hashes.
const GIT_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;
/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;

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

/// Why a file of a repository cannot be had.
#[derive(Debug)]
pub enum HubError {
    /// Not the name of a repository.
    Name {
        /// What was given.
        text: String,
    },
    /// The file is not in the cache, and no connection may be opened.
    Offline {
        /// Where it would be.
        path: PathBuf,
    },
    /// The repository lacks the file, as the hub has said before.
    Absent {
        /// The cache's record of it.
        record: PathBuf,
    },
    /// The hub's answer was not the file.
    Status {
        /// What was asked for.
        url: String,
        /// The answer's status.
        status: u16,
    },
    /// The hub's answer lacks something, or has something strange.
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection failed.
    Connection {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The hub sends nothing any more, or next to nothing.
    Stalled {
        /// What was asked for.
        url: String,
    },
    /// The bytes that came are not the file, or not all of it.
    Content {
        /// What was asked for.
        url: String,
        /// The hash or length that the hub states.
        expected: String,
        /// The hash or length of what came.
        found: String,
    },
    /// The cache cannot be read or written.
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { text } => write!(
                f,
                "'{text}' is not the name of a repository: expected ORG/NAME or ORG/NAME@REVISION"
            ),
            Self::Offline { path } => write!(
                f,
                "{} is not in the cache: leave --offline out to download it",
                path.display()
            ),
            Self::Absent { record } => write!(
                f,
                "{}: the cache knows that the repository has no such file: check the name; without --offline a branch is \
                 asked again",
                record.display()
            ),
            Self::Status { url, status: status @ (401 | 404) } => write!(
                f,
                "{url}: there is no such file for the public (status {status}): check the name"
            ),
            Self::Status { url, status } => write!(f, "{url}: status {status}: try again later"),
            Self::Answer { url, reason } => write!(f, "{url}: {reason}"),
            Self::Connection { url, source } => write!(
                f,
                "{url}: {source}: check the connection, or give --weights a file that you have"
            ),
            Self::Stalled { url } => write!(
                f,
                "{url}: nothing, or next to nothing, came for too long: try again; what has been downloaded is kept"
            ),
            Self::Content { url, expected, found } => write!(
                f,
                "{url}: expected {expected}, got {found}: the download was cut off or damaged, try \
                 again"
            ),
            Self::Io { path, source } => write!(f, "the hub's cache: {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for HubError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connection { source, .. } => Some(source),
            Self::Io { source, .. } => Some(source),
            Self::Name { .. }
            | Self::Offline { .. }
            | Self::Absent { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Stalled { .. }
            | Self::Content { .. } => None,
        }
    }
}

impl HubError {
    /// Whether the repository lacks the file.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Status { status: 404, .. })
    }
}

/// A function that names the path in an error of the system.
fn at(path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Io { path, source }
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
    /// How long the hub may send nothing before it is given up.
    pub patience: Duration,
}

impl Hub {
    /// The path of the first of the repository's files `names` that is in the cache; of the first that the hub has,
    /// downloaded, if none is.
    ///
    /// # Panics
    /// If there are no names.
    pub fn first_file(&self, repo: &Repo, names: &[&str]) -> Result<PathBuf, HubError> {
        let mut places = names.iter().map(|name| self.place(repo, name));
        if let Some(cached) = places.find(|path| path.is_file()) {
            return Ok(cached);
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
        if cached.is_file() {
            return Ok(cached);
        }
        let commit = self.commit(repo);
        let record = self.absence(repo, &commit, name);
        if (self.offline || commit == repo.revision) && record.is_file() {
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
        if !path.is_file() {
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
        // Whatever has the name already, a link perhaps, is not written to.
        let _ = fs::remove_file(&written);
        let write = || File::create_new(&written)?.write_all(commit.as_bytes());
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

/// What the hub says about a name.
enum Described {
    File(Remote),
    /// There is no such file, in this commit where the hub knows the revision.
    Missing {
        commit: Option<String>,
    },
}

/// What the hub says about a file.
struct Remote {
    url: String,
    commit: String,
    /// The SHA-256 of a large file, git's SHA-1 of a small one; something else where the hub is not the one we know.
    etag: String,
    length: Option<u64>,
}

impl Remote {
    /// Asks for the file's description: the answer before the hub sends us elsewhere for the bytes.
    fn describe(url: &str, patience: Duration) -> Result<Described, HubError> {
        let agent = agent(0, patience);
        let mut at = url.to_owned();
        for _ in 0..HOPS {
            let request = agent.head(&at).header(header::ACCEPT_ENCODING, "identity");
            let answer = request.call().map_err(|error| failed(&at, error))?;
            let status = answer.status();
            match text(answer.headers(), "location") {
                Some(location) if status.is_redirection() && location.starts_with('/') => {
                    at = format!("{}{location}", origin(url));
                }
                _ if status.is_success() || status.is_redirection() => {
                    return Ok(Described::File(Self::read(url, &answer)?));
                }
                _ if status == 404 => {
                    return Ok(Described::Missing { commit: commit(answer.headers()) });
                }
                _ => return Err(HubError::Status { url: at, status: status.as_u16() }),
            }
        }
        let reason = "it is redirected in circles".to_owned();
        Err(HubError::Answer { url: url.to_owned(), reason })
    }

    fn read<T>(url: &str, answer: &Response<T>) -> Result<Self, HubError> {
        let headers = answer.headers();
        let missing = |what: &str| HubError::Answer {
            url: url.to_owned(),
            reason: format!("the answer has no usable {what}: is this the hub's address?"),
        };
        let linked = |large: &str, small: &str| {
            text(headers, large).or_else(|| text(headers, small)).map(str::to_owned)
        };
        let etag = linked("x-linked-etag", "etag").ok_or_else(|| missing("ETag"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let commit = commit(headers).ok_or_else(|| missing("X-Repo-Commit"))?;
        if !is_hex(&etag) {
            return Err(missing("ETag"));
        }
        let length = linked("x-linked-size", "content-length").and_then(|n| n.parse().ok());
        Ok(Self { url: url.to_owned(), commit, etag, length })
    }

    /// Brings the file to `path`, after what is there already.
    fn fetch(&self, path: &Path, patience: Duration) -> Result<(), HubError> {
        let have = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut request =
            agent(10, patience).get(&self.url).header(header::ACCEPT_ENCODING, "identity");
        if have > 0 {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let answer = request.call().map_err(|error| failed(&self.url, error))?;
        let continued = answer.status() == 206;
        // 416: nothing lies beyond what is there.
        if answer.status() == 416 && self.length == Some(have) {
            return Ok(());
        }
        if !answer.status().is_success() {
            if answer.status() == 416 {
                // What is there is longer than the file.
                let _ = fs::remove_file(path);
            }
            return Err(HubError::Status {
                url: self.url.clone(),
                status: answer.status().as_u16(),
            });
        }
        let mut file = File::options()
            .create(true)
            .write(true)
            .append(continued)
            .truncate(!continued)
            .open(path)
            .map_err(at(path))?;
        let limit = self.length.unwrap_or(u64::MAX).saturating_add(1);
        let mut body = answer.into_body().into_reader().take(limit);
        let mut buffer = vec![0; BUFFER];
        let (mut since, mut came) = (Instant::now(), 0_u64);
        loop {
            if since.elapsed() > patience {
                if (came as f64) < SLOWEST * patience.as_secs_f64() {
                    return Err(HubError::Stalled { url: self.url.clone() });
                }
                (since, came) = (Instant::now(), 0);
            }
            match body.read(&mut buffer).map_err(|error| failed(&self.url, error.into()))? {
                0 => return file.sync_all().map_err(at(path)),
                length => {
                    file.write_all(&buffer[..length]).map_err(at(path))?;
                    came += length as u64;
                }
            }
        }
    }

    /// Compares length and hash. What is too short stays, to be continued; what is wrong is deleted.
    fn verify(&self, path: &Path) -> Result<(), HubError> {
        let found = fs::metadata(path).map_err(at(path))?.len();
        let wrong = |expected: String, found: String| HubError::Content {
            url: self.url.clone(),
            expected,
            found,
        };
        if let Some(expected) = self.length
            && found != expected
        {
            if found > expected {
                fs::remove_file(path).map_err(at(path))?;
            }
            return Err(wrong(format!("{expected} bytes"), format!("{found} bytes")));
        }
        let sum = match self.etag.len() {
            GIT_DIGITS => hash(Sha1::new_with_prefix(format!("blob {found}\0")), path),
            SHA256_DIGITS => hash(Sha256::new(), path),
            _ => return Ok(()),
        };
        let sum = sum.map_err(at(path))?;
        if !sum.eq_ignore_ascii_case(&self.etag) {
            fs::remove_file(path).map_err(at(path))?;
            return Err(wrong(format!("a file with hash {}", self.etag), sum));
        }
        Ok(())
    }
}

fn agent(redirects: u32, patience: Duration) -> Agent {
    let patience = Some(patience);
    Agent::config_builder()
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .http_status_as_error(false)
        .timeout_connect(patience)
        .timeout_recv_response(patience)
        .timeout_per_read(patience)
        .user_agent(concat!("top5/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn failed(url: &str, error: ureq::Error) -> HubError {
    let url = url.to_owned();
    let stalled = matches!(error, ureq::Error::Timeout(Timeout::PerRead | Timeout::RecvResponse));
    if stalled {
        HubError::Stalled { url }
    } else {
        HubError::Connection { url, source: Box::new(error) }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The commit that an answer is about.
fn commit(headers: &HeaderMap) -> Option<String> {
    text(headers, "x-repo-commit").filter(|commit| is_hex(commit)).map(str::to_owned)
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |slash| &url[..host + slash])
}

/// Whether this can be a hash, and so a file's name.
fn is_hex(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn make_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Opens a file of the cache to be written, made where it is missing.
fn own_file(path: &Path) -> Result<File, HubError> {
    check_own(path)?;
    File::options().create(true).write(true).truncate(false).open(path).map_err(at(path))
}

/// Fails where a file that is to be written is a link, a device or a pipe, or has other names.
fn check_own(path: &Path) -> Result<(), HubError> {
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

/// Makes the snapshot's file: a relative link to the blob, or a copy where there are no links.
fn link(blob: &Path, path: &Path) -> Result<(), HubError> {
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
fn hash<D: Digest>(mut hasher: D, path: &Path) -> io::Result<String> {
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
