//! A recipe with some keys changed, as a command line asks for.

use toml::Value;
use top5_data::{Augment, Preprocess};

use top5_graph::in_plain_words;

use super::keys::KEYS;
use super::{
    About, EmaBuffersName, InitName, OptimizerName, ParamGroup, PrecisionName, Recipe, RecipeError,
    Role,
};

impl Recipe {
    /// The recipe with these keys set to these values, which are written as in a recipe; a text may do without its quotes. A key
    /// within a table is reached by dots: `preprocess.crop_pct`, `schedule.cosine.final`. A schedule may be a name alone, and
    /// `none` is no augmentation, no preprocessing of the recipe's own, and so on.
    ///
    /// With another optimiser, the numbers that only the recipe's own has are left out, and the learning rate must be set as
    /// well: one optimiser's is another's divergence. One form of clipping takes the recipe's other one out, and Nesterov's form goes
    /// with the momentum, or with dampening. With fewer epochs than the warm-up has, and no other warm-up, it is as long as the run.
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
                return Err(RecipeError::value("lr", expected));
            }
            let keys = self.optimizer.keys().iter();
            for key in keys.filter(|key| !optimizer.keys().contains(key) && !is_set(key)) {
                table.remove(*key);
            }
        }
        for [one, other] in [["clip_norm", "clip_value"], ["clip_value", "clip_norm"]] {
            if is_set(one) && !is_set(other) && table.contains_key(one) {
                table.remove(other);
            }
        }
        let mut recipe = read(table).map_err(|error| self.unreadable(settings, &error))?;
        if !is_set("nesterov") {
            let plain = |number: Option<f64>| number.is_none_or(|number| number == 0.0);
            recipe.nesterov &= !plain(recipe.momentum) && plain(recipe.dampening);
        }
        if !is_set("warmup_epochs") {
            recipe.warmup_epochs = recipe.warmup_epochs.min(recipe.epochs as f64);
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// Why the recipe cannot be read with these settings, and which of its keys was set so.
    fn unreadable(&self, settings: &[(&str, String)], error: &toml::de::Error) -> RecipeError {
        let message = in_plain_words(&error.to_string().trim().replace('\n', ", "));
        let is_wrong = |key: &&str| {
            let mut table = self.table();
            let of_key = settings.iter().filter(|(path, _)| first(path) == *key);
            let set = of_key.map(|(path, value)| set(&mut table, path, value));
            set.collect::<Result<(), _>>().is_err() || read(table).is_err()
        };
        match KEYS.into_iter().find(is_wrong) {
            Some(key) => RecipeError::Setting { key, message },
            None => RecipeError::Toml { message },
        }
    }

    fn table(&self) -> toml::Table {
        self.to_toml().parse().expect("what was just written can be read")
    }

    /// A recipe that has every key, whatever it says: of which type each of them is.
    fn with_every_key() -> Self {
        let some = Some(0.5);
        let text = || Some(String::new());
        Self {
            classes: Some(1),
            weights: text(),
            weights_key: text(),
            weights_sha256: text(),
            freeze: vec![String::new()],
            head_lr: some,
            layer_decay: some,
            validation_data: text(),
            early_stopping: Some(1),
            init: Some(InitName::Kaiming),
            accumulate: 2,
            sync_bn: true,
            image_size: Some(1),
            precision: Some(PrecisionName::F32),
            optimizer: OptimizerName::Adam,
            dampening: some,
            alpha: some,
            centered: true,
            beta1: some,
            beta2: some,
            eps: some,
            trust_coefficient: some,
            no_decay: vec![Role::Norms],
            clip_norm: some,
            clip_value: some,
            max_filter_rms: some,
            ema: some,
            ema_warmup: true,
            ema_after: 1,
            ema_buffers: EmaBuffersName::Copy,
            checkpoint_steps: Some(1),
            groups: vec![ParamGroup { params: String::new(), lr: 1.0, decay: 1.0, frozen: true }],
            augment: Augment::digits(),
            mixup: 0.5,
            cutmix: 0.5,
            preprocess: Some(Preprocess::digits()),
            about: Some(About::default()),
            ..Self::usual("", "")
        }
    }
}

/// The value of a key that was written so, of the key's type if it can be.
fn typed(key: &str, written: &str) -> Result<Value, RecipeError> {
    let value = parse(key, written);
    let text = || Value::String(written.trim().to_owned());
    let list =
        |text: &str| text.split(',').map(|word| Value::String(word.trim().to_owned())).collect();
    let model = Recipe::with_every_key().table().remove(key);
    let expected = match (model, &value) {
        (_, Value::String(none)) if none == "none" => return Ok(value),
        // Its own reading tells its bounds.
        _ if key == "seed" => return Ok(value),
        (Some(Value::Integer(_)), Value::Integer(0..))
        | (Some(Value::Float(_)), Value::Float(_) | Value::Integer(_))
        | (Some(Value::Boolean(_)), Value::Boolean(_)) => return Ok(value),
        // TOML takes no integer beyond 2⁶³ − 1: the key's own bound is told instead.
        (Some(Value::Integer(_)), Value::String(text)) if text.parse::<u128>().is_ok() => {
            return Ok(Value::Integer(i64::MAX));
        }
        (Some(Value::Integer(_)), _) => "a whole number from 0 on",
        (Some(Value::Float(_)), Value::String(text)) => match text.parse() {
            Ok(number) => return Ok(Value::Float(number)),
            Err(_) => "a number",
        },
        (Some(Value::Float(_)), _) => "a number",
        (Some(Value::Boolean(_)), _) => "true or false",
        // A folder may be called 2012.
        (Some(Value::String(_)), Value::String(_)) => return Ok(value),
        (Some(Value::String(_)), _) => return Ok(text()),
        (Some(Value::Array(of)), Value::String(text)) if of.iter().all(Value::is_str) => {
            return Ok(Value::Array(list(text)));
        }
        // A change with all its numbers left out.
        (Some(Value::Array(_)), Value::String(name)) if key == "augment" => {
            let change = [(name.clone(), Value::Table(toml::Table::new()))];
            return Ok(Value::Array(vec![Value::Table(change.into_iter().collect())]));
        }
        (Some(Value::Array(_)), Value::Table(_)) => return Ok(Value::Array(vec![value])),
        (Some(Value::Array(_)), Value::Array(_)) => return Ok(value),
        (Some(Value::Array(_)), _) => "a list",
        (Some(Value::Table(_)), Value::String(_)) if key == "schedule" => return Ok(value),
        (Some(Value::Table(_)), Value::Table(_)) => return Ok(value),
        (Some(Value::Table(_)), _) => "a table",
        (Some(Value::Datetime(_)) | None, _) => return Ok(value),
    };
    Err(RecipeError::value(known(key)?, expected))
}

fn read(table: toml::Table) -> Result<Recipe, toml::de::Error> {
    Value::Table(table).try_into()
}

/// The key of a recipe that a path begins with.
fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

/// A recipe's key of this name.
fn known(key: &str) -> Result<&'static str, RecipeError> {
    KEYS.into_iter().find(|known| *known == key).ok_or_else(|| RecipeError::unknown(key))
}

/// Sets one key.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), RecipeError> {
    let first = known(first(key))?;
    let rest: Vec<&str> = key.split('.').skip(1).collect();
    let value = if rest.is_empty() { typed(first, value)? } else { parse(first, value) };
    let value = match (value, first) {
        (Value::String(text), _) if text == "none" && rest.is_empty() => {
            table.remove(first);
            if first == "schedule" {
                table.insert(first.to_owned(), Value::String("constant".to_owned()));
            }
            return Ok(());
        }
        // A schedule with all its numbers left out.
        (Value::String(name), "schedule") if name != "constant" && rest.is_empty() => {
            Value::Table([(name, Value::Table(toml::Table::new()))].into_iter().collect())
        }
        (value, _) => value,
    };
    let mut at = table;
    let mut name = first;
    for (depth, next) in rest.into_iter().enumerate() {
        // Of a choice, another one takes the place of what was chosen.
        if (name, depth) == ("schedule", 0) && at.get(name).is_none_or(|of| of.get(next).is_none())
        {
            at.insert(name.to_owned(), Value::Table(toml::Table::new()));
        }
        let below = at.entry(name).or_insert_with(|| Value::Table(toml::Table::new()));
        let Value::Table(below) = below else {
            let message = format!("{name} is no table: set {name} as a whole");
            return Err(RecipeError::Setting { key: first, message });
        };
        (at, name) = (below, next);
    }
    at.insert(name.to_owned(), value);
    Ok(())
}

/// A value as TOML has it, or else a text.
fn parse(key: &str, value: &str) -> Value {
    let line: Result<toml::Table, _> = format!("value = {value}").parse();
    let seed = key == "seed";
    match line.ok().and_then(|mut table| table.remove("value")) {
        // TOML takes no integer beyond 2⁶³ − 1, and a seed may be one.
        Some(value) if !(seed && value.is_float()) => value,
        _ => Value::String(value.trim().to_owned()),
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
            ("batch_size", "99999999999999999999", "batch_size must be from 1 to 4294967295"),
            ("epochs", "1.5", "epochs must be a whole number"),
            ("momentum", "x", "momentum must be a number"),
            ("momentum", "NaN", "momentum must be from 0"),
            ("momentum", "99999999999999999999", "momentum must be from 0"),
            ("lr", "0,1", "lr must be a number"),
            ("lr", "[0.1]", "lr must be a number"),
            ("mixup", "true", "mixup must be a number"),
            ("label_smoothing", "x", "label_smoothing must be a number"),
            ("sync_bn", "1", "sync_bn must be true or false"),
            ("freeze", "3", "freeze must be a list"),
            ("augment", "1", "augment must be a list"),
            ("preprocess", "3", "preprocess must be a table"),
            ("schedule", "3", "schedule must be a table"),
            ("schedule", "{step=1}", "integer `1`, expected a table"),
            ("augment", "[{cutout=-1}]", "integer `-1`, expected a table"),
            ("augment", "crop", "unknown name `crop`, expected one of"),
            ("schedule.cosine.final", "x", "invalid type: string"),
        ] {
            let error = with(&[("lr", "0.1"), (key, value)]).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    /// However many keys are set, and whichever of them belong together.
    #[test]
    fn what_cannot_be_read_is_told_with_the_key_that_was_set_so() {
        for (settings, key, words) in [
            (&[("seed", "7"), ("schedule.cosine.finel", "0")][..], "schedule", "finel"),
            (
                &[
                    ("schedule.step.milestones", "[1]"),
                    ("schedule.step.gamma", "x"),
                    ("mixup", "1"),
                ],
                "schedule",
                "in `schedule.gamma`",
            ),
            (&[("schedule", "step"), ("epochs", "3")], "schedule", "missing key `milestones`"),
            (&[("preprocess", "{mean=[0.5]}"), ("lr", "0.1")], "preprocess", "missing key"),
            (&[("augment", "trivial_augmnt"), ("lr", "0.1")], "augment", "trivial_augmnt"),
            (&[("groups", "{params=\"fc*\",lrr=10}")], "groups", "lrr"),
            (&[("no_decay", "norm"), ("lr", "0.1")], "no_decay", "norm"),
            (&[("optimizer", "adan")], "optimizer", "adan"),
            (&[("seed", "-1")], "seed", "a seed from 0"),
            (&[("lr.fast", "1")], "lr", "no table"),
        ] {
            match with(settings) {
                Err(RecipeError::Setting { key: named, message }) => {
                    assert_eq!(named, key, "{settings:?}: {message}");
                    assert!(message.contains(words), "{settings:?}: {message}");
                    assert!(!message.contains('\n'), "{message}");
                }
                other => panic!("{settings:?}: {other:?}"),
            }
        }
        for (settings, table, key) in [
            (("schedule", "{step={milestones=[3,2],gamma=0.1}}"), "schedule", "milestones"),
            (("schedule.plateau.factor", "2"), "schedule", "factor"),
        ] {
            match with(&[settings]) {
                Err(RecipeError::Value { table: of, key: named, .. }) => {
                    assert_eq!((of, named), (Some(table), key), "{settings:?}");
                }
                other => panic!("{settings:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_key_has_a_type() {
        let mut keys: Vec<String> = Recipe::with_every_key().table().keys().cloned().collect();
        let mut all = KEYS.map(str::to_owned).to_vec();
        keys.sort_unstable();
        all.sort_unstable();
        assert_eq!(keys, all);
    }

    #[test]
    fn values_are_read_as_their_key_has_them() {
        let recipe = with(&[
            ("data", "2012"),
            ("freeze", "conv1, conv2.weight"),
            ("no_decay", "norms,biases"),
            ("augment", "trivial_augment"),
            ("groups", "{params=\"fc*\",lr=10}"),
            ("lr", "1e-3"),
            ("mixup", "1"),
        ])
        .unwrap();
        assert_eq!((recipe.data.as_str(), recipe.lr, recipe.mixup), ("2012", 1e-3, 1.0));
        assert_eq!(recipe.freeze, ["conv1", "conv2.weight"]);
        assert_eq!(recipe.no_decay, [Role::Norms, Role::Biases]);
        assert!(matches!(recipe.augment.as_slice(), [Augment::TrivialAugment { .. }]));
        assert_eq!(recipe.groups[0].lr, 10.0);
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
        for plain in [("momentum", "0"), ("momentum", "none"), ("dampening", "0.5")] {
            assert!(!with(&[plain]).unwrap().nesterov, "{plain:?}");
            assert_eq!(key(&[plain, ("nesterov", "true")]), "nesterov");
        }
        assert!(with(&[("dampening", "0")]).unwrap().nesterov);
        // One form of clipping takes the other's place.
        let norm = with(&[("clip_norm", "2.0")]).unwrap();
        let value = norm.with(&[("clip_value", "0.5".to_owned())]).unwrap();
        assert_eq!((value.clip_norm, value.clip_value), (None, Some(0.5)));
        let none = value.with(&[("clip_norm", "none".to_owned())]);
        assert_eq!(none, Ok(value));
        assert_eq!(key(&[("clip_norm", "2.0"), ("clip_value", "0.5")]), "clip_value");
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
