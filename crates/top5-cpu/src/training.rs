//! Training: master weights, gradients and the optimiser's state beside a plan for a step.

use crate::buckets::Gradients;
use crate::device::CpuDevice;
use crate::network::CpuNetwork;
use crate::optimizer::{Parameters, State};
use crate::packed::ParamMemory;
use crate::purpose::Mode;
use crate::run::Executor;
use crate::session::{count, tensor_of};
use crate::step::{Outside, Run};
use crate::summary::PlanSummary;
use std::collections::BTreeMap;
use std::sync::Arc;
use top5_graph::{
    EngineError, Graph, Loss, Network, Reducer, StepOptions, Targets, Training, TrainingOptions,
    Update, Weights, check_state,
};
use top5_kernels::Arena;

/// Training on the CPU.
pub struct CpuTraining {
    device: CpuDevice,
    graph: Graph,
    options: TrainingOptions,
    executor: Executor,
    summary: PlanSummary,
    /// Parameters and buffers, laid out by the plan's packed parameters.
    params: Arena,
    /// Laid out like the learned part of them.
    gradients: Gradients,
    state: State,
    published: Option<CpuNetwork>,
}

impl CpuTraining {
    pub(crate) fn new(
        device: &CpuDevice,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Self, EngineError> {
        weights.check(graph)?;
        let options = TrainingOptions { batch: options.batch.max(1), ..options.clone() };
        let machinery = device.machinery(options.batch, Mode::Training);
        let (program, plan) = device.make(graph, &machinery, &[], None)?;
        let summary = PlanSummary::new(graph, &machinery, &program, &plan);
        let mut params = Arena::new(program.packed.len);
        program.packed.load(device.threads(), weights, &mut params);
        let written = program.gradients();
        let gradients = Gradients::new(&program.packed, program.learned, &written, options.bucket);
        Ok(Self {
            device: device.clone(),
            graph: graph.clone(),
            gradients,
            state: State::default(),
            executor: Executor::new(&machinery, program, plan),
            options,
            summary,
            params,
            published: None,
        })
    }

    /// Its plan.
    pub fn summary(&self) -> &PlanSummary {
        &self.summary
    }

    /// Runs [`Training::gradients`], and calls `before` as [`CpuSession::trace`](crate::CpuSession::trace) does.
    pub fn trace(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        reducer: Option<&mut dyn Reducer>,
        before: &mut dyn FnMut(usize),
    ) -> Result<Loss, EngineError> {
        let n = count(&self.graph, self.options.batch, images)?;
        targets.check(n, &self.graph)?;
        let Self { device, executor, params, gradients, .. } = self;
        let _turn = device.turn();
        let &StepOptions { label_smoothing: smoothing, seed, first, scale, accumulate } = options;
        let (threads, stop) = (device.threads(), self.options.stop.as_ref());
        let run = Run { threads, n, images, targets, smoothing, scale, seed, first, stop };
        gradients.begin(accumulate);
        let mut outside = Outside {
            params: ParamMemory::Whole(params),
            gradients: Some(&mut *gradients),
            reducer,
            measured: Vec::new(),
            before,
        };
        let value = executor.run(&run, &mut outside)?;
        let Outside { reducer, measured, .. } = outside;
        gradients.finish(reducer)?;
        let packed = &executor.program.packed;
        measured.iter().for_each(|measured| measured.follow(packed, params));
        let finite = value.is_finite() && gradients.are_finite(threads);
        let logits = tensor_of(executor, self.graph.logits().id, vec![self.graph.classes()], n);
        Ok(Loss { value, logits, finite })
    }

    /// The shapes of all parameters, or of the learned ones.
    fn shapes(&self, learned: bool) -> BTreeMap<String, &[usize]> {
        let wanted = self.graph.params().filter(|(_, param)| param.learned || !learned);
        wanted.map(|(name, param)| (name, param.shape.as_slice())).collect()
    }
}

impl Training for CpuTraining {
    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn batch(&self) -> usize {
        self.options.batch
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        weights.check(&self.graph)?;
        let packed = &self.executor.program.packed;
        packed.load(self.device.threads(), weights, &mut self.params);
        self.state = State::default();
        Ok(())
    }

    fn weights(&self) -> Weights {
        self.executor.program.packed.store(&self.params, &self.shapes(false))
    }

    fn gradients(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        reducer: Option<&mut dyn Reducer>,
    ) -> Result<Loss, EngineError> {
        self.trace(images, targets, options, reducer, &mut |_| ())
    }

    fn gradient_tensors(&self) -> Weights {
        self.executor.program.packed.store(&self.gradients.whole(), &self.shapes(true))
    }

    fn update(&mut self, update: &Update) {
        let _turn = self.device.turn();
        let parameters = &mut Parameters {
            graph: &self.graph,
            packed: &self.executor.program.packed,
            values: &mut self.params,
            gradients: &self.gradients,
            learned: self.executor.program.learned,
            isa: self.device.isa(),
            threads: self.device.threads(),
        };
        self.state.update(update, parameters);
    }

    fn state(&self) -> Weights {
        let packed = &self.executor.program.packed;
        self.state.store(packed, &self.shapes(false), &self.shapes(true))
    }

    fn load_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        check_state(state, &self.graph)?;
        let program = &self.executor.program;
        self.state = State::load(self.device.threads(), state, &program.packed, program.learned);
        Ok(())
    }

    fn publish(&mut self) -> Result<Arc<dyn Network>, EngineError> {
        let weights = self.weights();
        let network = match self.published.take() {
            Some(network) => {
                network.load(weights)?;
                network
            }
            None => CpuNetwork::new(&self.device, &self.graph, weights, self.options.retain)?,
        };
        self.published = Some(network.clone());
        Ok(Arc::new(network))
    }
}
