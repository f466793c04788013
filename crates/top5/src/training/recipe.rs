//! Recipes: everything that a run's result depends on, as TOML.

use std::f32::consts::PI;
use std::fmt;

use serde::{Deserialize, Serialize};
use top5_data::{Augment, Preprocess};
use top5_graph::Sgd;

/// The files in `recipes/`.
const KEPT: [(&str, &str); 2] = [
    ("lenet-digits", include_str!("lenet-digits.toml")),
    ("lenet-fashion-mnist", include_str!("lenet-fashion-mnist.toml")),
];

/// How a network is trained. Runs with equal recipes on equal data end with equal weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The network's name in the registry.
    pub network: String,
    /// The dataset's name or folder.
    pub data: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// The highest learning rate.
    pub lr: f32,
    /// Epochs over which the learning rate rises to it; then it falls to 0 along a cosine.
    pub warmup_epochs: usize,
    /// Momentum (Nesterov's).
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Share of the target spread over all classes.
    pub label_smoothing: f32,
    /// Random changes to the training images.
    pub augment: Changes,
    /// Share of the training images that choose the epoch, where the data have no part of their own for it.
    pub validation: f64,
    /// Seed of everything random.
    pub seed: u64,
}

/// Random changes to training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Changes {
    /// None.
    None,
    /// What a hand does to a digit.
    Digits,
    /// Shifts by up to two pixels and mirrors.
    ShiftAndFlip,
    /// A random part of the image, and mirrors.
    RandomCrop,
}

/// Why a recipe cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipeError(String);

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RecipeError {}

impl Recipe {
    /// The recipe that is kept for this network on these data, or what is usual.
    pub fn new(network: &str, data: &str) -> Self {
        let kept = Self::all().map(|(_, recipe)| recipe);
        kept.into_iter().find(|recipe| recipe.network == network && recipe.data == data).unwrap_or(
            Self {
                network: network.to_owned(),
                data: data.to_owned(),
                epochs: 30,
                batch_size: 64,
                lr: 0.05,
                warmup_epochs: 1,
                momentum: 0.9,
                weight_decay: 5e-4,
                label_smoothing: 0.0,
                augment: if data == "digits" { Changes::Digits } else { Changes::None },
                validation: 0.1,
                seed: 0,
            },
        )
    }

    /// The recipes of the folder `recipes/` with their names.
    pub fn all() -> [(&'static str, Self); KEPT.len()] {
        KEPT.map(|(name, text)| {
            (name, Self::from_toml(text).expect("a test reads every kept recipe"))
        })
    }

    /// Reads a recipe; the error names line and column.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|error| RecipeError(error.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers and texts always have a TOML form")
    }

    /// Whether its numbers make sense.
    pub fn check(&self) -> Result<(), RecipeError> {
        let finite = |value: f32| value.is_finite() && value >= 0.0;
        let share = |value: f32| (0.0..1.0).contains(&value);
        for (good, what, expected) in [
            (self.epochs > 0, "epochs", "at least 1"),
            (self.batch_size > 0, "batch_size", "at least 1"),
            (finite(self.lr), "lr", "a finite number from 0 on"),
            (finite(self.weight_decay), "weight_decay", "a finite number from 0 on"),
            (share(self.momentum), "momentum", "0 to less than 1"),
            (share(self.label_smoothing), "label_smoothing", "0 to less than 1"),
            (self.validation > 0.0 && self.validation < 1.0, "validation", "between 0 and 1"),
            (self.warmup_epochs < self.epochs, "warmup_epochs", "less than epochs"),
        ] {
            if !good {
                return Err(RecipeError(format!("the recipe's {what}: expected {expected}")));
            }
        }
        Ok(())
    }

    /// The first field in which two recipes differ, as `name: here, there`.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (mine, others) = (self.to_toml(), other.to_toml());
        let (mine, others) =
            mine.lines().zip(others.lines()).find(|(mine, others)| mine != others)?;
        let value = |line: &str| line.split_once(" = ").map_or("", |(_, value)| value).to_owned();
        let name = mine.split(' ').next().unwrap_or_default();
        Some(format!("{name}: {}, {}", value(mine), value(others)))
    }

    /// The descent of step `step` when an epoch has `steps`.
    pub fn sgd(&self, step: usize, steps: usize) -> Sgd {
        let (warm, all) = (self.warmup_epochs * steps, self.epochs * steps);
        let lr = if step < warm {
            self.lr * (step + 1) as f32 / warm as f32
        } else {
            let progress = (step - warm) as f32 / (all - warm).max(1) as f32;
            self.lr * 0.5 * (1.0 + (PI * progress).cos())
        };
        let Self { momentum, weight_decay, .. } = *self;
        Sgd { lr, momentum, weight_decay, nesterov: momentum > 0.0 }
    }

    /// The random changes.
    pub fn augment(&self) -> Vec<Augment> {
        let flip = Augment::FlipHorizontal { probability: 0.5 };
        match self.augment {
            Changes::None => Vec::new(),
            Changes::Digits => Augment::digits(),
            Changes::ShiftAndFlip => vec![Augment::Shift { pixels: 2 }, flip],
            Changes::RandomCrop => vec![
                Augment::RandomResizedCrop { scale: [0.08, 1.0], ratio: [0.75, 4.0 / 3.0] },
                flip,
            ],
        }
    }

    /// The preprocessing of a dataset that has one of its own.
    pub fn preprocess(&self) -> Option<Preprocess> {
        match self.data.as_str() {
            "digits" => Some(Preprocess::digits()),
            // Mean and deviation of the training images.
            "fashion-mnist" => Some(Preprocess {
                mean: vec![0.2860],
                std: vec![0.3530],
                ..Preprocess::squash([1, 28, 28])
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_survive_being_written() {
        for (name, recipe) in Recipe::all() {
            assert_eq!(name, format!("{}-{}", recipe.network, recipe.data));
            assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe));
        }
    }

    #[test]
    fn wrong_recipes_are_rejected_with_the_place() {
        let good = Recipe::new("lenet", "digits").to_toml();
        for (from, to, word) in [
            ("epochs = 60", "epochs = 0", "epochs"),
            ("epochs = 60", "epochs = -1", "epochs"),
            ("lr = ", "learning = ", "learning"),
            ("momentum = 0.", "momentum = 1.", "momentum"),
        ] {
            assert!(good.contains(from), "{good}");
            let error = Recipe::from_toml(&good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn rate_rises_and_falls() {
        let recipe = Recipe { epochs: 4, warmup_epochs: 1, lr: 1.0, ..Recipe::new("x", "digits") };
        let rates: Vec<f32> = (0..16).map(|step| recipe.sgd(step, 4).lr).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(rates[4..].windows(2).all(|pair| pair[1] < pair[0]) && rates[15] > 0.0);
    }

    #[test]
    fn difference_names_the_field() {
        let recipe = Recipe::new("lenet", "digits");
        let other = Recipe { seed: 3, ..recipe.clone() };
        assert_eq!(recipe.difference(&recipe), None);
        assert_eq!(recipe.difference(&other), Some("seed: 0, 3".to_owned()));
    }
}
