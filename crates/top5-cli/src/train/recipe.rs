//! The recipe of a run: from a file, by name, for a network, or the run's own, with what the command line changes.

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files;
use top5::train::Recipe;
use top5::zoo;

use crate::args::TrainArgs;
use crate::exit::Stop;
use crate::run_folder::CONFIG;
use crate::source;

/// The dataset of a run that names none.
pub(super) const DEFAULT_DATA: &str = "digits";

/// The recipe that the arguments ask for. One that is to go on must be the run's own, but may have more epochs, which is then
/// to be said.
pub(super) fn resolve(args: &TrainArgs) -> Result<(Recipe, Option<String>)> {
    let saved = match &args.out {
        Some(out) if args.resume => read_saved(out)?,
        Some(_) | None => None,
    };
    let data = args.data.data.as_deref();
    let mut recipe = match (args.target.as_deref(), &saved) {
        (Some(target), _) => asked_for(target, data)?,
        (None, Some(saved)) => saved.clone(),
        (None, None) => {
            let message = "there is no run to go on with: name a network or a recipe".to_owned();
            return Err(Stop::BadInput(message).into());
        }
    };
    if let Some(data) = data {
        recipe.data = data.to_owned();
    }
    recipe.epochs = args.epochs.unwrap_or(recipe.epochs);
    recipe.batch_size = args.batch_size.unwrap_or(recipe.batch_size);
    recipe.seed = args.seed.unwrap_or(recipe.seed);
    recipe.checkpoint_steps = args.checkpoint_every.or(recipe.checkpoint_steps);
    recipe.check()?;
    recipe.weights = args.tuning.weights.clone().or(recipe.weights);
    recipe.weights = recipe.weights.as_deref().map(source::anywhere);
    let mut settings = args.tuning.settings();
    settings.extend(args.augment.settings());
    settings.extend(args.descent.settings());
    settings.extend(args.lr.map(|lr| ("lr", format!("{lr:?}").to_lowercase())));
    let mut recipe = recipe.with(&settings)?;
    recipe.data = super::data::from_anywhere(&recipe.data);
    let mut prolonged = None;
    if let Some(saved) = saved.as_ref().filter(|saved| saved.weights == recipe.weights) {
        // What the run wrote down of its weights.
        recipe.weights_sha256 = recipe.weights_sha256.or(saved.weights_sha256.clone());
        if recipe.weights.is_some() {
            recipe.preprocess = recipe.preprocess.or(saved.preprocess.clone());
        }
    }
    let differences = saved.map_or_else(Vec::new, |saved| {
        if args.epochs.is_none() || recipe.epochs <= saved.epochs {
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
    Ok((recipe, prolonged))
}

/// A network; the error also names the recipes, of which one may be meant.
fn named(target: &str) -> Result<&'static zoo::Network> {
    zoo::network(target).map_err(|error| {
        let recipes = top5::recipes().map(|(name, _)| name).join(", ");
        Stop::BadInput(format!("{error}; recipes: {recipes}")).into()
    })
}

/// The recipe of a file or of this name, or the one for a network on these data.
pub(crate) fn asked_for(target: &str, data: Option<&str>) -> Result<Recipe> {
    if target.ends_with(".toml") {
        let reading = || format!("reading {target}");
        let text = files::read_text(Path::new(target)).with_context(reading)?;
        return Recipe::from_toml(&text).with_context(reading);
    }
    match top5::recipes().into_iter().find(|(name, _)| *name == target) {
        Some((_, recipe)) => Ok(recipe),
        None => Ok(top5::recipe(named(target)?.name, data.unwrap_or(DEFAULT_DATA))),
    }
}

/// The recipe of a run's folder; None where none has begun.
pub(crate) fn read_saved(folder: &Path) -> Result<Option<Recipe>> {
    let path = folder.join(CONFIG);
    if !path.exists() {
        return Ok(None);
    }
    let reading = || format!("reading {}", path.display());
    let text = files::read_text(&path).with_context(reading)?;
    Ok(Some(Recipe::from_toml(&text).with_context(reading)?))
}
