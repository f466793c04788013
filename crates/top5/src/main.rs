//! The `top5` command.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a command-line tool reports on stderr")]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
