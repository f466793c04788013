//! A network that is asked by several methods: it keeps the sessions that were used last.

use std::sync::Arc;

use top5_graph::{Graph, Network, NodeId, Session, SessionOptions, Stop, Tensor};

use super::{Explanation, Method, Target};
use crate::error::ExplainError;
use crate::layers;
use crate::map::Map;
use crate::receptive::{self, Field};
use crate::signal::{Path, Projector, Start};

/// Sessions with a backward pass that are kept; guided Grad-CAM takes turns between two.
const KEPT: usize = 2;

/// Called before each of the passes that a method takes; gives the most images of it.
pub type Pace = Arc<dyn Fn() -> usize + Send + Sync>;

/// A network, ready to be explained. Images are prepared ones, `[c, h, w]` in row-major order.
pub struct Explainer {
    network: Arc<dyn Network>,
    graph: Graph,
    layer: Option<NodeId>,
    batch: usize,
    stop: Option<Stop>,
    pace: Option<Pace>,
    projectors: Vec<(Path, Projector)>,
    inference: Option<Box<dyn Session>>,
    culprit: Vec<f32>,
}

impl Explainer {
    /// For a network made with [`Retain::Tensors`](top5_graph::Retain), at most `batch` images at once. `layer` names the layer of
    /// methods that look at one; without it, it is [`layers::default_layer`]. Fails where there is no such layer.
    pub fn new(
        network: Arc<dyn Network>,
        layer: Option<&str>,
        batch: usize,
    ) -> Result<Self, ExplainError> {
        let graph = network.graph().inference();
        let layer = match layer {
            Some(name) => Some(layers::layer(&graph, Some(name))?),
            None => layers::default_layer(&graph),
        };
        let batch = batch.max(1);
        let (projectors, inference, culprit) = (Vec::new(), None, Vec::new());
        let (stop, pace) = (None, None);
        Ok(Self { network, graph, layer, batch, stop, pace, projectors, inference, culprit })
    }

    /// The same for another network of the same graph, as of new weights.
    #[must_use]
    pub fn of_network(&self, network: Arc<dyn Network>) -> Self {
        let (graph, stop, pace) = (self.graph.clone(), self.stop.clone(), self.pace.clone());
        let (projectors, inference, culprit) = (Vec::new(), None, Vec::new());
        let Self { layer, batch, .. } = *self;
        Self { network, graph, layer, batch, stop, pace, projectors, inference, culprit }
    }

    /// With a flag that ends calls early.
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// With passes of fewer images where others are in need of the device. The answers are the same bits.
    pub fn paced_by(self, pace: Pace) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// The images of the next pass of so many that are left, at least one.
    pub(super) fn next(&self, left: usize) -> usize {
        let most = self.pace.as_ref().map_or(self.batch, |pace| pace().clamp(1, self.batch));
        most.min(left)
    }

    /// The network, without auxiliary heads.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The network with its weights.
    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// A session of a form of the network that keeps the activations of these nodes, for up to `batch` images; its calls end early, as
    /// the explainer's do.
    pub fn session(
        &self,
        form: &Graph,
        keep: Vec<NodeId>,
        batch: usize,
    ) -> Result<Box<dyn Session>, ExplainError> {
        let stop = self.stop.clone();
        let options = SessionOptions { keep, stop, ..SessionOptions::inference(batch) };
        Ok(self.network.session(form, &options)?)
    }

    /// The most images at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The layer of methods that look at one, if the network has it.
    pub fn layer(&self) -> Option<NodeId> {
        self.layer
    }

    /// The signal from a layer's activation, as `start` says, back to the image: `[1, c, h, w]`.
    pub fn project(
        &mut self,
        method: &Method,
        layer: NodeId,
        start: Start,
        image: &[f32],
    ) -> Result<Tensor, ExplainError> {
        let rule = method.rule().ok_or_else(|| ExplainError::Setting {
            key: "method",
            expected: "one with a backward pass".to_owned(),
        })?;
        let path = Path::projection(&self.graph, layer, rule);
        let projector = self.projector(&path)?;
        projector.forward(image)?;
        Ok(projector.backward(&[start])?.remove(0))
    }

    /// The logits of up to [`Explainer::batch`] images, `[n, classes]`.
    pub fn logits(&mut self, images: &[f32]) -> Result<Tensor, ExplainError> {
        if self.inference.is_none() {
            self.inference = Some(self.session(&self.graph, Vec::new(), self.batch)?);
        }
        let session = self.inference.as_mut().expect("it was made above");
        let logits = session.forward(images)?.logits;
        let Some(at) = logits.data().iter().position(|v| !v.is_finite()) else {
            return Ok(logits);
        };
        let sample: usize = self.graph.input().iter().product();
        let image = at / self.graph.classes() * sample;
        self.culprit = images[image..image + sample].to_vec();
        Err(ExplainError::NotFinite { what: "an answer of the network".to_owned() })
    }

    /// The last image to which an answer was not finite, prepared; empty if there was none.
    pub fn culprit(&self) -> &[f32] {
        &self.culprit
    }

    /// A session with this backward pass: one of those that were used last, or a new one. Its forward pass also returns the
    /// activations of the layers that the pass ends at.
    pub fn projector(&mut self, path: &Path) -> Result<&mut Projector, ExplainError> {
        match self.projectors.iter().position(|(of, _)| of == path) {
            Some(at) => {
                let found = self.projectors.remove(at);
                self.projectors.push(found);
            }
            None => {
                // Memory of the oldest is free before that of the new one is taken.
                if self.projectors.len() == KEPT {
                    self.projectors.remove(0);
                }
                let stop = self.stop.clone();
                let keep: Vec<NodeId> =
                    path.to.iter().copied().filter(|node| node.index() > 0).collect();
                let new =
                    Projector::new(&*self.network, &self.graph, path, self.batch, &keep, stop)?;
                self.projectors.push((path.clone(), new));
            }
        }
        Ok(&mut self.projectors.last_mut().expect("one was pushed above").1)
    }

    /// The layer that has a map, and the field of its cells.
    pub(super) fn map_layer(&self) -> Result<(NodeId, Field), ExplainError> {
        let name = self.layer.map(|layer| self.graph.node(layer).name.clone());
        let layer = layers::map_layer(&self.graph, name.as_deref())?;
        Ok((layer, receptive::field(&self.graph, layer)))
    }

    /// An explanation by a signal at the image: signed sums where signs mean something, else magnitudes.
    pub(super) fn of_signal(
        &self,
        signal: Tensor,
        signed: bool,
    ) -> Result<Explanation, ExplainError> {
        let map = if signed { Map::sum_of(&signal)? } else { Map::magnitude_of(&signal)? };
        Ok(Explanation { map, signal: Some(signal), cells: None, notes: Vec::new() })
    }
}

impl Target {
    /// Where its signal starts in the logits.
    pub(super) fn start(self) -> Start {
        match self.against {
            None => Start::Channel(self.class),
            Some(against) => Start::Difference(self.class, against),
        }
    }
}
