//! A program outside the workspace must be able to use the library: one is built in a folder of its own, and run.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{cargo, metadata, root, run as execute};

/// Its source.
const PROGRAM: &str = "scripts/outside/main.rs";

/// Builds and runs it, with the versions of the workspace's lock file and without a connection.
pub(crate) fn run() -> Result<()> {
    let folder = tempfile::tempdir().context("making a folder")?;
    let place = folder.path();
    fs::write(place.join("Cargo.toml"), manifest(root()))?;
    fs::copy(root().join("Cargo.lock"), place.join("Cargo.lock")).context("copying Cargo.lock")?;
    fs::copy(root().join(PROGRAM), place.join("main.rs")).context(PROGRAM)?;
    let mut command = cargo(&["run", "--quiet", "--offline"]);
    // Outside the workspace its settings do not count; what was built before does.
    command.current_dir(place).arg("--target-dir").arg(metadata::target_folder()?.join("outside"));
    execute(command)
}

/// The manifest of a package that depends on the library in `workspace`, and on nothing else. It is run once and never
/// debugged, which is a third less to compile.
fn manifest(workspace: &Path) -> String {
    let library = workspace.join("crates/top5").display().to_string();
    format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[[bin]]\nname = \"outside\"\n\
         path = \"main.rs\"\n\n[dependencies]\ntop5 = {{ path = {library:?} }}\n\n[profile.dev]\ndebug = false\n\n\
         [workspace]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_depends_on_the_library_alone() {
        let text = manifest(Path::new("/some where"));
        let (_, dependencies) = text.split_once("[dependencies]\n").unwrap();
        assert_eq!(
            dependencies.lines().next(),
            Some("top5 = { path = \"/some where/crates/top5\" }")
        );
        assert!(dependencies.ends_with("\n[workspace]\n"));
        assert!(root().join(PROGRAM).is_file());
    }
}
