//! The rule engine: forward once, then signals backward from a logit, a map's strongest activation, a whole map or a
//! direction, by a rule, to the image or to any other node.

use top5_graph::{Graph, Network, NodeId, Purpose, Rule, Session, SessionOptions, Stop, Tensor};

use crate::error::ExplainError;

/// What a signal starts from, in the activation that its session starts at. All else of that activation is zero.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// One, at this channel of a vector; at every place of it in a map. From the logits: the score of a class.
    Channel(usize),
    /// One at the first channel and minus one at the second: why the one and not the other.
    Difference(usize, usize),
    /// The value of this map's strongest activation, at its place; of equal ones, at the first (Zeiler & Fergus, section 2).
    Strongest(usize),
    /// All values of this map.
    Map(usize),
    /// A value per channel, at every place.
    Direction(Vec<f32>),
    /// A value per element of one sample.
    Elements(Vec<f32>),
}

/// A network that goes forward and sends signals backward from one node to others.
pub struct Projector {
    session: Box<dyn Session>,
    from: NodeId,
    /// The start's activation of the last forward pass.
    activation: Option<Tensor>,
    /// Whether the session keeps it behind what was asked for; otherwise it is the logits.
    kept: bool,
}

/// Where signals of a [`Projector`] start and end, and how they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The node that they start at.
    pub from: NodeId,
    /// The nodes that they end at; node 0 is the image.
    pub to: Vec<NodeId>,
    /// What each op does to them.
    pub rule: Rule,
}

impl Path {
    /// From the logits to the image.
    pub fn whole(graph: &Graph, rule: Rule) -> Self {
        Self { from: graph.logits().id, to: vec![graph.nodes()[0].id], rule }
    }

    /// From a layer to the image.
    pub fn projection(graph: &Graph, from: NodeId, rule: Rule) -> Self {
        Self { from, to: vec![graph.nodes()[0].id], rule }
    }
}

impl Projector {
    /// A session on up to `batch` images that also returns the activations `keep`. `graph` is the network's, or a form of it; its
    /// nodes are meant. Where several rules are used on one network, it must be made with
    /// [`Retain::Tensors`](top5_graph::Retain).
    pub fn new(
        network: &dyn Network,
        graph: &Graph,
        path: &Path,
        batch: usize,
        keep: &[NodeId],
        stop: Option<Stop>,
    ) -> Result<Self, ExplainError> {
        let from = path.from;
        let kept = from != graph.logits().id;
        let keep = keep.iter().copied().chain(kept.then_some(from)).collect();
        let purpose = Purpose::explanation(from, path.to.clone(), path.rule);
        let options = SessionOptions { batch, keep, purpose, stop };
        let session = network.session(graph, &options)?;
        Ok(Self { session, from, activation: None, kept })
    }

    /// The node that signals start at.
    pub fn from(&self) -> NodeId {
        self.from
    }

    /// The graph that it runs.
    pub fn graph(&self) -> &Graph {
        self.session.graph()
    }

    /// The session, for its switches.
    pub fn session(&self) -> &dyn Session {
        &*self.session
    }

    /// The logits of these images and the activations that were to be kept. Fails where a logit is not finite: signals would go
    /// back through comparisons with what is no number.
    pub fn forward(&mut self, images: &[f32]) -> Result<(Tensor, Vec<Tensor>), ExplainError> {
        self.activation = None;
        let mut forward = self.session.forward(images)?;
        if !forward.logits.data().iter().all(|v| v.is_finite()) {
            return Err(ExplainError::NotFinite { what: "an answer of the network".to_owned() });
        }
        self.activation = match self.kept {
            true => forward.kept.pop(),
            false => Some(forward.logits.clone()),
        };
        Ok((forward.logits, forward.kept))
    }

    /// The activation that signals start at, `[n, …]`, of the last forward pass.
    pub fn activation(&self) -> Option<&Tensor> {
        self.activation.as_ref()
    }

    /// Signals of the n images of the last forward pass, with one start for each or one for all: `[n, …]` for each node that
    /// they end at. Any number of calls may follow one forward pass.
    pub fn backward(&mut self, starts: &[Start]) -> Result<Vec<Tensor>, ExplainError> {
        let activation = self.activation.as_ref().ok_or_else(|| {
            let why = "signals go back through a forward pass, and none went before".to_owned();
            top5_graph::EngineError::Purpose { why }
        })?;
        let n = activation.shape()[0];
        if starts.len() != 1 && starts.len() != n {
            let what = "starts of signals, one for each image";
            return Err(ExplainError::Shape { what, expected: n, got: starts.len() });
        }
        let mut seed = Tensor::zeros(activation.shape().to_vec());
        let size = activation.data().len() / n;
        let name = &self.session.graph().node(self.from).name;
        let channels = activation.shape()[1];
        let samples = seed.data_mut().chunks_exact_mut(size);
        for (i, (seed, activation)) in samples.zip(activation.data().chunks_exact(size)).enumerate()
        {
            starts[i % starts.len()].plant(activation, channels, name, seed)?;
        }
        Ok(self.session.backward(&seed)?)
    }
}

impl Start {
    /// Writes it into the zeros of one sample's seed.
    fn plant(
        &self,
        activation: &[f32],
        channels: usize,
        layer: &str,
        seed: &mut [f32],
    ) -> Result<(), ExplainError> {
        let plane = seed.len() / channels;
        let of = |channel: usize| match channel < channels {
            true => Ok(channel * plane..(channel + 1) * plane),
            false => Err(ExplainError::Channel { layer: layer.to_owned(), channel, channels }),
        };
        let length = |what, expected, got| match expected == got {
            true => Ok(()),
            false => Err(ExplainError::Shape { what, expected, got }),
        };
        match self {
            Self::Channel(channel) => seed[of(*channel)?].fill(1.0),
            Self::Difference(channel, against) => {
                seed[of(*channel)?].iter_mut().for_each(|v| *v += 1.0);
                seed[of(*against)?].iter_mut().for_each(|v| *v -= 1.0);
            }
            Self::Strongest(channel) => {
                let range = of(*channel)?;
                let (at, value) = strongest(&activation[range.clone()]);
                seed[range.start + at] = value;
            }
            Self::Map(channel) => {
                let range = of(*channel)?;
                seed[range.clone()].copy_from_slice(&activation[range]);
            }
            Self::Direction(direction) => {
                length("a direction", channels, direction.len())?;
                for (seed, &value) in seed.chunks_exact_mut(plane).zip(direction) {
                    seed.fill(value);
                }
            }
            Self::Elements(values) => {
                length("the elements of a start", seed.len(), values.len())?;
                seed.copy_from_slice(values);
            }
        }
        Ok(())
    }
}

/// Place and value of the greatest value; of equal ones the first.
pub fn strongest(values: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    if values.is_empty() || best.1 == f32::NEG_INFINITY { (0, 0.0) } else { best }
}
