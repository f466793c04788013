//! The built program, run in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder that vanishes, and the program in it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What one run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments (separated by spaces), not yet started.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_top5"));
        command.args(line.split_whitespace()).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.env("HF_HUB_CACHE", self.path("hub")).env_remove("CLICOLOR_FORCE");
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::from(self.command(line).output().unwrap())
    }

    /// Runs the program with at most `kib` KiB of address space and a minute of processor time; what takes more is ended by
    /// a signal.
    pub(crate) fn run_within(&self, line: &str, kib: usize) -> Ran {
        self.run_under(
            "sh",
            &["-c", "ulimit -v $0 && ulimit -t 60 && exec \"$@\"", &kib.to_string()],
            line,
        )
    }

    /// Runs another program, which gets the line to run ours as its last arguments.
    pub(crate) fn run_under(&self, program: &str, arguments: &[&str], line: &str) -> Ran {
        let ours = self.command(line);
        let mut command = Command::new(program);
        command.args(arguments).arg(ours.get_program()).args(ours.get_args());
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, value) in ours.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ran::from(command.output().unwrap())
    }

    /// Runs the program, which must succeed, and returns its stdout.
    #[track_caller]
    pub(crate) fn text(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.stdout
    }

    /// The same with `--json`, parsed.
    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        let document = parse(&self.text(&format!("{line} --json")));
        assert_eq!(document["schema_version"], 1);
        document
    }

    /// Runs the program, which must fail with this code, an empty stdout and one message that holds `words`.
    #[track_caller]
    pub(crate) fn fails(&self, line: &str, code: i32, words: &[&str]) {
        assert_eq!(self.tells_and_fails(line, code, words), "", "{line}");
    }

    /// The same of a program that may have told something before it failed: its stdout.
    #[track_caller]
    pub(crate) fn tells_and_fails(&self, line: &str, code: i32, words: &[&str]) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        assert!(ran.stderr.contains("error: "), "{line}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{line}: {ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{line}: no {word:?} in {ran:?}");
        }
        ran.stdout
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Starts the program and sends it a signal (`INT`, `TERM`) once this file is there, or nothing if it ends before.
#[track_caller]
pub(crate) fn signalled(place: &Place, line: &str, signal: &str, file: &str) -> Ran {
    let mut command = place.command(line);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let file = file.replace("PID", &child.id().to_string());
    while !place.path(&file).exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(sent.unwrap().success(), "{line}: it ended before");
    Ran::from(child.wait_with_output().unwrap())
}

/// Parses one JSON document.
#[track_caller]
pub(crate) fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Whether the program reads this variable of the environment.
fn is_ours(name: &str) -> bool {
    name.starts_with("TOP5_") || name.starts_with("HF_")
}
