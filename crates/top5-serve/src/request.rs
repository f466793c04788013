//! What a request says beside its path: its body, read within limits of size and time, and its query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Request, StatusCode};
use tokio::time::{timeout, timeout_at};

use crate::app::{App, Held};
use crate::failure::Failure;
use crate::form::{file, is_form};

/// The slowest that a client may send and read, in bytes per second, once its first seconds are over.
const SLOWEST: u64 = 16 << 10;
/// How long, and of how many bytes, a body that nobody wants is thrown away, so that its client hears why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// A body that comes.
pub(crate) struct Coming {
    body: Incoming,
    /// Whether its client waits to be asked for it (`Expect: 100-continue`).
    waits: bool,
}

impl Coming {
    pub(crate) fn of(request: Request<Incoming>) -> Request<Self> {
        let waits = request.headers().contains_key(header::EXPECT);
        request.map(|body| Self { body, waits })
    }

    /// The next piece, for which the client is asked.
    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        self.waits = false;
        self.body.frame().await
    }

    /// Reads on for a moment unless all was read: a client that still sends would not see an answer.
    pub(crate) async fn throw_away(&mut self) {
        if self.waits {
            return;
        }
        let read = async {
            let mut left = LINGER_BYTES;
            while let Some(Ok(frame)) = self.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
                if left == 0 {
                    break;
                }
            }
        };
        // Late or not, the answer is the same.
        let _ = timeout(LINGER, read).await;
    }
}

/// A body, and what it takes of the memory that all of them have.
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    /// Dropped with the bytes.
    pub(crate) held: Held,
}

impl Received {
    /// The bytes of an image file: the body, or the file of the form that it is.
    pub(crate) fn file(&self) -> Result<&[u8], Failure> {
        let content = self.headers.get(header::CONTENT_TYPE);
        let content = content.and_then(|content| content.to_str().ok()).unwrap_or_default();
        if !is_form(content) {
            return Ok(&self.bytes);
        }
        let (start, end) = file(content, &self.bytes)?;
        Ok(&self.bytes[start..end])
    }
}

/// How much longer a client may take that has sent or read so many bytes.
pub(crate) fn earned(bytes: usize) -> Duration {
    Duration::from_millis(bytes as u64 * 1000 / SLOWEST)
}

/// Whether the body is said to be another than the bytes that come.
fn is_compressed(headers: &HeaderMap) -> bool {
    let plain = |name: HeaderName, allowed: &str| {
        headers.get_all(name).iter().all(|value| {
            let codings =
                value.to_str().map(|text| text.split(',').map(str::trim).collect::<Vec<_>>());
            codings.is_ok_and(|all| {
                all.iter().all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(allowed))
            })
        })
    };
    !plain(header::CONTENT_ENCODING, "identity") || !plain(header::TRANSFER_ENCODING, "chunked")
}

/// Reads the body of a request.
pub(crate) async fn receive(
    app: &Arc<App>,
    request: &mut Request<Coming>,
) -> Result<Received, Failure> {
    let limit = app.options.body;
    if is_compressed(request.headers()) {
        let message = "the body is compressed: send it as it is";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let too_long = || {
        let message = format!("the body is longer than {limit} bytes (--max-body)");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    let coming = request.body_mut();
    if coming.body.size_hint().lower() > limit as u64 {
        return Err(too_long());
    }
    let started = Instant::now();
    let mut bytes = Vec::new();
    let mut held = app.hold();
    loop {
        let until = started + app.options.patience + earned(bytes.len());
        let frame = timeout_at(until.into(), coming.frame()).await;
        let slow = |_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body comes too slowly");
        let Some(frame) = frame.map_err(slow)? else { break };
        let frame = frame.map_err(|_| Failure::bad("the body ends before its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(too_long());
        }
        held.more(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(Received { headers: std::mem::take(request.headers_mut()), bytes, held })
}
