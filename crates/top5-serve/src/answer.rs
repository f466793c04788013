//! Answers, as those make them who know what to say.

use std::convert::Infallible;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use serde::Serialize;

/// An answer: whole, or sent while it is made.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// An answer of this type.
pub(crate) fn with_type(content: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content));
    answer
}

/// A JSON document.
pub(crate) fn document(value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).expect("values of ours have a form in JSON");
    with_type("application/json", text)
}
