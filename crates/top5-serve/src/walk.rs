//! `/v1/activations`: what a layer makes of an image. All its maps as small pictures; one map as numbers; and how one of its
//! values comes about, product by product.

use serde::Serialize;
use top5::explain::picture::{self, Scale};
use top5::explain::signal::{Path, Start};
use top5::explain::zfnet::field::{Rectangle, receptive_field};
use top5::explain::{ExplainError, Explainer, Map, layers};
use top5::graph::{Family, Graph, Node, NodeId, Rule, Tensor};

use crate::answer::Answer;
use crate::drawn::{Colours, Numbers, photograph, png};
use crate::failure::Failure;
use crate::looking::{Looked, written};
use crate::question::Question;
use crate::served::Served;

/// Most maps that are drawn.
const MAPS: usize = 2048;
/// The longest side of a small picture.
const SIDE: usize = 64;
/// Most products of a formula that are told one by one, the largest first.
const TERMS: usize = 200;

/// What is asked: a layer, one of its maps, one of its values.
struct Asked {
    layer: String,
    map: Option<usize>,
    /// Row and column.
    unit: Option<[usize; 2]>,
}

/// Answers a request.
pub(crate) async fn answer(question: Question<'_>) -> Result<Answer, Failure> {
    let Question { model, query, .. } = question;
    let usual = || Ok(layers::layer(&model.graph, None).ok());
    let named = query.text("layer").map(|name| layers::layer(&model.graph, Some(name)));
    let layer = named.map_or_else(usual, |layer| layer.map(Some));
    let layer = layer.map_err(|error: ExplainError| Failure::bad(error.to_string()))?;
    let layer = layer.ok_or_else(|| Failure::bad("layer: name one of the model's"))?;
    let node = model.graph.node(layer);
    let channels = node.shape().channels();
    let [height, width] = node.shape().size();
    let map = query.number("map", 0..=channels - 1)?;
    let row = query.number("row", 0..=height - 1)?;
    let column = query.number("column", 0..=width - 1)?;
    let unit = row.or(column).map(|_| [row.unwrap_or(0), column.unwrap_or(0)]);
    if unit.is_some() && map.is_none() {
        return Err(Failure::bad("row and column are those of one map: say which, map=NUMBER"));
    }
    let asked = Asked { layer: node.name.clone(), map, unit };
    question
        .answer(None, move |model, input, explainer, _| look(model, &asked, input, explainer))
        .await
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    layer: &'a str,
    kind: &'static str,
    attributes: &'a str,
    /// Channels, height and width; of a vector 1 and 1.
    output: [usize; 3],
    scale: Colours,
    image: String,
    /// The maps' numbers by how active they are, the most active first.
    maps: Vec<Small>,
    map: Option<OneMap<'a>>,
    unit: Option<Unit<'a>>,
}

#[derive(Serialize)]
struct Small {
    map: usize,
    least: f32,
    most: f32,
    mean: f32,
    image: String,
}

#[derive(Serialize)]
struct OneMap<'a> {
    map: usize,
    #[serde(flatten)]
    numbers: Numbers<'a>,
}

/// One value, and what it is made of.
#[derive(Serialize)]
struct Unit<'a> {
    row: usize,
    column: usize,
    value: f32,
    /// The pixels that can change it.
    sees: Option<Rectangle>,
    formula: Option<Formula<'a>>,
}

/// `value = offset + Σ weight · input`, over the values of the layer before it that have a weight other than zero.
#[derive(Serialize)]
struct Formula<'a> {
    of: &'a str,
    offset: f32,
    /// How many products there are, and those of the greatest magnitude.
    count: usize,
    terms: Vec<Term>,
    /// The sum of all products and the offset, in double precision.
    total: f64,
}

#[derive(Serialize)]
struct Term {
    channel: usize,
    row: usize,
    column: usize,
    weight: f32,
    input: f32,
}

fn look(model: &Served, asked: &Asked, input: &[f32], explainer: &mut Explainer) -> Looked {
    let graph = explainer.graph().clone();
    let layer = layers::layer(&graph, Some(&asked.layer))?;
    let node = graph.node(layer);
    let before = node.inputs.first().copied();
    let to = vec![before.unwrap_or(layer)];
    let path = Path { from: layer, to, rule: Rule::gradient() };
    let projector = explainer.projector(&path)?;
    let (_, kept) = projector.forward(input)?;
    let activation = projector.activation().expect("a pass went before").clone();
    let channels = node.shape().channels();
    let [height, width] = node.shape().size();
    let maps = maps(&activation, [channels, height, width])?;
    let scale = Scale::shared(&maps).expect("a layer has maps");
    let small = small(&maps, &scale)?;
    let chosen = asked.map.map(|map| (map, &maps[map]));
    let unit = match (asked.map, asked.unit) {
        (Some(map), Some([row, column])) => {
            let before_values = match before.filter(|node| node.index() > 0) {
                Some(_) => kept.first().map(Tensor::data).unwrap_or_default(),
                None => input,
            };
            let at = map * height * width + row * width + column;
            let weights = |projector: &mut top5::explain::signal::Projector| {
                let mut one = vec![0.0; channels * height * width];
                one[at] = 1.0;
                Ok::<_, ExplainError>(projector.backward(&[Start::Elements(one)])?.remove(0))
            };
            let value = activation.data()[at];
            let linear = is_linear(node).then_some(before).flatten();
            let formula = match linear {
                Some(before) => {
                    let weights = weights(explainer.projector(&path)?)?;
                    let offset = model.biases.get(&node.name).map_or(0.0, |bias| bias[map]);
                    Some(formula(&graph, before, weights.data(), before_values, offset))
                }
                None => None,
            };
            let sees = receptive_field(&graph, layer, row * width + column);
            Some(Unit { row, column, value, sees, formula })
        }
        _ => None,
    };
    let document = Document {
        model: &model.name,
        layer: &node.name,
        kind: node.spec.kind,
        attributes: &node.spec.label,
        output: [channels, height, width],
        scale: Colours::of(&scale),
        image: png(&photograph(input, &model.preprocess))?,
        maps: small,
        map: chosen.map(|(map, of)| OneMap { map, numbers: Numbers::of(of) }),
        unit,
    };
    Ok(written(&document))
}

/// Whether each of its values is a sum of products of the values before it, given which of them are the greatest.
fn is_linear(node: &Node) -> bool {
    match node.spec.family {
        Family::Convolution | Family::Linear | Family::Pooling => node.inputs.len() == 1,
        Family::Input
        | Family::Normalisation
        | Family::Activation
        | Family::Join
        | Family::Rearrangement => false,
    }
}

/// One map per channel.
fn maps(
    activation: &Tensor,
    [channels, height, width]: [usize; 3],
) -> Result<Vec<Map>, ExplainError> {
    let signed = activation.data().iter().any(|&value| value < 0.0);
    let planes = activation.data().chunks_exact(height * width).take(channels);
    planes.map(|plane| Map::new(plane.to_vec(), height, width, signed)).collect()
}

fn small(maps: &[Map], scale: &Scale) -> Result<Vec<Small>, ExplainError> {
    let mean = |map: &Map| {
        let sum: f64 = map.values().iter().map(|&value| f64::from(value)).sum();
        (sum / map.values().len() as f64) as f32
    };
    let mut order: Vec<(usize, f32)> = maps.iter().map(mean).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let small = order.into_iter().take(MAPS).map(|(number, mean)| {
        let map = &maps[number];
        let [least, most] = map.range();
        let shrink = map.height().max(map.width()).div_ceil(SIDE);
        let sized = map.resized(map.height().div_ceil(shrink), map.width().div_ceil(shrink));
        let image = png(&picture::render(&sized, scale))?;
        Ok(Small { map: number, least, most, mean, image })
    });
    small.collect()
}

/// The products of a value. `weights` are its derivatives by the values before it, which of a linear layer are its weights.
fn formula<'a>(
    graph: &'a Graph,
    before: NodeId,
    weights: &[f32],
    values: &[f32],
    offset: f32,
) -> Formula<'a> {
    let node = graph.node(before);
    let [height, width] = node.shape().size();
    let mut terms: Vec<Term> = Vec::new();
    let mut total = f64::from(offset);
    for (at, (&weight, &input)) in weights.iter().zip(values).enumerate() {
        if weight != 0.0 {
            total += f64::from(weight) * f64::from(input);
            let (channel, place) = (at / (height * width), at % (height * width));
            terms.push(Term { channel, row: place / width, column: place % width, weight, input });
        }
    }
    let count = terms.len();
    let size = |term: &Term| (term.weight * term.input).abs();
    terms.sort_by(|a, b| size(b).total_cmp(&size(a)));
    terms.truncate(TERMS);
    Formula { of: &node.name, offset, count, terms, total }
}
