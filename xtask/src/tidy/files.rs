//! What every Rust file must look like.

use super::{Finding, Tree};

/// Lines a file may have without its tests.
const LONGEST: usize = 600;

/// The crate that may contain unsafe code.
const UNSAFE_CRATE: &str = "top5-kernels";

/// The root of every crate but the kernels forbids unsafe code.
pub(super) fn roots_forbid_unsafe(tree: &Tree) -> Vec<Finding> {
    let roots = tree.sources.iter().filter(|source| source.is_crate_root());
    roots
        .filter(|source| source.crate_name() != UNSAFE_CRATE)
        .filter(|source| !source.lines().any(|line| line.code.trim() == "#![forbid(unsafe_code)]"))
        .map(|source| Finding {
            place: source.path.clone(),
            what: "the crate's root does not forbid unsafe code".into(),
            fix: "write `#![forbid(unsafe_code)]` below its header".into(),
        })
        .collect()
}

/// Every file says in a `//!` header what it is.
pub(super) fn files_open_with_a_header(tree: &Tree) -> Vec<Finding> {
    let bare = tree.sources.iter().filter(|source| !source.text.starts_with("//! "));
    bare.map(|source| Finding {
        place: format!("{}:1", source.path),
        what: "the file does not begin with `//!`".into(),
        fix: "say in a `//!` header what the file is and why it exists, with the paper where there is one".into(),
    })
    .collect()
}

/// No file is longer than can be read in one sitting; its tests do not count.
pub(super) fn files_are_short(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = source.lines().filter(|line| !line.in_test).count();
        if lines > LONGEST {
            findings.push(Finding {
                place: source.path.clone(),
                what: format!("{lines} lines without tests, and {LONGEST} are allowed"),
                fix: "split it where it changes its subject".into(),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn found(check: fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
        let tree = Tree { sources: vec![Source::new(path, text)], ..Tree::default() };
        check(&tree).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_root_that_does_not_forbid_unsafe_code_is_found() {
        let check = roots_forbid_unsafe;
        assert_eq!(found(check, "crates/top5-cpu/src/lib.rs", "//! A.\n").len(), 1);
        assert_eq!(
            found(check, "crates/top5-cpu/src/lib.rs", "// #![forbid(unsafe_code)]\n").len(),
            1
        );
        assert!(
            found(check, "crates/top5-cpu/src/lib.rs", "//! A.\n#![forbid(unsafe_code)]\n")
                .is_empty()
        );
        assert!(found(check, "crates/top5-cpu/src/run.rs", "//! A.\n").is_empty());
        assert!(found(check, "crates/top5-kernels/src/lib.rs", "//! A.\n").is_empty());
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let check = files_open_with_a_header;
        for text in ["", "fn f() {}\n", "\n//! A.\n", "// A.\n", "//!\n"] {
            assert_eq!(
                found(check, "crates/a/src/b.rs", text),
                ["crates/a/src/b.rs:1"],
                "{text:?}"
            );
        }
        assert!(found(check, "crates/a/src/b.rs", "//! A.\n").is_empty());
    }

    #[test]
    fn a_file_is_measured_without_its_tests() {
        let code = "fn f() {}\n".repeat(LONGEST);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        let path = "crates/a/src/b.rs";
        assert!(found(files_are_short, path, &format!("{code}{tests}")).is_empty());
        assert_eq!(found(files_are_short, path, &format!("{code}fn g() {{}}\n")), [path]);
        assert!(found(files_are_short, "crates/a/tests/b.rs", &format!("{code}{code}")).is_empty());
    }
}
