//! Hiding parts of an image: squares of a request's own for `/v1/predict`, and `/v1/occlude`, the panels of ZFNet's figure 7.

use std::sync::Arc;

use serde::Serialize;
use top5::explain::method::figure7::figure7;
use top5::explain::method::perturb::Grid;
use top5::explain::picture::{self, Ramp, Scale};
use top5::explain::{Explainer, Method, layers};

use crate::door::Answer;
use crate::explain::{Class, Colours, Numbers, PLACES, photograph, png, written};
use crate::failure::Failure;
use crate::looking::{self, Looked, Progress};
use crate::query::Query;
use crate::request::Received;
use crate::served::{App, Served};

/// Most squares of a request.
const SQUARES: usize = 64;

/// Squares of the prepared image.
pub(crate) struct Squares(Vec<[usize; 3]>);

impl Squares {
    /// Reads `top,left,size;…`, in pixels of the network's input.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = text else { return Ok(Self(Vec::new())) };
        let wrong =
            || Failure::bad("hide: expected squares as top,left,size;… in pixels, at most 64");
        let square = |part: &str| {
            let numbers = part.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
            numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(wrong)
        };
        let squares =
            text.split(';').take(SQUARES + 1).map(square).collect::<Result<Vec<_>, _>>()?;
        if squares.len() > SQUARES { Err(wrong()) } else { Ok(Self(squares)) }
    }

    /// Makes them gray: zero, the mean of the training images.
    pub(crate) fn hide(&self, input: &mut [f32], [_, height, width]: [usize; 3]) {
        for &[top, left, size] in &self.0 {
            let end = |from: usize, most: usize| from.saturating_add(size).min(most);
            let columns = left.min(width)..end(left, width);
            for plane in input.chunks_exact_mut(height * width) {
                for row in top.min(height)..end(top, height) {
                    plane[row * width..][columns.clone()].fill(0.0);
                }
            }
        }
    }
}

/// What is asked.
struct Asked {
    class: Option<usize>,
    layer: Option<String>,
    size: usize,
    stride: usize,
}

/// Answers a request for the panels: JSON, or lines with progress for clients that accept them.
pub(crate) async fn answer(
    app: &Arc<App>,
    model: &Arc<Served>,
    query: &Query,
    received: Received,
) -> Result<Answer, Failure> {
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
    let served = Arc::clone(model);
    looking::answer(app, model, None, received, move |input, explainer, progress| {
        look(&served, &asked, input, explainer, progress)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_hide_what_they_cover_and_no_more() {
        let mut input = vec![1.0; 2 * 4 * 5];
        let squares = Squares::read(Some("1,3,9;3,0,1")).ok().unwrap();
        squares.hide(&mut input, [2, 4, 5]);
        let row = [1.0, 1.0, 1.0, 0.0, 0.0];
        let last = [0.0, 1.0, 1.0, 0.0, 0.0];
        let plane = [[1.0; 5], row, row, last].concat();
        assert_eq!(input, [plane.clone(), plane].concat());
        Squares::read(Some("99,99,18446744073709551615")).ok().unwrap().hide(&mut input, [2, 4, 5]);
        for wrong in ["1,2", "1,2,3,4", "a,b,c", "1,2,3;", "-1,0,1", &"1,1,1;".repeat(65)] {
            let failure = Squares::read(Some(wrong)).err().unwrap();
            assert!(failure.message.contains("top,left,size"), "{wrong}");
        }
    }
}
