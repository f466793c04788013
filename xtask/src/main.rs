//! The project's chores: `cargo xtask ci | tidy | counts | outside | dist | bless | exhaustive`.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command-line tool talks on stdout")]
#![expect(clippy::print_stderr, reason = "and reports errors on stderr")]

mod ci;
mod dist;
mod metadata;
mod outside;
mod runner;
mod source;
mod structure;
mod tidy;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  ci          everything a change must pass: fmt, tidy, clippy, docs, tests, round trips
  tidy        the architecture invariants of ARCHITECTURE.md
  counts      the shape of the code: its longest functions, circles of files, who knows a convolution
  outside     a program outside the workspace that uses the library
  dist        the program as it is shipped, with manual pages and completions, in target/dist
  bless       rewrite the golden files from what the program prints now
  exhaustive  the long sweeps, in release mode, and the kernels under the address sanitizer";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["counts"] => counts(),
        ["outside"] => outside::run(),
        ["dist"] => dist::run(),
        ["bless"] => bless(),
        ["exhaustive"] => exhaustive(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the shape of the code.
fn counts() -> Result<()> {
    println!("{}", structure::counts(&source::read_sources(root())?));
    Ok(())
}

/// Golden tests compare with a file, or write it when `UPDATE_EXPECT` is set.
fn bless() -> Result<()> {
    runner::unit_tests(&[("UPDATE_EXPECT", "1")])?;
    println!(
        "The golden files are as the program prints them now: read `git diff` before you commit."
    );
    Ok(())
}

/// A long sweep is a test with `exhaustive` in its name whose loop is longer when `TOP5_EXHAUSTIVE` is set.
fn exhaustive() -> Result<()> {
    let counts = runner::exhaustive_tests(&[("TOP5_EXHAUSTIVE", "1")])?;
    println!("{counts}");
    address_sanitizer()
}

/// The tests of the kernels, where all unsafe code is, under the address sanitizer, which only a nightly compiler has.
fn address_sanitizer() -> Result<()> {
    let mut probe = Command::new("rustup");
    probe.args(["run", "nightly", "rustc", "--version"]);
    let mut nightly = || probe.output().is_ok_and(|output| output.status.success());
    if !(cfg!(target_os = "linux") && nightly()) {
        println!(
            "skipped: the address sanitizer needs Linux and a nightly compiler (rustup toolchain install nightly)"
        );
        return Ok(());
    }
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut tests = Command::new("rustup");
    tests
        .args(["run", "nightly", "cargo", "test", "--package", "top5-kernels"])
        .args(["--target", &target, "--target-dir", "target/asan"])
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // A panic whose payload panics when dropped is leaked on purpose; a leak is not unsound.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .env("TOP5_EXHAUSTIVE", "1")
        .current_dir(root());
    run(tests)
}

/// The folder of the workspace's manifest.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder of the workspace")
}

/// The cargo that started this program, in the root of the workspace.
fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command whose output goes to the terminal.
fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {}", line(&command)))?;
    if !status.success() {
        bail!("{} failed ({status}): mend what it says above", line(&command));
    }
    Ok(())
}

/// The command as one types it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_stem().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
