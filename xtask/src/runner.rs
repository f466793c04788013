//! Runs the tests and counts them in what the runner itself prints, so that the summary can say nothing the runner
//! did not.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, line};

/// How many tests passed and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Reads a runner's summary line. Each runner has its own, since one may show the output of the other.
type Summary = fn(&str) -> Option<Counts>;

/// Every test but the doctests: with cargo-nextest where it is installed, else with `cargo test`.
pub(crate) fn unit_tests(environment: &[(&str, &str)]) -> Result<Counts> {
    let (arguments, summary): (&[&str], Summary) = if has_nextest() {
        let arguments =
            &["nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "slow"];
        (arguments, nextest_summary)
    } else {
        (&["test", "--workspace", "--all-targets", "--no-fail-fast", "--quiet"], cargo_summary)
    };
    expect_some(counted(cargo(arguments), environment, summary)?, "tests")
}

/// The examples in the documentation, which cargo-nextest cannot run. There may be none.
pub(crate) fn doctests() -> Result<Counts> {
    let command = cargo(&["test", "--workspace", "--doc", "--no-fail-fast", "--quiet"]);
    counted(command, &[], cargo_summary)
}

/// The program as several processes. The workspace's features stay as they are, so that of it only the program is built again.
pub(crate) fn mpi_tests() -> Result<Counts> {
    let mut command =
        cargo(&["test", "--workspace", "--features", "top5-cli/mpi", "--test", "mpi", "--quiet"]);
    // Each has processes enough, but waits for some of the time.
    command.args(["--", "--test-threads", "2"]);
    expect_some(counted(command, &[], cargo_summary)?, "tests of several processes")
}

/// The long sweeps.
pub(crate) fn exhaustive_tests(environment: &[(&str, &str)]) -> Result<Counts> {
    let command =
        cargo(&["test", "--release", "--workspace", "--no-fail-fast", "--", "exhaustive"]);
    let counts = counted(command, environment, cargo_summary)?;
    expect_some(counts, "tests with `exhaustive` in their name")
}

fn has_nextest() -> bool {
    let probe = cargo(&["nextest", "--version"]).stderr(Stdio::null()).output();
    probe.is_ok_and(|output| output.status.success())
}

fn expect_some(counts: Counts, what: &str) -> Result<Counts> {
    if counts.passed == 0 {
        bail!("no {what} were run: the runner's summary says {counts}");
    }
    Ok(counts)
}

/// Runs a test command, shows its output and adds up its summaries; fails if a test failed or the command did.
fn counted(mut command: Command, environment: &[(&str, &str)], summary: Summary) -> Result<Counts> {
    command.envs(environment.iter().copied()).env("CARGO_TERM_COLOR", "never");
    // One pipe for both streams: the summary is on stdout or on stderr, depending on the runner.
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdout(writer.try_clone().context("making a pipe")?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("starting {}", line(&command)))?;
    let shown = line(&command);
    drop(command); // it holds the pipe's writing end, without which the reader sees no end
    let counts = show_and_count(reader, summary)?;
    let status = child.wait().with_context(|| format!("waiting for {shown}"))?;
    if !status.success() || counts.failed > 0 {
        bail!("{shown} failed ({status}): {counts}");
    }
    Ok(counts)
}

fn show_and_count(output: impl Read, summary: Summary) -> Result<Counts> {
    let mut total = Counts::default();
    for bytes in BufReader::new(output).split(b'\n') {
        let bytes = bytes.context("reading the test runner's output")?;
        let text = String::from_utf8_lossy(&bytes);
        println!("{text}");
        total = total + summary(&text).unwrap_or_default();
    }
    Ok(total)
}

/// "test result: ok. 3 passed; 0 failed; …", one line per program.
fn cargo_summary(line: &str) -> Option<Counts> {
    let words = words(line.strip_prefix("test result: ")?);
    Some(Counts { passed: before(&words, "passed")?, failed: before(&words, "failed")? })
}

/// "Summary [ 0.1s] 3 tests run: 1 passed, 1 failed, 1 timed out": whatever ran and did not pass has failed.
fn nextest_summary(line: &str) -> Option<Counts> {
    let words = words(line.trim_start().strip_prefix("Summary [")?);
    let run = before(&words, "test").or_else(|| before(&words, "tests"))?;
    let passed = before(&words, "passed").unwrap_or(0);
    Some(Counts { passed, failed: run.checked_sub(passed)? })
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| word.trim_end_matches([',', ';'])).collect()
}

/// The number before a word; of "2/9 tests", where a run was cut short, the first.
fn before(words: &[&str], name: &str) -> Option<usize> {
    let at = words.iter().position(|word| *word == name)?;
    words[at.checked_sub(1)?].split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(passed: usize, failed: usize) -> Option<Counts> {
        Some(Counts { passed, failed })
    }

    #[test]
    fn summaries_of_cargo_test_are_added_up() {
        let output = "running 2 tests\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(show_and_count(output.as_bytes(), cargo_summary).ok(), counts(5, 1));
    }

    #[test]
    fn summaries_of_nextest_are_read() {
        let one = "     Summary [   0.011s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(nextest_summary(one), counts(1, 0));
        let slow = "     Summary [ 101.211s] 12 tests run: 12 passed (1 slow), 3 skipped";
        assert_eq!(nextest_summary(slow), counts(12, 0));
    }

    #[test]
    fn every_way_not_to_pass_counts_as_failed() {
        for (line, expected) in [
            (
                "6 tests run: 3 passed, 1 failed, 1 exec failed, 1 timed out, 0 skipped",
                counts(3, 3),
            ),
            ("2/9 tests run: 0 passed, 2 failed, 0 skipped", counts(0, 2)),
            ("2 tests run: 2 failed, 0 skipped", counts(0, 2)),
        ] {
            assert_eq!(nextest_summary(&format!("  Summary [ 1.0s] {line}")), expected, "{line}");
        }
    }

    #[test]
    fn a_failed_test_shown_by_nextest_is_counted_once() {
        let output = "  stdout ---\n    test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
            \x20    Summary [ 0.1s] 2 tests run: 1 passed, 1 failed, 0 skipped\n";
        assert_eq!(show_and_count(output.as_bytes(), nextest_summary).ok(), counts(1, 1));
    }

    #[test]
    fn other_lines_are_no_summary() {
        for line in ["test closed_form ... ok", "12 passed, 0 failed", "Summary [ 1.0s] nothing"] {
            assert_eq!(cargo_summary(line), None, "{line}");
            assert_eq!(nextest_summary(line), None, "{line}");
        }
    }

    #[test]
    fn a_run_of_no_tests_is_an_error() {
        let error = expect_some(Counts::default(), "tests").unwrap_err();
        assert!(error.to_string().contains("tests"), "{error}");
        assert!(expect_some(Counts { passed: 1, failed: 0 }, "tests").is_ok());
    }
}
