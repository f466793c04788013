//! The workspace's packages and what they depend on, as `cargo metadata` tells it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{cargo, line};

/// A package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A line of a manifest's dependency tables.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Whether it is another package of the workspace.
    pub(crate) is_ours: bool,
    /// Whether only tests and examples see it.
    pub(crate) is_dev: bool,
}

/// The packages of the workspace.
pub(crate) fn read_packages() -> Result<Vec<Package>> {
    parse(&read()?).context(FORM)
}

/// The folder that cargo builds into.
pub(crate) fn target_folder() -> Result<PathBuf> {
    Ok(read()?["target_directory"].as_str().context(FORM)?.into())
}

/// The names of all packages that are built for a package, its own included.
pub(crate) fn packages_behind(name: &str) -> Result<BTreeSet<String>> {
    let mut command = cargo(&["tree", "--package", name, "--edges", "normal", "--prefix", "none"]);
    command.args(["--format", "{p}"]);
    let output = command.output().with_context(|| format!("starting {}", line(&command)))?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} failed: {told}", line(&command));
    let printed = String::from_utf8(output.stdout).context("what cargo tree printed")?;
    Ok(printed.lines().filter_map(named).collect())
}

/// Name and version in a line of `cargo tree`.
fn named(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    Some(format!("{} {}", words.next()?, words.next()?))
}

const FORM: &str = "cargo metadata has another form than version 1";

/// Asks cargo; nothing is resolved, fetched or built.
fn read() -> Result<Value> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().with_context(|| format!("starting {}", line(&command)))?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{} failed: {told}", line(&command));
    serde_json::from_slice(&output.stdout).context("what cargo metadata printed")
}

fn parse(metadata: &Value) -> Option<Vec<Package>> {
    metadata["packages"].as_array()?.iter().map(package).collect()
}

fn package(value: &Value) -> Option<Package> {
    let dependencies = value["dependencies"].as_array()?.iter().map(dependency);
    Some(Package {
        name: value["name"].as_str()?.to_owned(),
        dependencies: dependencies.collect::<Option<_>>()?,
    })
}

fn dependency(value: &Value) -> Option<Dependency> {
    Some(Dependency {
        name: value["name"].as_str()?.to_owned(),
        is_ours: value["path"].is_string(),
        is_dev: value["kind"] == "dev",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_and_kinds_of_dependencies_are_read() {
        let metadata = serde_json::json!({ "packages": [{ "name": "a", "dependencies": [
            { "name": "b", "kind": null, "path": "/b" },
            { "name": "serde", "kind": null },
            { "name": "kit", "kind": "dev", "path": "/kit" },
        ] }] });
        let packages = parse(&metadata).unwrap();
        assert_eq!(packages[0].name, "a");
        let read: Vec<_> = packages[0]
            .dependencies
            .iter()
            .map(|d| (d.name.as_str(), d.is_ours, d.is_dev))
            .collect();
        assert_eq!(read, [("b", true, false), ("serde", false, false), ("kit", true, true)]);
    }

    #[test]
    fn packages_are_counted_once_however_often_they_are_printed() {
        let lines =
            ["a v1.0.0 (/work/a)", "serde v1.0.2", "serde v1.0.2 (*)", "b v0.1.0 (proc-macro)"];
        let names: BTreeSet<String> = lines.into_iter().filter_map(named).collect();
        assert!(names.into_iter().eq(["a v1.0.0", "b v0.1.0", "serde v1.0.2"]));
    }

    /// The features of every package that is built for these kinds of dependencies.
    fn features(edges: &str) -> BTreeSet<(String, String)> {
        let mut command = cargo(&["tree", "--workspace", "--prefix", "none", "--no-dedupe"]);
        command.args(["--format", "{p}|{f}", "--edges", edges]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let both = |line: &str| {
            let (package, features) = line.split_once('|')?;
            Some((named(package)?, features.to_owned()))
        };
        printed.lines().filter_map(both).collect()
    }

    #[test]
    fn example_after_the_program_builds_no_package_anew() {
        let [program, example] = ["normal,build", "normal,build,dev"].map(features);
        assert!(program.len() > 50);
        let anew: Vec<_> = program.difference(&example).collect();
        assert!(
            anew.is_empty(),
            "tests and examples switch features on in what they share: {anew:?}"
        );
    }

    #[test]
    fn another_form_is_an_error_and_not_an_empty_workspace() {
        assert!(parse(&serde_json::json!({ "packs": [] })).is_none());
    }
}
