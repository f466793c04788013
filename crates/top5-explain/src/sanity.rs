//! Whether an explanation depends on what the network has learnt (Adebayo et al., NeurIPS 2018, "Sanity checks for saliency
//! maps"): layers get new random weights from the top down, one more at each step, and the maps are compared with those of
//! the trained network. A method whose maps stay alike explains the image and not the network.
//!
//! A step is a layer with parameters and the normalisation that trails it; it gets the weights, and running statistics, that
//! training would begin with. The gates on numbers that others set are not repeated here: they depend on the recipe.

mod similarity;

use top5_graph::{Graph, NodeId, Tensor, Weights};

use crate::score::ScoreError;
pub use similarity::{Similarity, compare, spearman, ssim};

/// How maps are compared, in words for reports.
pub const RECIPE: &str = "cascading from the logits to the image, each layer with its normalisation and running statistics \
    drawn anew as for training; maps of the class, or the contrast, that was chosen, else of the class that the trained \
    network predicts; Spearman on signed and on absolute \
    values, ties with their mean rank; SSIM (Gaussian window of 11 pixels, deviation 1.5) on absolute values over their \
    greatest";

/// Makes the maps of a network with these weights.
pub type Explain<'a> = dyn FnMut(&Weights) -> Result<Vec<Vec<f32>>, ScoreError> + 'a;

/// The maps after a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The layer whose weights are new, with those of the steps before; none: the trained network.
    pub layer: Option<String>,
    /// For each map, how alike it is to that of the trained network.
    pub similarities: Vec<Similarity>,
}

/// The steps' nodes, from the logits down. The first node of each names it.
pub fn layers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut steps: Vec<Vec<NodeId>> = Vec::new();
    for node in graph.nodes().iter().filter(|node| !node.spec.params.is_empty()) {
        let before = steps.last_mut().filter(|step| {
            let reads = |id: &NodeId| node.inputs.contains(id);
            node.spec.trails && step.iter().any(reads)
        });
        match before {
            Some(step) => step.push(node.id),
            None => steps.push(vec![node.id]),
        }
    }
    steps.reverse();
    steps
}

/// Goes through the steps: `explain` gets each network's weights, the trained one's first, and gives its maps, as many each
/// time and of `[height, width]`. `drawn` holds the weights that layers get. Fails where `explain` does, its maps change in
/// number or size, or a parameter of the graph is missing.
pub fn cascade(
    graph: &Graph,
    trained: &Weights,
    drawn: &Weights,
    size: [usize; 2],
    explain: &mut Explain<'_>,
) -> Result<Vec<Step>, ScoreError> {
    let pixels = size[0] * size[1];
    let checked = |maps: Vec<Vec<f32>>, count: Option<usize>| {
        let fits = maps.iter().all(|map| map.len() == pixels);
        let finite = maps.iter().flatten().all(|value| value.is_finite());
        match fits && finite && count.is_none_or(|count| count == maps.len()) {
            true => Ok(maps),
            false => {
                let expected = format!("as many as before, of {pixels} finite values each");
                Err(ScoreError::input("maps of a network with new weights", expected))
            }
        }
    };
    let alike = |trained: &[Vec<f32>], maps: &[Vec<f32>]| -> Vec<Similarity> {
        trained.iter().zip(maps).map(|(a, b)| compare(a, b, size)).collect()
    };
    let mut weights = trained.clone();
    let first = checked(explain(&weights)?, None)?;
    let mut steps = vec![Step { layer: None, similarities: alike(&first, &first) }];
    for layer in layers(graph) {
        for node in layer.iter().map(|&id| graph.node(id)) {
            for param in &node.spec.params {
                let name = node.param_name(param);
                let tensor: Option<&Tensor> = drawn.tensor(&name);
                let Some(tensor) = tensor else {
                    return Err(ScoreError::input(format!("new weights {name}"), "a tensor"));
                };
                weights.insert(name, tensor.clone());
            }
        }
        let maps = checked(explain(&weights)?, Some(first.len()))?;
        let name = graph.node(layer[0]).name.clone();
        steps.push(Step { layer: Some(name), similarities: alike(&first, &maps) });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::net;

    #[test]
    fn layers_go_from_the_top_with_their_normalisation() {
        let graph = net("n", [1, 8, 8], |x| {
            x.conv(2, 3).batch_norm().relu().conv(3, 3).relu().flatten().linear(4)
        })
        .unwrap();
        let names: Vec<Vec<&str>> = layers(&graph)
            .into_iter()
            .map(|step| step.into_iter().map(|id| &*graph.node(id).name).collect())
            .collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[0].len(), 1);
        assert_eq!(names[2].len(), 2, "{names:?}");
        assert!(names[2][0].contains("conv1"), "{names:?}");
    }

    #[test]
    fn each_step_keeps_the_new_weights_of_those_before() {
        let graph = net("n", [1, 2, 2], |x| x.conv(1, 1).flatten().linear(2)).unwrap();
        let all = |value: f32| -> Weights {
            let filled = |param: &top5_graph::Param| vec![value; param.elements()];
            let tensor =
                |param: &top5_graph::Param| Tensor::new(param.shape.clone(), filled(param));
            graph.params().map(|(name, param)| (name, tensor(param).unwrap())).collect()
        };
        let mut seen = Vec::new();
        let steps = cascade(&graph, &all(1.0), &all(2.0), [1, 3], &mut |weights| {
            let sum: f32 = weights.iter().flat_map(|(_, tensor)| tensor.data()).sum();
            seen.push(sum);
            Ok(vec![vec![sum, 1.0, -3.0]])
        })
        .unwrap();
        // 12 parameters; the linear layer has 10 of them.
        assert_eq!(seen, [12.0, 22.0, 24.0]);
        let names: Vec<Option<&str>> = steps.iter().map(|step| step.layer.as_deref()).collect();
        assert_eq!(names, [None, Some("fc1"), Some("conv1")]);
        assert_eq!(steps[0].similarities[0].spearman, Some(1.0));
        assert_eq!(steps[0].similarities[0].ssim, 1.0);
        let changing = cascade(&graph, &all(1.0), &all(2.0), [1, 1], &mut |weights| {
            let first = weights.iter().all(|(_, tensor)| tensor.data()[0] == 1.0);
            Ok(vec![vec![1.0]; if first { 1 } else { 2 }])
        });
        assert!(changing.unwrap_err().to_string().contains("as many as before"));
        let missing =
            cascade(&graph, &all(1.0), &Weights::new(), [1, 1], &mut |_| Ok(vec![vec![1.0]]));
        assert!(missing.unwrap_err().to_string().contains("fc1.weight"));
    }
}
