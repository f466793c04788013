//! Paths that documents name exist.
//!
//! A path is what stands in backquotes and has a slash and an ending, or begins with a folder of the repository, and where a
//! link without a scheme leads. It may begin at the root, at the document's folder, or anywhere inside: `src/run.rs` is found
//! below every crate. What is built, made by running or outside is not looked for.

use super::{Finding, Tree};
use crate::source::is_word;

/// Beginnings of paths that are not in the repository.
const ELSEWHERE: &[&str] = &["/", "../", "~", "target/", "runs/", "sklearn/"];

/// Folders at the root whose mention is a path, with an ending or without.
const FOLDERS: &[&str] =
    &["crates/", "docs/", "recipes/", "scripts/", "xtask/", ".ci/", ".config/"];

/// Every path named in a document is that of a file or folder.
pub(super) fn named_paths_exist(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (document, text) in
        tree.files.iter().filter_map(|file| Some((&file.path, file.text.as_ref()?)))
    {
        for (at, line) in text.lines().enumerate() {
            let quoted = line.split('`').skip(1).step_by(2).filter(|text| is_path(text));
            let linked = line.split("](").skip(1).filter_map(|rest| target(rest));
            for path in quoted.chain(linked).filter(|path| !exists(tree, document, path)) {
                findings.push(Finding {
                    place: format!("{document}:{}", at + 1),
                    what: format!("it names {path}, which does not exist"),
                    fix: "name what is there, or take the mention out".into(),
                });
            }
        }
    }
    findings
}

/// Where a link leads, if to a file: what stands before `)` and before `#`.
fn target(rest: &str) -> Option<&str> {
    let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
    (!target.is_empty() && !target.contains(':')).then_some(target)
}

fn is_path(text: &str) -> bool {
    let plain = text.chars().all(|c| is_word(c) || matches!(c, '.' | '-' | '/'));
    let here = !ELSEWHERE.iter().any(|start| text.starts_with(start));
    let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let ending = last.rsplit_once('.').map_or("", |(_, ending)| ending);
    let is_file =
        text.contains('/') && !ending.is_empty() && ending.chars().all(char::is_alphabetic);
    plain && here && (is_file || FOLDERS.iter().any(|folder| text.starts_with(folder)))
}

fn exists(tree: &Tree, document: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/').trim_start_matches("./");
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    // What lies outside the repository is not looked for.
    let Some(beside) = joined(folder, path) else { return true };
    let below = format!("/{path}");
    tree.files.iter().any(|file| {
        let is = |wanted: &str| {
            let rest = file.path.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is(path)
            || is(&beside)
            || file.path.ends_with(&below)
            || file.path.contains(&format!("{below}/"))
    })
}

/// The path from a folder of the repository, without `..`; none if it leads out.
fn joined(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')).filter(|part| !part.is_empty()) {
        match part {
            ".." => parts.pop().map(|_| ())?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::File;

    fn whats(text: &str) -> Vec<String> {
        let file = |path: &str, text: Option<&str>| File {
            path: path.to_owned(),
            text: text.map(str::to_owned),
        };
        let files = vec![
            file("docs/engine.md", Some(text)),
            file("docs/zoo.md", None),
            file("crates/top5-cpu/src/run.rs", None),
            file("scripts/peers/peers.py", None),
        ];
        let tree = Tree { files, ..Tree::default() };
        named_paths_exist(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn paths_that_exist_are_no_finding() {
        for text in [
            "`crates/top5-cpu/src/run.rs`, `top5-cpu/src/run.rs` and `src/run.rs`",
            "`scripts/peers`, `scripts/peers/` and `docs/zoo.md`",
            "[the zoo](zoo.md), [its top](zoo.md#top), [a page](https://example.org/a/b.rs), [here](#top)",
            "[the runs](../crates/top5-cpu/src/run.rs), [outside](../../shared/a.md)",
            "`target/round-trips/a.txt`, `/tmp/x.rs`, `../shared/a.md`, `runs/lenet/a.toml`",
            "`a/b` of c, `3/4.5`, `N/A`, `cargo test -p x/y.rs`, `{train,val}/a.png`",
        ] {
            assert_eq!(whats(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn paths_that_do_not_exist_are_found() {
        for (text, path) in [
            ("`top5-cpu/src/profile.rs`", "top5-cpu/src/profile.rs"),
            ("reads `docs/kernels.md`", "docs/kernels.md"),
            ("`crates/top5-gpu`", "crates/top5-gpu"),
            ("[the engine](engines.md)", "engines.md"),
            ("[the walk](../crates/walk.rs)", "../crates/walk.rs"),
            ("`un.rs` and `src/un.rs`", "src/un.rs"),
        ] {
            assert_eq!(whats(text), [format!("it names {path}, which does not exist")], "{text}");
        }
    }
}
