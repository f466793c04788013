//! `/v1/blocks`: the branches of a network's blocks, how much each gives for an image, the values of gates, and what the network
//! says where some branches give nothing.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use top5::Prediction;
use top5::explain::blocks::{Block, without};
use top5::explain::{ExplainError, Explainer};
use top5::graph::{Graph, NodeId, Tensor};

use crate::answer::Answer;
use crate::failure::Failure;
use crate::looking::{Looked, written};
use crate::query::Query;
use crate::question::Question;
use crate::served::Served;
use crate::zoo;

/// Classes of an answer.
const TOP: usize = 5;

/// The blocks of a model, each with the layers of its branches.
pub(crate) fn listed(model: &Served) -> Value {
    let graph = &model.graph;
    let rows: Vec<Value> = zoo::rows(graph).collect();
    let name = |node: NodeId| &graph.node(node).name;
    let blocks = model.blocks.iter().map(|block| {
        let branches = block.branches.iter().map(|branch| {
            let layers = branch.layers.iter().map(|layer| &rows[layer.index()]);
            json!({ "end": name(branch.end), "layers": layers.collect::<Vec<_>>() })
        });
        let join = &rows[block.join.index()];
        json!({ "name": name(block.join), "kind": join["kind"], "output": join["output"], "fork": name(block.fork),
            "gated": block.gated, "branches": branches.collect::<Vec<_>>() })
    });
    json!({ "blocks": blocks.collect::<Vec<_>>() })
}

/// What is asked: a block, and branches that give nothing.
struct Asked {
    block: Block,
    /// The network without the branches, if any is off.
    form: Option<Graph>,
}

/// Answers a request.
pub(crate) async fn answer(question: Question<'_>) -> Result<Answer, Failure> {
    let asked = Asked::read(question.model, question.query)?;
    question
        .answer(None, move |model, input, explainer, _| look(model, &asked, input, explainer))
        .await
}

impl Asked {
    fn read(model: &Served, query: &Query) -> Result<Self, Failure> {
        let graph = &model.graph;
        let find =
            |name: &str| model.blocks.iter().find(|block| graph.node(block.join).name == name);
        let block = match query.text("block") {
            Some(name) => find(name),
            None => model.blocks.first(),
        };
        let path = format!("GET /v1/models/{}/blocks", model.name);
        let absent =
            || Failure::bad(format!("block: there is none of this name: {path} lists them"));
        let block = block.ok_or_else(absent)?.clone();
        let wrong = || Failure::bad(format!("off: expected branches as BLOCK:NUMBER,… of {path}"));
        let mut off = BTreeSet::new();
        for branch in query.text("off").into_iter().flat_map(|text| text.split(',')) {
            let (name, number) = branch.rsplit_once(':').ok_or_else(wrong)?;
            let found = find(name).ok_or_else(wrong)?;
            let number = number.parse().ok().filter(|&at: &usize| at < found.branches.len());
            off.insert((found.join, number.ok_or_else(wrong)?));
        }
        let form = (!off.is_empty()).then(|| without(graph, &off)).transpose();
        let form = form.map_err(|error| Failure::bad(error.to_string()))?;
        Ok(Self { block, form })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    block: &'a str,
    /// Of the whole network: how large the values are that each branch gives to the join.
    branches: Vec<Given<'a>>,
    /// The factor of each channel, where the block has gates.
    gates: Option<Vec<f32>>,
    /// What the whole network says, and what it says without the branches that are off.
    whole: Vec<Said>,
    predictions: Vec<Said>,
}

#[derive(Serialize)]
struct Given<'a> {
    end: &'a str,
    channels: usize,
    /// Root of the mean square.
    size: f64,
}

#[derive(Serialize)]
struct Said {
    label: u32,
    class: String,
    probability: f32,
}

fn look(model: &Served, asked: &Asked, input: &[f32], explainer: &mut Explainer) -> Looked {
    let (Asked { block, form }, graph) = (asked, &model.graph);
    let ends: Vec<NodeId> = block.branches.iter().map(|branch| branch.end).collect();
    let (logits, kept) = forward(explainer, graph, &ends, input)?;
    let without = match form {
        Some(form) => forward(explainer, form, &[], input)?.0,
        None => logits.clone(),
    };
    let given = ends.iter().zip(&kept).map(|(&end, values)| {
        let squares = values.data().iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
        let node = graph.node(end);
        let size = (squares / values.data().len() as f64).sqrt();
        Given { end: &node.name, channels: node.shape().channels(), size }
    });
    let gates = block.gated.then(|| kept.last().map(|gates| gates.data().to_vec())).flatten();
    let said = |logits: &Tensor| {
        let best = top5::best(logits.data(), &model.classes, TOP).into_iter();
        let said = |Prediction { label, class, probability }| Said { label, class, probability };
        best.map(said).collect()
    };
    Ok(written(&Document {
        model: &model.name,
        block: &graph.node(block.join).name,
        branches: given.collect(),
        gates,
        whole: said(&logits),
        predictions: said(&without),
    }))
}

/// The logits of an image by a form of the network, and the activations of these nodes of it.
fn forward(
    explainer: &Explainer,
    form: &Graph,
    keep: &[NodeId],
    input: &[f32],
) -> Result<(Tensor, Vec<Tensor>), ExplainError> {
    let forward = explainer.session(form, keep.to_vec(), 1)?.forward(input)?;
    Ok((forward.logits, forward.kept))
}
