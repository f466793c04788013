//! Counts in sentences.

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

#[cfg(test)]
mod tests {
    use super::*;

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
