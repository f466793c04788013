//! What a plan is for.

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch normalisation with running statistics, folded where possible; no dropout.
    Inference,
    /// Batch statistics, dropout; every activation that a backward pass reads is kept.
    Training,
}

/// What that means to the passes, which ask one question each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Batch normalisation normalises with the batch's statistics, and the running ones follow.
    pub(crate) batch_statistics: bool,
    /// Dropout drops.
    pub(crate) dropout: bool,
    /// Weights change from run to run: they stay packed for direct convolution, and are not folded with others.
    pub(crate) learns: bool,
    /// Steps backward follow, which read the forward pass's activations.
    pub(crate) backward: bool,
}

impl Facts {
    /// Of plans for inference that signals go backward through afterwards.
    pub(crate) fn signals() -> Self {
        Self { backward: true, ..Mode::Inference.facts() }
    }
}

impl Mode {
    pub(crate) fn facts(self) -> Facts {
        let training = self == Self::Training;
        Facts {
            batch_statistics: training,
            dropout: training,
            learns: training,
            backward: training,
        }
    }
}
