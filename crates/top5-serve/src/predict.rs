//! From images to logits: room is asked for first, then images are decoded and prepared, wait for the worker, and run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use top5::Prediction;

use crate::app::App;
use crate::drawn::{photograph, png};
use crate::failure::Failure;
use crate::query::Query;
use crate::request::Received;
use crate::served::Served;
use crate::squares::Squares;
use crate::worker::{Answer, Job};

/// Classes per image unless told otherwise.
const TOP: usize = 5;

/// What is known of some images.
pub(crate) struct Predicted {
    pub(crate) answer: Answer,
    /// How long it took to decode and prepare them.
    pub(crate) decode: Duration,
}

/// Runs what `prepare` makes of a request, which takes long and therefore a thread of its own: [images, channels, height, width].
pub(crate) async fn predict(
    app: &App,
    model: &Arc<Served>,
    images: usize,
    prepare: impl FnOnce(&Served) -> Result<Vec<f32>, Failure> + Send + 'static,
) -> Result<Predicted, Failure> {
    let room = model.admit(images)?;
    let _pressing = app.pressing.begin(images);
    let served = Arc::clone(model);
    let started = Instant::now();
    let timed = move || {
        let begun = Instant::now();
        Ok((prepare(&served)?, begun - started, begun.elapsed()))
    };
    let (input, turn, decode) = app.apart(timed).await?;
    let now = Instant::now();
    let queued = now.checked_sub(turn).unwrap_or(now);
    let (reply, answer) = oneshot::channel();
    model.enqueue(Job { input, images, queued, reply, room })?;
    let answer = answer.await.map_err(|_| Failure::internal())??;
    Ok(Predicted { answer, decode })
}

/// The classes of one image file: as `top5 predict --json` has them.
pub(crate) async fn classify(
    app: &Arc<App>,
    model: &Arc<Served>,
    received: Received,
    query: &Query,
) -> Result<Value, Failure> {
    let top = query.number("k", 1..=usize::MAX)?.unwrap_or(TOP);
    let seen = match query.text("seen") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Failure::bad("seen must be true or false")),
    };
    let squares = Squares::read(query.text("hide"))?;
    let limits = app.options.images;
    let (sender, picture) = oneshot::channel();
    let prepare = move |model: &Served| {
        let mut input = vec![0.0; model.preprocess.size()];
        model.prepare(received.file()?, &limits, &mut input)?;
        drop(received);
        let picture = seen.then(|| png(&photograph(&input, &model.preprocess)));
        let picture = picture.transpose().map_err(|_| Failure::internal())?;
        squares.hide(&mut input, model.preprocess.input_size);
        // Nobody waits for it any more where this fails.
        let _ = sender.send(picture);
        Ok(input)
    };
    let Predicted { answer, decode } = predict(app, model, 1, prepare).await?;
    let (logits, classes) = (answer.logits, Arc::clone(&model.classes));
    let predictions = app.written(model, logits.len(), move || {
        let best = top5::best(&logits, &classes, top).into_iter();
        let said =
            |p: Prediction| json!({ "label": p.label, "class": p.class, "probability": p.probability });
        best.map(said).collect::<Vec<Value>>()
    });
    let predictions = predictions.await?;
    let ms = |time: Duration| time.as_micros() as f64 / 1e3;
    let mut said = json!({
        "model": model.name,
        "network": model.graph.name(),
        "predictions": predictions,
        "milliseconds": {
            "decode": ms(decode), "queue": ms(answer.queue), "forward": ms(answer.forward)
        },
    });
    if let Some(picture) = picture.await.ok().flatten() {
        said["seen"] = picture.into();
    }
    Ok(said)
}
