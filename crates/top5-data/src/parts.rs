//! What the folders of a dataset's parts are called: that to learn from, that to choose the epoch and that to test.

/// The usual names of the three parts, in lower case.
pub(crate) const PARTS: [&[&str]; 3] =
    [&["train", "training"], &["val", "valid", "validation"], &["test", "testing"]];
/// Short names, which are also those of languages and states.
const SHORT: [&[&str]; 3] = [&["tr", "trn"], &["va", "vl"], &["te", "ts", "tst"]];
/// Words beside a part's name that say no more: `training_set`, `img_train`.
const FILLING: [&str; 10] =
    ["set", "dataset", "data", "images", "image", "imgs", "img", "split", "part", "ilsvrc2012"];

/// Which of the folders that lie beside each other are parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    /// Whether short names count: all folders are parts then.
    short: bool,
}

impl Parts {
    /// Of folders with these names.
    pub(crate) fn among<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self { short: names.into_iter().all(|name| Self { short: true }.part(name).is_some()) }
    }

    /// Whether a folder of this name is the part to learn from (0), to choose the epoch (1) or to test (2).
    pub(crate) fn part(self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut words = words.filter(|word| !FILLING.contains(word));
        let (Some(word), None) = (words.next(), words.next()) else { return None };
        let one = |word: &str| {
            let short = SHORT.iter().position(|of| of.contains(&word)).filter(|_| self.short);
            PARTS.iter().position(|of| of.contains(&word)).or(short)
        };
        // In one word, too: `testset`.
        one(word).or_else(|| FILLING.iter().find_map(|end| one(word.strip_suffix(end)?)))
    }
}

/// What is said of a folder beside the parts that is none of them.
pub(crate) fn no_part(name: &str) -> String {
    format!("{name}/ is no part: those are called {}", PARTS.concat().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_the_words_of_their_names() {
        for (names, parts) in [
            (&["train", "VAL", "Testing"][..], [Some(0), Some(1), Some(2)]),
            (&["training_set", "valid images", "test-set"], [Some(0), Some(1), Some(2)]),
            (&["trainset", "validationdata", "TestImages"], [Some(0), Some(1), Some(2)]),
            (&["tr", "va", "te"], [Some(0), Some(1), Some(2)]),
            (&["ILSVRC2012_img_train", "ILSVRC2012_img_val", "te"], [Some(0), Some(1), Some(2)]),
            // Languages, classes and other things of a dataset.
            (&["tr", "te", "de"], [None; 3]),
            (&["train_station", "train labels", "train2"], [None; 3]),
            (&["set", "images", "_"], [None; 3]),
        ] {
            let known = Parts::among(names.iter().copied());
            let found: Vec<_> = names.iter().map(|name| known.part(name)).collect();
            assert_eq!(found, parts, "{names:?}");
        }
    }
}
