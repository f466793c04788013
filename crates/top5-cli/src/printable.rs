//! Text that others chose (names of classes, tensors and files), made fit for a terminal: nothing in it moves the cursor,
//! changes colours or turns the direction of reading, and nothing fills the screen.

use std::borrow::Cow;
use std::fmt::Write;

/// Characters of the longest name that is printed whole.
const LONGEST_NAME: usize = 160;
/// Characters of the longest word of a message that is printed whole: longer ones are no paths that anything could open.
const LONGEST_WORD: usize = 600;
/// Characters of the longest line of a message that is printed whole, and of the end that is kept of a longer one.
const LONGEST_LINE: usize = 4000;
const END: usize = 400;
/// Characters that are left of a word that is too long, in front and at its end.
const OF_WORD: [usize; 2] = [120, 40];

/// Whether a terminal acts on this character instead of showing it.
fn is_acted_on(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Writes such characters as Rust and most shells do, but for those that are `kept`.
fn escaped(text: &str, kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let harmless = |c: char| !is_acted_on(c) || kept(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match harmless(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    Cow::Owned(out)
}

/// A name on one line, its end cut off where it is too long for one.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST_NAME) {
        None => path(text),
        Some((end, _)) => Cow::Owned(path(&text[..end]).into_owned() + "…"),
    }
}

/// A path, on one line and whole, since it may be needed to open the file.
pub(crate) fn path(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// Several names with commas between them; beyond `most`, as many as there are.
pub(crate) fn list<'n>(names: impl ExactSizeIterator<Item = &'n str>, most: usize) -> String {
    let count = names.len();
    let shown: Vec<_> = names.take(most).map(name).collect();
    let more = count - shown.len();
    let rest = if more > 0 { format!(", … ({more} more)") } else { String::new() };
    shown.join(", ") + &rest
}

/// What goes to stdout: lines and tabs are its own.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || c == '\t')
}

/// A message to stderr. The lines of a list in it are indented; any other line break came with a name and is escaped, so that
/// no name can look like a message of its own. The middle of lines that fill the screen is left out.
pub(crate) fn message(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for part in text.split('\n') {
        match lines.last_mut() {
            Some(line) if !part.starts_with("  ") => {
                line.push_str("\\n");
                line.push_str(part);
            }
            Some(_) | None => lines.push(part.to_owned()),
        }
    }
    let lines: Vec<String> = lines.iter().map(|line| shortened(&path(line))).collect();
    lines.join("\n")
}

/// Lines without the middle of words and lines that fill the screen.
pub(crate) fn shortened(text: &str) -> String {
    let words = |line: &str| -> String {
        line.split_inclusive(' ').map(|word| without_middle(word, LONGEST_WORD, OF_WORD)).collect()
    };
    let line = |line: &str| without_middle(&words(line), LONGEST_LINE, [LONGEST_LINE - END, END]);
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn without_middle(text: &str, longest: usize, [head, tail]: [usize; 2]) -> String {
    let count = text.chars().count();
    if count <= longest {
        return text.to_owned();
    }
    let head: String = text.chars().take(head).collect();
    let tail: String = text.chars().skip(count - tail).collect();
    format!("{head} … {tail}")
}

/// A JSON document, in which the same texts are written otherwise: a program reads what it would have read.
pub(crate) fn json(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        match is_acted_on(c) && c != '\n' {
            true => write!(out, "\\u{:04x}", u32::from(c)).expect("a text takes what is written"),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_short() {
        assert_eq!(name("golden retriever"), "golden retriever");
        assert_eq!(name("Ein Mädchen 👩‍🚀"), "Ein Mädchen 👩‍🚀");
        assert_eq!(name("a\u{1b}[2Jb\nc\u{202e}d\u{9b}"), "a\\u{1b}[2Jb\\nc\\u{202e}d\\u{9b}");
        let long = name(&"é".repeat(1 << 20)).into_owned();
        assert_eq!((long.chars().count(), long.ends_with('…')), (161, true));
        assert_eq!(path(&"é".repeat(5000)).chars().count(), 5000);
        assert_eq!(list(["a", "b", "c"].into_iter(), 2), "a, b, … (1 more)");
        assert_eq!(list(["a", "b\t"].into_iter(), 2), "a, b\\t");
    }

    #[test]
    fn only_indented_lines_are_lines_of_a_message() {
        assert_eq!(message("tensors:\n    a\n    b"), "tensors:\n    a\n    b");
        assert_eq!(message("bad: x\nerror: y\r\n"), "bad: x\\nerror: y\\r\\n");
        let long = message(&format!("first {} last", "n".repeat(1 << 20)));
        assert!(
            long.len() < 200 && long.starts_with("first n") && long.ends_with("n last"),
            "{long}"
        );
        let long = message(&"word ".repeat(1 << 20));
        assert!((3000..4100).contains(&long.len()), "{}", long.len());
        let path = "d/".repeat(250);
        assert_eq!(message(&path), path);
    }

    #[test]
    fn documents_keep_their_meaning() {
        let value = serde_json::json!({ "class": "a\u{1b}\u{202e}\u{9b}\n\u{7f}é" });
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| !is_acted_on(c) || c == '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
