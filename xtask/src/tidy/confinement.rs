//! Words that may appear only in certain places: how side effects, `unsafe` and the matches on `Op` stay where they are.

use super::{Finding, Tree};
use crate::source::is_word;

/// Words and the only paths (beginnings, from the root) where code may say them.
struct Rule {
    words: &'static [&'static str],
    places: &'static [&'static str],
    /// Whether tests must keep the rule too.
    in_tests: bool,
    /// Why, and what to do instead.
    fix: &'static str,
}

const RULES: &[Rule] = &[UNSAFE, OUTPUT, ENVIRONMENT, FILES, READING, WRITING, CLOCK, OPS, SKIPPED];

const UNSAFE: Rule = Rule {
    words: &["unsafe"],
    places: &["crates/top5-kernels/"],
    in_tests: true,
    fix: "only top5-kernels contains unsafe code: put a safe function there",
};

// The test kit is linked into tests only: it finds the reference files and says when it skips them.

/// Speaks with cargo while it builds, in the only way that there is.
const BUILD: &str = "crates/top5-kernels/build.rs";

const OUTPUT: Rule = Rule {
    words: &["println!", "print!", "eprintln!", "eprint!", "dbg!", "stdout", "stderr", "stdin"],
    places: &["crates/top5-cli/", "crates/top5-testkit/", "xtask/", BUILD],
    in_tests: false,
    fix: "libraries neither print nor read the terminal: return the text or take a callback",
};

const ENVIRONMENT: Rule = Rule {
    words: &["std::env", "env::"],
    places: &["crates/top5-cli/", "crates/top5-testkit/", "xtask/", BUILD],
    in_tests: false,
    fix: "libraries read no arguments and no environment: take an option instead",
};

/// Writes a whole run folder (temporary file, fsync, rename, manifest last), which is one algorithm with the format.
const CHECKPOINT: &str = "crates/top5-train/src/checkpoint.rs";

const FILES: Rule = Rule {
    words: &["std::fs", "fs::", "File::open"],
    places: &[
        "crates/top5/",
        "crates/top5-cli/",
        "crates/top5-hub/",
        "crates/top5-data/",
        "crates/top5-testkit/",
        "xtask/",
        CHECKPOINT,
    ],
    in_tests: false,
    fix: "this library opens no files: take and return bytes",
};

/// The door of inputs: regular files only, bounded by their length.
const INPUTS: &str = "crates/top5-data/src/files.rs";
/// The door of outputs.
const OUTPUTS: &str = "crates/top5/src/files.rs";

const READING: Rule = Rule {
    words: &["fs::read(", "fs::read_to_string", "File::open", "File::options"],
    places: &[
        INPUTS,
        OUTPUTS, // folders, to sync them
        CHECKPOINT,
        "crates/top5-hub/",
        "crates/top5-testkit/",
        "crates/top5-cli/examples/",
        "crates/top5-cli/src/run_folder.rs",
        // What the kernel says of the machine and the process.
        "crates/top5-cli/src/bench.rs",
        "crates/top5-cli/src/limits.rs",
        "crates/top5-cli/src/timing.rs",
        "xtask/",
    ],
    in_tests: false,
    fix: "a file that somebody names may be a pipe or endless: read it with top5_data::files",
};

const WRITING: Rule = Rule {
    words: &[
        "fs::write",
        "fs::rename",
        "fs::copy",
        "fs::create_dir",
        "fs::create_dir_all",
        "fs::remove_file",
        "fs::remove_dir_all",
        "File::create",
        "File::create_new",
        "fs::OpenOptions",
        "OpenOptions::new",
    ],
    places: &[
        OUTPUTS,
        "crates/top5-cli/examples/",
        "crates/top5-cli/src/run_folder.rs",
        "crates/top5-cli/src/timing.rs", // lets the kernel forget a peak
        "crates/top5-hub/",
        "xtask/",
        CHECKPOINT,
    ],
    in_tests: false,
    fix: "files are written with top5::write_whole, by the program alone: a library returns the bytes",
};

const CLOCK: Rule = Rule {
    words: &["std::time", "time::", "Instant", "SystemTime"],
    places: &[
        "crates/top5-cli/",
        "crates/top5-hub/",
        "crates/top5-serve/",
        "crates/top5-cpu/src/profile.rs",
        "xtask/",
    ],
    in_tests: false,
    fix: "libraries read no clock: let the caller time the call",
};

const OPS: Rule = Rule {
    words: &["Op::"],
    places: &[
        "crates/top5-graph/src/op.rs",
        "crates/top5-graph/src/builder.rs",
        "crates/top5-graph/src/rewrite.rs",
        "crates/top5-testkit/src/reference", // reference.rs or the folder
        "crates/top5-cpu/src/",
    ],
    in_tests: false,
    fix: "only engines and the graph's rewriting match on the op: read the node's spec, or extend it",
};

const SKIPPED: Rule = Rule {
    words: &["#[ignore", "#[should_panic"],
    places: &[],
    in_tests: true,
    fix: "a test runs and asserts: make it fast (see `cargo xtask exhaustive`), or assert the error",
};

/// Finds comparisons of a spec's kind, which is for people: a match over kinds is one over ops that no compiler completes.
pub(super) fn kinds_are_not_compared(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for line in source.lines().filter(|line| !line.in_test && compares_kind(line.code)) {
            findings.push(Finding {
                place: format!("{}:{}", source.path, line.number),
                what: "`kind` of a spec is compared".to_owned(),
                fix:
                    "read another field of the spec, or add one and fill it in the ops' definitions"
                        .to_owned(),
            });
        }
    }
    findings
}

/// Whether `spec.kind` stands beside a comparison, in a pattern match, or as an argument of a test for membership.
fn compares_kind(code: &str) -> bool {
    code.match_indices("spec.kind").any(|(at, word)| {
        let (before, after) = (&code[..at], code[at + word.len()..].trim_start());
        // What the field is read from: `node.spec.kind`, `&graph.node(id).spec.kind`.
        let subject = before.trim_end_matches(|c: char| is_word(c) || ".()[]&*".contains(c));
        !after.starts_with(is_word)
            && (["==", "!=", "{", ".contains", ".starts_with", ".ends_with", ".eq", ".ne"]
                .iter()
                .any(|sign| after.starts_with(sign))
                || ["==", "!=", "match"].iter().any(|sign| subject.trim_end().ends_with(sign))
                || ["contains(", "matches!("].iter().any(|call| before.contains(call)))
    })
}

/// Finds every word outside its places.
pub(super) fn words_stay_in_their_places(tree: &Tree) -> Vec<Finding> {
    RULES.iter().flat_map(|rule| strays(rule, tree)).collect()
}

fn strays(rule: &Rule, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if rule.places.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for line in source.lines().filter(|line| rule.in_tests || !line.in_test) {
            if let Some(word) = rule.words.iter().find(|word| says(line.code, word)) {
                findings.push(Finding {
                    place: format!("{}:{}", source.path, line.number),
                    what: format!("`{word}` does not belong here"),
                    fix: rule.fix.to_owned(),
                });
            }
        }
    }
    findings
}

/// Whether the code contains the word, and not as a part of a longer one.
fn says(code: &str, word: &str) -> bool {
    let joins = |outer: Option<char>, inner: Option<char>| {
        outer.is_some_and(is_word) && inner.is_some_and(is_word)
    };
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        !joins(before.chars().next_back(), word.chars().next())
            && !joins(after.chars().next(), word.chars().next_back())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    /// The places found by a rule in one file.
    fn found(rule: &Rule, path: &str, text: &str) -> Vec<String> {
        let tree = Tree { sources: vec![Source::new(path, text)], ..Tree::default() };
        strays(rule, &tree).into_iter().map(|finding| finding.place).collect()
    }

    const IN_TEST: &str = "#[cfg(test)]\nmod tests {\n    ";

    #[test]
    fn unsafe_outside_the_kernels_is_found_even_in_tests() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(
            found(&UNSAFE, "crates/top5-cpu/src/run.rs", text),
            ["crates/top5-cpu/src/run.rs:2"]
        );
        assert_eq!(found(&UNSAFE, "crates/top5-cpu/tests/run.rs", text).len(), 1);
        assert!(found(&UNSAFE, "crates/top5-kernels/src/gemm.rs", text).is_empty());
    }

    #[test]
    fn unsafe_in_a_comment_string_or_lint_name_is_no_finding() {
        let text =
            "#![forbid(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe { }\"; /* unsafe */\n";
        assert!(found(&UNSAFE, "crates/top5-cpu/src/lib.rs", text).is_empty());
    }

    #[test]
    fn printing_in_a_library_is_found() {
        let path = "crates/top5-graph/src/summary.rs";
        for text in
            ["println!(\"x\");", "dbg!(x);", "let out = std::io::stdout();", "eprint!(\"\");"]
        {
            assert_eq!(found(&OUTPUT, path, text).len(), 1, "{text}");
        }
        assert!(found(&OUTPUT, path, "writeln!(out, \"println!\")?;").is_empty());
        assert!(found(&OUTPUT, path, &format!("{IN_TEST}println!(\"skipped\");\n}}")).is_empty());
        assert!(found(&OUTPUT, "crates/top5-cli/src/main.rs", "println!(\"x\");").is_empty());
    }

    #[test]
    fn environment_and_arguments_in_a_library_are_found() {
        let path = "crates/top5-cpu/src/lib.rs";
        for text in
            ["std::env::var(\"X\")", "use std::env;", "env::args()", "use std::{env::var, io};"]
        {
            assert_eq!(found(&ENVIRONMENT, path, text).len(), 1, "{text}");
        }
        assert!(found(&ENVIRONMENT, path, "env!(\"CARGO_PKG_VERSION\")").is_empty());
        assert!(found(&ENVIRONMENT, "crates/top5-cli/src/main.rs", "std::env::args()").is_empty());
    }

    #[test]
    fn opening_files_is_found_where_only_bytes_belong() {
        let text = "let bytes = std::fs::read(path)?;";
        assert_eq!(found(&FILES, "crates/top5-formats/src/onnx.rs", text).len(), 1);
        assert_eq!(found(&FILES, "crates/top5-train/src/recipe.rs", text).len(), 1);
        assert!(found(&FILES, "crates/top5-data/src/idx.rs", text).is_empty());
        assert!(found(&FILES, CHECKPOINT, text).is_empty());
    }

    #[test]
    fn reading_is_found_but_in_its_door() {
        for text in ["fs::read(path)?;", "std::fs::read_to_string(path)?;", "File::open(path)?;"] {
            for path in ["crates/top5-data/src/idx.rs", "crates/top5-cli/src/train.rs"] {
                assert_eq!(found(&READING, path, text).len(), 1, "{text}");
            }
            assert!(found(&READING, INPUTS, text).is_empty());
        }
        assert!(
            found(&READING, "crates/top5-data/src/folder.rs", "fs::read_dir(dir)?;").is_empty()
        );
    }

    #[test]
    fn writing_is_found_even_where_reading_is_allowed() {
        let path = "crates/top5-data/src/idx.rs";
        assert_eq!(found(&WRITING, path, "fs::write(path, bytes)?;").len(), 1);
        assert_eq!(found(&WRITING, path, "File::create(path)?;").len(), 1);
        assert_eq!(found(&WRITING, path, "OpenOptions::new().append(true)").len(), 1);
        assert!(found(&WRITING, path, "pub struct OpenOptions {}").is_empty());
        assert!(found(&WRITING, path, "fs::read(path)?;").is_empty());
        assert_eq!(
            found(&WRITING, "crates/top5-cli/src/main.rs", "fs::write(path, bytes)?;").len(),
            1
        );
        assert!(found(&WRITING, OUTPUTS, "fs::rename(&temporary, path)?;").is_empty());
    }

    #[test]
    fn the_clock_is_found_outside_the_profiler() {
        let text = "use std::time::Instant;";
        assert_eq!(found(&CLOCK, "crates/top5-cpu/src/run.rs", text).len(), 1);
        assert_eq!(found(&CLOCK, "crates/top5-cpu/src/run.rs", "Instant::now()").len(), 1);
        assert!(found(&CLOCK, "crates/top5-cpu/src/profile.rs", text).is_empty());
        assert!(
            found(&CLOCK, "crates/top5-cpu/src/run.rs", "runtime::start(); instant()").is_empty()
        );
    }

    #[test]
    fn a_match_on_the_op_is_found_outside_the_engines() {
        let text = "match op { Op::Add => 1 }";
        assert_eq!(found(&OPS, "crates/top5-draw/src/diagram.rs", text).len(), 1);
        assert!(found(&OPS, "crates/top5-draw/src/diagram.rs", "SetOp::Add").is_empty());
        assert!(
            found(&OPS, "crates/top5-draw/src/diagram.rs", &format!("{IN_TEST}{text}\n}}"))
                .is_empty()
        );
        for path in [
            "top5-graph/src/builder.rs",
            "top5-testkit/src/reference/conv.rs",
            "top5-cpu/src/pass/fuse.rs",
        ] {
            assert!(found(&OPS, &format!("crates/{path}"), text).is_empty(), "{path}");
        }
    }

    #[test]
    fn comparisons_of_a_kind_are_found() {
        for text in [
            "if node.spec.kind == name {",
            "if name != graph.node(id).spec.kind {",
            "match node.spec.kind {",
            "match spec.kind.as_bytes() { _ => {} }",
            "KINDS.contains(&node.spec.kind)",
            "matches!(node.spec.kind, A | B)",
            "node.spec.kind.starts_with(prefix)",
        ] {
            assert!(compares_kind(text), "{text}");
        }
        for text in [
            "kind: node.spec.kind,",
            "GraphError::new(name, node.spec.kind, error)",
            "format!(template, spec.kind, spec.label)",
            "let (node, kind) = (name.clone(), spec.kind);",
            "error.kind == kind",
            "spec.kinds == 3",
        ] {
            assert!(!compares_kind(text), "{text}");
        }
        let path = "crates/top5-draw/src/a.rs";
        let source =
            |text: &str| Tree { sources: vec![Source::new(path, text)], ..Tree::default() };
        let text = "fn f() {\n    if a.spec.kind == b {}\n}\n";
        assert_eq!(kinds_are_not_compared(&source(text))[0].place, format!("{path}:2"));
        assert!(
            kinds_are_not_compared(&source(&format!("{IN_TEST}a.spec.kind == b\n}}"))).is_empty()
        );
    }

    #[test]
    fn skipped_and_panicking_tests_are_found_everywhere() {
        for text in ["#[ignore]", "#[ignore = \"slow\"]", "    #[should_panic(expected = \"x\")]"] {
            assert_eq!(found(&SKIPPED, "crates/top5-kernels/tests/a.rs", text).len(), 1, "{text}");
        }
        assert!(
            found(&SKIPPED, "crates/top5-cli/src/main.rs", "/// Never `#[ignore]`.").is_empty()
        );
    }

    #[test]
    fn every_rule_is_run() {
        let lines: Vec<&str> = RULES.iter().map(|rule| rule.words[0]).collect();
        let source = Source::new("crates/top5-none/src/a.rs", &lines.join("\n"));
        let tree = Tree { sources: vec![source], ..Tree::default() };
        let findings = words_stay_in_their_places(&tree);
        for number in 1..=RULES.len() {
            let place = format!("crates/top5-none/src/a.rs:{number}");
            assert!(findings.iter().any(|finding| finding.place == place), "{place}");
        }
    }
}
