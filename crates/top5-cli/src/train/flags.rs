//! The keys of a recipe as flags of `top5 train`: one table, so that both have the same names.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::args::DATA;
use crate::ranks::RANKS;

/// Headings of groups of flags in `top5 train --help`.
pub(crate) const LENGTH: &str = "Length and choice of the epoch";
pub(crate) const RATE: &str = "Learning rate";
pub(crate) const OPTIMISER: &str = "Optimiser";
pub(crate) const REGULARISATION: &str = "Regularisation";
pub(crate) const FINE_TUNING: &str = "Fine-tuning";
pub(crate) const RUN: &str = "Run";

/// How a flag's value becomes the key's.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// As it is written.
    One,
    /// Words between commas.
    Many,
    /// True where it stands alone.
    Switch,
}

/// A key of a recipe that is a flag; the key has underscores where it has dashes.
struct Flag {
    name: &'static str,
    kind: Kind,
    value: &'static str,
    heading: &'static str,
    help: &'static str,
}

const fn flag(
    heading: &'static str,
    kind: Kind,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, kind, value, heading, help }
}

use Kind::{Many, One, Switch};

/// The flags, in the order of `--help`. Those that `TrainArgs` declares itself are not among them.
#[rustfmt::skip]
const FLAGS: [Flag; 36] = [
    flag(DATA, One, "classes", "N", "Number of classes; the data's by default, and an error where they have another"),
    flag(DATA, One, "image-size", "N", "Height and width of the network's input [alias: --img-size]"),
    flag(DATA, One, "preprocess", "TOML", "How images become the input: '{input_size=[3,64,64],crop_mode=\"squash\",mean=[…],std=[…]}'"),
    flag(DATA, One, "validation", "SHARE", "Share of the images that choose the epoch, where the data have no part for it; 0 for none"),
    flag(DATA, One, "validation-data", "DIR", "Images that choose the epoch, in place of such a share"),
    flag(LENGTH, One, "accumulate", "N", "Batches per step, whose gradients count as those of one batch of all their images [alias: --grad-accum-steps]"),
    flag(LENGTH, One, "early-stopping", "N", "End where so many epochs in a row were no better than the best"),
    flag(RATE, One, "lr", "RATE", "Highest learning rate"),
    flag(RATE, One, "warmup-epochs", "N", "Epochs over which the learning rate rises"),
    flag(RATE, One, "schedule", "NAME|TOML", "constant, cosine, polynomial, plateau, or with numbers: '{step={milestones=[30,60],gamma=0.1}}'"),
    flag(OPTIMISER, One, "optimizer", "NAME", "sgd, lars, rmsprop, rmsprop_tf (TensorFlow's form), adam or adamw; another one than the recipe's needs --lr"),
    flag(OPTIMISER, One, "momentum", "SHARE", "Momentum of sgd, lars and rmsprop; 0 for none"),
    flag(OPTIMISER, One, "dampening", "SHARE", "Share of the gradient that the momentum leaves out"),
    flag(OPTIMISER, Switch, "nesterov", "true|false", "Whether the momentum is Nesterov's"),
    flag(OPTIMISER, One, "alpha", "SHARE", "Share of rmsprop's mean square that stays"),
    flag(OPTIMISER, Switch, "centered", "true|false", "Whether rmsprop divides by the deviation"),
    flag(OPTIMISER, One, "beta1", "SHARE", "Share of adam's mean that stays"),
    flag(OPTIMISER, One, "beta2", "SHARE", "Share of adam's mean square that stays"),
    flag(OPTIMISER, One, "eps", "NUMBER", "What is added to the divisor of rmsprop, adam and lars"),
    flag(OPTIMISER, One, "trust-coefficient", "NUMBER", "LARS's coefficient"),
    flag(OPTIMISER, One, "clip-norm", "NORM", "Largest norm of all gradients together"),
    flag(OPTIMISER, One, "clip-value", "VALUE", "Largest magnitude of a gradient"),
    flag(OPTIMISER, One, "groups", "TOML", "What is otherwise for some parameters: '[{params=\"fc*\",lr=10.0,decay=0.0}]'"),
    flag(REGULARISATION, One, "weight-decay", "DECAY", "Weight decay; apart from the gradient with adamw"),
    flag(REGULARISATION, Many, "no-decay", "ROLES", "Parameters without weight decay: norms, biases, or both"),
    flag(REGULARISATION, One, "max-filter-rms", "RMS", "Greatest root mean square of a convolution's filter, to which it is scaled: ZFNet's 0.1"),
    flag(REGULARISATION, One, "ema", "DECAY", "Validate and keep the moving average of the weights, of which this share stays in a step: 0.999"),
    flag(REGULARISATION, Switch, "ema-warmup", "true|false", "Let that share rise over the first steps"),
    flag(REGULARISATION, One, "ema-after", "STEPS", "Steps before the average begins"),
    flag(REGULARISATION, One, "ema-buffers", "NAME", "What the average does with running statistics: average or copy"),
    flag(RUN, One, "init", "NAME", "How weights are drawn: kaiming; as the network's page says by default"),
    flag(FINE_TUNING, One, "weights-key", "KEY", "Of a file with several networks, start from the one in this dict (`student`, `models.0`), or whose tensors' names begin so"),
    flag(FINE_TUNING, Many, "freeze", "NAMES", "Leave these parameters as they are, running statistics included: names, layers or stages; * stands for anything"),
    flag(FINE_TUNING, One, "head-lr", "FACTOR", "Factor of the head's learning rate"),
    flag(FINE_TUNING, One, "layer-decay", "FACTOR", "Factor of the learning rate from one block to the one before it: 0.75"),
    flag(RANKS, Switch, "sync-bn", "true|false", "Normalise a batch over the images of all ranks instead of each rank's own"),
];

/// A value of a recipe as it may have been typed: words without the list around them, a change to images without its table.
pub(super) fn typed(value: &str) -> String {
    let inside = |open, close| value.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    match (inside("[\"", "\"]"), inside("[{ ", " }]")) {
        (Some(words), _) => words.replace("\", \"", ","),
        (_, Some(change)) if !change.contains("}, {") => {
            change.strip_suffix(" = {}").unwrap_or(change).to_owned()
        }
        _ => value.to_owned(),
    }
}

/// How this key is set to this value on the command line: by its flag where it has one.
pub(super) fn shown(path: &str, value: &str) -> String {
    let command = super::TrainArgs::augment_args(Command::new("train"));
    let flag = path.replace('_', "-");
    let value = typed(value);
    match command.get_arguments().any(|arg| arg.get_long() == Some(&*flag)) {
        true => format!("--{flag} {value}"),
        false => format!("--set {path}={value}"),
    }
}

/// The keys that are set on the command line, with their values as a recipe has them: those of flags, then those of `--set`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecipeArgs(pub(crate) Vec<(String, String)>);

impl Flag {
    fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help).help_heading(self.heading);
        let arg = match self.name {
            "image-size" => arg.alias("img-size"),
            "accumulate" => arg.alias("grad-accum-steps"),
            _ => arg,
        };
        let arg = arg.value_name(self.value).action(ArgAction::Set);
        match self.kind {
            One => arg,
            Many => arg.value_delimiter(',').action(ArgAction::Append),
            Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        }
    }

    /// What was given.
    fn value(&self, matches: &ArgMatches) -> Option<String> {
        let mut values = matches.get_many::<String>(self.name)?;
        match self.kind {
            Many => {
                let words: Vec<&str> = values.map(|word| word.trim()).collect();
                // As a list, it would be the name of something.
                let none = matches!(words[..], ["none"]);
                Some(if none { "none".to_owned() } else { format!("{words:?}") })
            }
            One | Switch => values.next().cloned(),
        }
    }
}

impl Args for RecipeArgs {
    fn augment_args(command: Command) -> Command {
        let command = FLAGS.iter().fold(command, |command, flag| command.arg(flag.arg()));
        let help = "Any key of a recipe, tables by dots: preprocess.crop_pct=0.9, schedule.step.milestones=[10,20]";
        let set = Arg::new("set").long("set").value_name("KEY=VALUE").action(ArgAction::Append);
        command.arg(set.help(help).help_heading(RUN))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RecipeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = FLAGS.iter().filter_map(|flag| Some((flag.key(), flag.value(matches)?)));
        let mut settings: Vec<(String, String)> = given.collect();
        for text in matches.get_many::<String>("set").into_iter().flatten() {
            match text.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    settings.push((key.trim().replace('-', "_"), value.to_owned()));
                }
                Some(_) | None => {
                    let message = format!("--set {text}: expected KEY=VALUE, as in a recipe\n");
                    return Err(Error::raw(ErrorKind::ValueValidation, message));
                }
            }
        }
        Ok(Self(settings))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}
