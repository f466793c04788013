//! The gate: what every change must pass, cheapest step first, stopped at the first failure.
//!
//! All steps build the dev profile with the workspace's own features and the same flags for dependencies, so that
//! nothing is compiled twice: clippy and rustdoc share the checked dependencies, tests and doctests the built ones.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::runner::Counts;
use crate::source::{Source, read_sources};
use crate::{cargo, metadata, outside, root, run as execute, runner, tidy};

/// Runs every step; the last line of a green run is `N passed, 0 failed`.
pub(crate) fn run() -> Result<()> {
    let mut times = Vec::new();
    step(&mut times, "format", || execute(cargo(&["fmt", "--all", "--check"])))?;
    step(&mut times, "tidy", tidy::run)?;
    step(&mut times, "lints", || {
        execute(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    step(&mut times, "other targets", other_targets)?;
    step(&mut times, "documentation", || {
        let mut command = cargo(&["doc", "--workspace", "--no-deps"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        execute(command)
    })?;
    let tests = step(&mut times, "tests", || runner::unit_tests(&[]))?;
    let doctests = step(&mut times, "doctests", runner::doctests)?;
    step(&mut times, "outside program", outside::run)?;
    step(&mut times, "round trips", round_trips)?;
    step(&mut times, "page", page)?;
    let processes = step(&mut times, "processes", processes)?;

    println!("\n{}", table_of_lines(&read_sources(root())?));
    for (name, time) in &times {
        println!("{name:<16}{:>8.1} s", time.as_secs_f64());
    }
    println!("\n{}", tests + doctests + processes);
    Ok(())
}

/// A target that no machine of ours is.
struct Target {
    name: &'static str,
    /// What is compiled for it.
    package: &'static str,
    /// What switches its vectors on.
    flags: &'static str,
    /// The compiler for C that its dependencies need, and Debian's package of it.
    c_compiler: Option<[&'static str; 2]>,
}

/// Other instruction sets, on which the engine counts, and other systems, on which the program or the libraries do.
const TARGETS: [Target; 4] = [
    Target {
        name: "aarch64-unknown-linux-gnu",
        package: "top5-cpu",
        flags: "-C target-feature=+neon",
        c_compiler: None,
    },
    Target {
        name: "wasm32-unknown-unknown",
        package: "top5-cpu",
        flags: "-C target-feature=+simd128",
        c_compiler: None,
    },
    Target {
        name: "x86_64-pc-windows-gnu",
        package: "top5-cli",
        flags: "",
        c_compiler: Some(["x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64"]),
    },
    Target { name: "aarch64-apple-darwin", package: "top5", flags: "", c_compiler: None },
];

/// Compiles for those of them whose standard library is installed, without warnings, and names the others.
fn other_targets() -> Result<()> {
    for Target { name, package, flags, c_compiler } in TARGETS {
        let mut rustc = Command::new("rustc");
        let library = rustc.args(["--print", "target-libdir", "--target", name]).output();
        let library = library.context("asking rustc for its targets")?;
        let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
        if library.is_empty() || !Path::new(&library).is_dir() {
            println!("not checked: {name} (`rustup target add {name}` installs it)");
            continue;
        }
        let lacks =
            |[program, _]: &[&str; 2]| Command::new(program).arg("--version").output().is_err();
        if let Some([program, debian]) = c_compiler.filter(lacks) {
            println!("not checked: {name} ({program} is missing, which Debian has in {debian})");
            continue;
        }
        let mut command = cargo(&["check", "-p", package, "--target", name]);
        command.env("RUSTFLAGS", format!("-D warnings {flags}"));
        execute(command)?;
    }
    Ok(())
}

/// Lets others run what `top5 convert` writes: a few networks, where `.ci/run` has put those others.
fn round_trips() -> Result<()> {
    let python = root().join("target/round-trips/bin/python");
    if !has_peers(&python, has_ci())? {
        println!(
            "not run: `python3 scripts/round_trips.py --small` installs ONNX Runtime and runs them"
        );
        return Ok(());
    }
    // What the tests have built.
    execute(cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    let mut script = Command::new(python);
    script.args(["scripts/round_trips.py", "--small", "--folder"]);
    script.arg(metadata::target_folder()?.join("debug")).current_dir(root());
    execute(script)
}

/// Uses the page in a browser and looks at it with axe, where Chromium, Node.js and the two packages are.
fn page() -> Result<()> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let packages = root().join("target/page/node_modules/axe-core").is_dir();
    if !has_browser(packages && has("node") && has("chromium"), has_ci())? {
        println!("not run: {BROWSER} let the page be tested");
        return Ok(());
    }
    execute(cargo(&["build", "--workspace", "--bins", "--examples"]))?;
    let mut script = Command::new("node");
    script.arg("scripts/page.mjs").arg(metadata::target_folder()?.join("debug/top5"));
    script.arg("--quick").current_dir(root());
    execute(script)
}

/// What lets the page be tested.
const BROWSER: &str = "Debian's chromium, nodejs and npm, and `npm install --prefix target/page $(cat scripts/page.txt)`,";

/// Whether there is a browser with all that it takes; on a server there must be.
fn has_browser(found: bool, on_server: bool) -> Result<bool> {
    if on_server && !found {
        let log = fs::read_to_string(root().join("target/page.log")).unwrap_or_default();
        bail!("{BROWSER} are missing: `.ci/run` installs them, and target/page.log says:\n{log}");
    }
    Ok(found)
}

/// Whether the Python with the others is there; on a server it must be.
fn has_peers(python: &Path, on_server: bool) -> Result<bool> {
    let found = python.is_file();
    ensure!(found || !on_server, "{} is missing: `.ci/run` makes it", python.display());
    Ok(found)
}

/// Several processes under `mpirun`, with the program built for it, where MPI and libclang are installed.
fn processes() -> Result<Counts> {
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has_mpi(has("mpirun") && has("mpicc") && has_libclang(), has_ci())? {
        println!(
            "not run: {MPI_PACKAGES} of Debian let `mpirun -n 2 top5 train` and `eval` be tested"
        );
        return Ok(Counts::default());
    }
    runner::mpi_tests()
}

/// What Debian has for the feature `mpi`.
const MPI_PACKAGES: &str = "openmpi-bin, libopenmpi-dev and libclang-dev";

/// Whether MPI is there; on a server it must be.
fn has_mpi(found: bool, on_server: bool) -> Result<bool> {
    ensure!(found || !on_server, "{MPI_PACKAGES} are missing: `.ci/run` installs them");
    Ok(found)
}

/// Whether libclang is where Debian has it, or where it is said to be.
fn has_libclang() -> bool {
    let is_libclang = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("libclang");
    let versions = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let folders = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    let files = folders.flat_map(|llvm| std::fs::read_dir(llvm.path().join("lib")));
    files.flatten().flatten().any(|file| is_libclang(&file.file_name()))
        || std::env::var_os("LIBCLANG_PATH").is_some()
}

/// Whether this is a server, which leaves nothing out.
fn has_ci() -> bool {
    std::env::var_os("CI").is_some()
}

/// Announces a step, times it, and names it in the error.
fn step<T>(
    times: &mut Vec<(&'static str, Duration)>,
    name: &'static str,
    body: impl FnOnce() -> Result<T>,
) -> Result<T> {
    println!("\n== {name}");
    let start = Instant::now();
    let value = body().with_context(|| format!("the {name} step"))?;
    times.push((name, start.elapsed()));
    Ok(value)
}

/// Lines of code per crate, without blank lines and comments: a crate that grows should say what it bought.
fn table_of_lines(sources: &[Source]) -> String {
    let mut rows: Vec<(&str, [usize; 2])> = Vec::new();
    for source in sources {
        let name = source.crate_name();
        if rows.last().is_none_or(|(last, _)| *last != name) {
            rows.push((name, [0; 2]));
        }
        let (_, counts) = rows.last_mut().expect("a row was just pushed");
        for line in source.lines().filter(|line| !line.code.trim().is_empty()) {
            counts[usize::from(line.in_test)] += 1;
        }
    }
    let total = rows.iter().fold([0; 2], |sum, (_, n)| [sum[0] + n[0], sum[1] + n[1]]);
    rows.push(("total", total));
    let mut table = format!("{:<16}{:>8}{:>8}\n", "lines", "code", "tests");
    for (name, [code, tests]) in rows {
        table += &format!("{name:<16}{code:>8}{tests:>8}\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_per_crate_without_comments_and_blanks() {
        let sources = [
            Source::new("crates/a/src/lib.rs", "//! A.\n\nfn f() {}\n#[cfg(test)]\nmod tests {}\n"),
            Source::new("crates/a/tests/t.rs", "//! T.\nfn g() {}\n"),
            Source::new("xtask/src/main.rs", "//! X.\nfn main() {\n    // nothing\n}\n"),
        ];
        let table = table_of_lines(&sources);
        let rows: Vec<Vec<&str>> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [vec!["a", "1", "3"], vec!["xtask", "2", "0"], vec!["total", "3", "3"]]);
    }

    #[test]
    fn missing_peers_are_an_error_on_a_server_only() {
        let nowhere = Path::new("no/such/python");
        assert!(!has_peers(nowhere, false).unwrap());
        assert!(has_peers(nowhere, true).unwrap_err().to_string().contains("no/such/python"));
        assert!(has_peers(&root().join("Cargo.toml"), true).unwrap());
    }

    #[test]
    fn missing_mpi_is_an_error_on_a_server_only() {
        assert!(!has_mpi(false, false).unwrap());
        assert!(has_mpi(false, true).unwrap_err().to_string().contains("libopenmpi-dev"));
        assert!(has_mpi(true, true).unwrap());
    }

    #[test]
    fn a_missing_browser_is_an_error_on_a_server_only() {
        assert!(!has_browser(false, false).unwrap());
        assert!(has_browser(false, true).unwrap_err().to_string().contains("chromium"));
        assert!(has_browser(true, true).unwrap());
    }

    #[test]
    fn a_failing_step_is_named_and_not_timed() {
        let mut times = Vec::new();
        let error =
            step(&mut times, "lints", || -> Result<()> { anyhow::bail!("no") }).unwrap_err();
        assert_eq!(format!("{error:#}"), "the lints step: no");
        assert!(times.is_empty());
    }
}
