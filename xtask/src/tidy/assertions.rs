//! Tests can fail, and tests of bad input say with which error.

use std::collections::BTreeSet;

use super::{Finding, Tree};
use crate::source::{Source, is_word};

/// How many tests may ask only whether something is an error: those from before the check. May only become fewer.
const UNNAMED_ERRORS: usize = 41;

/// A function of a test, a test target or the test kit.
struct Function<'a> {
    source: &'a Source,
    /// From 1.
    line: usize,
    name: String,
    is_test: bool,
    body: String,
}

/// Every test asserts something, itself or through a function of the tests.
pub(super) fn tests_assert(tree: &Tree) -> Vec<Finding> {
    let functions: Vec<Function<'_>> = tree.sources.iter().flat_map(functions).collect();
    let mut asserting: BTreeSet<&str> = BTreeSet::new();
    loop {
        let calls = |function: &&Function<'_>| {
            asserts(&function.body) || words(&function.body).any(|word| asserting.contains(word))
        };
        let more: Vec<&str> = functions.iter().filter(calls).map(|f| f.name.as_str()).collect();
        let before = asserting.len();
        asserting.extend(more);
        if asserting.len() == before {
            break;
        }
    }
    let idle = functions.iter().filter(|f| f.is_test && !asserting.contains(f.name.as_str()));
    idle.map(|function| Finding {
        place: format!("{}:{}", function.source.path, function.line),
        what: format!("the test {} asserts nothing", function.name),
        fix: "compare what it computes with what is right".into(),
    })
    .collect()
}

/// Tests of bad input say which error they expect.
pub(super) fn tests_name_errors(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for line in source.lines().filter(|line| line.in_test && line.code.contains(".is_err()")) {
            findings.push(Finding {
                place: format!("{}:{}", source.path, line.number),
                what: "the test does not say which error it expects".into(),
                fix: "match the error, or compare a part of its message".into(),
            });
        }
    }
    if findings.len() > UNNAMED_ERRORS { findings } else { Vec::new() }
}

/// Whether the code asserts by itself.
fn asserts(body: &str) -> bool {
    body.contains("assert") || ["panic!", "unreachable!"].iter().any(|word| body.contains(word))
}

/// The identifiers of a piece of code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

/// The functions of a file's tests.
fn functions(source: &Source) -> Vec<Function<'_>> {
    let lines: Vec<_> = source.lines().collect();
    let of_tests = source.crate_name() == "top5-testkit";
    let mut found = Vec::new();
    let mut is_test = false;
    for (at, line) in lines.iter().enumerate() {
        let code = line.code.trim_start();
        is_test |= code.starts_with("#[test]");
        let Some((_, after)) = code.split_once("fn ").filter(|(before, _)| is_prefix(before))
        else {
            continue;
        };
        let name: String = after.chars().take_while(|&c| is_word(c)).collect();
        if !name.is_empty() && (line.in_test || of_tests) {
            let rest = lines[at..].iter().map(|line| line.code);
            let body = body(rest);
            found.push(Function { source, line: at + 1, name, is_test, body });
        }
        is_test = false;
    }
    found
}

/// What may stand before the `fn` of a function.
fn is_prefix(before: &str) -> bool {
    let words = ["pub", "pub(crate)", "pub(super)", "const", ""];
    before.split(' ').all(|word| words.contains(&word))
}

/// The lines of a function up to its closing brace.
fn body<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let (mut depth, mut open) = (0_i32, false);
    let mut body = String::new();
    for line in lines {
        body += line;
        body.push('\n');
        for c in line.chars() {
            match c {
                '{' => (depth, open) = (depth + 1, true),
                '}' => depth -= 1,
                _ => {}
            }
        }
        if open && depth <= 0 {
            break;
        }
    }
    // The name of a test that asserts nothing may still say that it does.
    body.split_once('{').map(|(_, body)| body.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        Tree { sources: vec![Source::new("crates/a/tests/b.rs", text)], ..Tree::default() }
    }

    #[test]
    fn a_test_that_cannot_fail_is_found() {
        for (body, idle) in [
            ("let x = f();", true),
            ("f().unwrap(); // assert", true),
            ("print(\"assert!(x)\");", true),
            ("assert_eq!(f(), 1);", false),
            ("panic!();", false),
            ("checks(f());", false),
            ("checks_more(f());", false),
        ] {
            let text = format!(
                "fn checks(x: u8) {{\n    assert!(x > 0);\n}}\nfn checks_more(x: u8) {{\n    checks(x)\n}}\n\
                 #[test]\nfn it_asserts() {{\n    {body}\n}}\n"
            );
            let found: Vec<String> =
                tests_assert(&tree(&text)).into_iter().map(|f| f.what).collect();
            let expected = if idle { vec!["the test it_asserts asserts nothing"] } else { vec![] };
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn an_error_that_is_not_named_is_found() {
        let named = "#[test]\nfn t() {\n    assert!(matches!(f(), Err(E::Short)));\n}\n";
        assert!(tests_name_errors(&tree(named)).is_empty());
        let unnamed =
            "#[test]\nfn t() {\n    assert!(f().is_err());\n}\n".repeat(UNNAMED_ERRORS + 1);
        assert_eq!(tests_name_errors(&tree(&unnamed)).len(), UNNAMED_ERRORS + 1);
    }
}
