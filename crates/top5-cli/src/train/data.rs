//! The data of a run: where they are, what is said of them, and the name that they give its folder.

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::source::NAMES;
use top5::data::{Limits, OnBad, OpenOptions, Splits};
use top5::graph::counted;
use top5::train::Recipe;
use top5::zoo;

use super::args::TrainArgs;
use crate::environment::Own;
use crate::exit::Stop;
use crate::memory;
use crate::output::Output;
use crate::parts;

/// The dataset of a run that names none.
pub(super) const DEFAULT_DATA: &str = "digits";

/// What is to be said where a network of photographs gets no data, and so learns the embedded digits.
pub(super) fn about(recipe: &Recipe, args: &TrainArgs) -> Option<String> {
    let network = zoo::network(args.target.as_deref()?).ok()?;
    let [channels, height, width] = network.input;
    (args.data.data.is_none() && recipe.data == DEFAULT_DATA && channels > 1).then(|| {
        format!(
            "{} learns the embedded handwritten digits, enlarged to {height}×{width}, since no --data is given: \
             --data FOLDER takes images of your own, in one folder per class",
            network.name
        )
    })
}

/// A folder or archive of data as a path that holds in every working directory; a name stays one.
pub(super) fn from_anywhere(data: &str) -> String {
    let is_path = Path::new(data).is_dir() || data.ends_with(".tar");
    let path = std::path::absolute(data).ok().filter(|_| is_path && !NAMES.contains(&data));
    path.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or_else(|| data.to_owned())
}

/// The last part of a dataset's name or path, as a part of a folder's name.
pub(super) fn folder_name(data: &str) -> String {
    let name = Path::new(data).file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".tar").map_or(name.clone(), |stem| stem.to_owned().into());
    if name.is_empty() { "data".to_owned() } else { name.into_owned() }
}

/// Data that recipes are for and that are not part of the program: what recipes call them, and what they are.
const ELSEWHERE: [(&str, &str); 4] = [
    ("imagenet", "ImageNet (ILSVRC-2012)"),
    ("mnist", "MNIST"),
    ("cifar10", "CIFAR-10"),
    ("cifar100", "CIFAR-100"),
];

/// How images are read.
pub(super) struct Reading {
    pub(super) on_bad: OnBad,
    pub(super) limits: Limits,
    pub(super) output: Output,
}

/// The parts of the data, whose classes must be as many as the recipe says. `may_have_moved`: the data of a run that has begun,
/// of which nobody said where they are now.
pub(super) fn open(recipe: &Recipe, reading: &Reading, may_have_moved: bool) -> Result<Splits> {
    let Recipe { data, classes, .. } = recipe;
    let &Reading { on_bad, limits, output } = reading;
    if let Some((_, name)) = ELSEWHERE.iter().find(|(name, _)| name == data)
        && !Path::new(data).exists()
    {
        let message = format!(
            "the recipe is for {name}, which is not part of the program: say with --data where its images are, or other ones"
        );
        return Err(Stop::BadInput(message).into());
    }
    let options =
        OpenOptions { on_bad, limits, memory: memory::available(), ..OpenOptions::default() };
    let opened = parts::open(data, Some(&parts::division(recipe)), options);
    let splits = match may_have_moved {
        true => opened.context(
            "opening the run's images: if they are elsewhere by now, say where with --data",
        ),
        false => opened,
    }?;
    for error in splits.skipped.iter() {
        output.warn(&format!("left out: {error}"));
    }
    for unused in splits.unused.iter() {
        output.warn(&format!("left out: {unused}"));
    }
    let found = splits.train.classes().len();
    if let Some(classes) = classes.filter(|classes| *classes != found) {
        let message = format!(
            "the recipe says {}, {data} has {found}: leave `classes` out, or give other data",
            counted(classes, "class")
        );
        return Err(Stop::BadInput(message).into());
    }
    Ok(splits)
}

/// Says what has changed in the images of a run that goes on.
pub(super) fn warn_of_changes(own: &Own, output: Output) {
    const OTHERWISE: &str = "and not with the numbers of a run that was not stopped";
    if own.changed {
        output.warn(&format!(
            "files of the data have changed since the run began: it goes on with them, {OTHERWISE}"
        ));
    }
    if let Some(gone) = own.found.told_gone() {
        output.warn(&format!("gone: {gone}: it goes on without, {OTHERWISE}"));
    }
    own.found.warn_of_new(output);
}
