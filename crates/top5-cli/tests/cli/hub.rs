//! Models from the hub, as a user asks for them: from its cache without a socket, and from a server on the loopback.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use top5::Model;
use top5_testkit::files::Stored;
use top5_testkit::files::torch::{Around, Container, checkpoint};

use crate::program::{Place, Ran};

const COMMIT: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A checkpoint of the embedded LeNet, and the LeNet.
fn lenet() -> (Vec<u8>, Model) {
    let model = Model::lenet_digits().unwrap();
    let bytes = checkpoint(&model.weights, Stored::F32, Container::EarlyZip, Around::Training);
    (bytes, model)
}

/// A blob and a link to it, as the hub's own tools make them.
#[cfg(unix)]
fn cached(place: &Place, name: &str, bytes: &[u8]) {
    let folder = place.path("hub/models--org--net");
    let hash = top5::sha256(bytes);
    for part in ["blobs", "refs", "snapshots"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    fs::create_dir_all(folder.join("snapshots").join(COMMIT)).unwrap();
    fs::write(folder.join("blobs").join(&hash), bytes).unwrap();
    fs::write(folder.join("refs/main"), COMMIT).unwrap();
    let link = folder.join("snapshots").join(COMMIT).join(name);
    std::os::unix::fs::symlink(Path::new("../../blobs").join(hash), link).unwrap();
}

/// Whether the system calls of a program can be listed here. Where a CI runs, the program that does must be there; some
/// systems forbid it to look.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn strace() -> bool {
    let succeeds = |arguments: &[&str]| {
        let mut strace = Command::new("strace");
        let output = strace.args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    let installed = succeeds(&["--version"]);
    assert!(installed || std::env::var_os("CI").is_none(), "strace is missing: install it");
    let works = installed && succeeds(&["-o", "/dev/null", "true"]);
    if !works {
        eprintln!("skipped: strace is missing or may not trace");
    }
    works
}

#[cfg(target_os = "linux")]
#[test]
fn offline_opens_no_socket() {
    if !strace() {
        return;
    }
    let place = Place::new();
    let (bytes, model) = lenet();
    cached(&place, "pytorch_model.bin", &bytes);
    cached(&place, "config.json", &model.to_timm_config());
    let options = ["-f", "-e", "trace=network", "-o", "calls"];
    let calls = |line: &str, code: i32| {
        let ran = place.run_under("strace", &options, line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        fs::read_to_string(place.path("calls")).unwrap()
    };
    let line = "convert hf-hub:org/net out.safetensors --force";
    for (line, code) in [
        (format!("{line} --offline"), 0),
        (line.to_owned(), 0), // what is in the cache needs no connection either
        ("convert hf-hub:org/other out.safetensors --offline".to_owned(), 4),
    ] {
        let calls = calls(&line, code);
        assert!(!calls.contains("socket(") && !calls.contains("connect("), "{line}: {calls}");
        assert!(calls.contains("exited with"), "{line}: nothing was traced: {calls}");
    }
    assert_eq!(Model::load(place.path("out.safetensors")).unwrap().weights, model.weights);
    // The same watch sees a program that does connect.
    let online = place.run_under(
        "env",
        &[
            "HF_ENDPOINT=http://127.0.0.1:1",
            "strace",
            options[0],
            options[1],
            options[2],
            options[3],
            options[4],
        ],
        "convert hf-hub:org/other o.safetensors",
    );
    assert_eq!(online.code, Some(4), "{online:?}");
    assert!(fs::read_to_string(place.path("calls")).unwrap().contains("socket("));
}

/// A server with the files of `org/net` at `main`; of a large file, the first answer stops in the middle when `stall` is set.
struct Server {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(files: Vec<(&'static str, Vec<u8>)>, stall: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let stall = Arc::new(Mutex::new(stall));
        let files = Arc::new(files);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, seen, stall) =
                    (Arc::clone(&files), Arc::clone(&seen), Arc::clone(&stall));
                thread::spawn(move || answer(stream.unwrap(), &files, &seen, &stall));
            }
        });
        Self { address, requests }
    }

    fn run(&self, place: &Place, line: &str) -> Ran {
        place.run_under("env", &[&format!("HF_ENDPOINT={}/", self.address)], line)
    }
}

fn answer(
    mut stream: TcpStream,
    files: &[(&'static str, Vec<u8>)],
    seen: &Mutex<Vec<String>>,
    stall: &Mutex<bool>,
) -> std::io::Result<()> {
    let mut start = 0;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            start = range.trim_end_matches('-').parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    seen.lock().unwrap().push(format!("{method} {path} {start}"));
    let file = files.iter().find(|(name, _)| path == format!("/org/net/resolve/main/{name}"));
    let Some((_, bytes)) = file else {
        let head = format!(
            "HTTP/1.1 404 Not Found\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        return stream.write_all(head.as_bytes());
    };
    let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    let head = format!(
        "HTTP/1.1 {status}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{}\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        top5::sha256(bytes),
        bytes.len() - start
    );
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    if bytes.len() > 10_000 && std::mem::take(&mut *stall.lock().unwrap()) {
        stream.write_all(&bytes[..bytes.len() / 2])?;
        stream.flush()?;
        thread::sleep(Duration::from_secs(600));
    }
    stream.write_all(&bytes[start..])
}

#[test]
fn repository_with_a_pytorch_file_only_is_downloaded() {
    let place = Place::new();
    let (bytes, model) = lenet();
    let hash = top5::sha256(&bytes);
    let files = vec![("config.json", model.to_timm_config()), ("pytorch_model.bin", bytes)];
    let server = Server::start(files, false);
    let ran = server.run(&place, "convert hf-hub:org/net out.safetensors");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(Model::load(place.path("out.safetensors")).unwrap().weights, model.weights);
    let folder = place.path("hub/models--org--net");
    assert!(folder.join("blobs").join(hash).is_file());
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(fs::read_dir(folder.join("refs")).unwrap().count(), 1);
    let before = server.requests.lock().unwrap().len();
    let again = server.run(&place, "convert hf-hub:org/net again.safetensors");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(server.requests.lock().unwrap().len(), before);
}

#[test]
fn repository_without_a_description_needs_the_networks_name_or_recognisable_tensors() {
    let place = Place::new();
    let (bytes, model) = lenet();
    let server = Server::start(vec![("model.pth", bytes)], false);
    let line = "convert lenet out.safetensors --force --weights hf-hub:org/net";
    for more in ["", " --offline"] {
        let ran = server.run(&place, &format!("{line}{more}"));
        assert_eq!(ran.code, Some(0), "{more}: {ran:?}");
    }
    assert_eq!(Model::load(place.path("out.safetensors")).unwrap().weights, model.weights);
    let nothing = Server::start(Vec::new(), false);
    let ran = nothing.run(&Place::new(), "convert lenet out.safetensors --weights hf-hub:org/net");
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("model.safetensors"), "{ran:?}");
}

fn blobs(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.path("hub/models--org--net/blobs")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn killed_download_leaves_no_half_of_a_file_and_is_continued() {
    let place = Place::new();
    let (bytes, model) = lenet();
    let (hash, half) = (top5::sha256(&bytes), bytes.len() as u64 / 2);
    let server = Server::start(vec![("pytorch_model.bin", bytes)], true);
    let line = "convert lenet out.safetensors --weights hf-hub:org/net";
    let mut command = place.command(line);
    command.env("HF_ENDPOINT", &server.address).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let incomplete = place.path("hub/models--org--net/blobs").join(format!("{hash}.incomplete"));
    while fs::metadata(&incomplete).map_or(0, |metadata| metadata.len()) < half {
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(blobs(&place), [incomplete]);
    assert!(!place.path("hub/models--org--net/snapshots").exists());
    let offline = place.run(&format!("{line} --offline"));
    assert_eq!(offline.code, Some(4), "{offline:?}");
    let ran = server.run(&place, line);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(Model::load(place.path("out.safetensors")).unwrap().weights, model.weights);
    assert!(blobs(&place)[0].ends_with(hash));
    let continued = format!("GET /org/net/resolve/main/pytorch_model.bin {half}");
    assert!(server.requests.lock().unwrap().contains(&continued), "{:?}", server.requests);
}
