//! Counts in sentences, and the words of messages.

use std::fmt::Display;

/// So many of what has this name: `1 image`, `2 images`, `0 classes`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str) -> String {
    format!("{count} ") + &several(count, one)
}

/// The name of what there are so many of.
pub fn several<N: PartialEq + From<u8>>(count: N, one: &str) -> String {
    let end = match one {
        _ if count == N::from(1) => "",
        _ if one.ends_with(['s', 'x']) || one.ends_with("tch") => "es",
        _ => "s",
    };
    format!("{one}{end}")
}

/// The Levenshtein distance of two words: how many characters are inserted, deleted or replaced to make one of the other.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The name that is most alike to the word, where one is: cases, hyphens and underscores count for nothing, and at most every other
/// character differs.
pub fn alike<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    /// Characters of the longest word that is compared: no name is as long.
    const LONGEST: usize = 100;
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let word = plain(word);
    let length = word.chars().count();
    if length > LONGEST {
        return None;
    }
    let distances = names.into_iter().map(|name| (edit_distance(&word, &plain(name)), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (2 * distance <= length).then_some(name)
}

/// What a reader of TOML or JSON says, in the words of those who wrote the text instead of those for types in Rust.
pub fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 10] = [
        ("unknown variant", "unknown name"),
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("expected usize", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected f32", "expected a number"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list"),
        ("invalid type: sequence", "invalid type: list"),
        ("wanted exactly 1 element, more than 1 element", "expected one key, found several"),
    ];
    let mut text =
        WORDS.iter().fold(message.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    for kind in ["expected struct variant ", "expected struct ", "expected a map"] {
        while let Some(at) = text.find(kind) {
            let rest = &text[at + kind.len()..];
            let name = rest.find(|c: char| !(c.is_alphanumeric() || c == ':' || c == '_'));
            let end = at + kind.len() + name.unwrap_or(rest.len());
            text.replace_range(at..end, "expected a table");
        }
    }
    with_nearest(text)
}

/// The same message; where it lists the names that there are, with the one that is most alike to the unknown one before them.
fn with_nearest(message: String) -> String {
    const LIST: &str = "`, expected one of ";
    let Some((before, list)) = message.split_once(LIST) else { return message };
    let Some((_, word)) = before.rsplit_once("unknown ").and_then(|(_, of)| of.split_once('`'))
    else {
        return message;
    };
    // Names are between backticks, commas between names; what follows them may name the place.
    let names = list.trim_start_matches('`').split("`, `");
    let names = names.map(|name| name.split_once('`').map_or(name, |(name, _)| name));
    match alike(word, names) {
        Some(near) => format!("{before}`, nearest `{near}`{}{list}", &LIST[1..]),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_said_in_plain_words() {
        for (theirs, ours) in [
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: integer `-1`, expected a whole number",
            ),
            ("invalid type: null, expected f64", "invalid type: null, expected a number"),
            ("expected struct variant Crops::Grid", "expected a table"),
        ] {
            assert_eq!(in_plain_words(theirs), ours);
        }
    }

    #[test]
    fn distance_of_known_words() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "äbc"), 3);
    }

    #[test]
    fn the_name_that_was_meant_stands_before_all_others() {
        for (theirs, ours) in [
            (
                "unknown variant `randaugmnt`, expected one of `flip`, `rand_augment`, `cutout`, in `augment`",
                "unknown name `randaugmnt`, nearest `rand_augment`, expected one of `flip`, `rand_augment`, `cutout`, in `augment`",
            ),
            (
                "unknown field `Magnitud`, expected one of `ops`, `magnitude`",
                "unknown key `Magnitud`, nearest `magnitude`, expected one of `ops`, `magnitude`",
            ),
            (
                "unknown variant `zzz`, expected one of `flip`, `cutout`",
                "unknown name `zzz`, expected one of `flip`, `cutout`",
            ),
            (
                "unknown variant `augmentation`, expected one of `flip`, `cutout`, in `augment`",
                "unknown name `augmentation`, expected one of `flip`, `cutout`, in `augment`",
            ),
            ("expected one of `a`, `b`", "expected one of `a`, `b`"),
        ] {
            assert_eq!(in_plain_words(theirs), ours);
        }
        assert_eq!(alike("RMS-Prop", ["sgd", "rmsprop_tf", "rmsprop"]), Some("rmsprop"));
        assert_eq!(alike(&"x".repeat(1 << 20), ["x"]), None);
    }

    #[test]
    fn one_is_no_plural() {
        for (count, one, said) in [
            (0, "image", "0 images"),
            (1, "image", "1 image"),
            (2, "image", "2 images"),
            (1, "class", "1 class"),
            (10, "class", "10 classes"),
            (3, "batch", "3 batches"),
            (2, "epoch", "2 epochs"),
        ] {
            assert_eq!(counted(count, one), said);
        }
        assert_eq!(
            (counted(1.0, "epoch"), counted(1.5, "epoch")),
            ("1 epoch".into(), "1.5 epochs".into())
        );
        assert_eq!(several(1, "match") + &several(2, "match"), "matchmatches");
    }
}
