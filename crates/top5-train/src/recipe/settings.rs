//! A recipe with some keys changed, as a command line asks for.

use super::{OptimizerName, Recipe, RecipeError};

impl Recipe {
    /// The recipe with these keys set to these values, which are written as in a recipe; a text may do without its quotes.
    ///
    /// With another optimiser, the numbers that only the recipe's own has are left out, and the learning rate must be set as
    /// well: one optimiser's is another's divergence.
    pub fn with(&self, settings: &[(&str, String)]) -> Result<Self, RecipeError> {
        if settings.is_empty() {
            return Ok(self.clone());
        }
        let toml = |message: String| RecipeError::Toml { message: message.trim().to_owned() };
        let mut table: toml::Table =
            self.to_toml().parse().expect("what was just written can be read");
        for (key, value) in settings {
            table.insert((*key).to_owned(), parse(key, value));
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
        let recipe: Self = toml::Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| toml(error.to_string()))?;
        recipe.check()?;
        Ok(recipe)
    }
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
        assert!(with(&[("momentun", "0.9")]).unwrap_err().to_string().contains("momentun"));
    }
}
