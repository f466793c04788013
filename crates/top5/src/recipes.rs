//! The recipes that are part of the program, and what is usual where there is none.

use top5_train::Recipe;

/// The files of `recipes/`, by name.
const KEPT: [(&str, &str); 2] = [
    ("lenet-digits", include_str!("../../../recipes/lenet-digits.toml")),
    ("lenet-fashion-mnist", include_str!("../../../recipes/lenet-fashion-mnist.toml")),
];

/// The recipes of the folder `recipes/` with their names.
pub fn recipes() -> [(&'static str, Recipe); KEPT.len()] {
    KEPT.map(|(name, text)| (name, Recipe::from_toml(text).expect("a test reads every recipe")))
}

/// The recipe for a network on a dataset: the kept one; or the one kept for another network on these data, with this
/// network's preprocessing; or what is usual.
pub fn recipe(network: &str, data: &str) -> Recipe {
    let kept = recipes().map(|(_, recipe)| recipe);
    let on_data = || kept.iter().filter(|recipe| recipe.data == data);
    if let Some(own) = on_data().find(|recipe| recipe.network == network) {
        return own.clone();
    }
    let usual = on_data().next().cloned().unwrap_or_else(|| Recipe::usual(network, data));
    Recipe { network: network.to_owned(), preprocess: None, ..usual }
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
        assert_eq!(files, recipes().map(|(name, _)| format!("{name}.toml")));
        for (name, recipe) in recipes() {
            assert_eq!(name, format!("{}-{}", recipe.network, recipe.data));
        }
    }

    #[test]
    fn recipe_suits_network_and_data() {
        let [(_, digits), _] = recipes();
        assert_eq!(recipe("lenet", "digits"), digits);
        let other = recipe("lenet5", "digits");
        assert_eq!((other.network.as_str(), &other.augment), ("lenet5", &digits.augment));
        assert_eq!(other.preprocess, None);
        for data in ["digits", "somewhere"] {
            recipe("vgg16", data).check().unwrap();
        }
    }
}
