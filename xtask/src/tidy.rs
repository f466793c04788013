//! The architecture invariants as checks. What they say and why is in ARCHITECTURE.md.

mod assertions;
mod confinement;
mod documents;
mod files;
mod paths;

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
    /// Every file of the repository, with the text of documents.
    files: Vec<File>,
}

/// A file of the repository.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    /// The text of a Markdown file.
    text: Option<String>,
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
    paths::named_paths_exist,
    assertions::tests_assert,
    assertions::tests_name_errors,
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
        files: {
            let mut files = Vec::new();
            collect(root, root, &mut files)?;
            files
        },
    })
}

/// Appends the files below `folder`, but for what is built and git's own.
fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> Result<()> {
    let reading = || format!("{}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                collect(root, &path, files)?;
            }
            continue;
        }
        let is_document = path.extension().is_some_and(|extension| extension == "md");
        let text = is_document.then(|| std::fs::read_to_string(&path)).transpose();
        let text = text.with_context(|| format!("{}", path.display()))?;
        let relative = path.strip_prefix(root).expect("the walk started at the root");
        files.push(File { path: relative.to_string_lossy().replace('\\', "/"), text });
    }
    Ok(())
}
