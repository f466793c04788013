//! The parts of data as a run divides them: by a share, or with all images of another folder to choose the epoch; and where they have
//! changed, as it divided them when it began.

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::{Limits, OpenOptions, Splits};
use top5::eval::Division;
use top5::train::Recipe;

use crate::environment::Environment;
use crate::exit::Stop;
use crate::image_list::Found;
use crate::memory;

/// Opens data as `division` divides them, or as the options do where it says nothing.
pub(crate) fn open(
    data: &str,
    division: Option<&Division>,
    options: OpenOptions,
) -> Result<Splits> {
    let Some(Division { validation, seed, validation_data }) = division else {
        return Ok(top5::data::open(data, &options)?);
    };
    let share = if validation_data.is_some() { 0.0 } else { *validation };
    let options = OpenOptions { validation: share, seed: *seed, ..options };
    let splits = top5::data::open(data, &options)?;
    match validation_data {
        Some(folder) => with_validation(splits, folder, options),
        None => Ok(splits),
    }
}

/// The same with all images of another folder to choose the epoch; it must have the same classes.
fn with_validation(splits: Splits, folder: &str, options: OpenOptions) -> Result<Splits> {
    let other = top5::data::open(folder, &OpenOptions { needs_train: true, ..options })
        .with_context(|| format!("opening the images that choose the epoch, {folder}"))?;
    let (here, there) = (splits.train.classes(), other.train.classes());
    if here != there {
        let message = format!(
            "{folder} has other classes than the images to learn from: {} against {}; they must be of the same names",
            there.join(", "),
            here.join(", ")
        );
        return Err(Stop::BadInput(message).into());
    }
    let validation = other.whole();
    let skipped = [splits.skipped, other.skipped].concat();
    Ok(Splits { validation, skipped, ..splits })
}

/// The parts of the images of the run in `folder` as it divided them when it began, of those that were `opened` as its recipe divides
/// them now, when files may have come or gone.
pub(crate) fn of_run(
    folder: &Path,
    recipe: &Recipe,
    opened: Splits,
    limits: Limits,
    skip_gone: bool,
) -> Result<Found> {
    let Some(begun) = Environment::find(folder)? else { return Ok(Found::all(opened)) };
    let whole = || undivided(recipe, limits);
    Ok(begun.own_images(folder, &recipe.data, opened, whole, skip_gone)?.found)
}

/// The same in data that may be others than the run's: None where they are.
pub(crate) fn of_run_elsewhere(
    folder: &Path,
    recipe: &Recipe,
    opened: Splits,
    limits: Limits,
    skip_gone: bool,
) -> Result<Option<Found>> {
    let Some(begun) = Environment::find(folder)? else { return Ok(None) };
    let whole = || undivided(recipe, limits);
    Ok(begun.find_images(folder, opened, whole, skip_gone)?.map(|own| own.found))
}

/// The data of a recipe without a share of the training images that chooses the epoch, and without a look at each file.
pub(crate) fn undivided(recipe: &Recipe, limits: Limits) -> Result<Splits> {
    let options = OpenOptions { limits, memory: memory::available(), ..OpenOptions::default() };
    let division = Division { validation: 0.0, ..division(recipe) };
    open(&recipe.data, Some(&division), options)
}

/// How a run of this recipe divides its data.
pub(crate) fn division(recipe: &Recipe) -> Division {
    let Recipe { validation, seed, validation_data, .. } = recipe;
    Division { validation: *validation, seed: *seed, validation_data: validation_data.clone() }
}
