//! Answers that are infinite or no number: found where a session gives them, and traced to the layer they come from.

use top5_graph::{
    Device, EngineError, Forward, Graph, NodeId, Retain, Session, SessionOptions, Tensor, Weights,
};

/// A session whose logits are finite: others are an error.
pub struct Finite {
    session: Box<dyn Session>,
    culprit: Vec<f32>,
}

impl Finite {
    /// The session, whose answers are looked at.
    pub fn new(session: Box<dyn Session>) -> Self {
        Self { session, culprit: Vec::new() }
    }

    /// The input of the last image whose answer was not finite: [channels, height, width] of [`Session::graph`]. Empty if there
    /// was none.
    pub fn culprit(&self) -> &[f32] {
        &self.culprit
    }
}

impl Session for Finite {
    fn graph(&self) -> &Graph {
        self.session.graph()
    }

    fn batch(&self) -> usize {
        self.session.batch()
    }

    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError> {
        let forward = self.session.forward(images)?;
        let logits = forward.logits.data();
        let Some(at) = logits.iter().position(|logit| !logit.is_finite()) else {
            return Ok(forward);
        };
        let sample: usize = self.graph().input().iter().product();
        let image = at * (images.len() / sample) / logits.len();
        self.culprit = images[image * sample..(image + 1) * sample].to_vec();
        Err(EngineError::NotFinite { what: format!("an answer of {}", self.graph().name()) })
    }

    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        self.session.backward(seed)
    }

    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError> {
        self.session.switches(pool)
    }
}

/// Where the first value that is not finite is on the way from an input (one image, as [`Finite::culprit`] gives it) to the
/// logits of a graph: in the input, in the weights, or in the output of a layer. An error [`EngineError::NotFinite`] that
/// names it; another one where that could not be found out.
pub fn trace(device: &dyn Device, graph: &Graph, weights: Weights, input: &[f32]) -> EngineError {
    let at = |what: String| EngineError::NotFinite { what };
    let is_infinite = |values: &[f32]| values.iter().any(|value| !value.is_finite());
    if is_infinite(input) {
        return at("the image as it is prepared (mean, std)".to_owned());
    }
    let found = weights.iter().find(|(_, tensor)| is_infinite(tensor.data()));
    if let Some((name, _)) = found {
        return at(name.to_owned());
    }
    let keep: Vec<NodeId> = graph.nodes().iter().skip(1).map(|node| node.id).collect();
    let options = SessionOptions { keep: keep.clone(), ..SessionOptions::inference(1) };
    let run = || -> Result<Option<NodeId>, EngineError> {
        let network = device.network(graph, weights, Retain::Nothing)?;
        let kept = network.session(graph, &options)?.forward(input)?.kept;
        let mut kept = keep.iter().zip(&kept);
        Ok(kept.find(|(_, values)| is_infinite(values.data())).map(|(id, _)| *id))
    };
    match run() {
        Ok(Some(id)) => {
            let node = graph.node(id);
            at(format!("{}: the output of layer {} ({})", graph.name(), node.name, node.spec.kind))
        }
        Ok(None) => at(format!("{}: an answer, though no layer alone,", graph.name())),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use top5_graph::{Network, net};
    use top5_train::initialise;

    /// A network of which these tensors are filled with these values.
    fn network(weights: &[(&str, f32)]) -> (Graph, Weights) {
        let graph =
            net("tiny", [1, 6, 6], |x| x.conv_bn(4, 3).relu().conv(4, 3).flatten().linear(3))
                .unwrap();
        let mut tensors = initialise(&graph, 1);
        for (name, value) in weights {
            let shape = tensors.tensor(name).unwrap().shape().to_vec();
            let mut tensor = Tensor::zeros(shape);
            tensor.data_mut().fill(*value);
            tensors.insert(*name, tensor);
        }
        (graph, tensors)
    }

    fn session(graph: &Graph, weights: Weights) -> Finite {
        let device = crate::device(&top5_cpu::Options::default()).unwrap();
        let network: Arc<dyn Network> = device.network(graph, weights, Retain::Nothing).unwrap();
        Finite::new(network.session(graph, &SessionOptions::inference(3)).unwrap())
    }

    #[track_caller]
    fn what(error: &EngineError) -> &str {
        let EngineError::NotFinite { what } = error else { panic!("{error}") };
        what
    }

    #[test]
    fn first_layer_that_is_not_finite_is_named() {
        let device = crate::device(&top5_cpu::Options::default()).unwrap();
        for (weights, expected) in [
            (&[("conv2.weight", 3e38_f32)][..], "layer conv2"),
            (&[("conv2.weight", f32::NAN)], "conv2.weight"),
        ] {
            let (graph, weights) = network(weights);
            let images: Vec<f32> = (0..72).map(|i| 50.0 * (0.7 * i as f32).sin()).collect();
            let mut session = session(&graph, weights.clone());
            let error = session.forward(&images).unwrap_err();
            assert!(what(&error).contains("tiny"), "{error}");
            let culprit = session.culprit().to_vec();
            assert_eq!(culprit.len(), 36);
            let traced = trace(&device, &graph, weights, &culprit);
            assert!(what(&traced).contains(expected), "{traced}");
        }
        let (graph, weights) = network(&[]);
        let mut session = session(&graph, weights.clone());
        assert!(session.forward(&[1.0; 72]).is_ok() && session.culprit().is_empty());
        let infinite = [f32::INFINITY; 36];
        assert!(session.forward(&infinite).is_err());
        assert_eq!(session.culprit(), infinite);
        let traced = trace(&device, &graph, weights, session.culprit());
        assert!(what(&traced).contains("mean, std"), "{traced}");
    }
}
