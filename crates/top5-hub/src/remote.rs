//! A file at the hub: what the hub says about it, its bytes, and whether they are what it said.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use sha1::Sha1;
use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Timeout};

use crate::cache::{BUFFER, at, create, hash};
use crate::error::HubError;

/// Redirections that a file's description may take within the hub.
const HOPS: usize = 5;
/// Digits of git's hashes.
const GIT_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;
/// Bytes of a download that must come in a second, on average over as long as it may send nothing.
const SLOWEST: f64 = 8192.0;

/// What the hub says about a name.
pub(crate) enum Described {
    File(Remote),
    /// There is no such file, in this commit where the hub knows the revision.
    Missing {
        commit: Option<String>,
    },
}

/// What the hub says about a file.
pub(crate) struct Remote {
    url: String,
    pub(crate) commit: String,
    /// The SHA-256 of a large file, git's SHA-1 of a small one.
    pub(crate) etag: String,
    length: u64,
}

impl Remote {
    /// Asks for the file's description: the answer before the hub sends us elsewhere for the bytes.
    pub(crate) fn describe(url: &str, patience: Duration) -> Result<Described, HubError> {
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
        if !is_hex(&etag) || ![GIT_DIGITS, SHA256_DIGITS].contains(&etag.len()) {
            return Err(missing("ETag, by which the file could be checked"));
        }
        let length = linked("x-linked-size", "content-length").and_then(|n| n.parse().ok());
        let length = length.ok_or_else(|| missing("length"))?;
        Ok(Self { url: url.to_owned(), commit, etag, length })
    }

    /// Brings the file to `path`, after what is there already.
    pub(crate) fn fetch(&self, path: &Path, patience: Duration) -> Result<(), HubError> {
        let have = fs::metadata(path).map_or(0, |metadata| metadata.len());
        if have == self.length {
            return Ok(());
        }
        let mut request =
            agent(10, patience).get(&self.url).header(header::ACCEPT_ENCODING, "identity");
        if (1..self.length).contains(&have) {
            request = request.header(header::RANGE, format!("bytes={have}-"));
        }
        let answer = request.call().map_err(|error| failed(&self.url, error))?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(HubError::Status { url: self.url.clone(), status });
        }
        let file = match answer.status().as_u16() {
            206 => File::options().append(true).open(path),
            _ => create(path),
        };
        let mut file = file.map_err(at(path))?;
        // One byte more than there should be tells that there is more.
        let body = answer.into_body().into_reader().take(self.length.saturating_add(1));
        self.copy(body, &mut file, path, patience)?;
        file.sync_all().map_err(at(path))
    }

    /// Writes what comes, as long as enough comes within `patience`.
    fn copy(
        &self,
        mut body: impl Read,
        file: &mut File,
        path: &Path,
        patience: Duration,
    ) -> Result<(), HubError> {
        let mut buffer = vec![0; BUFFER];
        let (mut since, mut came) = (Instant::now(), 0);
        loop {
            let length = body.read(&mut buffer).map_err(|error| failed(&self.url, error.into()))?;
            if length == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..length]).map_err(at(path))?;
            came += length;
            if since.elapsed() >= patience {
                if (came as f64) < SLOWEST * patience.as_secs_f64() {
                    return Err(HubError::Stalled { url: self.url.clone() });
                }
                (since, came) = (Instant::now(), 0);
            }
        }
    }

    /// Compares length and hash. What is too short stays, to be continued; what is wrong is deleted.
    pub(crate) fn verify(&self, path: &Path) -> Result<(), HubError> {
        let found = fs::metadata(path).map_err(at(path))?.len();
        let wrong = |expected: String, found: String| HubError::Content {
            url: self.url.clone(),
            expected,
            found,
        };
        let expected = self.length;
        if found != expected {
            if found > expected {
                fs::remove_file(path).map_err(at(path))?;
            }
            return Err(wrong(format!("{expected} bytes"), format!("{found} bytes")));
        }
        let sum = match self.etag.len() {
            GIT_DIGITS => hash(Sha1::new_with_prefix(format!("blob {found}\0")), path),
            _ => hash(Sha256::new(), path),
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
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_send_request(patience)
        .timeout_recv_response(patience)
        .timeout_per_read(patience)
        .user_agent(concat!("top5/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

fn failed(url: &str, error: ureq::Error) -> HubError {
    let url = url.to_owned();
    let stalled = matches!(
        error,
        ureq::Error::Timeout(Timeout::PerRead | Timeout::SendRequest | Timeout::RecvResponse)
    );
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
pub(crate) fn is_hex(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
