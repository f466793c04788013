//! The hub's client against a server of our own on the loopback.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};
use top5_hub::{Hub, HubError, Repo};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const PATIENCE: Duration = Duration::from_secs(30);
const BODY: &[u8] =
    b"weights, or what stands for them in this test: some bytes to cut and to damage";

/// A small file, and git's hash of it as `git hash-object` says.
const CONFIG: &[u8] = b"{}\n";
const CONFIG_HASH: &str = "0967ef424bce6791893e9a57bb952f80fd536e93";

/// How the server misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Half of the body is sent, once.
    Cut,
    /// Half of the body is sent, once, and then nothing, over a connection that stays open.
    Stalled,
    /// The body comes byte by byte.
    Trickling,
    /// The body is not what its hash says.
    Damaged,
    /// The hub gives a tag that is no hash.
    Unsigned,
    /// The hub does not say how long the file is.
    Endless,
    Missing,
    /// The repository has no files yet.
    Empty,
    /// The body cannot be had now.
    Busy,
}

/// A server with two files of `org/net` at `main`: a large one, `model.safetensors`, kept elsewhere as the hub keeps large
/// files, and a small one, `small.json`.
struct Server {
    endpoint: String,
    requests: Arc<AtomicUsize>,
    ranges: Arc<Mutex<Vec<String>>>,
    fault: Arc<Mutex<Fault>>,
}

impl Server {
    fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            requests: Arc::default(),
            ranges: Arc::default(),
            fault: Arc::new(Mutex::new(fault)),
        };
        let (requests, ranges) = (Arc::clone(&server.requests), Arc::clone(&server.ranges));
        let fault = Arc::clone(&server.fault);
        thread::spawn(move || {
            for stream in listener.incoming() {
                requests.fetch_add(1, Ordering::Relaxed);
                let _ = answer(stream.unwrap(), &ranges, &fault);
            }
        });
        server
    }

    fn hub(&self, cache: &Path, offline: bool) -> Hub {
        let (cache, endpoint) = (cache.to_owned(), self.endpoint.clone());
        Hub { cache, endpoint, offline, patience: PATIENCE }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(
    mut stream: TcpStream,
    ranges: &Mutex<Vec<String>>,
    fault: &Mutex<Fault>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut fault = fault.lock().unwrap();
    let tag = if *fault == Fault::Unsigned { "abc123".to_owned() } else { hex(BODY) };
    let endless = *fault == Fault::Endless;
    let size = if endless { String::new() } else { format!("X-Linked-Size: {}\r\n", BODY.len()) };
    let described = format!("X-Repo-Commit: {COMMIT}\r\n{size}X-Linked-ETag: \"{tag}\"\r\n");
    let commit = format!("X-Repo-Commit: {COMMIT}\r\n");
    let head = |status: &str, headers: &str, length: usize| {
        format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    match (method, path) {
        _ if *fault == Fault::Missing => stream.write_all(head("404 Not Found", "", 0).as_bytes()),
        _ if *fault == Fault::Empty => {
            stream.write_all(head("404 Not Found", &commit, 0).as_bytes())
        }
        (_, "/org/net/resolve/main/small.json") => {
            let described = format!("X-Repo-Commit: {COMMIT}\r\nETag: W/\"{CONFIG_HASH}\"\r\n");
            let mut body = CONFIG.to_vec();
            body[0] ^= u8::from(*fault == Fault::Damaged);
            stream.write_all(head("200 OK", &described, body.len()).as_bytes())?;
            stream.write_all(if method == "GET" { &body } else { &[] })
        }
        ("HEAD", "/org/net/resolve/main/model.safetensors") => {
            let moved = "Location: /api/org/net/main/model.safetensors\r\n";
            stream.write_all(head("307 Temporary Redirect", moved, 0).as_bytes())
        }
        ("HEAD", "/api/org/net/main/model.safetensors") => {
            let moved = format!("{described}Location: http://127.0.0.1:1/not/asked\r\n");
            let answer = head("302 Found", &moved, 0);
            let answer = if endless { answer.replace("Content-Length: 0\r\n", "") } else { answer };
            stream.write_all(answer.as_bytes())
        }
        ("GET", "/org/net/resolve/main/model.safetensors") => {
            let moved = "Location: /blob\r\n";
            stream.write_all(head("302 Found", moved, 0).as_bytes())
        }
        (_, "/blob") if *fault == Fault::Busy => {
            stream.write_all(head("503 Service Unavailable", "", 0).as_bytes())
        }
        (_, "/blob") => {
            let mut body = BODY.to_vec();
            if *fault == Fault::Damaged {
                body[7] ^= 1;
            }
            let range = headers.get("range").cloned().unwrap_or_default();
            let start: usize = range
                .strip_prefix("bytes=")
                .and_then(|range| range.strip_suffix('-'))
                .map_or(0, |start| start.parse().unwrap());
            ranges.lock().unwrap().push(range);
            let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
            stream.write_all(head(status, "", body.len() - start).as_bytes())?;
            if *fault == Fault::Trickling {
                return body.iter().try_for_each(|byte| {
                    thread::sleep(Duration::from_millis(100));
                    stream.write_all(&[*byte])
                });
            }
            let once = matches!(*fault, Fault::Cut | Fault::Stalled);
            let end = if once { body.len() / 2 } else { body.len() };
            stream.write_all(&body[start..end])?;
            if *fault == Fault::Stalled {
                // A stream that is dropped is closed.
                std::mem::forget(stream);
            }
            if once {
                *fault = Fault::None;
            }
            Ok(())
        }
        _ => stream.write_all(head("404 Not Found", &commit, 0).as_bytes()),
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn repo() -> Repo {
    "org/net".parse().unwrap()
}

const FILE: &str = "model.safetensors";

#[test]
fn download_has_the_standard_layout_and_happens_once() {
    let (server, cache) = (Server::start(Fault::None), tempfile::tempdir().unwrap());
    let path = server.hub(cache.path(), false).file(&repo(), FILE).unwrap();
    let folder = cache.path().join("models--org--net");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join(FILE));
    assert_eq!(fs::read(&path).unwrap(), BODY);
    assert_eq!(fs::read(folder.join("blobs").join(hex(BODY))).unwrap(), BODY);
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../../blobs").join(hex(BODY)));

    let before = server.requests();
    for offline in [false, true] {
        assert_eq!(server.hub(cache.path(), offline).file(&repo(), FILE).unwrap(), path);
    }
    assert_eq!(server.requests(), before);
}

#[test]
fn offline_opens_no_connection() {
    let (server, cache) = (Server::start(Fault::None), tempfile::tempdir().unwrap());
    let error = server.hub(cache.path(), true).file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert_eq!(server.requests(), 0);
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
}

#[test]
fn damaged_download_never_gets_its_name() {
    let (server, cache) = (Server::start(Fault::Damaged), tempfile::tempdir().unwrap());
    let hub = server.hub(cache.path(), false);
    for (name, bytes, hash) in [(FILE, BODY, &*hex(BODY)), ("small.json", CONFIG, CONFIG_HASH)] {
        *server.fault.lock().unwrap() = Fault::Damaged;
        let error = hub.file(&repo(), name).unwrap_err();
        assert!(
            matches!(&error, HubError::Content { expected, .. } if expected.contains(hash)),
            "{error}"
        );
        let blob = cache.path().join("models--org--net/blobs").join(hash);
        assert!(!blob.exists() && !blob.with_extension("incomplete").exists(), "{name}");
        *server.fault.lock().unwrap() = Fault::None;
        assert_eq!(fs::read(hub.file(&repo(), name).unwrap()).unwrap(), bytes);
        assert!(blob.is_file(), "{name}");
    }
}

#[test]
fn cut_download_is_continued() {
    let (server, cache) = (Server::start(Fault::Cut), tempfile::tempdir().unwrap());
    let hub = server.hub(cache.path(), false);
    hub.file(&repo(), FILE).unwrap_err();
    *server.fault.lock().unwrap() = Fault::Busy;
    let error = hub.file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 503, .. }), "{error}");
    *server.fault.lock().unwrap() = Fault::None;
    assert_eq!(fs::read(hub.file(&repo(), FILE).unwrap()).unwrap(), BODY);
    let range = format!("bytes={}-", BODY.len() / 2);
    assert_eq!(*server.ranges.lock().unwrap(), [String::new(), range]);
}

#[test]
fn stalled_download_is_given_up_and_continued() {
    let (server, cache) = (Server::start(Fault::Stalled), tempfile::tempdir().unwrap());
    let hub = server.hub(cache.path(), false);
    let hasty = Hub { patience: Duration::from_secs(1), ..hub.clone() };
    let error = hasty.file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Stalled { .. }), "{error}");
    assert_eq!(fs::read(hub.file(&repo(), FILE).unwrap()).unwrap(), BODY);
    let range = format!("bytes={}-", BODY.len() / 2);
    assert_eq!(*server.ranges.lock().unwrap(), [String::new(), range]);
}

#[test]
fn file_that_cannot_be_checked_is_refused() {
    for (fault, word) in [(Fault::Unsigned, "ETag"), (Fault::Endless, "length")] {
        let (server, cache) = (Server::start(fault), tempfile::tempdir().unwrap());
        let error = server.hub(cache.path(), false).file(&repo(), FILE).unwrap_err();
        assert!(
            matches!(&error, HubError::Answer { reason, .. } if reason.contains(word)),
            "{error}"
        );
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }
}

#[test]
fn download_that_trickles_is_given_up() {
    let (server, cache) = (Server::start(Fault::Trickling), tempfile::tempdir().unwrap());
    let hasty = Hub { patience: Duration::from_secs(1), ..server.hub(cache.path(), false) };
    let error = hasty.file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Stalled { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn links_in_a_cache_are_not_written_through() {
    use std::os::unix::fs::symlink;
    let (server, cache) = (Server::start(Fault::None), tempfile::tempdir().unwrap());
    let hub = server.hub(&cache.path().join("hub"), false);
    let victim = cache.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let (repository, hash) = ("models--org--net", hex(BODY));
    let incomplete = hub.cache.join(repository).join("blobs").join(format!("{hash}.incomplete"));
    let lock = hub.cache.join(".locks").join(repository).join(format!("{hash}.lock"));
    for (path, hard) in [(&incomplete, false), (&lock, false), (&incomplete, true), (&lock, true)] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // An earlier call has made the lock.
        let _ = fs::remove_file(path);
        match hard {
            true => fs::hard_link(&victim, path).unwrap(),
            false => symlink(&victim, path).unwrap(),
        }
        let error = hub.file(&repo(), FILE).unwrap_err().to_string();
        assert!(error.contains("remove it") && error.contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        fs::remove_file(path).unwrap();
    }
    assert_eq!(fs::read(hub.file(&repo(), FILE).unwrap()).unwrap(), BODY);
}

#[test]
fn missing_file_is_told_from_a_failing_hub() {
    let (server, cache) = (Server::start(Fault::Missing), tempfile::tempdir().unwrap());
    let error = server.hub(cache.path(), false).file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 404, .. }), "{error}");
    let nobody = Hub {
        cache: cache.path().to_owned(),
        endpoint: "http://127.0.0.1:1".to_owned(),
        offline: false,
        patience: PATIENCE,
    };
    let error = nobody.file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Connection { .. }), "{error}");
}

#[test]
fn absence_is_known_offline_and_asked_for_again_online() {
    let (server, cache) = (Server::start(Fault::Empty), tempfile::tempdir().unwrap());
    let [online, offline] = [false, true].map(|offline| server.hub(cache.path(), offline));
    let error = online.file(&repo(), FILE).unwrap_err();
    assert!(matches!(error, HubError::Status { status: 404, .. }), "{error}");
    let folder = cache.path().join("models--org--net");
    let record = folder.join(".no_exist").join(COMMIT).join(FILE);
    assert!(record.is_file());
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);

    let before = server.requests();
    let commit: Repo = format!("org/net@{COMMIT}").parse().unwrap();
    for (hub, repo) in [(&offline, &repo()), (&offline, &commit), (&online, &commit)] {
        for error in [hub.file(repo, FILE), hub.first_file(repo, &[FILE])].map(Result::unwrap_err) {
            assert!(matches!(&error, HubError::Absent { record: r } if *r == record), "{error}");
            assert!(error.to_string().contains("the cache knows"), "{error}");
        }
    }
    let other: Repo = "org/net@other".parse().unwrap();
    let error = offline.file(&other, FILE).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert_eq!(server.requests(), before);

    *server.fault.lock().unwrap() = Fault::None;
    let path = online.first_file(&repo(), &[FILE]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), BODY);
    assert_eq!(offline.file(&repo(), FILE).unwrap(), path);
}

#[test]
fn names_that_leave_the_cache_are_rejected() {
    for name in ["net", "a/b/c", "../b", "a/..", "a/b@../../x", "a/b@", "/b", "a b/c", "a/b--c", ""]
    {
        let error = name.parse::<Repo>().unwrap_err();
        assert!(matches!(&error, HubError::Name { text } if text == name), "{error}");
    }
    let repo: Repo = "timm/resnet50.tv_in1k@refs/pr/1".parse().unwrap();
    assert_eq!((repo.id.as_str(), repo.revision.as_str()), ("timm/resnet50.tv_in1k", "refs/pr/1"));
}
