//! The weights that training starts from.

use top5_graph::random::{Stream, hash};
use top5_graph::{Graph, Init, Tensor, Weights};

/// Draws every parameter as its layer asks for. A parameter's values depend on the seed and its name only.
pub fn initialise(graph: &Graph, seed: u64) -> Weights {
    let draw = |name: &str, init: &Init, count: usize| -> Vec<f32> {
        let mut stream = Stream::new(seed, hash("initialise")).substream(hash(name));
        match init {
            Init::Constant(value) => vec![*value; count],
            Init::Uniform(bound) => {
                (0..count).map(|_| (2.0 * stream.uniform() - 1.0) * bound).collect()
            }
            Init::Normal(deviation) => (0..count).map(|_| stream.normal() * deviation).collect(),
            Init::Values(values) => values.to_vec(),
        }
    };
    let tensor = |name: &str, param: &top5_graph::Param| {
        let values = draw(name, &param.init, param.elements());
        Tensor::new(param.shape.clone(), values).expect("as many values as the shape has elements")
    };
    graph.params().map(|(name, param)| (name.clone(), tensor(&name, param))).collect()
}

#[cfg(test)]
mod tests {
    use top5_graph::net;

    use super::*;

    #[test]
    fn parameters_depend_on_seed_and_name() {
        let graph = net("two", [1, 8, 8], |x| x.conv(2, 3).conv(2, 3).flatten().linear(3)).unwrap();
        let weights = initialise(&graph, 1);
        assert_eq!(weights, initialise(&graph, 1));
        assert_ne!(weights, initialise(&graph, 2));
        weights.check(&graph).unwrap();
        let bound = (1.0f32 / 9.0).sqrt();
        let first = weights.tensor("conv1.weight").unwrap().data();
        assert!(first.iter().all(|value| value.abs() <= bound));
        assert!(first.iter().any(|value| value.abs() > bound / 2.0));
    }
}
