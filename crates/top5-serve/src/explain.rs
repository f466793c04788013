//! `/v1/explain`: why a network says what it says of an image, by any method of `top5 explain`, as numbers that a page or a
//! program can draw.

use std::sync::Arc;

use serde::Serialize;
use top5::explain::method::Settings;
use top5::explain::picture::{self, Scale};
use top5::explain::sanity::{Similarity, compare};
use top5::explain::{ExplainError, Explainer, Explanation, Method, Target};
use top5::graph::{Device, Retain};

use crate::answer::Answer;
use crate::drawn::{Class, Colours, Numbers, photograph, png};
use crate::failure::Failure;
use crate::looking::{Looked, Progress, written};
use crate::query::Query;
use crate::question::Question;
use crate::served::Served;

/// The most that a request may cost, in images through the network.
const PASSES: usize = 1000;
/// The most places of a square, and tiles.
pub(crate) const PLACES: usize = 400;
/// What is asked.
struct Asked {
    method: Method,
    /// None: the most probable class.
    class: Option<usize>,
    against: Option<usize>,
    layer: Option<String>,
    /// Whether the same is made of new weights drawn with this seed, and compared.
    sanity: Option<u64>,
}

/// Answers a request: JSON, or lines with progress for clients that accept them.
pub(crate) async fn answer(question: Question<'_>) -> Result<Answer, Failure> {
    let asked = Asked::read(question.model, question.query)?;
    let device = Arc::clone(&question.app.device);
    let layer = asked.layer.clone();
    question
        .answer(layer, move |model, input, explainer, progress| {
            look(model, &*device, &asked, input, explainer, progress)
        })
        .await
}

impl Asked {
    fn read(model: &Served, query: &Query) -> Result<Self, Failure> {
        let name = query.text("method").unwrap_or("grad-cam");
        let [_, height, width] = model.graph.input();
        let any = 1..=usize::MAX;
        let settings = Settings {
            steps: query.number("steps", any.clone())?,
            samples: query.number("samples", any.clone())?,
            level: query.number("level", 0.0..=1.0)?,
            masks: query.number("masks", any.clone())?,
            size: query.number("size", any.clone())?,
            stride: query.number("stride", any)?,
            seed: query.number("seed", 0..=u64::MAX)?,
        };
        let method = Method::usual(name, height.min(width)).ok_or_else(|| {
            Failure::bad(format!("method: expected one of {}", Method::NAMES.join(", ")))
        })?;
        let method = method.with(&settings);
        for key in ["steps", "samples", "level", "masks", "size", "stride", "seed", "layer"] {
            let said =
                query.text(key).and_then(|_| Method::idle(key, std::slice::from_ref(&method)));
            if let Some(idle) = said {
                return Err(Failure::bad(format!("{key} {idle}")));
            }
        }
        let passes = method.passes([height, width]);
        let squares = matches!(method, Method::Occlusion { .. } | Method::Ablation { .. });
        let most = if squares { PLACES } else { PASSES };
        if passes > most {
            let message = format!("that takes {passes} images through the network: at most {most}");
            return Err(Failure::bad(message));
        }
        let class = query.text("class").filter(|said| *said != "top");
        let class = class.map(|said| model.class(said, "class")).transpose()?;
        let against = query.text("against");
        let against = against.map(|said| model.class(said, "against")).transpose()?;
        let layer = query.text("layer").map(str::to_owned);
        let sanity = query.number("sanity", 0..=u64::MAX)?;
        Ok(Self { method, class, against, layer, sanity })
    }
}

/// The document of an explanation.
#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    network: &'a str,
    method: &'a Method,
    class: Class<'a>,
    against: Option<Class<'a>>,
    layer: Option<&'a str>,
    meaning: &'static str,
    warning: Option<&'static str>,
    notes: Vec<String>,
    /// What is to be seen, in words.
    fact: String,
    map: Numbers<'a>,
    /// At the layer's own resolution, or per place of the square.
    cells: Option<Numbers<'a>>,
    scale: Colours,
    /// The image as the network sees it, and what the method projects, as PNG files.
    image: String,
    projection: Option<String>,
    sanity: Option<Sanity>,
}

/// The same method on the same network with new weights (Adebayo et al., NeurIPS 2018).
#[derive(Serialize)]
struct Sanity {
    seed: u64,
    #[serde(flatten)]
    similarity: Similarity,
    map: Owned,
}

/// A map of its own.
#[derive(Serialize)]
struct Owned {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

/// Explains one image.
fn look(
    model: &Served,
    device: &dyn Device,
    asked: &Asked,
    input: &[f32],
    explainer: &mut Explainer,
    progress: Progress<'_>,
) -> Looked {
    let logits = explainer.logits(input)?;
    let probabilities = top5::softmax(logits.data());
    let first = top5::explain::signal::strongest(&probabilities).0;
    let target = Target { class: asked.class.unwrap_or(first), against: asked.against };
    let Explanation { map, signal, cells, notes } =
        explainer.explain(&asked.method, input, target, progress)?;
    let sanity = asked.sanity.map(|seed| {
        let weights = top5::train::initialise(explainer.network().graph(), seed);
        let network = device.network(explainer.network().graph(), weights, Retain::Tensors)?;
        let mut other = explainer.of_network(network);
        let other = other.explain(&asked.method, input, target, progress)?.map;
        let size = [map.height(), map.width()];
        let similarity = compare(map.values(), other.values(), size);
        let [height, width] = size;
        let map = Owned { height, width, values: other.values().to_vec() };
        Ok::<_, ExplainError>(Sanity { seed, similarity, map })
    });
    let sanity = sanity.transpose()?;
    let warning = asked.method.warning();
    let projection = signal.filter(|_| warning.is_some());
    let projection = projection.map(|signal| png(&picture::projection(&signal)?)).transpose()?;
    let class = |label: usize| Class {
        label,
        class: &model.classes[label],
        probability: probabilities[label],
    };
    let layer = explainer.layer().filter(|_| asked.method.needs_layer());
    let document = Document {
        model: &model.name,
        network: model.graph.name(),
        class: class(target.class),
        against: target.against.map(class),
        layer: layer.map(|layer| explainer.graph().node(layer).name.as_str()),
        meaning: asked.method.meaning(target.against.is_some()),
        warning,
        notes: [asked.method.extensions(explainer.graph()), notes].concat(),
        method: &asked.method,
        fact: map.fact().to_string(),
        scale: Colours::of(&Scale::of(&map)),
        map: Numbers::of(&map),
        cells: cells.as_ref().map(Numbers::of),
        image: png(&photograph(input, &model.preprocess))?,
        projection,
        sanity,
    };
    Ok(written(&document))
}
