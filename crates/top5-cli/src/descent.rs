//! The arguments of `top5 train` that change a recipe's optimiser.

use clap::Args;

/// The heading of these flags in `--help`.
const OPTIMISER: &str = "Optimiser";

/// The heading of the flags of a run that starts from weights.
const FINE_TUNING: &str = "Fine-tuning";

/// What a run starts from, and what of it learns. A flag is a recipe's key, with dashes.
#[derive(Clone, Debug, Args)]
pub(crate) struct FineTuningArgs {
    /// Start from these weights of the network: a file, a run's or timm's folder, or hf-hub:ORG/NAME[@REVISION]
    #[arg(long, visible_alias = "pretrained", value_name = "WEIGHTS", help_heading = FINE_TUNING)]
    pub(crate) weights: Option<String>,
    /// Leave these parameters as they are, running statistics included: names, layers or stages; * stands for anything
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = FINE_TUNING)]
    freeze: Option<Vec<String>>,
    /// Factor of the head's learning rate
    #[arg(long, value_name = "FACTOR", help_heading = FINE_TUNING)]
    head_lr: Option<String>,
    /// Factor of the learning rate from one block to the one before it: 0.75
    #[arg(long, value_name = "FACTOR", help_heading = FINE_TUNING)]
    layer_decay: Option<String>,
    /// Open no network connection: read the hub's cache only
    #[arg(long, help_heading = FINE_TUNING)]
    pub(crate) offline: bool,
}

impl FineTuningArgs {
    /// The keys of a recipe that are set beside the weights.
    pub(crate) fn settings(&self) -> Vec<(&str, String)> {
        let list = |items: &Vec<String>| format!("{items:?}");
        let flags = [
            ("freeze", self.freeze.as_ref().map(list)),
            ("head_lr", self.head_lr.clone()),
            ("layer_decay", self.layer_decay.clone()),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// How gradients change weights. A flag is a recipe's key, with dashes.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescentArgs {
    /// sgd, lars, rmsprop, rmsprop_tf (TensorFlow's form), adam or adamw; another one than the recipe's needs --lr
    #[arg(long, value_name = "NAME", help_heading = OPTIMISER)]
    optimizer: Option<String>,
    /// Momentum of sgd, lars and rmsprop; 0 for none
    #[arg(long, value_name = "SHARE", help_heading = OPTIMISER)]
    momentum: Option<String>,
    /// Whether the momentum is Nesterov's
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(require_equals = true, help_heading = OPTIMISER)]
    nesterov: Option<String>,
    /// Weight decay; apart from the gradient with adamw
    #[arg(long, value_name = "DECAY", help_heading = OPTIMISER)]
    weight_decay: Option<String>,
    /// Parameters without weight decay: norms, biases, or both
    #[arg(long, value_name = "ROLES", value_delimiter = ',', help_heading = OPTIMISER)]
    no_decay: Option<Vec<String>>,
    /// Largest norm of all gradients together
    #[arg(long, value_name = "NORM", help_heading = OPTIMISER)]
    clip_norm: Option<String>,
    /// Largest magnitude of a gradient
    #[arg(long, value_name = "VALUE", help_heading = OPTIMISER)]
    clip_value: Option<String>,
    /// Validate and keep the moving average of the weights, of which this share stays in a step: 0.999
    #[arg(long, value_name = "DECAY", help_heading = OPTIMISER)]
    ema: Option<String>,
    /// Let that share rise over the first steps
    #[arg(long, help_heading = OPTIMISER)]
    ema_warmup: bool,
    /// Epochs over which the learning rate rises
    #[arg(long, value_name = "N", help_heading = OPTIMISER)]
    warmup_epochs: Option<String>,
    /// Any key of a recipe: 'schedule={step={milestones=[10,20],gamma=0.1}}', beta2=0.98
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting, help_heading = OPTIMISER)]
    set: Vec<(String, String)>,
}

impl DescentArgs {
    /// The keys of a recipe that are set, with their values as a recipe has them.
    pub(crate) fn settings(&self) -> Vec<(&str, String)> {
        let list = |items: &Vec<String>| format!("{items:?}");
        let flags = [
            ("optimizer", self.optimizer.clone()),
            ("momentum", self.momentum.clone()),
            ("nesterov", self.nesterov.clone()),
            ("weight_decay", self.weight_decay.clone()),
            ("no_decay", self.no_decay.as_ref().map(list)),
            ("clip_norm", self.clip_norm.clone()),
            ("clip_value", self.clip_value.clone()),
            ("ema", self.ema.clone()),
            ("ema_warmup", self.ema_warmup.then(|| "true".to_owned())),
            ("warmup_epochs", self.warmup_epochs.clone()),
        ];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?)));
        flags.chain(self.set.iter().map(|(key, value)| (key.as_str(), value.clone()))).collect()
    }
}

/// `KEY=VALUE`
fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().replace('-', "_"), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE, as in a recipe".to_owned()),
    }
}
