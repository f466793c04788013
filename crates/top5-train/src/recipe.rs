//! Recipes: everything that the result of a run depends on beside the data, as TOML.

use std::fmt;

use serde::{Deserialize, Serialize};
use top5_data::{Augment, Preprocess, SettingError};
use top5_graph::{Optimizer, OutOfBounds, Sgd, Update};

use crate::schedule::{Rate, Schedule};

/// Most epochs: beyond that it is a slip.
const MAX_EPOCHS: usize = 1_000_000;

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
    /// Share of the training images that choose the epoch, where the data have no part of their own for it.
    pub validation: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// The highest learning rate.
    pub lr: f32,
    /// Epochs, fractions allowed, over which the learning rate rises to it.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Momentum; 0 for none.
    pub momentum: f64,
    /// Whether it is Nesterov's.
    #[serde(default)]
    pub nesterov: bool,
    /// Weight decay, on every learned parameter.
    pub weight_decay: f64,
    /// Share of the target that is spread over all classes.
    #[serde(default)]
    pub label_smoothing: f32,
    /// Steps between checkpoints; there is one after every epoch in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_steps: Option<usize>,
    /// The learning rate after the warm-up.
    pub schedule: Schedule,
    /// Random changes to the training images, in order.
    #[serde(default)]
    pub augment: Vec<Augment>,
    /// How images become the network's input; as the network's page says if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
}

/// Why a recipe cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipeError {
    /// It is no TOML, or has an unknown key, lacks one, or has a value of the wrong type.
    Toml {
        /// What is wrong, with line, column and what is allowed.
        message: String,
    },
    /// A value makes no sense.
    Value {
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
            Self::Value { key, line: Some(line), expected } => {
                write!(f, "the recipe's line {line}: {key} must be {expected}")
            }
            Self::Value { key, line: None, expected } => {
                write!(f, "the recipe's {key} must be {expected}")
            }
        }
    }
}

impl std::error::Error for RecipeError {}

impl Recipe {
    /// Reads a recipe and checks it.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text)
            .map_err(|error| RecipeError::Toml { message: error.to_string().trim().to_owned() })?;
        recipe.check().map_err(|error| error.at(text))?;
        Ok(recipe)
    }

    /// The recipe as TOML; [`Recipe::from_toml`] reads the same recipe from it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers and texts always have a TOML form")
    }

    /// Whether its values make sense.
    pub fn check(&self) -> Result<(), RecipeError> {
        let wrong = |key, expected| RecipeError::Value { key, line: None, expected };
        let share = |value: f32| (0.0..1.0).contains(&value);
        for (good, key, expected) in [
            ((1..=MAX_EPOCHS).contains(&self.epochs), "epochs", "from 1 to 1000000"),
            (self.batch_size > 0, "batch_size", "at least 1"),
            (self.classes != Some(0), "classes", "at least 1"),
            (
                (0.0..=self.epochs as f64).contains(&self.warmup_epochs),
                "warmup_epochs",
                "from 0 to the number of epochs",
            ),
            (share(self.label_smoothing), "label_smoothing", "from 0 to less than 1"),
            (self.validation > 0.0 && self.validation < 1.0, "validation", "between 0 and 1"),
            (self.checkpoint_steps != Some(0), "checkpoint_steps", "at least 1"),
        ] {
            if !good {
                return Err(wrong(key, expected));
            }
        }
        let update = self.update(self.lr, 1).check();
        update.map_err(|OutOfBounds { key, expected }| wrong(key, expected))?;
        match &self.schedule {
            Schedule::Constant => {}
            Schedule::Step { milestones, gamma } => {
                let ascending = milestones.windows(2).all(|pair| pair[0] < pair[1]);
                if !ascending || milestones.iter().any(|&m| !m.is_finite() || m <= 0.0) {
                    return Err(wrong("milestones", "positive and ascending"));
                }
                if !(*gamma > 0.0 && gamma.is_finite()) {
                    return Err(wrong("gamma", "a positive number"));
                }
            }
            Schedule::Cosine { last } => {
                if !(0.0..=f64::from(self.lr)).contains(last) {
                    return Err(wrong("final", "from 0 to lr"));
                }
            }
        }
        for augment in &self.augment {
            augment.check()?;
        }
        self.preprocess.as_ref().map_or(Ok(()), Preprocess::check)?;
        Ok(())
    }

    /// The keys in which two recipes differ, as `key: here, there`; whatever does not change a run's result is passed
    /// over.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let table = |recipe: &Self| {
            let recipe = Self { checkpoint_steps: None, ..recipe.clone() };
            toml::Table::try_from(recipe).expect("numbers and texts always have a TOML form")
        };
        let (here, there) = (table(self), table(other));
        let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let value = |table: &toml::Table, key: &str| {
            table.get(key).map_or_else(|| "absent".to_owned(), ToString::to_string)
        };
        keys.into_iter()
            .filter(|&key| here.get(key) != there.get(key))
            .map(|key| format!("{key}: {}, {}", value(&here, key), value(&there, key)))
            .collect()
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

    /// The update of step `step`, counted from 1, at this learning rate.
    pub fn update(&self, lr: f32, step: usize) -> Update {
        let Self { momentum, weight_decay, nesterov, .. } = *self;
        let optimizer = Optimizer::Sgd(Sgd { momentum, nesterov, ..Sgd::default() });
        Update { weight_decay, step: step as u64, ..Update::new(optimizer, lr) }
    }
}

impl From<SettingError> for RecipeError {
    fn from(SettingError { key, expected }: SettingError) -> Self {
        Self::Value { key, line: None, expected }
    }
}

impl RecipeError {
    /// The same with the line of its key in `text`.
    fn at(self, text: &str) -> Self {
        match self {
            Self::Value { key, expected, .. } => {
                // Within an inline table a key follows a brace or a comma.
                let names = |line: &str| {
                    line.split(['{', ',']).any(|part| {
                        part.trim_start()
                            .strip_prefix(key)
                            .is_some_and(|rest| rest.trim_start().starts_with('='))
                    })
                };
                let line = text.lines().position(names).map(|line| line + 1);
                Self::Value { key, line, expected }
            }
            Self::Toml { .. } => self,
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
            ("momentum =", "momentun =", &["momentun", "line", "momentum"][..]),
            ("epochs = 6", "epochs = \"6", &["line"]),
            ("epochs = 6", "epochs = -6", &["epochs", "line", "usize"]),
            ("schedule = { cosine", "schedule = { cosinus", &["cosinus", "constant", "step"]),
            ("network = \"lenet\"\n", "", &["network", "missing"]),
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
    fn senseless_values_are_named_with_their_line() {
        let good = Recipe::from_toml(DIGITS).unwrap();
        let text = good.to_toml();
        for (key, value) in [
            ("epochs", "0"),
            ("batch_size", "0"),
            ("lr", "nan"),
            ("lr", "-0.1"),
            ("momentum", "1.0"),
            ("weight_decay", "inf"),
            ("label_smoothing", "1.0"),
            ("validation", "0.0"),
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
        let step = |milestones: &[f64], gamma| {
            let schedule = Schedule::Step { milestones: milestones.to_vec(), gamma };
            Recipe { schedule, ..good.clone() }.check()
        };
        assert!(step(&[2.0, 4.0], 0.1).is_ok());
        assert!(step(&[4.0, 2.0], 0.1).is_err() && step(&[2.0], 0.0).is_err());
        let flip = Augment::FlipHorizontal { probability: 1.5 };
        assert!(Recipe { augment: vec![flip], ..good }.check().is_err());
    }

    #[test]
    fn differences_name_the_keys_that_matter() {
        let recipe = Recipe::from_toml(DIGITS).unwrap();
        let other = Recipe { seed: 3, checkpoint_steps: Some(5), ..recipe.clone() };
        assert_eq!(recipe.differences(&other), [format!("seed: {}, 3", recipe.seed)]);
    }
}
