//! ARCHITECTURE.md and CHANGELOG.md compared with the manifests: arrows, dependencies and their reasons.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Tree};
use crate::metadata::{Dependency, Package};

/// Crates that depend on nothing at all.
const FOUNDATIONS: &[&str] = &["top5-graph", "top5-kernels"];

/// Crates that depend on other crates of the workspace only.
const SELF_MADE: &[&str] = &["top5-zoo"];

/// The graph and the kernels stand on the standard library alone, the zoo on the graph.
pub(super) fn foundations_depend_on_nothing(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let name = package.name.as_str();
        let refused: fn(&Dependency) -> bool = if FOUNDATIONS.contains(&name) {
            |_| true
        } else if SELF_MADE.contains(&name) {
            |dependency| !dependency.is_ours
        } else {
            continue;
        };
        for dependency in package.dependencies.iter().filter(|d| !d.is_dev && refused(d)) {
            findings.push(Finding {
                place: manifest_of(name),
                what: format!("{name} depends on {}", dependency.name),
                fix: "take it out: this crate stays free of dependencies".into(),
            });
        }
    }
    findings
}

/// Most packages that a program with the library `top5` builds.
const MOST_PACKAGES: usize = 60;

/// What belongs to the program or the hub, and never behind the library.
const NOT_IN_LIBRARY: &[&str] = &["anyhow", "clap", "indicatif", "signal-hook", "ureq"];

/// The library brings few packages, none of which parses arguments, draws bars or opens connections.
pub(super) fn library_stays_small(tree: &Tree) -> Vec<Finding> {
    let finding =
        |what: String, fix: &str| Finding { place: manifest_of("top5"), what, fix: fix.into() };
    let name = |package: &String| package.split(' ').next().unwrap_or_default().to_owned();
    let names = tree.behind_library.iter().map(name);
    let mut findings: Vec<Finding> = names
        .filter(|name| NOT_IN_LIBRARY.contains(&name.as_str()))
        .map(|name| finding(format!("top5 brings {name}"), "use it in top5-cli or top5-hub only"))
        .collect();
    let count = tree.behind_library.len();
    if count > MOST_PACKAGES {
        let what = format!("top5 brings {count} packages, of at most {MOST_PACKAGES}");
        findings.push(finding(what, "see `cargo tree -p top5`, and do without the newest"));
    }
    findings
}

/// The arrows between crates are those of ARCHITECTURE.md's `edges` block. What only tests use is not an arrow.
pub(super) fn edges_are_documented(tree: &Tree) -> Vec<Finding> {
    const PLACE: &str = "ARCHITECTURE.md";
    let Some(documented) = documented_edges(&tree.architecture) else {
        return vec![Finding {
            place: PLACE.into(),
            what: "there is no block of dependency edges".into(),
            fix: "open a fenced block with ```edges and write one `crate -> crate, crate` per line"
                .into(),
        }];
    };
    let real: BTreeMap<String, BTreeSet<String>> = tree.packages.iter().map(edges).collect();
    let names: BTreeSet<&String> = documented.keys().chain(real.keys()).collect();
    let mut findings = Vec::new();
    for name in names {
        let (told, is) = (documented.get(name), real.get(name));
        if told == is {
            continue;
        }
        let written = |uses: Option<&BTreeSet<String>>| match uses {
            None => "nothing about it".to_owned(),
            Some(uses) => format!("`{}`", written_edge(name, uses)),
        };
        findings.push(Finding {
            place: PLACE.into(),
            what: format!("the edges say {}, the manifests say {}", written(told), written(is)),
            fix: "change the manifest, or the list if the new arrow is meant and points down"
                .into(),
        });
    }
    findings
}

/// Every external dependency is declared once, in the root manifest, with its reason in ARCHITECTURE.md's table.
pub(super) fn dependencies_have_reasons(tree: &Tree) -> Vec<Finding> {
    let declared = declared_dependencies(&tree.manifest);
    let explained = explained_dependencies(&tree.architecture);
    let mut findings = Vec::new();
    for (name, line) in &declared {
        if !explained.contains_key(name) {
            findings.push(Finding {
                place: format!("Cargo.toml:{line}"),
                what: format!("the dependency {name} has no reason"),
                fix: format!(
                    "add a row \"| `{name}` | why |\" under Dependencies in ARCHITECTURE.md"
                ),
            });
        }
    }
    for (name, line) in &explained {
        if !declared.contains_key(name) {
            findings.push(Finding {
                place: format!("ARCHITECTURE.md:{line}"),
                what: format!("{name} is no dependency of the workspace"),
                fix: "take its row out of the table".into(),
            });
        }
    }
    for package in &tree.packages {
        for dependency in package.dependencies.iter().filter(|d| !d.is_ours) {
            if !declared.contains_key(&dependency.name) {
                findings.push(Finding {
                    place: manifest_of(&package.name),
                    what: format!("{} is not declared in the workspace", dependency.name),
                    fix: "move it to [workspace.dependencies] and write `.workspace = true` here"
                        .into(),
                });
            }
        }
    }
    findings
}

/// The changelog has a place for the next change.
pub(super) fn changelog_has_unreleased(tree: &Tree) -> Vec<Finding> {
    if tree.changelog.lines().any(|line| line.trim() == "## [Unreleased]") {
        return Vec::new();
    }
    vec![Finding {
        place: "CHANGELOG.md".into(),
        what: "there is no section for unreleased changes".into(),
        fix: "put a section `## [Unreleased]` on top".into(),
    }]
}

fn manifest_of(package: &str) -> String {
    if package == "xtask" {
        "xtask/Cargo.toml".into()
    } else {
        format!("crates/{package}/Cargo.toml")
    }
}

/// A package and what it uses of the workspace, in the short names of the document.
fn edges(package: &Package) -> (String, BTreeSet<String>) {
    let uses = package.dependencies.iter().filter(|d| d.is_ours && !d.is_dev);
    (short(&package.name), uses.map(|d| short(&d.name)).collect())
}

fn short(name: &str) -> String {
    name.strip_prefix("top5-").unwrap_or(name).to_owned()
}

fn written_edge(name: &str, uses: &BTreeSet<String>) -> String {
    let uses: Vec<&str> = uses.iter().map(String::as_str).collect();
    let uses = if uses.is_empty() { "(nothing)".to_owned() } else { uses.join(", ") };
    format!("{name} -> {uses}")
}

fn documented_edges(document: &str) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let block = document.lines().skip_while(|line| line.trim() != "```edges");
    let mut edges = None;
    for line in block.take_while(|line| line.trim() != "```") {
        let edges = edges.get_or_insert_with(BTreeMap::new);
        if let Some((name, uses)) = line.split_once("->") {
            let uses = uses.split(',').map(str::trim).filter(|word| *word != "(nothing)");
            edges.insert(name.trim().to_owned(), uses.map(str::to_owned).collect());
        }
    }
    edges
}

/// Names and lines of the root manifest's dependencies, without the workspace's own crates.
fn declared_dependencies(manifest: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut inside = false;
    for (at, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
        } else if inside
            && !line.contains("path =")
            && let Some((name, _)) = line.split_once('=')
            && !line.starts_with([' ', '#'])
        {
            names.insert(name.trim().to_owned(), at + 1);
        }
    }
    names
}

/// Names and lines of the rows under the heading `Dependencies` whose reason is not empty.
fn explained_dependencies(document: &str) -> BTreeMap<String, usize> {
    let lines = document.lines().enumerate();
    let section = lines
        .skip_while(|(_, line)| line.trim() != "## Dependencies")
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    section
        .filter_map(|(at, line)| {
            let (name, reason) = line.strip_prefix("| `")?.split_once("` |")?;
            let is_empty = reason.trim_matches([' ', '|']).is_empty();
            (!is_empty).then(|| (name.to_owned(), at + 1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool, bool)]) -> Package {
        let dependencies = dependencies.iter().map(|&(name, is_ours, is_dev)| Dependency {
            name: name.into(),
            is_ours,
            is_dev,
        });
        Package { name: name.into(), dependencies: dependencies.collect() }
    }

    fn whats(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_dependency_of_a_foundation_is_found() {
        let packages = vec![
            package("top5-graph", &[("serde", false, false), ("top5-testkit", true, true)]),
            package("top5-kernels", &[("top5-graph", true, false)]),
            package("top5-zoo", &[("top5-graph", true, false), ("serde", false, false)]),
            package("top5-cpu", &[("serde", false, false)]),
        ];
        let tree = Tree { packages, ..Tree::default() };
        assert_eq!(
            whats(foundations_depend_on_nothing(&tree)),
            [
                "top5-graph depends on serde",
                "top5-kernels depends on top5-graph",
                "top5-zoo depends on serde"
            ]
        );
    }

    #[test]
    fn what_a_library_should_not_bring_is_found() {
        let found = |behind: &[&str]| {
            let behind_library = behind.iter().map(|&name| name.to_owned()).collect();
            whats(library_stays_small(&Tree { behind_library, ..Tree::default() }))
        };
        assert!(found(&["serde v1.0.2", "clap_lex v1.0.0"]).is_empty());
        assert_eq!(found(&["ureq v3.5.1", "top5 v0.1.0"]), ["top5 brings ureq"]);
        let many: Vec<String> = (0..61).map(|n| format!("p{n} v1.0.0")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(found(&many), ["top5 brings 61 packages, of at most 60"]);
        assert!(found(&many[1..]).is_empty());
    }

    fn edges_found(document: &str) -> Vec<String> {
        let packages = vec![
            package("top5-graph", &[("top5-testkit", true, true)]),
            package("top5-cpu", &[("top5-graph", true, false), ("serde", false, false)]),
        ];
        let tree = Tree { packages, architecture: document.into(), ..Tree::default() };
        whats(edges_are_documented(&tree))
    }

    #[test]
    fn edges_equal_to_the_document_are_no_finding() {
        assert!(
            edges_found("# A\n```edges\ngraph -> (nothing)\ncpu -> graph\n```\nx -> y\n")
                .is_empty()
        );
    }

    #[test]
    fn missing_additional_and_unknown_edges_are_found() {
        assert_eq!(
            edges_found("```edges\ngraph -> cpu\nburn -> graph\n```\n"),
            [
                "the edges say `burn -> graph`, the manifests say nothing about it",
                "the edges say nothing about it, the manifests say `cpu -> graph`",
                "the edges say `graph -> cpu`, the manifests say `graph -> (nothing)`",
            ]
        );
    }

    #[test]
    fn a_document_without_edges_is_found() {
        assert_eq!(edges_found("# A\n"), ["there is no block of dependency edges"]);
    }

    const MANIFEST: &str = "\
[package]
version = \"1\"
[workspace.dependencies]
top5-graph = { path = \"crates/top5-graph\" }
# why = \"not\"
clap = { version = \"4\", features = [
    \"derive\",
] }
toml = \"1\"
[profile.dev]
debug = 1
";

    fn reasons_found(rows: &str, packages: Vec<Package>) -> Vec<(String, String)> {
        let architecture =
            format!("# A\n| `x` | y |\n## Dependencies\n{rows}## Next\n| `z` | y |\n");
        let tree = Tree { manifest: MANIFEST.into(), architecture, packages, ..Tree::default() };
        dependencies_have_reasons(&tree).into_iter().map(|f| (f.place, f.what)).collect()
    }

    fn pair(place: &str, what: &str) -> (String, String) {
        (place.into(), what.into())
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        assert_eq!(
            reasons_found("| `clap` | the command line |\n| `toml` |  |\n", vec![]),
            [pair("Cargo.toml:9", "the dependency toml has no reason")]
        );
    }

    #[test]
    fn a_reason_without_a_dependency_is_found() {
        assert_eq!(
            reasons_found("| `clap` | a |\n| `toml` | b |\n| `rayon` | c |\n", vec![]),
            [pair("ARCHITECTURE.md:6", "rayon is no dependency of the workspace")]
        );
    }

    #[test]
    fn a_dependency_beside_the_workspace_table_is_found() {
        let packages = vec![package("top5-cpu", &[("rayon", false, true), ("toml", false, false)])];
        assert_eq!(
            reasons_found("| `clap` | a |\n| `toml` | b |\n", packages),
            [pair("crates/top5-cpu/Cargo.toml", "rayon is not declared in the workspace")]
        );
    }

    #[test]
    fn a_changelog_without_an_unreleased_section_is_found() {
        let found = |changelog: &str| {
            changelog_has_unreleased(&Tree { changelog: changelog.into(), ..Tree::default() }).len()
        };
        assert_eq!(found("# Changelog\n\n## [0.1.0]\nUnreleased\n"), 1);
        assert_eq!(found("# Changelog\n\n## [Unreleased]\n"), 0);
    }
}
