//! The second level: a graph with its parameters.

use super::{EngineError, Session, SessionOptions};
use crate::graph::Graph;
use crate::weights::Weights;

/// A graph with its parameters, which are packed once for each form that the sessions need and shared by all of them.
pub trait Network: Send + Sync {
    /// The graph that it was made for.
    fn graph(&self) -> &Graph;

    /// Replaces the weights: a call that a session is in ends on the old ones, and its next call uses the new ones. On an
    /// error nothing changes.
    fn load(&self, weights: Weights) -> Result<(), EngineError>;

    /// A session for `form`: the network's graph, or one made from it with the same parameters by name and number of
    /// elements, as [`Graph::inference`], [`Graph::with_input`] and [`Graph::dense`] make them.
    fn session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError>;
}

/// Fails unless every parameter of `form` is one of `graph`, with as many elements.
pub fn check_form(graph: &Graph, form: &Graph) -> Result<(), EngineError> {
    let own: std::collections::BTreeMap<String, usize> =
        graph.params().map(|(name, param)| (name, param.elements())).collect();
    let wrong = form.params().find(|(name, param)| own.get(name) != Some(&param.elements()));
    match wrong {
        None => Ok(()),
        Some((parameter, param)) => Err(EngineError::Form {
            network: graph.name().to_owned(),
            form: form.name().to_owned(),
            expected: own.get(&parameter).copied(),
            got: param.elements(),
            parameter,
        }),
    }
}
