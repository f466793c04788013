//! A client that sends bytes as they are, and a server of the embedded LeNet on a port of its own.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use top5::data::Image;
use top5::graph::Stop;
use top5::{Model, Options as Engine};
use top5_serve::{Options, Server};

/// A server, ended with the test.
pub(crate) struct Running {
    address: SocketAddr,
    pub(crate) stop: Stop,
    thread: Option<JoinHandle<()>>,
}

/// A server with the defaults.
pub(crate) fn start() -> Running {
    start_with(Options::default())
}

/// A server that does not run yet.
pub(crate) fn server_of(options: Options) -> Server {
    server_with("lenet-digits", Model::lenet_digits().unwrap(), options)
}

/// The same of another model.
pub(crate) fn server_with(name: &str, model: Model, options: Options) -> Server {
    let device = top5::device(&Engine { threads: Some(1), ..Engine::default() }).unwrap();
    Server::new(vec![(name.to_owned(), model)], Arc::new(device), options).unwrap()
}

pub(crate) fn start_with(options: Options) -> Running {
    Running::of(server_of(options))
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            // A failed test says more than what it did to the server.
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

impl Running {
    /// Runs a server.
    pub(crate) fn of(server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Stop::new();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || server.run(listener, &stop).unwrap()
        });
        Self { address, stop, thread: Some(thread) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends a request and reads its response.
    pub(crate) fn ask(&self, request: &[u8]) -> Response {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        Response::read(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    /// A counter of the model.
    pub(crate) fn count(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Asks again until it is so.
    #[track_caller]
    pub(crate) fn until(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..400 {
            if done(self) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("it never came to be so");
    }

    /// Waits for its end.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads a response whose length is told.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut response = Self { status, head, body: Vec::new() };
        response.body = vec![0; response.header("content-length").unwrap().parse().unwrap()];
        stream.read_exact(&mut response.body).unwrap();
        response
    }

    /// Reads a response that is sent in chunks on a connection of its own.
    pub(crate) fn read_chunks(stream: &mut TcpStream) -> Self {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (mut rest, mut body) = (&all[end..], Vec::new());
        loop {
            let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            let length = std::str::from_utf8(&rest[..line]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            if length == 0 {
                return Self { status, head, body };
            }
            body.extend_from_slice(&rest[line + 2..line + 2 + length]);
            rest = &rest[line + 2 + length + 2..];
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A request with a body.
pub(crate) fn post(path: &str, body: &[u8]) -> Vec<u8> {
    post_with(path, "", body)
}

pub(crate) fn post_with(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut head = String::new();
    let length = body.len();
    write!(
        head,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
    .unwrap();
    [head.as_bytes(), body].concat()
}

/// An embedded test digit.
pub(crate) fn digit(index: usize) -> Image {
    top5::data::digits().test.unwrap().sample(index).unwrap().image
}

/// A gray image as a file.
pub(crate) fn pgm(image: &Image) -> Vec<u8> {
    let mut file = format!("P5 {} {} 255\n", image.width, image.height).into_bytes();
    file.extend(&image.pixels);
    file
}
