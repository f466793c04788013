//! What a recipe says of the optimiser, in words: the update of a step.

use serde::{Deserialize, Serialize};
use top5_graph::{
    Adam, Clip, Ema, EmaBuffers, EmaWarmup, Group, Lars, Optimizer, OutOfBounds, RmsProp,
    RmsPropForm, Select, Sgd, Update,
};

use super::Recipe;

/// [`Optimizer`] in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// [`Optimizer::Sgd`].
    #[default]
    Sgd,
    /// [`Optimizer::Lars`].
    Lars,
    /// [`Optimizer::RmsProp`] in PyTorch's form.
    #[serde(rename = "rmsprop")]
    RmsProp,
    /// [`Optimizer::RmsProp`] in TensorFlow's form.
    #[serde(rename = "rmsprop_tf")]
    RmsPropTf,
    /// [`Optimizer::Adam`].
    Adam,
    /// [`Optimizer::AdamW`].
    #[serde(rename = "adamw")]
    AdamW,
}

/// Parameters of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// [`Select::Norms`].
    Norms,
    /// [`Select::Biases`].
    Biases,
}

/// [`EmaBuffers`] in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmaBuffersName {
    /// [`EmaBuffers::Average`].
    #[default]
    Average,
    /// [`EmaBuffers::Copy`].
    Copy,
}

/// [`Group`] in words: what is otherwise for some parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGroup {
    /// Their names, or the layers or stages that they lie in; `*` stands for anything.
    pub params: String,
    /// Factor of the learning rate.
    #[serde(default = "one")]
    pub lr: f64,
    /// Factor of the weight decay.
    #[serde(default = "one")]
    pub decay: f64,
    /// They are left as they are.
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

impl OptimizerName {
    /// All of them, with their names in recipes.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Sgd, "sgd"),
        (Self::Lars, "lars"),
        (Self::RmsProp, "rmsprop"),
        (Self::RmsPropTf, "rmsprop_tf"),
        (Self::Adam, "adam"),
        (Self::AdamW, "adamw"),
    ];

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(of, _)| *of == self).map_or("", |(_, name)| name)
    }

    /// The keys of a recipe that only some optimisers have, and that this one has.
    pub fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Sgd => &["momentum", "dampening", "nesterov"],
            Self::Lars => &["momentum", "dampening", "nesterov", "trust_coefficient", "eps"],
            Self::RmsProp | Self::RmsPropTf => &["momentum", "alpha", "eps", "centered"],
            Self::Adam | Self::AdamW => &["beta1", "beta2", "eps"],
        }
    }
}

impl Recipe {
    /// The update of step `step`, counted from 1, at this learning rate.
    pub fn update(&self, lr: f32, step: usize) -> Update {
        Update {
            optimizer: self.rule(),
            lr,
            weight_decay: self.weight_decay,
            step: step as u64,
            groups: self.param_groups(),
            clip: self.clip_norm.map(Clip::Norm).or(self.clip_value.map(Clip::Value)),
            ema: self.average(),
        }
    }

    /// The optimiser; what is not said is as its library has it.
    fn rule(&self) -> Optimizer {
        let sgd = Sgd {
            momentum: self.momentum.unwrap_or_default(),
            dampening: self.dampening.unwrap_or_default(),
            nesterov: self.nesterov,
        };
        let rms = |form| {
            let usual = RmsProp::new(form);
            let alpha = self.alpha.unwrap_or(usual.alpha);
            let eps = self.eps.unwrap_or(usual.eps);
            let centered = self.centered;
            Optimizer::RmsProp(RmsProp { form, alpha, eps, momentum: sgd.momentum, centered })
        };
        let adam = || {
            let usual = Adam::default();
            Adam {
                beta1: self.beta1.unwrap_or(usual.beta1),
                beta2: self.beta2.unwrap_or(usual.beta2),
                eps: self.eps.unwrap_or(usual.eps),
            }
        };
        match self.optimizer {
            OptimizerName::Sgd => Optimizer::Sgd(sgd),
            OptimizerName::Lars => {
                let usual = Lars::default();
                let coefficient = self.trust_coefficient.unwrap_or(usual.coefficient);
                Optimizer::Lars(Lars { sgd, coefficient, eps: self.eps.unwrap_or(usual.eps) })
            }
            OptimizerName::RmsProp => rms(RmsPropForm::PyTorch),
            OptimizerName::RmsPropTf => rms(RmsPropForm::TensorFlow),
            OptimizerName::Adam => Optimizer::Adam(adam()),
            OptimizerName::AdamW => Optimizer::AdamW(adam()),
        }
    }

    fn param_groups(&self) -> Vec<Group> {
        let role = |role: &Role| match role {
            Role::Norms => Select::Norms,
            Role::Biases => Select::Biases,
        };
        let kinds = self.no_decay.iter().map(|of| Group::of(role(of)).decay(0.0));
        let named = self.groups.iter().map(|group| {
            let ParamGroup { params, lr, decay, frozen } = group.clone();
            Group { select: Select::Pattern(params), lr, decay, frozen }
        });
        let stay = self.freeze.iter();
        let frozen = stay.map(|params| Group::of(Select::Pattern(params.clone())).frozen());
        kinds.chain(named).chain(frozen).collect()
    }

    fn average(&self) -> Option<Ema> {
        self.ema.map(|decay| Ema {
            decay,
            after: self.ema_after as u64,
            warmup: self.ema_warmup.then(EmaWarmup::default),
            buffers: match self.ema_buffers {
                EmaBuffersName::Average => EmaBuffers::Average,
                EmaBuffersName::Copy => EmaBuffers::Copy,
            },
        })
    }

    /// The first key of the update that makes no sense, and what it must be.
    pub(super) fn check_update(&self) -> Result<(), OutOfBounds> {
        let wrong = |key, expected| Err(OutOfBounds { key, expected });
        for (key, said) in [
            ("momentum", self.momentum.is_some_and(|momentum| momentum != 0.0)),
            ("dampening", self.dampening.is_some()),
            ("nesterov", self.nesterov),
            ("alpha", self.alpha.is_some()),
            ("centered", self.centered),
            ("beta1", self.beta1.is_some()),
            ("beta2", self.beta2.is_some()),
            ("eps", self.eps.is_some()),
            ("trust_coefficient", self.trust_coefficient.is_some()),
        ] {
            if said && !self.optimizer.keys().contains(&key) {
                return wrong(key, "left out: the optimiser has no such number");
            }
        }
        if self.clip_norm.is_some() && self.clip_value.is_some() {
            return wrong("clip_value", "left out where there is clip_norm");
        }
        let alone =
            self.ema_after != 0 || self.ema_warmup || self.ema_buffers != EmaBuffersName::Average;
        if self.ema.is_none() && alone {
            return wrong("ema", "given where ema_warmup, ema_after or ema_buffers is");
        }
        if self.ema_after > u32::MAX as usize {
            return wrong("ema_after", "from 0 to 4294967295");
        }
        let named = |error: OutOfBounds| match error.key {
            "coefficient" => OutOfBounds { key: "trust_coefficient", ..error },
            _ => error,
        };
        self.update(self.lr, 1).check().map_err(named)
    }
}
