//! Questions about an image that take looking inside a model.

use std::sync::Arc;
use std::time::Instant;

use http_body_util::BodyExt;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use top5::explain::Explainer;

use crate::answer::{Answer, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::looking::{Looked, Progress};
use crate::query::Query;
use crate::request::Received;
use crate::served::Served;

/// Answers that are sent line by line, with progress.
const LINES: &str = "application/x-ndjson";

/// What is asked of whom, and about which image.
pub(crate) struct Question<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) model: &'a Arc<Served>,
    pub(crate) query: &'a Query,
    /// With an image file.
    pub(crate) received: Received,
}

impl Question<'_> {
    /// Answers with what a task makes of the model, the image as it is prepared for it, and an explainer of the model's network and
    /// of the layer of methods that look at one: JSON, or lines with progress for clients that accept them. A place in the queue is
    /// taken before the image is decoded.
    pub(crate) async fn answer(
        self,
        layer: Option<String>,
        task: impl FnOnce(&Served, &[f32], &mut Explainer, Progress<'_>) -> Looked + Send + 'static,
    ) -> Result<Answer, Failure> {
        let Self { app, model, received, .. } = self;
        let accept = received.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let lines = accept.is_some_and(|accept| accept.contains(LINES));
        let until = Instant::now() + app.options.explain_deadline;
        let place = app.looking.admit(model)?;
        let (served, limits) = (Arc::clone(model), app.options.images);
        let prepared = app.apart(move || {
            let mut input = vec![0.0; served.preprocess.size()];
            served.prepare(received.file()?, &limits, &mut input)?;
            Ok((input, place))
        });
        let (input, place) = prepared.await?;
        let served = Arc::clone(model);
        let task = move |explainer: &mut Explainer, progress: Progress<'_>| {
            task(&served, &input, explainer, progress)
        };
        let events = app.looking.look(model, layer, until, place, Box::new(task))?;
        if !lines {
            return Ok(with_type("application/json", events.last().await?));
        }
        let mut answer = Response::new(events.boxed_unsync());
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
        Ok(answer)
    }
}
