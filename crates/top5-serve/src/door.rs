//! What every request passes and every answer carries: which hosts and origins may ask, and headers that keep browsers safe.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::answer::{Answer, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::metrics::OfServer;
use crate::request::Coming;
use crate::routes;

/// What the page may load: itself. It has no script and no style within its text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Most bytes of a request's line and headers.
pub(crate) const LONGEST_HEAD: usize = 64 << 10;

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Without any, a form of ours would be posted from no origin.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The answer to any request.
pub(crate) async fn answer(
    app: Arc<App>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let mut request = Coming::of(request);
    let answered = async {
        check(&app, &request)?;
        routes::answer(&app, &mut request).await
    };
    let answer = told(&app.metrics, answered).await;
    // One that was waited for long enough is waited for no more.
    if answer.status() != StatusCode::REQUEST_TIMEOUT {
        request.body_mut().throw_away().await;
    }
    Ok(answer)
}

/// The outcome as a client is told it, counted: its answer, why there is none, or that it panicked.
async fn told(
    metrics: &OfServer,
    outcome: impl Future<Output = Result<Answer, Failure>>,
) -> Answer {
    let mut answer = unless_it_panics(outcome).await.unwrap_or_else(|failure| refusal(&failure));
    metrics.answered(answer.status().as_u16());
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// The outcome, or that it panicked.
async fn unless_it_panics(
    outcome: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    let mut outcome = Box::pin(outcome);
    std::future::poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| outcome.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(Failure::internal())))
    })
    .await
}

fn refusal(failure: &Failure) -> Answer {
    let mut answer = with_type("application/json", failure.body());
    *answer.status_mut() = failure.status;
    let headers = answer.headers_mut();
    if failure.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if let Some(allow) = failure.allow {
        headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    answer
}

/// Bytes of a request's line and headers.
fn head(request: &Request<Coming>) -> usize {
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    headers + request.uri().path().len() + request.uri().query().map_or(0, str::len)
}

/// Whether this host may be asked (a page elsewhere could have its name point here), by a page of this origin.
fn check(app: &App, request: &Request<Coming>) -> Result<(), Failure> {
    // What came in one piece is parsed however long it is.
    if head(request) > LONGEST_HEAD {
        let message = format!("the headers are longer than {} bytes", LONGEST_HEAD);
        return Err(Failure::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
    }
    let text = |name| -> Result<Option<&str>, Failure> {
        let values: Vec<&HeaderValue> = request.headers().get_all(&name).iter().collect();
        match values[..] {
            [] => Ok(None),
            [value] => value.to_str().map(Some).map_err(|_| Failure::bad("a header is no text")),
            _ => Err(Failure::bad(format!("{name} is there more than once"))),
        }
    };
    let host = text(header::HOST)?;
    let misdirected = || {
        let message = "this server does not answer for that host: start it with --allow-host NAME";
        Failure::new(StatusCode::MISDIRECTED_REQUEST, message)
    };
    // A request to a proxy names it in its first line, too.
    let named = request.uri().authority();
    if named.is_some_and(|named| !is_ours(named.as_str(), &app.options.hosts)) {
        return Err(misdirected());
    }
    match host {
        None if request.version() == hyper::Version::HTTP_10 => {}
        None => return Err(Failure::bad("the request names no host")),
        Some(host) if is_ours(host, &app.options.hosts) => {}
        Some(_) => return Err(misdirected()),
    }
    let foreign = text(header::ORIGIN)?
        .is_some_and(|origin| origin.split_once("://").map(|(_, from)| from) != host);
    let cross = text(HeaderName::from_static("sec-fetch-site"))? == Some("cross-site");
    if *request.method() == Method::POST && (foreign || cross) {
        return Err(Failure::new(StatusCode::FORBIDDEN, "pages of other origins may not ask"));
    }
    Ok(())
}

/// Addresses cannot be rebound; of names, only ours. A port may follow.
fn is_ours(host: &str, allowed: &[String]) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (name, port) = bracketed.unwrap_or_else(|| {
        let end = host.find(':').unwrap_or(host.len());
        host.split_at(end)
    });
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
    match bracketed {
        Some((name, _)) => name.parse::<Ipv6Addr>().is_ok(),
        None => {
            name.parse::<Ipv4Addr>().is_ok()
                || name.eq_ignore_ascii_case("localhost")
                || allowed.iter().any(|own| own.eq_ignore_ascii_case(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::metrics;

    #[test]
    fn handlers_that_panic_are_told_and_counted_as_500() {
        let counted = OfServer::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for number in 0..1000 {
            let handler = async {
                // Some panic after they have waited.
                if number % 100 == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                if number % 2 == 0 {
                    panic!("a panic that a test ordered")
                }
                Ok(with_type("text/plain", "well"))
            };
            let answer = runtime.block_on(told(&counted, handler));
            let expected = [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK][number % 2];
            assert_eq!(answer.status(), expected);
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            let Ok(body) = runtime.block_on(answer.into_body().collect());
            let said = [&br#"{"error":"the server made a mistake"}"#[..], b"well"][number % 2];
            assert_eq!(body.to_bytes(), said);
        }
        let text = metrics::text(&counted, &[]);
        for line in ["code=\"500\"} 500\n", "code=\"200\"} 500\n"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn only_addresses_and_our_names_are_ours() {
        let allowed = ["Models.example".to_owned()];
        for host in
            ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST", "models.example:1"]
        {
            assert!(is_ours(host, &allowed), "{host}");
        }
        for host in [
            "evil.example:8000",
            "localhost.evil.example",
            "",
            "[::1",
            "[::1].evil.example",
            "[localhost]",
            "127.0.0.1.evil.example",
            "127.0.0.1:80.evil.example",
            "localhost:x",
        ] {
            assert!(!is_ours(host, &allowed), "{host}");
        }
    }
}
