//! The recipes that are part of the program, and what is usual where there is none.

mod family;

pub use family::usual_augment;

use top5_train::Recipe;

/// The files of `recipes/`, by name, in the order of history.
const KEPT: &[(&str, &str)] = &[
    ("lenet5-mnist", include_str!("../../../recipes/lenet5-mnist.toml")),
    ("lenet-digits", include_str!("../../../recipes/lenet-digits.toml")),
    ("lenet-fashion-mnist", include_str!("../../../recipes/lenet-fashion-mnist.toml")),
    ("alexnet-imagenet", include_str!("../../../recipes/alexnet-imagenet.toml")),
    ("overfeat-imagenet", include_str!("../../../recipes/overfeat-imagenet.toml")),
    ("zfnet-imagenet", include_str!("../../../recipes/zfnet-imagenet.toml")),
    ("vgg16-imagenet", include_str!("../../../recipes/vgg16-imagenet.toml")),
    ("googlenet-imagenet", include_str!("../../../recipes/googlenet-imagenet.toml")),
    ("bn-inception-imagenet", include_str!("../../../recipes/bn-inception-imagenet.toml")),
    ("inception-v3-imagenet", include_str!("../../../recipes/inception-v3-imagenet.toml")),
    ("resnet50-imagenet", include_str!("../../../recipes/resnet50-imagenet.toml")),
    ("resnet20-cifar10", include_str!("../../../recipes/resnet20-cifar10.toml")),
    ("resnet20-cifar10-15min", include_str!("../../../recipes/resnet20-cifar10-15min.toml")),
    ("preact-resnet200-imagenet", include_str!("../../../recipes/preact-resnet200-imagenet.toml")),
    ("resnext50-imagenet", include_str!("../../../recipes/resnext50-imagenet.toml")),
    ("seresnet50-imagenet", include_str!("../../../recipes/seresnet50-imagenet.toml")),
    ("article-cifar100", include_str!("../../../recipes/article-cifar100.toml")),
];

/// The recipes of the folder `recipes/` with their names.
pub fn recipes() -> impl Iterator<Item = (&'static str, Recipe)> {
    let read = |text| Recipe::from_toml(text).expect("a test reads every recipe");
    KEPT.iter().map(move |(name, text)| (*name, read(text)))
}

/// The file of that recipe, with the sources of its values in comments.
pub fn recipe_file(name: &str) -> Option<&'static str> {
    KEPT.iter().find(|(of, _)| *of == name).map(|(_, text)| *text)
}

/// The recipe for a network on a dataset: the kept one; or what is usual for the network, with epochs and changes to images of
/// the one kept for another network on these data. Where there is none of either, [`usual_augment`] says what to do to images.
pub fn recipe(network: &str, data: &str) -> Recipe {
    let on_data = || recipes().map(|(_, recipe)| recipe).filter(|recipe| recipe.data == data);
    if let Some(own) = on_data().find(|recipe| recipe.network == network) {
        return own;
    }
    let found = top5_zoo::network(network);
    let usual =
        found.map_or_else(|_| Recipe::usual(network, data), |network| family::usual(network, data));
    match on_data().next() {
        Some(Recipe { epochs, augment, .. }) => Recipe { epochs, augment, ..usual },
        None => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_kept_under_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().unwrap()).collect();
        files.sort();
        let mut kept: Vec<String> = recipes().map(|(name, _)| format!("{name}.toml")).collect();
        kept.sort();
        assert_eq!(files, kept);
        for (name, recipe) in recipes() {
            assert!(recipe_file(name).is_some());
            assert!(top5_zoo::network(&recipe.network).is_ok(), "{name}");
            // Who names a network does not mean somebody's training of it.
            assert!(matches!(top5_zoo::find(name), Err(error) if error.name == name));
            assert_eq!(Recipe::from_toml(&recipe.to_toml()), Ok(recipe));
        }
    }

    #[test]
    fn recipe_suits_network_and_data() {
        let (_, digits) = recipes().find(|(name, _)| *name == "lenet-digits").unwrap();
        assert_eq!(recipe("lenet", "digits"), digits);
        let other = recipe("lenet5", "digits");
        assert_eq!((other.network.as_str(), &other.augment), ("lenet5", &digits.augment));
        assert_eq!(other.preprocess, None);
        for data in ["digits", "somewhere"] {
            recipe("vgg16", data).check().unwrap();
        }
    }
}
