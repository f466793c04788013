//! The weights that training starts from.

use top5_graph::random::{Stream, hash};
use top5_graph::{Family, Graph, Init, Param, Tensor, Weights};

use crate::fine_tune::head;
use crate::recipe::InitName;

/// As [`initialise`] does, but by the recipe's rule where it has one.
pub fn initialise_by(rule: Option<InitName>, graph: &Graph, seed: u64) -> Weights {
    let mut weights = initialise(graph, seed);
    let Some(InitName::Kaiming) = rule else { return weights };
    let heads: Vec<&str> = head(graph).map(|node| node.name.as_str()).collect();
    let nodes = graph.nodes().iter().filter(|node| !heads.contains(&node.name.as_str()));
    for node in nodes.filter(|node| SUMS.contains(&node.spec.family)) {
        for param in node.spec.params.iter().filter(|param| param.learned) {
            let (name, count) = (node.param_name(param), param.elements());
            let fan_in: usize = param.shape.get(1..).map_or(0, |shape| shape.iter().product());
            let deviation = if fan_in > 1 { (2.0 / fan_in as f64).sqrt() as f32 } else { 0.0 };
            let mut stream = Stream::new(seed, hash("init")).substream(hash(&name));
            let values = (0..count).map(|_| deviation * stream.normal()).collect();
            let tensor = Tensor::new(param.shape.clone(), values);
            weights.insert(name, tensor.expect("a value is drawn for each element"));
        }
    }
    weights
}

/// Layers whose outputs are sums with learned weights.
const SUMS: [Family; 2] = [Family::Convolution, Family::Linear];

/// Draws every parameter and buffer as its layer declares. The values of a tensor depend on the seed, its name and its
/// shape only: not on the other tensors, nor on their order.
pub fn initialise(graph: &Graph, seed: u64) -> Weights {
    let tensor = |(name, param): (String, &Param)| {
        let mut stream = Stream::new(seed, hash("init")).substream(hash(&name));
        let count = param.elements();
        let values = match &param.init {
            Init::Constant(value) => vec![*value; count],
            Init::Uniform(bound) => {
                (0..count).map(|_| bound * (2.0 * stream.uniform() - 1.0)).collect()
            }
            Init::Normal(deviation) => (0..count).map(|_| deviation * stream.normal()).collect(),
            Init::Values(values) => values.to_vec(),
        };
        let tensor = Tensor::new(param.shape.clone(), values);
        (name, tensor.expect("a layer declares as many values as its shape has elements"))
    };
    graph.params().map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use top5_graph::net;

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let graph = |more: usize| {
            net("two", [1, 8, 8], |x| {
                let x = x.conv(4, 3).batch_norm().conv(4, 3).flatten();
                if more > 0 { x.linear(more).linear(3) } else { x.linear(3) }
            })
            .unwrap()
        };
        let weights = initialise(&graph(0), 1);
        weights.check(&graph(0)).unwrap();
        assert_eq!(weights, initialise(&graph(0), 1));
        assert_ne!(weights, initialise(&graph(0), 2));
        let other = initialise(&graph(5), 1);
        assert_eq!(weights.tensor("conv2.weight"), other.tensor("conv2.weight"));
        assert_ne!(
            weights.tensor("conv2.weight").unwrap().data()[..9],
            weights.tensor("conv1.weight").unwrap().data()[..9]
        );
    }

    #[test]
    fn kaiming_keeps_the_head_and_the_normalisations() {
        let graph = net("deep", [3, 8, 8], |x| {
            x.conv(400, 3).batch_norm().relu().conv(8, 3).relu().flatten().linear(5)
        })
        .unwrap();
        let (own, drawn) =
            (initialise(&graph, 3), initialise_by(Some(InitName::Kaiming), &graph, 3));
        assert_eq!(initialise_by(None, &graph, 3), own);
        for (name, tensor) in own.iter() {
            let redrawn = name.starts_with("conv");
            assert_eq!(drawn.tensor(name) != Some(tensor), redrawn, "{name}");
        }
        assert!(drawn.tensor("conv1.bias").unwrap().data().iter().all(|&v| v == 0.0));
        for (name, fan_in) in [("conv1.weight", 27.0), ("conv2.weight", 3600.0)] {
            let values = drawn.tensor(name).unwrap().data();
            let squares: f32 = values.iter().map(|value| value * value).sum();
            let variance = squares / values.len() as f32;
            assert!((variance * fan_in / 2.0 - 1.0).abs() < 0.03, "{name}: {variance}");
        }
    }

    #[test]
    fn values_follow_the_declared_distribution() {
        let graph = net("wide", [1, 3, 3], |x| x.conv(2000, 3).batch_norm()).unwrap();
        let weights = initialise(&graph, 3);
        let values = weights.tensor("conv1.weight").unwrap().data();
        let bound = 1.0 / 3.0;
        assert!(values.iter().all(|value| value.abs() <= bound));
        let squares: f32 = values.iter().map(|value| value * value).sum();
        let variance = squares / values.len() as f32;
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.03, "{variance}");
        assert!(weights.tensor("bn1.running_var").unwrap().data().iter().all(|&v| v == 1.0));
        assert!(weights.tensor("bn1.bias").unwrap().data().iter().all(|&v| v == 0.0));
    }
}
