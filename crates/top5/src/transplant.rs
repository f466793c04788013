//! Weights that a network has learnt on some classes, put into the same network for others.

use top5_graph::{Graph, Mismatch, Weights, WeightsError};
use top5_train::{head, initialise};

use crate::error::ModelError;
use crate::model::Model;

/// Weights to train from.
#[derive(Clone, Debug, PartialEq)]
pub struct Transplanted {
    /// All tensors of the network.
    pub weights: Weights,
    /// Those that the file lacks, or has for another number of classes: drawn anew from the seed.
    pub redrawn: Vec<String>,
}

/// The weights of `model` for `graph`, the same network with perhaps another number of classes or with auxiliary heads that the
/// model lacks. Fails where anything else differs.
pub fn transplant(model: &Model, graph: &Graph, seed: u64) -> Result<Transplanted, ModelError> {
    let mut weights = initialise(graph, seed);
    let heads: Vec<&str> = head(graph).map(|node| node.name.as_str()).collect();
    let needed = graph.inference();
    let mut error = WeightsError { network: graph.name().to_owned(), ..WeightsError::default() };
    let mut redrawn = Vec::new();
    for node in graph.nodes() {
        for param in &node.spec.params {
            let name = node.param_name(param);
            let may_differ = heads.contains(&node.name.as_str());
            match model.weights.tensor(&name) {
                Some(tensor) if tensor.shape() == param.shape => {
                    weights.insert(name, tensor.clone());
                }
                Some(_) if may_differ => redrawn.push(name),
                None if needed.find(&node.name).is_none() => redrawn.push(name),
                Some(tensor) => error.mismatched.push(Mismatch {
                    name,
                    expected: param.shape.clone(),
                    got: tensor.shape().to_vec(),
                }),
                None => error.missing.push(name),
            }
        }
    }
    if error.missing.is_empty() && error.mismatched.is_empty() {
        return Ok(Transplanted { weights, redrawn });
    }
    Err(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_is_redrawn_for_other_classes_only() {
        let network = top5_zoo::network("lenet").unwrap();
        let model = Model::untrained(network, 1).unwrap();
        let same = transplant(&model, &model.graph, 2).unwrap();
        assert_eq!((same.weights, same.redrawn.len()), (model.weights.clone(), 0));
        let graph = network.with(top5_zoo::Settings { classes: 3, ..network.settings() }).unwrap();
        let other = transplant(&model, &graph, 2).unwrap();
        let names: Vec<String> = head(&graph)
            .flat_map(|node| node.spec.params.iter().map(|p| node.param_name(p)))
            .collect();
        assert_eq!(other.redrawn, names);
        other.weights.check(&graph).unwrap();
        let foreign = top5_zoo::network("alexnet").unwrap().graph().unwrap();
        let error = transplant(&model, &foreign, 2).unwrap_err().to_string();
        assert!(error.contains("alexnet") && error.contains("missing"), "{error}");
    }
}
