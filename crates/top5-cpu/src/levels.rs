//! How each level of the engine makes the next: the device networks and training, a network sessions.

use crate::device::CpuDevice;
use crate::network::CpuNetwork;
use crate::session::CpuSession;
use crate::training::CpuTraining;
use std::sync::Arc;
use top5_graph::{
    Device, EngineError, Graph, Network, Retain, Session, SessionOptions, Training,
    TrainingOptions, Weights, check_form,
};

impl CpuDevice {
    /// A network, as [`Device::network`] makes it.
    pub fn cpu_network(
        &self,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<CpuNetwork, EngineError> {
        CpuNetwork::new(self, graph, weights, retain)
    }

    /// Training, as [`Device::training`] makes it.
    pub fn cpu_training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<CpuTraining, EngineError> {
        CpuTraining::new(self, graph, weights, options)
    }
}

impl Device for CpuDevice {
    fn network(
        &self,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<Arc<dyn Network>, EngineError> {
        Ok(Arc::new(self.cpu_network(graph, weights, retain)?))
    }

    fn training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Box<dyn Training>, EngineError> {
        Ok(Box::new(self.cpu_training(graph, weights, options)?))
    }
}

impl CpuNetwork {
    /// A session, as [`Network::session`] makes it.
    pub fn cpu_session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<CpuSession, EngineError> {
        check_form(self.graph(), form)?;
        CpuSession::new(self, form, options)
    }
}

impl Network for CpuNetwork {
    fn graph(&self) -> &Graph {
        CpuNetwork::graph(self)
    }

    fn load(&self, weights: Weights) -> Result<(), EngineError> {
        CpuNetwork::load(self, weights)
    }

    fn session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(self.cpu_session(form, options)?))
    }
}
