//! The suite itself: the reference passes it, and engines with faults do not.

use std::sync::{Arc, Mutex};
use top5_graph::{
    Backward, Bucket, Device, EngineError, Forward, Graph, Loss, Network, NodeId, Optimizer,
    Reducer, Retain, Rule, Session, SessionOptions, StepOptions, Targets, Tensor, Training,
    TrainingOptions, Update, Weights,
};
use top5_testkit::{
    ReferenceDevice, Tolerance, cases, check_beside, check_case, check_signals, conformance,
    signal_conformance,
};

#[test]
fn reference_passes() {
    conformance(&|| Box::new(ReferenceDevice), Tolerance::F32);
}

#[test]
fn reference_passes_backward_from_nodes() {
    signal_conformance(&|| Box::new(ReferenceDevice), Tolerance::F32);
}

/// What a faulty engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// One border element of the logits or of a kept activation is off by 0.1 %.
    Element,
    /// Kept activations come in reverse order.
    KeptOrder,
    /// Sessions go on with the weights that they began with.
    Replacement,
    /// Wrong weights are taken where they fit.
    Check,
    /// Every signal goes back by the gradient's rule.
    Rule,
    /// Signals are added to those of the call before.
    Leftover,
    /// A switch is one place off.
    Switch,
    /// The loss is the sum over the batch.
    LossSum,
    /// The gradients are those of a loss twice as large.
    Gradients,
    /// The running statistics stay as they are.
    RunningStatistics,
    /// The update has no weight decay.
    WeightDecay,
    /// The update takes plain momentum for Nesterov's.
    Nesterov,
    /// All dropout masks are those of seed 0.
    Seed,
    /// Label smoothing is ignored.
    Smoothing,
    /// Of a distribution only the most probable class counts.
    Distribution,
    /// Gradients are not accumulated.
    Accumulate,
    /// The network that was published first is never loaded anew.
    Published,
    /// What a reducer did to the gradients is lost.
    Reduction,
    /// Statistics are not synchronised.
    Synchronisation,
    /// A stopped step lets the running statistics follow.
    Stopped,
    /// Everything is finite.
    Finite,
}

#[derive(Clone, Copy)]
struct FaultyDevice(Fault);

impl Device for FaultyDevice {
    fn network(
        &self,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<Arc<dyn Network>, EngineError> {
        let weights = Mutex::new(weights);
        let first = weights.lock().unwrap().clone();
        let inner = ReferenceDevice.network(graph, first, retain)?;
        Ok(Arc::new(FaultyNetwork { inner, weights, fault: self.0 }))
    }

    fn training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Box<dyn Training>, EngineError> {
        let inner = ReferenceDevice.training(graph, weights, options)?;
        Ok(Box::new(FaultyTraining { inner, fault: self.0, published: None }))
    }
}

struct FaultyNetwork {
    inner: Arc<dyn Network>,
    weights: Mutex<Weights>,
    fault: Fault,
}

impl Network for FaultyNetwork {
    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn load(&self, weights: Weights) -> Result<(), EngineError> {
        if self.fault == Fault::Check {
            let mut ours = self.weights.lock().unwrap();
            for (name, tensor) in weights.iter() {
                if let Some(old) = ours.tensor_mut(name).filter(|t| t.shape() == tensor.shape()) {
                    *old = tensor.clone();
                }
            }
            return self.inner.load(ours.clone());
        }
        weights.check(self.graph())?;
        *self.weights.lock().unwrap() = weights.clone();
        if self.fault == Fault::Replacement { Ok(()) } else { self.inner.load(weights) }
    }

    fn session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        let mut options = options.clone();
        if let (Fault::Rule, Backward::From(signals)) = (self.fault, &mut options.purpose.backward)
        {
            signals.rule = Rule::gradient();
        }
        let inner = self.inner.session(form, &options)?;
        Ok(Box::new(FaultySession { inner, fault: self.fault, before: Vec::new() }))
    }
}

struct FaultySession {
    inner: Box<dyn Session>,
    fault: Fault,
    before: Vec<Tensor>,
}

impl Session for FaultySession {
    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn batch(&self) -> usize {
        self.inner.batch()
    }

    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError> {
        let mut forward = self.inner.forward(images)?;
        self.before.clear();
        if self.fault == Fault::KeptOrder {
            forward.kept.reverse();
        }
        if self.fault == Fault::Element {
            for tensor in std::iter::once(&mut forward.logits).chain(&mut forward.kept) {
                let largest =
                    tensor.data_mut().iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
                *largest.unwrap() *= 1.001;
            }
        }
        Ok(forward)
    }

    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        let mut signals = self.inner.backward(seed)?;
        if self.fault == Fault::Leftover {
            for (signal, before) in signals.iter_mut().zip(&self.before) {
                let pairs = signal.data_mut().iter_mut().zip(before.data());
                pairs.for_each(|(now, before)| *now += before);
            }
            self.before.clone_from(&signals);
        }
        Ok(signals)
    }

    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError> {
        let mut switches = self.inner.switches(pool)?;
        if self.fault == Fault::Switch {
            *switches.last_mut().unwrap() ^= 1;
        }
        Ok(switches)
    }
}

struct FaultyTraining {
    inner: Box<dyn Training>,
    fault: Fault,
    published: Option<Arc<dyn Network>>,
}

/// Hands on what happens, but for what is to be lost.
struct Lossy<'a>(&'a mut dyn Reducer, Fault);

struct Copied(Vec<f32>);

impl top5_graph::Values for Copied {
    fn values(&self) -> &[f32] {
        &self.0
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Reducer for Lossy<'_> {
    fn synchronises(&self) -> bool {
        self.1 != Fault::Synchronisation && self.0.synchronises()
    }

    fn statistics(&mut self, node: NodeId, sums: &mut [f64]) -> Result<(), EngineError> {
        self.0.statistics(node, sums)
    }

    fn ready(&mut self, bucket: Bucket) -> Result<(), EngineError> {
        self.0.ready(bucket)
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        let mut buckets = self.0.finish()?;
        if self.1 == Fault::Reduction {
            // As if only the first bucket had been written back.
            for bucket in buckets.iter_mut().skip(1) {
                let doubled = bucket.values.values().iter().map(|g| 2.0 * g).collect();
                bucket.values = Box::new(Copied(doubled));
            }
        }
        Ok(buckets)
    }
}

impl Training for FaultyTraining {
    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn batch(&self) -> usize {
        self.inner.batch()
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        self.inner.load(weights)
    }

    fn weights(&self) -> Weights {
        self.inner.weights()
    }

    fn gradients(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        reducer: Option<&mut dyn Reducer>,
    ) -> Result<Loss, EngineError> {
        let (mut options, mut targets) = (*options, targets);
        let classes = self.graph().classes();
        let mut hard = Vec::new();
        match self.fault {
            Fault::Seed => options.seed = 0,
            Fault::Smoothing => options.label_smoothing = 0.0,
            Fault::Accumulate => options.accumulate = false,
            Fault::Gradients => options.scale *= 2.0,
            Fault::Distribution => {
                if let Targets::Distributions(values) = targets {
                    let largest = |row: &[f32]| {
                        (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u32
                    };
                    hard.extend(values.chunks_exact(classes).map(largest));
                    targets = Targets::Classes(&hard);
                }
            }
            Fault::Element
            | Fault::KeptOrder
            | Fault::Replacement
            | Fault::Check
            | Fault::Rule
            | Fault::Leftover
            | Fault::Switch
            | Fault::LossSum
            | Fault::RunningStatistics
            | Fault::WeightDecay
            | Fault::Nesterov
            | Fault::Published
            | Fault::Reduction
            | Fault::Synchronisation
            | Fault::Stopped
            | Fault::Finite => {}
        }
        let before = self.inner.weights();
        let state = self.inner.state();
        let mut lossy = reducer.map(|reducer| Lossy(reducer, self.fault));
        let reducer = lossy.as_mut().map(|lossy| lossy as &mut dyn Reducer);
        let result = self.inner.gradients(images, targets, &options, reducer);
        let restores = matches!(
            (self.fault, &result),
            (Fault::RunningStatistics, Ok(_)) | (Fault::Stopped, Err(EngineError::Stopped))
        );
        if restores {
            let mut other = before;
            if self.fault == Fault::Stopped {
                let names = other.iter().map(|(name, _)| name.to_owned());
                let name = names.into_iter().find(|name| name.ends_with("running_mean"));
                let tensor = name.and_then(|name| other.tensor_mut(&name));
                tensor.into_iter().for_each(|tensor| tensor.data_mut()[0] += 0.1);
            }
            self.inner.load(&other)?;
            self.inner.load_state(&state)?;
        }
        let mut loss = result?;
        if self.fault == Fault::LossSum {
            loss.value *= (loss.logits.data().len() / classes) as f64;
        }
        loss.finite |= self.fault == Fault::Finite;
        Ok(loss)
    }

    fn gradient_tensors(&self) -> Weights {
        self.inner.gradient_tensors()
    }

    fn update(&mut self, update: &Update) {
        let mut update = update.clone();
        if self.fault == Fault::WeightDecay {
            update.weight_decay = 0.0;
        }
        if let (Fault::Nesterov, Optimizer::Sgd(sgd)) = (self.fault, &mut update.optimizer) {
            sgd.nesterov = false;
        }
        self.inner.update(&update);
    }

    fn state(&self) -> Weights {
        self.inner.state()
    }

    fn load_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        self.inner.load_state(state)
    }

    fn publish(&mut self) -> Result<Arc<dyn Network>, EngineError> {
        if let (Fault::Published, Some(network)) = (self.fault, &self.published) {
            return Ok(Arc::clone(network));
        }
        if self.fault != Fault::Published {
            return self.inner.publish();
        }
        let (graph, weights) = (self.inner.graph().clone(), self.inner.weights());
        let network = ReferenceDevice.network(&graph, weights, Retain::Nothing)?;
        self.published = Some(Arc::clone(&network));
        Ok(network)
    }
}

/// Whether the case of this name finds the fault.
fn found(fault: Fault, case: &str) -> bool {
    let cases = cases::cases();
    let case = cases.iter().find(|c| c.name() == case).expect("the case exists");
    let goes_back = matches!(fault, Fault::Rule | Fault::Leftover | Fault::Switch);
    let check = if goes_back { check_signals } else { check_case };
    !check(case, &|| Box::new(FaultyDevice(fault)), Tolerance::F32).is_empty()
}

#[test]
fn faults_are_found() {
    for fault in [
        Fault::Element,
        Fault::KeptOrder,
        Fault::Rule,
        Fault::Leftover,
        Fault::LossSum,
        Fault::Gradients,
        Fault::RunningStatistics,
        Fault::WeightDecay,
        Fault::Nesterov,
        Fault::Distribution,
        Fault::Accumulate,
        Fault::Published,
    ] {
        assert!(found(fault, "conv, batch norm, relu"), "{fault:?}");
    }
    for fault in [Fault::Seed, Fault::Smoothing] {
        assert!(found(fault, "dropout of maps and vectors"), "{fault:?}");
    }
    assert!(found(Fault::Switch, "overlapping pools, rounded up"));
}

#[test]
fn faults_beside_the_cases_are_found() {
    for fault in [
        Fault::Replacement,
        Fault::Check,
        Fault::Reduction,
        Fault::Synchronisation,
        Fault::Stopped,
        Fault::Finite,
    ] {
        let failures = check_beside(&|| Box::new(FaultyDevice(fault)), Tolerance::F32);
        assert!(!failures.is_empty(), "{fault:?}");
    }
}
