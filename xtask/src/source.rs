//! A Rust file as the checks see it: its code with comments and literals blanked out, and which lines are tests.

use std::path::Path;

use anyhow::{Context, Result};

/// One `.rs` file.
pub(crate) struct Source {
    /// Relative to the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    code: String,
    in_test: Vec<bool>,
}

/// One line of a file.
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// The line with spaces in place of comments and of string and character literals.
    pub(crate) code: &'a str,
    /// Whether it belongs to a `#[cfg(test)]` item or to a test, bench or example target.
    pub(crate) in_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let in_test = test_lines(path, &code);
        Self { path: path.to_owned(), text: text.to_owned(), code, in_test }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let lines = self.code.lines().zip(&self.in_test).enumerate();
        lines.map(|(at, (code, &in_test))| Line { number: at + 1, code, in_test })
    }

    /// `top5-cpu` of `crates/top5-cpu/src/run.rs`.
    pub(crate) fn crate_name(&self) -> &str {
        let path = self.path.strip_prefix("crates/").unwrap_or(&self.path);
        path.split('/').next().unwrap_or(path)
    }

    /// Whether the file is the root of a library or of a program.
    pub(crate) fn is_crate_root(&self) -> bool {
        ["/src/lib.rs", "/src/main.rs"].iter().any(|end| self.path.ends_with(end))
            || self.path.contains("/src/bin/")
    }
}

/// Every Rust file of the workspace, sorted by path.
pub(crate) fn read_sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(root, &root.join(folder), &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("{}", folder.display()))?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(root, &path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let relative = path.strip_prefix(root).expect("the walk started at the root");
            sources.push(Source::new(&relative.to_string_lossy().replace('\\', "/"), &text));
        }
    }
    Ok(())
}

/// Replaces comments and literals by spaces, so that lines and columns stay where they are.
fn blank(text: &str) -> String {
    let text: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = skip(&text, at);
        match end {
            None => code.push(text[at]),
            Some(end) => {
                code.extend(text[at..end].iter().map(|&c| if c == '\n' { c } else { ' ' }))
            }
        }
        at = end.unwrap_or(at + 1);
    }
    code
}

/// The end of the comment or literal that begins at `at`, if one does.
fn skip(text: &[char], at: usize) -> Option<usize> {
    let rest = &text[at..];
    let length = match rest {
        ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['\'', '\\', ..] => quoted(rest, '\''),
        ['\'', _, '\'', ..] => 3, // and otherwise it is a lifetime
        ['r', '"' | '#', ..] if begins_literal(&text[..at]) => raw_string(rest)?,
        _ => return None,
    };
    Some(at + length)
}

/// Whether an `r` after these characters can begin a raw string: after no identifier, or after the prefix of `br` and `cr`.
fn begins_literal(before: &[char]) -> bool {
    match before {
        [.., c, 'b' | 'c'] => !is_word(*c),
        [.., c] => !is_word(*c),
        [] => true,
    }
}

fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(text: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// `None` for a raw identifier such as `r#type`.
fn raw_string(text: &[char]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|&&c| c == '#').count();
    let body = hashes + 2;
    if text.get(body - 1) != Some(&'"') {
        return None;
    }
    let closes = |at: &usize| {
        text[*at] == '"'
            && text[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((body..text.len()).find(closes).map_or(text.len(), |at| at + 1 + hashes))
}

/// Whether a character can stand in an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks the lines of test targets and of `#[cfg(test)]` items.
fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let is_target = path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"));
    let mut marks = vec![is_target || path.ends_with("/tests.rs"); code.lines().count()];
    let mut open = None; // the depth of brackets inside a test item
    for (line, mark) in code.lines().zip(&mut marks) {
        let mut rest = line;
        if open.is_none() {
            let Some(after) = ["#[cfg(test)]", "#[cfg(all(test,"]
                .iter()
                .find_map(|attribute| line.trim_start().strip_prefix(attribute))
            else {
                continue;
            };
            (open, rest) = (Some(0), after.split_once(")]").map_or(after, |(_, rest)| rest));
        }
        *mark = true;
        for c in rest.chars() {
            let depth = open.get_or_insert(0);
            match c {
                '{' | '(' | '[' => *depth += 1,
                '}' | ')' | ']' => *depth -= 1,
                _ => {}
            }
            if matches!(c, '}' | ';') && *depth <= 0 {
                open = None;
                break;
            }
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_kept() {
        for (text, code) in [
            ("a // unsafe", "a          "),
            ("a /* x /* y */ z */ b", "a                   b"),
            (r#"f("a \" // b") + 1"#, "f(           ) + 1"),
            (r###"f(r#"a " b"#, 1)"###, "f(          , 1)"),
            (r#"f(br"\", 1)"#, "f(b    , 1)"),
            (r"['{', '\'', '\u{7f}']", "[   ,     ,         ]"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("r#type + for_r#x", "r#type + for_r#x"),
            ("\"unclosed", "         "),
        ] {
            assert_eq!(blank(text), code, "of {text}");
        }
    }

    #[test]
    fn blanking_keeps_the_lines() {
        let text = "/* a\nb */ c\n\"d\ne\" f\n";
        assert_eq!(blank(text), "    \n     c\n  \n   f\n");
    }

    fn marked(path: &str, text: &str) -> Vec<usize> {
        let source = Source::new(path, text);
        source.lines().filter(|line| line.in_test).map(|line| line.number).collect()
    }

    #[test]
    fn a_test_module_is_marked_from_its_attribute_to_its_brace() {
        let text = "fn a() {}\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n    fn b() {\n        \"}\";\n    }\n}\nfn c() {}\n";
        assert_eq!(marked("crates/a/src/b.rs", text), [2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_test_item_without_a_body_ends_at_its_semicolon() {
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n#[cfg(all(test, unix))] const X: [u8; 2] = [1, 2];\nfn b() {}";
        assert_eq!(marked("crates/a/src/b.rs", text), [1, 2, 4]);
    }

    #[test]
    fn code_for_builds_without_tests_is_no_test() {
        assert!(marked("crates/a/src/b.rs", "#[cfg(not(test))]\nfn a() {}\n").is_empty());
    }

    #[test]
    fn files_of_test_targets_are_marked_as_a_whole() {
        for path in ["crates/a/tests/b.rs", "crates/a/examples/b.rs", "crates/a/src/b/tests.rs"] {
            assert_eq!(marked(path, "fn a() {}\nfn b() {}\n"), [1, 2], "{path}");
        }
        assert!(marked("crates/a/src/attests.rs", "fn a() {}\n").is_empty());
    }

    #[test]
    fn roots_and_crates_are_told_from_the_path() {
        let at = |path| Source::new(path, "");
        assert!(at("crates/a/src/lib.rs").is_crate_root());
        assert!(at("xtask/src/main.rs").is_crate_root());
        assert!(!at("crates/a/src/ops/conv.rs").is_crate_root());
        assert_eq!(at("crates/top5-cpu/src/run.rs").crate_name(), "top5-cpu");
        assert_eq!(at("xtask/src/main.rs").crate_name(), "xtask");
    }
}
