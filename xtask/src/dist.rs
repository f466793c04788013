//! What is shipped: the program, its manual pages and completions, the licences. The same sources give the same bytes in
//! whatever folder they lie: no path of the machine is in the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{cargo, metadata, root, run as execute};

/// The shells that completions are made for, and what their files are called.
const SHELLS: [(&str, &str); 4] =
    [("bash", "top5"), ("zsh", "_top5"), ("fish", "top5.fish"), ("powershell", "_top5.ps1")];
/// What lies beside the program as it is in the sources.
const COPIED: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Builds the program and fills `target/dist`.
pub(crate) fn run() -> Result<()> {
    let target = metadata::target_folder()?;
    // A build folder of its own, since flags for all crates make all of them anew.
    let build = target.join("dist-build");
    let mut command = cargo(&["build", "--release", "--locked", "-p", "top5-cli", "--target-dir"]);
    command.arg(&build).env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    execute(command)?;
    let name = format!("top5{}", std::env::consts::EXE_SUFFIX);
    let program = build.join("release").join(&name);
    check_paths(&program)?;

    let dist = target.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("emptying {}", dist.display()))?;
    }
    let copy = |from: &Path, to: PathBuf| {
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))
    };
    for folder in ["man", "completions"] {
        fs::create_dir_all(dist.join(folder))?;
    }
    copy(&program, dist.join(&name))?;
    for file in COPIED {
        copy(&root().join(file), dist.join(file))?;
    }
    for (shell, file) in SHELLS {
        fs::write(
            dist.join("completions").join(file),
            printed(&program, &["completions", shell])?,
        )?;
    }
    let page = printed(&program, &["man"])?;
    for command in commands(&page) {
        let name = format!("top5-{command}.1");
        fs::write(dist.join("man").join(name), printed(&program, &["man", &command])?)?;
    }
    fs::write(dist.join("man/top5.1"), page)?;
    println!("{} is what is shipped", dist.display());
    Ok(())
}

/// Flags that replace the folders of this machine by names, separated as cargo wants them.
fn flags() -> Result<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let home = home.context("where is cargo's folder? set CARGO_HOME")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok([remap(&home, "/cargo"), remap(root(), "/top5")].join("\u{1f}"))
}

/// The program holds no path of this machine.
fn check_paths(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    let root = root().to_string_lossy();
    let found = bytes.windows(root.len()).any(|window| window == root.as_bytes());
    ensure!(
        !found,
        "{} holds the path {root}: two folders would give two programs",
        program.display()
    );
    Ok(())
}

/// What the program prints.
fn printed(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("starting {}", program.display()))?;
    ensure!(output.status.success(), "{} {arguments:?} failed", program.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// The commands that the program's manual page lists, as `top5\\-train(1)`.
fn commands(page: &str) -> Vec<String> {
    let listed = page.lines().filter_map(|line| {
        let name = line.strip_prefix("top5\\-")?.strip_suffix("(1)")?;
        (name != "help").then(|| name.replace("\\-", "-"))
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_manual_page() {
        let page = ".TP\ntop5\\-train(1)\nTrain\n.TP\ntop5\\-help(1)\nsee top5\\-eval(1)\n";
        assert_eq!(commands(page), ["train"]);
    }

    #[test]
    fn paths_of_the_sources_are_found_in_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("top5");
        for (text, good) in
            [("/top5/crates/a.rs".to_owned(), true), (root().display().to_string(), false)]
        {
            fs::write(&program, format!("\0{text}\0")).unwrap();
            assert_eq!(check_paths(&program).is_ok(), good, "{text}");
        }
    }
}
