//! A recipe with some keys changed, as a command line asks for.

use super::keys::KEYS;
use super::{OptimizerName, Recipe, RecipeError};

impl Recipe {
    /// The recipe with these keys set to these values, which are written as in a recipe; a text may do without its quotes. A key
    /// within a table is reached by dots: `preprocess.crop_pct`, `schedule.cosine.final`. A schedule may be a name alone, and
    /// `none` is no augmentation, no preprocessing of the recipe's own, and so on.
    ///
    /// With another optimiser, the numbers that only the recipe's own has are left out, and the learning rate must be set as
    /// well: one optimiser's is another's divergence. With fewer epochs than the warm-up has, and no other warm-up, it is as
    /// long as the run.
    pub fn with(&self, settings: &[(&str, String)]) -> Result<Self, RecipeError> {
        if settings.is_empty() {
            return Ok(self.clone());
        }
        let mut table = self.table();
        for (key, value) in settings {
            set(&mut table, key, value)?;
        }
        let is_set = |wanted: &str| settings.iter().any(|(key, _)| *key == wanted);
        let name = table.get("optimizer").cloned();
        let optimizer = name.and_then(|name| name.try_into::<OptimizerName>().ok());
        if let Some(optimizer) = optimizer.filter(|optimizer| *optimizer != self.optimizer) {
            if !is_set("lr") {
                let expected = "given along with another optimizer; usual are 0.1 for sgd, 0.001 for adam and adamw";
                return Err(RecipeError::Value { key: "lr", line: None, expected });
            }
            let keys = self.optimizer.keys().iter();
            for key in keys.filter(|key| !optimizer.keys().contains(key) && !is_set(key)) {
                table.remove(*key);
            }
        }
        let mut recipe = read(table).map_err(|error| {
            let wrong = settings.iter().find_map(|(key, value)| self.mistyped(key, value));
            let message = error.to_string().trim().to_owned();
            wrong.unwrap_or(RecipeError::Toml { message })
        })?;
        if !is_set("warmup_epochs") {
            recipe.warmup_epochs = recipe.warmup_epochs.min(recipe.epochs as f64);
        }
        recipe.check()?;
        Ok(recipe)
    }

    fn table(&self) -> toml::Table {
        self.to_toml().parse().expect("what was just written can be read")
    }

    /// What is wrong with a value that is no number where the key, one without a table, wants one.
    fn mistyped(&self, key: &str, value: &str) -> Option<RecipeError> {
        let mut table = self.table();
        set(&mut table, key, value).ok()?;
        let error = read(table).err()?.to_string();
        let (_, expected) = [
            ("expected usize", "a whole number from 0 to 9223372036854775807"),
            ("expected f64", "a number, with a point where it is above 9223372036854775807"),
            ("expected a boolean", "true or false"),
        ]
        .into_iter()
        .find(|(wanted, _)| error.contains(wanted))?;
        let key = KEYS.into_iter().find(|known| *known == key)?;
        Some(RecipeError::Value { key, line: None, expected })
    }
}

fn read(table: toml::Table) -> Result<Recipe, toml::de::Error> {
    toml::Value::Table(table).try_into()
}

/// Sets one key.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), RecipeError> {
    let mut path = key.split('.');
    let first = path.next().unwrap_or_default();
    if !KEYS.contains(&first) {
        return Err(RecipeError::unknown(first));
    }
    let rest: Vec<&str> = path.collect();
    let value = match (parse(first, value), first) {
        (toml::Value::String(text), _) if text == "none" && rest.is_empty() => {
            table.remove(first);
            if first == "schedule" {
                table.insert(first.to_owned(), toml::Value::String("constant".to_owned()));
            }
            return Ok(());
        }
        // A schedule with all its numbers left out.
        (toml::Value::String(name), "schedule") if name != "constant" && rest.is_empty() => {
            toml::Value::Table(
                [(name, toml::Value::Table(toml::Table::new()))].into_iter().collect(),
            )
        }
        (value, _) => value,
    };
    let mut at = table;
    let mut name = first;
    for (depth, next) in rest.into_iter().enumerate() {
        // Of a choice, another one takes the place of what was chosen.
        if (name, depth) == ("schedule", 0) && at.get(name).is_none_or(|of| of.get(next).is_none())
        {
            at.insert(name.to_owned(), toml::Value::Table(toml::Table::new()));
        }
        let below = at.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let toml::Value::Table(below) = below else {
            let message = format!("{key}: {name} is no table: set {name} as a whole");
            return Err(RecipeError::Toml { message });
        };
        (at, name) = (below, next);
    }
    at.insert(name.to_owned(), value);
    Ok(())
}

/// A value as TOML has it, or else a text.
fn parse(key: &str, value: &str) -> toml::Value {
    let line: Result<toml::Table, _> = format!("value = {value}").parse();
    let seed = key == "seed";
    match line.ok().and_then(|mut table| table.remove("value")) {
        // TOML takes no integer beyond 2⁶³ − 1, and a seed may be one.
        Some(value) if !(seed && value.is_float()) => value,
        _ => toml::Value::String(value.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Role;

    fn with(settings: &[(&str, &str)]) -> Result<Recipe, RecipeError> {
        let settings: Vec<_> =
            settings.iter().map(|&(key, value)| (key, value.to_owned())).collect();
        Recipe::usual("lenet", "digits").with(&settings)
    }

    #[test]
    fn keys_are_set() {
        assert_eq!(with(&[]), Ok(Recipe::usual("lenet", "digits")));
        let recipe = with(&[
            ("no_decay", "[\"norms\"]"),
            ("clip_norm", "2"),
            ("ema", "0.99"),
            ("schedule", "constant"),
            ("seed", "18446744073709551615"),
        ])
        .unwrap();
        assert_eq!((recipe.no_decay, recipe.clip_norm), (vec![Role::Norms], Some(2.0)));
        assert_eq!((recipe.ema, recipe.seed), (Some(0.99), u64::MAX));
        assert_eq!(recipe.schedule, crate::Schedule::Constant);
    }

    #[test]
    fn what_is_no_number_is_told_by_its_key() {
        for (key, value, what) in [
            ("accumulate", "-1", "accumulate must be a whole number from 0"),
            ("accumulate", "NaN", "accumulate must be a whole number"),
            ("image_size", "1e30", "image_size must be a whole number"),
            ("momentum", "NaN", "momentum must be a number"),
            ("momentum", "99999999999999999999", "momentum must be a number, with a point"),
            ("sync_bn", "1", "sync_bn must be true or false"),
            ("schedule.cosine.final", "x", "invalid type: string"),
        ] {
            let error = with(&[("lr", "0.1"), (key, value)]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn another_optimiser_leaves_foreign_numbers_out_and_asks_for_its_rate() {
        let adam = with(&[("optimizer", "adam"), ("lr", "1e-3")]).unwrap();
        assert_eq!((adam.momentum, adam.nesterov), (None, false));
        let rms = with(&[("optimizer", "rmsprop"), ("lr", "1e-3")]).unwrap();
        assert_eq!((rms.momentum, rms.nesterov), (Some(0.9), false));
        let key = |settings: &[(&str, &str)]| match with(settings) {
            Err(RecipeError::Value { key, .. }) => key,
            other => panic!("{other:?}"),
        };
        assert_eq!(key(&[("optimizer", "adam")]), "lr");
        assert_eq!(key(&[("optimizer", "adam"), ("lr", "1e-3"), ("momentum", "0.9")]), "momentum");
        assert_eq!(key(&[("clip_norm", "0")]), "clip_norm");
        assert!(with(&[("optimizer", "adan")]).unwrap_err().to_string().contains("adan"));
        let unknown = with(&[("momentun", "0.9")]).unwrap_err().to_string();
        assert!(unknown.contains("momentun") && unknown.contains("nearest: momentum"), "{unknown}");
    }

    #[test]
    fn keys_within_tables_are_reached_by_dots() {
        use crate::{Plateau, Schedule};
        let schedule = |settings: &[(&str, &str)]| with(settings).unwrap().schedule;
        assert_eq!(schedule(&[("schedule.cosine.final", "1e-3")]), Schedule::Cosine { last: 1e-3 });
        assert_eq!(schedule(&[("schedule", "plateau")]), Schedule::Plateau(Plateau::default()));
        let step = [("schedule.step.milestones", "[2, 3.5]"), ("schedule.step.gamma", "0.5")];
        let expected = Schedule::Step { milestones: vec![2.0, 3.5], gamma: 0.5 };
        assert_eq!(schedule(&step), expected);
        let plateau = [("schedule", "plateau"), ("schedule.plateau.patience", "3")];
        assert_eq!(
            schedule(&plateau),
            Schedule::Plateau(Plateau { patience: 3, ..Plateau::default() })
        );
        let flip = ("augment", "[{ flip_horizontal = { probability = 0.5 } }]");
        assert_eq!(with(&[flip]).unwrap().augment.len(), 1);
        assert_eq!(with(&[flip, ("augment", "none")]).unwrap().augment.len(), 0);
        for (key, word) in [
            ("lr.fast", "lr is no table"),
            ("schedule.cosine.finel", "finel"),
            ("schedule.sine.final", "sine"),
            ("augment.flip", "augment is no table"),
        ] {
            let flipped = with(&[flip]).unwrap();
            let error = flipped.with(&[(key, "0.1".to_owned())]).unwrap_err().to_string();
            assert!(error.contains(word), "{key}: {error}");
        }
    }

    #[test]
    fn warm_up_is_no_longer_than_a_run_that_is_shortened() {
        let long = Recipe { warmup_epochs: 5.0, ..Recipe::usual("lenet", "digits") };
        let short = long.with(&[("epochs", "2".to_owned())]).unwrap();
        assert_eq!(short.warmup_epochs, 2.0);
        let settings = [("epochs", "2".to_owned()), ("warmup_epochs", "3".to_owned())];
        assert!(matches!(
            long.with(&settings),
            Err(RecipeError::Value { key: "warmup_epochs", .. })
        ));
    }
}
