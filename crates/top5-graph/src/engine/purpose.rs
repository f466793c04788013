//! What a plan is for: which statistics normalise, whether dropout drops, and what a backward pass computes.

use crate::graph::NodeId;

/// Three separate facts; most of the eight combinations that they leave open are of use to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purpose {
    /// What batch normalisation normalises with.
    pub statistics: Statistics,
    /// Whether dropout drops anything.
    pub dropout: bool,
    /// What is computed backward.
    pub backward: Backward,
}

/// What batch normalisation normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The running statistics, which are parameters.
    Running,
    /// Those of the batch; the running ones follow them.
    Batch,
}

/// A backward pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backward {
    /// None.
    None,
    /// From the loss to every learned parameter.
    Parameters,
    /// From one activation to others, by a rule.
    From(Signals),
}

/// A backward pass from a node: it sends a signal from one activation back to others, and computes no gradient of
/// parameters. What no path leads to gets zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signals {
    /// Where it starts.
    pub from: NodeId,
    /// Where it ends, in the order of the results. Node 0 is the image.
    pub to: Vec<NodeId>,
    /// What each op does to the signal.
    pub rule: Rule,
}

/// How a signal goes back through the ops on which the methods disagree. Through all others it goes by their derivative:
/// convolutions transpose, pooling sends it to the maximum that the forward pass took, batch normalisation with running
/// statistics multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Of ReLU.
    pub relu: ReluRule,
    /// Of local response normalisation.
    pub lrn: LrnRule,
    /// Of the factors of a scale, as in squeeze and excitation.
    pub gates: GateRule,
}

/// Which signals pass a ReLU backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReluRule {
    /// Where its input was positive: the derivative.
    Plain,
    /// Where its input was positive and the signal is (Springenberg et al., ICLR workshop 2015, "Striving for
    /// Simplicity").
    Guided,
    /// Where the signal is positive, whatever its input was (Zeiler & Fergus, ECCV 2014, section 2.1).
    Deconvnet,
}

/// What local response normalisation does to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LrnRule {
    /// Its derivative.
    Derivative,
    /// Nothing.
    Identity,
}

/// What the factors of a scale get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateRule {
    /// Their share of the derivative.
    Through,
    /// Nothing: they are taken for constants.
    Held,
}

impl Purpose {
    /// As at inference: running statistics, no dropout, nothing backward.
    pub fn inference() -> Self {
        Self { statistics: Statistics::Running, dropout: false, backward: Backward::None }
    }

    /// As while learning: the batch's statistics, dropout, gradients of all parameters.
    pub fn training() -> Self {
        Self { statistics: Statistics::Batch, dropout: true, backward: Backward::Parameters }
    }

    /// As at inference, and then signals backward from a node to others.
    pub fn explanation(from: NodeId, to: Vec<NodeId>, rule: Rule) -> Self {
        Self { backward: Backward::From(Signals { from, to, rule }), ..Self::inference() }
    }
}

impl Default for Purpose {
    fn default() -> Self {
        Self::inference()
    }
}

impl Rule {
    /// The derivative everywhere.
    pub fn gradient() -> Self {
        Self { relu: ReluRule::Plain, lrn: LrnRule::Derivative, gates: GateRule::Through }
    }

    /// Guided backpropagation, with gates held.
    pub fn guided() -> Self {
        Self { relu: ReluRule::Guided, gates: GateRule::Held, ..Self::gradient() }
    }

    /// DeconvNet: gates held; the paper does not say how contrast normalisation is inverted, so it is passed over.
    pub fn deconvnet() -> Self {
        Self { relu: ReluRule::Deconvnet, lrn: LrnRule::Identity, gates: GateRule::Held }
    }
}
