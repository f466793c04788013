//! Recipes: everything that the result of a run depends on beside the data, as TOML.

mod about;
mod descent;
mod keys;
mod seed;
mod settings;

pub use about::{About, Outcome};
pub use descent::{EmaBuffersName, OptimizerName, ParamGroup, Role};

use std::fmt;

use serde::{Deserialize, Serialize};
use top5_data::preprocess::MAX_SIDE;
use top5_data::{Augment, Mix, Preprocess, SettingError};
use top5_graph::{OutOfBounds, in_plain_words};

use crate::schedule::{MAX_EPOCHS, Rate, Schedule};
use keys::{KEYS, nearest};

/// The greatest count: beyond that it is a slip.
const MAX_COUNT: usize = u32::MAX as usize;

/// How a network is trained. Runs with equal recipes on equal data end with equal weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The network's name in the registry.
    pub network: String,
    /// Number of classes; the dataset's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// The dataset's name or folder.
    pub data: String,
    /// The weights that training starts from: a file, a folder or `hf-hub:ORG/NAME`; drawn if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Of a file with several networks, the dict of the one that is meant, or what its tensors' names begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_key: Option<String>,
    /// SHA-256 of their file, which must then be that one; of an index and its files one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights_sha256: Option<String>,
    /// Parameters that stay as they are: their names, or the layers or stages that they lie in; `*` stands for anything. Batch
    /// normalisations that stay normalise by their running statistics.
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze: Vec<String>,
    /// Factor of the learning rate of the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_lr: Option<f64>,
    /// Factor of the learning rate from one block or layer to the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_decay: Option<f64>,
    /// Share of the training images that choose the epoch, where the data have no part of their own for it. With 0 they have
    /// none, and the last epoch is kept.
    pub validation: f64,
    /// A folder of images that choose the epoch, in place of a share of those to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_data: Option<String>,
    /// Epochs in a row that may be no better than the best on the validation images; the run ends after so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<usize>,
    /// Seed of everything random.
    #[serde(with = "seed")]
    pub seed: u64,
    /// How the weights are drawn; as the network's page says if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitName>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images that go through the network at once; of all ranks together.
    pub batch_size: usize,
    /// Such batches per step, whose gradients count as those of one batch of all their images.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: usize,
    /// Whether several ranks normalise a batch over the images of all of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync_bn: bool,
    /// Height and width of the network's input, in place of the network's own or of those in `preprocess`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
    /// Precision of products; the engine's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<PrecisionName>,
    /// The highest learning rate.
    pub lr: f32,
    /// Epochs, fractions allowed, over which the learning rate rises to it.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// The rule by which gradients change weights.
    #[serde(default, skip_serializing_if = "is_default")]
    pub optimizer: OptimizerName,
    /// Momentum; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Share of the gradient that the momentum leaves out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dampening: Option<f64>,
    /// Whether the momentum is Nesterov's.
    #[serde(default)]
    pub nesterov: bool,
    /// Share of RMSProp's mean square that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Whether RMSProp divides by the deviation.
    #[serde(default, skip_serializing_if = "is_default")]
    pub centered: bool,
    /// Share of Adam's mean that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// Share of Adam's mean square that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// What is added to the divisor of RMSProp, Adam and LARS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eps: Option<f64>,
    /// LARS's coefficient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_coefficient: Option<f64>,
    /// Weight decay.
    pub weight_decay: f64,
    /// Parameters that do not decay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_decay: Vec<Role>,
    /// Largest norm of all gradients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Largest magnitude of a gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// Greatest root mean square of a convolution's filter, to which it is scaled after a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_filter_rms: Option<f64>,
    /// Share that stays in a step of the average of the weights, which is then what is validated and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Whether that share rises over the first steps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ema_warmup: bool,
    /// Steps before the average begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ema_after: usize,
    /// What the average does with running statistics.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ema_buffers: EmaBuffersName,
    /// Share of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Steps between checkpoints; there is one after every epoch in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<usize>,
    /// What is otherwise for some parameters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: Vec<ParamGroup>,
    /// The learning rate after the warm-up.
    pub schedule: Schedule,
    /// Random changes to the training images, in order.
    #[serde(default)]
    pub augment: Vec<Augment>,
    /// Mixup's α; 0 is without.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mixup: f32,
    /// CutMix's α; 0 is without.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cutmix: f32,
    /// How images become the network's input; as the network's page says if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// What it follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// A rule by which a recipe has weights drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitName {
    /// Weights of convolutions and linear layers, but for the head's, normal with variance 2/fan_in, their biases 0 (He et al.,
    /// ICCV 2015, equation 10): the signal keeps its size through rectifiers, however many layers there are.
    Kaiming,
}

/// The precision of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionName {
    /// 24 bits.
    F32,
    /// 8 bits.
    Bf16,
}

impl PrecisionName {
    /// Its name in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// Keys that every recipe has.
const REQUIRED: [&str; 9] = [
    "network",
    "data",
    "validation",
    "seed",
    "epochs",
    "batch_size",
    "lr",
    "weight_decay",
    "schedule",
];

/// What keeps a text from being a recipe: where it is TOML, the first key that no recipe has, or all keys that it lacks at once.
fn wrong_toml(text: &str, error: &toml::de::Error) -> RecipeError {
    let table = text.parse::<toml::Table>();
    let is_toml = table.is_ok();
    let table = table.unwrap_or_default();
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let unknown = RecipeError::unknown(key);
        let rest = |line: &str| {
            Some(line.trim_start_matches('[').trim_start().strip_prefix(key)?.to_owned())
        };
        let named = |line: &str| {
            rest(line).is_some_and(|rest| rest.trim_start().starts_with(['=', '.', ']']))
        };
        let at =
            text.lines().position(named).map_or(String::new(), |at| format!("line {}: ", at + 1));
        return RecipeError::Toml { message: format!("{at}{unknown}") };
    }
    if let Some(name) = table.get("schedule").and_then(toml::Value::as_str)
        && error.span().is_some_and(|at| text[at].trim_matches(['"', '\'']) == name)
    {
        let message = format!(
            "schedule {name:?} is a table: schedule = {{ {name} = {{ … }} }}, with its numbers, of which some may be left out \
             (docs/recipes.md); only \"constant\" is a name alone"
        );
        return RecipeError::Toml { message };
    }
    let missing: Vec<&str> =
        REQUIRED.into_iter().filter(|key| is_toml && !table.contains_key(*key)).collect();
    let message = match missing.as_slice() {
        // The lines that follow belong to the first.
        [] => in_plain_words(error.to_string().trim()).replace('\n', "\n  "),
        _ => format!("missing: {}", missing.join(", ")),
    };
    RecipeError::Toml { message }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_one(value: &usize) -> bool {
    *value == 1
}

/// Why a recipe cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeError {
    /// It is no TOML, or has an unknown key, lacks one, or has a value of the wrong type.
    Toml {
        /// What is wrong, with line, column and what is allowed.
        message: String,
    },
    /// What it says of a network's parameters does not suit the network.
    Parameters {
        /// What is wrong, and what there is.
        message: String,
    },
    /// A key was set to what it cannot hold.
    Setting {
        /// The key of the recipe, in whose value something is wrong.
        key: &'static str,
        /// What is wrong, where within it, and what is allowed.
        message: String,
    },
    /// A value makes no sense.
    Value {
        /// The recipe's key, where that holds a table with the key whose value it is.
        table: Option<&'static str>,
        /// The key.
        key: &'static str,
        /// Its line, where the recipe was read from text; counted from 1.
        line: Option<usize>,
        /// What it must be.
        expected: &'static str,
    },
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Toml { message } => write!(f, "the recipe is wrong: {message}"),
            Self::Parameters { message } => f.write_str(message),
            Self::Setting { key, message } => write!(f, "the recipe's {key}: {message}"),
            Self::Value { key, line: Some(line), expected, .. } => {
                write!(f, "the recipe's line {line}: {key} must be {expected}")
            }
            Self::Value { table: None, key, line: None, expected } => {
                write!(f, "the recipe's {key} must be {expected}")
            }
            Self::Value { table: Some(table), key, line: None, expected } => {
                write!(f, "the recipe's {key} in {table} must be {expected}")
            }
        }
    }
}

impl std::error::Error for RecipeError {}

impl Recipe {
    /// What is usual where there is no recipe: descent with Nesterov's momentum, along a cosine.
    pub fn usual(network: &str, data: &str) -> Self {
        Self {
            network: network.to_owned(),
            classes: None,
            data: data.to_owned(),
            weights: None,
            weights_key: None,
            weights_sha256: None,
            freeze: Vec::new(),
            head_lr: None,
            layer_decay: None,
            validation: 0.1,
            validation_data: None,
            early_stopping: None,
            seed: 0,
            init: None,
            epochs: 30,
            batch_size: 64,
            accumulate: 1,
            sync_bn: false,
            image_size: None,
            precision: None,
            lr: 0.05,
            warmup_epochs: 1.0,
            optimizer: OptimizerName::Sgd,
            momentum: Some(0.9),
            dampening: None,
            nesterov: true,
            alpha: None,
            centered: false,
            beta1: None,
            beta2: None,
            eps: None,
            trust_coefficient: None,
            weight_decay: 5e-4,
            no_decay: Vec::new(),
            clip_norm: None,
            clip_value: None,
            max_filter_rms: None,
            ema: None,
            ema_warmup: false,
            ema_after: 0,
            ema_buffers: EmaBuffersName::default(),
            label_smoothing: 0.0,
            checkpoint_steps: None,
            groups: Vec::new(),
            schedule: Schedule::Cosine { last: 0.0 },
            augment: Vec::new(),
            mixup: 0.0,
            cutmix: 0.0,
            preprocess: None,
            about: None,
        }
    }

    /// Reads a recipe and checks it.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|error| wrong_toml(text, &error))?;
        recipe.check().map_err(|error| error.at(text))?;
        Ok(recipe)
    }

    /// A recipe that was checked as TOML; [`Recipe::from_toml`] reads the same recipe from it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("texts, and numbers within their bounds, have a TOML form")
    }

    /// Whether its values make sense.
    pub fn check(&self) -> Result<(), RecipeError> {
        let wrong = RecipeError::value;
        let within = |table, key, expected| RecipeError::Value {
            table: Some(table),
            key,
            line: None,
            expected,
        };
        let share = |value: f32| (0.0..1.0).contains(&value);
        let count = |value: usize| (1..=MAX_COUNT).contains(&value);
        for (good, key, expected) in [
            ((1..=MAX_EPOCHS).contains(&self.epochs), "epochs", "from 1 to 1000000"),
            (count(self.batch_size), "batch_size", "from 1 to 4294967295"),
            (
                count(self.accumulate) && count(self.step_images()),
                "accumulate",
                "from 1, and at most 4294967295 images a step",
            ),
            (self.classes.is_none_or(count), "classes", "from 1 to 4294967295"),
            (
                (0.0..=self.epochs as f64).contains(&self.warmup_epochs),
                "warmup_epochs",
                "from 0 to the number of epochs",
            ),
            (self.lr > 0.0 && self.lr.is_finite(), "lr", "a finite number above 0"),
            (share(self.label_smoothing), "label_smoothing", "from 0 to less than 1"),
            ((0.0..1.0).contains(&self.validation), "validation", "from 0 to less than 1"),
            (
                self.early_stopping.is_none_or(|most| (1..=MAX_EPOCHS).contains(&most)),
                "early_stopping",
                "from 1 to 1000000",
            ),
            (
                self.image_size.is_none_or(|side| (1..=MAX_SIDE).contains(&side)),
                "image_size",
                "from 1 to 4096",
            ),
            (
                self.weights.is_some() || self.weights_key.is_none(),
                "weights_key",
                "left out where there are no weights to start from",
            ),
            (
                self.weights.is_some() || self.weights_sha256.is_none(),
                "weights_sha256",
                "left out where there are no weights to start from",
            ),
            (
                self.head_lr.is_none_or(|factor| factor > 0.0 && factor.is_finite()),
                "head_lr",
                "a finite factor above 0",
            ),
            (
                self.layer_decay.is_none_or(|factor| factor > 0.0 && factor <= 1.0),
                "layer_decay",
                "above 0, and at most 1",
            ),
            (
                self.max_filter_rms.is_none_or(|rms| rms > 0.0 && rms.is_finite()),
                "max_filter_rms",
                "a finite number above 0",
            ),
            (self.checkpoint_steps.is_none_or(count), "checkpoint_steps", "from 1 to 4294967295"),
        ] {
            if !good {
                return Err(wrong(key, expected));
            }
        }
        let update = self.check_update();
        update.map_err(|OutOfBounds { key, expected }| wrong(key, expected))?;
        if let Some((key, expected)) = self.schedule.wrong(f64::from(self.lr)) {
            return Err(within("schedule", key, expected));
        }
        let setting = |SettingError { key, expected }| wrong(key, expected);
        self.augment.iter().try_for_each(Augment::check).map_err(setting)?;
        if self.augment.iter().filter(|augment| augment.is_frame()).count() > 1 {
            let expected = "a list with one random_resized_crop or random_scale_crop at most: each stands in place of the \
                            preprocessing's crop";
            return Err(wrong("augment", expected));
        }
        self.mix().check().map_err(setting)?;
        let prepared = self.preprocess.as_ref().map_or(Ok(()), Preprocess::check);
        prepared.map_err(|SettingError { key, expected }| within("preprocess", key, expected))
    }

    /// Whether it can be followed where this many images choose the epoch.
    pub fn check_validation(&self, images: usize) -> Result<(), RecipeError> {
        let wrong = |key, expected| Err(RecipeError::value(key, expected));
        if images > 0 {
            Ok(())
        } else if matches!(self.schedule, Schedule::Plateau(_)) {
            wrong("schedule", "another than plateau where no images choose the epoch")
        } else if self.early_stopping.is_some() {
            wrong("early_stopping", "left out where no images choose the epoch")
        } else {
            Ok(())
        }
    }

    /// The keys in which two recipes differ, as `key: here, there`; whatever does not change a run's result is passed
    /// over, and where the data lie: they are known by their fingerprint.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| -> serde_json::Map<String, serde_json::Value> {
            let recipe = Self {
                checkpoint_steps: None,
                data: String::new(),
                validation_data: None,
                about: None,
                ..recipe.clone()
            };
            // By way of text, in which single precision is not widened.
            let text = serde_json::to_string(&recipe).expect("numbers and texts have a JSON form");
            serde_json::from_str(&text).expect("what was just written can be read")
        };
        let (here, there) = (table(self), table(other));
        let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let value = |table: &serde_json::Map<_, serde_json::Value>, key: &str| {
            table.get(key).map_or_else(|| "absent".to_owned(), ToString::to_string)
        };
        keys.into_iter()
            .filter(|&key| here.get(key) != there.get(key))
            .map(|key| format!("{key}: {}, {}", value(&here, key), value(&there, key)))
            .collect()
    }

    /// Images that a step learns from.
    pub fn step_images(&self) -> usize {
        self.batch_size.saturating_mul(self.accumulate)
    }

    /// How images of a batch are mixed.
    pub fn mix(&self) -> Mix {
        Mix { mixup: self.mixup, cutmix: self.cutmix }
    }

    /// What is done to training images, in order, and how they are mixed, a phrase each.
    pub fn changes(&self) -> Vec<String> {
        let mix = Some(self.mix()).filter(|mix| !mix.is_none());
        self.augment.iter().map(Augment::describe).chain(mix.map(|mix| mix.describe())).collect()
    }

    /// The learning rate, where an epoch has `epoch` steps.
    pub fn rate(&self, epoch: usize) -> Rate {
        Rate {
            lr: f64::from(self.lr),
            schedule: self.schedule.clone(),
            warmup: (self.warmup_epochs * epoch as f64).round() as usize,
            epoch,
            steps: self.epochs * epoch,
        }
    }
}

impl RecipeError {
    /// The recipe's own key of this name makes no sense.
    pub(crate) fn value(key: &'static str, expected: &'static str) -> Self {
        Self::Value { table: None, key, line: None, expected }
    }

    /// There is no such key.
    fn unknown(key: &str) -> Self {
        let (near, all) = (nearest(key), KEYS.join(", "));
        let message = format!("there is no key {key:?}; nearest: {near}; all: {all}");
        Self::Toml { message }
    }

    /// The same with the line of its key in `text`, which is TOML.
    fn at(self, text: &str) -> Self {
        match self {
            Self::Value { table, key, expected, .. } => {
                let start = keys::start(text, table, key);
                let line = start.map(|start| 1 + text[..start].matches('\n').count());
                Self::Value { table, key, line, expected }
            }
            Self::Toml { .. } | Self::Parameters { .. } | Self::Setting { .. } => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = include_str!("../../../recipes/lenet-digits.toml");
    const FASHION: &str = include_str!("../../../recipes/lenet-fashion-mnist.toml");

    #[test]
    fn published_recipes_are_valid_and_survive_being_written() {
        for text in [DIGITS, FASHION] {
            let recipe = Recipe::from_toml(text).unwrap();
            assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe.clone()));
            assert_eq!(recipe.differences(&recipe), Vec::<String>::new());
        }
    }

    #[test]
    fn digits_recipe_prepares_as_the_digits_are_prepared() {
        let recipe = Recipe::from_toml(DIGITS).unwrap();
        assert_eq!(recipe.preprocess, Some(Preprocess::digits()));
        assert_eq!(recipe.augment, Augment::digits());
    }

    #[test]
    fn wrong_keys_and_types_are_named_with_their_line() {
        for (from, to, words) in [
            ("momentum =", "momentun =", &["momentun", "line 12", "nearest: momentum"][..]),
            ("epochs = 6", "epochs = \"6", &["line"]),
            ("epochs = 6", "epochs = -6", &["epochs", "line", "a whole number"]),
            ("schedule = { cosine", "schedule = { cosinus", &["cosinus", "constant", "step"]),
            ("network = \"lenet\"\n", "", &["network", "missing"]),
            ("network = \"lenet\"\ndata = \"digits\"\n", "", &["missing: network, data"]),
            ("squash", "sqush", &["sqush", "line", "center"]),
            ("std =", "interpolation = \"magic\"\nstd =", &["magic", "line", "bicubic"]),
        ] {
            let text = DIGITS.replacen(from, to, 1);
            assert_ne!(text, DIGITS, "{from}");
            let error = Recipe::from_toml(&text).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{from}: {error}");
            }
        }
    }

    #[test]
    fn a_file_of_nothing_lacks_every_key_and_a_schedule_of_a_name_its_table() {
        let error = Recipe::from_toml("# nothing\n").unwrap_err().to_string();
        assert!(error.contains("missing: network, data, validation"), "{error}");
        for name in ["step", "cosine"] {
            let text = DIGITS.replacen("{ cosine = { final = 0.0 } }", &format!("\"{name}\""), 1);
            assert_ne!(text, DIGITS);
            let error = Recipe::from_toml(&text).unwrap_err().to_string();
            assert!(error.contains(&format!("schedule = {{ {name} = {{")), "{error}");
        }
    }

    #[test]
    fn senseless_values_are_named_with_their_line() {
        let good = Recipe::from_toml(DIGITS).unwrap();
        let text = good.to_toml();
        for (key, value) in [
            ("epochs", "0"),
            ("batch_size", "0"),
            ("lr", "nan"),
            ("lr", "-0.1"),
            ("momentum", "1.0"),
            ("momentum", "-0.5"),
            ("batch_size", "9223372036854775807"),
            ("weight_decay", "inf"),
            ("label_smoothing", "1.0"),
            ("validation", "1.0"),
            ("warmup_epochs", "1e9"),
            ("final", "2.0"),
            ("crop_pct", "0.0"),
            ("std", "[0.0]"),
            ("mean", "[0.1, 0.2]"),
            ("input_size", "[2, 28, 28]"),
        ] {
            let at = text.lines().position(|line| line.starts_with(&format!("{key} = "))).unwrap();
            let lines: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(i, line)| if i == at { format!("{key} = {value}") } else { line.to_owned() })
                .collect();
            match Recipe::from_toml(&lines.join("\n")) {
                Err(RecipeError::Value { key: named, line, .. }) => {
                    assert_eq!((named, line), (key, Some(at + 1)));
                }
                other => panic!("{key} = {value}: {other:?}"),
            }
        }
        let flip = Augment::FlipHorizontal { probability: 1.5 };
        assert!(Recipe { augment: vec![flip], ..good }.check().is_err());
    }

    /// Keys of the same name stand at several places.
    #[test]
    fn lines_are_those_of_the_key_that_is_meant() {
        for (schedule, key, line) in [
            ("schedule = { exponential = { gamma = 0.5, epochs = 0.0 } }\n", "epochs", 1),
            ("[schedule.exponential]\ngamma = 0.5\nepochs = -1.0\n", "epochs", 3),
            ("schedule.step.milestones = [1.0]\nschedule.step.gamma = 0.0\n", "gamma", 2),
            ("schedule.step = { gamma = 0.1, milestones = [3.0, 2.0] }\n", "milestones", 1),
        ] {
            let (plain, tables) = DIGITS.split_once("\n[").unwrap();
            let plain = plain.replacen("schedule = { cosine = { final = 0.0 } }\n", "", 1);
            assert!(plain.contains("epochs = 6") && !plain.contains("schedule"), "{plain}");
            let plain = plain.trim_end();
            let before = plain.lines().count();
            match Recipe::from_toml(&format!("{plain}\n{schedule}\n[{tables}")) {
                Err(RecipeError::Value { table, key: named, line: at, .. }) => {
                    assert_eq!((table, named), (Some("schedule"), key), "{schedule}");
                    assert_eq!(at, Some(before + line), "{schedule}");
                }
                other => panic!("{schedule}: {other:?}"),
            }
        }
    }

    fn changed(changes: &str) -> Result<Recipe, RecipeError> {
        let first = DIGITS.find("\nnetwork").unwrap();
        let mut text = DIGITS.to_owned();
        text.insert_str(first, &format!("\n{changes}"));
        Recipe::from_toml(&text)
    }

    #[test]
    fn optimisers_are_named_with_their_numbers() {
        use top5_graph::{Adam, Lars, Optimizer, RmsProp, RmsPropForm, Sgd};
        let plain = DIGITS.replace("momentum = 0.9\nnesterov = true\n", "");
        let optimizer = |lines: &str| {
            let text = plain.replace("lr = 0.05\n", &format!("lr = 0.05\n{lines}\n"));
            let recipe = Recipe::from_toml(&text).unwrap();
            assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe.clone()), "{lines}");
            recipe.update(0.1, 3).optimizer
        };
        let sgd = Sgd { momentum: 0.9, ..Sgd::default() };
        assert_eq!(optimizer(""), Optimizer::Sgd(Sgd::default()));
        assert_eq!(optimizer("momentum = 0.9"), Optimizer::Sgd(sgd));
        assert_eq!(
            optimizer("optimizer = \"lars\"\nmomentum = 0.9\ntrust_coefficient = 0.02"),
            Optimizer::Lars(Lars { sgd, coefficient: 0.02, ..Lars::default() })
        );
        assert_eq!(
            optimizer("optimizer = \"adamw\"\nbeta2 = 0.98"),
            Optimizer::AdamW(Adam { beta2: 0.98, ..Adam::default() })
        );
        let rms = RmsProp { eps: 1.0, momentum: 0.9, ..RmsProp::new(RmsPropForm::TensorFlow) };
        assert_eq!(
            optimizer("optimizer = \"rmsprop_tf\"\nmomentum = 0.9\neps = 1.0"),
            Optimizer::RmsProp(rms)
        );
    }

    #[test]
    fn additions_to_an_update_are_read_and_written() {
        use top5_graph::{Clip, Ema, EmaBuffers, EmaWarmup, Group, Select};
        let recipe = changed(
            "no_decay = [\"norms\", \"biases\"]\nclip_norm = 2.0\nema = 0.999\nema_warmup = true\n\
             ema_after = 5\nema_buffers = \"copy\"\n\
             groups = [{ params = \"fc*\", lr = 10.0 }, { params = \"conv1\", frozen = true }]",
        )
        .unwrap();
        assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe.clone()));
        let update = recipe.update(0.1, 3);
        assert_eq!((update.step, update.clip), (3, Some(Clip::Norm(2.0))));
        let ema = Ema { warmup: Some(EmaWarmup::default()), after: 5, ..Ema::new(0.999) };
        assert_eq!(update.ema, Some(Ema { buffers: EmaBuffers::Copy, ..ema }));
        let pattern = |pattern: &str| Group::of(Select::Pattern(pattern.to_owned()));
        let expected = [
            Group::of(Select::Norms).decay(0.0),
            Group::of(Select::Biases).decay(0.0),
            pattern("fc*").lr(10.0),
            pattern("conv1").frozen(),
        ];
        assert_eq!(update.groups, expected);
    }

    #[test]
    fn numbers_of_another_optimiser_and_contradictions_are_named() {
        for (changes, key) in [
            ("beta1 = 0.9", "beta1"),
            ("eps = 1e-8", "eps"),
            ("alpha = 0.9", "alpha"),
            ("centered = true", "centered"),
            ("trust_coefficient = 0.1", "trust_coefficient"),
            ("optimizer = \"adam\"", "momentum"),
            ("dampening = 0.5", "nesterov"),
            ("optimizer = \"lars\"\ntrust_coefficient = 0.0", "trust_coefficient"),
            ("clip_norm = 1.0\nclip_value = 1.0", "clip_value"),
            ("clip_value = -1.0", "clip_value"),
            ("ema = 1.0", "ema"),
            ("ema_warmup = true", "ema"),
            ("groups = [{ params = \"fc\", lr = -1.0 }]", "groups"),
            ("checkpoint_steps = 9223372036854775807", "checkpoint_steps"),
            ("classes = 0", "classes"),
            ("weights_key = \"student\"", "weights_key"),
            ("weights_sha256 = \"ab\"", "weights_sha256"),
        ] {
            match changed(changes) {
                Err(RecipeError::Value { key: named, .. }) => assert_eq!(named, key, "{changes}"),
                other => panic!("{changes}: {other:?}"),
            }
        }
    }

    /// TOML's integers are signed.
    #[test]
    fn every_seed_survives_being_written() {
        let recipe = Recipe::from_toml(DIGITS).unwrap();
        for seed in [0, 1, i64::MAX as u64, 1 << 63, u64::MAX] {
            let recipe = Recipe { seed, ..recipe.clone() };
            assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe.clone()));
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            assert_eq!(recipe.differences(&recipe), Vec::<String>::new());
        }
        for (seed, word) in
            [("-1", "seed"), ("\"many\"", "seed"), ("\"18446744073709551616\"", "seed")]
        {
            let error = Recipe::from_toml(&DIGITS.replace("seed = 0", &format!("seed = {seed}")));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("line"), "{seed}: {error}");
        }
    }

    #[test]
    fn differences_name_the_keys_that_matter() {
        let recipe = Recipe::from_toml(DIGITS).unwrap();
        let data = "elsewhere".to_owned();
        let other = Recipe { seed: 3, checkpoint_steps: Some(5), data, ..recipe.clone() };
        assert_eq!(recipe.differences(&other), [format!("seed: {}, 3", recipe.seed)]);
    }
}
