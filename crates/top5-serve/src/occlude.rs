//! `/v1/occlude`: the panels of ZFNet's figure 7.

use serde::Serialize;
use top5::explain::method::figure7::figure7;
use top5::explain::method::perturb::Grid;
use top5::explain::picture::{self, Ramp, Scale};
use top5::explain::{Explainer, Method, layers};

use crate::answer::Answer;
use crate::drawn::{Class, Colours, Numbers, photograph, png};
use crate::explain::PLACES;
use crate::failure::Failure;
use crate::looking::{Looked, Progress, written};
use crate::question::Question;
use crate::served::Served;

/// What is asked.
struct Asked {
    class: Option<usize>,
    layer: Option<String>,
    size: usize,
    stride: usize,
}

/// Answers a request for the panels: JSON, or lines with progress for clients that accept them.
pub(crate) async fn answer(question: Question<'_>) -> Result<Answer, Failure> {
    let Question { model, query, .. } = question;
    let [_, height, width] = model.graph.input();
    let side = height.min(width);
    let size = query.number("size", 1..=side)?.unwrap_or((side / 7).max(1));
    let stride = query.number("stride", 1..=size)?.unwrap_or((size / 2).max(1));
    let places = Grid::new([height, width], size, stride);
    let places = places.map_err(|error| Failure::bad(error.to_string()))?.count();
    if places > PLACES {
        return Err(Failure::bad(format!(
            "that takes {places} places of the square: at most {PLACES}"
        )));
    }
    let class = query.text("class").map(|said| model.class(said, "class")).transpose()?;
    let layer = query.text("layer").map(str::to_owned);
    let asked = Asked { class, layer, size, stride };
    question
        .answer(None, move |model, input, explainer, progress| {
            look(model, &asked, input, explainer, progress)
        })
        .await
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    class: Class<'a>,
    layer: &'a str,
    size: usize,
    stride: usize,
    /// (a) The image as the network sees it.
    image: String,
    /// The map of the layer that is strongest in the whole image.
    channel: usize,
    /// (b) The sum of that map at each place of the square.
    activation: Numbers<'a>,
    activation_scale: Colours,
    /// (c) DeconvNet's projection of that map.
    projection: String,
    warning: Option<&'static str>,
    /// (d) The probability of the class.
    probability: Numbers<'a>,
    probability_scale: Colours,
    /// (e) The most probable class.
    labels: Vec<&'a str>,
}

fn look(
    model: &Served,
    asked: &Asked,
    input: &[f32],
    explainer: &mut Explainer,
    progress: Progress<'_>,
) -> Looked {
    let layer = layers::map_layer(explainer.graph(), asked.layer.as_deref())?;
    let logits = explainer.logits(input)?;
    let first = top5::explain::signal::strongest(logits.data()).0;
    let class = asked.class.unwrap_or(first);
    let Asked { size, stride, .. } = *asked;
    let panels = figure7(explainer, input, class, layer, [size, stride], progress)?;
    let share = Scale { low: 0.0, high: 1.0, ramp: Ramp::Sequential };
    let document = Document {
        model: &model.name,
        class: Class { label: class, class: &model.classes[class], probability: panels.whole },
        layer: &explainer.graph().node(layer).name,
        size,
        stride,
        image: png(&photograph(input, &model.preprocess))?,
        channel: panels.channel,
        activation: Numbers::of(&panels.activation),
        activation_scale: Colours::of(&Scale::of(&panels.activation)),
        projection: png(&picture::projection(&panels.projection)?)?,
        warning: Method::Deconvnet.warning(),
        probability: Numbers::of(&panels.probability),
        probability_scale: Colours::of(&share),
        labels: panels.labels.iter().map(|&label| model.classes[label].as_str()).collect(),
    };
    Ok(written(&document))
}
