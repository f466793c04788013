//! How gradients change weights: the closed set of optimisers, and what else an update depends on.
//!
//! An optimiser is defined once, like an op: the tensors that it keeps per parameter with the value that each begins with
//! ([`Optimizer::states`]), the bounds of its numbers ([`Optimizer::check`]) and, in the documentation of its variant, its
//! rule. The arithmetic is the engines'.
//!
//! With `w` a weight, `g` its gradient (clipped, see [`Clip`]), `lr` and `decay` the group's rate and weight decay, and `t`
//! the number of the step from 1. Everything but AdamW decays by `g ← g + decay·w` first.

mod ema;
mod groups;
mod state;

pub use ema::{Ema, EmaBuffers, EmaWarmup};
pub use groups::{Group, Scales, Select};
pub use state::{StateName, StateTensor, check_state};

/// One update of all weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The rule.
    pub optimizer: Optimizer,
    /// Learning rate.
    pub lr: f32,
    /// Weight decay.
    pub weight_decay: f64,
    /// The number of the step, from 1.
    pub step: u64,
    /// What is otherwise for some parameters.
    pub groups: Vec<Group>,
    /// What is done to the gradients before.
    pub clip: Option<Clip>,
    /// The average of the weights that follows them.
    pub ema: Option<Ema>,
}

impl Update {
    /// The first update by `optimizer`, the same for all parameters, without decay, clipping and average.
    pub fn new(optimizer: Optimizer, lr: f32) -> Self {
        let (groups, clip, ema) = (Vec::new(), None, None);
        Self { optimizer, lr, weight_decay: 0.0, step: 1, groups, clip, ema }
    }

    /// The tensors that an engine keeps from one such update to the next, beside the average of the weights.
    pub fn states(&self) -> Vec<StateTensor> {
        self.optimizer.states()
    }

    /// The first number that is out of its bounds.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        self.optimizer.check()?;
        require(self.lr.is_finite() && self.lr >= 0.0, "lr", RATE)?;
        require(rate(self.weight_decay), "weight_decay", RATE)?;
        self.groups.iter().try_for_each(Group::check)?;
        self.clip.as_ref().map_or(Ok(()), Clip::check)?;
        self.ema.as_ref().map_or(Ok(()), Ema::check)
    }
}

/// The rule of an update. PyTorch's names and, unless said otherwise, PyTorch's definitions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `v ← momentum·v + (1 − dampening)·g` (`v = g` in the first step); `w ← w − lr·v`, or with Nesterov's momentum
    /// `w ← w − lr·(g + momentum·v)`; without momentum `w ← w − lr·g`.
    Sgd(Sgd),
    /// [`Optimizer::Sgd`] on the gradient of each tensor times its `coefficient·‖w‖ / (‖g‖ + decay·‖w‖ + eps)` (You et al.,
    /// arXiv:1708.03888, algorithm 1, with the rate outside of the momentum as timm's `Lars` has it). The factor is 1 for
    /// tensors without weight decay and where either norm is zero.
    Lars(Lars),
    /// Division by the root of a mean square, in PyTorch's form or TensorFlow's: [`RmsPropForm`].
    RmsProp(RmsProp),
    /// `m ← beta1·m + (1 − beta1)·g; v ← beta2·v + (1 − beta2)·g²;
    /// w ← w − lr/(1 − beta1ᵗ) · m / (√(v/(1 − beta2ᵗ)) + eps)` (Kingma & Ba, arXiv:1412.6980, algorithm 1).
    Adam(Adam),
    /// [`Optimizer::Adam`] with decay apart from the gradient: `w ← w − lr·decay·w` first (Loshchilov & Hutter,
    /// arXiv:1711.05101, algorithm 2).
    AdamW(Adam),
}

/// Stochastic gradient descent's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// Momentum; 0 for none.
    pub momentum: f64,
    /// Share of the gradient that the momentum leaves out, after the first step.
    pub dampening: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
}

/// LARS's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lars {
    /// The descent.
    pub sgd: Sgd,
    /// How much a tensor trusts its rate.
    pub coefficient: f64,
    /// Added to the divisor.
    pub eps: f64,
}

/// RMSProp's numbers (Tieleman & Hinton, Lecture 6.5, Coursera 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Which definition.
    pub form: RmsPropForm,
    /// Share of the mean square that stays, and of the mean.
    pub alpha: f64,
    /// Added to the divisor, or within its root.
    pub eps: f64,
    /// Momentum; 0 for none.
    pub momentum: f64,
    /// Divide by the deviation instead: the square of the mean gradient is subtracted from the mean square.
    pub centered: bool,
}

/// The two definitions of RMSProp; `s ← alpha·s + (1 − alpha)·g²` in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RmsPropForm {
    /// `s` begins with 0: `b ← momentum·b + g/(√s + eps); w ← w − lr·b`
    PyTorch,
    /// `s` begins with 1: `b ← momentum·b + lr·g/√(s + eps); w ← w − b`
    TensorFlow,
}

/// Adam's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Share of the mean gradient that stays.
    pub beta1: f64,
    /// Share of the mean square that stays.
    pub beta2: f64,
    /// Added to the divisor.
    pub eps: f64,
}

impl Default for Lars {
    fn default() -> Self {
        Self { sgd: Sgd::default(), coefficient: 0.001, eps: 1e-8 }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

impl RmsProp {
    /// What the form's own library takes where nothing is said.
    pub fn new(form: RmsPropForm) -> Self {
        let (alpha, eps) = match form {
            RmsPropForm::PyTorch => (0.99, 1e-8),
            RmsPropForm::TensorFlow => (0.9, 1e-10),
        };
        Self { form, alpha, eps, momentum: 0.0, centered: false }
    }
}

impl Optimizer {
    /// Its name in recipes: `sgd`, `lars`, `rmsprop`, `rmsprop_tf`, `adam`, `adamw`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sgd(_) => "sgd",
            Self::Lars(_) => "lars",
            Self::RmsProp(RmsProp { form: RmsPropForm::PyTorch, .. }) => "rmsprop",
            Self::RmsProp(RmsProp { form: RmsPropForm::TensorFlow, .. }) => "rmsprop_tf",
            Self::Adam(_) => "adam",
            Self::AdamW(_) => "adamw",
        }
    }

    /// What it keeps for every learned value, in the order that engines hold it in.
    pub fn states(&self) -> Vec<StateTensor> {
        let zero = |name| StateTensor { name, init: 0.0 };
        let momentum = |momentum: f64| (momentum > 0.0).then_some(zero(StateName::MomentumBuffer));
        match self {
            Self::Sgd(sgd) | Self::Lars(Lars { sgd, .. }) => {
                momentum(sgd.momentum).into_iter().collect()
            }
            Self::RmsProp(rms) => {
                let init = match rms.form {
                    RmsPropForm::PyTorch => 0.0,
                    RmsPropForm::TensorFlow => 1.0,
                };
                let square = StateTensor { name: StateName::SquareAvg, init };
                let mean = rms.centered.then_some(zero(StateName::GradAvg));
                [Some(square), mean, momentum(rms.momentum)].into_iter().flatten().collect()
            }
            Self::Adam(_) | Self::AdamW(_) => {
                vec![zero(StateName::ExpAvg), zero(StateName::ExpAvgSq)]
            }
        }
    }

    /// Whether weight decay leaves the gradient alone.
    pub fn decay_is_apart(&self) -> bool {
        match self {
            Self::AdamW(_) => true,
            Self::Sgd(_) | Self::Lars(_) | Self::RmsProp(_) | Self::Adam(_) => false,
        }
    }

    /// The first number that is out of its bounds.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Sgd(sgd) => sgd.check(),
            Self::Lars(Lars { sgd, coefficient, eps }) => {
                sgd.check()?;
                require(positive(*coefficient), "coefficient", POSITIVE)?;
                require(rate(*eps), "eps", RATE)
            }
            Self::RmsProp(RmsProp { alpha, eps, momentum, .. }) => {
                require(share(*alpha), "alpha", SHARE)?;
                require(positive(*eps), "eps", POSITIVE)?;
                require(share(*momentum), "momentum", SHARE)
            }
            Self::Adam(Adam { beta1, beta2, eps }) | Self::AdamW(Adam { beta1, beta2, eps }) => {
                require(share(*beta1), "beta1", SHARE)?;
                require(share(*beta2), "beta2", SHARE)?;
                require(positive(*eps), "eps", POSITIVE)
            }
        }
    }
}

impl Sgd {
    fn check(&self) -> Result<(), OutOfBounds> {
        let Self { momentum, dampening, nesterov } = *self;
        require(share(momentum), "momentum", SHARE)?;
        require((0.0..=1.0).contains(&dampening), "dampening", "from 0 to 1")?;
        let sensible = !nesterov || (momentum > 0.0 && dampening == 0.0);
        require(sensible, "nesterov", "false where there is no momentum, or dampening")
    }
}

/// A limit to the gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// To the norm of all gradients together: each is multiplied by `min(1, limit / (norm + 1e-6))`, as PyTorch's
    /// `clip_grad_norm_` does. Those of frozen parameters do not count.
    Norm(f64),
    /// To each value: it is brought into `−limit…limit`, as `clip_grad_value_` does.
    Value(f64),
}

impl Clip {
    /// The factor of gradients whose norm is `norm`.
    pub fn factor(&self, norm: f64) -> f64 {
        match self {
            Self::Norm(limit) => (limit / (norm + 1e-6)).min(1.0),
            Self::Value(_) => 1.0,
        }
    }

    fn check(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Norm(limit) => require(positive(*limit), "clip_norm", POSITIVE),
            Self::Value(limit) => require(positive(*limit), "clip_value", POSITIVE),
        }
    }
}

/// A number that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds {
    /// The number's name.
    pub key: &'static str,
    /// What it must be.
    pub expected: &'static str,
}

const RATE: &str = "a finite number from 0 on";
const SHARE: &str = "from 0 to less than 1";
const POSITIVE: &str = "a finite number above 0";

fn require(holds: bool, key: &'static str, expected: &'static str) -> Result<(), OutOfBounds> {
    if holds { Ok(()) } else { Err(OutOfBounds { key, expected }) }
}

/// Single precision must hold the number, too.
fn rate(value: f64) -> bool {
    value >= 0.0 && (value as f32).is_finite()
}

fn positive(value: f64) -> bool {
    value as f32 > 0.0 && (value as f32).is_finite()
}

fn share(value: f64) -> bool {
    (0.0..1.0).contains(&value) && (value as f32) < 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGD: Sgd = Sgd { momentum: 0.9, dampening: 0.0, nesterov: true };

    #[test]
    fn states_are_those_that_the_rule_names() {
        let names = |optimizer: Optimizer| -> Vec<&str> {
            optimizer.states().into_iter().map(|state| state.name.name()).collect()
        };
        assert_eq!(names(Optimizer::Sgd(Sgd::default())), [""; 0]);
        assert_eq!(
            names(Optimizer::Lars(Lars { sgd: SGD, ..Lars::default() })),
            ["momentum_buffer"]
        );
        let rms =
            RmsProp { momentum: 0.9, centered: true, ..RmsProp::new(RmsPropForm::TensorFlow) };
        assert_eq!(names(Optimizer::RmsProp(rms)), ["square_avg", "grad_avg", "momentum_buffer"]);
        assert_eq!(Optimizer::RmsProp(rms).states()[0].init, 1.0);
        assert_eq!(names(Optimizer::AdamW(Adam::default())), ["exp_avg", "exp_avg_sq"]);
    }

    #[test]
    fn numbers_out_of_bounds_are_named() {
        let good = Update::new(Optimizer::Sgd(SGD), 0.1);
        assert_eq!(good.check(), Ok(()));
        let optimizer = |optimizer| Update { optimizer, ..good.clone() };
        let sgd = |sgd| optimizer(Optimizer::Sgd(sgd));
        let adam = |adam| optimizer(Optimizer::Adam(adam));
        let rms = RmsProp::new(RmsPropForm::PyTorch);
        for (update, key) in [
            (Update { lr: f32::NAN, ..good.clone() }, "lr"),
            (Update { lr: -0.1, ..good.clone() }, "lr"),
            (Update { weight_decay: 1e39, ..good.clone() }, "weight_decay"),
            (sgd(Sgd { momentum: 1.0, ..SGD }), "momentum"),
            (sgd(Sgd { dampening: 0.5, ..SGD }), "nesterov"),
            (sgd(Sgd { momentum: 0.0, ..SGD }), "nesterov"),
            (adam(Adam { beta1: 0.9999999999, ..Adam::default() }), "beta1"),
            (adam(Adam { beta2: -0.1, ..Adam::default() }), "beta2"),
            (adam(Adam { eps: 1e-60, ..Adam::default() }), "eps"),
            (optimizer(Optimizer::RmsProp(RmsProp { alpha: f64::NAN, ..rms })), "alpha"),
            (
                optimizer(Optimizer::Lars(Lars { coefficient: 0.0, ..Lars::default() })),
                "coefficient",
            ),
            (Update { clip: Some(Clip::Norm(0.0)), ..good.clone() }, "clip_norm"),
            (Update { clip: Some(Clip::Value(f64::INFINITY)), ..good.clone() }, "clip_value"),
            (Update { ema: Some(Ema::new(1.5)), ..good.clone() }, "ema"),
            (Update { groups: vec![Group::all().lr(-1.0)], ..good.clone() }, "groups"),
        ] {
            assert_eq!(update.check().map_err(|error| error.key), Err(key), "{update:?}");
        }
    }

    /// `min(1, limit / (norm + 1e-6))`
    #[test]
    fn clipping_shrinks_and_never_grows() {
        assert_eq!(Clip::Norm(2.0).factor(1.0), 1.0);
        assert_eq!(Clip::Norm(2.0).factor(0.0), 1.0);
        assert!((Clip::Norm(2.0).factor(4.0) - 0.5).abs() < 1e-6);
        assert_eq!(Clip::Value(0.1).factor(4.0), 1.0);
    }
}
