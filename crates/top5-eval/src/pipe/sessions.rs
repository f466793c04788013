//! Sessions of one network for the sizes that come.

use top5_graph::{DenseForm, Graph, GraphError, Network, Session, SessionOptions};

use crate::error::EvaluationError;

/// Pixels of all inputs of the sessions that are kept, about: activations take some hundred bytes for each.
const KEPT_PIXELS: usize = 2 << 20;

/// A form of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Height and width of its input.
    pub(super) size: [usize; 2],
    /// Its dense form; none for the network itself.
    pub(super) dense: Option<DenseForm>,
}

impl Form {
    /// The graph of this form of a network; none where it is the network itself. Fails where there is none.
    pub(super) fn of(self, graph: &Graph) -> Result<Option<Graph>, EvaluationError> {
        let [channels, ..] = graph.input();
        let [height, width] = self.size;
        let dense = self.dense.map(|dense| graph.dense_form([channels, height, width], dense));
        let none =
            |source: GraphError| EvaluationError::NoForm { image: None, size: self.size, source };
        dense.transpose().map_err(none)
    }
}

/// The sessions that were used last.
pub(super) struct Sessions<'n> {
    network: &'n dyn Network,
    /// Without auxiliary heads.
    graph: Graph,
    /// Images of the network's own input size at once.
    batch: usize,
    /// The last one was used last.
    kept: Vec<(Form, usize, Box<dyn Session>)>,
}

impl<'n> Sessions<'n> {
    pub(super) fn new(network: &'n dyn Network, graph: Graph, batch: usize) -> Self {
        Self { network, graph, batch, kept: Vec::new() }
    }

    /// The network.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many inputs of this size have about as many pixels as a batch of the network's own.
    pub(super) fn room(&self, size: [usize; 2]) -> usize {
        let [_, height, width] = self.graph.input();
        (self.batch * height * width / (size[0] * size[1]).max(1)).max(1)
    }

    /// The session of a form for up to `batch` inputs.
    pub(super) fn session(
        &mut self,
        form: Form,
        batch: usize,
    ) -> Result<&mut dyn Session, EvaluationError> {
        let found =
            self.kept.iter().position(|(kept, at_once, _)| (*kept, *at_once) == (form, batch));
        let used = match found {
            Some(found) => self.kept.remove(found),
            None => {
                let graph = form.of(&self.graph)?;
                self.make_room(form.size[0] * form.size[1] * batch);
                let options = SessionOptions::inference(batch);
                let session =
                    self.network.session(graph.as_ref().unwrap_or(&self.graph), &options)?;
                (form, batch, session)
            }
        };
        self.kept.push(used);
        let (.., session) = self.kept.last_mut().expect("it was just pushed");
        Ok(session.as_mut())
    }

    /// Gives up the sessions that were used longest ago, until there is room for one more of this many pixels.
    fn make_room(&mut self, pixels: usize) {
        let pixels_of = |(form, batch, _): &(Form, usize, Box<dyn Session>)| {
            form.size[0] * form.size[1] * batch
        };
        let mut kept: usize = self.kept.iter().map(pixels_of).sum();
        while kept + pixels > KEPT_PIXELS && !self.kept.is_empty() {
            kept -= pixels_of(&self.kept.remove(0));
        }
    }
}
