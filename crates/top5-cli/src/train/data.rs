//! The data of a run: where they are, what is said of them, and the name that they give its folder.

use std::path::Path;

use top5::data::source::NAMES;
use top5::train::Recipe;
use top5::zoo;

use super::recipe::DEFAULT_DATA;
use crate::args::TrainArgs;

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
