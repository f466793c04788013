//! The recipe of a run: from a file, by name, for a network, or the run's own, with what the command line changes.

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::{Preprocess, files};
use top5::train::{PrecisionName, Recipe, RecipeError};
use top5::{Precision, zoo};

use super::args::TrainArgs;
use super::data::{DEFAULT_DATA, from_anywhere};
use super::flags;
use crate::exit::Stop;
use crate::run_folder::read_recipe;
use crate::source;

/// What the arguments ask for.
pub(super) struct Resolved {
    pub(super) recipe: Recipe,
    /// What the command line says of it.
    pub(super) said: Vec<(String, String)>,
    /// What is to be said of a run that gets more epochs.
    pub(super) prolonged: Option<String>,
    /// Whether nobody has said what is done to training images, so that it follows from the images.
    pub(super) augment_unsaid: bool,
}

/// The recipe that the arguments ask for. One that is to go on must be the run's own, but may have more epochs.
pub(super) fn resolve(args: &TrainArgs) -> Result<Resolved> {
    let saved = match &args.out {
        Some(out) if args.resume => read_recipe(out)?,
        Some(_) | None => None,
    };
    let data = args.data.data.as_deref();
    let mut usual = false;
    let mut recipe = match (args.target.as_deref(), &saved) {
        // The network alone says nothing that the run does not know better.
        (Some(target), Some(saved)) if is_network(target, &saved.network) => saved.clone(),
        (Some(target), _) => {
            usual = is_usual(target, data);
            asked_for(target, data)?
        }
        (None, Some(saved)) => saved.clone(),
        (None, None) => {
            let place = args.out.as_ref().map(|out| format!("{}: ", out.display()));
            let place = place.unwrap_or_default();
            let message =
                format!("{place}there is no run to go on with: name a network or a recipe");
            return Err(Stop::BadInput(message).into());
        }
    };
    if let Some(data) = data {
        recipe.data = data.to_owned();
    }
    let settings = settings(args, saved.is_none());
    contradiction(args, &settings)?;
    if saved.is_none() && recipe.preprocess.is_none() {
        recipe.preprocess = preprocess_to_change(args, &recipe, &settings)?;
    }
    recipe.weights = args.weights.clone().or(recipe.weights);
    let mut recipe = recipe.with(&settings).map_err(|error| refused(error, &settings))?;
    let augment_unsaid = usual && !settings.iter().any(|(key, _)| *key == "augment");
    if let Some(saved) = &saved {
        recipe.precision = recipe.precision.or(saved.precision);
    }
    recipe.weights = recipe.weights.as_deref().map(source::anywhere);
    recipe.data = from_anywhere(&recipe.data);
    recipe.validation_data = recipe.validation_data.as_deref().map(from_anywhere);
    let is_bf16 = recipe.precision == Some(PrecisionName::Bf16);
    if args.engine.exact && is_bf16 && saved.is_none() {
        let message = "--exact is for precision f32, and the recipe's is bf16".to_owned();
        return Err(Stop::Usage(message).into());
    }
    let (mut prolonged, went_on) = (None, saved.is_some());
    if let Some(saved) = saved.as_ref().filter(|saved| saved.weights == recipe.weights) {
        // What the run wrote down of its weights.
        recipe.weights_sha256 = recipe.weights_sha256.or(saved.weights_sha256.clone());
        if recipe.weights.is_some() {
            recipe.preprocess = recipe.preprocess.or(saved.preprocess.clone());
        }
    }
    let differences = saved.map_or_else(Vec::new, |saved| {
        let is_set = |wanted: &str| settings.iter().any(|(key, _)| *key == wanted);
        // When it ends may change; what is to be done until then may not.
        let early_stopping = match is_set("early_stopping") {
            true => recipe.early_stopping,
            false => saved.early_stopping,
        };
        let saved = Recipe { early_stopping, ..saved };
        if !is_set("epochs") || recipe.epochs <= saved.epochs {
            return recipe.differences(&saved);
        }
        prolonged = Some(super::start::prolonged(&recipe, saved.epochs));
        recipe.differences(&Recipe { epochs: recipe.epochs, ..saved })
    });
    if !differences.is_empty() {
        let message = format!(
            "the run has another recipe than asked for ({}; the second is the run's): leave the \
             difference out, or begin another run",
            differences.join("; ")
        );
        return Err(Stop::BadInput(message).into());
    }
    let augment_unsaid = augment_unsaid && !went_on;
    let said = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Ok(Resolved { recipe, said, prolonged, augment_unsaid })
}

/// Whether this is a name of that network.
fn is_network(target: &str, network: &str) -> bool {
    zoo::network(target).is_ok_and(|named| named.name == network)
}

/// How the recipe's network wants its images, where the command line changes a part of that.
fn preprocess_to_change(
    args: &TrainArgs,
    recipe: &Recipe,
    settings: &[(&str, String)],
) -> Result<Option<Preprocess>> {
    let part = settings.iter().find(|(key, _)| key.starts_with("preprocess."));
    let whole = settings.iter().any(|(key, _)| *key == "preprocess");
    let Some((key, value)) = part.filter(|_| !whole) else { return Ok(None) };
    let weights = settings.iter().any(|(key, _)| *key == "weights");
    if weights || args.weights.is_some() || recipe.weights.is_some() {
        let message = format!(
            "--set {key}={value}: images are prepared as the weights want it; give all of --preprocess in place of that"
        );
        return Err(Stop::Usage(message).into());
    }
    let name = settings.iter().rev().find(|(key, _)| *key == "network");
    let network = zoo::network(name.map_or(recipe.network.as_str(), |(_, name)| name))?;
    Ok(Some(top5::preprocessing(network, network.input)))
}

/// The keys that the command line sets, those of `--set` last. A run that goes on computes as it began, whose precision is
/// checked there.
fn settings(args: &TrainArgs, begins: bool) -> Vec<(&str, String)> {
    let number = |value: Option<usize>| value.map(|value| value.to_string());
    let precision = args.engine.precision.filter(|_| begins);
    let flags = [
        ("epochs", number(args.epochs)),
        ("batch_size", number(args.batch_size)),
        ("seed", args.seed.map(|seed| format!("\"{seed}\""))),
        ("checkpoint_steps", number(args.checkpoint_steps)),
        ("precision", precision.map(|precision| Precision::from(precision).name().to_owned())),
    ];
    let flags = flags.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let flags = flags.chain(args.augment.settings());
    flags.chain(args.recipe.0.iter().map(|(key, value)| (key.as_str(), value.clone()))).collect()
}

/// Fails where a key is set twice, or in two ways of which only one counts.
fn contradiction(args: &TrainArgs, settings: &[(&str, String)]) -> Result<()> {
    let places = [("data", &args.data.data), ("weights", &args.weights)];
    let places = places.into_iter().filter_map(|(key, value)| Some((key, value.clone()?)));
    let said: Vec<(&str, String)> = places.chain(settings.iter().cloned()).collect();
    for (number, (key, value)) in said.iter().enumerate() {
        if let Some((_, other)) = said[..number].iter().find(|(before, _)| before == key) {
            let [one, other] = [other, value].map(|value| flags::typed(value));
            let message = format!("{key} is given twice, as {one} and as {other}: give it once");
            return Err(Stop::Usage(message).into());
        }
    }
    let is_set = |wanted: &str| said.iter().any(|(key, _)| *key == wanted);
    if is_set("validation") && is_set("validation_data") {
        let message = "--validation is a share of the images, and --validation-data stands in place of it: give one of them";
        return Err(Stop::Usage(message.to_owned()).into());
    }
    Ok(())
}

/// Fails where something of the recipe needs images that choose the epoch, and there are none; in the words of the command line
/// where it says so.
pub(super) fn check_validation(
    recipe: &Recipe,
    said: &[(String, String)],
    images: usize,
) -> Result<()> {
    recipe.check_validation(images).map_err(|error| {
        let keys = ["early_stopping", "schedule", "validation"];
        let settings: Vec<(&str, String)> =
            said.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        match settings.iter().any(|(key, _)| keys.contains(key)) {
            true => refused(error, &settings).into(),
            false => error.into(),
        }
    })
}

/// The error of settings that make no recipe, in the words of the command line.
pub(crate) fn refused(error: RecipeError, settings: &[(&str, String)]) -> Stop {
    let last = |is: &dyn Fn(&str) -> bool| {
        let given = settings.iter().rev().find(|(path, _)| is(path));
        given.map(|(path, value)| format!("{}: ", flags::shown(path, value)))
    };
    let of_key = |key: &str| last(&|path| path.split('.').next() == Some(key));
    Stop::Usage(match error {
        RecipeError::Value { table, key, expected, .. } => {
            let within = |path: &str, table| {
                let mut names = path.split('.');
                names.next() == Some(table) && names.next_back() == Some(key)
            };
            let given = match table {
                None => of_key(key),
                Some(table) => last(&|path| within(path, table)).or_else(|| of_key(table)),
            };
            match (given, table) {
                (Some(given), _) => format!("{given}{key} must be {expected}"),
                (None, None) => format!("{key} must be {expected}"),
                (None, Some(_)) => error.to_string(),
            }
        }
        RecipeError::Setting { key, message } => {
            // TOML's reader leaves out which choice was made: `schedule.gamma`.
            let is_last = |path: &str| {
                path.rsplit_once('.').is_some_and(|(_, name)| {
                    message.contains(&format!(".{name}`"))
                        || message.contains(&format!("key `{name}`"))
                })
            };
            let given = last(&is_last);
            let given = given.or_else(|| of_key(key)).unwrap_or_default();
            let typed = settings.iter().fold(message, |message, (_, value)| {
                message.replace(&format!("`{value}`"), &format!("`{}`", flags::typed(value)))
            });
            format!("{given}{typed}")
        }
        RecipeError::Toml { message } => message.trim_end().replace('\n', ", "),
        RecipeError::Parameters { .. } => error.to_string(),
    })
}

/// A network; the error also names the recipes, of which one may be meant.
fn named(target: &str) -> Result<&'static zoo::Network> {
    zoo::network(target).map_err(|error| {
        let recipes = top5::recipes().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        Stop::BadInput(format!("{error}; recipes: {recipes}")).into()
    })
}

/// Whether that recipe is what is usual for a network, with nobody's word on what is done to images.
pub(crate) fn is_usual(target: &str, data: Option<&str>) -> bool {
    let data = data.unwrap_or(DEFAULT_DATA);
    let kept = |(name, recipe): (&str, Recipe)| name == target || recipe.data == data;
    !target.ends_with(".toml") && !top5::recipes().any(kept)
}

/// The recipe of a file or of this name, or the one for a network on these data.
pub(crate) fn asked_for(target: &str, data: Option<&str>) -> Result<Recipe> {
    if target.ends_with(".toml") {
        let reading = || format!("reading {target}");
        let text = files::read_text(Path::new(target)).with_context(reading)?;
        return Recipe::from_toml(&text).with_context(reading);
    }
    match top5::recipes().find(|(name, _)| *name == target) {
        Some((_, recipe)) => Ok(recipe),
        None => Ok(top5::recipe(named(target)?.name, data.unwrap_or(DEFAULT_DATA))),
    }
}
