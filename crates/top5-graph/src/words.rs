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
    text
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
