//! The suite itself: the reference passes it, and engines with faults do not.

use top5_graph::{Engine, EngineError, Forward, Graph, Loss, NodeId, Sgd, StepOptions, Weights};
use top5_testkit::{ReferenceEngine, cases, check_case, conformance};

#[test]
fn reference_passes() {
    conformance(&mut |graph, batch| Box::new(ReferenceEngine::new(graph.clone(), batch)));
}

/// What a faulty engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// One border element of the logits or of a kept activation is off by 0.1 %.
    Element,
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
    /// Kept activations come in reverse order.
    KeptOrder,
}

struct Faulty {
    inner: ReferenceEngine,
    fault: Fault,
}

impl Engine for Faulty {
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

    fn forward(&mut self, images: &[f32], keep: &[NodeId]) -> Result<Forward, EngineError> {
        let mut forward = self.inner.forward(images, keep)?;
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

    fn gradients(
        &mut self,
        images: &[f32],
        labels: &[u32],
        options: &StepOptions,
    ) -> Result<Loss, EngineError> {
        let mut options = *options;
        if self.fault == Fault::Seed {
            options.seed = 0;
        }
        if self.fault == Fault::Smoothing {
            options.label_smoothing = 0.0;
        }
        let before = self.inner.weights();
        let momenta = self.inner.momenta();
        let mut loss = self.inner.gradients(images, labels, &options)?;
        match self.fault {
            Fault::LossSum => loss.value *= labels.len() as f64,
            Fault::Gradients => self.inner.gradient_buffer().iter_mut().for_each(|g| *g *= 2.0),
            Fault::RunningStatistics => {
                self.inner.load(&before)?;
                self.inner.load_momenta(&momenta)?;
            }
            Fault::Element
            | Fault::WeightDecay
            | Fault::Nesterov
            | Fault::Seed
            | Fault::Smoothing
            | Fault::KeptOrder => {}
        }
        Ok(loss)
    }

    fn gradient_buffer(&mut self) -> &mut [f32] {
        self.inner.gradient_buffer()
    }

    fn gradient_tensors(&self) -> Weights {
        self.inner.gradient_tensors()
    }

    fn update(&mut self, sgd: &Sgd) {
        let mut sgd = *sgd;
        if self.fault == Fault::WeightDecay {
            sgd.weight_decay = 0.0;
        }
        if self.fault == Fault::Nesterov {
            sgd.nesterov = false;
        }
        self.inner.update(&sgd);
    }

    fn momenta(&self) -> Weights {
        self.inner.momenta()
    }

    fn load_momenta(&mut self, momenta: &Weights) -> Result<(), EngineError> {
        self.inner.load_momenta(momenta)
    }
}

/// Whether the case of this name finds the fault.
fn found(fault: Fault, case: &str) -> bool {
    let cases = cases::cases();
    let case = cases.iter().find(|c| c.name() == case).expect("the case exists");
    let failures = check_case(case, &mut |graph, batch| {
        Box::new(Faulty { inner: ReferenceEngine::new(graph.clone(), batch), fault })
    });
    !failures.is_empty()
}

#[test]
fn faults_are_found() {
    for fault in [
        Fault::Element,
        Fault::LossSum,
        Fault::Gradients,
        Fault::RunningStatistics,
        Fault::WeightDecay,
        Fault::Nesterov,
        Fault::KeptOrder,
    ] {
        assert!(found(fault, "conv, batch norm, relu"), "{fault:?}");
    }
    for fault in [Fault::Seed, Fault::Smoothing] {
        assert!(found(fault, "dropout of maps and vectors"), "{fault:?}");
    }
}
