//! The architecture invariants as checks. What they say and why is in ARCHITECTURE.md.

mod confinement;
mod documents;
mod files;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::metadata::{Package, packages_behind, read_packages};
use crate::root;
use crate::source::{Source, read_sources};

/// All that the checks look at.
#[derive(Default)]
struct Tree {
    sources: Vec<Source>,
    packages: Vec<Package>,
    /// Names and versions of all that is built for the library `top5`.
    behind_library: BTreeSet<String>,
    /// The text of the root Cargo.toml.
    manifest: String,
    /// The text of ARCHITECTURE.md.
    architecture: String,
    /// The text of CHANGELOG.md.
    changelog: String,
}

/// Something that breaks an invariant.
#[derive(Debug)]
struct Finding {
    /// `path:line`, or a path.
    place: String,
    what: String,
    /// What to do about it.
    fix: String,
}

type Check = fn(&Tree) -> Vec<Finding>;

const CHECKS: &[Check] = &[
    confinement::words_stay_in_their_places,
    confinement::kinds_are_not_compared,
    files::roots_forbid_unsafe,
    files::files_open_with_a_header,
    files::files_are_short,
    documents::foundations_depend_on_nothing,
    documents::library_stays_small,
    documents::edges_are_documented,
    documents::dependencies_have_reasons,
    documents::changelog_has_unreleased,
];

/// Runs every check on the workspace and fails if one found something.
pub(crate) fn run() -> Result<()> {
    let tree = read_tree(root())?;
    let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&tree)).collect();
    for Finding { place, what, fix } in &findings {
        println!("{place}: {what}\n    {fix}");
    }
    if !findings.is_empty() {
        bail!(
            "tidy has {} findings, listed above; the rules are in ARCHITECTURE.md",
            findings.len()
        );
    }
    println!("tidy: {} files keep the rules", tree.sources.len());
    Ok(())
}

fn read_tree(root: &Path) -> Result<Tree> {
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"))
    };
    Ok(Tree {
        sources: read_sources(root)?,
        packages: read_packages()?,
        behind_library: packages_behind("top5")?,
        manifest: read("Cargo.toml")?,
        architecture: read("ARCHITECTURE.md")?,
        changelog: read("CHANGELOG.md")?,
    })
}
