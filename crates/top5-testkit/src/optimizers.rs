//! What PyTorch makes of a small network in 20 steps by every optimiser: `vectors/optimizers.json`, which
//! `scripts/optimizer_vectors.py` writes.

use crate::close::close_abs;
use serde::Deserialize;
use std::collections::BTreeMap;
use top5_graph::{
    Adam, Clip, Device, Ema, EmaBuffers, EmaWarmup, Graph, Group, Lars, Optimizer, RmsProp,
    RmsPropForm, Select, Sgd, StepOptions, Targets, Tensor, Training, TrainingOptions, Update,
    Weights, net,
};

/// Steps that each case takes.
const STEPS: usize = 20;
/// Images per step.
const BATCH: usize = 6;

#[derive(Deserialize)]
struct File {
    lr: f32,
    weights: BTreeMap<String, Values>,
    batches: Vec<Batch>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Batch {
    images: Vec<f32>,
    labels: Vec<u32>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    recipe: Recipe,
    /// Weights, running statistics and `exp_avg/fc1.weight` after the last step.
    after: BTreeMap<String, Vec<f64>>,
}

/// The numbers of a case; what it does not say is PyTorch's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Recipe {
    optimizer: String,
    lr: Option<f32>,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
    weight_decay: f64,
    no_decay: bool,
    trust_coeff: f64,
    alpha: f64,
    eps: f64,
    centered: bool,
    beta1: f64,
    beta2: f64,
    head_lr: f64,
    freeze_conv: bool,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    ema: Option<f64>,
    ema_buffers: Option<String>,
    ema_warmup: bool,
    ema_after: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            optimizer: String::new(),
            lr: None,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            no_decay: false,
            trust_coeff: 0.0,
            alpha: 0.0,
            eps: 0.0,
            centered: false,
            beta1: 0.0,
            beta2: 0.0,
            head_lr: 1.0,
            freeze_conv: false,
            clip_norm: None,
            clip_value: None,
            ema: None,
            ema_buffers: None,
            ema_warmup: false,
            ema_after: 0,
        }
    }
}

impl Recipe {
    fn optimizer(&self) -> Optimizer {
        let &Self { momentum, dampening, nesterov, alpha, eps, centered, beta1, beta2, .. } = self;
        let sgd = Sgd { momentum, dampening, nesterov };
        let rms = |form| Optimizer::RmsProp(RmsProp { form, alpha, eps, momentum, centered });
        match self.optimizer.as_str() {
            "sgd" => Optimizer::Sgd(sgd),
            "lars" => Optimizer::Lars(Lars { sgd, coefficient: self.trust_coeff, eps }),
            "rmsprop" => rms(RmsPropForm::PyTorch),
            "rmsprop_tf" => rms(RmsPropForm::TensorFlow),
            "adam" => Optimizer::Adam(Adam { beta1, beta2, eps }),
            "adamw" => Optimizer::AdamW(Adam { beta1, beta2, eps }),
            other => panic!("the file has an unknown optimiser {other}"),
        }
    }

    fn update(&self, lr: f32) -> Update {
        let pattern = |name: &str| Group::of(Select::Pattern(name.to_owned()));
        let mut groups = vec![pattern("fc1").lr(self.head_lr)];
        if self.no_decay {
            groups.extend([Select::Norms, Select::Biases].map(|roles| Group::of(roles).decay(0.0)));
        }
        if self.freeze_conv {
            groups.push(pattern("conv1").frozen());
        }
        let norm = self.clip_norm.map(Clip::Norm);
        let ema = self.ema.map(|decay| Ema {
            decay,
            after: self.ema_after,
            warmup: self.ema_warmup.then(EmaWarmup::default),
            buffers: match self.ema_buffers.as_deref() {
                Some("copy") => EmaBuffers::Copy,
                _ => EmaBuffers::Average,
            },
        });
        Update {
            optimizer: self.optimizer(),
            lr: self.lr.unwrap_or(lr),
            weight_decay: self.weight_decay,
            step: 1,
            groups,
            clip: norm.or(self.clip_value.map(Clip::Value)),
            ema,
        }
    }
}

/// The network of the file.
fn graph() -> Graph {
    let graph = net("optimizers", [1, 5, 5], |x| x.conv_bn(2, 3).sigmoid().flatten().linear(3));
    graph.unwrap_or_else(|error| panic!("{error}"))
}

/// Takes an engine through every case.
///
/// # Panics
/// If a weight, a running statistic or a value of an optimiser's state is further than `tolerance` from PyTorch's (times the
/// tensor's largest value where that is above 1), with a list of those that are; or if the state has other tensors.
pub fn check(device: &dyn Device, tolerance: f64) {
    let file: File = serde_json::from_str(include_str!("../vectors/optimizers.json"))
        .unwrap_or_else(|error| panic!("vectors/optimizers.json: {error}"));
    let mut failures = Vec::new();
    for case in &file.cases {
        let options = TrainingOptions::new(BATCH);
        let training = device.training(&graph(), &weights(&file), &options);
        let mut training = training.unwrap_or_else(|error| panic!("{error}"));
        for step in 0..STEPS {
            let Batch { images, labels } = &file.batches[step % file.batches.len()];
            let targets = Targets::Classes(labels);
            let loss = training.gradients(images, targets, &StepOptions::new(0), None);
            loss.unwrap_or_else(|error| panic!("{error}"));
            training.update(&Update { step: step as u64 + 1, ..case.recipe.update(file.lr) });
        }
        failures.extend(compare(case, training.as_ref(), tolerance));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The weights to begin with.
fn weights(file: &File) -> Weights {
    let tensor = |(name, param): (String, &top5_graph::Param)| {
        let count = param.elements();
        let (shape, values) = match file.weights.get(&name) {
            Some(Values { shape, values }) => (shape.clone(), values.clone()),
            None => {
                let value = if name.ends_with("running_var") { 1.0 } else { 0.0 };
                (param.shape.clone(), vec![value; count])
            }
        };
        (name, Tensor::new(shape, values).expect("the file's shapes are those of its values"))
    };
    graph().params().map(tensor).collect()
}

fn compare(case: &Case, training: &dyn Training, tolerance: f64) -> Vec<String> {
    let got: BTreeMap<String, Tensor> =
        training.weights().into_iter().chain(training.state()).collect();
    // PyTorch keeps nothing of what is frozen.
    let frozen = |name: &str| case.recipe.freeze_conv && name.ends_with("/conv1.weight");
    let names = got.keys().filter(|name| !frozen(name));
    if !names.eq(case.after.keys()) {
        return vec![format!(
            "{}: tensors {:?}, not {:?}",
            case.name,
            got.keys(),
            case.after.keys()
        )];
    }
    let differs = |(name, want): (&String, &Vec<f64>)| {
        let largest = want.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
        let error = close_abs(got[name].data(), want, tolerance * largest).err()?;
        Some(format!("{} {name}: {error}", case.name))
    };
    case.after.iter().filter_map(differs).collect()
}
